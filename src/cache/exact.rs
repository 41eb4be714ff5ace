//! The store of the exact tier: answers by key, bounded in bytes, each with its age.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::config::Config;
use super::control::Control;
use super::key::Key;
use super::shelf::{Leaving, Shelves};
use crate::base::{DeploymentId, ModelId, TenantId, Timestamp, Usd};
use crate::chat::Answer;

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
    /// What the call has cost; `None` = not known.
    pub cost: Option<Usd>,
    /// How long it took to its last byte.
    pub took: Duration,
    /// What its caller has it purged by.
    pub tags: Vec<String>,
    /// The namespace in whose index its prompt stands, once it does.
    pub space: OnceLock<Key>,
}

/// What a second is worth that nobody waits, in dollars: some two dollars an hour.
const SECOND: f64 = 0.0005;

impl Entry {
    /// What one use of it saves, in dollars: the money of a call, as far as it is known, and its time.
    #[must_use]
    pub fn worth(&self) -> f64 {
        self.cost.map_or(0.0, Usd::get) + SECOND * self.took.as_secs_f64()
    }
}

/// Answers by key.
#[derive(Debug)]
pub(super) struct ExactCache {
    config: Config,
    entries: Shelves,
}

impl ExactCache {
    /// An empty cache that tells of what it loses.
    pub(super) fn new(config: Config, leaving: Leaving) -> Self {
        let entries = Shelves::new(config.max_bytes, config.max_entry_bytes as u64, leaving);
        Self { config, entries }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// The answer under this key, if it is alive and young enough for the caller. Looked at, not yet used.
    pub(super) fn get(&self, key: &Key, control: &Control, now: Timestamp) -> Option<Arc<Entry>> {
        if control.no_cache {
            return None;
        }
        let entry = self.entries.peek(key)?;
        let age = now.since(entry.made);
        if age >= self.config.lifetime_of(&entry.tenant) {
            if age >= self.config.lifetime_of(&entry.tenant).saturating_add(self.config.stale_if_error) {
                self.entries.forget(key);
            }
            return None;
        }
        // `max-age=0` asks for an answer made now.
        control.max_age.is_none_or(|most| age < most).then_some(entry)
    }

    /// The answer under this key, also one whose lifetime is over by less than `stale_if_error`.
    pub(super) fn get_stale(&self, key: &Key, now: Timestamp) -> Option<Arc<Entry>> {
        let entry = self.entries.peek(key)?;
        let most = self.config.lifetime_of(&entry.tenant).saturating_add(self.config.stale_if_error);
        (now.since(entry.made) < most).then_some(entry)
    }

    /// Takes note that the answer under this key was given.
    pub(super) fn used(&self, key: &Key) {
        drop(self.entries.used(key));
    }

    /// Keeps an answer, in place of an older one under the same key. One that is too large, or is worth less than all
    /// that would have to go for it, is not kept. `kept` is called if it is, before anything else can happen to its name.
    pub(super) fn put(&self, key: Key, entry: Arc<Entry>, kept: impl FnOnce()) -> bool {
        let bytes = weight(&entry);
        entry.body.len() <= self.config.max_entry_bytes && self.entries.put(key, entry, bytes, kept)
    }

    /// The answer under this key, whatever its age.
    pub(super) fn peek(&self, key: &Key) -> Option<Arc<Entry>> {
        self.entries.peek(key)
    }

    /// Forgets the answer under this key.
    pub(super) fn forget(&self, key: &Key) {
        self.entries.forget(key);
    }

    /// The answers for which `which` says so.
    pub(super) fn find(&self, which: impl Fn(&Entry) -> bool) -> Vec<Key> {
        self.entries.find(which)
    }

    /// Bytes held, and how many answers.
    pub(super) fn size(&self) -> (u64, u64) {
        self.entries.size()
    }
}

/// Bytes that an entry occupies: its body and text, and what every entry costs beside them.
fn weight(entry: &Entry) -> u64 {
    (entry.body.len() + entry.answer.text.len() + 256) as u64
}
