//! What can be called: models, the deployments they are to be had from, and what those cost and can do.
//!
//! A catalogue is a value: it is built from the configuration, never changed, and swapped whole. Its digest
//! stands in every event, so that a logged decision can be judged by the prices and limits of its day.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{DeploymentId, Digest, Kind, ModelId, Secret, Usd};
use crate::chat::Usage;

/// List price in US dollars per million tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// A million input tokens.
    pub input: f64,
    /// A million output tokens (hidden reasoning included, unless `reasoning` is set).
    pub output: f64,
    /// A million input tokens read from the provider's prompt cache; `input` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<f64>,
    /// A million input tokens written to the provider's prompt cache; `input` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
    /// A million reasoning tokens, where they have a price of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<f64>,
}

impl Price {
    /// What these tokens cost. `None` when the input or output count was not reported: unknown is not zero.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Option<Usd> {
        let prompt = usage.prompt_tokens? as f64;
        let completion = usage.completion_tokens? as f64;
        let cached = (usage.cached_tokens.unwrap_or(0) as f64).min(prompt);
        let written = (usage.cache_write_tokens.unwrap_or(0) as f64).min(prompt - cached);
        let reasoning =
            if self.reasoning.is_some() { (usage.reasoning_tokens.unwrap_or(0) as f64).min(completion) } else { 0.0 };
        let per_million = (prompt - cached - written) * self.input
            + cached * self.cached_input.unwrap_or(self.input)
            + written * self.cache_write.unwrap_or(self.input)
            + (completion - reasoning) * self.output
            + reasoning * self.reasoning.unwrap_or(self.output);
        Some(Usd(per_million / 1e6))
    }
}

/// Something a request may need and a deployment may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Tool (function) calling.
    Tools,
    /// `response_format: json_object`.
    JsonMode,
    /// `response_format: json_schema`.
    JsonSchema,
    /// Images in messages.
    Vision,
    /// Audio or files in messages.
    Media,
    /// Log-probabilities.
    Logprobs,
    /// Several choices (`n` > 1).
    ManyChoices,
    /// The legacy `/v1/completions` endpoint.
    LegacyCompletions,
}

/// A model at a provider.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Deployment {
    /// Its name; unique in the catalogue.
    pub id: DeploymentId,
    /// The model it serves.
    pub model: ModelId,
    /// Who runs it, for example `openai`.
    pub provider: String,
    /// The model's name in the provider's requests.
    pub upstream_model: String,
    /// Where it is, up to and including the version part: `https://api.openai.com/v1`.
    pub base_url: String,
    /// The provider key.
    #[serde(skip)]
    pub key: Option<Secret>,
    /// Headers to add, beside authorisation.
    pub headers: BTreeMap<String, String>,
    /// Its price; `None` = unknown.
    pub price: Option<Price>,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// Greatest number of tokens of prompt and answer together; `None` = unknown, not limited here.
    pub context_window: Option<u32>,
    /// Greatest number of tokens of an answer; `None` = unknown.
    pub max_output: Option<u32>,
    /// Its share among the deployments of one model, relative to the others'.
    pub weight: f64,
    /// Free labels that rules may name.
    pub tags: Vec<String>,
    /// Whether the router may choose it for `auto`; if not, it serves only when named.
    pub auto: bool,
    /// A model that is already known and that this one is taken to be like until it has answers of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub like: Option<ModelId>,
}

impl Deployment {
    /// Whether it can do this.
    #[must_use]
    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }
}

/// Everything that can be called.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Catalog {
    /// All deployments, in the order of the configuration.
    pub deployments: Vec<Deployment>,
    /// Other names: what a caller may ask for, and the models that serve it (one: an alias; several: a pool).
    pub aliases: BTreeMap<String, Vec<ModelId>>,
    /// The model that serves while nothing is learned and when the policy must not explore; the baseline of
    /// every report. `None`: the dearest by price.
    pub baseline: Option<ModelId>,
    /// Names this version of the catalogue.
    pub digest: Digest,
}

impl Catalog {
    /// A catalogue of these parts, with its digest.
    #[must_use]
    pub fn new(
        deployments: Vec<Deployment>,
        aliases: BTreeMap<String, Vec<ModelId>>,
        baseline: Option<ModelId>,
    ) -> Self {
        let digest = Digest::of_json(&(&deployments, &aliases, &baseline));
        Self { deployments, aliases, baseline, digest }
    }

    /// The deployment of this name.
    #[must_use]
    pub fn deployment(&self, id: &str) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.id.as_str() == id)
    }

    /// The deployments of this model, in configuration order.
    pub fn deployments_of<'a>(&'a self, model: &'a str) -> impl Iterator<Item = &'a Deployment> {
        self.deployments.iter().filter(move |deployment| deployment.model.as_str() == model)
    }

    /// Every model once, in configuration order.
    #[must_use]
    pub fn models(&self) -> Vec<&ModelId> {
        let mut models: Vec<&ModelId> = Vec::new();
        for deployment in &self.deployments {
            if !models.contains(&&deployment.model) {
                models.push(&deployment.model);
            }
        }
        models
    }
}

/// How a deployment is doing, as `dispatch` saw it last. A value: made there, read by the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Requests to it that have not ended.
    pub in_flight: u32,
    /// How long it is still to be left alone (breaker open, or `Retry-After`); `None` = it may be called.
    pub closed_for: Option<Duration>,
    /// What closed it, while it is closed.
    pub cause: Option<Kind>,
}

/// The health of every deployment that was ever called; the others are well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Availability {
    /// By deployment.
    pub health: BTreeMap<DeploymentId, Health>,
}

impl Availability {
    /// How this deployment is doing.
    #[must_use]
    pub fn of(&self, deployment: &DeploymentId) -> Health {
        self.health.get(deployment).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Price =
        Price { input: 1.0, output: 10.0, cached_input: Some(0.1), cache_write: None, reasoning: None };

    #[test]
    fn cached_tokens_are_charged_at_their_own_price() {
        let usage = Usage {
            prompt_tokens: Some(1_000_000),
            completion_tokens: Some(0),
            cached_tokens: Some(900_000),
            ..Usage::default()
        };
        assert!((PRICE.cost(&usage).expect("all counts known").get() - 0.19).abs() < 1e-12);
    }

    #[test]
    fn an_unreported_count_is_an_unknown_cost() {
        let usage = Usage { prompt_tokens: Some(10), ..Usage::default() };
        assert_eq!(PRICE.cost(&usage), None);
    }
}
