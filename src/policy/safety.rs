//! How much may learning cost, and when must it stop?
//!
//! Exploring is choosing another arm than the one believed best. What it is believed to cost is the difference of the
//! two utilities. A [`Guard`] keeps three promises for whoever it stands for (a tenant):
//!
//! - **An allowance.** The believed cost of all exploring stays within a share of the value served so far. Beyond it,
//!   requests are served by the best known arm until enough traffic has come.
//! - **A conservative rule**, after Kazerouni and others: with `b_i` what is believed of the baseline's quality on request
//!   `i` and `l_i` a lower bound of the chosen arm's, exploring is allowed only while
//!   `sum l_i >= (1 - alpha) sum b_i` would still hold if this request brought nothing. So, as far as the lower bounds
//!   hold, the sum of quality served is never below `(1 - alpha)` of the baseline's: at every moment, not on average.
//!   Otherwise the best known arm serves if its lower bound alone keeps the promise, and the baseline if not.
//!
//! - **A quality.** The mean of what is believed of the answers served is kept at a target, at the least cost: a budget
//!   turned round. While it is below, a dollar counts less, while it is above, a dollar counts more, so that the requests
//!   that gain most by a dear answer get one: `w <- clip(w exp(.05 (target - q)), 1/20, 200)` after every choice, and what
//!   a dollar counts to the caller is divided by `w`. It is a mean, not a promise for each answer (that is
//!   `min_quality`), and no more can be kept than the best arm has.
//!
//! A request on which the baseline cannot serve at all has nothing to be compared with and is left out of the second.

use serde::{Deserialize, Serialize};

use super::{CostWeight, Prediction};

/// The settings of a guard. Each at 1 is off.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Share of the value served that exploring may be believed to cost. 0 to 1.
    pub allowance: f64,
    /// Share of the requests that may be answered by another arm than the best known. 0 to 1.
    pub traffic: f64,
    /// Share of the baseline's quality that may be lost. 0 to 1.
    pub loss: f64,
    /// Mean quality to be kept at the least cost. 0 to 1; `None` = what the caller says a dollar counts stands.
    pub quality: Option<f64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { allowance: 1.0, traffic: 1.0, loss: 1.0, quality: None }
    }
}

/// Standard deviations from a belief to its lower bound.
const BOUND: f64 = 2.0;
/// What is taken as served beforehand, so that the first requests may explore: so many requests' worth.
const START: f64 = 50.0;
/// Step of the logarithm of quality's worth, for an answer that misses the target by 1.
const LIFT: f64 = 0.05;
/// Least and greatest worth of quality.
const WORTHS: (f64, f64) = (0.05, 200.0);

/// What was served so far, as it was believed when it was decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Requests.
    pub requests: u64,
    /// Those of them that another arm answered than the best known.
    pub explored: u64,
    /// Believed cost of exploring, in points of utility.
    pub cost: f64,
    /// Believed value served, in points of quality.
    pub value: f64,
    /// Sum of lower bounds of what was served, where there was a baseline.
    pub lower: f64,
    /// Sum of the baseline's believed quality.
    pub baseline: f64,
    /// Logarithm of quality's worth, where a quality is kept.
    #[serde(default)]
    pub lift: f64,
}

/// What a guard says of the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// It may explore as it wishes.
    Free,
    /// Exploring has cost its share: the best known arm serves.
    Spent,
    /// The baseline's promise is at stake: the best known arm serves if it surely keeps the promise, else the baseline.
    Careful,
}

/// Holds exploring to its limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    limits: Limits,
    tally: Tally,
}

impl Guard {
    /// Goes on from this tally; from nothing with the default one.
    #[must_use]
    pub const fn new(limits: Limits, tally: Tally) -> Self {
        Self { limits, tally }
    }

    /// What was served so far.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// What quality is worth at present, 1 where none is to be kept.
    #[must_use]
    pub fn worth(&self) -> f64 {
        self.limits.quality.map_or(1.0, |_| self.tally.lift.exp())
    }

    /// What a dollar counts on the next request, where it counts this much to the caller.
    #[must_use]
    pub fn weigh(&self, cost: CostWeight) -> CostWeight {
        match cost {
            CostWeight::PerUsd(weight) => CostWeight::PerUsd(weight / self.worth()),
            CostWeight::Relative(weight) => CostWeight::Relative(weight / self.worth()),
        }
    }

    /// How freely the next request may explore. `baseline`: what is believed of the baseline on it.
    #[must_use]
    pub fn ruling(&self, baseline: Option<&Prediction>) -> Ruling {
        let Self { limits, tally } = self;
        let due = tally.baseline + baseline.map_or(0.0, |belief| belief.quality.mean);
        if limits.loss < 1.0 && baseline.is_some() && tally.lower < (1.0 - limits.loss) * due {
            Ruling::Careful
        } else if (limits.allowance < 1.0 && tally.cost > limits.allowance * (tally.value + START))
            || (limits.traffic < 1.0 && tally.explored as f64 > limits.traffic * (tally.requests as f64 + START))
        {
            Ruling::Spent
        } else {
            Ruling::Free
        }
    }

    /// Whether this arm alone keeps the promise on a request for which [`Ruling::Careful`] was said.
    #[must_use]
    pub fn surely_keeps(&self, arm: &Prediction, baseline: &Prediction) -> bool {
        lower_bound(arm) >= (1.0 - self.limits.loss) * baseline.quality.mean
    }

