//! Up to four arms side by side, solved together as far as they can be without the others.
//!
//! What comes of it is what each arm would give alone, to the last bit ([`super::lanes`]).

use std::array::from_fn;

use super::lanes::{Four, LANES, Number as _, Work, wide};
use super::linalg::{self, packed};
use super::regression::Sums;
use super::triangle;

/// The sums of up to four arms side by side; places without an arm have none.
pub(super) struct Quad {
    arms: usize,
    g: Vec<Four>,
    b: Vec<Four>,
    yy: [f64; LANES],
    n: [f64; LANES],
}

impl Quad {
    /// The sums of these arms (one to four, `d` numbers in a row), each multiplied by `factor`.
    pub(super) fn new(arms: &[&Sums], d: usize, factor: f64) -> Self {
        let zero = Four::of(0.0);
        let (mut g, mut b) = (vec![zero; packed(d)], vec![zero; d]);
        let (mut yy, mut n) = ([0.0; LANES], [0.0; LANES]);
        for (lane, arm) in arms.iter().enumerate() {
            let into = |to: &mut [Four], from: &[f64]| {
                to.iter_mut().zip(from).for_each(|(to, from)| to.0[lane] = from * factor);
            };
            into(&mut g, &arm.g);
            into(&mut b, &arm.b);
            (yy[lane], n[lane]) = ((arm.yy * factor).max(0.0), (arm.n * factor).max(0.0));
        }
        Self { arms: arms.len(), g, b, yy, n }
    }

    /// Without the arm in this place.
    fn without(&self, lane: usize) -> Self {
        let (mut g, mut b, mut yy, mut n) = (self.g.clone(), self.b.clone(), self.yy, self.n);
        g.iter_mut().chain(&mut b).for_each(|four| four.0[lane] = 0.0);
        (yy[lane], n[lane]) = (0.0, 0.0);
        Self { arms: self.arms, g, b, yy, n }
    }
}

/// Up to four arms, as far as they can be solved without the others.
pub(super) struct Solved {
    pub(super) arms: usize,
    /// `C^-1`, `A = C C'`.
    pub(super) factor: Vec<Four>,
    pub(super) b: Vec<Four>,
    /// `A^-1 b`.
    pub(super) base: Vec<Four>,
    pub(super) yy: [f64; LANES],
    pub(super) n: [f64; LANES],
}

impl Solved {
    /// `A^-1` of each arm is added to `inverses`, `A^-1 b` to `bases`.
    pub(super) fn new(ridge: &[f64], quad: &Quad, inverses: &mut [Four], bases: &mut [Four]) -> Self {
        let zero = Four::of(0.0);
        let (mut factor, mut base) = (vec![zero; packed(ridge.len())], vec![zero; ridge.len()]);
        let room = Room { factor: &mut factor, base: &mut base, inverses, bases };
        if wide(Solve { ridge, quad, room }) {
            return Self { arms: quad.arms, factor, b: quad.b.clone(), base, yy: quad.yy, n: quad.n };
        }
        // Only sums that no rows could have made are not positive definite with their ridge: that arm starts afresh.
        let broken = |lane: &usize| {
            let mut a: Vec<f64> = quad.g.iter().map(|four| four.0[*lane]).collect();
            ridge.iter().enumerate().for_each(|(i, ridge)| a[packed(i + 1) - 1] += ridge);
            !linalg::cholesky(&mut a, ridge.len())
        };
        let lane = (0..LANES).find(broken).expect("one of them was told");
        Self::new(ridge, &quad.without(lane), inverses, bases)
    }

    /// `-1/2 ln |A|`, summed over the arms.
    pub(super) fn log_volume(&self, d: usize) -> f64 {
        // |A| is the square of the product of its factor's diagonal, of which the inverse is kept. A logarithm is dear,
        // so one is taken of eight factors at a time: no number that a sum can hold makes their product vanish.
        let mut logs = 0.0;
        for from in (0..d).step_by(8) {
            let product = (from..d.min(from + 8)).fold(Four::of(1.0), |all, i| all * self.factor[packed(i + 1) - 1]);
            logs += product.0[..self.arms].iter().map(|x| x.ln()).sum::<f64>();
        }
        logs
    }
}

/// What each of these arms gives alone.
struct Solve<'a> {
    ridge: &'a [f64],
    quad: &'a Quad,
    room: Room<'a>,
}

/// Where it is written, or added.
struct Room<'a> {
    /// `C^-1`.
    factor: &'a mut [Four],
    /// `A^-1 b`.
    base: &'a mut [Four],
    /// Sum of `A^-1`.
    inverses: &'a mut [Four],
    /// Sum of `A^-1 b`.
    bases: &'a mut [Four],
}

impl Work for Solve<'_> {
    /// Whether every arm is positive definite; if not, nothing was added.
    type Made = bool;

    #[inline(always)]
    fn made(self) -> bool {
        let Self { ridge, quad, room: Room { factor, base, inverses, bases } } = self;
        let d = ridge.len();
        let mut a = quad.g.clone();
        for (i, ridge) in ridge.iter().enumerate() {
            let corner = &mut a[packed(i + 1) - 1];
            *corner = *corner + Four::of(*ridge);
        }
        if !triangle::cholesky(&mut a, d) {
            return false;
        }
        triangle::invert_lower(&a, d, factor);
        // The factor has served: its place takes the inverse.
        triangle::gram(factor, d, &mut a);
        let there = Four(from_fn(|lane| f64::from(u8::from(lane < quad.arms))));
        for (sum, inverse) in inverses.iter_mut().zip(&a) {
            *sum = sum.plus(there, *inverse);
        }
        triangle::apply_inverse(factor, &quad.b, base);
        for (sum, base) in bases.iter_mut().zip(base) {
            *sum = sum.plus(there, *base);
        }
        true
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
        let mut theta = vec![Four::of(0.0); pull.len()];
        triangle::apply_inverse(&solved.factor, pull, &mut theta);
        for (value, base) in theta.iter_mut().zip(&solved.base) {
            *value = *value + *base;
        }
        // theta'A theta = theta'(b + L theta_0).
        let fitted = triangle::dot(&theta, &solved.b) + triangle::dot(&theta, pull);
        (theta, from_fn(|lane| (solved.yy[lane] + shared_quadratic - fitted.0[lane]).max(0.0)))
    }
}
