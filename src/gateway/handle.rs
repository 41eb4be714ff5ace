//! [`Gateway::handle`]: one request, from the door to the reply. The order of its lines is the order of the stages.

use std::sync::Arc;
use std::time::Duration;

use super::alike::Lesson;
use super::asked;
use super::choice::{Bounds, choose};
use super::flight::{Landed, Route, Seat, What};
use super::memory::not_in_memory;
use super::record::Record;
use super::reply::{Refused, Served, landed};
use super::timed::Timed;
use super::wishes::Wishes;
use super::{Gateway, count};
use crate::admission::Caller;
use crate::base::{Blame, DecisionId, Digest, Error, Kind, Seed};
use crate::cache::{CacheOutcome, Control};
use crate::chat::ChatRequest;
use crate::dispatch::Reply;
use crate::embed::{Compact, Embedding, Origin};

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

/// For whom a request is served.
enum OnBehalf {
    Caller,
    /// Behind an answer from memory; its own answer teaches this.
    Ourselves(Option<Box<Lesson>>),
}

impl Gateway {
    /// Serves one request.
    ///
    /// From admission on, exactly one `Completed` event follows, also when the future or the reply's body is dropped.
    ///
    /// # Errors
    /// [`Refused`], with the facts of the request if it was admitted.
    pub async fn handle(self: &Arc<Self>, incoming: Incoming) -> Result<Served, Refused> {
        self.serve(incoming, OnBehalf::Caller).await
    }

    /// Serves a request of our own, for which nobody waits. It teaches this lesson, if it has one.
    pub(super) async fn handle_behind(
        self: &Arc<Self>,
        incoming: Incoming,
        lesson: Option<Lesson>,
    ) -> Result<Served, Refused> {
        self.serve(incoming, OnBehalf::Ourselves(lesson.map(Box::new))).await
    }

    async fn serve(self: &Arc<Self>, incoming: Incoming, of: OnBehalf) -> Result<Served, Refused> {
        let Incoming { caller, request, wishes, control, arrived } = incoming;
        let live = self.live.load_full();
        let ticket = self.admission.admit(caller).map_err(Refused::at_the_door)?;
        let mut record = self.recorder.open(self.new_id(), ticket, Arc::new(request), live, arrived);
        record.background = matches!(of, OnBehalf::Ourselves(_));
        let hit = match self.remembered(&mut record, &wishes, &control) {
            Ok(Some(hit)) => Some(hit),
            Ok(None) => match of {
                OnBehalf::Ourselves(lesson) => {
                    if let Some(keep) = &mut record.keep {
                        keep.lesson = lesson.map(|lesson| *lesson);
                    }
                    None
                }
                OnBehalf::Caller => self.alike(&mut record, &control).await,
            },
            Err(error) => return Err(Refused::of(record, error)),
        };
        if let Some(hit) = hit {
            self.follow(&record, &wishes, &hit);
            return Ok(self.replay(record, hit));
        }
        if control.only_if_cached {
            let error = not_in_memory(&record);
            return Err(Refused::of(record, error));
        }
        match route(&record, &control) {
            Some(route) => self.together(record, route, wishes).await,
            None => self.alone(record, &wishes).await,
        }
    }

    /// A request that shares its answer with nobody.
    async fn alone(&self, mut record: Record, wishes: &Wishes) -> Result<Served, Refused> {
        match self.call(&mut record, wishes).await {
            Ok(reply) => Ok(self.pass_on(record, reply)),
            Err(error) => self.fall_back(record, error),
        }
    }

    /// A request that equal ones may join, or that joins one. When the call that it joined failed, one of those who
    /// waited makes another, once; the others wait for that.
    async fn together(self: &Arc<Self>, record: Record, route: Route, wishes: Wishes) -> Result<Served, Refused> {
        let mut record = record;
        let mut may_try_again = true;
        loop {
            let (gateway, wishes) = (Arc::clone(self), wishes.clone());
            let flight = match self.flights.board(route, record, |record| gateway.fly(record, wishes)) {
                Seat::First(flight) => {
                    let landed = flight.landed().await;
                    return match landed.take_record() {
                        Some(record) => self.land(record, flight, &landed),
                        None => Err(Refused::at_the_door(Error::new(Kind::Internal, "a request lost its record"))),
                    };
                }
                Seat::Beside(flight, own) => {
                    record = own;
                    flight
                }
            };
            record.cache = CacheOutcome::Coalesced;
            record.waits_since(self.clock.monotonic());
            let landed = flight.landed().await;
            record.resumes(self.clock.monotonic(), Duration::ZERO);
            match &landed.what {
                What::Failed(error) if error.blame() != Blame::Client && may_try_again => {
                    record.cache = CacheOutcome::Miss;
                    may_try_again = false;
                }
                _ => {
                    record.keep = None;
                    return self.join(record, flight, &landed);
                }
            }
        }
    }

    /// The call that is made for all who sit in a flight.
    async fn fly(self: Arc<Self>, mut record: Record, wishes: Wishes) -> Landed {
        match self.call(&mut record, &wishes).await {
            Ok(reply) => landed(record, reply),
            Err(error) => Landed::new(What::Failed(Box::new(error)), record),
        }
    }

    /// Chooses and calls.
    async fn call(&self, record: &mut Record, wishes: &Wishes) -> Result<Reply, Error> {
        let (request, live) = (Arc::clone(&record.request), Arc::clone(&record.live));
        let wanted = asked::understand(&request.view.model, wishes, record.caller(), &live)?;
        let embedding = match record.embedding.clone() {
            Some(embedding) => Some(embedding),
            None => self.embed(request.prompt()).await,
        };
        let seed = self.seed_of(record.id, wishes, record.caller());
        let deciding = live.deciding(seed);
        let features = deciding.features.extract(&request, embedding.as_ref());
        let shadow = deciding.shadow_sees(&features, &request, embedding.as_ref());
        let purses = live.budgets.of(&record.caller().tenant);
        let (tenant, now) = (&record.caller().tenant, self.clock.now());
        let warmth = &self.recorder.warmth;
        let conversation = warmth.conversation(tenant, wishes.conversation.as_deref(), &request.view, &features);
        let warm = (warmth, conversation);
        let bounds = Bounds { tenant, now, purses: &purses, guards: &live.guards, warm, dry: false };
        let choice = choose(&wanted, &features, &deciding, shadow, &self.dispatcher.availability(), seed, &bounds)?;
        let plan = choice.plan.clone();
        if let Some(conversation) = conversation {
            warmth.decided(conversation, &features);
        }
        record.conversation = conversation;
        let vector = embedding.filter(|embedding| self.config.log_vectors && embedding.origin == Origin::Encoder);
        let vector = vector.and_then(|embedding| Compact::of(&embedding.vector));
        record.decided(choice, (features, vector), seed);
        let journal = record.journal.clone();
        record.waits_since(self.clock.monotonic());
        let run = self.dispatcher.run(&plan, &request, &wanted.catalog, seed, &journal);
        let (outcome, worked) = Timed::new(run, Arc::clone(&self.clock)).await;
        record.resumes(self.clock.monotonic(), worked);
        outcome.map_err(|failure| failure.error)
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
}

/// The flight that this request may share: none if its answer goes to no cache, or if it wants one that is made now.
fn route(record: &Record, control: &Control) -> Option<Route> {
    let fresh_only = control.no_cache || control.max_age == Some(Duration::ZERO);
    let key = record.keep.as_ref().filter(|_| !fresh_only)?.key;
    let view = &record.request.view;
    Some(Route { key, stream: view.stream, include_usage: view.include_usage })
}
