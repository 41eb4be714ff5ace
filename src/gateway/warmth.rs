//! What providers still have of a conversation in their prompt caches, and what that is worth.
//!
//! A provider that has seen the beginning of a prompt a moment ago charges less for it. A router that sends every turn
//! to another deployment throws this away, turn after turn. So the path remembers, for a while, which deployments had
//! which conversation, and of how many tokens. Two things follow.
//!
//! - **Cost.** What of the prompt a deployment is expected to read from its cache, or to write to it, is part of the
//!   cost that is predicted for it. How often a provider really had what it should have, and how much it charges as
//!   written, is learned from the usage that it reports.
//! - **Staying.** Where moving would cost something, a conversation is not decided anew on every turn: it stays with its
//!   deployment, which is logged as `held`, with probability 1, and weighs in no evaluation. It is decided again when
//!   the cache has run out, the deployment failed or cannot serve this turn, the task has changed, or another model is
//!   clearly better here.
//!
//! A conversation is known by the name the caller gives it, else by how it begins: its system messages, its tools and
//! its first user message, always those of one tenant. Many conversations of a tenant open alike, with the same tools
//! and the same long system message, and a provider that read them a moment ago for one has them for the next. So the
//! **opening** is remembered, too. It counts in the cost alone: where all conversations open alike, staying with it would
//! send them all to one deployment.
//!
//! All of this is memory: a restart costs one cold turn.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::Config;
use crate::base::{DeploymentId, TenantId, Timestamp};
use crate::catalog::{Availability, Catalog, Price};
use crate::chat::{Raw, Role, Usage, View};
use crate::dispatch::Attempt;
use crate::features::Features;
use crate::policy::{Candidate, PromptCache};

/// Conversations remembered at once.
const CONVERSATIONS: u64 = 100_000;
/// How quickly a provider's habits are learned from what it reports.
const FOLLOW: f64 = 0.2;

/// Which conversation a request belongs to, and what of it others may share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conversation {
    key: Key,
    /// What it opens with, if that alone is long enough to be kept.
    opening: Option<Opening>,
}

/// Tools and system messages before all else.
#[derive(Clone, Copy, Debug)]
struct Opening {
    key: Key,
    tokens: u64,
}

/// The beginning of prompts, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key([u8; 16]);

impl Key {
    fn of<'a>(tenant: &'a TenantId, kind: &'a str, parts: impl Iterator<Item = &'a str>) -> Self {
        let mut hasher = Sha256::new();
        for text in [tenant.as_str(), kind].into_iter().chain(parts) {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        let mut short = [0; 16];
        short.copy_from_slice(&hasher.finalize()[..16]);
        Self(short)
    }
}

impl Conversation {
    /// The one of this name, or the one that begins like this.
    fn of(tenant: &TenantId, name: Option<&str>, view: &View) -> Key {
        if let Some(name) = name {
            return Key::of(tenant, "named", std::iter::once(name));
        }
        let system = view.messages.iter().filter(|message| message.role == Role::System);
        let first = view.messages.iter().find(|message| message.role == Role::User);
        let texts = system.map(|message| message.text.as_str()).chain(view.tools.iter().map(|tool| tool.name.as_str()));
        Key::of(tenant, "begins", texts.chain(std::iter::once(first.map_or("", |message| &message.text))))
    }
}

impl Opening {
    /// What a prompt of so many tokens opens with. Its own tokens are its share of the bytes: it need not be exact.
    fn of(tenant: &TenantId, view: &View, prompt_tokens: u32) -> Self {
        let schemas: Vec<String> =
            view.tools.iter().map(|tool| tool.parameters.as_ref().map_or_else(String::new, Raw::to_string)).collect();
        let tools = view.tools.iter().zip(&schemas).flat_map(|(tool, schema)| [tool.name.as_str(), schema]);
        let before = view.messages.iter().take_while(|message| message.role == Role::System);
        let parts: Vec<&str> = tools.chain(before.map(|message| message.text.as_str())).collect();
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let after = view.messages.iter().skip_while(|message| message.role == Role::System);
        let all = bytes + after.map(|message| message.text.len()).sum::<usize>();
        let tokens = f64::from(prompt_tokens) * bytes as f64 / all.max(1) as f64;
        Self { key: Key::of(tenant, "opens", parts.into_iter()), tokens: tokens as u64 }
    }
}

