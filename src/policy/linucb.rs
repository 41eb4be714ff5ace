//! The contextual baseline of the published tables: an upper confidence bound on a linear model an arm.
//!
//! Like the other [`baselines`](super::baselines) it does not serve. Where nothing is forgotten, a row is one step of rank
//! one on the inverse; where arms forget, all of them fade at every update, and each is solved anew now and then.

use super::baselines::{certain, double};
use super::linalg;
use super::online::{OnlinePolicy, Round};
use super::regression::Sums;

/// Disjoint LinUCB, forgetting if told to (D-LinUCB, Russac, Vernade and Cappe 2019).
///
/// `A = G + ridge I` with `G = sum g^age x x'`, `A2` the same with `g^2`, bound
/// `x'A^-1 b + alpha sqrt(x'A^-1 A2 A^-1 x)`. Every arm forgets at every update of any.
#[derive(Clone, Debug)]
pub struct LinUcb {
    name: String,
    alpha: f64,
    ridge: f64,
    forgetting: f64,
    /// What an arm is worth before its first row.
    prior: f64,
    /// Updates so far.
    now: i32,
    arms: Vec<LinUcbArm>,
}

#[derive(Clone, Debug)]
struct LinUcbArm {
    /// As of the last update; where the arm forgets, of some updates ago, see [`STALE`].
    solved: Solved,
    /// What a forgetting arm is solved from anew. Where nothing is forgotten, one row more is one step more.
    fading: Option<Fading>,
}

/// `A^-1`, all rows of it written out, and the coefficients `A^-1 b`.
#[derive(Clone, Debug)]
struct Solved {
    inverse: Vec<f64>,
    theta: Vec<f64>,
}

/// Sums as they stood at an update; by now they have shrunk.
#[derive(Clone, Debug)]
struct Fading {
    sums: Sums,
    /// `sum g^(2 age) x x'`, all rows written out.
    squared: Vec<f64>,
    at: i32,
    /// From this update on it has to be solved anew.
    stale: i32,
}

/// Updates of other arms after which a forgetting arm is solved anew. With forgetting .997 its sums have shrunk by 4.7 %
/// by then, numerator and denominator alike: nothing next to the bound's own width, and a replay of a wide pool, which
/// does little else than factor, is many times as fast.
const STALE: i32 = 16;

impl LinUcb {
    /// As the offline benchmark plays it: alpha .3, ridge 1, an untried arm is worth 1, which its first rows outweigh as
    /// they do the ridge. `forgetting` 1 forgets nothing.
    #[must_use]
    pub fn new(forgetting: f64, arms: usize, dimensions: usize) -> Self {
        let mut this = Self { prior: 1.0, ..Self::with(0.3, 1.0, forgetting, arms, dimensions) };
        this.arms.iter_mut().for_each(|arm| arm.solved.theta[0] = this.prior);
        this
    }

    /// With these settings; an untried arm is worth 0 and its bound.
    #[must_use]
    pub fn with(alpha: f64, ridge: f64, forgetting: f64, arms: usize, dimensions: usize) -> Self {
        let d = dimensions;
        let mut solved = Solved { inverse: vec![0.0; d * d], theta: vec![0.0; d] };
        solved.inverse.iter_mut().step_by(d + 1).for_each(|value| *value = 1.0 / ridge);
        let fading = Fading { sums: Sums::new(d), squared: vec![0.0; d * d], at: 0, stale: STALE };
        let arm = LinUcbArm { solved, fading: (forgetting < 1.0).then_some(fading) };
        let name = if forgetting < 1.0 { format!("LinUCB, forgetting {forgetting}") } else { "LinUCB".to_owned() };
        Self { name, alpha, ridge, forgetting, prior: 0.0, now: 0, arms: vec![arm; arms] }
    }

    /// The bound of every arm at `x`.
    #[must_use]
    pub fn bounds(&self, x: &[f64]) -> Vec<f64> {
        self.arms.iter().map(|arm| self.bound(arm, &self.solved(arm), x)).collect()
    }

    /// The expected coefficients of an arm.
    #[must_use]
    pub fn coefficients(&self, arm: usize) -> Vec<f64> {
        self.solved(&self.arms[arm]).theta
    }

    /// What is left by now of sums that stood at an update.
    fn left(&self, at: i32) -> f64 {
        self.forgetting.powi(self.now - at)
    }

