//! The store of the exact tier: answers by key, bounded in bytes, each with its age.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use moka::notification::RemovalCause;

use super::config::Config;
use super::control::Control;
use super::key::Key;
use crate::base::{DeploymentId, ModelId, TenantId, Timestamp};
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
    /// What its caller has it purged by.
    pub tags: Vec<String>,
    /// The namespace in whose index its prompt stands, once it does.
    pub space: OnceLock<Key>,
}

/// Told of every answer that is gone: forgotten, pushed out or too old; not of one that was replaced.
pub(super) type Gone = Box<dyn Fn(&Key, &Entry) + Send + Sync>;

/// Answers by key.
#[derive(Debug)]
pub(super) struct ExactCache {
    config: Config,
    entries: moka::sync::Cache<Key, Arc<Entry>>,
}

impl ExactCache {
    /// An empty cache that tells `gone` of what it loses.
    pub(super) fn new(config: Config, gone: Gone) -> Self {
        let entries = moka::sync::Cache::builder()
            .max_capacity(config.max_bytes)
            .weigher(|_, entry: &Arc<Entry>| u32::try_from(weight(entry)).unwrap_or(u32::MAX))
            .eviction_listener(move |key: Arc<Key>, entry: Arc<Entry>, cause| {
                if cause != RemovalCause::Replaced {
                    gone(&key, &entry);
                }
            })
            .build();
        Self { config, entries }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// The answer under this key, if it is alive and young enough for the caller.
    pub(super) fn get(&self, key: &Key, control: &Control, now: Timestamp) -> Option<Arc<Entry>> {
        if control.no_cache {
            return None;
        }
        let entry = self.entries.get(key)?;
        let age = now.since(entry.made);
        if age >= self.config.lifetime_of(&entry.tenant) {
            if age >= self.config.lifetime_of(&entry.tenant).saturating_add(self.config.stale_if_error) {
                self.entries.invalidate(key);
            }
            return None;
        }
        // `max-age=0` asks for an answer made now.
        control.max_age.is_none_or(|most| age < most).then_some(entry)
    }

    /// The answer under this key, also one whose lifetime is over by less than `stale_if_error`.
    pub(super) fn get_stale(&self, key: &Key, now: Timestamp) -> Option<Arc<Entry>> {
        let entry = self.entries.get(key)?;
        let most = self.config.lifetime_of(&entry.tenant).saturating_add(self.config.stale_if_error);
        (now.since(entry.made) < most).then_some(entry)
    }

    /// Keeps an answer, in place of an older one under the same key. One that is too large is not kept.
    pub(super) fn put(&self, key: Key, entry: Arc<Entry>) -> bool {
        let fits = entry.body.len() <= self.config.max_entry_bytes;
        if fits {
            self.entries.insert(key, entry);
        }
        fits
    }

    /// The answer under this key, whatever its age.
    pub(super) fn peek(&self, key: &Key) -> Option<Arc<Entry>> {
        self.entries.get(key)
    }

    /// Forgets the answer under this key.
    pub(super) fn forget(&self, key: &Key) {
        self.entries.invalidate(key);
    }

    /// The answers for which `which` says so.
    pub(super) fn find(&self, which: impl Fn(&Entry) -> bool) -> Vec<Key> {
        self.entries.iter().filter(|(_, entry)| which(entry)).map(|(key, _)| *key).collect()
    }

    /// Bytes held, and how many answers.
    pub(super) fn size(&self) -> (u64, u64) {
        self.entries.run_pending_tasks();
        (self.entries.weighted_size(), self.entries.entry_count())
    }
}

/// Bytes that an entry occupies: its body and text, and what every entry costs beside them.
fn weight(entry: &Entry) -> usize {
    entry.body.len() + entry.answer.text.len() + 256
}
