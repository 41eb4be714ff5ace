//! Answers to like prompts: when one is given, and how it becomes known whether that was right.
//!
//! A prompt that is in no exact cache is looked for in its namespace. What is found there may be served, where the
//! namespace has earned it; else a model is called as always, and its answer is compared with the one that was found:
//! for nothing where the two are equal or are data, else by their vectors, or by a judge where one is configured
//! ([`judge`](super::judge)), which is asked for the checks and for the most telling of the misses. What is served is checked by chance: the same request is made once more behind the caller's back, with
//! `no-cache`, from the door on, so that it is admitted, decided, paid for and written down like any other, and its
//! answer is compared with the one that was given. An answer past its soft lifetime is renewed in the same way.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::handle::Incoming;
use super::memory::Hit;
use super::record::{Fresh, Record};
use super::wishes::Wishes;
use super::{Gateway, count};
use crate::base::{Seed, TenantId, Timestamp};
use crate::cache::semantic::compare::{self, Verdict};
use crate::cache::semantic::gate::{Unfit, fit, is_read_whole};
use crate::cache::semantic::quantised::Fine;
use crate::cache::semantic::space::{Candidate, Label, Prompt, Source};
use crate::cache::semantic::standing::State;
use crate::cache::{CacheOutcome, Control, Entry, Key, Place, SemanticConfig};
use crate::chat::{ChatRequest, Role};
use crate::embed::{Embedder, Embedding, Origin};

/// How long a request behind the caller's back may take.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);
/// How long the vector of an answer may take; nobody waits for it.
const VECTOR_PATIENCE: Duration = Duration::from_secs(5);
/// Above this temperature another answer is wanted, not a like one.
const HOTTEST: f64 = 0.3;

/// What like prompts a request may be compared with.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) place: Place,
}

/// What the answer to a request will teach.
#[derive(Clone, Debug)]
pub(super) struct Lesson {
    teacher: Arc<Gateway>,
    place: Place,
    text: Arc<str>,
    vector: Embedding,
    /// The like prompt, what its answer says, and whether that was served or would have been.
    rival: Option<Rival>,
}

/// An answer to a like prompt, to be compared with the fresh one.
#[derive(Clone, Debug)]
pub(super) struct Rival {
    key: Key,
    made: Timestamp,
    similarity: f64,
    text: String,
    check: bool,
    /// Whether it is worth a judge's call.
    ask: bool,
}

/// The requests behind answers from memory.
#[derive(Debug, Default)]
pub(super) struct Behind {
    renewing: Mutex<HashSet<Key>>,
    pub(super) stopping: CancellationToken,
}

impl Behind {
    pub(super) fn stop(&self) {
        self.stopping.cancel();
    }
}

/// Why this request is compared with no like prompt; `Ok` if it may be.
pub(super) fn comparable(settings: &SemanticConfig, request: &ChatRequest) -> Result<(), &'static str> {
    if settings.max_wrong.is_none() {
        return Err("off");
    }
    if request.view.temperature.is_some_and(|temperature| temperature > HOTTEST) {
        return Err("sampled");
    }
    let messages = &request.view.messages;
    if messages.last().is_none_or(|last| last.text.trim().is_empty()) {
        return Err(Unfit::Empty.name());
    }
    if !settings.conversations && messages.iter().any(|message| message.role == Role::Assistant) {
        return Err("conversation");
    }
    fit(request).map_err(Unfit::name)
}

