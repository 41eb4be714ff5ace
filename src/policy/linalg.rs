//! The little linear algebra that a policy needs, on packed lower triangles in double precision.
//!
//! A symmetric or lower triangular matrix of order `d` is `d (d + 1) / 2` numbers, row by row: element
//! `(i, j)`, `j <= i`, stands at `i (i + 1) / 2 + j`.

use super::lanes::{Work, wide};
use super::triangle::{self, Triangle};

/// Numbers in a packed triangle of order `d`.
#[must_use]
pub const fn packed(d: usize) -> usize {
    d * (d + 1) / 2
}

/// Where row `i` of a packed triangle begins.
pub(super) const fn row(i: usize) -> usize {
    i * (i + 1) / 2
}

/// `a'b`.
#[must_use]
pub fn inner(a: &[f64], b: &[f64]) -> f64 {
    triangle::dot(a, b)
}

/// `G += weight x x'`.
pub fn add_outer(g: &mut [f64], weight: f64, x: &[f64]) {
    for (i, &xi) in x.iter().enumerate() {
        let scaled = weight * xi;
        for (value, &xj) in g[row(i)..=row(i) + i].iter_mut().zip(x) {
            *value += scaled * xj;
        }
    }
}

/// Replaces the positive definite `A` by its Cholesky factor `C`, `A = C C'`. `false`: it is not positive
/// definite, and what stands in `a` is of no use.
#[must_use]
pub fn cholesky(a: &mut [f64], d: usize) -> bool {
    wide(Factor(a, d))
}

struct Factor<'a>(&'a mut [f64], usize);

impl Work for Factor<'_> {
    type Made = bool;

    #[inline(always)]
    fn made(self) -> bool {
        let Self(a, d) = self;
        let mut factor = Triangle::zeros(d);
        let definite = factor.become_factor(&Triangle::new(d, |at| a[at]), &[]);
        a.copy_from_slice(&factor.packed(d, |x| *x));
        definite
    }
}

/// Replaces `b` by the solution of `C z = b`.
pub fn solve_lower(c: &[f64], b: &mut [f64]) {
    for i in 0..b.len() {
        let factor = &c[row(i)..=row(i) + i];
        b[i] = (b[i] - triangle::dot(&b[..i], &factor[..i])) / factor[i];
    }
}

/// Replaces `b` by the solution of `C' z = b`.
pub fn solve_upper(c: &[f64], b: &mut [f64]) {
    for i in (0..b.len()).rev() {
        let factor = &c[row(i)..=row(i) + i];
        b[i] /= factor[i];
        let solved = b[i];
        for (value, &f) in b[..i].iter_mut().zip(factor) {
            *value -= solved * f;
        }
    }
}

/// `A^-1` from the Cholesky factor `C` of `A`.
#[must_use]
pub fn inverse(c: &[f64], d: usize) -> Vec<f64> {
    wide(Inverse(c, d))
}

struct Inverse<'a>(&'a [f64], usize);

impl Work for Inverse<'_> {
    type Made = Vec<f64>;

    #[inline(always)]
    fn made(self) -> Vec<f64> {
        let Self(c, d) = self;
        let (mut factor, mut inverse) = (Triangle::zeros(d), Triangle::zeros(d));
        factor.become_inverse(&Triangle::new(d, |at| c[at]));
        inverse.add_gram(&factor);
        inverse.packed(d, |x| *x)
    }
}

/// `|M x|^2` of a lower triangular `M`: with `M = C^-1` it is `x' A^-1 x`, a product without divisions.
#[must_use]
pub fn squared_length(m: &[f64], x: &[f64]) -> f64 {
    (0..x.len())
        .map(|i| {
            let part = triangle::dot(&m[row(i)..=row(i) + i], &x[..=i]);
            part * part
        })
        .sum()
}

/// `S x` of a symmetric `S`.
#[cfg(test)]
pub(super) fn multiply(s: &[f64], x: &[f64]) -> Vec<f64> {
    let mut product = vec![0.0; x.len()];
    for i in 0..x.len() {
        let this = &s[row(i)..=row(i) + i];
        product[i] += triangle::dot(this, &x[..=i]);
        for (value, &a) in product[..i].iter_mut().zip(this) {
            *value += a * x[i];
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A positive definite matrix from arbitrary rows: `I + sum of x x'`.
    fn definite(rows: &[Vec<f64>], d: usize) -> Vec<f64> {
        let mut a = vec![0.0; packed(d)];
        for i in 0..d {
            a[row(i) + i] = 1.0;
        }
        for x in rows {
            add_outer(&mut a, 0.7, x);
        }
        a
    }

    proptest! {
        #[test]
        fn factor_inverse_and_solution_agree(
            rows in prop::collection::vec(prop::collection::vec(-3.0..3.0_f64, 7), 0..30),
            b in prop::collection::vec(-3.0..3.0_f64, 7),
        ) {
            let a = definite(&rows, 7);
            let mut c = a.clone();
            prop_assert!(cholesky(&mut c, 7));
            let mut z = b.clone();
            solve_lower(&c, &mut z);
            solve_upper(&c, &mut z);
            let back = multiply(&a, &z);
            for (x, y) in back.iter().zip(&b) {
                prop_assert!((x - y).abs() < 1e-9, "{x} {y}");
            }
            let mut factor = Triangle::zeros(7);
            factor.become_inverse(&Triangle::new(7, |at| c[at]));
            for (x, y) in multiply(&inverse(&c, 7), &b).iter().zip(&z) {
                prop_assert!((x - y).abs() < 1e-9, "{x} {y}");
            }
            let filled = [&b[..], &[0.0; 2]].concat();
            for (x, y) in factor.apply_inverse(&filled).iter().zip(&z) {
                prop_assert!((x - y).abs() < 1e-9, "{x} {y}");
            }
            let quadratic = squared_length(&factor.packed(7, |x| *x), &b);
            prop_assert!((quadratic - inner(&b, &z)).abs() < 1e-9);
        }
    }

    #[test]
    fn what_is_not_positive_definite_is_refused() {
        assert!(!cholesky(&mut [1.0, 2.0, 1.0], 2));
        assert!(!cholesky(&mut [f64::NAN], 1));
        assert!(!cholesky(&mut [0.0], 1));
    }
}
