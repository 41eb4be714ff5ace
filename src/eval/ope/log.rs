//! From what was decided and what came of it to rounds that can be weighed.
//!
//! Not every decision can be: where the caller named the model, where there was one candidate or nothing was
//! left to chance, another policy's wish has no support; where a fallback served, the drawn arm's reward was not
//! seen; where nobody judged, there is none. These are left out and counted, never given a number. Leaving the
//! unjudged out is fair as far as being judged does not depend on how good the answer was.

use super::{Round, Support, Unusable};
use crate::base::Timestamp;
use crate::catalog::Catalog;
use crate::learn::Judged;
use crate::ledger::{Decided, Mode};
use crate::policy::{Ask, Candidate, Policy};

/// A decision that can be weighed, and what its answer was worth.
#[derive(Clone, Debug)]
pub struct Logged {
    /// What was decided.
    pub decided: Box<Decided>,
    /// The quality of the answer, 0 to 1.
    pub reward: f64,
}

/// How many decisions were left out, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// The caller named the model, there was one candidate, or nothing was left to chance.
    pub not_explored: u64,
    /// Nobody judged the answer, or there was none.
    pub not_judged: u64,
    /// Another arm than the drawn one answered.
    pub fallback: u64,
}

/// The decisions of a log that can be weighed, in the order they were made.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Those.
    pub logged: Vec<Logged>,
    /// How many there were besides.
    pub left_out: LeftOut,
}

impl Log {
    /// Takes in a decision and how its answer was judged, if it was.
    pub fn add(&mut self, decided: Box<Decided>, judged: Option<Judged>) {
        let explored = decided.mode == Mode::Policy
            && decided.arm().is_some_and(|arm| arm.propensity > 0.0)
            && decided.arms.iter().filter(|arm| arm.propensity > 0.0).count() > 1;
        match judged {
            _ if !explored => self.left_out.not_explored += 1,
            None => self.left_out.not_judged += 1,
            Some(judged) if judged.arm != decided.chosen => self.left_out.fallback += 1,
            Some(judged) => self.logged.push(Logged { decided, reward: judged.quality }),
        }
    }

    /// The decisions made before this moment, and those from it on.
    #[must_use]
    pub fn split_at(&self, at: Timestamp) -> (&[Logged], &[Logged]) {
        let from = self.logged.partition_point(|logged| logged.decided.at < at);
        self.logged.split_at(from)
    }
}

/// A target policy on logged decisions: the rounds, and how much of what it wants the log tries with at least
/// the probability `floor`.
///
/// `target` says its probability of every logged arm, `predicted` the reward model's quality of each.
///
/// # Errors
/// If a decision's arms do not fit.
pub fn weigh(
    logged: &[Logged],
    floor: f64,
    target: impl Fn(&Decided) -> Vec<f64>,
    predicted: impl Fn(&Decided) -> Vec<f64>,
) -> Result<(Vec<Round>, Support), Unusable> {
    let mut support = Support::default();
    let mut rounds = Vec::with_capacity(logged.len());
    for Logged { decided, reward } in logged {
        let propensities: Vec<f64> = decided.arms.iter().map(|arm| arm.propensity).collect();
        let (target, predicted) = (target(decided), predicted(decided));
        rounds.push(Round::new(decided.chosen, *reward, &propensities, &target, &predicted)?);
        support.add(&propensities, &target, floor);
    }
    Ok((rounds, support))
}

/// What a policy would have done with a logged decision: its probability of every logged arm, and the quality it
/// expects of each. Prices are those of `catalog`.
#[must_use]
pub fn replay(policy: &dyn Policy, decided: &Decided, catalog: &Catalog) -> (Vec<f64>, Vec<f64>) {
    let candidates: Vec<Candidate> = decided
        .arms
        .iter()
        .map(|arm| Candidate {
            model: arm.model.clone(),
            deployment: arm.deployment.clone(),
            price: catalog.deployment(arm.deployment.as_str()).and_then(|deployment| deployment.price.clone()),
            in_flight: arm.in_flight,
            alternates: Vec::new(),
        })
        .collect();
    let ask = Ask {
        context: &decided.features.context,
        prompt_tokens: decided.features.needs.prompt_tokens,
        max_tokens: decided.features.needs.max_tokens,
        preferences: &decided.preferences,
    };
    let scored = policy.score(&ask, &candidates);
    (scored.propensities, scored.predictions.iter().map(|prediction| prediction.quality.mean).collect())
}
