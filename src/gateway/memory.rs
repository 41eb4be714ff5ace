//! Answers from memory: the look-up, and the way out of one that was found.

use std::sync::Arc;

use bytes::Bytes;

use super::asked::{self, Wanted};
use super::record::{Keep, Record};
use super::wishes::Wishes;
use super::{Gateway, count};
use crate::admission::Caller;
use crate::base::{Error, Kind, ModelId};
use crate::cache::{self, Bypass, CacheOutcome, Control, Entry};

/// An answer from memory, ready to go out.
pub(super) struct Hit {
    pub(super) key: cache::Key,
    pub(super) entry: Arc<Entry>,
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
    /// What [`asked::understand`] says of the request; [`Kind::NotFound`] of `cache-control` if the caller wants
    /// an answer from memory or none, and there is none.
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
        let looked = gate.and_then(|()| key_of(record, &wanted)).map(|key| {
            let found = self.cache.get(&key, &control, self.clock.now());
            let hit = found.and_then(|entry| Some(Hit { key, bytes: self.replay_of(record, &entry)?, entry }));
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

    /// Somebody says that this answer from memory was wrong: it is not given again.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if the caller's tenant has no such answer in memory, or none any more.
    pub fn report(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let forgotten = cache::Key::read(id).is_some_and(|key| self.cache.forget(&key, &caller.tenant));
        if forgotten {
            count::reported();
            return Ok(());
        }
        let message = "there is no such answer in memory; its id is what the header x-pointsman-cache-id of a hit says";
        Err(Error { param: Some("id".to_owned()), ..Error::new(Kind::NotFound, message) })
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
}

/// The name under which the answer to this request is kept.
fn key_of(record: &Record, wanted: &Wanted<'_>) -> Result<cache::Key, Bypass> {
    let models: Vec<&str> = wanted.catalog.models().into_iter().map(ModelId::as_str).collect();
    let shape = serde_json::to_vec(&(&wanted.asked_name(), &wanted.preferences)).unwrap_or_default();
    let tenant = &record.caller().tenant;
    cache::key(&cache::Scope { tenant, models: &models, preferences: &shape }, &record.request)
}

/// The id under which an answer from memory goes out.
pub(super) fn replay_id(record: &Record) -> String {
    format!("chatcmpl-{}", record.id.0.simple())
}
