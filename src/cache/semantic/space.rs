//! One namespace: prompts that differ in the user's last words and in nothing else that shapes the answer.
//!
//! It is an index of its own. A prompt of another tenant, of another system prompt, of another model is not filtered
//! out of what is found: it is not there. Beside the index stand the texts for the vetoes, what was found of every
//! entry, what that says of entries in general, and how far the whole is trusted ([`Standing`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::asking::Asking;
use super::compare::Verdict;
use super::decision::{Evidence, LEAST_SIMILARITY, Pair, Prior, Rule};
use super::index::Index;
use super::quantised::Fine;
use super::standing::{Standing, State};
use super::vetoes::{Veto, veto};
use crate::base::{TenantId, Timestamp};
use crate::cache::config::SemanticConfig;
use crate::cache::key::Key;

/// Nearest entries that are looked at.
const LOOKED_AT: usize = 4;

/// What the index is asked for at least: [`LEAST_SIMILARITY`], and four times what a cosine of one byte a number errs.
const LEAST_ABOUT: f32 = LEAST_SIMILARITY as f32 - 0.01;

/// Oldest entries among which one is chosen to make room.
const LOOKED_OVER: usize = 32;

/// A prompt that may be found again.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// The name of its answer.
    pub key: Key,
    /// When that answer was made: what was found of one says nothing of a later one.
    pub made: Timestamp,
    /// The user's last words.
    pub text: Arc<str>,
    /// Their vector.
    pub vector: Fine,
    /// Whether it was judged, when it came, to be something else than the likeliest that was there.
    pub distinct: bool,
}

/// Who found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A caller reported it.
    Report,
    /// The answers themselves: equal, or unequal data.
    Equality,
    /// The cosine of the answers' vectors.
    Vectors,
    /// A model that was asked.
    Judge,
}

/// What was found of an entry's answer for a prompt of this similarity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// Cosine of the two prompts.
    pub similarity: f64,
    /// What was found.
    pub verdict: Verdict,
    /// By whom.
    pub source: Source,
    /// Whether the answer was served, or would have been but for the shadow.
    pub check: bool,
    /// Whether it was asked for because it would tell much: then it is no fair sample, and teaches its entry alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chosen: bool,
    /// When.
    pub at: Timestamp,
}

/// The entry that may answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The name of its answer.
    pub key: Key,
    /// When that was made.
    pub made: Timestamp,
    /// Cosine of the two prompts.
    pub similarity: f64,
    /// The estimated probability that its answer is right.
    pub right: f64,
    /// Whether that is enough, whatever the namespace's standing.
    pub serves: bool,
}

/// What a look-up found.
#[derive(Clone, Debug, PartialEq)]
pub struct Looked {
    /// What the namespace may do.
    pub state: State,
    /// The best entry that nothing forbids.
    pub candidate: Option<Candidate>,
    /// Why a nearer one is none.
    pub veto: Option<Veto>,
}

#[derive(Debug)]
struct Held {
    prompt: Arc<Prompt>,
    evidence: Evidence,
    /// Of how many misses it was the likeliest candidate.
    times: u32,
    /// How often it was the likeliest candidate at all, lately.
    uses: u32,
}

#[derive(Debug, Default)]
struct Inner {
    held: BTreeMap<u32, Held>,
    numbers: HashMap<Key, u32>,
    next: u32,
    prior: Prior,
    standing: Standing,
    /// Made at the first miss.
    asking: Option<Asking>,
    sources: BTreeMap<Source, u64>,
}

impl Inner {
    fn used(&mut self, key: &Key) {
        if let Some(held) = self.numbers.get(key).and_then(|number| self.held.get_mut(number)) {
            held.uses = held.uses.saturating_add(1);
        }
    }

    /// Takes out the least used of the oldest prompts; its number. The others of them are a little less used by that, so
    /// that none stays for what it once was.
    fn make_room(&mut self) -> Option<u32> {
        let (number, _) = self.held.iter().take(LOOKED_OVER).min_by_key(|(number, held)| (held.uses, **number))?;
        let number = *number;
        self.held.values_mut().take(LOOKED_OVER).for_each(|held| held.uses /= 2);
        let held = self.held.remove(&number)?;
        self.numbers.remove(&held.prompt.key);
        Some(number)
    }

