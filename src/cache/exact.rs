//! The store of the exact tier: answers by key, bounded in bytes, each with its age.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::control::Control;
use super::gate::Repeats;
use super::key::Key;
use crate::base::problem::Problem;
use crate::base::{DeploymentId, ModelId, TenantId, Timestamp};
use crate::chat::Answer;

/// How much is kept, how long, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// For which requests answers are repeated: `off`, `deterministic` (temperature 0, and where the caller welcomes
    /// it with `cache-control: max-age`), `always`.
    pub repeats: Repeats,
    /// How long an answer lives, counted from its making.
    #[serde(with = "crate::base::duration")]
    pub lifetime: Duration,
    /// Bytes kept in all.
    pub max_bytes: u64,
    /// Bytes of the largest answer kept.
    pub max_entry_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            repeats: Repeats::default(),
            lifetime: Duration::from_hours(24),
            max_bytes: 64 * 1_000_000,
            max_entry_bytes: 1_000_000,
        }
    }
}

impl Config {
    /// What is wrong with it.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.lifetime.is_zero() {
            problems.push(Problem::new("lifetime", "0s", "a duration above zero; `repeats = \"off\"` switches it off"));
        }
        if self.max_bytes < self.max_entry_bytes as u64 {
            problems.push(Problem::new("max_bytes", self.max_bytes, "at least max_entry_bytes"));
        }
        problems
    }
}

/// An answer that may be given again.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Whose it is.
    pub tenant: TenantId,
    /// The whole answer, as the provider sent it or as its stream adds up to.
    pub body: Bytes,
    /// What it says.
    pub answer: Answer,
    /// When it was made.
    pub made: Timestamp,
    /// Who made it.
    pub deployment: DeploymentId,
    /// The model of that deployment.
    pub model: ModelId,
}

/// Answers by key.
#[derive(Debug)]
pub struct ExactCache {
    config: Config,
    entries: moka::sync::Cache<Key, Arc<Entry>>,
}

impl ExactCache {
    /// An empty cache.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let entries = moka::sync::Cache::builder()
            .max_capacity(config.max_bytes)
            .weigher(|_, entry: &Arc<Entry>| u32::try_from(weight(entry)).unwrap_or(u32::MAX))
            .build();
        Self { config, entries }
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The answer under this key, if it is alive and young enough for the caller.
    #[must_use]
    pub fn get(&self, key: &Key, control: &Control, now: Timestamp) -> Option<Arc<Entry>> {
        if control.no_cache {
            return None;
        }
        let entry = self.entries.get(key)?;
        let age = now.since(entry.made);
        if age >= self.config.lifetime {
            self.entries.invalidate(key);
            return None;
        }
        // `max-age=0` asks for an answer made now.
        control.max_age.is_none_or(|most| age < most).then_some(entry)
    }

    /// Keeps an answer, in place of an older one under the same key. One that is too large is not kept.
    pub fn put(&self, key: Key, entry: Entry) {
        if entry.body.len() <= self.config.max_entry_bytes {
            self.entries.insert(key, Arc::new(entry));
        }
    }

    /// Forgets the answer under this key, if it is this tenant's; whether there was one.
    #[must_use]
    pub fn forget(&self, key: &Key, tenant: &TenantId) -> bool {
        let own = self.entries.get(key).is_some_and(|entry| entry.tenant == *tenant);
        if own {
            self.entries.invalidate(key);
        }
        own
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.entries.invalidate_all();
    }

    /// Bytes held, and how many answers.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        self.entries.run_pending_tasks();
        (self.entries.weighted_size(), self.entries.entry_count())
    }
}

/// Bytes that an entry occupies: its body and text, and what every entry costs beside them.
fn weight(entry: &Entry) -> usize {
    entry.body.len() + entry.answer.text.len() + 256
}
