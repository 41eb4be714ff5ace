//! What comes back from the path: a reply under way or a refusal, and what can be told of either.

use std::sync::Arc;
use std::time::Duration;

use super::body::Body;
use super::choice::Choice;
use super::flight::{Flight, Flow, Landed, What, again};
use super::memory::{Hit, Replay, replay_id};
use super::record::{Record, milliseconds};
use super::{Gateway, count};
use crate::base::{DecisionId, DeploymentId, Error, Kind, ModelId, Usd};
use crate::cache::CacheOutcome;
use crate::chat::Answer;
use crate::dispatch::{Attempt, Reply, ReplyBody};
use crate::ledger::{Mode, ReuseRecord};

/// What can be told of a request beside its answer; stands in the response's headers.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The request's name.
    pub decision: DecisionId,
    /// Who answers.
    pub deployment: Option<DeploymentId>,
    /// The model of that deployment.
    pub model: Option<ModelId>,
    /// Why that one: `policy`, `single`, `pinned`, `guarded`, `held`, `fallback`, `cache`, `coalesced`.
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
    /// The id of an answer from memory, to report it by.
    pub cache_id: Option<String>,
    /// Cosine of the prompts, where an answer from memory was made for another one.
    pub cache_similarity: Option<f64>,
    /// Why it was not answered from memory, or not by the answer to a like prompt.
    pub cache_reason: Option<&'static str>,
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
        let Hit { key, id, entry, bytes, similarity, right } = hit;
        count::cache_hit(record.cache);
        self.cache.used(&key);
        let age = self.clock.now().since(entry.made);
        record.reuse = Some(ReuseRecord { id: id.clone(), age_ms: milliseconds(age), similarity, right });
        record.answer = Some(Answer { id: Some(replay_id(&record)), ..entry.answer.clone() });
        record.served = Some((entry.deployment.clone(), Some(entry.model.clone())));
        let facts = Facts {
            deployment: Some(entry.deployment.clone()),
            model: Some(entry.model.clone()),
            reason: Some("cache"),
            cost_usd: Record::cost(&record.journal.attempts()),
            cache_id: Some(id),
            cache_similarity: similarity,
            cache_reason: None,
            age: Some(age),
            ..facts(&record)
        };
        let clock = Arc::clone(&self.clock);
        record.waits_since(self.clock.monotonic());
        match bytes {
            Replay::Pieces(pieces) => Served { facts, stream: true, body: Body::pieces(pieces, record, clock) },
            Replay::Whole(bytes) => Served { facts, stream: false, body: Body::whole(bytes, record, clock) },
        }
    }

    /// An answer from upstream, for one.
    pub(super) fn pass_on(&self, mut record: Record, reply: Reply) -> Served {
        let told = made(&mut record, reply.served, reply.upstream_request_id);
        let clock = Arc::clone(&self.clock);
        record.waits_since(self.clock.monotonic());
        match reply.body {
            ReplyBody::Whole { bytes, answer, .. } => {
                record.answer = Some(*answer);
                record.keep(&bytes);
                Served { facts: told, stream: false, body: Body::whole(bytes, record, clock) }
            }
            ReplyBody::Stream(stream) => {
                let facts = Facts { cost_usd: None, ..told };
                Served { facts, stream: true, body: Body::stream(stream, record, clock) }
            }
        }
    }

    /// An answer that others may share, for the request that made the call.
    pub(super) fn land(
        &self,
        mut record: Record,
        flight: Arc<Flight>,
        landed: &Arc<Landed>,
    ) -> Result<Served, Refused> {
        let Some((served, _)) = landed.served.clone() else {
            let error = match &landed.what {
                What::Failed(error) => again(error),
                _ => Error::new(Kind::Internal, "an answer came from nobody"),
            };
            return self.fall_back(record, error);
        };
        let told = made(&mut record, served, landed.upstream_request_id.clone());
        let clock = Arc::clone(&self.clock);
        record.waits_since(self.clock.monotonic());
        match &landed.what {
            What::Whole(answer) => {
                Ok(Served { facts: told, stream: false, body: Body::whole(answer.0.clone(), record, clock) })
            }
            What::Stream(flow) => {
                let reader = flow.reader(flight, Arc::clone(landed));
                let facts = Facts { cost_usd: None, ..told };
                Ok(Served { facts, stream: true, body: Body::shared(reader, record, Arc::clone(landed), clock) })
            }
            What::Failed(error) => Err(Refused::of(record, again(error))),
        }
    }

    /// The same answer, for a request that joined the call of another.
    pub(super) fn join(
        &self,
        mut record: Record,
        flight: Arc<Flight>,
        landed: &Arc<Landed>,
    ) -> Result<Served, Refused> {
        if let What::Failed(error) = &landed.what {
            return self.fall_back(record, again(error));
        }
        count::cache_hit(record.cache);
        record.served.clone_from(&landed.served);
        let (deployment, model) = landed.served.clone().map_or((None, None), |(by, model)| (Some(by), model));
        let facts = Facts {
            deployment,
            model,
            reason: Some("coalesced"),
            cost_usd: Some(Usd::ZERO),
            upstream_request_id: landed.upstream_request_id.clone(),
            ..facts(&record)
        };
        let clock = Arc::clone(&self.clock);
        record.waits_since(self.clock.monotonic());
        Ok(match &landed.what {
            What::Stream(flow) => {
                let reader = Box::pin(flow.reader(flight, Arc::clone(landed)));
                Served { facts, stream: true, body: Body::stream(reader, record, clock) }
            }
            What::Whole(answer) => {
                record.answer = Some(answer.1.clone());
                Served { facts, stream: false, body: Body::whole(answer.0.clone(), record, clock) }
            }
            What::Failed(error) => return Err(Refused::of(record, again(error))),
        })
    }
}

/// A reply, put where all who wait for it can have it.
pub(super) fn landed(mut record: Record, reply: Reply) -> Landed {
    let model = record.live.catalog.deployment(reply.served.as_str()).map(|deployment| deployment.model.clone());
    let what = match reply.body {
        ReplyBody::Whole { bytes, answer, .. } => {
            record.answer = Some((*answer).clone());
            record.served = Some((reply.served.clone(), model.clone()));
            record.keep(&bytes);
            What::Whole(Box::new((bytes, *answer)))
        }
        ReplyBody::Stream(stream) => {
            record.served = Some((reply.served.clone(), model.clone()));
            What::Stream(Flow::new(stream))
        }
    };
    Landed::new(what, record).by((reply.served, model), reply.upstream_request_id)
}

/// Writes down who answers, and tells it.
fn made(record: &mut Record, served: DeploymentId, upstream_request_id: Option<String>) -> Facts {
    let model = record.live.catalog.deployment(served.as_str()).map(|deployment| deployment.model.clone());
    let chosen = record.choice.as_ref().map(|choice| (choice.arm().deployment.clone(), choice.mode));
    let reason = chosen.map(|(first, mode)| match mode {
        _ if first != served => "fallback",
        Mode::Policy => "policy",
        Mode::Single => "single",
        Mode::Pinned => "pinned",
        Mode::Guarded => "guarded",
        Mode::Held => "held",
    });
    record.served = Some((served.clone(), model.clone()));
    // A stream's own attempt is not in the journal yet.
    let streams = record.request.view.stream;
    let known = facts(record);
    let attempts = known.attempts + usize::from(streams);
    Facts { deployment: Some(served), model, reason, attempts, upstream_request_id, ..known }
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
        cache_id: None,
        cache_similarity: None,
        cache_reason: record.cache_reason(),
        age: None,
        upstream_request_id: None,
    }
}
