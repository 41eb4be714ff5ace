//! How sure one may be of a stream of outcomes, whenever one looks at it.
//!
//! A usual interval is right once, at a sample size fixed beforehand; watched all the time it promotes
//! policies that are no better. Both tests here bet against the hypothesis with money that cannot be gained
//! on average while it is true, so the chance that the capital ever reaches `1/alpha` is at most `alpha`:
//! they may be read after every event and acted on at any time.

/// One-sided e-process for "the mean of `D` is above zero", for `D >= -bound`.
///
/// Before each event it bets `lambda = clip(S / (Q + 1/4), 0, 1 / (2 bound))`, `S` and `Q` the sums of `D` and
/// `D^2` so far; then `log E += ln(1 + lambda D)`. For a new policy against the logged one, with
/// `w = pi_new / propensity`: the loss form `D = (1 - w)(1 - y)`, `bound = max(w_max - 1, 1)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lift {
    bound: f64,
    sum: f64,
    squares: f64,
    log_e: f64,
    events: f64,
    /// The sum of the bounds that were given.
    bounds: f64,
}

impl Lift {
    /// No evidence yet. `bound` is known beforehand (from the floor under the propensities), never taken from the
    /// sample.
    #[must_use]
    pub const fn new(bound: f64) -> Self {
        Self { bound, sum: 0.0, squares: 0.0, log_e: 0.0, events: 0.0, bounds: 0.0 }
    }

    /// For the loss form, with the greatest weight that can occur.
    #[must_use]
    pub const fn of_losses(greatest_weight: f64) -> Self {
        Self::new((greatest_weight - 1.0).max(1.0))
    }

    /// The loss form's `D`, for the weight and the quality of one event.
    #[must_use]
    pub fn loss_difference(weight: f64, quality: f64) -> f64 {
        (1.0 - weight) * (1.0 - quality)
    }

    /// Folds in one event.
    pub fn add(&mut self, difference: f64) {
        self.step(difference, self.bound, 1.0);
    }

    /// Folds in one event of which more was known beforehand than of all: `D >= -bound` with a bound that may follow
    /// from what was known of this event before its outcome, but from nothing later. Where it is tight, what has been
    /// seen would allow high bets, and the capital would swing; so half of that is bet, which grows three quarters as
    /// fast and hardly ever reaches `1/alpha` by luck.
    pub fn add_within(&mut self, difference: f64, bound: f64) {
        self.step(difference, bound, 0.5);
    }

    fn step(&mut self, difference: f64, bound: f64, part: f64) {
        self.events += 1.0;
        self.bounds += bound;
        let (mean, second) = (self.sum / self.events, (self.squares + 0.25) / self.events);
        let bet = (part * mean / (second + 1e-12)).clamp(0.0, 0.5 / bound);
        self.log_e += (bet * difference).ln_1p();
        self.sum += difference;
        self.squares += difference * difference;
    }

    /// Natural logarithm of the evidence.
    #[must_use]
    pub const fn log_e(&self) -> f64 {
        self.log_e
    }

    /// Whether the chance of so much evidence without any lift is at most `alpha`.
    #[must_use]
    pub fn proves(&self, alpha: f64) -> bool {
        self.log_e >= -alpha.ln()
    }

    /// How many more events like those seen it would take to prove a lift; `None` if they lead nowhere.
    #[must_use]
    pub fn events_to(&self, alpha: f64) -> Option<u64> {
        let (mean, second) = (self.sum / self.events, self.squares / self.events);
        let bet = (self.sum / (self.squares + 0.25)).clamp(0.0, 0.5 * self.events / self.bounds);
        // The mean of ln(1 + bet D), to the second order.
        let growth = bet * mean - bet * bet * second / 2.0;
        (growth > 0.0).then(|| ((-alpha.ln() - self.log_e).max(0.0) / growth).ceil() as u64)
    }
}

