//! The events. Each is self-contained JSON; fields are only ever added, each with a default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::{DecisionId, DeploymentId, Digest, Kind, ModelId, Score, Seed, TenantId, Timestamp, Usd};
use crate::cache::CacheOutcome;
use crate::chat::{Endpoint, FinishReason, Usage};
use crate::dispatch::Attempt;
use crate::embed::Compact;
use crate::features::Features;
use crate::policy::pacer::{self, Pace};
use crate::policy::safety::{Ruling, Tally};
use crate::policy::{CostWeight, Estimate, Exclusion, Explore, Prediction, Preferences, PromptCache};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A request was sent on its way.
    Decided(Box<Decided>),
    /// An admitted request ended. Exactly one for each.
    Completed(Box<Completed>),
    /// Somebody said how good an answer was.
    Feedback(Box<Feedback>),
}

impl Event {
    /// The request it is about.
    #[must_use]
    pub fn decision(&self) -> DecisionId {
        match self {
            Self::Decided(event) => event.id,
            Self::Completed(event) => event.id,
            Self::Feedback(event) => event.decision,
        }
    }

    /// The column that says which of the three it is; the `kind` of its JSON form.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Decided(_) => "decided",
            Self::Completed(_) => "completed",
            Self::Feedback(_) => "feedback",
        }
    }

    /// The response id that leads back to the decision.
    pub(super) fn response_id(&self) -> Option<&str> {
        match self {
            Self::Completed(event) => event.response_id.as_deref(),
            Self::Decided(_) | Self::Feedback(_) => None,
        }
    }

    /// The first field whose number is not finite where one must stand. JSON has no such number: it would be
    /// written as `null` and could not be read again.
    pub(super) fn not_finite(&self) -> Option<&'static str> {
        let bad = |number: f64| !number.is_finite();
        match self {
            Self::Decided(event) => event.not_finite(),
            Self::Completed(event) if bad(event.total_ms) => Some("total_ms"),
            Self::Completed(event) if bad(event.overhead_ms) => Some("overhead_ms"),
            Self::Completed(event) if event.attempts.iter().any(|attempt| bad(attempt.total_ms)) => {
                Some("attempts.total_ms")
            }
            Self::Completed(event) if event.budgets.iter().any(BudgetRecord::not_finite) => Some("budgets"),
            Self::Completed(_) | Self::Feedback(_) => None,
        }
    }
}

/// How the first deployment was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// By the policy, among several.
    Policy,
    /// There was only one candidate.
    Single,
    /// The caller named it.
    Pinned,
    /// The baseline, because the rules of exploring left nothing else.
    Guarded,
    /// Nothing was decided: the conversation stays with its deployment, which has it in its prompt cache.
    Held,
}

/// One candidate as the policy saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArmRecord {
    /// The model.
    pub model: ModelId,
    /// The deployment that would have been called first.
    pub deployment: DeploymentId,
    /// Requests in flight there at that moment.
    #[serde(default)]
    pub in_flight: u32,
    /// The probability it was drawn with.
    pub propensity: f64,
    /// What was believed of it.
    pub prediction: Prediction,
    /// What of the prompt was expected to be in its provider's prompt cache.
    #[serde(default, skip_serializing_if = "PromptCache::is_none")]
    pub prompt_cache: PromptCache,
    /// The model that it was taken to be like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub like: Option<ModelId>,
}

