//! The little linear algebra the learners share: sums of squares and positive definite systems, in blocks, so that all but
//! a sliver of the work is products of matrices.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2, Axis, concatenate, s};

/// Columns that are eliminated together.
const BLOCK: usize = 48;
/// Columns of `x'x` that are worked out together.
const STRIPE: usize = 128;

/// `x'x`. What stands below the diagonal is copied from above it.
#[must_use]
pub fn gram(x: ArrayView2<'_, f64>) -> Array2<f64> {
    let p = x.ncols();
    let mut gram = Array2::zeros((p, p));
    for from in (0..p).step_by(STRIPE) {
        let to = (from + STRIPE).min(p);
        let mut stripe = gram.slice_mut(s![from..to, from..]);
        general_mat_mul(1.0, &x.slice(s![.., from..to]).t(), &x.slice(s![.., from..]), 0.0, &mut stripe);
    }
    for i in 1..p {
        for j in 0..i {
            gram[[i, j]] = gram[[j, i]];
        }
    }
    gram
}

/// The solution of `matrix x = right` for a symmetric positive definite matrix, of which the lower triangle is read; `None` if
/// it is not.
///
/// The right sides stand as rows under the matrix while it is factored as `L L'`: what eliminates a column of the matrix
/// turns their rows into those of `L^-1 right`. The inverses of the diagonal blocks of `L` are kept, so that going back
/// takes products alone.
#[must_use]
pub fn solve(matrix: &Array2<f64>, right: &Array2<f64>) -> Option<Array2<f64>> {
    let p = right.nrows();
    let mut a = concatenate(Axis(0), &[matrix.view(), right.t()]).expect("a right side has a row a row of the matrix");
    let mut inverses = Vec::with_capacity(p.div_ceil(BLOCK));
    for from in (0..p).step_by(BLOCK) {
        let to = (from + BLOCK).min(p);
        let inverse = inverse_factor(a.slice_mut(s![from..to, from..to]))?;
        let below = a.slice(s![to.., from..to]).dot(&inverse.t());
        for next in (to..p).step_by(BLOCK) {
            let end = (next + BLOCK).min(p);
            let these = below.slice(s![next - to..end - to, ..]);
            let rest = below.slice(s![next - to.., ..]);
            general_mat_mul(-1.0, &rest, &these.t(), 1.0, &mut a.slice_mut(s![next.., next..end]));
        }
        a.slice_mut(s![to.., from..to]).assign(&below);
        inverses.push(inverse);
    }
    let (factor, mut x) = a.view_mut().split_at(Axis(0), p);
    for (block, inverse) in inverses.iter().enumerate().rev() {
        let (from, to) = (block * BLOCK, (block * BLOCK + BLOCK).min(p));
        let (mut these, after) = x.view_mut().split_at(Axis(1), to);
        let mut these = these.slice_mut(s![.., from..]);
        general_mat_mul(-1.0, &after, &factor.slice(s![to.., from..to]), 1.0, &mut these);
        let solved = these.dot(inverse);
        these.assign(&solved);
    }
    Some(x.t().to_owned())
}

/// The inverse of the Cholesky factor of a small block, which is used up; `None` if it is not positive definite.
fn inverse_factor(mut a: ArrayViewMut2<'_, f64>) -> Option<Array2<f64>> {
    let p = a.nrows();
    let mut inverse = Array2::eye(p);
    for j in 0..p {
        let pivot = a[[j, j]];
        if !(pivot > 0.0 && pivot.is_finite()) {
            return None;
        }
        let scale = 1.0 / pivot.sqrt();
        inverse.slice_mut(s![j, ..=j]).mapv_inplace(|x| x * scale);
        for i in j + 1..p {
            let factor = a[[i, j]] * scale;
            a[[i, j]] = factor;
            let (done, mut open) = inverse.view_mut().split_at(Axis(0), j + 1);
            open.slice_mut(s![i - j - 1, ..=j]).scaled_add(-factor, &done.slice(s![j, ..=j]));
            for k in j + 1..=i {
                a[[i, k]] -= factor * a[[k, j]];
            }
        }
    }
    Some(inverse)
}

/// Means of the columns; zeros for no rows.
#[must_use]
pub fn means(matrix: ArrayView2<'_, f64>) -> Array1<f64> {
    matrix.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(matrix.ncols()))
}

/// Single precision widened.
#[must_use]
pub fn wide(matrix: ArrayView2<'_, f32>) -> Array2<f64> {
    matrix.mapv(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seed;

    fn drawn(rows: usize, columns: usize, name: &str) -> Array2<f64> {
        let draw = |(i, j)| Seed(i as u64).uniform(&format!("{name} {j}")) - 0.5;
        Array2::from_shape_fn((rows, columns), draw)
    }

    #[test]
    fn a_product_with_itself_is_that_product() {
        let x = drawn(30, STRIPE + 7, "x");
        let (ours, theirs) = (gram(x.view()), x.t().dot(&x));
        assert!((&ours - &theirs).iter().all(|d| d.abs() < 1e-12));
    }

    #[test]
    fn a_solution_put_in_gives_the_right_side_whatever_the_blocks() {
        for p in [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5] {
            let mut matrix = gram(drawn(2 * p, p, "a").view());
            matrix.diag_mut().mapv_inplace(|d| d + 0.1);
            let right = drawn(p, 3, "b");
            let x = solve(&matrix, &right).expect("a sum of squares and a ridge");
            assert!((matrix.dot(&x) - &right).iter().all(|d| d.abs() < 1e-9), "{p} columns");
        }
    }

    #[test]
    fn what_is_not_positive_definite_has_no_solution() {
        let mut matrix = Array2::eye(BLOCK + 2);
        let right = drawn(BLOCK + 2, 1, "b");
        assert_eq!(solve(&matrix, &right), Some(right.clone()));
        for bad in [0.0, -1.0, f64::NAN] {
            matrix[[BLOCK + 1, BLOCK + 1]] = bad;
            assert_eq!(solve(&matrix, &right), None, "{bad}");
        }
    }
}
