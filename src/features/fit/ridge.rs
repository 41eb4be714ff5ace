//! Ridge regression in closed form, with its leave-one-out predictions for nothing.
//!
//! Solved in the dual, because there are fewer prompts than features: with centred inputs `X` and targets `Y`,
//! `A = (X X' + l I)^-1 Y` and `W = X' A`; the intercept is not penalised. Leaving a row out changes its
//! residual to `l A_i / (l D_ii - 1/n)` with `D = (X X' + l I)^-1` (Allen's PRESS; the `1/n` is the intercept's
//! share), so honest predictions of the training rows cost no second fit.

use nalgebra::{DMatrix, DVector, RowDVector};

/// A fitted regression.
pub(super) struct Ridge {
    /// Inputs times outputs.
    pub(super) weight: DMatrix<f64>,
    /// One an output.
    pub(super) bias: RowDVector<f64>,
    /// Prediction of every row by a fit without it.
    pub(super) left_out: DMatrix<f64>,
}

/// Regression of `y` on `x` (both: one row a sample) with this penalty.
pub(super) fn ridge(x: &DMatrix<f64>, y: &DMatrix<f64>, penalty: f64) -> Ridge {
    let n = x.nrows();
    let (x_mean, y_mean) = (x.row_mean(), y.row_mean());
    let centred = |matrix: &DMatrix<f64>, mean: &RowDVector<f64>| {
        DMatrix::from_fn(matrix.nrows(), matrix.ncols(), |i, j| matrix[(i, j)] - mean[j])
    };
    let (xc, yc) = (centred(x, &x_mean), centred(y, &y_mean));
    let gram = &xc * xc.transpose() + DMatrix::from_diagonal(&DVector::from_element(n, penalty));
    let inverse = gram.cholesky().expect("a Gram matrix with a positive diagonal added is positive definite").inverse();
    let dual = &inverse * &yc;
    let weight = xc.transpose() * &dual;
    let bias = &y_mean - &x_mean * &weight;
    let left_out = DMatrix::from_fn(n, y.ncols(), |i, j| {
        y[(i, j)] - penalty * dual[(i, j)] / (penalty * inverse[(i, i)] - 1.0 / n as f64)
    });
    Ridge { weight, bias, left_out }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same by brute force: fits without row `out` by the normal equations with an unpenalised column of ones.
    fn without(x: &DMatrix<f64>, y: &DMatrix<f64>, penalty: f64, out: usize) -> f64 {
        let keep: Vec<usize> = (0..x.nrows()).filter(|&row| row != out).collect();
        let d = x.ncols();
        let design = DMatrix::from_fn(keep.len(), d + 1, |i, j| if j == d { 1.0 } else { x[(keep[i], j)] });
        let target = DMatrix::from_fn(keep.len(), 1, |i, _| y[(keep[i], 0)]);
        let mut normal = design.transpose() * &design;
        (0..d).for_each(|j| normal[(j, j)] += penalty);
        let solution = normal.lu().solve(&(design.transpose() * target)).unwrap();
        (0..d).map(|j| x[(out, j)] * solution[(j, 0)]).sum::<f64>() + solution[(d, 0)]
    }

    #[test]
    fn the_left_out_predictions_are_those_of_fits_without_the_row() {
        let x = DMatrix::from_fn(12, 5, |i, j| ((7 * i + 3 * j * j + i * j) % 11) as f64 / 5.0);
        let y = DMatrix::from_fn(12, 1, |i, _| ((5 * i * i) % 7) as f64);
        let fit = ridge(&x, &y, 0.7);
        for row in 0..12 {
            assert!((fit.left_out[(row, 0)] - without(&x, &y, 0.7, row)).abs() < 1e-9, "row {row}");
        }
        let fitted = &x * &fit.weight;
        let mean: f64 = (0..12).map(|i| fitted[(i, 0)] + fit.bias[0] - y[(i, 0)]).sum();
        assert!(mean.abs() < 1e-9, "the intercept makes residuals sum to zero, got {mean}");
    }
}
