//! The decision: what may serve, what the policy makes of it, and the draw. The same for a request and for a dry run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::asked::Wanted;
use super::live::Deciding;
use crate::base::{DeploymentId, Error, Kind, Seed};
use crate::catalog::Availability;
use crate::dispatch::Plan;
use crate::features::{Context, Features};
use crate::ledger::{ArmRecord, Mode, TrialRecord};
use crate::policy::{self, Ask, Asked, Exclusion};

/// The purpose of the draw of the arm; see [`Seed::uniform`].
pub(super) const ARM_DRAW: &str = "arm";

/// A choice, with all that was weighed.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// The candidates, in the order the policy saw them. Never empty.
    pub(super) arms: Vec<ArmRecord>,
    /// The deployments that were no candidates, and why.
    pub(super) excluded: BTreeMap<DeploymentId, Exclusion>,
    /// Index into `arms` of the one drawn.
    pub(super) chosen: usize,
    /// Index into `arms` of the one of greatest expected utility.
    pub(super) greedy: usize,
    /// How it was chosen.
    pub(super) mode: Mode,
    /// Whom to call, in order.
    pub(super) plan: Plan,
    /// The policy that chose, and its state.
    pub(super) policy: String,
    /// The part it has in a trial.
    pub(super) trial: Option<TrialRecord>,
}

impl Choice {
    /// The drawn arm.
    #[must_use]
    pub(super) fn arm(&self) -> &ArmRecord {
        &self.arms[self.chosen]
    }

    /// Whether the drawn arm is another than the one of greatest expected utility.
    #[must_use]
    pub(super) fn explored(&self) -> bool {
        self.chosen != self.greedy
    }
}

/// Chooses. `shadow_sees` is the context as the version in the shadow sees it, if there is one.
///
/// # Errors
/// [`Kind::NoEligibleDeployment`] when the request needs what no deployment has; [`Kind::UpstreamUnavailable`] with
/// the time to come back when those that could serve are all resting.
pub(super) fn choose(
    wanted: &Wanted<'_>,
    features: &Features,
    deciding: &Deciding<'_>,
    shadow_sees: Option<Context>,
    availability: &Availability,
    seed: Seed,
) -> Result<Choice, Error> {
    let (candidates, mut excluded) =
        policy::eligible(&wanted.catalog, &features.needs, &wanted.asked, availability, &wanted.preferences, seed);
    if candidates.is_empty() {
        return Err(nobody(&excluded, availability));
    }
    let ask = Ask {
        context: &features.context,
        prompt_tokens: features.needs.prompt_tokens,
        max_tokens: features.needs.max_tokens,
        preferences: &wanted.preferences,
    };
    let scored = deciding.policy.score(&ask, &candidates);
    let shadow = deciding
        .shadow
        .zip(shadow_sees)
        .map(|(shadow, context)| shadow.policy.score(&Ask { context: &context, ..ask }, &candidates).propensities);
    for (candidate, reason) in candidates.iter().zip(&scored.excluded) {
        if let Some(reason) = reason {
            excluded.insert(candidate.deployment.clone(), *reason);
        }
    }
    if !scored.any_eligible() {
        return Err(nobody(&excluded, availability));
    }
    let chosen = policy::draw(&scored.propensities, seed.uniform(ARM_DRAW));
    let mode = match (&wanted.asked, candidates.len()) {
        (Asked::Deployment(_), _) => Mode::Pinned,
        (Asked::Models(models), _) if models.len() == 1 => Mode::Pinned,
        (_, 1) => Mode::Single,
        _ => Mode::Policy,
    };
    let plan = Plan { steps: policy::plan(&scored, chosen, &candidates) };
    let arms = candidates
        .into_iter()
        .zip(scored.propensities.iter().zip(&scored.predictions))
        .map(|(candidate, (propensity, prediction))| ArmRecord {
            model: candidate.model,
            deployment: candidate.deployment,
            in_flight: candidate.in_flight,
            propensity: *propensity,
            prediction: *prediction,
        })
        .collect();
    let trial = deciding.trial.map(|(version, part)| TrialRecord {
        version: version.to_owned(),
        part,
        propensities: shadow.unwrap_or_default(),
    });
    let policy = deciding.policy.version().to_owned();
    Ok(Choice { arms, excluded, chosen, greedy: scored.greedy, mode, plan, policy, trial })
}

/// The error for an empty list of candidates, with the reasons counted.
fn nobody(excluded: &BTreeMap<DeploymentId, Exclusion>, availability: &Availability) -> Error {
    let resting: Vec<&DeploymentId> =
        excluded.iter().filter(|(_, why)| **why == Exclusion::Unavailable).map(|(id, _)| id).collect();
    if !resting.is_empty() {
        let soonest: Option<Duration> = resting.iter().filter_map(|id| availability.of(id).closed_for).min();
        // Clients treat a rate limit differently from a breakdown, so one is not passed off as the other.
        let limited = resting.iter().all(|id| availability.of(id).cause == Some(Kind::RateLimited));
        let (kind, why) =
            if limited { (Kind::RateLimited, "rate limits") } else { (Kind::UpstreamUnavailable, "failures") };
        let message =
            format!("every deployment that could serve this request is resting after {why}; try again shortly");
        return Error::new(kind, message).with_retry_after(soonest);
    }
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for why in excluded.values().filter(|why| **why != Exclusion::NotAsked) {
        *reasons.entry(in_words(*why)).or_default() += 1;
    }
    let reasons: Vec<String> = reasons.into_iter().map(|(why, count)| format!("{why} ({count})")).collect();
    let reasons =
        if reasons.is_empty() { "none is left after pins and exclusions".to_owned() } else { reasons.join(", ") };
    Error::new(
        Kind::NoEligibleDeployment,
        format!("no deployment can serve this request: {reasons}; POST /v1/route shows each with its reason"),
    )
}

fn in_words(why: Exclusion) -> String {
    match why {
        Exclusion::Lacks(capability) => {
            let name = serde_json::to_value(capability).ok();
            format!("lacks {}", name.as_ref().and_then(|name| name.as_str()).unwrap_or("an ability"))
        }
        Exclusion::ContextWindow => "prompt and answer exceed the context window".to_owned(),
        Exclusion::MaxOutput => "cannot give an answer that long".to_owned(),
        Exclusion::NotAsked => "not asked for".to_owned(),
        Exclusion::OnlyWhenNamed => "serves only when named".to_owned(),
        Exclusion::Unavailable => "resting after failures".to_owned(),
        Exclusion::UnknownPrice => "its price is unknown and a cost limit is set".to_owned(),
        Exclusion::TooDear => "expected to cost more than the limit".to_owned(),
        Exclusion::TooSlow => "expected to take longer than the limit".to_owned(),
        Exclusion::BelowQualityFloor => "expected quality below the floor".to_owned(),
    }
}
