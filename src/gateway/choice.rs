//! The decision: what may serve, what the policy makes of it, and the draw. The same for a request and for a dry run.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use super::asked::Wanted;
use super::budgets::{Hold, Purses};
use super::guards::{self, Guards};
use super::live::Deciding;
use super::warmth::{Conversation, Warmth};
use crate::base::{DeploymentId, Error, Kind, Seed, TenantId, Timestamp, Usd};
use crate::catalog::Availability;
use crate::dispatch::Plan;
use crate::features::{Context, Features};
use crate::ledger::{ArmRecord, GuardRecord, Mode, TrialRecord};
use crate::policy::pacer::Pace;
use crate::policy::safety::{Guard, Ruling};
use crate::policy::{self, Ask, Asked, Candidate, Exclusion, Explore, Preferences, Scored};

/// The purpose of the draw of the arm; see [`Seed::uniform`].
pub(super) const ARM_DRAW: &str = "arm";

/// A choice, with all that was weighed.
#[derive(Debug)]
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
    /// What the caller wanted of it, as far as exploring was allowed.
    pub(super) preferences: Preferences,
    /// Whom to call, in order.
    pub(super) plan: Plan,
    /// The policy that chose, and its state.
    pub(super) policy: String,
    /// The part it has in a trial.
    pub(super) trial: Option<TrialRecord>,
    /// What the budgets asked.
    pub(super) pace: Pace,
    /// What the rules of exploring said.
    pub(super) guard: Option<GuardRecord>,
    /// The money held back for it.
    pub(super) hold: Option<Hold>,
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

/// Whose request is decided, when, and what limits it beside its own wishes.
pub(super) struct Bounds<'a> {
    /// Whose it is.
    pub(super) tenant: &'a TenantId,
    /// When.
    pub(super) now: Timestamp,
    /// The budgets it is paid from.
    pub(super) purses: &'a Purses,
    /// The rules of exploring.
    pub(super) guards: &'a Guards,
    /// What providers have of its conversation, if they would keep it.
    pub(super) warm: (&'a Warmth, Option<Conversation>),
    /// Whether it is only asked what would be done: nothing is held back then, and nothing is counted.
    pub(super) dry: bool,
}

/// Chooses. `shadow_sees` is the context as the version in the shadow sees it, if there is one.
///
/// # Errors
/// [`Kind::NoEligibleDeployment`] when the request needs what no deployment has; [`Kind::UpstreamUnavailable`] with
/// the time to come back when those that could serve are all resting; [`Kind::BudgetExceeded`] with the time to come
/// back when a budget has too little left for any that could serve.
pub(super) fn choose(
    wanted: &Wanted<'_>,
    features: &Features,
    deciding: &Deciding<'_>,
    shadow_sees: Option<Context>,
    availability: &Availability,
    seed: Seed,
    bounds: &Bounds<'_>,
) -> Result<Choice, Error> {
    let (mut candidates, excluded) =
        policy::eligible(&wanted.catalog, &features.needs, &wanted.asked, availability, &wanted.preferences, seed);
    if candidates.is_empty() {
        return Err(nobody(&excluded, availability));
    }
    let mode = match (&wanted.asked, candidates.len()) {
        (Asked::Deployment(_), _) => Mode::Pinned,
        (Asked::Models(models), _) if models.len() == 1 => Mode::Pinned,
        (_, 1) => Mode::Single,
        _ => Mode::Policy,
    };
    let (warmth, conversation) = bounds.warm;
    let stay = warmth.expect(conversation, features, &mut candidates, (&wanted.catalog, availability), bounds.now);
    let stay = stay.filter(|_| mode == Mode::Policy && wanted.preferences.explore != Explore::Full);
    let rule = bounds.guards.rule(bounds.tenant).filter(|_| mode == Mode::Policy);
    let wished = wanted.preferences.explore;
    let explore = rule.map_or(wished, |rule| rule.at_most(wished));
    let guard = bounds.guards.of(bounds.tenant).filter(|_| mode == Mode::Policy);
    let guard = guard.as_deref();
    let cost = guard.map_or(wanted.preferences.cost, |guard| guard.lock().weigh(wanted.preferences.cost));
    let preferences = Preferences { cost, explore, ..wanted.preferences };
    let Bounds { purses, now, dry, .. } = bounds;
    let mut pace = if *dry { purses.look(*now) } else { purses.pace(*now) };
    let shadow_sees = shadow_sees.as_ref();
    let choosing = Choosing { wanted, candidates: &candidates, deciding, shadow_sees, seed, bounds, guard, mode, stay };
    loop {
        let ask = Ask {
            context: &features.context,
            prompt_tokens: features.needs.prompt_tokens,
            max_tokens: features.needs.max_tokens,
            choices: features.needs.choices,
            preferences: &preferences,
            pace,
        };
        let scored = deciding.policy.score(&ask, &candidates);
        let mut excluded = excluded.clone();
        for (candidate, reason) in candidates.iter().zip(&scored.excluded) {
            if let Some(reason) = reason {
                excluded.insert(candidate.deployment.clone(), *reason);
            }
        }
        if !scored.any_eligible() {
            let least = ask_for_least(&ask, &scored, &candidates);
            return Err(least.map_or_else(|| nobody(&excluded, availability), |least| broke(least, purses, *now)));
        }
        if let Some(choice) = choosing.draw(&ask, scored, excluded) {
            return Ok(choice);
        }
        // Others have taken what this one counted on.
        pace = purses.look(*now);
    }
}

