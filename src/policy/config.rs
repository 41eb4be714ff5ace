//! How the policy learns and explores. The defaults are the measured ones.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Problem, duration};

/// How the probabilities are made from the beliefs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// An arm's probability is the probability, under the beliefs, that it is the best.
    #[default]
    Thompson,
    /// Inverse gap weighting: an arm's probability falls with its predicted distance from the best.
    SquareCb,
}

/// How wide a belief is taken to be when the probabilities are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// By how often the arm was tried at all, until contexts clearly tell the arms apart; from then on as
    /// `context`. Steadier: it hardly ever settles on the wrong arm.
    #[default]
    Trials,
    /// By how often the arm was tried on requests like this one. Quicker with many arms.
    Context,
}

/// The policy's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How the probabilities are made.
    pub algorithm: Algorithm,
    /// How wide a belief is taken to be.
    pub spread: Spread,
    /// Share of the traffic that is spread evenly over all eligible arms, so that other policies can be evaluated on
    /// the log and no arm is given up for ever. 0 to 0.5.
    pub exploration_share: f64,
    /// Share of the traffic that models with hardly any scored answers get together, once the others are well tried.
    /// 0.01 to 1.
    pub newcomer_share: f64,
    /// After this time what was learned of quality and answer length weighs half. Whole hours; 0 = for ever.
    #[serde(with = "duration")]
    pub half_life: Duration,
    /// After this time what was learned of latency weighs half. Whole hours; 0 = for ever.
    #[serde(with = "duration")]
    pub latency_half_life: Duration,
    /// Inverse gap weighting: how fast it stops exploring (`gamma = square_cb_gamma * sqrt(n)`).
    pub square_cb_gamma: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Thompson,
            spread: Spread::Trials,
            exploration_share: 0.01,
            newcomer_share: 0.2,
            half_life: hours(14 * 24),
            latency_half_life: hours(6),
            square_cb_gamma: 10.0,
        }
    }
}

const fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

impl Config {
    /// What is wrong with these settings. Empty = nothing.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !(0.0..=0.5).contains(&self.exploration_share) {
            problems.push(Problem::new("exploration_share", self.exploration_share, "0 to 0.5"));
        }
        if !(0.01..=1.0).contains(&self.newcomer_share) {
            problems.push(Problem::new("newcomer_share", self.newcomer_share, "0.01 to 1"));
        }
        if !(self.square_cb_gamma > 0.0 && self.square_cb_gamma.is_finite()) {
            problems.push(Problem::new("square_cb_gamma", self.square_cb_gamma, "a number above 0"));
        }
        for (path, time) in [("half_life", self.half_life), ("latency_half_life", self.latency_half_life)] {
            if time.as_secs() % 3600 != 0 || time.subsec_nanos() != 0 || time > hours(24 * 3650) {
                problems.push(Problem::new(path, duration::format(time), "whole hours up to \"3650d\", or \"0s\""));
            }
        }
        problems
    }

    pub(super) fn half_life_hours(&self) -> u32 {
        whole_hours(self.half_life)
    }

    pub(super) fn latency_half_life_hours(&self) -> u32 {
        whole_hours(self.latency_half_life)
    }
}

fn whole_hours(time: Duration) -> u32 {
    u32::try_from(time.as_secs() / 3600).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_nonsense_is_named() {
        assert_eq!(Config::default().problems(), []);
        let wrong = Config {
            exploration_share: f64::NAN,
            square_cb_gamma: 0.0,
            half_life: Duration::from_secs(90),
            ..Config::default()
        };
        let paths: Vec<String> = wrong.problems().into_iter().map(|problem| problem.path).collect();
        assert_eq!(paths, ["exploration_share", "square_cb_gamma", "half_life"]);
    }
}