    fn learn(
        &mut self,
        key: &Key,
        made: Timestamp,
        label: &Label,
        settings: &SemanticConfig,
        gone: &mut HashMap<(Key, Timestamp), Evidence>,
    ) {
        // A time that is over is over before this, also when all is learned again.
        self.standing.now(settings, label.at);
        let right = match label.verdict {
            Verdict::Right => Some(true),
            Verdict::Wrong => Some(false),
            Verdict::Unclear => None,
        };
        if let Some(right) = right.filter(|_| label.similarity >= LEAST_SIMILARITY) {
            let held = self.numbers.get(key).and_then(|number| self.held.get_mut(number));
            let evidence = match held.filter(|held| held.prompt.made == made) {
                Some(held) => &mut held.evidence,
                None => gone.entry((*key, made)).or_default(),
            };
            let pair = Pair { similarity: label.similarity, right };
            if label.chosen {
                evidence.learn(pair);
            } else {
                self.prior.learn(evidence, pair);
            }
            *self.sources.entry(label.source).or_default() += 1;
            self.standing.taught(settings, label.at);
        }
        self.standing.reports += u64::from(label.source == Source::Report);
        if label.check {
            self.standing.checked(label.verdict, settings, label.at);
        }
    }
}

/// One namespace.
#[derive(Debug)]
pub struct Space {
    /// Whose it is.
    pub tenant: TenantId,
    /// What is asked for in it, for people to recognise it by.
    pub about: String,
    index: Index,
    inner: Mutex<Inner>,
}

/// What is told of a namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Portrait {
    /// Its name.
    pub namespace: String,
    /// Whose it is.
    pub tenant: TenantId,
    /// What is asked for in it.
    pub about: String,
    /// Prompts in its index.
    pub entries: usize,
    /// How far it is trusted.
    #[serde(flatten)]
    pub standing: Standing,
    /// Upper limit, 95 %, of the share of wrong answers among those served for other prompts.
    pub bound: f64,
    /// Verdicts that taught something, by who found them.
    pub sources: BTreeMap<Source, u64>,
}

impl Space {
    /// An empty namespace.
    #[must_use]
    pub fn new(tenant: TenantId, about: String, prior: Prior) -> Self {
        let inner = Mutex::new(Inner { prior, ..Inner::default() });
        Self { tenant, about, index: Index::default(), inner }
    }

    /// Looks for an entry that may answer this prompt. `uniform` is the request's draw in `[0, 1)`.
    #[must_use]
    pub fn look_up(
        &self,
        text: &str,
        vector: &[f32],
        uniform: f64,
        settings: &SemanticConfig,
        now: Timestamp,
    ) -> Looked {
        let near = self.index.nearest(vector, LOOKED_AT, LEAST_ABOUT);
        let mut inner = self.inner.lock();
        let state = inner.standing.now(settings, now);
        let held = near.iter().filter_map(|near| Some((near.id, Arc::clone(&inner.held.get(&near.id)?.prompt))));
        let held: Vec<(u32, Arc<Prompt>)> = held.collect();
        // What takes longest, the vetoes, nobody else waits for.
        drop(inner);
        let mut looked = Looked { state, candidate: None, veto: None };
        let mut found: Vec<(f64, u32, &Prompt)> = held
            .iter()
            .map(|(number, prompt)| (prompt.vector.cosine(vector), *number, prompt.as_ref()))
            .filter(|(similarity, ..)| *similarity >= LEAST_SIMILARITY)
            .collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        found.retain(|(_, _, prompt)| match veto(&prompt.text, text) {
            Some(veto) => {
                looked.veto.get_or_insert(veto);
                false
            }
            None => true,
        });
        if found.is_empty() {
            return looked;
        }
        let rule = Rule::for_wrong_share(settings.max_wrong.unwrap_or(0.0));
        let mut inner = self.inner.lock();
        // One that went meanwhile is none. Numbers are not used again.
        let candidates = found.into_iter().filter_map(|(similarity, number, prompt)| {
            let evidence = &inner.held.get(&number)?.evidence;
            Some(((similarity, prompt.key, prompt.made), evidence, similarity, prompt.distinct))
        });
        looked.candidate = inner.prior.likeliest(candidates).map(|((similarity, key, made), right)| {
            let serves = rule.serves(similarity, right, uniform);
            Candidate { key, made, similarity, right, serves }
        });
        if let Some(best) = &looked.candidate {
            inner.used(&best.key);
        }
        looked
    }