/// All that stays the same however often the policy is asked.
struct Choosing<'a> {
    wanted: &'a Wanted<'a>,
    candidates: &'a [Candidate],
    deciding: &'a Deciding<'a>,
    shadow_sees: Option<&'a Context>,
    seed: Seed,
    bounds: &'a Bounds<'a>,
    guard: Option<&'a Mutex<Guard>>,
    mode: Mode,
    /// The candidate that has the conversation.
    stay: Option<usize>,
}

/// A conversation stays while another model is not ahead by more than so many standard deviations of both beliefs.
const CLEARLY: f64 = 1.5;

impl Choosing<'_> {
    /// The candidate that the conversation stays with: it can serve, and none is clearly better here.
    fn stays(&self, scored: &Scored) -> Option<usize> {
        let stay = self.stay.filter(|arm| scored.excluded[*arm].is_none())?;
        let (own, best) = (&scored.predictions[stay], &scored.predictions[scored.greedy]);
        let doubt = CLEARLY * (own.quality.sd + best.quality.sd);
        (best.utility - own.utility <= doubt).then_some(stay)
    }

    /// Draws, as the guard allows, and holds the money back; `None` if it is not there any more.
    fn draw(&self, ask: &Ask<'_>, mut scored: Scored, excluded: BTreeMap<DeploymentId, Exclusion>) -> Option<Choice> {
        let Self { wanted, candidates, deciding, shadow_sees, seed, bounds, guard, mut mode, .. } = *self;
        // From the ruling to the count nobody else of this tenant decides.
        let mut guard = guard.map(Mutex::lock);
        let mut preferences = *ask.preferences;
        let mut ruled = None;
        let mut certain = self.stays(&scored);
        if certain.is_some() {
            mode = Mode::Held;
        }
        if let Some(guard) = &guard {
            let model = guards::baseline(&wanted.catalog);
            let own = |arm: &usize| model == Some(&candidates[*arm].model) && scored.excluded[*arm].is_none();
            let baseline = (0..candidates.len()).find(own);
            let ruling = guard.ruling(baseline.map(|arm| &scored.predictions[arm]));
            let known = certain.unwrap_or(scored.greedy);
            certain = match (ruling, baseline) {
                (Ruling::Free, _) => certain,
                (Ruling::Careful, Some(base))
                    if !guard.surely_keeps(&scored.predictions[known], &scored.predictions[base]) =>
                {
                    mode = Mode::Guarded;
                    Some(base)
                }
                _ => Some(known),
            };
            ruled = Some((ruling, baseline));
        }
        if let Some(arm) = certain {
            preferences.explore = Explore::Never;
            scored.propensities.fill(0.0);
            scored.propensities[arm] = 1.0;
        }
        let chosen = policy::draw(&scored.propensities, seed.uniform(ARM_DRAW));
        let steps = policy::plan(&scored, chosen, candidates);
        let hold = if bounds.dry || bounds.purses.is_empty() {
            None
        } else {
            Some(bounds.purses.hold(dearest(ask, &scored, candidates), bounds.now)?)
        };
        let guard = ruled.zip(guard.as_deref_mut()).map(|((ruling, baseline), guard)| {
            let belief = |arm: usize| &scored.predictions[arm];
            let mut after = guard.clone();
            after.decided(belief(chosen), belief(scored.greedy), baseline.map(belief));
            let tally = after.tally();
            if !bounds.dry {
                *guard = after;
            }
            GuardRecord { wished: wanted.preferences.explore, ruling, baseline, tally }
        });
        let shadow = deciding
            .shadow
            .zip(shadow_sees)
            .map(|(shadow, context)| shadow.policy.score(&Ask { context, ..*ask }, candidates).propensities);
        let arms = candidates
            .iter()
            .zip(scored.propensities.iter().zip(&scored.predictions))
            .map(|(candidate, (propensity, prediction))| ArmRecord {
                model: candidate.model.clone(),
                deployment: candidate.deployment.clone(),
                in_flight: candidate.in_flight,
                propensity: *propensity,
                prediction: *prediction,
                prompt_cache: candidate.prompt_cache,
                like: candidate.like.clone(),
            })
            .collect();
        let trial = deciding.trial.map(|(version, part)| TrialRecord {
            version: version.to_owned(),
            part,
            propensities: shadow.unwrap_or_default(),
        });
        let policy = deciding.policy.version().to_owned();
        let (plan, greedy, pace) = (Plan { steps }, scored.greedy, ask.pace);
        Some(Choice { arms, excluded, chosen, greedy, mode, preferences, plan, policy, trial, pace, guard, hold })
    }
}

