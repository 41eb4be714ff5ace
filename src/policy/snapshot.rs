//! What serves: beliefs made from the sums, immutable, read by every request without a lock.
//!
//! Quality alone is learned by the bandit. Cost is the price of the moment times the tokens, latency has its own
//! model; the utility is put together per request from the caller's preferences. So a new price or another
//! preference acts on the very next request.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::choice::{self, Arm};
use super::prior::{first_token_prior, quality_prior, tokens_prior, total_prior};
use super::regression::{Fit, Posterior, fit};
use super::state::{Pool, State, design, first_token_design, tokens_design, total_design};
use super::{
    Algorithm, Ask, Candidate, Config, CostWeight, Estimate, Exclusion, Policy, Prediction, Preferences, PromptCache,
    Scored,
};
use crate::base::{DeploymentId, ModelId, SchemaId};
use crate::catalog::Price;
use crate::features::{Context, FeatureMap};

/// How many answers of a model's own weigh as much as its likeness to another.
const LIKENESS: f64 = 20.0;

#[derive(Clone, Debug, PartialEq)]
struct Beliefs<K: Ord> {
    known: BTreeMap<K, Posterior>,
    fresh: Posterior,
}

impl<K: Ord + Clone> Beliefs<K> {
    fn of(pool: &Pool<K>, prior: &super::regression::Prior) -> Self {
        let Fit { arms, fresh } = fit(prior, pool.sums.values(), pool.forgetting.now());
        Self { known: pool.sums.keys().cloned().zip(arms).collect(), fresh }
    }

    fn of_key(&self, key: &K) -> &Posterior {
        self.known.get(key).unwrap_or(&self.fresh)
    }
}

/// A policy ready to serve.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    version: String,
    schema: SchemaId,
    map: Option<Arc<FeatureMap>>,
    config: Config,
    quality: Beliefs<ModelId>,
    tokens: Beliefs<ModelId>,
    first_token: Beliefs<DeploymentId>,
    total: Beliefs<DeploymentId>,
}

/// What is believed of the answer's length, in tokens, and of each of its choices': a log-normal, cut at the caller's cap.
#[derive(Clone, Copy, Debug)]
struct Length {
    expected: f64,
    sd: f64,
}

impl Snapshot {
    pub(super) fn of(state: &State) -> Self {
        let algorithm = match state.config.algorithm {
            Algorithm::Thompson => "thompson",
            Algorithm::SquareCb => "squarecb",
        };
        let digest = state.digest_of_config().to_string();
        Self {
            version: format!("{algorithm}/{}/{}", &digest[..8], state.rows),
            schema: state.schema.clone(),
            map: None,
            config: state.config.clone(),
            quality: Beliefs::of(&state.quality, &quality_prior()),
            tokens: Beliefs::of(&state.tokens, &tokens_prior()),
            first_token: Beliefs::of(&state.first_token, &first_token_prior()),
            total: Beliefs::of(&state.total, &total_prior()),
        }
    }

    /// The feature map it was learned on.
    #[must_use]
    pub const fn schema(&self) -> &SchemaId {
        &self.schema
    }

    /// The same beside the feature map it was learned on, so that whoever puts it in force can put both in force.
    #[must_use]
    pub fn on(self, map: Option<Arc<FeatureMap>>) -> Self {
        Self { map, ..self }
    }

    /// The feature map it was learned on, where it is known.
    #[must_use]
    pub const fn map(&self) -> Option<&Arc<FeatureMap>> {
        self.map.as_ref()
    }

    /// The settings it chooses with.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The models whose quality was ever scored, each with the weight of its scores.
    pub fn models(&self) -> impl Iterator<Item = (&ModelId, f64)> {
        self.quality.known.iter().map(|(model, belief)| (model, belief.n))
    }

    /// The quality that is expected of a model in this context.
    #[must_use]
    pub fn quality(&self, model: &ModelId, context: &Context) -> Estimate {
        let (belief, x) = (self.quality.of_key(model), design(&self.schema, context));
        Estimate { mean: belief.mean(&x), sd: belief.sd(&x) }
    }

