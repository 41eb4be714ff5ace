//! The little linear algebra that a policy needs, on packed lower triangles in double precision.
//!
//! A symmetric or lower triangular matrix of order `d` is `d (d + 1) / 2` numbers, row by row: element
//! `(i, j)`, `j <= i`, stands at `i (i + 1) / 2 + j`. Everything is plain loops over contiguous rows.

/// Numbers in a packed triangle of order `d`.
#[must_use]
pub const fn packed(d: usize) -> usize {
    d * (d + 1) / 2
}

const fn row(i: usize) -> usize {
    i * (i + 1) / 2
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    // Four running sums: the compiler may not reorder one sum, and one alone waits for every addition.
    let mut sums = [0.0; 4];
    let (a4, a_rest) = a.as_chunks::<4>();
    let (b4, b_rest) = b.as_chunks::<4>();
    for (p, q) in a4.iter().zip(b4) {
        for lane in 0..4 {
            sums[lane] += p[lane] * q[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(p, q)| p * q).sum();
    (sums[0] + sums[2]) + (sums[1] + sums[3]) + rest
}

/// `a'b`.
#[must_use]
pub fn inner(a: &[f64], b: &[f64]) -> f64 {
    dot(a, b)
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

/// `to[j] += p a[j] + q b[j]` over the shortest of the three: two rows for one pass over `to`.
fn add_two(to: &mut [f64], (p, a): (f64, &[f64]), (q, b): (f64, &[f64])) {
    for ((value, &x), &y) in to.iter_mut().zip(a).zip(b) {
        *value += p * x + q * y;
    }
}

/// Replaces the positive definite `A` by its Cholesky factor `C`, `A = C C'`. `false`: it is not positive
/// definite, and what stands in `a` is of no use.
///
/// Column by column, two at a time: each pair is taken out of all that stands to its lower right in one pass over
/// contiguous rows.
#[must_use]
pub fn cholesky(a: &mut [f64], d: usize) -> bool {
    let (mut one, mut two) = (vec![0.0; d], vec![0.0; d]);
    for k in (0..d).step_by(2) {
        if !pivot_column(a, k, d, &mut one) {
            return false;
        }
        if k + 1 == d {
            return true;
        }
        for i in k + 1..d {
            a[row(i) + k + 1] -= one[i] * one[k + 1];
        }
        if !pivot_column(a, k + 1, d, &mut two) {
            return false;
        }
        for i in k + 2..d {
            let this = &mut a[row(i) + k + 2..=row(i) + i];
            add_two(this, (-one[i], &one[k + 2..]), (-two[i], &two[k + 2..]));
        }
    }
    true
}

/// Finishes column `k` of the factor, in place and in `column`. `false`: its pivot is not positive.
fn pivot_column(a: &mut [f64], k: usize, d: usize, column: &mut [f64]) -> bool {
    let pivot = a[row(k) + k];
    // Also false for NaN.
    if !(pivot > 0.0 && pivot.is_finite()) {
        return false;
    }
    let root = pivot.sqrt();
    a[row(k) + k] = root;
    let scale = 1.0 / root;
    for i in k + 1..d {
        let value = &mut a[row(i) + k];
        *value *= scale;
        column[i] = *value;
    }
    true
}

/// Replaces `b` by the solution of `C z = b`.
pub fn solve_lower(c: &[f64], b: &mut [f64]) {
    for i in 0..b.len() {
        let factor = &c[row(i)..=row(i) + i];
        b[i] = (b[i] - dot(&b[..i], &factor[..i])) / factor[i];
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

/// `C^-1`, itself lower triangular, so that `x' A^-1 x = |C^-1 x|^2` is a product without divisions.
#[must_use]
pub fn invert_lower(c: &[f64], d: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; packed(d)];
    for i in 0..d {
        let scale = 1.0 / c[row(i) + i];
        let (above, this) = inverse.split_at_mut(row(i));
        let factor = |k: usize| -c[row(i) + k] * scale;
        for k in (1..i).step_by(2) {
            let (p, q) = (factor(k - 1), factor(k));
            add_two(this, (p, &above[row(k - 1)..row(k)]), (q, &above[row(k)..]));
            this[k] += q * above[row(k) + k];
        }
        if i % 2 == 1 {
            let p = factor(i - 1);
            this.iter_mut().zip(&above[row(i - 1)..]).for_each(|(value, &x)| *value += p * x);
        }
        this[i] = scale;
    }
    inverse
}

/// `M'M` of a lower triangular `M`: with `M = C^-1` this is `A^-1`.
#[must_use]
pub fn gram(m: &[f64], d: usize) -> Vec<f64> {
    let mut product = vec![0.0; packed(d)];
    let line = |k: usize| &m[row(k)..=row(k) + k];
    for k in (1..d).step_by(2) {
        let (one, two) = (line(k - 1), line(k));
        for i in 0..k {
            add_two(&mut product[row(i)..=row(i) + i], (one[i], one), (two[i], two));
        }
        product[row(k)..=row(k) + k].iter_mut().zip(two).for_each(|(value, &x)| *value += two[k] * x);
    }
    if d % 2 == 1 {
        let last = line(d - 1);
        for i in 0..d {
            product[row(i)..=row(i) + i].iter_mut().zip(last).for_each(|(value, &x)| *value += last[i] * x);
        }
    }
    product
}

/// `|M x|^2` of a lower triangular `M`.
#[must_use]
pub fn squared_length(m: &[f64], x: &[f64]) -> f64 {
    (0..x.len())
        .map(|i| {
            let part = dot(&m[row(i)..=row(i) + i], &x[..=i]);
            part * part
        })
        .sum()
}

/// `M'(M x)` of a lower triangular `M`: with `M = C^-1` this is `A^-1 x`.
#[must_use]
pub fn apply_inverse(m: &[f64], x: &[f64]) -> Vec<f64> {
    let mut product = vec![0.0; x.len()];
    for i in 0..x.len() {
        let this = &m[row(i)..=row(i) + i];
        let part = dot(this, &x[..=i]);
        for (value, &a) in product.iter_mut().zip(this) {
            *value += part * a;
        }
    }
    product
}

/// `S x` of a symmetric `S`.
#[must_use]
pub fn multiply(s: &[f64], x: &[f64]) -> Vec<f64> {
    let mut product = vec![0.0; x.len()];
    for i in 0..x.len() {
        let this = &s[row(i)..=row(i) + i];
        product[i] += dot(this, &x[..=i]);
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
            let inverse_factor = invert_lower(&c, 7);
            let inverse = gram(&inverse_factor, 7);
            for (x, y) in multiply(&inverse, &b).iter().zip(&z) {
                prop_assert!((x - y).abs() < 1e-9, "{x} {y}");
            }
            let quadratic = squared_length(&inverse_factor, &b);
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
