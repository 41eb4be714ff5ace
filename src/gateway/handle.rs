//! [`Gateway::handle`]: one request, from the door to the reply.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::asked::{self, Wanted};
use super::body::Body;
use super::choice::{Choice, choose};
use super::record::{Keep, Record};
use super::timed::Timed;
use super::wishes::Wishes;
use super::{Gateway, count};
use crate::admission::Caller;
use crate::base::{DecisionId, DeploymentId, Digest, Error, Kind, ModelId, Seed, Usd};
use crate::cache::{self, Bypass, CacheOutcome, Control, Entry};
use crate::chat::ChatRequest;
use crate::dispatch::{Attempt, Failure, Reply, ReplyBody};
use crate::embed::Embedding;
use crate::ledger::{Decided, Mode};

/// A request at the door.
#[derive(Debug)]
pub struct Incoming {
    /// Who is calling.
    pub caller: Caller,
    /// What for.
    pub request: ChatRequest,
    /// What is wished beside it.
    pub wishes: Wishes,
    /// What is said about answers from memory.
    pub control: Control,
    /// When the request was there whole, on the monotonic clock.
    pub arrived: Duration,
}

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

impl Gateway {
    /// Serves one request.
    ///
    /// From admission on, exactly one `Completed` event follows, also when the future or the reply's body is dropped.
    ///
    /// # Errors
    /// [`Refused`], with the facts of the request if it was admitted.
    pub async fn handle(&self, incoming: Incoming) -> Result<Served, Refused> {
        let Incoming { caller, request, wishes, control, arrived } = incoming;
        let live = self.live.load_full();
        let ticket =
            self.admission.admit(caller).map_err(|error| Refused { error, facts: None, attempts: Vec::new() })?;
        let request = Arc::new(request);
        let id = self.new_id();
        let mut record = self.recorder.open(id, ticket, Arc::clone(&request), Arc::clone(&live), arrived);

        let wanted = match asked::understand(&request.view.model, &wishes, &record.ticket().caller, &live) {
            Ok(wanted) => wanted,
            Err(error) => return Err(refuse(record, error)),
        };
        match self.remembered(&mut record, &wanted, &wishes, &control) {
            Ok(Some((entry, replay))) => return Ok(self.replay(record, &entry, replay)),
            Ok(None) => {}
            Err(error) => return Err(refuse(record, error)),
        }
        let embedding = self.embed(request.prompt()).await;
        let features = live.features.extract(&request, embedding.as_ref());
        let seed = self.seed_of(id, &wishes, &record.ticket().caller);
        let availability = self.dispatcher.availability();
        let choice = match choose(&wanted, &features, live.policy.as_ref(), &availability, seed) {
            Ok(choice) => choice,
            Err(error) => return Err(refuse(record, error)),
        };
        let plan = choice.plan.clone();
        record.decided(
            Decided {
                id,
                at: self.clock.now(),
                tenant: record.ticket().caller.tenant.clone(),
                endpoint: request.endpoint,
                asked: asked::shorten(&request.view.model),
                features,
                preferences: wanted.preferences,
                arms: choice.arms.clone(),
                excluded: choice.excluded.clone(),
                chosen: choice.chosen,
                greedy: choice.greedy,
                mode: choice.mode,
                seed,
                policy: live.policy.version().to_owned(),
                catalog: live.catalog.digest,
                config: live.config,
            },
            choice,
        );
        let journal = record.journal.clone();
        record.waits_since(self.clock.monotonic());
        let run = self.dispatcher.run(&plan, &request, &wanted.catalog, seed, &journal);
        let (outcome, worked) = Timed::new(run, Arc::clone(&self.clock)).await;
        record.resumes(self.clock.monotonic(), worked);
        match outcome {
            Ok(reply) => Ok(self.reply(record, &wanted, reply)),
            Err(Failure { error, .. }) => Err(refuse(record, error)),
        }
    }

    /// The seed of a request's draws. The turns of one conversation share it, so that they tend to be answered by the
    /// same model: as long as the probabilities stay, so does the draw.
    fn seed_of(&self, id: DecisionId, wishes: &Wishes, caller: &Caller) -> Seed {
        let Some(conversation) = &wishes.conversation else { return Seed::of_decision(self.seed, id) };
        let name = Digest::of_json(&(&caller.tenant, conversation));
        Seed::of_decision(self.seed, DecisionId(uuid::Uuid::from_bytes(*name.as_bytes())))
    }