    /// Takes note of a miss and of its likeliest candidate, with its estimate. Whether the pair is worth a judge's
    /// call.
    pub fn missed(&self, best: Option<(&Key, f64)>, settings: &SemanticConfig) -> bool {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let best = best.and_then(|(key, right)| {
            let held = inner.held.get_mut(inner.numbers.get(key)?)?;
            held.times = held.times.saturating_add(1);
            Some((right, held.times))
        });
        inner.asking.get_or_insert_with(|| Asking::of_misses(settings.judge_share)).takes(best)
    }

    /// Adds a prompt, in place of an older one under the same name; `false` if its vector is none. Where there is no
    /// more room the least used of the oldest goes.
    pub fn insert(&self, prompt: Prompt, most: usize) -> bool {
        let vector = prompt.vector.vector();
        let mut inner = self.inner.lock();
        let old = inner.numbers.remove(&prompt.key);
        old.iter().for_each(|old| drop(inner.held.remove(old)));
        let gone = if inner.held.len() >= most { inner.make_room() } else { None };
        if old.is_some() || gone.is_some() {
            self.index.remove(|number| Some(number) == old || Some(number) == gone);
        }
        let number = inner.next;
        if !self.index.insert(number, &vector) {
            return false;
        }
        inner.next = inner.next.wrapping_add(1);
        inner.numbers.insert(prompt.key, number);
        inner.held.insert(number, Held { prompt: Arc::new(prompt), evidence: Evidence::default(), times: 0, uses: 0 });
        true
    }

    /// Takes prompts out.
    pub fn remove(&self, keys: &[Key]) {
        let mut inner = self.inner.lock();
        let gone: Vec<u32> = keys.iter().filter_map(|key| inner.numbers.remove(key)).collect();
        gone.iter().for_each(|number| drop(inner.held.remove(number)));
        if !gone.is_empty() {
            self.index.remove(|number| gone.contains(&number));
        }
    }

    /// Learns what was found of an entry, as it was made at that time. Of one that is gone, only what it says of
    /// entries in general.
    pub fn learn(&self, key: &Key, made: Timestamp, label: &Label, settings: &SemanticConfig) {
        self.inner.lock().learn(key, made, label, settings, &mut HashMap::new());
    }

    /// Learns anew, in order, what was learned before a restart. What was found of entries that are gone is put
    /// together as it was while they were there, so that the same is believed of all.
    pub fn relearn(&self, labels: impl IntoIterator<Item = (Key, Timestamp, Label)>, settings: &SemanticConfig) {
        let mut gone = HashMap::new();
        let mut inner = self.inner.lock();
        for (key, made, label) in labels {
            inner.learn(&key, made, &label, settings, &mut gone);
        }
    }

    /// The estimate for an entry at this similarity; `None` if it is not here.
    #[must_use]
    pub fn estimate(&self, key: &Key, similarity: f64) -> Option<f64> {
        let inner = self.inner.lock();
        let held = inner.held.get(inner.numbers.get(key)?)?;
        Some(inner.prior.right(&held.evidence, similarity))
    }

    /// Prompts in it, and rows of its index.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.inner.lock().held.len(), self.index.len())
    }

    /// What can be told of it.
    #[must_use]
    pub fn portrait(&self, name: &Key) -> Portrait {
        let inner = self.inner.lock();
        Portrait {
            namespace: name.to_string(),
            tenant: self.tenant.clone(),
            about: self.about.clone(),
            entries: inner.held.len(),
            bound: inner.standing.bound(),
            sources: inner.sources.clone(),
            standing: inner.standing.clone(),
        }
    }
}
