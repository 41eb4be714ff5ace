//! Answers from memory: the look-up, and the way out of one that was found.

use std::sync::Arc;

use bytes::Bytes;

use super::alike::{self, Question};
use super::asked::{self, Wanted};
use super::record::{Keep, Record};
use super::reply::{Refused, Served};
use super::wishes::Wishes;
use super::{Gateway, count};
use crate::admission::Caller;
use crate::base::{Blame, Error, Kind, ModelId};
use crate::cache::semantic::space::Portrait;
use crate::cache::{self, Bypass, CacheOutcome, Control, Entry, Place, Purge};

/// An answer from memory, ready to go out.
pub(super) struct Hit {
    pub(super) key: cache::Key,
    /// The name under which its caller may report it.
    pub(super) id: String,
    pub(super) entry: Arc<Entry>,
    /// Cosine of the prompts, and the estimated probability that it is right, where it was made for another one.
    pub(super) similarity: Option<f64>,
    pub(super) right: Option<f64>,
    pub(super) bytes: Replay,
}

/// Its bytes, as the caller wants them.
pub(super) enum Replay {
    Whole(Bytes),
    Pieces(Vec<Bytes>),
}

impl Gateway {
    /// Looks into the exact cache. The record learns what came of it and, on a miss, where the answer belongs.
    ///
    /// # Errors
    /// What [`asked::understand`] says of the request.
    pub(super) fn remembered(
        &self,
        record: &mut Record,
        wishes: &Wishes,
        control: &Control,
    ) -> Result<Option<Hit>, Error> {
        let (request, live) = (Arc::clone(&record.request), Arc::clone(&record.live));
        let wanted = asked::understand(&request.view.model, wishes, record.caller(), &live)?;
        let control = Control { no_store: control.no_store || wishes.no_cache, ..*control };
        let gate = cache::gate(self.cache.config().repeats, &control, &record.request);
        let comparable = alike::comparable(&self.cache.config().semantic, &request);
        let looked = gate.and_then(|()| self.names_of(record, &wanted, comparable)).map(|(key, question)| {
            record.question = question;
            let found = self.cache.get(&key, &control, self.clock.now());
            let hit = found.and_then(|entry| {
                let bytes = self.replay_of(record, &entry)?;
                Some(Hit { key, id: key.to_string(), entry, bytes, similarity: None, right: None })
            });
            (key, hit)
        });
        match looked {
            Ok((_, Some(hit))) => {
                record.cache = CacheOutcome::Hit;
                return Ok(Some(hit));
            }
            Ok((key, None)) => {
                record.cache = CacheOutcome::Miss;
                record.key = Some(key).filter(|_| !control.no_cache && control.max_age.is_none());
                let tags = wishes.cache_tags.clone();
                record.keep = Some(Keep { key, sent: Vec::new(), size: 0, tags, lesson: None });
            }
            Err(bypass) => {
                record.cache = CacheOutcome::Bypass;
                record.bypass = Some(bypass);
            }
        }
        Ok(None)
    }

    /// The name under which the answer to this request is kept, and what like prompts it may be compared with.
    fn names_of(
        &self,
        record: &Record,
        wanted: &Wanted<'_>,
        comparable: Result<(), &'static str>,
    ) -> Result<(cache::Key, Result<Question, &'static str>), Bypass> {
        let models: Vec<&str> = wanted.catalog.models().into_iter().map(ModelId::as_str).collect();
        let asked = wanted.asked_name();
        let shape = serde_json::to_vec(&(&asked, &wanted.preferences)).unwrap_or_default();
        let tenant = &record.caller().tenant;
        let generation = self.cache.generation(tenant);
        let scope = cache::Scope { tenant, models: &models, preferences: &shape, generation };
        let encoder = comparable.is_ok().then(|| self.embedder.id());
        let (key, space) = cache::names(&scope, &record.request, encoder)?;
        let about = record.request.view.model.as_str();
        let place = |space| Place { space, tenant: tenant.clone(), about: asked::shorten(about) };
        let question = comparable.and_then(|()| space.ok_or("not_one_text"));
        Ok((key, question.map(|space| Question { place: place(space) })))
    }

