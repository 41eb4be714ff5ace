//! Up to four arms side by side, solved together as far as they can be without the others.
//!
//! What comes of it is what each arm would give alone, to the last bit ([`super::lanes`]). A place without an arm is an
//! arm without rows: it says nothing of the shared coefficients, and adds nothing to the evidence.

use std::array::from_fn;

use super::lanes::{Four, LANES, Number as _, Work, wide};
use super::linalg;
use super::sums::Sums;
use super::triangle::{self, SIDE, Triangle};

/// The sums of four arms side by side. Columns are filled up with zeros to the order of a [`Triangle`].
pub(super) struct Quad {
    arms: usize,
    g: Triangle<Four>,
    b: Vec<Four>,
    yy: Four,
    n: Four,
}

impl Quad {
    /// The sums of these arms (one to four, `d` numbers in a row), each multiplied by `factor`.
    pub(super) fn new(arms: &[&Sums], d: usize, factor: f64) -> Self {
        let none = Sums::new(d);
        let lanes: [&Sums; LANES] = from_fn(|lane| *arms.get(lane).unwrap_or(&&none));
        let g = lanes.map(|arm| &arm.g[..linalg::packed(d)]);
        let g = Triangle::new(d, |at| Four(from_fn(|lane| g[lane][at] * factor)));
        let b = column(d, |i| Four(from_fn(|lane| lanes[lane].b[i] * factor)));
        let [yy, n] = [lanes.map(|arm| arm.yy), lanes.map(|arm| arm.n)].map(|x| Four(x.map(|x| (x * factor).max(0.0))));
        Self { arms: arms.len(), g, b, yy, n }
    }

    /// Without the arm in this place.
    fn without(&self, lane: usize, d: usize) -> Self {
        let kept = |four: &Four| Four(from_fn(|l| if l == lane { 0.0 } else { four.0[l] }));
        let g = self.g.packed(d, kept);
        let b = self.b.iter().map(kept).collect();
        Self { arms: self.arms, g: Triangle::new(d, |at| g[at]), b, yy: kept(&self.yy), n: kept(&self.n) }
    }
}

/// A column of `d` numbers, filled up with zeros.
pub(super) fn column(d: usize, element: impl Fn(usize) -> Four) -> Vec<Four> {
    (0..d.next_multiple_of(SIDE)).map(|i| if i < d { element(i) } else { Four::of(0.0) }).collect()
}

/// Four arms, as far as they can be solved without the others.
pub(super) struct Solved {
    pub(super) arms: usize,
    /// `C^-1`, `A = C C'`.
    pub(super) factor: Triangle<Four>,
    b: Vec<Four>,
    /// `A^-1 b`.
    pub(super) base: Vec<Four>,
    yy: Four,
    pub(super) n: Four,
}

impl Solved {
    /// `A^-1` of each arm is added to `inverses`. `room` is overwritten.
    pub(super) fn new(ridge: &[f64], quad: &Quad, room: &mut Triangle<Four>, inverses: &mut Triangle<Four>) -> Self {
        let d = ridge.len();
        let mut factor = Triangle::zeros(d);
        if let Some(base) = wide(Solve { ridge, quad, room, factor: &mut factor, inverses }) {
            return Self { arms: quad.arms, factor, b: quad.b.clone(), base, yy: quad.yy, n: quad.n };
        }
        // Only sums that no rows could have made are not positive definite with their ridge: that arm starts afresh.
        let broken = |lane: &usize| {
            let mut a = quad.g.packed(d, |four| four.0[*lane]);
            ridge.iter().enumerate().for_each(|(i, ridge)| a[linalg::packed(i + 1) - 1] += ridge);
            !linalg::cholesky(&mut a, d)
        };
        let lane = (0..LANES).find(broken).expect("one of them was told");
        Self::new(ridge, &quad.without(lane, d), room, inverses)
    }

    /// `-1/2 ln |A|`, summed over the arms.
    pub(super) fn log_volume(&self, d: usize) -> f64 {
        // |A| is the square of the product of its factor's diagonal, of which the inverse is kept. A logarithm is dear,
        // so one is taken of eight factors at a time: their product is far from vanishing for all sums below 1e70.
        let diagonal: Vec<Four> = self.factor.diagonal(d).collect();
        let product = |few: &[Four]| few.iter().fold(Four::of(1.0), |all, x| all * *x);
        diagonal.chunks(8).map(|few| Four(product(few).0.map(f64::ln)).sum()).sum()
    }

    /// `sum w y^2 - b'A^-1 b`, summed over the arms.
    pub(super) fn squares(&self) -> f64 {
        (self.yy - triangle::dot(&self.b, &self.base)).sum()
    }
}

/// What each of these arms gives alone.
struct Solve<'a> {
    ridge: &'a [f64],
    quad: &'a Quad,
    /// Takes `C`.
    room: &'a mut Triangle<Four>,
    /// Takes `C^-1`.
    factor: &'a mut Triangle<Four>,
    /// `A^-1` is added to it.
    inverses: &'a mut Triangle<Four>,
}

impl Work for Solve<'_> {
    /// `A^-1 b`, if every arm is positive definite; if not, nothing was added.
    type Made = Option<Vec<Four>>;

    #[inline(always)]
    fn made(self) -> Self::Made {
        let Self { ridge, quad, room, factor, inverses } = self;
        if !room.become_factor(&quad.g, ridge) {
            return None;
        }
        factor.become_inverse(room);
        inverses.add_gram(factor);
        Some(factor.apply_inverse(&quad.b))
    }
}

/// What each arm comes to, given `L theta_0` and `theta_0'L theta_0`.
pub(super) struct Residuals<'a> {
    pub(super) solved: &'a Solved,
    pub(super) pull: &'a [Four],
    pub(super) shared_quadratic: f64,
}

impl Work for Residuals<'_> {
    /// `theta` and `R` of each.
    type Made = (Vec<Four>, [f64; LANES]);

    #[inline(always)]
    fn made(self) -> Self::Made {
        let Self { solved, pull, shared_quadratic } = self;
        let mut theta = solved.factor.apply_inverse(pull);
        for (value, base) in theta.iter_mut().zip(&solved.base) {
            *value = *value + *base;
        }
        // theta'A theta = theta'(b + L theta_0).
        let fitted = triangle::dot(&theta, &solved.b) + triangle::dot(&theta, pull);
        let residual = solved.yy + Four::of(shared_quadratic) - fitted;
        (theta, residual.0.map(|r| r.max(0.0)))
    }
}
