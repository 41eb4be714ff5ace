//! Outcomes that real models had on real prompts, repeated over HTTP.

use std::collections::HashMap;
use std::time::Duration;

use super::{Faults, Outcome, Provider, Truth};
use crate::catalog::Price;

/// What each model made of each prompt, and what it charged. Prompts are known by their text, kept as a hash.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    providers: Vec<Provider>,
    outcomes: HashMap<([u8; 32], String), Outcome>,
}

impl Recorded {
    /// Nothing recorded yet, of these models; each stands at a provider of its own with this list price.
    #[must_use]
    pub fn new(models: impl IntoIterator<Item = (String, Price)>) -> Self {
        let provider = |(model, price): (String, Price)| Provider {
            name: model.rsplit('/').next().unwrap_or_default().to_owned(),
            models: vec![model],
            price,
            faults: Faults::default(),
        };
        Self { providers: models.into_iter().map(provider).collect(), outcomes: HashMap::new() }
    }

    /// Records what `model` made of `prompt`: a score in `0..=1`, and dollars where they are known. Answers come at
    /// once: what a recording says of time does not hold elsewhere.
    pub fn record(&mut self, model: &str, prompt: &str, score: f64, cost_usd: Option<f64>) {
        let outcome =
            Outcome { score, completion_tokens: 32, first_token: Duration::ZERO, total: Duration::ZERO, cost_usd };
        self.outcomes.insert((*blake3::hash(prompt.as_bytes()).as_bytes(), model.to_owned()), outcome);
    }
}

impl Truth for Recorded {
    fn providers(&self) -> &[Provider] {
        &self.providers
    }

    fn outcome(&self, model: &str, prompt: &str) -> Option<Outcome> {
        self.outcomes.get(&(*blake3::hash(prompt.as_bytes()).as_bytes(), model.to_owned())).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recorded_comes_back_and_nothing_else() {
        let price = Price { input: 1.0, output: 2.0, cached_input: None, cache_write: None, reasoning: None };
        let mut recorded = Recorded::new([("lab/one".to_owned(), price)]);
        recorded.record("lab/one", "2 + 2?", 1.0, Some(0.002));
        let outcome = recorded.outcome("lab/one", "2 + 2?").expect("it was recorded");
        assert_eq!((outcome.score, outcome.cost_usd), (1.0, Some(0.002)));
        assert_eq!(recorded.outcome("lab/one", "2 + 3?"), None);
        assert_eq!(recorded.outcome("lab/two", "2 + 2?"), None);
        assert_eq!(recorded.providers()[0].name, "one");
    }
}