    /// Seconds to the first token that are expected of a deployment; `None` = never measured.
    #[must_use]
    pub fn first_token(&self, deployment: &DeploymentId, prompt_tokens: u32, in_flight: u32) -> Option<Estimate> {
        let belief = self.first_token.known.get(deployment)?;
        Some(log_normal(belief, &first_token_design(f64::from(prompt_tokens), f64::from(in_flight))))
    }

    fn length(&self, model: &ModelId, ask: &Ask<'_>) -> Length {
        let belief = self.tokens.of_key(model);
        let x = tokens_design(f64::from(ask.prompt_tokens));
        let location = belief.mean(&x);
        let variance = belief.noise + belief.sd(&x).powi(2);
        let mean = (location + variance / 2.0).exp();
        let sd = mean * variance.exp_m1().sqrt();
        // A cap cuts the long answers off; the expectation stays below it.
        let cap = ask.max_tokens.map_or(f64::INFINITY, f64::from);
        Length { expected: mean.min(cap), sd: sd.min(cap) }
    }

    fn predict(&self, ask: &Ask<'_>, x: &[f64], candidate: &Candidate) -> Prediction {
        let length = self.length(&candidate.model, ask);
        let prompt = f64::from(ask.prompt_tokens);
        // Choices are written side by side: each costs, none takes longer. They answer one prompt, so what is not known
        // of their lengths is the same of all.
        let choices = f64::from(ask.choices);
        let cost = candidate.price.as_ref().map(|price| Estimate {
            mean: (input(price, prompt, candidate.prompt_cache) + price.output * length.expected * choices) / 1e6,
            sd: price.output * length.sd * choices / 1e6,
        });
        let latency =
            self.total.known.get(&candidate.deployment).map(|belief| {
                log_normal(belief, &total_design(prompt, f64::from(candidate.in_flight), length.expected))
            });
        Prediction { quality: self.expected(candidate, x), cost, latency, utility: 0.0 }
    }

    /// The quality expected of a candidate. One that is like another is expected to be as good as that one, as far as
    /// its own answers do not say otherwise: the distance of the other from a model of which nothing is known is added,
    /// and fades as its own answers come.
    fn expected(&self, candidate: &Candidate, x: &[f64]) -> Estimate {
        let own = self.quality.of_key(&candidate.model);
        let relative = candidate.like.as_ref().and_then(|like| self.quality.known.get(like));
        let lead = relative.map_or(0.0, |relative| {
            let left = LIKENESS / (LIKENESS + own.n.max(0.0));
            left * (relative.mean(x) - self.quality.fresh.mean(x))
        });
        Estimate { mean: own.mean(x) + lead, sd: own.sd(x) }
    }
}

impl Policy for Snapshot {
    fn version(&self) -> &str {
        &self.version
    }

    fn score(&self, ask: &Ask<'_>, candidates: &[Candidate]) -> Scored {
        let x = design(&self.schema, ask.context);
        let mut predictions: Vec<Prediction> =
            candidates.iter().map(|candidate| self.predict(ask, &x, candidate)).collect();
        set_utilities(&mut predictions, ask.preferences, ask.pace.per_usd);
        let mut excluded = constrain(&predictions, ask.preferences);
        if let Some(purse) = ask.pace.purse {
            for (arm, reason) in excluded.iter_mut().enumerate().filter(|(_, reason)| reason.is_none()) {
                *reason = match ask.likely_most(candidates[arm].price.as_ref(), predictions[arm].cost) {
                    None => Some(Exclusion::UnknownPrice),
                    Some(most) => (most > purse).then_some(Exclusion::OverBudget),
                };
            }
        }
        let eligible: Vec<usize> = (0..candidates.len()).filter(|&arm| excluded[arm].is_none()).collect();
        let arms: Vec<Arm<'_>> = eligible
            .iter()
            .map(|&arm| {
                let belief = self.quality.of_key(&candidates[arm].model);
                Arm { belief, sd: predictions[arm].quality.sd, utility: predictions[arm].utility }
            })
            .collect();
        let mut propensities = vec![0.0; candidates.len()];
        let mut greedy = 0;
        if !arms.is_empty() {
            greedy = eligible[choice::greedy(&arms)];
            let among = choice::probabilities(&self.config, ask.preferences.explore, &arms);
            for (&arm, p) in eligible.iter().zip(among) {
                propensities[arm] = p;
            }
        }
        Scored { propensities, predictions, greedy, excluded }
    }
}