/// An interval for the mean of outcomes in 0..=1 that holds at all times at once: hedged betting
/// (Waudby-Smith and Ramdas), on a grid of [`CELLS`] cells, rounded outwards, intersected over time.
#[derive(Clone, Debug, PartialEq)]
pub struct MeanInterval {
    alpha: f64,
    /// Log capital of the bets on "above" and on "below" each grid value.
    above: Vec<f64>,
    below: Vec<f64>,
    events: f64,
    sum: f64,
    variance: f64,
    mean: f64,
    bounds: (f64, f64),
}

/// Cells of the grid over 0..=1.
pub const CELLS: usize = 1000;

impl MeanInterval {
    /// No outcome yet; the mean is missed with probability at most `alpha`.
    #[must_use]
    pub fn new(alpha: f64) -> Self {
        let capital = vec![0.0; CELLS + 1];
        let (above, below) = (capital.clone(), capital);
        Self { alpha, above, below, events: 0.0, sum: 0.5, variance: 0.25, mean: 0.5, bounds: (0.0, 1.0) }
    }

    /// Folds in one outcome.
    pub fn add(&mut self, outcome: f64) {
        self.events += 1.0;
        let t = self.events;
        // Both bets are kept below a half of what could be lost on the value they bet against.
        let bet = (2.0 * (2.0 / self.alpha).ln() / ((self.variance / t) * t * (t + 1.0).ln())).sqrt();
        let mut kept = (CELLS + 1, 0);
        let reached = -self.alpha.ln() + std::f64::consts::LN_2;
        for (cell, (above, below)) in self.above.iter_mut().zip(&mut self.below).enumerate() {
            let value = cell as f64 / CELLS as f64;
            *above += (bet.min(0.5 / value) * (outcome - value)).ln_1p();
            *below += (-bet.min(0.5 / (1.0 - value)) * (outcome - value)).ln_1p();
            if above.max(*below) < reached {
                kept = (kept.0.min(cell), cell);
            }
        }
        if kept.0 <= kept.1 {
            let lower = kept.0.saturating_sub(1) as f64 / CELLS as f64;
            let upper = (kept.1 + 1).min(CELLS) as f64 / CELLS as f64;
            self.bounds = (self.bounds.0.max(lower), self.bounds.1.min(upper));
        }
        self.sum += outcome;
        self.mean = self.sum / (t + 1.0);
        self.variance += (outcome - self.mean) * (outcome - self.mean);
    }

    /// Lower and upper end.
    #[must_use]
    pub const fn bounds(&self) -> (f64, f64) {
        self.bounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seed;

    #[test]
    fn without_a_lift_hardly_a_stream_is_promoted_however_often_one_looks() {
        let promoted = (0..200_u64)
            .filter(|&stream| {
                let mut lift = Lift::new(1.0);
                (0..1_000).any(|i| {
                    let uniform = Seed(stream * 1_000_003 + i).uniform("null");
                    lift.add(2.0 * uniform - 1.0);
                    lift.proves(0.05)
                })
            })
            .count();
        // At most one in twenty; five standard deviations above that would be 25.
        assert!(promoted <= 25, "{promoted}");
    }

    #[test]
    fn a_true_lift_is_found() {
        let mut lift = Lift::new(1.0);
        let found = (0..2_000_u64).find(|&i| {
            lift.add(2.0 * Seed(i).uniform("lift") - 0.8);
            lift.proves(0.05)
        });
        assert!(found.is_some());
    }

    #[test]
    fn the_interval_holds_the_mean_and_narrows() {
        let mut interval = MeanInterval::new(0.05);
        for i in 0..400 {
            interval.add(f64::from(u8::from(Seed(i).uniform("score") < 0.8)));
        }
        let (lower, upper) = interval.bounds();
        assert!(lower < 0.8 && 0.8 < upper && upper - lower < 0.2, "{lower} {upper}");
    }
}
