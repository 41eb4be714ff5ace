//! Which model gets the request: a context and candidates in, a probability for each candidate out.
//!
//! The contract is here; the policies behind it are beside it. A policy never draws: it says the
//! probabilities, the draw is made by [`draw`] from a logged seed, and both are written down. So every
//! logged decision can be re-made, and every other policy can be evaluated on it.
//!
//! [`State`] is what was learned: sums, owned by the learner. [`Snapshot`] is what serves: immutable, made from
//! the sums. [`eligible()`] and [`plan`] stand before and after the choice.

pub mod baselines;
mod choice;
mod codec;
pub mod config;
pub mod eligible;
pub mod evidence;
pub mod forgetting;
#[expect(clippy::inline_always, reason = "what works on several numbers must end up in the function made for them")]
#[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "one call into a function compiled for AVX2"))]
mod lanes;
#[expect(clippy::inline_always, reason = "must end up in the function that is compiled for AVX2")]
pub mod linalg;
pub mod linucb;
pub mod online;
pub mod pacer;
pub mod prior;
pub mod propensity;
#[expect(clippy::inline_always, reason = "must end up in the function that is compiled for AVX2")]
mod quad;
pub mod regression;
pub mod safety;
pub mod snapshot;
pub mod state;
pub mod sums;
#[expect(clippy::inline_always, reason = "must end up in the function that is compiled for AVX2")]
mod triangle;
pub mod watch;

pub use config::{Algorithm, Config, Spread};
pub use eligible::{Asked, eligible, plan};
pub use online::{Bandit, OnlinePolicy, Round};
pub use snapshot::Snapshot;
pub use state::{CallRow, QualityRow, State, StateError};

use pacer::Pace;
use serde::{Deserialize, Serialize};

use crate::base::{DeploymentId, ModelId, Usd};
use crate::catalog::{Capability, Price};
use crate::features::Context;

/// A quantity that is not known exactly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Expected value.
    pub mean: f64,
    /// Standard deviation of the belief.
    pub sd: f64,
}

/// A model that may serve this request, with the deployment that would be called first.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The model: quality is learned for it.
    pub model: ModelId,
    /// The deployment: cost and latency are predicted for it.
    pub deployment: DeploymentId,
    /// The deployment's price; `None` = unknown.
    pub price: Option<Price>,
    /// Requests in flight there.
    pub in_flight: u32,
    /// The other deployments of this model that could serve this request, the first to fall back to first.
    pub alternates: Vec<DeploymentId>,
    /// What of the prompt is expected to be in the provider's prompt cache.
    pub prompt_cache: PromptCache,
    /// The model that it is taken to be like until it has answers of its own.
    pub like: Option<ModelId>,
}

/// Tokens of a prompt that a provider's prompt cache is expected to have, or to take in. Of neither: 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PromptCache {
    /// Read from it, at the price of cached input.
    pub read: f64,
    /// Written to it, at the price of a cache write.
    pub written: f64,
}

impl PromptCache {
    /// Whether nothing is expected of it.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// How much a dollar is worth in quality.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostWeight {
    /// Points of quality (scale 0..1) given up per dollar.
    PerUsd(f64),
    /// Points of quality given up for the dearest candidate's expected cost; in proportion for the others.
    Relative(f64),
}

/// How freely one request may be used to learn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Explore {
    /// Not at all: the best candidate by expected utility, with probability 1.
    Never,
    /// Sampling with the usual floor under every eligible arm.
    #[default]
    Floor,
    /// Every eligible arm alike.
    Full,
}

/// What the caller wants, for one request.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preferences {
    /// What money is worth.
    pub cost: CostWeight,
    /// Points of quality given up per second of expected total time.
    pub latency_per_second: f64,
    /// Arms whose expected quality is below this are not eligible while one is above.
    pub min_quality: Option<f64>,
    /// Arms whose expected cost is above this, or unknown, are not eligible. Kept strictly.
    pub max_cost: Option<Usd>,
    /// Arms whose expected total time is above this many seconds are not eligible while one is below.
    #[serde(default)]
    pub max_latency_s: Option<f64>,
    /// How freely to explore.
    pub explore: Explore,
}

impl Preferences {
    /// Money first: up to .3 points of quality for the dearest candidate's cost.
    pub const CHEAP: Self = Self::relative(0.3, 0.0);
    /// The default: cheaper wherever the answer is about as good.
    pub const BALANCED: Self = Self::relative(0.13, 0.001);
    /// Quality first; the price only breaks near-ties.
    pub const BEST: Self = Self::relative(0.01, 0.0);

    const fn relative(cost: f64, latency_per_second: f64) -> Self {
        Self {
            cost: CostWeight::Relative(cost),
            latency_per_second,
            min_quality: None,
            max_cost: None,
            max_latency_s: None,
            explore: Explore::Floor,
        }
    }
}

