//! A policy replayed on logged decisions, and the rounds that follow.

use rayon::prelude::*;

use super::log::{Arm, Logged};
use super::{Round, Support, Unusable};
use crate::catalog::Catalog;
use crate::policy::{self, Ask, CostWeight, Policy, Preferences, Snapshot};

/// What a policy makes of one logged decision, one number for every logged arm.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// Its probability of the arm.
    pub target: Box<[f64]>,
    /// The cost that is expected of the arm, US dollars; not a number where its price is unknown.
    pub cost: Box<[f64]>,
}

/// What a policy would have done with a logged decision. Prices are those of `catalog`; `cost_weight` stands in for
/// the caller's own, if there is one.
#[must_use]
pub fn replay(policy: &dyn Policy, logged: &Logged, catalog: &Catalog, cost_weight: Option<CostWeight>) -> Replayed {
    let cost = cost_weight.unwrap_or(logged.preferences.cost);
    among(policy, logged, catalog, &Preferences { cost, ..logged.preferences }, &|_| true)
}

/// The same where only what `catalog` lists may serve: an arm that it does not list has probability 0, and so have all
/// where none is left.
#[must_use]
pub fn replay_listed(policy: &dyn Policy, logged: &Logged, catalog: &Catalog, preferences: &Preferences) -> Replayed {
    among(policy, logged, catalog, preferences, &|arm| catalog.deployment(arm.deployment.as_str()).is_some())
}

fn among(
    policy: &dyn Policy,
    logged: &Logged,
    catalog: &Catalog,
    preferences: &Preferences,
    may: &dyn Fn(&Arm) -> bool,
) -> Replayed {
    let places: Vec<usize> = (0..logged.arms.len()).filter(|&place| may(&logged.arms[place])).collect();
    let mut replayed =
        Replayed { target: vec![0.0; logged.arms.len()].into(), cost: vec![f64::NAN; logged.arms.len()].into() };
    if places.is_empty() {
        return replayed;
    }
    let candidates: Vec<policy::Candidate> = places
        .iter()
        .map(|&place| &logged.arms[place])
        .map(|arm| policy::Candidate {
            model: arm.model.clone(),
            deployment: arm.deployment.clone(),
            price: catalog.deployment(arm.deployment.as_str()).and_then(|deployment| deployment.price.clone()),
            in_flight: arm.in_flight,
            alternates: Vec::new(),
            prompt_cache: arm.prompt_cache,
            like: arm.like.clone(),
        })
        .collect();
    let ask = Ask {
        context: &logged.context,
        prompt_tokens: logged.prompt_tokens,
        max_tokens: logged.max_tokens,
        choices: logged.choices,
        preferences,
        pace: logged.pace,
    };
    let scored = policy.score(&ask, &candidates);
    for (place, (p, prediction)) in places.into_iter().zip(scored.propensities.iter().zip(&scored.predictions)) {
        replayed.target[place] = *p;
        replayed.cost[place] = prediction.cost.map_or(f64::NAN, |cost| cost.mean);
    }
    replayed
}

/// What a reward model expects of every logged arm.
#[must_use]
pub fn expected(model: &Snapshot, logged: &Logged) -> Box<[f64]> {
    logged.arms.iter().map(|arm| model.quality(&arm.model, &logged.context).mean.clamp(0.0, 1.0)).collect()
}

/// The probabilities that were logged.
#[must_use]
pub fn propensities(logged: &Logged) -> Vec<f64> {
    logged.arms.iter().map(|arm| arm.propensity).collect()
}

/// A target policy on logged decisions: the rounds, and how much of what it wants the log tries with at least
/// the probability `floor`.
///
/// `target` says its probability of every logged arm, `predicted` the reward model's quality of each; both are given
/// the decision's place and itself.
///
/// # Errors
/// If a decision's arms do not fit.
pub fn weigh<T: AsRef<[f64]>, Q: AsRef<[f64]>>(
    judged: &[(&Logged, f64)],
    floor: f64,
    target: impl Fn(usize, &Logged) -> T + Sync,
    predicted: impl Fn(usize, &Logged) -> Q + Sync,
) -> Result<(Vec<Round>, Support), Unusable> {
    let weighed: Vec<(Round, f64)> = judged
        .par_iter()
        .enumerate()
        .map(|(at, (logged, reward))| {
            let (propensities, target) = (propensities(logged), target(at, logged));
            let mut support = Support::default();
            support.add(&propensities, target.as_ref(), floor);
            let round =
                Round::new(logged.chosen, *reward, &propensities, target.as_ref(), predicted(at, logged).as_ref())?;
            Ok((round, support.covered))
        })
        .collect::<Result<_, Unusable>>()?;
    let support = Support { rounds: weighed.len() as u64, covered: weighed.iter().map(|(_, covered)| covered).sum() };
    Ok((weighed.into_iter().map(|(round, _)| round).collect(), support))
}
