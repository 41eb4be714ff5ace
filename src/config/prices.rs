//! The bundled price catalogue: what well-known models cost and can do, as their providers say in public.
//!
//! The file is part of the binary, dated, and never fetched. It is also what makes `pointsman serve` work with a
//! key in the environment and no file at all.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::catalog::{Capability, Price};

/// Everything the file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundled {
    /// Format of the file.
    pub version: u32,
    /// The providers, in the order in which they are offered.
    #[serde(rename = "provider")]
    pub providers: Vec<Known>,
}

/// A well-known provider.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Its name here.
    pub id: String,
    /// Its OpenAI-compatible endpoint.
    pub base_url: String,
    /// The environment variables in which its key is usually kept; the first that is set counts.
    pub keys: Vec<String>,
    /// The day its prices were last confirmed (ISO 8601).
    pub as_of: String,
    /// Where they stand in public.
    pub source: String,
    /// What else a reader must know of them.
    pub note: Option<String>,
    /// Its models.
    #[serde(rename = "model")]
    pub models: Vec<Facts>,
}

/// What is publicly known of a model at a provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Its name in the provider's requests.
    pub name: String,
    /// The model it is, where that is not `provider/name`; two providers of one model name it alike.
    pub model: Option<String>,
    /// List price; `None` = not confirmed.
    pub price: Option<Price>,
    /// The provider charges more for prompts above this many tokens; `price` holds up to it.
    pub priced_up_to: Option<u32>,
    /// Greatest number of tokens of prompt and answer together, where it is known.
    pub context_window: Option<u32>,
    /// Greatest number of tokens of an answer, where it is known.
    pub max_output: Option<u32>,
    /// What it can do at this provider's OpenAI-compatible endpoint.
    #[serde(default)]
    pub can: Vec<Capability>,
    /// Whether `auto` may choose it without being asked; `false` for the dearest and for superseded ones.
    #[serde(default = "yes")]
    pub auto: bool,
}

fn yes() -> bool {
    true
}

impl Known {
    /// The model of this name in the provider's requests.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&Facts> {
        self.models.iter().find(|facts| facts.name == name)
    }
}

impl Facts {
    /// The context window that the price covers.
    #[must_use]
    pub fn window(&self) -> Option<u32> {
        match (self.context_window, self.priced_up_to) {
            (Some(window), Some(priced)) => Some(window.min(priced)),
            (window, priced) => window.or(priced),
        }
    }
}

/// The bundled catalogue.
///
/// # Panics
/// Never: a test reads the same text.
#[must_use]
pub fn bundled() -> &'static Bundled {
    static BUNDLED: LazyLock<Bundled> =
        LazyLock::new(|| toml::from_str(include_str!("../../models/prices.toml")).expect("a test reads this file"));
    &BUNDLED
}

/// The well-known provider of this name.
#[must_use]
pub fn known(provider: &str) -> Option<&'static Known> {
    bundled().providers.iter().find(|known| known.id == provider)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_is_dated_sourced_and_sensible() {
        let bundled = bundled();
        assert_eq!(bundled.version, 1);
        assert!(bundled.providers.len() >= 8);
        for provider in &bundled.providers {
            let id = &provider.id;
            provider.as_of.parse::<jiff::civil::Date>().unwrap_or_else(|error| panic!("{id}: {error}"));
            assert!(provider.source.starts_with("https://"), "{id}: {}", provider.source);
            assert!(provider.base_url.starts_with("https://") && !provider.base_url.ends_with('/'), "{id}");
            assert!(!provider.keys.is_empty() && !provider.models.is_empty(), "{id}");
            let names: BTreeSet<_> = provider.models.iter().map(|facts| &facts.name).collect();
            assert_eq!(names.len(), provider.models.len(), "{id} names a model twice");
            for facts in &provider.models {
                if let Some(price) = &facts.price {
                    let cached = price.cached_input.unwrap_or(price.input);
                    let name = &facts.name;
                    assert!(0.0 < cached && cached <= price.input && price.input <= price.output, "{id}:{name}");
                    assert!(price.cache_write.is_none_or(|write| write >= price.input), "{id}:{name}");
                    assert!(price.output <= 100.0, "{id}:{name} is priced per token, not per million?");
                }
            }
        }
    }

    #[test]
    fn a_price_that_holds_up_to_a_limit_holds_the_window_to_it() {
        let sol = known("openai").and_then(|openai| openai.model("gpt-6.1-sol")).expect("a bundled model");
        assert_eq!(sol.window(), Some(272_000));
    }
}
