//! Whether a namespace may serve: what was found when its answers were checked.
//!
//! A check is an answer that was served, or would have been but for the shadow, compared with what a model says to the
//! very question. Checks are drawn by chance and not by how sure the cache was, so that their share of wrong ones speaks
//! of all. A namespace begins in the shadow: it looks up, decides and learns, and serves nothing. It serves once there
//! are enough verdicts and the upper limit of its share of wrong answers ([`upper_limit`], Clopper and Pearson, 95 %)
//! is within what was asked for. From then on it is watched by a bet against it that pays when checks are wrong more
//! often than allowed; when the bet has won twenty times its stake, it answers by exact keys alone, and after a while
//! begins anew in the shadow. The bet is never allowed to fall below its stake: a long good past buys no patience.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Beta, ContinuousCDF as _};

use super::compare::Verdict;
use crate::base::Timestamp;
use crate::cache::config::SemanticConfig;

/// Winnings at which the breaker opens.
const OPENS_AT: f64 = 20.0;

/// What a namespace may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It decides and learns and serves nothing.
    #[default]
    Shadow,
    /// It serves.
    Serving,
    /// It was wrong too often.
    ExactOnly,
}

impl State {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Serving => "serving",
            Self::ExactOnly => "exact_only",
        }
    }
}

/// What was found of a namespace's answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// What it may do.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// Verdicts that taught something.
    pub labels: u64,
    /// Checks since it was last in the shadow.
    pub checks: u64,
    /// Of these, wrong.
    pub wrong: u64,
    /// Of these, such that nobody can say.
    pub unclear: u64,
    /// Answers that callers reported.
    pub reports: u64,
    /// What the bet against it has won.
    wealth: f64,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            state: State::Shadow,
            since: Timestamp(0),
            labels: 0,
            checks: 0,
            wrong: 0,
            unclear: 0,
            reports: 0,
            wealth: 1.0,
        }
    }
}

impl Standing {
    /// The upper limit of the share of wrong answers, 95 %; 1 before the first check.
    #[must_use]
    pub fn bound(&self) -> f64 {
        upper_limit(self.wrong + self.unclear, self.checks)
    }

    /// Takes note of a check.
    pub fn checked(&mut self, verdict: Verdict, settings: &SemanticConfig, now: Timestamp) {
        let Some(target) = settings.max_wrong else { return };
        self.checks += 1;
        self.wrong += u64::from(verdict == Verdict::Wrong);
        self.unclear += u64::from(verdict == Verdict::Unclear);
        if self.state == State::Serving {
            let miss = if verdict == Verdict::Right { 0.0 } else { 1.0 };
            // The stake that grows fastest where three times as many are wrong as may be.
            let stake = 2.0 / (1.0 - target);
            self.wealth = self.wealth.max(1.0) * (1.0 + stake * (miss - target));
            if self.wealth >= OPENS_AT {
                (self.state, self.since) = (State::ExactOnly, now);
            }
        }
        self.rise(settings, now);
    }

    /// Takes note of a verdict that taught something.
    pub fn taught(&mut self, settings: &SemanticConfig, now: Timestamp) {
        self.labels += 1;
        self.rise(settings, now);
    }

    /// Out of the shadow, where the evidence allows it.
    fn rise(&mut self, settings: &SemanticConfig, now: Timestamp) {
        let Some(target) = settings.max_wrong else { return };
        let known = self.labels >= settings.min_labels && self.bound() <= target;
        if self.state == State::Shadow && known {
            (self.state, self.since, self.wealth) = (State::Serving, now, 1.0);
        }
    }

    /// What it may do at this moment. After its time a namespace that was wrong too often is back in the shadow, with
    /// everything to be proven anew.
    pub fn now(&mut self, settings: &SemanticConfig, now: Timestamp) -> State {
        if self.state == State::ExactOnly && now.since(self.since) >= settings.cooling {
            *self = Self { since: now, labels: self.labels, reports: self.reports, ..Self::default() };
        }
        self.state
    }
}

/// The 95 % upper limit of a share of which `k` of `n` were seen (Clopper and Pearson, one-sided).
#[must_use]
pub fn upper_limit(k: u64, n: u64) -> f64 {
    if k >= n {
        return 1.0;
    }
    Beta::new((k + 1) as f64, (n - k) as f64).map_or(1.0, |beta| beta.inverse_cdf(0.95))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seed;

    fn settings(max_wrong: f64) -> SemanticConfig {
        SemanticConfig { max_wrong: Some(max_wrong), min_labels: 10, ..SemanticConfig::default() }
    }

    #[test]
    fn the_limit_is_that_of_the_books() {
        // Checks needed for 0, 1, 2 wrong at a target of 5 % and of 2 %.
        for (target, needed) in [(0.05, [59, 93, 124]), (0.02, [149, 236, 313])] {
            for (k, n) in (0..).zip(needed) {
                assert!(upper_limit(k, n) <= target && upper_limit(k, n - 1) > target, "{k} of {n}");
            }
        }
        assert_eq!(upper_limit(0, 0), 1.0);
    }

    #[test]
    fn it_serves_when_the_evidence_allows_it_and_not_before() {
        let settings = settings(0.05);
        let mut standing = Standing::default();
        for n in 0..59 {
            assert_eq!(standing.state, State::Shadow, "{n}");
            standing.checked(Verdict::Right, &settings, Timestamp(n));
        }
        assert_eq!(standing.state, State::Shadow, "too few verdicts");
        (0..10).for_each(|n| standing.taught(&settings, Timestamp(n)));
        assert_eq!(standing.state, State::Serving);
    }

    #[test]
    fn the_breaker_opens_when_it_is_wrong_too_often_and_seldom_else() {
        let settings = settings(0.02);
        let serving = || Standing { state: State::Serving, checks: 149, ..Standing::default() };
        let play = |rate: f64, seed: u64| {
            let mut standing = serving();
            (0..500_u64).find(|n| {
                let wrong = Seed(seed * 10_000 + n).uniform("wrong") < rate;
                standing.checked(if wrong { Verdict::Wrong } else { Verdict::Right }, &settings, Timestamp(*n));
                standing.state == State::ExactOnly
            })
        };
        let opened = |rate: f64| (0..100).filter(|seed| play(rate, *seed).is_some()).count();
        assert!(opened(0.2) == 100 && opened(0.1) >= 95, "{} {}", opened(0.2), opened(0.1));
        assert!(opened(0.005) <= 5, "{}", opened(0.005));
    }

    #[test]
    fn after_a_while_everything_is_to_be_proven_anew() {
        let settings = settings(0.05);
        let mut standing =
            Standing { state: State::ExactOnly, checks: 500, wrong: 40, labels: 30, ..Standing::default() };
        assert_eq!(standing.now(&settings, Timestamp(1)), State::ExactOnly);
        let later = Timestamp(0).after(settings.cooling);
        assert_eq!(standing.now(&settings, later), State::Shadow);
        assert_eq!((standing.checks, standing.labels, standing.bound()), (0, 30, 1.0));
    }
}
