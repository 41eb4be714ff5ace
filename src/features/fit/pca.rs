//! Principal components, not whitened, with one scale for all.

use nalgebra::{DMatrix, RowDVector, SymmetricEigen};

/// A fitted projection: `(x - mean) * components`.
pub(super) struct Pca {
    /// Mean of the rows.
    pub(super) mean: RowDVector<f64>,
    /// Inputs times kept components, already divided by the scale.
    pub(super) components: DMatrix<f64>,
}

/// The first `keep` components of the rows of `x`, scaled so that the projected rows' mean squared length is 1.
/// Each component's largest entry is positive, so that the same rows give the same matrix everywhere.
pub(super) fn pca(x: &DMatrix<f64>, keep: usize) -> Pca {
    let mean = x.row_mean();
    let centred = DMatrix::from_fn(x.nrows(), x.ncols(), |i, j| x[(i, j)] - mean[j]);
    let covariance = centred.transpose() * &centred / x.nrows() as f64;
    let eigen = SymmetricEigen::new(covariance);
    let mut order: Vec<usize> = (0..x.ncols()).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    order.truncate(keep);
    let kept: f64 = order.iter().map(|&k| eigen.eigenvalues[k]).sum();
    let components = DMatrix::from_fn(x.ncols(), keep, |i, k| {
        let component = eigen.eigenvectors.column(order[k]);
        let largest = component.iter().copied().fold(0.0_f64, |a, b| if b.abs() > a.abs() { b } else { a });
        component[i] * largest.signum() / kept.sqrt()
    });
    Pca { mean, components }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_in_three_dimensions_is_found_whole() {
        let x = DMatrix::from_fn(50, 3, |i, j| {
            let (a, b) = ((i % 7) as f64, (i % 5) as f64);
            [a + b, a - b, 2.0 * a][j]
        });
        let fit = pca(&x, 2);
        let squared: f64 = (0..50).map(|i| ((x.row(i) - &fit.mean) * &fit.components).norm_squared()).sum();
        assert!((squared / 50.0 - 1.0).abs() < 1e-12);
    }
}
