//! How much may learning cost, and when must it stop?
//!
//! Exploring is choosing another arm than the one believed best. What it is believed to cost is the difference of the
//! two utilities. A [`Guard`] keeps two promises for whoever it stands for (a tenant):
//!
//! - **An allowance.** The believed cost of all exploring stays within a share of the value served so far. Beyond it,
//!   requests are served by the best known arm until enough traffic has come.
//! - **A conservative rule**, after Kazerouni and others: with `b_i` what is believed of the baseline's quality on request
//!   `i` and `l_i` a lower bound of the chosen arm's, exploring is allowed only while
//!   `sum l_i >= (1 - alpha) sum b_i` would still hold if this request brought nothing. So, as far as the lower bounds
//!   hold, the sum of quality served is never below `(1 - alpha)` of the baseline's: at every moment, not on average.
//!   Requests that do not explore get the better of the baseline and the best known arm, by lower bound.

use serde::{Deserialize, Serialize};

use super::{Explore, Prediction};

/// The settings of a guard.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Share of the value served that exploring may be believed to cost. 0 to 1.
    pub allowance: f64,
    /// Share of the baseline's quality that may be lost. 0 to 1; 1 = the rule is off.
    pub loss: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { allowance: 0.02, loss: 1.0 }
    }
}

/// Standard deviations from a belief to its lower bound.
const BOUND: f64 = 2.0;
/// Value that is taken as served beforehand, so that the first requests may explore: so many requests' worth.
const START: f64 = 50.0;

/// What exploring has cost so far, and what the baseline would have brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    limits: Limits,
    /// Believed cost of exploring.
    cost: f64,
    /// Believed value served.
    value: f64,
    /// Sum of lower bounds of what was served.
    lower: f64,
    /// Sum of the baseline's believed quality.
    baseline: f64,
}

impl Guard {
    /// Nothing served yet.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self { limits, cost: 0.0, value: 0.0, lower: 0.0, baseline: 0.0 }
    }

    /// How freely the next request may explore, of what it wishes. `baseline`: what is believed of the baseline on it.
    #[must_use]
    pub fn allows(&self, wish: Explore, baseline: Option<&Prediction>) -> Explore {
        let spent = self.cost > self.limits.allowance * (self.value + START);
        let due = self.baseline + baseline.map_or(0.0, |belief| belief.quality.mean);
        let unsafe_now = self.limits.loss < 1.0 && self.lower < (1.0 - self.limits.loss) * due;
        if spent || unsafe_now { Explore::Never } else { wish }
    }

    /// A request was decided: what is believed of the arm chosen, of the best known one and of the baseline.
    pub fn decided(&mut self, chosen: &Prediction, best: &Prediction, baseline: Option<&Prediction>) {
        self.cost += (best.utility - chosen.utility).max(0.0);
        self.value += chosen.quality.mean.max(0.0);
        if let Some(baseline) = baseline {
            // The baseline itself is as good as the baseline, however little is known of it.
            let same = std::ptr::eq(baseline, chosen) || baseline == chosen;
            let bound = chosen.quality.mean - BOUND * chosen.quality.sd;
            self.lower += if same { baseline.quality.mean } else { bound.max(0.0) };
            self.baseline += baseline.quality.mean;
        }
    }

    /// Share of the value served that exploring is believed to have cost.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.value > 0.0 { self.cost / self.value } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::Estimate;

    fn belief(quality: f64, sd: f64) -> Prediction {
        Prediction { quality: Estimate { mean: quality, sd }, cost: None, latency: None, utility: quality }
    }

    #[test]
    fn beyond_its_allowance_it_stops_and_with_more_traffic_it_goes_on() {
        let mut guard = Guard::new(Limits { allowance: 0.02, loss: 1.0 });
        let (good, poor) = (belief(0.8, 0.01), belief(0.4, 0.1));
        let mut explored = 0;
        while guard.allows(Explore::Floor, None) == Explore::Floor {
            guard.decided(&poor, &good, None);
            explored += 1;
        }
        assert_eq!(explored, 3, ".4 each, of .02 times some fifty answers");
        let mut served = 0;
        while guard.allows(Explore::Full, None) == Explore::Never {
            guard.decided(&good, &good, None);
            served += 1;
        }
        assert!((5..30).contains(&served), "{served}");
    }

    proptest! {
        /// The arms are exactly as good as their lower bounds: the worst case that the bounds allow.
        #[test]
        fn what_is_served_never_falls_below_the_promised_share_of_the_baseline(
            requests in prop::collection::vec((0.3..1.0_f64, 0.0..1.0_f64, 0.0..0.3_f64), 1..300), loss in 0.01..0.3_f64,
        ) {
            let mut guard = Guard::new(Limits { allowance: 1.0, loss });
            let (mut served, mut due) = (0.0, 0.0);
            for (baseline, other, sd) in requests {
                let (baseline, other) = (belief(baseline, 0.05), belief(other, sd));
                let explores = guard.allows(Explore::Floor, Some(&baseline)) == Explore::Floor;
                let bound = (other.quality.mean - 2.0 * sd).max(0.0);
                if explores {
                    served += bound;
                    guard.decided(&other, &baseline, Some(&baseline));
                } else {
                    served += baseline.quality.mean;
                    guard.decided(&baseline, &baseline, Some(&baseline));
                }
                due += baseline.quality.mean;
                prop_assert!(served >= (1.0 - loss) * due - 1e-9, "{served} {due}");
            }
        }
    }
}
