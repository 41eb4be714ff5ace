//! The expensive part of [`super::linalg`], for one matrix or for four at a time ([`super::lanes`]).
//!
//! A triangle is cut into blocks of three by three. The elements of a block are nine running sums of fused products:
//! they share what is read for them, stay in registers from the first product to the last, and are as many as a
//! processor takes at once. Each of them is the sum of the textbook in the textbook's order, so the cut changes no bit.

use std::array::from_fn;

use super::lanes::Number;
use super::linalg::row;

/// Rows of a block, and columns.
pub(super) const SIDE: usize = 3;

/// Three rows of three.
type Block<N> = [[N; SIDE]; SIDE];

/// The lower triangle of a matrix. Its order is filled up to a multiple of three with rows of the unit matrix.
#[derive(Clone, Debug)]
pub(super) struct Triangle<N> {
    /// Row by row: block `(i, j)`, `j <= i`, stands at `row(i) + j`. What lies above the diagonal is 0.
    blocks: Vec<Block<N>>,
    /// Rows of blocks.
    side: usize,
}

impl<N: Number> Triangle<N> {
    /// Of order `d`; `element` is told a place in the packed triangle.
    #[inline(always)]
    pub(super) fn new(d: usize, element: impl Fn(usize) -> N) -> Self {
        let mut made = Self::zeros(d);
        for i in 0..d {
            let (these, r) = (&mut made.blocks[row(i / SIDE)..][..=i / SIDE], i % SIDE);
            for (block, at) in these.iter_mut().zip((row(i)..).step_by(SIDE)) {
                for (to, at) in block[r].iter_mut().zip(at..row(i + 1)) {
                    *to = element(at);
                }
            }
        }
        for i in d..made.side * SIDE {
            made.blocks[row(i / SIDE) + i / SIDE][i % SIDE][i % SIDE] = N::of(1.0);
        }
        made
    }

    /// All zeros.
    pub(super) fn zeros(d: usize) -> Self {
        let side = d.div_ceil(SIDE);
        Self { blocks: vec![zeros(); row(side)], side }
    }

    /// The blocks of a row: that of the diagonal, and those before it.
    #[inline(always)]
    fn row(&self, i: usize) -> (&Block<N>, &[Block<N>]) {
        self.blocks[row(i)..=row(i) + i].split_last().expect("a row holds its diagonal")
    }

    /// The first `d` rows as a packed triangle.
    #[inline(always)]
    pub(super) fn packed<T>(&self, d: usize, of: impl Fn(&N) -> T) -> Vec<T> {
        let mut packed = Vec::with_capacity(row(d));
        for i in 0..d {
            let (corner, these) = self.row(i / SIDE);
            these.iter().for_each(|block| packed.extend(block[i % SIDE].iter().map(&of)));
            packed.extend(corner[i % SIDE][..=i % SIDE].iter().map(&of));
        }
        packed
    }

    /// The diagonal of the first `d` rows.
    pub(super) fn diagonal(&self, d: usize) -> impl Iterator<Item = N> {
        (0..d).map(|i| self.blocks[row(i / SIDE) + i / SIDE][i % SIDE][i % SIDE])
    }

    /// Becomes the Cholesky factor `C` of a positive definite `A` plus a diagonal. `false`: one of the matrices is not
    /// positive definite.
    #[inline(always)]
    pub(super) fn become_factor(&mut self, a: &Self, diagonal: &[f64]) -> bool {
        for j in 0..self.side {
            let (above, mut below) = self.blocks.split_at_mut(row(j + 1));
            let (corner, this) = above[row(j)..].split_last_mut().expect("a row holds its corner");
            let mut left = a.blocks[row(j) + j];
            for (r, more) in diagonal.iter().skip(SIDE * j).take(SIDE).enumerate() {
                left[r][r] = left[r][r] + N::of(*more);
            }
            for x in &*this {
                left = less_product(left, x, &transposed(x));
            }
            let Some((factor, scales)) = factor(left) else { return false };
            *corner = factor;
            for i in j + 1..self.side {
                let (these, rest) = below.split_at_mut(i + 1);
                below = rest;
                let mut left = a.blocks[row(i) + j];
                for (x, y) in these.iter().zip(&*this) {
                    left = less_product(left, x, &transposed(y));
                }
                these[j] = transposed(&solved(corner, scales, transposed(&left)));
            }
        }
        true
    }

    /// Becomes the inverse of the lower triangular `C`.
    #[inline(always)]
    pub(super) fn become_inverse(&mut self, c: &Self) {
        let corner = |i: usize| row(i) + i;
        for i in 0..self.side {
            let c = &c.blocks[corner(i)];
            self.blocks[corner(i)] = solved(c, from_fn(|r| c[r][r].inverse()), unit());
        }
        // Diagonal by diagonal: no block waits for the one before it, and all sums of a diagonal are of one length.
        for away in 1..self.side {
            for j in 0..self.side - away {
                let i = j + away;
                let (mut left, mut at) = (zeros(), corner(j));
                for (k, x) in (j..i).zip(&c.blocks[row(i) + j..]) {
                    left = less_product(left, x, &self.blocks[at]);
                    at += k + 1;
                }
                let scales = from_fn(|r| self.blocks[corner(i)][r][r]);
                self.blocks[row(i) + j] = solved(&c.blocks[corner(i)], scales, left);
            }
        }
    }