/// What a prompt of so many tokens costs, in millionths of a dollar, with what is expected of the provider's cache.
fn input(price: &Price, tokens: f64, cache: PromptCache) -> f64 {
    let read = cache.read.clamp(0.0, tokens);
    let written = cache.written.clamp(0.0, tokens - read);
    (tokens - read - written) * price.input
        + read * price.cached_input.unwrap_or(price.input)
        + written * price.cache_write.unwrap_or(price.input)
}

/// Expectation and standard deviation of a quantity whose logarithm is believed to be normal.
fn log_normal(belief: &Posterior, x: &[f64]) -> Estimate {
    let variance = belief.noise + belief.sd(x).powi(2);
    let mean = (belief.mean(x) + variance / 2.0).exp();
    Estimate { mean, sd: mean * variance.exp_m1().sqrt() }
}

/// Quality less what cost and latency are worth. An unknown cost counts as the dearest known one, an unknown
/// latency as the mean of the known ones: the one must not be a way in, the other not a way out. To a budget a dollar
/// counts `more` than to the caller.
fn set_utilities(predictions: &mut [Prediction], preferences: &Preferences, more: f64) {
    let dearest = predictions.iter().filter_map(|p| p.cost).map(|cost| cost.mean).fold(0.0, f64::max);
    let times: Vec<f64> = predictions.iter().filter_map(|p| p.latency).map(|latency| latency.mean).collect();
    let usual = if times.is_empty() { 0.0 } else { times.iter().sum::<f64>() / times.len() as f64 };
    let per_usd = match preferences.cost {
        CostWeight::PerUsd(weight) => weight,
        CostWeight::Relative(weight) if dearest > 0.0 => weight / dearest,
        CostWeight::Relative(_) => 0.0,
    } + more;
    for prediction in predictions {
        let cost = prediction.cost.map_or(dearest, |cost| cost.mean);
        let latency = prediction.latency.map_or(usual, |latency| latency.mean);
        prediction.utility = prediction.quality.mean - per_usd * cost - preferences.latency_per_second * latency;
    }
}

/// Which candidates the caller's constraints exclude.
fn constrain(predictions: &[Prediction], preferences: &Preferences) -> Vec<Option<Exclusion>> {
    let mut excluded: Vec<Option<Exclusion>> = predictions
        .iter()
        .map(|prediction| match (preferences.max_cost, prediction.cost) {
            (Some(_), None) => Some(Exclusion::UnknownPrice),
            (Some(most), Some(cost)) if cost.mean > most.get() => Some(Exclusion::TooDear),
            _ => None,
        })
        .collect();
    if let Some(most) = preferences.max_latency_s {
        exclude_while_one_remains(&mut excluded, Exclusion::TooSlow, |arm| {
            predictions[arm].latency.is_some_and(|latency| latency.mean > most)
        });
    }
    if let Some(least) = preferences.min_quality {
        exclude_while_one_remains(&mut excluded, Exclusion::BelowQualityFloor, |arm| {
            predictions[arm].quality.mean < least
        });
    }
    excluded
}

fn exclude_while_one_remains(excluded: &mut [Option<Exclusion>], reason: Exclusion, fails: impl Fn(usize) -> bool) {
    let failing: Vec<usize> = (0..excluded.len()).filter(|&arm| excluded[arm].is_none() && fails(arm)).collect();
    if failing.len() < excluded.iter().filter(|reason| reason.is_none()).count() {
        for arm in failing {
            excluded[arm] = Some(reason);
        }
    }
}