    /// Gives an answer that is too old rather than an error of a provider, where that is allowed.
    ///
    /// # Errors
    /// [`Refused`] with the error where it is not.
    pub(super) fn fall_back(&self, mut record: Record, error: Error) -> Result<Served, Refused> {
        let stale = || {
            let key = record.key.filter(|_| error.blame() == Blame::Upstream)?;
            let entry = self.cache.get_stale(&key, self.clock.now())?;
            let bytes = self.replay_of(&record, &entry)?;
            Some(Hit { key, id: key.to_string(), entry, bytes, similarity: None, right: None })
        };
        match stale() {
            Some(hit) => {
                record.cache = CacheOutcome::Stale;
                record.keep = None;
                Ok(self.replay(record, hit))
            }
            None => Err(Refused::of(record, error)),
        }
    }

    /// What is known of the namespaces of the caller's tenant: how far each is trusted, and why.
    #[must_use]
    pub fn namespaces(&self, caller: &Caller) -> Vec<Portrait> {
        self.cache.portraits(Some(&caller.tenant))
    }

    /// Forgets answers of the caller's tenant, for good; how many.
    ///
    /// # Errors
    /// [`Kind::Internal`] if it could not be written down.
    pub async fn purge(&self, caller: &Caller, what: &Purge) -> Result<usize, Error> {
        let forgotten = self.cache.purge(&caller.tenant, what);
        self.forgotten_for_good().await.map(|()| forgotten)
    }

    async fn forgotten_for_good(&self) -> Result<(), Error> {
        let message = "it is forgotten, but that could not be written to disk: after a restart it may be back";
        self.cache.written().await.then_some(()).ok_or_else(|| Error::new(Kind::Internal, message))
    }

    /// Somebody says that this answer from memory was wrong: it is not given again.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if the caller's tenant has no such answer in memory, or none any more; [`Kind::Internal`] if
    /// it could not be written down.
    pub async fn report(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let (key, similarity) = match id.split_once('-') {
            Some((key, similarity)) => (key, similarity.parse().ok().map(|tenths: f64| tenths / 1e4)),
            None => (id, None),
        };
        let similarity = similarity.filter(|similarity| (0.0..=1.0).contains(similarity));
        let now = self.clock.now();
        let known = cache::Key::read(key).filter(|key| self.cache.report(&caller.tenant, key, similarity, now));
        if known.is_some() {
            count::reported();
            return self.forgotten_for_good().await;
        }
        let message = "there is no such answer in memory; its id is what the header x-pointsman-cache-id of a hit says";
        Err(Error { param: Some("id".to_owned()), ..Error::new(Kind::NotFound, message) })
    }

    /// The bytes of an answer from memory, as the caller wants them. `None` if what is kept cannot be given so.
    pub(super) fn replay_of(&self, record: &Record, entry: &Entry) -> Option<Replay> {
        let view = &record.request.view;
        let (id, created) = (replay_id(record), self.clock.now().seconds());
        if view.stream {
            let endpoint = record.request.endpoint;
            cache::replay::stream(endpoint, &entry.body, &id, created, view.include_usage).map(Replay::Pieces)
        } else {
            cache::replay::whole(&entry.body, &id, created).map(Replay::Whole)
        }
    }
}

/// The error for a caller who wants an answer from memory or none, when there is none.
pub(super) fn not_in_memory(record: &Record) -> Error {
    let why = record.bypass.map_or("it is not in the cache", Bypass::in_words);
    let message = format!("the request says only-if-cached, and {why}");
    Error { param: Some("cache-control".to_owned()), ..Error::new(Kind::NotFound, message) }
}

/// The id under which an answer from memory goes out.
pub(super) fn replay_id(record: &Record) -> String {
    format!("chatcmpl-{}", record.id.0.simple())
}
