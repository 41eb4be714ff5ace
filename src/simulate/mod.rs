//! Providers that are not there: for the demonstration, and for tests from end to end.
//!
//! Each is a real server on a port of its own that speaks OpenAI's protocol, but no model stands behind it. Which
//! answer it gives, how good that answer is, how long it takes and how many tokens it has is a function of a seed,
//! the model and the prompt alone: so the same run can be had again, and what any other choice would have brought
//! is known too. Every answer says that it is simulated, and carries its grade in a field of its own
//! (`simulated.score`), from which a caller can play the user who judges it. Nothing of that reaches the router but
//! what the caller sends as feedback.
//!
//! Two kinds of truth: [`World`] invents models of different skill; [`Recorded`] repeats outcomes that real models
//! had on real prompts.

mod answer;
pub mod prompts;
mod recorded;
mod server;
mod world;

use std::time::Duration;

pub use prompts::Prompt;
pub use recorded::Recorded;
pub use server::{Served, serve};
pub use world::World;

use crate::catalog::Price;

/// A simulated provider: one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// Its name.
    pub name: String,
    /// What it serves.
    pub models: Vec<String>,
    /// What its tokens cost.
    pub price: Price,
    /// How often it fails.
    pub faults: Faults,
}

/// Shares of the calls that go wrong, each `0..=1`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Answered with status 429 and `Retry-After`.
    pub rate_limited: f64,
    /// Answered with status 500.
    pub broken: f64,
    /// Answered, but this much later.
    pub slow: f64,
    /// How much later.
    pub delay: Duration,
}

/// What a model makes of a prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// How good the answer is, `0..=1`.
    pub score: f64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// Time to its first token.
    pub first_token: Duration,
    /// Time to its end.
    pub total: Duration,
    /// What the provider says it charged, where it says so.
    pub cost_usd: Option<f64>,
}

/// What is true of every model and prompt.
pub trait Truth: Send + Sync + 'static {
    /// The providers.
    fn providers(&self) -> &[Provider];

    /// What this model makes of this prompt; `None` if it is not one of the models, or nothing is recorded.
    fn outcome(&self, model: &str, prompt: &str) -> Option<Outcome>;
}

/// Tokens of a text, as the simulated providers count them: four characters each, and four for the message.
#[must_use]
pub fn tokens(text: &str) -> u64 {
    (text.chars().count() as u64).div_ceil(4) + 4
}

/// A number in `[0, 1)` that depends on these alone.
#[must_use]
pub fn chance(seed: u64, parts: &[&str]) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    (u64::from_le_bytes(first) >> 11) as f64 / (1_u64 << 53) as f64
}