    /// Adds `M'M` of a lower triangular `M`.
    #[inline(always)]
    pub(super) fn add_gram(&mut self, m: &Self) {
        for i in 0..self.side {
            for j in 0..=i {
                let (mut sum, mut at) = (self.blocks[row(i) + j], row(i));
                for k in i..self.side {
                    sum = plus_product(sum, &transposed(&m.blocks[at + i]), &m.blocks[at + j]);
                    at += k + 1;
                }
                self.blocks[row(i) + j] = sum;
            }
        }
    }

    /// `M'(M x)`, `M` being this: with `M = C^-1` it is `A^-1 x`. `x` is filled up with zeros.
    #[inline(always)]
    pub(super) fn apply_inverse(&self, x: &[N]) -> Vec<N> {
        let mut product = vec![N::of(0.0); x.len()];
        for i in 0..self.side {
            let these = &self.blocks[row(i)..];
            let mut parts = zeros::<N>();
            for (block, x) in these.iter().zip(&x.as_chunks::<SIDE>().0[..=i]) {
                for r in 0..SIDE {
                    for c in 0..SIDE {
                        parts[r][c] = parts[r][c].plus(block[r][c], x[c]);
                    }
                }
            }
            let part = parts.map(|[a, b, c]| a + b + c);
            for (block, product) in these.iter().zip(&mut product.as_chunks_mut::<SIDE>().0[..=i]) {
                for r in 0..SIDE {
                    for c in 0..SIDE {
                        product[c] = product[c].plus(block[r][c], part[r]);
                    }
                }
            }
        }
        product
    }
}

/// A block, element by element.
#[inline(always)]
fn block<N: Number>(element: impl Fn(usize, usize) -> N) -> Block<N> {
    from_fn(|r| from_fn(|c| element(r, c)))
}

#[inline(always)]
fn zeros<N: Number>() -> Block<N> {
    [[N::of(0.0); SIDE]; SIDE]
}

#[inline(always)]
fn unit<N: Number>() -> Block<N> {
    block(|r, c| N::of(f64::from(u8::from(r == c))))
}

#[inline(always)]
fn transposed<N: Number>(x: &Block<N>) -> Block<N> {
    block(|r, c| x[c][r])
}

/// `S - X Y`
#[inline(always)]
fn less_product<N: Number>(mut s: Block<N>, x: &Block<N>, y: &Block<N>) -> Block<N> {
    for k in 0..SIDE {
        for r in 0..SIDE {
            for c in 0..SIDE {
                s[r][c] = s[r][c].less(x[r][k], y[k][c]);
            }
        }
    }
    s
}

/// `S + X Y`
#[inline(always)]
fn plus_product<N: Number>(mut s: Block<N>, x: &Block<N>, y: &Block<N>) -> Block<N> {
    for k in 0..SIDE {
        for r in 0..SIDE {
            for c in 0..SIDE {
                s[r][c] = s[r][c].plus(x[r][k], y[k][c]);
            }
        }
    }
    s
}

/// The Cholesky factor of a positive definite block, and the inverses of its diagonal.
#[inline(always)]
fn factor<N: Number>([[a, ..], [b, d, _], [c, e, f]]: Block<N>) -> Option<(Block<N>, [N; SIDE])> {
    let zero = N::of(0.0);
    let a = a.sqrt();
    let one = a.inverse();
    let (b, c) = (b * one, c * one);
    let d = d.less(b, b).sqrt();
    let two = d.inverse();
    let e = e.less(c, b) * two;
    let f = f.less(c, c).less(e, e).sqrt();
    // A root is above 0 and finite exactly where its square is.
    let definite = a.may_be_pivot() && d.may_be_pivot() && f.may_be_pivot();
    definite.then_some(([[a, zero, zero], [b, d, zero], [c, e, f]], [one, two, f.inverse()]))
}

/// `C^-1 S` of a lower triangular `C`, given the inverses of its diagonal.
#[expect(clippy::needless_range_loop, reason = "places of fixed arrays: written so, they stay in registers")]
#[inline(always)]
fn solved<N: Number>(c: &Block<N>, scales: [N; SIDE], mut s: Block<N>) -> Block<N> {
    for j in 0..SIDE {
        s[0][j] = s[0][j] * scales[0];
        s[1][j] = s[1][j].less(c[1][0], s[0][j]) * scales[1];
        s[2][j] = s[2][j].less(c[2][0], s[0][j]).less(c[2][1], s[1][j]) * scales[2];
    }
    s
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
            let [mut c, mut inverse, mut product] = [(); 3].map(|()| Triangle::zeros(d));
            assert!(c.become_factor(&Triangle::new(d, |at| a[at]), &[]));
            inverse.become_inverse(&c);
            product.add_gram(&inverse);
            [c, inverse, product].map(|made| made.packed(d, |x| *x))
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
        assert!(!Triangle::zeros(2).become_factor(&Triangle::new(2, |at| four[at]), &[]));
        assert!(Triangle::zeros(2).become_factor(&Triangle::new(2, |at| four[at]), &[0.0, 4.0]));
        assert!(Triangle::zeros(2).become_factor(&Triangle::new(2, |at| [4.0, 2.0, 3.0][at]), &[]));
    }
}