/// What is remembered of one conversation, or of one opening.
#[derive(Clone, Debug, Default)]
struct Trace {
    /// Who had it.
    had: Vec<Had>,
    /// The task of the last decision.
    intent: Option<String>,
}

impl Trace {
    /// Takes out what is known of this deployment.
    fn forget(&mut self, deployment: &DeploymentId) -> Option<Had> {
        let place = self.had.iter().position(|had| had.deployment == *deployment)?;
        Some(self.had.swap_remove(place))
    }
}

/// A deployment that has read it.
#[derive(Clone, Debug)]
struct Had {
    deployment: DeploymentId,
    at: Timestamp,
    /// Tokens of the prompt that it read.
    tokens: u64,
}

/// What a provider's reports say of its cache.
#[derive(Clone, Copy, Debug)]
struct Habits {
    /// Share of what should have been there that was.
    hits: f64,
    /// Share of the rest that was charged as written.
    writes: f64,
}

impl Default for Habits {
    /// Before it has reported any.
    fn default() -> Self {
        Self { hits: 0.9, writes: 0.0 }
    }
}

/// The memory.
pub(super) struct Warmth {
    lifetime: Duration,
    least_tokens: u64,
    traces: Cache<Key, Arc<Mutex<Trace>>>,
    habits: Cache<DeploymentId, Arc<Mutex<Habits>>>,
}

impl Warmth {
    pub(super) fn new(config: &Config) -> Self {
        let lifetime = config.prompt_cache_lifetime;
        // A lifetime of 0 switches it off; the memory that then holds nothing wants a time all the same.
        let idle = lifetime.max(Duration::from_secs(1));
        Self {
            lifetime,
            least_tokens: u64::from(config.prompt_cache_least_tokens),
            traces: Cache::builder().max_capacity(CONVERSATIONS).time_to_idle(idle).build(),
            habits: Cache::builder().max_capacity(10_000).build(),
        }
    }

    /// The conversation that a request is a turn of: of this name, or as it begins. `None` where no provider would keep
    /// it: the prompt is short, or prompt caches are not reckoned with.
    pub(super) fn conversation(
        &self,
        tenant: &TenantId,
        name: Option<&str>,
        view: &View,
        features: &Features,
    ) -> Option<Conversation> {
        let prompt_tokens = features.needs.prompt_tokens;
        if self.lifetime.is_zero() || u64::from(prompt_tokens) < self.least_tokens {
            return None;
        }
        let opening = Opening::of(tenant, view, prompt_tokens);
        let opening = Some(opening).filter(|opening| opening.tokens >= self.least_tokens);
        Some(Conversation { key: Conversation::of(tenant, name, view), opening })
    }

    /// Puts in front the deployments that have the conversation, and says of each candidate what is expected of its
    /// cache. Gives the candidate that the conversation should stay with, as long as nothing speaks against it.
    pub(super) fn expect(
        &self,
        conversation: Option<Conversation>,
        features: &Features,
        candidates: &mut [Candidate],
        (catalog, availability): (&Catalog, &Availability),
        now: Timestamp,
    ) -> Option<usize> {
        let Conversation { key, opening } = conversation?;
        let known = |key: Key| self.traces.get(&key).map(|trace| trace.lock().clone()).unwrap_or_default();
        let (trace, opened) = (known(key), opening.map(|opening| known(opening.key)).unwrap_or_default());
        let warm = |had: &Had, id: &DeploymentId| had.deployment == *id && self.is_warm(had, now);
        let had = |id: &DeploymentId| trace.had.iter().find(|had| warm(had, id));
        let alike = |id: &DeploymentId| opened.had.iter().find(|had| warm(had, id));
        let prompt = f64::from(features.needs.prompt_tokens);
        let mut stay: Option<(usize, Timestamp)> = None;
        for (place, candidate) in candidates.iter_mut().enumerate() {
            if had(&candidate.deployment).is_none()
                && let Some(warm) = candidate.alternates.iter().position(|other| had(other).is_some())
                && let Some(known) = catalog.deployment(candidate.alternates[warm].as_str())
            {
                std::mem::swap(&mut candidate.deployment, &mut candidate.alternates[warm]);
                candidate.price.clone_from(&known.price);
                candidate.like.clone_from(&known.like);
                candidate.in_flight = availability.of(&known.id).in_flight;
            }
            let habits = self.habits.get(&candidate.deployment).map_or_else(Habits::default, |habits| *habits.lock());
            let there = had(&candidate.deployment);
            let read = there.or_else(|| alike(&candidate.deployment));
            let read = read.map_or(0.0, |had| habits.hits * (had.tokens as f64).min(prompt));
            candidate.prompt_cache = PromptCache { read, written: habits.writes * (prompt - read) };
            if let Some(Had { at, .. }) = there
                && candidate.price.as_ref().is_some_and(|price| moving_costs(price, read))
                && stay.is_none_or(|(_, latest)| *at > latest)
            {
                stay = Some((place, *at));
            }
        }
        let same_task = trace.intent.as_deref() == task(features);
        stay.filter(|_| same_task).map(|(place, _)| place)
    }