    /// A request was decided: what is believed of the arm chosen, of the best known one and of the baseline.
    pub fn decided(&mut self, chosen: &Prediction, best: &Prediction, baseline: Option<&Prediction>) {
        let tally = &mut self.tally;
        let given_up = (best.utility - chosen.utility).max(0.0);
        tally.requests += 1;
        tally.explored += u64::from(given_up > 0.0);
        tally.cost += given_up;
        tally.value += chosen.quality.mean.max(0.0);
        if let Some(target) = self.limits.quality {
            let (least, most) = WORTHS;
            tally.lift = (tally.lift + LIFT * (target - chosen.quality.mean)).clamp(least.ln(), most.ln());
        }
        if let Some(baseline) = baseline {
            // The baseline itself is as good as the baseline, however little is known of it.
            let same = std::ptr::eq(baseline, chosen) || baseline == chosen;
            tally.lower += if same { baseline.quality.mean } else { lower_bound(chosen) };
            tally.baseline += baseline.quality.mean;
        }
    }
}

fn lower_bound(belief: &Prediction) -> f64 {
    (belief.quality.mean - BOUND * belief.quality.sd).max(0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::Seed;
    use crate::policy::Estimate;

    fn belief(quality: f64, sd: f64) -> Prediction {
        Prediction { quality: Estimate { mean: quality, sd }, cost: None, latency: None, utility: quality }
    }

    #[test]
    fn beyond_its_allowance_it_stops_and_with_more_traffic_it_goes_on() {
        let mut guard = Guard::new(Limits { allowance: 0.02, ..Limits::default() }, Tally::default());
        let (good, poor) = (belief(0.8, 0.01), belief(0.4, 0.1));
        let mut explored = 0;
        while guard.ruling(None) == Ruling::Free {
            guard.decided(&poor, &good, None);
            explored += 1;
        }
        assert_eq!(explored, 3, ".4 each, of .02 times some fifty answers");
        let mut served = 0;
        while guard.ruling(None) == Ruling::Spent {
            guard.decided(&good, &good, None);
            served += 1;
        }
        assert!((5..30).contains(&served), "{served}");
    }

    #[test]
    fn a_share_of_the_requests_may_explore_and_no_more() {
        let mut guard = Guard::new(Limits { traffic: 0.1, ..Limits::default() }, Tally::default());
        let (good, poor) = (belief(0.8, 0.01), belief(0.7, 0.1));
        for _ in 0..1_000 {
            let chosen = if guard.ruling(None) == Ruling::Free { &poor } else { &good };
            guard.decided(chosen, &good, None);
        }
        let explored = guard.tally().explored;
        assert!((100..=106).contains(&explored), "a tenth, and of the fifty beforehand: {explored}");
    }

    #[test]
    fn a_quality_is_kept_at_the_least_cost() {
        // Dear answers are better by .2; a mean of .7 needs half of them, whatever a dollar counts at first.
        let mut guard = Guard::new(Limits { quality: Some(0.7), ..Limits::default() }, Tally::default());
        let (mut quality, mut dear) = (0.0, 0);
        for t in 0..6_000 {
            let gain = 0.2 + 0.3 * (Seed(t).uniform("prompt") - 0.5);
            let CostWeight::PerUsd(per_usd) = guard.weigh(CostWeight::PerUsd(1.0)) else { unreachable!() };
            let answer = belief(0.6 + if gain > per_usd { gain } else { 0.0 }, 0.01);
            guard.decided(&answer, &answer, None);
            quality += answer.quality.mean / 6_000.0;
            dear += u32::from(gain > per_usd);
        }
        assert!((0.69..0.715).contains(&quality), "{quality}");
        assert!(dear < 3_000, "the prompts that gain most come first: {dear}");
    }

    proptest! {
        /// The arms are exactly as good as their lower bounds: the worst case that the bounds allow. The best known arm
        /// lures with a mean above the baseline's.
        #[test]
        fn what_is_served_never_falls_below_the_promised_share_of_the_baseline(
            requests in prop::collection::vec((0.3..1.0_f64, 0.0..1.0_f64, 0.0..0.3_f64, 0.0..0.4_f64), 1..300),
            loss in 0.01..0.3_f64,
        ) {
            let mut guard = Guard::new(Limits { loss, ..Limits::default() }, Tally::default());
            let (mut served, mut due) = (0.0, 0.0);
            for (baseline, other, sd, lure) in requests {
                let (baseline, other) = (belief(baseline, 0.05), belief(other, sd));
                let best = belief(baseline.quality.mean + 0.01, lure);
                let chosen = match guard.ruling(Some(&baseline)) {
                    Ruling::Careful if guard.surely_keeps(&best, &baseline) => &best,
                    Ruling::Careful => &baseline,
                    _ => &other,
                };
                let same = std::ptr::eq(chosen, &raw const baseline);
                served += if same { baseline.quality.mean } else { lower_bound(chosen) };
                guard.decided(chosen, &best, Some(&baseline));
                due += baseline.quality.mean;
                prop_assert!(served >= (1.0 - loss) * due - 1e-9, "{served} {due}");
            }
        }
    }
}
