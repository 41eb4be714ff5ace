//! The expensive part of [`super::linalg`], for one matrix or for four at a time ([`super::lanes`]).
//!
//! Every element is one running sum of fused products that stays in a register from its first to its last; a block of
//! neighbours shares what is read for them, and has as many sums under way as the processor takes at once. How large the
//! blocks are changes no sum.

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
        *corner = corner.less(below, below);
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
                *second = second.less(first, below) * two;
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

/// Takes the columns before `j` out of `C` columns from there on, in `R` rows from `i` on.
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
    for k in 0..j {
        let mut xs = [N::of(0.0); C];
        for c in 0..C {
            xs[c] = columns[c][k];
        }
        for r in 0..R {
            for c in 0..C {
                sums[r][c] = sums[r][c].less(rows[r][k], xs[c]);
            }
        }
    }
    for r in 0..R {
        a[row(i + r) + j..][..C].copy_from_slice(&sums[r]);
    }
}

/// Writes the inverse of a lower triangular `C`.
#[inline(always)]
pub(super) fn invert_lower<N: Number>(c: &[N], d: usize, inverse: &mut [N]) {
    for i in (0..d).step_by(2) {
        if i + 1 == d {
            invert_rows::<N, 1>(c, i, inverse);
        } else {
            invert_rows::<N, 2>(c, i, inverse);
        }
    }
}

/// `R` rows of the inverse from `i` (an even number) on.
#[inline(always)]
fn invert_rows<N: Number, const R: usize>(c: &[N], i: usize, inverse: &mut [N]) {
    let (above, these) = inverse.split_at_mut(row(i));
    let (mut rows, mut scales) = ([&c[..0]; R], [N::of(0.0); R]);
    for r in 0..R {
        rows[r] = &c[row(i + r)..row(i + r + 1)];
        scales[r] = rows[r][i + r].inverse();
    }
    let mut j = 0;
    while j < i {
        j += if j + 4 <= i {
            inverse_of::<N, R, 4>(above, these, rows, scales, j)
        } else {
            inverse_of::<N, R, 2>(above, these, rows, scales, j)
        };
    }
    these[i] = scales[0];
    if R == 2 {
        these[i + 1 + i] = N::of(0.0).less(rows[1][i], scales[0]) * scales[1];
        these[i + 1 + i + 1] = scales[1];
    }
}

/// `C` elements from `j` on of the first row of these and, if there are two, of the second; how many they are in a row.
#[expect(clippy::needless_range_loop, reason = "places of fixed arrays: written so, they stay in registers")]
#[inline(always)]
fn inverse_of<N: Number, const R: usize, const C: usize>(
    above: &[N],
    these: &mut [N],
    rows: [&[N]; R],
    scales: [N; R],
    j: usize,
) -> usize {
    let i = rows[0].len() - 1;
    let last = rows[R - 1][i];
    let mut sums = [[N::of(0.0); C]; R];
    // The first rows end within the block.
    for k in j..j + C - 1 {
        let this = &above[row(k)..row(k + 1)];
        for r in 0..R {
            for c in 0..=k - j {
                sums[r][c] = sums[r][c].less(rows[r][k], this[j + c]);
            }
        }
    }
    let full = j + C - 1;
    let mut at = row(full) + j;
    for k in full..i {
        let xs: &[N; C] = of(above, at);
        at += k + 1;
        for r in 0..R {
            for c in 0..C {
                sums[r][c] = sums[r][c].less(rows[r][k], xs[c]);
            }
        }
    }
    for c in 0..C {
        these[j + c] = sums[0][c] * scales[0];
    }
    if R == 2 {
        for c in 0..C {
            these[i + 1 + j + c] = sums[1][c].less(last, these[j + c]) * scales[1];
        }
    }
    C
}

/// So many elements from here on.
#[inline(always)]
fn of<N, const C: usize>(row: &[N], from: usize) -> &[N; C] {
    row[from..].first_chunk().expect("a block ends with its row at the latest")
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
        // What lies above the diagonal is computed with the rest and not written.
        let first = if j + c <= i { one[i] * one[j + c] } else { N::of(0.0) };
        sums[0][c] = first.plus(two[i], two[j + c]);
        sums[1][c] = two[i + 1] * two[j + c];
    }
    let mut at = row(i + 2);
    for k in i + 2..d {
        let this = &m[at..];
        at += k + 1;
        let (ps, xs): (&[N; 2], &[N; C]) = (of(this, i), of(this, j));
        for r in 0..2 {
            for c in 0..C {
                sums[r][c] = sums[r][c].plus(ps[r], xs[c]);
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
        for j in 0..d {
            for i in j..d {
                let left = (0..j).fold(c[row(i) + j], |left, k| left.less(c[row(i) + k], c[row(j) + k]));
                c[row(i) + j] = if i == j { left.sqrt() } else { left * (1.0 / c[row(j) + j]) };
            }
        }
        let mut inverse = vec![0.0; packed(d)];
        for i in 0..d {
            let scale = 1.0 / c[row(i) + i];
            for j in 0..i {
                inverse[row(i) + j] =
                    (j..i).fold(0.0, |sum: f64, k| sum.less(c[row(i) + k], inverse[row(k) + j])) * scale;
            }
            inverse[row(i) + i] = scale;
        }
        let mut gram = vec![0.0; packed(d)];
        for i in 0..d {
            for j in 0..=i {
                let first = inverse[row(i) + i] * inverse[row(i) + j];
                gram[row(i) + j] = (i + 1..d).fold(first, |sum, k| sum.plus(inverse[row(k) + i], inverse[row(k) + j]));
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
            let (mut inverse, mut product) = (zeros.clone(), zeros);
            assert!(cholesky(&mut c, d));
            invert_lower(&c, d, &mut inverse);
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