impl Gateway {
    /// An answer to a like prompt, if one may be given. On a miss the record learns what its own answer will teach.
    pub(super) async fn alike(self: &Arc<Self>, record: &mut Record, control: &Control) -> Option<Hit> {
        let place = match &record.question {
            Ok(question) => question.place.clone(),
            Err(_) => return None,
        };
        let request = Arc::clone(&record.request);
        let embedding = self.embed(request.prompt()).await?;
        record.embedding = Some(embedding.clone());
        if embedding.origin != Origin::Encoder {
            return self.unlike(record, "encoder_late");
        }
        let now = self.clock.now();
        let uniform = Seed::of_decision(self.seed, record.id).uniform("like prompt");
        let text: Arc<str> = request.prompt().into();
        let looked = self.cache.look_up(&place.space, &text, &embedding.vector, uniform, now);
        let (state, veto) = looked.as_ref().map_or((State::Shadow, None), |looked| (looked.state, looked.veto));
        // What is too old for this caller may not serve him; one whose answer is gone may not serve anybody.
        let found = looked.and_then(|looked| looked.candidate).and_then(|candidate| {
            let control = Control { no_cache: false, ..*control };
            let entry = self.cache.get(&candidate.key, &control, now)?;
            (entry.made == candidate.made && entry.tenant == place.tenant).then_some((candidate, entry))
        });
        if let Some((candidate, entry)) = &found
            && candidate.serves
            && state == State::Serving
            && !control.no_cache
        {
            let hit = self.hit_of(record, candidate, entry);
            if hit.is_some() {
                record.cache = CacheOutcome::Semantic;
                return hit;
            }
        }
        let reason = match (&found, veto) {
            (Some((candidate, _)), _) if candidate.serves => state.name(),
            (Some(_), _) => "unsure",
            (None, Some(veto)) => veto.name(),
            (None, None) => "nothing_alike",
        };
        // What would be served but for the shadow is no miss, and is checked.
        let best = found.as_ref().map(|(candidate, _)| candidate);
        let check = best.is_some_and(|best| best.serves && state != State::Serving);
        let ask = !check && self.cache.missed(&place.space, best.map(|best| (&best.key, best.right)));
        let rival = found.map(|(Candidate { key, made, similarity, .. }, entry)| {
            let text = entry.answer.text.clone();
            Rival { key, made, similarity, text, check, ask }
        });
        if let Some(keep) = &mut record.keep {
            keep.lesson = Some(Lesson { teacher: Arc::clone(self), place, text, vector: embedding, rival });
        }
        self.unlike(record, reason)
    }

    #[expect(clippy::unused_self, reason = "reads as a stage of the path")]
    fn unlike(&self, record: &mut Record, reason: &'static str) -> Option<Hit> {
        count::unlike(reason);
        record.question = Err(reason);
        None
    }

    fn hit_of(&self, record: &Record, candidate: &Candidate, entry: &Arc<Entry>) -> Option<Hit> {
        let (key, similarity) = (candidate.key, candidate.similarity);
        let bytes = self.replay_of(record, entry)?;
        // A report of it must say how like the prompts were.
        let id = format!("{key}-{:04.0}", (similarity * 1e4).floor());
        let (entry, right) = (Arc::clone(entry), Some(candidate.right));
        Some(Hit { key, id, entry, bytes, similarity: Some(similarity), right })
    }

    /// After an answer from memory: is it to be checked, or renewed?
    pub(super) fn follow(self: &Arc<Self>, record: &Record, wishes: &Wishes, hit: &Hit) {
        let config = self.cache.config();
        let (now, key) = (self.clock.now(), hit.key);
        let again = || Incoming {
            caller: record.caller().clone(),
            request: (*record.request).clone(),
            wishes: wishes.clone(),
            control: Control { no_cache: true, max_age: Some(Duration::ZERO), ..Control::default() },
            arrived: self.clock.monotonic(),
        };
        match (hit.similarity, &record.question) {
            (Some(similarity), Ok(question)) => {
                let checked = Seed::of_decision(self.seed, record.id).uniform("check") < config.semantic.check_share;
                let Some(vector) = record.embedding.clone().filter(|_| checked) else { return };
                let (text, made) = (hit.entry.answer.text.clone(), hit.entry.made);
                let rival = Some(Rival { key, made, similarity, text, check: true, ask: false });
                let (text, place) = (record.request.prompt().into(), question.place.clone());
                let lesson = Lesson { teacher: Arc::clone(self), place, text, vector, rival };
                self.behind(again(), Some(lesson), None);
            }
            (None, _) => {
                let due = !config.refresh_after.is_zero() && now.since(hit.entry.made) >= config.refresh_after;
                if due && self.behind.renewing.lock().insert(key) {
                    self.behind(again(), None, Some(key));
                }
            }
            _ => {}
        }
    }

