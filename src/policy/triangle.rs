//! The expensive part of [`super::linalg`], for one matrix or for four at a time ([`super::lanes`]).
//!
//! Every element is one running sum over pairs of products, `s + (p x + q y)`, that stays in a register from its first
//! pair to its last; a block of neighbours shares what is read for them. How large the blocks are changes no sum.

use super::lanes::Number;
use super::linalg::row;

/// Replaces the positive definite `A` by its Cholesky factor. `false`: one of the matrices is not positive definite.
#[inline(always)]
pub(super) fn cholesky<N: Number>(a: &mut [N], d: usize) -> bool {
    for j in (0..d).step_by(2) {
        reduce::<N, 1, 1>(a, j, j);
        let Some(one) = pivot(a, j) else { return false };
        if j + 1 == d {
            break;
        }
        reduce::<N, 1, 2>(a, j + 1, j);
        let below = a[row(j + 1) + j] * one;
        a[row(j + 1) + j] = below;
        let corner = &mut a[row(j + 1) + j + 1];
        *corner = *corner - below * below;
        let Some(two) = pivot(a, j + 1) else { return false };
        let mut i = j + 2;
        while i < d {
            let many = (d - i).min(4);
            match many {
                1 => reduce::<N, 1, 2>(a, i, j),
                2 => reduce::<N, 2, 2>(a, i, j),
                3 => reduce::<N, 3, 2>(a, i, j),
                _ => reduce::<N, 4, 2>(a, i, j),
            }
            for i in i..i + many {
                let first = a[row(i) + j] * one;
                a[row(i) + j] = first;
                let second = &mut a[row(i) + j + 1];
                *second = (*second - first * below) * two;
            }
            i += many;
        }
    }
    true
}

/// Replaces a diagonal element by its root, and gives what its column is multiplied by.
#[inline(always)]
fn pivot<N: Number>(a: &mut [N], j: usize) -> Option<N> {
    let pivot = &mut a[row(j) + j];
    pivot.may_be_pivot().then(|| {
        *pivot = pivot.sqrt();
        pivot.inverse()
    })
}

/// Takes the columns before `j` (an even number) out of `C` columns from there on, in `R` rows from `i` on.
#[inline(always)]
fn reduce<N: Number, const R: usize, const C: usize>(a: &mut [N], i: usize, j: usize) {
    let (mut sums, mut rows, mut columns) = ([[N::of(0.0); C]; R], [&a[..0]; R], [&a[..0]; C]);
    for r in 0..R {
        sums[r].copy_from_slice(&a[row(i + r) + j..][..C]);
        rows[r] = &a[row(i + r)..][..j];
    }
    for c in 0..C {
        columns[c] = &a[row(j + c)..][..j];
    }
    for k in (0..j).step_by(2) {
        let (mut xs, mut ys) = ([N::of(0.0); C], [N::of(0.0); C]);
        for c in 0..C {
            (xs[c], ys[c]) = (columns[c][k], columns[c][k + 1]);
        }
        for r in 0..R {
            let (p, q) = (rows[r][k], rows[r][k + 1]);
            for c in 0..C {
                sums[r][c] = sums[r][c] - (p * xs[c] + q * ys[c]);
            }
        }
    }
    for r in 0..R {
        a[row(i + r) + j..][..C].copy_from_slice(&sums[r]);
    }
}

/// Writes the inverse of a lower triangular `C`. `factors` is room for `d` numbers.
#[inline(always)]
pub(super) fn invert_lower<N: Number>(c: &[N], d: usize, inverse: &mut [N], factors: &mut [N]) {
    for i in 0..d {
        let scale = c[row(i) + i].inverse();
        for k in 0..i {
            factors[k] = N::of(0.0) - c[row(i) + k] * scale;
        }
        let (above, this) = inverse.split_at_mut(row(i));
        let factors = &factors[..i];
        let mut j = 0;
        while j < i {
            j += match i - j {
                1 => inverse_of::<N, 1>(above, this, factors, j),
                2 | 3 => inverse_of::<N, 2>(above, this, factors, j),
                _ => inverse_of::<N, 4>(above, this, factors, j),
            };
        }
        this[i] = scale;
    }
}

