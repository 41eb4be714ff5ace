//! What comes back from the path: a reply under way or a refusal, and what can be told of either.

use std::sync::Arc;
use std::time::Duration;

use super::body::Body;
use super::choice::Choice;
use super::memory::{Hit, Replay, replay_id};
use super::record::Record;
use super::{Gateway, count};
use crate::base::{DecisionId, DeploymentId, Error, ModelId, Usd};
use crate::cache::CacheOutcome;
use crate::chat::Answer;
use crate::dispatch::{Attempt, Reply, ReplyBody};
use crate::ledger::Mode;

/// What can be told of a request beside its answer; stands in the response's headers.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The request's name.
    pub decision: DecisionId,
    /// Who answers.
    pub deployment: Option<DeploymentId>,
    /// The model of that deployment.
    pub model: Option<ModelId>,
    /// Why that one: `policy`, `single`, `pinned`, `fallback`, `cache`.
    pub reason: Option<&'static str>,
    /// The probability with which the first choice was drawn.
    pub propensity: Option<f64>,
    /// The policy and its state.
    pub policy: Option<String>,
    /// Whether the first choice was another than the best by expectation.
    pub explored: Option<bool>,
    /// What it cost; `None` = unknown, or not known yet.
    pub cost_usd: Option<Usd>,
    /// Milliseconds of own work up to the reply.
    pub overhead_ms: f64,
    /// Calls made.
    pub attempts: usize,
    /// Where the answer comes from.
    pub cache: CacheOutcome,
    /// How old an answer from memory is.
    pub age: Option<Duration>,
    /// The provider's own id of the request.
    pub upstream_request_id: Option<String>,
}

/// A reply under way.
pub struct Served {
    /// What can be told of it.
    pub facts: Facts,
    /// Whether it is a stream of server-sent events.
    pub stream: bool,
    /// Its bytes.
    pub body: Body,
}

/// No reply.
#[derive(Debug)]
pub struct Refused {
    /// What to tell the caller.
    pub error: Error,
    /// What can be told of the request; `None` = it was turned away at the door.
    pub facts: Option<Box<Facts>>,
    /// The calls that were made for it.
    pub attempts: Vec<Attempt>,
}

impl Refused {
    /// Turned away at the door.
    pub(super) const fn at_the_door(error: Error) -> Self {
        Self { error, facts: None, attempts: Vec::new() }
    }

    /// Ends the request with an error.
    pub(super) fn of(mut record: Record, error: Error) -> Self {
        record.fails(&error);
        let attempts = record.journal.attempts();
        Self { facts: Some(Box::new(facts(&record))), error, attempts }
    }
}

impl Gateway {
    /// An answer from memory.
    pub(super) fn replay(&self, mut record: Record, hit: Hit) -> Served {
        let Hit { entry, bytes } = hit;
        count::cache_hit();
        record.answer = Some(Answer { id: Some(replay_id(&record)), ..entry.answer.clone() });
        record.served = Some((entry.deployment.clone(), Some(entry.model.clone())));
        let facts = Facts {
            deployment: Some(entry.deployment.clone()),
            model: Some(entry.model.clone()),
            reason: Some("cache"),
            cost_usd: Some(Usd::ZERO),
            age: Some(self.clock.now().since(entry.made)),
            ..facts(&record)
        };
        let clock = Arc::clone(&self.clock);
        record.waits_since(self.clock.monotonic());
        match bytes {
            Replay::Pieces(pieces) => Served { facts, stream: true, body: Body::pieces(pieces, record, clock) },
            Replay::Whole(bytes) => Served { facts, stream: false, body: Body::whole(bytes, record, clock) },
        }
    }

    /// An answer from upstream.
    pub(super) fn pass_on(&self, mut record: Record, reply: Reply) -> Served {
        let model = record.live.catalog.deployment(reply.served.as_str()).map(|deployment| deployment.model.clone());
        let chosen = record.choice.as_ref().map(|choice| (choice.arm().deployment.clone(), choice.mode));
        let reason = chosen.map(|(first, mode)| match mode {
            _ if first != reply.served => "fallback",
            Mode::Policy => "policy",
            Mode::Single => "single",
            Mode::Pinned => "pinned",
        });
        let mut told = Facts {
            deployment: Some(reply.served.clone()),
            model: model.clone(),
            reason,
            attempts: reply.failed.len() + 1,
            upstream_request_id: reply.upstream_request_id,
            ..facts(&record)
        };
        record.served = Some((reply.served, model));
        let clock = Arc::clone(&self.clock);
        record.waits_since(self.clock.monotonic());
        match reply.body {
            ReplyBody::Whole { bytes, answer, .. } => {
                told.cost_usd = Record::cost(&record.journal.attempts());
                record.answer = Some(*answer);
                record.keep(&bytes);
                Served { facts: told, stream: false, body: Body::whole(bytes, record, clock) }
            }
            ReplyBody::Stream(stream) => {
                told.cost_usd = None;
                Served { facts: told, stream: true, body: Body::stream(stream, record, clock) }
            }
        }
    }
}

/// What is known of the request as it stands.
fn facts(record: &Record) -> Facts {
    let choice = record.choice.as_ref();
    let attempts = record.journal.attempts();
    Facts {
        decision: record.id,
        deployment: None,
        model: None,
        reason: None,
        propensity: choice.map(|choice| choice.arm().propensity),
        policy: choice.map(|choice| choice.policy.clone()),
        explored: choice.map(Choice::explored),
        cost_usd: Record::cost(&attempts),
        overhead_ms: record.overhead_ms(),
        attempts: attempts.len(),
        cache: record.cache,
        age: None,
        upstream_request_id: None,
    }
}