    /// Makes a request behind the caller's back.
    fn behind(self: &Arc<Self>, incoming: Incoming, lesson: Option<Lesson>, renewing: Option<Key>) {
        let gateway = Arc::clone(self);
        self.recorder.after.spawn(async move {
            let whole = async {
                // At the door it may be turned away: then there is no check, and the next hit may bring one.
                if let Ok(served) = gateway.handle_behind(incoming, lesson).await {
                    let _read_to_the_end = served.body.collect().await;
                }
            };
            tokio::select! {
                () = gateway.behind.stopping.cancelled() => {}
                _ended = tokio::time::timeout(PATIENCE, whole) => {}
            }
            if let Some(key) = renewing {
                gateway.behind.renewing.lock().remove(&key);
            }
        });
    }
}

impl Lesson {
    /// Compares a fresh answer with the one to the like prompt, and puts its prompt into the index unless that one
    /// would have done.
    pub(super) async fn teach(self, fresh: Fresh) {
        let Self { teacher: gateway, place, text, vector, rival } = self;
        let Fresh { key, made, text: said } = fresh;
        let (mut covered, mut distinct) = (false, false);
        let found = match &rival {
            Some(rival) => gateway.compare(&place.tenant, &text, rival, &said).await,
            None => None,
        };
        if let (Some(rival), Some((verdict, source))) = (rival, found) {
            covered = verdict == Verdict::Right && rival.key != key;
            distinct = verdict == Verdict::Wrong;
            count::found(verdict, rival.check);
            if verdict != Verdict::Unclear || rival.check {
                let (similarity, check, at) = (rival.similarity, rival.check, gateway.clock.now());
                // A judge that is asked for some of the misses and for the hits gives no fair sample of all.
                let chosen = source == Source::Judge && gateway.cache.config().semantic.judge_share < 1.0;
                let label = Label { similarity, verdict, source, check, chosen, at };
                gateway.cache.learn(place.clone(), rival.key, rival.made, label);
            }
        }
        if let Some(vector) = Fine::of(&vector.vector).filter(|_| !covered) {
            gateway.cache.place(place, Prompt { key, made, text, vector, distinct });
        }
    }
}

impl Gateway {
    /// Whether the answer to the like prompt says what the fresh one says, and who found that; `None` if nobody was
    /// asked.
    async fn compare(
        self: &Arc<Self>,
        whose: &TenantId,
        asked: &str,
        rival: &Rival,
        said: &str,
    ) -> Option<(Verdict, Source)> {
        if let Some(verdict) = compare::surely(&rival.text, said) {
            return Some((verdict, Source::Equality));
        }
        match &self.cache.config().semantic.judge {
            Some(judge) if rival.check || rival.ask => {
                Some((self.judged(judge, whose, asked, [&rival.text, said]).await, Source::Judge))
            }
            Some(_) => None,
            None => Some((self.by_vectors(&rival.text, said).await, Source::Vectors)),
        }
    }

    /// By the answers' vectors; those of long ones speak of their beginnings alone.
    async fn by_vectors(&self, one: &str, other: &str) -> Verdict {
        if !is_read_whole(one) || !is_read_whole(other) {
            return Verdict::Unclear;
        }
        let embedder: &dyn Embedder = self.embedder.as_ref();
        let (one, other) = (embedder.embed(one, VECTOR_PATIENCE).await, embedder.embed(other, VECTOR_PATIENCE).await);
        match (one, other) {
            (Some(one), Some(other)) if (one.origin, other.origin) == (Origin::Encoder, Origin::Encoder) => {
                let cosine = one.vector.iter().zip(other.vector.iter()).map(|(a, b)| f64::from(a * b)).sum();
                compare::by_vectors(cosine)
            }
            _ => Verdict::Unclear,
        }
    }
}