    /// As of now.
    fn solved(&self, arm: &LinUcbArm) -> Solved {
        let Some(fading) = &arm.fading else { return arm.solved.clone() };
        let (left, d) = (self.left(fading.at), arm.solved.theta.len());
        let mut factor: Vec<f64> = fading.sums.g.iter().map(|value| left * value).collect();
        for i in 0..d {
            factor[linalg::packed(i + 1) - 1] += self.ridge;
        }
        // A sum of squares with a ridge is positive definite.
        let _ = linalg::cholesky(&mut factor, d);
        let half = linalg::inverse(&factor, d);
        let value = |i: usize, j: usize| half[linalg::packed(i.max(j)) + i.min(j)];
        let inverse: Vec<f64> = (0..d * d).map(|place| value(place / d, place % d)).collect();
        let mut target: Vec<f64> = fading.sums.b.iter().map(|value| left * value).collect();
        target[0] += self.ridge * self.prior;
        let theta = product(&inverse, &target);
        Solved { inverse, theta }
    }

    fn bound(&self, arm: &LinUcbArm, solved: &Solved, x: &[f64]) -> f64 {
        let mean = linalg::inner(&solved.theta, x);
        let towards = product(&solved.inverse, x);
        let width = match &arm.fading {
            Some(Fading { squared, at, .. }) => {
                self.left(*at).powi(2) * linalg::inner(&towards, &product(squared, &towards))
                    + self.ridge * linalg::inner(&towards, &towards)
            }
            // Both matrices are the same.
            None => linalg::inner(&towards, x),
        };
        mean + self.alpha * width.sqrt()
    }

    /// Folds in a reward.
    pub fn learn(&mut self, x: &[f64], arm: usize, reward: f64) {
        self.now += 1;
        let left = self.arms[arm].fading.as_ref().map_or(1.0, |fading| self.left(fading.at));
        let arm = &mut self.arms[arm];
        match &mut arm.fading {
            Some(fading) => {
                fading.sums.scale(left);
                fading.sums.add(1.0, x, reward);
                fading.squared.iter_mut().for_each(|value| *value *= left * left);
                add_outer(&mut fading.squared, 1.0, x);
                (fading.at, fading.stale) = (self.now, self.now);
            }
            None => arm.solved.learn(x, reward),
        }
    }
}

impl Solved {
    /// One row more (Sherman and Morrison): with `k = A^-1 x / (1 + x'A^-1 x)`, `A^-1` loses `k x'A^-1` and the
    /// coefficients gain `k` times the error.
    fn learn(&mut self, x: &[f64], reward: f64) {
        let towards = product(&self.inverse, x);
        let scale = 1.0 / (1.0 + linalg::inner(&towards, x));
        let error = reward - linalg::inner(&self.theta, x);
        for (theta, step) in self.theta.iter_mut().zip(&towards) {
            *theta += scale * error * step;
        }
        add_outer(&mut self.inverse, -scale, &towards);
    }
}

/// A symmetric matrix, all rows written out, times a vector: row by row, so that neighbours go side by side.
fn product(matrix: &[f64], x: &[f64]) -> Vec<f64> {
    let mut product = vec![0.0; x.len()];
    for (row, x) in matrix.chunks_exact(x.len()).zip(x) {
        product.iter_mut().zip(row).for_each(|(sum, value)| *sum += value * x);
    }
    product
}

/// Adds `weight x x'` to a matrix with all rows written out.
fn add_outer(matrix: &mut [f64], weight: f64, x: &[f64]) {
    for (row, y) in matrix.chunks_exact_mut(x.len()).zip(x) {
        row.iter_mut().zip(x).for_each(|(value, x)| *value += weight * y * x);
    }
}

impl OnlinePolicy for LinUcb {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&mut self, round: &Round<'_>) -> Vec<f64> {
        let x = double(round.x);
        for arm in 0..self.arms.len() {
            if self.arms[arm].fading.as_ref().is_some_and(|fading| fading.stale <= self.now) {
                let solved = self.solved(&self.arms[arm]);
                let arm = &mut self.arms[arm];
                arm.solved = solved;
                if let Some(fading) = &mut arm.fading {
                    fading.stale = self.now + STALE;
                }
            }
        }
        certain(&self.arms.iter().map(|arm| self.bound(arm, &arm.solved, &x)).collect::<Vec<_>>(), round.open)
    }

    fn update(&mut self, x: &[f32], arm: usize, quality: f64, penalty: f64) {
        self.learn(&double(x), arm, quality - penalty);
    }
}
