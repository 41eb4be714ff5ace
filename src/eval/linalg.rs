//! The little linear algebra the learners share: centring and positive definite systems.

use nalgebra::{Cholesky, DMatrix};
use ndarray::{Array1, Array2, ArrayView2, Axis};

/// The solution of `matrix x = right` for a symmetric positive definite matrix; `None` if it is not.
#[must_use]
pub fn solve(matrix: &Array2<f64>, right: &Array2<f64>) -> Option<Array2<f64>> {
    let (p, k) = right.dim();
    let factor = Cholesky::new(DMatrix::from_fn(p, p, |i, j| matrix[[i, j]]))?;
    let solution = factor.solve(&DMatrix::from_fn(p, k, |i, j| right[[i, j]]));
    Some(Array2::from_shape_fn((p, k), |(i, j)| solution[(i, j)]))
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