/// What the dearest candidate that may have to serve is likely to cost at most.
fn dearest(ask: &Ask<'_>, scored: &Scored, candidates: &[Candidate]) -> Usd {
    let may = (0..candidates.len()).filter(|arm| scored.excluded[*arm].is_none());
    let most = may.filter_map(|arm| ask.likely_most(candidates[arm].price.as_ref(), scored.predictions[arm].cost));
    most.fold(Usd::ZERO, |dearest, most| if most > dearest { most } else { dearest })
}

/// What the cheapest candidate is likely to cost at most that nothing but a budget keeps from serving.
fn ask_for_least(ask: &Ask<'_>, scored: &Scored, candidates: &[Candidate]) -> Option<Usd> {
    let broke = (0..candidates.len()).filter(|arm| scored.excluded[*arm] == Some(Exclusion::OverBudget));
    let most = broke.filter_map(|arm| ask.likely_most(candidates[arm].price.as_ref(), scored.predictions[arm].cost));
    most.min_by(|a, b| a.get().total_cmp(&b.get()))
}

/// The error for a budget that has too little left.
pub(super) fn broke(least: Usd, purses: &Purses, now: Timestamp) -> Error {
    let wait = purses.time_for(least, now);
    let Some(line) = purses.tightest(now) else {
        return Error::new(Kind::BudgetExceeded, "the budget is spent");
    };
    let then = if wait.is_none() && least > line.credit {
        "that is more than may be spent at once: ask for a shorter answer (max_tokens) or a cheaper model"
    } else {
        "send it again later, or a shorter one"
    };
    let message = format!(
        "the budget `{}` ({}) has {} left, and the cheapest answer to this request may cost {least}; {then}",
        line.name, line.amount, line.left
    );
    Error::new(Kind::BudgetExceeded, message).with_retry_after(wait)
}

/// The error for an empty list of candidates, with the reasons counted.
pub(super) fn nobody(excluded: &BTreeMap<DeploymentId, Exclusion>, availability: &Availability) -> Error {
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
        Exclusion::UnknownPrice => "its price is unknown and a cost limit or a budget is set".to_owned(),
        Exclusion::OverBudget => "may cost more than a budget has left".to_owned(),
        Exclusion::TooDear => "expected to cost more than the limit".to_owned(),
        Exclusion::TooSlow => "expected to take longer than the limit".to_owned(),
        Exclusion::BelowQualityFloor => "expected quality below the floor".to_owned(),
    }
}