    fn is_warm(&self, had: &Had, now: Timestamp) -> bool {
        now.since(had.at) < self.lifetime && had.tokens >= self.least_tokens
    }

    /// A turn of the conversation was decided now.
    pub(super) fn decided(&self, conversation: Conversation, features: &Features) {
        self.traces.get_with(conversation.key, Arc::default).lock().intent = task(features).map(str::to_owned);
    }

    /// The calls of a turn have ended.
    pub(super) fn ended(&self, conversation: Conversation, attempts: &[Attempt], now: Timestamp) {
        if attempts.is_empty() {
            return;
        }
        let trace = self.traces.get_with(conversation.key, Arc::default);
        let opened =
            conversation.opening.map(|Opening { key, tokens }| (self.traces.get_with(key, Arc::default), tokens));
        let mut trace = trace.lock();
        // Always after the conversation's own, so that no two wait for each other.
        let mut opened = opened.as_ref().map(|(trace, tokens)| (trace.lock(), *tokens));
        for attempt in attempts {
            let own = trace.forget(&attempt.deployment);
            let alike = opened.as_mut().and_then(|(trace, _)| trace.forget(&attempt.deployment));
            let warm = |had: &Had| self.is_warm(had, now);
            // Who failed, or says nothing of its tokens, is not known to have anything.
            let Some(usage) = attempt.usage.filter(|_| attempt.error.is_none() && !attempt.usage_estimated) else {
                continue;
            };
            let Some(tokens) = usage.prompt_tokens else { continue };
            let due = own.filter(warm).or(alike.filter(warm)).map(|had| had.tokens.min(tokens));
            self.learn(&attempt.deployment, &usage, due);
            let had = |tokens| Had { deployment: attempt.deployment.clone(), at: now, tokens };
            trace.had.push(had(tokens));
            if let Some((opened, opening)) = &mut opened {
                opened.had.push(had(tokens.min(*opening)));
            }
        }
    }

    /// What a provider reports of a call for which it should have had so many tokens, if any. Not reported is not 0.
    fn learn(&self, deployment: &DeploymentId, usage: &Usage, due: Option<u64>) {
        let Some(prompt) = usage.prompt_tokens.filter(|tokens| *tokens >= self.least_tokens) else { return };
        let habits = self.habits.get_with(deployment.clone(), Arc::default);
        let mut habits = habits.lock();
        if let (Some(due), Some(cached)) = (due, usage.cached_tokens) {
            habits.hits += FOLLOW * ((cached as f64 / due as f64).min(1.0) - habits.hits);
        }
        if let Some(written) = usage.cache_write_tokens {
            let rest = prompt.saturating_sub(usage.cached_tokens.unwrap_or(0)).max(1);
            habits.writes += FOLLOW * ((written as f64 / rest as f64).min(1.0) - habits.writes);
        }
    }
}

fn task(features: &Features) -> Option<&str> {
    features.intent.as_ref().map(|intent| intent.name.as_str())
}

/// Whether reading so many tokens from the cache is cheaper than not.
fn moving_costs(price: &Price, read: f64) -> bool {
    read > 0.0 && price.cached_input.is_some_and(|cached| cached < price.input)
}