impl Default for Preferences {
    fn default() -> Self {
        Self::BALANCED
    }
}

/// What is believed of one candidate for one request.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Quality, scale 0..1.
    pub quality: Estimate,
    /// US dollars; `None` = the price is unknown.
    pub cost: Option<Estimate>,
    /// Seconds to the last byte; `None` = never measured.
    pub latency: Option<Estimate>,
    /// Quality less what cost and latency are worth to the caller.
    pub utility: f64,
}

/// A policy's answer: one entry a candidate, in the candidates' order.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Probability of each candidate; they sum to 1, or are all 0 where `max_cost` excludes every candidate. One that
    /// is excluded, for whatever reason, has 0; the others at least their share of the exploration.
    pub propensities: Vec<f64>,
    /// What is believed of each.
    pub predictions: Vec<Prediction>,
    /// The candidate of greatest expected utility among the eligible.
    pub greedy: usize,
    /// Why a candidate is not eligible, by the caller's constraints or by what is known of it.
    pub excluded: Vec<Option<Exclusion>>,
}

impl Scored {
    /// Whether at least one candidate may serve. If not, the request must be refused, not drawn.
    #[must_use]
    pub fn any_eligible(&self) -> bool {
        self.excluded.iter().any(Option::is_none)
    }
}

/// Why a deployment could not serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exclusion {
    /// It lacks this ability.
    Lacks(Capability),
    /// Prompt and answer do not fit its context window.
    ContextWindow,
    /// The answer asked for is longer than it can give.
    MaxOutput,
    /// It is not among the models asked for, or the caller opted out of it.
    NotAsked,
    /// It serves only when named.
    OnlyWhenNamed,
    /// Its breaker is open, or it asked to be left alone.
    Unavailable,
    /// Its price is unknown and the caller set a limit on cost.
    UnknownPrice,
    /// Its expected cost is above the caller's limit.
    TooDear,
    /// Its expected quality is below the caller's floor.
    BelowQualityFloor,
    /// Its expected total time is above the caller's limit.
    TooSlow,
    /// What it is likely to cost at most is more than a budget holds.
    OverBudget,
}

/// What the policy is told of a request beside its context.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ask<'a> {
    /// The context.
    pub context: &'a Context,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Cap on the answer's tokens, those of one choice.
    pub max_tokens: Option<u32>,
    /// How many choices the answer is to have; the output of each is paid for.
    pub choices: u32,
    /// What the caller wants.
    pub preferences: &'a Preferences,
    /// What the budgets allow.
    pub pace: Pace,
}

/// Standard deviations from an expected cost to the most that is likely.
const LIKELY: f64 = 2.0;

impl Ask<'_> {
    /// What an answer at this price, expected to cost this much, is likely to cost at most: two standard deviations
    /// more, and never more than as many choices of the greatest length as the caller takes.
    #[must_use]
    pub fn likely_most(&self, price: Option<&Price>, cost: Option<Estimate>) -> Option<Usd> {
        let (price, cost) = (price?, cost?);
        let likely = cost.mean + LIKELY * cost.sd;
        let input = price.input.max(price.cache_write.unwrap_or(0.0));
        let output = price.output.max(price.reasoning.unwrap_or(0.0));
        let longest = self.max_tokens.map_or(f64::INFINITY, f64::from) * f64::from(self.choices);
        let most = (input * f64::from(self.prompt_tokens) + output * longest) / 1e6;
        Some(Usd(if output > 0.0 { likely.min(most) } else { likely }))
    }
}

/// Chooses by probability. Immutable: learning makes a new one.
pub trait Policy: Send + Sync + std::fmt::Debug {
    /// Says which policy and which state of it; stands in every event.
    fn version(&self) -> &str;

    /// The probability of every candidate, and the beliefs behind it. `candidates` is never empty.
    fn score(&self, ask: &Ask<'_>, candidates: &[Candidate]) -> Scored;
}

/// The index that a uniform number in `[0, 1)` picks from these probabilities.
/// Never one of probability 0, whatever rounding does to their sum.
#[must_use]
pub fn draw(propensities: &[f64], uniform: f64) -> usize {
    let mut left = uniform * propensities.iter().sum::<f64>();
    let mut last = 0;
    for (index, &propensity) in propensities.iter().enumerate() {
        if propensity > 0.0 {
            last = index;
            if left < propensity {
                return index;
            }
            left -= propensity;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_never_picks_an_arm_of_probability_zero() {
        assert_eq!(draw(&[0.0, 0.3, 0.0, 0.7, 0.0], 0.0), 1);
        assert_eq!(draw(&[0.0, 0.3, 0.0, 0.7, 0.0], 0.299_999), 1);
        assert_eq!(draw(&[0.0, 0.3, 0.0, 0.7, 0.0], 0.300_001), 3);
        assert_eq!(draw(&[0.0, 0.3, 0.0, 0.7, 0.0], 0.999_999_999_999), 3);
    }
}
