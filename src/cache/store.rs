//! What is remembered: answers by name, and the namespaces in which their prompts are compared.
//!
//! An answer and its place in an index live and die together: whatever takes an answer away (its age, the bound on
//! bytes, a report, a purge) takes its row away. Where there is no room for all, what saves the most money and time for
//! its bytes stays ([`shelf`](super::shelf)). A tenant's generation is part of every name, so that having
//! everything forgotten is one step, and an answer that was on its way at that moment is kept where nobody looks.
//! Every change is told to a [`Keeper`], which may write it down; none of them waits for it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use super::config::Config;
use super::control::Control;
use super::exact::{Entry, ExactCache};
use super::key::Key;
use super::semantic::compare::Verdict;
use super::semantic::decision::Prior;
use super::semantic::space::{Label, Looked, Portrait, Prompt, Source, Space};
use super::shelf::Leaving;
use crate::base::{TenantId, Timestamp};

/// Namespaces that are kept in memory; the one that was not asked for the longest goes first.
const MOST_SPACES: u64 = 10_000;

/// Digits of a namespace's name that tell it from others well enough.
const SHORTEST_NAME: usize = 12;

/// The name of a namespace, and what it is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub space: Key,
    /// Whose it is.
    pub tenant: TenantId,
    /// What is asked for in it.
    pub about: String,
}

/// A change of what is remembered.
#[derive(Clone, Debug)]
pub enum Change {
    /// An answer was kept.
    Put(Key, Arc<Entry>),
    /// The prompt of an answer was put into an index.
    Placed(Place, Prompt),
    /// An answer is gone, and its prompt with it.
    Gone(Key),
    /// Something was found of an answer.
    Learned(Place, Key, Timestamp, Label),
    /// A namespace was forgotten with all that it had learned.
    Dropped(Key),
    /// A tenant had everything forgotten; the number is part of its names from now on.
    Flushed(TenantId, u64),
}

/// Whoever writes changes down. Never waits.
pub trait Keeper: Send + Sync + 'static {
    /// Takes note.
    fn keep(&self, change: Change);

    /// Completes when all that was noted so far is written down; `false` if it could not be.
    fn written(&self) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        Box::pin(std::future::ready(true))
    }
}

/// Writes nothing down.
#[derive(Clone, Copy, Debug)]
pub struct InMemory;

impl Keeper for InMemory {
    fn keep(&self, _: Change) {}
}

/// What was written down.
#[derive(Debug, Default)]
pub struct Contents {
    /// The tenants' generations.
    pub generations: BTreeMap<TenantId, u64>,
    /// Answers.
    pub entries: Vec<(Key, Entry)>,
    /// Their prompts.
    pub prompts: Vec<(Place, Prompt)>,
    /// What was found, in order.
    pub labels: Vec<(Place, Key, Timestamp, Label)>,
}

/// Which answers to forget. A tenant forgets its own alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Purge {
    /// All of them, at once, also those on their way.
    All(bool),
    /// The one with this id.
    Id(String),
    /// Those whose prompts stand in this namespace, and what it has learned; the first 12 digits of its name suffice.
    Namespace(String),
    /// Those kept under this tag.
    Tag(String),
    /// Those made by this model or deployment.
    Model(String),
    /// Those made before this moment, microseconds since the epoch.
    Before(Timestamp),
    /// Those made at this moment or later.
    Since(Timestamp),
}

/// The memory of answers.
pub struct Cache {
    exact: ExactCache,
    spaces: moka::sync::Cache<Key, Arc<Space>>,
    generations: ArcSwap<BTreeMap<TenantId, u64>>,
    keeper: Arc<dyn Keeper>,
    prior: Prior,
}