/// A request was sent on its way: everything a later judge of the choice must know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// The request.
    pub id: DecisionId,
    /// When it was decided.
    pub at: Timestamp,
    /// Whose it is.
    pub tenant: TenantId,
    /// Where it came to.
    pub endpoint: Endpoint,
    /// `model` as asked for (cut to 200 characters).
    pub asked: String,
    /// What it is.
    pub features: Features,
    /// The encoder's vector of the prompt, rounded, where the operator has vectors logged: what a new feature map is
    /// made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<Compact>,
    /// What the caller wanted.
    pub preferences: Preferences,
    /// The candidates, in the order the policy saw them.
    pub arms: Vec<ArmRecord>,
    /// The deployments that were no candidates, and why.
    pub excluded: BTreeMap<DeploymentId, Exclusion>,
    /// Index into `arms` of the one drawn.
    pub chosen: usize,
    /// Index into `arms` of the one of greatest expected utility.
    pub greedy: usize,
    /// How it was chosen.
    pub mode: Mode,
    /// The seed of every draw made for this request.
    pub seed: Seed,
    /// The policy and its state.
    pub policy: String,
    /// The catalogue, prices included.
    pub catalog: Digest,
    /// The configuration.
    pub config: Digest,
    /// What a trial of another policy version had to do with it; `None` = there was no trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialRecord>,
    /// The budgets that it was decided under, each as it was then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<BudgetRecord>,
    /// What the rules of exploring said; `None` = there were none for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<GuardRecord>,
}

/// A budget as it was when a request was decided, the request's own share of money come in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BudgetRecord {
    /// Its name.
    pub name: String,
    /// When that was.
    pub at: Timestamp,
    /// What an answer might cost: what was in the purse less what was held back.
    pub left: Usd,
    /// What was held back for other requests on their way.
    pub held: Usd,
    /// What was held back for this one.
    pub hold: Usd,
    /// The price of money.
    pub price: f64,
    /// What one request was allowed, of late.
    pub allowed: Usd,
    /// What was spent in the running period.
    pub spent: Usd,
}

impl BudgetRecord {
    fn not_finite(&self) -> bool {
        let Self { left, held, hold, price, allowed, spent, .. } = self;
        ![left, held, hold, allowed, spent].iter().all(|usd| usd.get().is_finite()) || !price.is_finite()
    }
}

/// What the rules of exploring said of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GuardRecord {
    /// How freely it wished to explore; how freely it might stands in the preferences.
    pub wished: Explore,
    /// What was said.
    pub ruling: Ruling,
    /// Index into the arms of the baseline, if it was one of them and could serve.
    pub baseline: Option<usize>,
    /// What was served so far, this request included.
    pub tally: Tally,
}

/// Which part of a trial a decision was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The version on trial decided.
    Candidate,
    /// The policy in force decided.
    Others,
    /// The policy in force decided; what the version on trial would have done is written down beside it.
    Shadow,
}

/// A decision's part in a trial of a policy version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// The version on trial.
    pub version: String,
    /// Who decided.
    pub part: Part,
    /// In a shadow trial: with which probabilities that version would have drawn from `arms`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub propensities: Vec<f64>,
}

impl Decided {
    /// The drawn arm.
    #[must_use]
    pub fn arm(&self) -> Option<&ArmRecord> {
        self.arms.get(self.chosen)
    }

    /// What the budgets asked of the choice.
    #[must_use]
    pub fn pace(&self) -> Pace {
        let of = |budget: &BudgetRecord| Pace {
            per_usd: pacer::per_usd(budget.price, budget.allowed),
            purse: Some(budget.left),
        };
        self.budgets.iter().map(of).fold(Pace::default(), Pace::and)
    }

    fn not_finite(&self) -> Option<&'static str> {
        let bad = |number: f64| !number.is_finite();
        let vague = |estimate: &Estimate| bad(estimate.mean) || bad(estimate.sd);
        let (CostWeight::PerUsd(weight) | CostWeight::Relative(weight)) = self.preferences.cost;
        if self.features.context.x.iter().any(|x| !x.is_finite()) {
            return Some("features.context.x");
        }
        if self.features.intent.as_ref().is_some_and(|intent| bad(intent.probability)) {
            return Some("features.intent.probability");
        }
        if bad(weight) || bad(self.preferences.latency_per_second) {
            return Some("preferences");
        }
        let senseless = |arm: &ArmRecord| {
            let belief = &arm.prediction;
            let unsure = [Some(belief.quality), belief.cost, belief.latency].iter().flatten().any(vague);
            let cache = bad(arm.prompt_cache.read) || bad(arm.prompt_cache.written);
            unsure || cache || bad(belief.utility) || bad(arm.propensity)
        };
        if self.budgets.iter().any(BudgetRecord::not_finite) {
            return Some("budgets");
        }
        let lost =
            |tally: &Tally| [tally.cost, tally.value, tally.lower, tally.baseline, tally.lift].into_iter().any(bad);
        if self.guard.iter().any(|guard| lost(&guard.tally)) {
            return Some("guard");
        }
        if self.trial.iter().flat_map(|trial| &trial.propensities).any(|p| bad(*p)) {
            return Some("trial.propensities");
        }
        self.arms.iter().any(senseless).then_some("arms")
    }
}

