//! A confidence sequence by betting: an interval for a mean that may be looked at after every observation.
//!
//! For every candidate mean `m` on a grid somebody bets against it, on the observations lying above and, with
//! the other half of the money, below it; if `m` is the true mean neither can win in the long run, so an `m`
//! against which the capital has grown `1/alpha`-fold is struck out, for good. Hedged capital with predictable
//! plug-in bets (Waudby-Smith and Ramdas, *Estimating means of bounded random variables by betting*, 2024), with
//! truncation at one half, for observations in `0..=1`.

use super::bounds::Interval;

/// How much of its range a bet may use.
const TRUNCATION: f64 = 0.5;
/// Share of the capital that bets on the mean being higher.
const HEDGE: f64 = 0.5;

/// A confidence sequence for the mean of observations in `0..=1`.
#[derive(Clone, Debug)]
pub struct Betting {
    alpha: f64,
    observed: u64,
    /// With half an observation of one half in it.
    sum: f64,
    /// Sum of squared distances from the running mean, one of them a quarter.
    squares: f64,
    mean: f64,
    /// For every candidate, the logarithm of the capital of those who bet on higher and on lower.
    capital: Vec<(f64, f64)>,
    interval: Interval,
}

impl Betting {
    /// A sequence that is wrong at any time with probability `alpha` at most, on a grid of so many cells.
    #[must_use]
    pub fn new(alpha: f64, cells: usize) -> Self {
        Self {
            alpha,
            observed: 0,
            sum: 0.5,
            squares: 0.25,
            mean: 0.5,
            capital: vec![(0.0, 0.0); cells.max(1) + 1],
            interval: Interval { lower: 0.0, upper: 1.0 },
        }
    }

    /// Takes in an observation; gives the interval that now holds. One outside `0..=1` is taken as the nearer end.
    pub fn observe(&mut self, x: f64) -> Interval {
        let x = x.clamp(0.0, 1.0);
        self.observed += 1;
        let t = self.observed as f64;
        let variance = self.squares / t;
        let bet = (2.0 * (2.0 / self.alpha).ln() / (variance * t * (t + 1.0).ln())).sqrt();
        let cells = self.capital.len() - 1;
        let limit = (1.0 / self.alpha).ln();
        let mut kept: Option<(usize, usize)> = None;
        for (cell, (higher, lower)) in self.capital.iter_mut().enumerate() {
            let m = cell as f64 / cells as f64;
            *higher += (bet.min(TRUNCATION / m) * (x - m)).ln_1p();
            *lower += (-bet.min(TRUNCATION / (1.0 - m)) * (x - m)).ln_1p();
            if (HEDGE.ln() + *higher).max((1.0 - HEDGE).ln() + *lower) < limit {
                kept = Some((kept.map_or(cell, |(first, _)| first), cell));
            }
        }
        self.sum += x;
        self.mean = self.sum / (t + 1.0);
        self.squares += (x - self.mean) * (x - self.mean);
        if let Some((first, last)) = kept {
            // One cell outwards: the truth may lie between the last kept candidate and the first struck out.
            let lower = first.saturating_sub(1) as f64 / cells as f64;
            let upper = (last + 1).min(cells) as f64 / cells as f64;
            self.interval.lower = self.interval.lower.max(lower);
            self.interval.upper = self.interval.upper.min(upper);
        }
        self.interval
    }

    /// The interval that holds now.
    #[must_use]
    pub const fn interval(&self) -> Interval {
        self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seed;

    #[test]
    fn the_interval_only_shrinks_and_holds_the_mean_in_most_streams() {
        let mut missed = 0;
        for stream in 0..60 {
            let mut betting = Betting::new(0.05, 200);
            let mut before = betting.interval();
            let mut ever_missed = false;
            for n in 0..300 {
                let x = f64::from(u8::from(Seed(stream * 1_000 + n).uniform("x") < 0.3));
                let now = betting.observe(x);
                assert!(now.lower >= before.lower && now.upper <= before.upper);
                ever_missed |= !(now.lower..=now.upper).contains(&0.3);
                before = now;
            }
            assert!(before.upper - before.lower < 0.3, "{before:?}");
            missed += u32::from(ever_missed);
        }
        // Sixty streams at an error probability of one in twenty: more than nine would be one in a thousand.
        assert!(missed <= 9, "{missed}");
    }
}