impl Cache {
    /// An empty one, in memory alone.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::kept(config, Arc::new(InMemory), Contents::default(), Timestamp(0))
    }

    /// One with these contents, as far as they are alive, that tells `keeper` what changes.
    #[must_use]
    pub fn kept(config: Config, keeper: Arc<dyn Keeper>, contents: Contents, now: Timestamp) -> Self {
        let spaces: moka::sync::Cache<Key, Arc<Space>> = moka::sync::Cache::new(MOST_SPACES);
        let gone = {
            let keeper = Arc::clone(&keeper);
            Box::new(move |key: &Key| keeper.keep(Change::Gone(*key)))
        };
        let left = {
            let spaces = spaces.clone();
            Box::new(move |key: &Key, entry: &Entry| {
                if let Some(space) = entry.space.get().and_then(|space| spaces.get(space)) {
                    space.remove(&[*key]);
                }
            })
        };
        let Contents { generations, entries, prompts, labels } = contents;
        let exact = ExactCache::new(config, Leaving { gone, left });
        let generations = ArcSwap::from_pointee(generations);
        let cache = Self { exact, spaces, generations, keeper, prior: Prior::default() };
        cache.restore(entries, prompts, labels, now);
        cache
    }

    fn restore(
        &self,
        entries: Vec<(Key, Entry)>,
        prompts: Vec<(Place, Prompt)>,
        labels: Vec<(Place, Key, Timestamp, Label)>,
        now: Timestamp,
    ) {
        let config = self.exact.config();
        for (key, entry) in entries {
            let most = config.lifetime_of(&entry.tenant).saturating_add(config.stale_if_error);
            if now.since(entry.made) < most {
                // It is written down already.
                self.exact.put(key, Arc::new(entry), || ());
            } else {
                self.keeper.keep(Change::Gone(key));
            }
        }
        for (place, prompt) in prompts {
            let entry = self.exact.peek(&prompt.key).filter(|entry| entry.made == prompt.made);
            if let Some(entry) = entry.filter(|entry| entry.tenant == place.tenant) {
                let _first = entry.space.set(place.space);
                self.space(&place).insert(prompt, config.semantic.max_entries);
            }
        }
        // Namespaces learn apart from each other; within one the order stays.
        let mut labels = labels;
        labels.sort_by_key(|(place, ..)| place.space);
        for of_one in labels.chunk_by(|(one, ..), (other, ..)| one.space == other.space) {
            let found = of_one.iter().map(|(_, key, made, label)| (*key, *made, *label));
            self.space(&of_one[0].0).relearn(found, &config.semantic);
        }
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        self.exact.config()
    }

    /// How often this tenant had everything forgotten.
    #[must_use]
    pub fn generation(&self, tenant: &TenantId) -> u64 {
        self.generations.load().get(tenant).copied().unwrap_or(0)
    }

    /// The answer under this key, if it is alive and young enough for the caller. One that is given is to be told of by
    /// [`used`](Self::used).
    #[must_use]
    pub fn get(&self, key: &Key, control: &Control, now: Timestamp) -> Option<Arc<Entry>> {
        self.exact.get(key, control, now)
    }

    /// The answer under this key, also one whose lifetime is over by less than `stale_if_error`.
    #[must_use]
    pub fn get_stale(&self, key: &Key, now: Timestamp) -> Option<Arc<Entry>> {
        self.exact.get_stale(key, now)
    }

    /// Takes note that the answer under this key was given to somebody: what is used stays longer.
    pub fn used(&self, key: &Key) {
        self.exact.used(key);
    }

    /// Keeps an answer, in place of an older one under the same key, whose place in an index is gone with it. One that
    /// is too large, or is worth less than all that would have to go for it, is not kept.
    pub fn put(&self, key: Key, entry: Entry) {
        let entry = Arc::new(entry);
        let kept = || self.keeper.keep(Change::Put(key, Arc::clone(&entry)));
        self.exact.put(key, Arc::clone(&entry), kept);
    }

    /// Looks in this namespace for an answer to another prompt that may serve this one. Nothing is found where the
    /// namespace is new.
    #[must_use]
    pub fn look_up(&self, space: &Key, text: &str, vector: &[f32], uniform: f64, now: Timestamp) -> Option<Looked> {
        let looked = self.spaces.get(space)?.look_up(text, vector, uniform, &self.config().semantic, now);
        Some(looked)
    }

    /// Takes note of a miss in this namespace, and of its likeliest candidate with its estimate. Whether the pair is
    /// worth a judge's call.
    #[must_use]
    pub fn missed(&self, space: &Key, best: Option<(&Key, f64)>) -> bool {
        self.spaces.get(space).is_some_and(|space| space.missed(best, &self.config().semantic))
    }

    /// Puts the prompt of a kept answer into the index of its namespace.
    pub fn place(&self, place: Place, prompt: Prompt) {
        let entry = self.exact.peek(&prompt.key).filter(|entry| entry.made == prompt.made);
        let Some(entry) = entry.filter(|entry| entry.tenant == place.tenant) else { return };
        let (key, space) = (prompt.key, self.space(&place));
        if entry.space.set(place.space).is_ok() && space.insert(prompt.clone(), self.config().semantic.max_entries) {
            // On disk this changes the row of the answer, if there still is one.
            self.keeper.keep(Change::Placed(place, prompt));
            // One that went before it was known where its prompt stands has left the prompt here.
            if self.exact.peek(&key).is_none() {
                space.remove(&[key]);
            }
        }
    }

    /// Learns what was found of an entry that was made at that time.
    pub fn learn(&self, place: Place, key: Key, made: Timestamp, label: Label) {
        self.space(&place).learn(&key, made, &label, &self.config().semantic);
        self.keeper.keep(Change::Learned(place, key, made, label));
    }

    /// Somebody says that the answer under this key, given for a prompt of this similarity if it was for another one,
    /// was wrong. Whether the tenant has it.
    #[must_use]
    pub fn report(&self, tenant: &TenantId, key: &Key, similarity: Option<f64>, now: Timestamp) -> bool {
        let Some(entry) = self.exact.peek(key).filter(|entry| entry.tenant == *tenant) else { return false };
        let space = entry.space.get().and_then(|name| Some((*name, self.spaces.get(name)?)));
        if let (Some(similarity), Some((name, space))) = (similarity, space) {
            let place = Place { space: name, tenant: tenant.clone(), about: space.about.clone() };
            let label = Label {
                similarity,
                verdict: Verdict::Wrong,
                source: Source::Report,
                check: false,
                chosen: false,
                at: now,
            };
            self.learn(place, *key, entry.made, label);
        }
        self.exact.forget(key);
        true
    }

    /// Forgets these answers of a tenant; how many there were.
    pub fn purge(&self, tenant: &TenantId, what: &Purge) -> usize {
        let own = |entry: &Entry| entry.tenant == *tenant;
        let keys = match what {
            Purge::All(_) => {
                self.generations.rcu(|generations| {
                    let mut generations = BTreeMap::clone(generations);
                    *generations.entry(tenant.clone()).or_default() += 1;
                    generations
                });
                self.keeper.keep(Change::Flushed(tenant.clone(), self.generation(tenant)));
                self.drop_spaces(|_, space| space.tenant == *tenant);
                self.exact.find(own)
            }
            Purge::Id(id) => {
                let key = Key::read(id.split_once('-').map_or(id.as_str(), |(key, _)| key));
                key.into_iter().filter(|key| self.exact.peek(key).is_some_and(|entry| own(&entry))).collect()
            }
            Purge::Namespace(name) => {
                let named = |key: &Key| name.len() >= SHORTEST_NAME && key.to_string().starts_with(name);
                self.drop_spaces(|key, space| space.tenant == *tenant && named(key));
                self.exact.find(|entry| own(entry) && entry.space.get().is_some_and(named))
            }
            Purge::Tag(tag) => self.exact.find(|entry| own(entry) && entry.tags.contains(tag)),
            Purge::Model(model) => self
                .exact
                .find(|entry| own(entry) && (entry.model.as_str() == model || entry.deployment.as_str() == model)),
            Purge::Before(moment) => self.exact.find(|entry| own(entry) && entry.made < *moment),
            Purge::Since(moment) => self.exact.find(|entry| own(entry) && entry.made >= *moment),
        };
        keys.iter().for_each(|key| self.exact.forget(key));
        keys.len()
    }

    fn drop_spaces(&self, which: impl Fn(&Key, &Space) -> bool) {
        let names: Vec<Key> =
            self.spaces.iter().filter(|(name, space)| which(name, space)).map(|(name, _)| *name).collect();
        for name in names {
            self.spaces.invalidate(&name);
            self.keeper.keep(Change::Dropped(name));
        }
    }

    /// Completes when all changes so far are written down; `false` if they could not be.
    pub fn written(&self) -> impl Future<Output = bool> + Send + use<> {
        self.keeper.written()
    }

    fn space(&self, place: &Place) -> Arc<Space> {
        let new = || Arc::new(Space::new(place.tenant.clone(), place.about.clone(), self.prior.clone()));
        self.spaces.get_with(place.space, new)
    }

    /// What can be told of the namespaces, of one tenant or (`None`) of all; those with the most verdicts first.
    #[must_use]
    pub fn portraits(&self, tenant: Option<&TenantId>) -> Vec<Portrait> {
        let own = |space: &Space| tenant.is_none_or(|tenant| space.tenant == *tenant);
        let mut all: Vec<Portrait> =
            self.spaces.iter().filter(|(_, space)| own(space)).map(|(name, space)| space.portrait(&name)).collect();
        all.sort_by(|a, b| b.standing.labels.cmp(&a.standing.labels).then_with(|| a.namespace.cmp(&b.namespace)));
        all
    }

    /// A namespace, for those who look closely.
    #[must_use]
    pub fn namespace(&self, name: &Key) -> Option<Arc<Space>> {
        self.spaces.get(name)
    }

    /// Bytes held, and how many answers.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        self.exact.size()
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("spaces", &self.spaces.entry_count()).finish_non_exhaustive()
    }
}
