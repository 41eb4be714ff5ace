//! What another policy would have been worth on traffic that this one served.
//!
//! A logged round says what was chosen, with which probability, and what it was worth. A target policy would
//! have chosen by other probabilities; each round is weighed by the ratio of the two, `w = target / logged`, and
//! a model of the rewards fills in what was not tried. The estimators ([`estimate`]) differ in how they trade
//! the bias of that model against the noise of the weights; the [`bounds`] say how far off they may be; the
//! [`gate`] says whether a candidate may replace what serves, however often it is asked; [`log`] makes rounds of
//! the ledger's events, [`weigh`] replays a policy on them, and [`mod@evaluate`] puts a report together.
//!
//! All of it is void where the logged probability is not the one the choice was drawn with, or where the target
//! wants what the log never tries: [`Support`] says how much of that there is.
//!
//! Pure: rounds in, numbers out; chance comes as a seed. Sources: Dudík, Langford, Li (2011) for the doubly
//! robust estimator; Swaminathan, Joachims (2015) for self-normalising; Wang, Agarwal, Dudík (2017) for
//! switching; Su et al. (2020) for optimistic shrinkage; Metelli, Russo, Restelli (2021) for the sub-Gaussian
//! weights; Maurer, Pontil (2009) for the empirical Bernstein bound.

pub mod bounds;
pub mod estimate;
pub mod evaluate;
pub mod findings;
pub mod gate;
pub mod log;
pub mod page;
pub mod rehearse;
pub mod replay;
mod reward_model;
pub mod weigh;
pub mod words;

pub use estimate::{Estimator, effective_sample_size, largest_weight};
pub use evaluate::{Candidate, Options, compare, evaluate};
pub use findings::{Evaluation, Figure, Judgement};
pub use gate::{Gate, Refusal, Verdict};
pub use log::{LeftOut, Log, Logged, Reward};
pub use page::page;

/// A round that cannot be weighed.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Unusable {
    /// The logged probability of the chosen arm is not above 0 (or not a number).
    #[error("the chosen arm was logged with probability {0}: it cannot have been drawn with it")]
    Propensity(f64),
    /// The arms do not fit each other.
    #[error(
        "arm {action} was chosen of {arms} logged, {target} of the target and {predicted} predicted: the counts must agree"
    )]
    Arms {
        /// The chosen arm.
        action: usize,
        /// Logged arms.
        arms: usize,
        /// Probabilities of the target.
        target: usize,
        /// Predictions.
        predicted: usize,
    },
    /// A reward that was not observed must be left out, not be given a number.
    #[error("the reward {0} is not a number")]
    Reward(f64),
}

/// One logged round, as far as the estimators need it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    /// `target(a) / logged(a)` of the arm that was chosen.
    pub weight: f64,
    /// What came of it.
    pub reward: f64,
    /// The reward model's word on the arm that was chosen.
    pub predicted: f64,
    /// The reward model's word on the target policy: its mean over the target's probabilities.
    pub direct: f64,
    /// The largest weight that the draw could have brought: a bound that was known before the draw.
    pub heaviest: f64,
    /// How far below zero the doubly robust gain could have come out at most, whatever was drawn and whatever reward
    /// in `0..=1` it brought: known before the draw too.
    pub deepest: f64,
}

impl Round {
    /// A round: the arm chosen and its reward, the logged and the target's probability of every arm, and the
    /// reward model's prediction for every arm. The model must not have seen this round: frozen earlier, or
    /// cross-fitted.
    ///
    /// # Errors
    /// If the arms do not fit, the logged probability is not above 0 or the reward is not a number.
    pub fn new(
        action: usize,
        reward: f64,
        logged: &[f64],
        target: &[f64],
        predicted: &[f64],
    ) -> Result<Self, Unusable> {
        if action >= logged.len() || target.len() != logged.len() || predicted.len() != logged.len() {
            let (arms, target, predicted) = (logged.len(), target.len(), predicted.len());
            return Err(Unusable::Arms { action, arms, target, predicted });
        }
        let propensity = logged[action];
        if !(propensity > 0.0 && propensity.is_finite()) {
            return Err(Unusable::Propensity(propensity));
        }
        if !reward.is_finite() {
            return Err(Unusable::Reward(reward));
        }
        let direct = target.iter().zip(predicted).map(|(p, q)| p * q).sum();
        let (mut heaviest, mut deepest) = (0.0_f64, 0.0_f64);
        for ((target, propensity), q) in target.iter().zip(logged).zip(predicted).filter(|((_, p), _)| **p > 0.0) {
            let weight = target / propensity;
            heaviest = heaviest.max(weight);
            // The gain is linear in the reward, so its least value lies at 0 or at 1.
            deepest = deepest.max(weight * q - direct).max(1.0 - direct - weight * (1.0 - q));
        }
        Ok(Self {
            weight: target[action] / propensity,
            reward,
            predicted: predicted[action],
            direct,
            heaviest,
            deepest,
        })
    }
}

/// How much of what the target wants the log can speak of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Support {
    rounds: u64,
    covered: f64,
}

impl Support {
    /// Takes in a round: the target's probability counts where the log tries the arm at least so often.
    pub fn add(&mut self, logged: &[f64], target: &[f64], floor: f64) {
        self.rounds += 1;
        // A share over a number of arms is a floor that may be off by its last bit.
        let floor = floor * (1.0 - 1e-9);
        self.covered += target.iter().zip(logged).filter(|(_, logged)| **logged >= floor).map(|(p, _)| p).sum::<f64>();
    }

    /// The covered share of the target's probability, 0 to 1; `None` before the first round.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        (self.rounds > 0).then(|| self.covered / self.rounds as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_that_cannot_have_happened_is_refused() {
        let new = |action, reward, logged: &[f64]| Round::new(action, reward, logged, &[0.5, 0.5], &[0.1, 0.2]);
        assert_eq!(new(1, 1.0, &[1.0, 0.0]), Err(Unusable::Propensity(0.0)));
        assert!(matches!(new(0, f64::NAN, &[0.5, 0.5]), Err(Unusable::Reward(_))));
        assert!(matches!(new(2, 1.0, &[0.5, 0.5]), Err(Unusable::Arms { .. })));
        assert!(matches!(new(0, 1.0, &[0.5, 0.3, 0.2]), Err(Unusable::Arms { .. })));
    }

    #[test]
    fn support_is_the_targets_share_of_what_was_tried() {
        let mut support = Support::default();
        assert_eq!(support.share(), None);
        support.add(&[0.98, 0.02, 0.0], &[0.2, 0.3, 0.5], 0.02);
        support.add(&[0.98, 0.02, 0.0], &[1.0, 0.0, 0.0], 0.02);
        assert_eq!(support.share(), Some(0.75));
    }
}