/// `C` elements of this row of the inverse from `j` (an even number) on; how many they are.
#[inline(always)]
fn inverse_of<N: Number, const C: usize>(above: &[N], this: &mut [N], factors: &[N], j: usize) -> usize {
    let i = factors.len();
    let mut sums = [N::of(0.0); C];
    for k in (j..i - i % 2).step_by(2) {
        let (p, q) = (factors[k], factors[k + 1]);
        let (one, two) = (&above[row(k)..row(k + 1)], &above[row(k + 1)..row(k + 2)]);
        if k >= j + C {
            let (one, two) = (&one[j..j + C], &two[j..j + C]);
            for c in 0..C {
                sums[c] = sums[c] + (p * one[c] + q * two[c]);
            }
        } else {
            // These rows end within the block.
            for c in 0..C.min(k + 2 - j) {
                let second = q * two[j + c];
                sums[c] = sums[c] + if j + c <= k { p * one[j + c] + second } else { second };
            }
        }
    }
    if i % 2 == 1 {
        let last = &above[row(i - 1)..row(i)];
        for c in 0..C.min(i - j) {
            sums[c] = sums[c] + factors[i - 1] * last[j + c];
        }
    }
    this[j..j + C].copy_from_slice(&sums);
    C
}

/// Writes `M'M` of a lower triangular `M`.
#[inline(always)]
pub(super) fn gram<N: Number>(m: &[N], d: usize, product: &mut [N]) {
    for i in (0..d - d % 2).step_by(2) {
        let mut j = 0;
        while j < i + 2 {
            j += if j + 4 <= i + 2 {
                gram_of::<N, 4>(m, d, product, i, j)
            } else {
                gram_of::<N, 2>(m, d, product, i, j)
            };
        }
    }
    if d % 2 == 1 {
        let last = &m[row(d - 1)..row(d)];
        for (to, x) in product[row(d - 1)..row(d)].iter_mut().zip(last) {
            *to = last[d - 1] * *x;
        }
    }
}

/// `C` elements from `j` on of rows `i` and `i + 1` (even numbers) of the product; how many they are in a row.
#[inline(always)]
fn gram_of<N: Number, const C: usize>(m: &[N], d: usize, product: &mut [N], i: usize, j: usize) -> usize {
    let mut sums = [[N::of(0.0); C]; 2];
    let (one, two) = (&m[row(i)..row(i + 1)], &m[row(i + 1)..row(i + 2)]);
    for c in 0..C {
        let below = two[i] * two[j + c];
        // What lies above the diagonal is computed with the rest and not written.
        sums[0][c] = if j + c <= i { one[i] * one[j + c] + below } else { below };
        sums[1][c] = two[i + 1] * two[j + c];
    }
    for k in (i + 2..d - d % 2).step_by(2) {
        let (one, two) = (&m[row(k)..row(k + 1)], &m[row(k + 1)..row(k + 2)]);
        let (xs, ys) = (&one[j..j + C], &two[j..j + C]);
        for r in 0..2 {
            let (p, q) = (one[i + r], two[i + r]);
            for c in 0..C {
                sums[r][c] = sums[r][c] + (p * xs[c] + q * ys[c]);
            }
        }
    }
    if d % 2 == 1 {
        let last = &m[row(d - 1)..row(d)];
        for r in 0..2 {
            for c in 0..C {
                sums[r][c] = sums[r][c] + last[i + r] * last[j + c];
            }
        }
    }
    for r in 0..2 {
        let ends = (i + r + 1 - j).min(C);
        product[row(i + r) + j..][..ends].copy_from_slice(&sums[r][..ends]);
    }
    C
}

/// `a'b`, in four running sums: one alone would wait for every addition.
#[inline(always)]
pub(super) fn dot<N: Number>(a: &[N], b: &[N]) -> N {
    let mut sums = [N::of(0.0); 4];
    let (a4, a_rest) = a.as_chunks::<4>();
    let (b4, b_rest) = b.as_chunks::<4>();
    for (p, q) in a4.iter().zip(b4) {
        for lane in 0..4 {
            sums[lane] = sums[lane] + p[lane] * q[lane];
        }
    }
    let mut rest = N::of(0.0);
    for (p, q) in a_rest.iter().zip(b_rest) {
        rest = rest + *p * *q;
    }
    (sums[0] + sums[2]) + (sums[1] + sums[3]) + rest
}