    /// The vector of the prompt, or the lexical one when the encoder is late or has none to give.
    pub(super) async fn embed(&self, prompt: &str) -> Option<Embedding> {
        let vector = self.embedder.embed(prompt, self.config.embedding_wait).await;
        vector.or_else(|| {
            count::embedding_late();
            Some(crate::embed::hashing::embed(prompt))
        })
    }

    /// Looks into the exact cache. The record learns what came of it and, on a miss, where the answer belongs.
    ///
    /// # Errors
    /// [`Kind::NotFound`] of `cache-control` if the caller wants an answer from memory or none, and there is none.
    fn remembered(
        &self,
        record: &mut Record,
        wanted: &Wanted<'_>,
        wishes: &Wishes,
        control: &Control,
    ) -> Result<Option<(Arc<Entry>, Replay)>, Error> {
        let control = Control { no_store: control.no_store || wishes.no_cache, ..*control };
        let gate = cache::gate(self.cache.config().repeats, &control, &record.request);
        let looked = gate.and_then(|()| key_of(record, wanted)).map(|key| {
            let found = self.cache.get(&key, &control, self.clock.now());
            let hit = found.and_then(|entry| Some((Arc::clone(&entry), self.replay_of(record, &entry)?)));
            (key, hit)
        });
        match looked {
            Ok((_, Some(hit))) => {
                record.cache = CacheOutcome::Hit;
                return Ok(Some(hit));
            }
            Ok((key, None)) => {
                record.cache = CacheOutcome::Miss;
                record.keep = Some(Keep { key, sent: Vec::new(), size: 0 });
            }
            Err(_) => record.cache = CacheOutcome::Bypass,
        }
        if control.only_if_cached {
            let why = looked.err().map_or("it is not in the cache", Bypass::in_words);
            let message = format!("the request says only-if-cached, and {why}");
            return Err(Error { param: Some("cache-control".to_owned()), ..Error::new(Kind::NotFound, message) });
        }
        Ok(None)
    }

    /// The bytes of an answer from memory, as the caller wants them. `None` if what is kept cannot be given so.
    fn replay_of(&self, record: &Record, entry: &Entry) -> Option<Replay> {
        let view = &record.request.view;
        let (id, created) = (replay_id(record), self.clock.now().seconds());
        if view.stream {
            let endpoint = record.request.endpoint;
            cache::replay::stream(endpoint, &entry.body, &id, created, view.include_usage).map(Replay::Pieces)
        } else {
            cache::replay::whole(&entry.body, &id, created).map(Replay::Whole)
        }
    }

    /// An answer from memory.
    fn replay(&self, mut record: Record, entry: &Entry, replay: Replay) -> Served {
        count::cache_hit();
        record.answer = Some(crate::chat::Answer { id: Some(replay_id(&record)), ..entry.answer.clone() });
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
        match replay {
            Replay::Pieces(pieces) => Served { facts, stream: true, body: Body::pieces(pieces, record, clock) },
            Replay::Whole(bytes) => Served { facts, stream: false, body: Body::whole(bytes, record, clock) },
        }
    }

    /// An answer from upstream.
    fn reply(&self, mut record: Record, wanted: &Wanted<'_>, reply: Reply) -> Served {
        let model = wanted.catalog.deployment(reply.served.as_str()).map(|deployment| deployment.model.clone());
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

/// An answer from memory, ready to go out.
enum Replay {
    Whole(Bytes),
    Pieces(Vec<Bytes>),
}

/// The name under which the answer to this request is kept.
fn key_of(record: &Record, wanted: &Wanted<'_>) -> Result<cache::Key, Bypass> {
    let models: Vec<&str> = wanted.catalog.models().into_iter().map(ModelId::as_str).collect();
    let shape = serde_json::to_vec(&(&wanted.asked_name(), &wanted.preferences)).unwrap_or_default();
    let tenant = &record.ticket().caller.tenant;
    cache::key(&cache::Scope { tenant, models: &models, preferences: &shape }, &record.request)
}

/// The id under which an answer from memory goes out.
fn replay_id(record: &Record) -> String {
    format!("chatcmpl-{}", record.id.0.simple())
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
        policy: choice.map(|_| record.live.policy.version().to_owned()),
        explored: choice.map(Choice::explored),
        cost_usd: Record::cost(&attempts),
        overhead_ms: record.overhead_ms(),
        attempts: attempts.len(),
        cache: record.cache,
        age: None,
        upstream_request_id: None,
    }
}

/// Ends the request with an error.
fn refuse(mut record: Record, error: Error) -> Refused {
    record.fails(&error);
    let attempts = record.journal.attempts();
    Refused { facts: Some(Box::new(facts(&record))), error, attempts }
}