/// How an admitted request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The client has the whole answer.
    Served,
    /// The client got an error instead of an answer.
    Failed(Kind),
    /// The answer broke off after its first content; the client was told.
    Broken(Kind),
    /// The client hung up.
    HungUp,
    /// The process was told to stop, or the handler was dropped, before the answer was whole.
    Dropped,
}

/// One score of one answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreRecord {
    /// Who says so, for example `format`, `refusal`, `user`.
    pub channel: String,
    /// How good.
    pub score: Score,
}

/// An answer from memory that was given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReuseRecord {
    /// Its id, to report it by.
    pub id: String,
    /// How old it was, milliseconds.
    pub age_ms: f64,
    /// Cosine of the two prompts, where it was made for another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f64>,
    /// The estimated probability that it is right, where it was made for another prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right: Option<f64>,
}

/// An admitted request ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completed {
    /// The request.
    pub id: DecisionId,
    /// When it ended.
    pub at: Timestamp,
    /// Whose it is.
    pub tenant: TenantId,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the answer was streamed.
    pub stream: bool,
    /// Where the answer came from.
    pub cache: CacheOutcome,
    /// The answer from memory, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuse: Option<ReuseRecord>,
    /// Nobody waited for it: a request of our own, to check or renew an answer from memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub background: bool,
    /// The deployment whose answer the client got; `None` if none did, or it came from the cache.
    pub served: Option<DeploymentId>,
    /// The model of that deployment.
    pub model: Option<ModelId>,
    /// Every call that was made for it, in order.
    pub attempts: Vec<Attempt>,
    /// Tokens of the answer the client got.
    pub usage: Option<Usage>,
    /// Whether `usage` was counted here because the provider did not say.
    pub usage_estimated: bool,
    /// What all attempts cost together; `None` = unknown for one of them.
    pub cost_usd: Option<Usd>,
    /// Milliseconds from the request's arrival to the first content sent to the client.
    pub first_token_ms: Option<f64>,
    /// Milliseconds from arrival to the end.
    pub total_ms: f64,
    /// Milliseconds of `total_ms` that were Pointsman's own work: not spent waiting for an upstream or the client.
    pub overhead_ms: f64,
    /// Why the answer ended.
    pub finish_reason: Option<FinishReason>,
    /// The response id the client saw.
    pub response_id: Option<String>,
    /// What the evaluators said. Missing is missing.
    pub scores: Vec<ScoreRecord>,
    /// The budgets that it was paid from, each as it was when money was held back; only where nothing was decided, as
    /// with embeddings. Else they stand in the decision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<BudgetRecord>,
}

/// Somebody said how good an answer was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feedback {
    /// The request.
    pub decision: DecisionId,
    /// When it was said.
    pub at: Timestamp,
    /// Who said it: a tenant may judge only its own.
    pub tenant: TenantId,
    /// The channel, `user` unless named.
    pub channel: String,
    /// How good; `None` for a comment alone.
    pub score: Option<Score>,
    /// Words.
    pub comment: Option<String>,
    /// The caller's own key for this feedback: the same key again changes nothing.
    /// Another score for the same decision and channel replaces the one before.
    pub key: Option<String>,
}