/// Writes `M'(M x)` of a lower triangular `M`: with `M = C^-1` this is `A^-1 x`.
#[inline(always)]
pub(super) fn apply_inverse<N: Number>(m: &[N], x: &[N], product: &mut [N]) {
    product.fill(N::of(0.0));
    for i in 0..x.len() {
        let this = &m[row(i)..row(i + 1)];
        let part = dot(this, &x[..=i]);
        for (value, a) in product.iter_mut().zip(this) {
            *value = *value + part * *a;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::array::from_fn;

    use super::super::lanes::{Four, LANES, Work, wide};
    use super::super::linalg::packed;
    use super::*;
    use crate::base::Seed;

    /// A positive definite matrix: rows by chance, and a diagonal.
    fn definite(d: usize, seed: u64) -> Vec<f64> {
        let mut a = vec![0.0; packed(d)];
        for i in 0..3 * d as u64 {
            let x: Vec<f64> = (0..d).map(|j| Seed(seed + i).uniform(&j.to_string()) - 0.5).collect();
            super::super::linalg::add_outer(&mut a, 1.3, &x);
        }
        (0..d).for_each(|i| a[row(i) + i] += 0.7);
        a
    }

    /// The plain forms, by the definition, element by element in the same order.
    fn plainly(a: &[f64], d: usize) -> [Vec<f64>; 3] {
        let mut c = a.to_vec();
        let pairs = |upto: usize, of: &dyn Fn(usize) -> f64| {
            let two = |k: usize| if k + 1 < upto { of(k) + of(k + 1) } else { of(k) };
            (0..upto).step_by(2).map(two).collect::<Vec<_>>()
        };
        for j in 0..d {
            for i in j..d {
                let taken = pairs(j, &|k| c[row(i) + k] * c[row(j) + k]);
                let left = taken.into_iter().fold(c[row(i) + j], |left, taken| left - taken);
                c[row(i) + j] = if i == j { left.sqrt() } else { left * (1.0 / c[row(j) + j]) };
            }
        }
        let mut inverse = vec![0.0; packed(d)];
        for i in 0..d {
            let scale = 1.0 / c[row(i) + i];
            for j in 0..i {
                let there = |k: usize| if k < j { 0.0 } else { -(c[row(i) + k] * scale) * inverse[row(k) + j] };
                inverse[row(i) + j] = pairs(i, &there).into_iter().fold(0.0, |sum, pair| sum + pair);
            }
            inverse[row(i) + i] = scale;
        }
        let mut gram = vec![0.0; packed(d)];
        for i in 0..d {
            for j in 0..=i {
                let there = |k: usize| if k < i { 0.0 } else { inverse[row(k) + i] * inverse[row(k) + j] };
                gram[row(i) + j] = pairs(d, &there).into_iter().fold(0.0, |sum, pair| sum + pair);
            }
        }
        [c, inverse, gram]
    }

    /// The same as it is done.
    struct Solved<'a, N>(&'a [N], usize);

    impl<N: Number> Work for Solved<'_, N> {
        type Made = [Vec<N>; 3];

        #[inline(always)]
        fn made(self) -> [Vec<N>; 3] {
            let Self(a, d) = self;
            let mut c = a.to_vec();
            let zeros = vec![N::of(0.0); packed(d)];
            let (mut inverse, mut product, mut factors) = (zeros.clone(), zeros.clone(), zeros[..d].to_vec());
            assert!(cholesky(&mut c, d));
            invert_lower(&c, d, &mut inverse, &mut factors);
            gram(&inverse, d, &mut product);
            [c, inverse, product]
        }
    }

    #[test]
    fn blocks_and_lanes_change_no_bit() {
        for d in 1..=37 {
            let matrices: [Vec<f64>; LANES] = from_fn(|lane| definite(d, 1000 * lane as u64));
            let four: Vec<Four> = (0..packed(d)).map(|at| Four(from_fn(|lane| matrices[lane][at]))).collect();
            let together = wide(Solved(&four, d));
            for (lane, matrix) in matrices.iter().enumerate() {
                let (alone, plain) = (Solved(matrix, d).made(), plainly(matrix, d));
                for ((together, alone), plain) in together.iter().zip(&alone).zip(&plain) {
                    let lane: Vec<f64> = together.iter().map(|four| four.0[lane]).collect();
                    assert_eq!(lane, *alone, "{d}");
                    assert_eq!(alone, plain, "{d}");
                }
            }
        }
    }

    #[test]
    fn one_matrix_that_is_not_positive_definite_is_told() {
        let mut four = [1.0, 2.0, 3.0].map(|x| Four([x, 9.0, 9.0, 9.0]));
        four[2].0 = [1.0, 9.0, 9.0, 10.0];
        assert!(!cholesky(&mut four, 2));
        assert!(cholesky(&mut [4.0, 2.0, 3.0], 2));
    }
}
