//! One admitted request, one `Completed` event, whatever happens.
//!
//! A [`Record`] is opened at admission and travels with the request: through the handler, then inside the body
//! of the reply. Whoever drops it ends the request: at the last byte, on an error, when the client hangs up and
//! the server drops the handler or the body, when a panic unwinds, when the process drains. What came of it is
//! put together then; the evaluators and the ledger follow on a task of their own, after the last byte, so that
//! they are never on the way of an answer. That task's work is itself kept in a value that appends on drop, so
//! that a runtime that stops before the task ran loses nothing either.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::alike::{Lesson, Question};
use super::choice::Choice;
use super::live::Live;
use super::warmth::{Conversation, Warmth};
use super::{asked, count, evaluators};
use crate::admission::{Admission, Caller, Ticket};
use crate::base::{Clock, DecisionId, DeploymentId, Error, Kind, ModelId, Score, Seed, Timestamp, Usd};
use crate::cache::{self, Bypass, Cache, CacheOutcome, Entry};
use crate::chat::{Answer, ChatRequest};
use crate::dialect::sse;
use crate::dispatch::{Attempt, Journal};
use crate::embed::{Compact, Embedding};
use crate::features::Features;
use crate::ledger::{Completed, Decided, Event, Ledger, Outcome, ReuseRecord};
use crate::telemetry;

/// After so many requests the samples of the metrics are folded.
const SAMPLES_FOLDED_EVERY: usize = 1_024;

/// What every record needs to end well.
pub(super) struct Recorder {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) cache: Arc<Cache>,
    pub(super) admission: Arc<Admission>,
    /// What providers have of the conversations.
    pub(super) warmth: Warmth,
    /// The tasks that follow an answer; drained at the end of the process.
    pub(super) after: TaskTracker,
    /// Requests whose `Completed` is not yet appended.
    pub(super) open: AtomicUsize,
    /// Told each time one is.
    pub(super) appended: Notify,
    /// Requests that have ended.
    pub(super) ended: AtomicUsize,
}

impl Recorder {
    /// Opens the record of an admitted request.
    pub(super) fn open(
        self: &Arc<Self>,
        id: DecisionId,
        ticket: Ticket,
        request: Arc<ChatRequest>,
        live: Arc<Live>,
        arrived: Duration,
    ) -> Record {
        self.open.fetch_add(1, Ordering::AcqRel);
        Record(Some(Box::new(Open {
            recorder: Arc::clone(self),
            ticket,
            id,
            request,
            live,
            arrived,
            waited: Duration::ZERO,
            waiting_since: None,
            first_content: None,
            journal: Journal::default(),
            choice: None,
            conversation: None,
            served: None,
            answer: None,
            cache: CacheOutcome::Bypass,
            key: None,
            question: Err("off"),
            embedding: None,
            bypass: None,
            reuse: None,
            background: false,
            keep: None,
            answered_others: false,
            outcome: None,
        })))
    }

    /// The milliseconds since `start` on the clock that never goes back.
    fn ms_since(&self, start: Duration) -> f64 {
        milliseconds(self.clock.monotonic().saturating_sub(start))
    }
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The record of a request that is being served. Dropping it ends the request.
pub(super) struct Record(Option<Box<Open>>);

/// What is known so far.
pub(super) struct Open {
    recorder: Arc<Recorder>,
    ticket: Ticket,
    pub(super) id: DecisionId,
    pub(super) request: Arc<ChatRequest>,
    pub(super) live: Arc<Live>,
    /// When the request was there, on the monotonic clock.
    pub(super) arrived: Duration,
    /// Time spent waiting for an upstream or the client, as far as that wait is over.
    waited: Duration,
    /// When the present wait began, if it waits, on the monotonic clock.
    waiting_since: Option<Duration>,
    /// When the first content went to the client, on the monotonic clock.
    first_content: Option<Duration>,
    /// The calls made for it.
    pub(super) journal: Journal,
    pub(super) choice: Option<Choice>,
    /// The conversation it is a turn of.
    pub(super) conversation: Option<Conversation>,
    pub(super) served: Option<(DeploymentId, Option<ModelId>)>,
    pub(super) answer: Option<Answer>,
    pub(super) cache: CacheOutcome,
    /// Under which name an answer that is too old may stand in if the providers fail.
    pub(super) key: Option<cache::Key>,
    /// What like prompts it may be compared with, or why with none.
    pub(super) question: Result<Question, &'static str>,
    /// The prompt's vector, once it is there.
    pub(super) embedding: Option<Embedding>,
    /// Why it passes by the cache.
    pub(super) bypass: Option<Bypass>,
    /// The answer from memory that it got.
    pub(super) reuse: Option<ReuseRecord>,
    /// Nobody waits for it: it is a request of our own behind an answer from memory.
    pub(super) background: bool,
    /// Where the answer goes in the cache if it turns out good, and its bytes so far.
    pub(super) keep: Option<Keep>,
    /// Others have its answer whole, though its own client hung up.
    pub(super) answered_others: bool,
    outcome: Option<Outcome>,
}

/// An answer on its way into the cache.
pub(super) struct Keep {
    /// Its key.
    pub(super) key: cache::Key,
    /// What was sent; cleared and given up when it grows beyond what the cache takes.
    pub(super) sent: Vec<Bytes>,
    /// Bytes in `sent`.
    pub(super) size: usize,
    /// What its caller has it purged by.
    pub(super) tags: Vec<String>,
    /// What the answer teaches of answers to like prompts.
    pub(super) lesson: Option<Lesson>,
}

impl std::ops::Deref for Record {
    type Target = Open;
    #[expect(clippy::expect_used, reason = "only `end` empties it, and takes the record by value")]
    fn deref(&self) -> &Open {
        self.0.as_deref().expect("a record is open until it is dropped")
    }
}

impl std::ops::DerefMut for Record {
    #[expect(clippy::expect_used, reason = "only `end` empties it, and takes the record by value")]
    fn deref_mut(&mut self) -> &mut Open {
        self.0.as_deref_mut().expect("a record is open until it is dropped")
    }
}

impl Record {
    /// Who is served.
    pub(super) fn caller(&self) -> &Caller {
        &self.ticket.caller
    }

    /// Writes down the choice, with all that a later judge of it must know.
    pub(super) fn decided(&mut self, mut choice: Choice, (features, vector): (Features, Option<Compact>), seed: Seed) {
        count::decided(&choice);
        let at = self.recorder.clock.now();
        let event = Decided {
            id: self.id,
            at,
            tenant: self.caller().tenant.clone(),
            endpoint: self.request.endpoint,
            asked: asked::shorten(&self.request.view.model),
            features,
            vector,
            preferences: choice.preferences,
            arms: choice.arms.clone(),
            excluded: choice.excluded.clone(),
            chosen: choice.chosen,
            greedy: choice.greedy,
            mode: choice.mode,
            seed,
            policy: choice.policy.clone(),
            catalog: self.live.catalog.digest,
            config: self.live.config,
            trial: choice.trial.clone(),
            budgets: choice.hold.as_mut().map(|hold| std::mem::take(&mut hold.records)).unwrap_or_default(),
            guard: choice.guard,
        };
        // What is shed under overload is counted by the ledger.
        let _kept = self.recorder.ledger.append(at, Event::Decided(Box::new(event)));
        self.choice = Some(choice);
    }

    /// Why it is not answered from memory, or not by the answer to a like prompt.
    pub(super) fn cache_reason(&self) -> Option<&'static str> {
        let unlike = self.question.as_ref().err().copied().filter(|reason| *reason != "off");
        self.bypass.map(Bypass::name).or(unlike)
    }

    /// Notes that content goes to the client now.
    pub(super) fn content_sent(&mut self) {
        if self.first_content.is_none() {
            self.first_content = Some(self.recorder.clock.monotonic());
        }
    }

    /// From `moment` on it waits for an upstream or the client.
    pub(super) fn waits_since(&mut self, moment: Duration) {
        self.waiting_since = Some(moment);
    }

    /// The wait is over at `moment`; `worked` of it was own work after all.
    pub(super) fn resumes(&mut self, moment: Duration, worked: Duration) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += moment.saturating_sub(since).saturating_sub(worked);
        }
    }

    /// Ends the request in this way, unless it was said before how it ends.
    pub(super) fn ends(&mut self, outcome: Outcome) {
        self.outcome.get_or_insert(outcome);
    }

    /// Ends the request with an error for the client.
    pub(super) fn fails(&mut self, error: &Error) {
        count::error(error.kind);
        self.ends(Outcome::Failed(error.kind));
    }

    /// Bytes that went to the client and may go to the cache.
    pub(super) fn keep(&mut self, bytes: &Bytes) {
        let limit = self.recorder.cache.config().max_entry_bytes;
        let Some(keep) = &mut self.keep else { return };
        keep.size += bytes.len();
        keep.sent.push(bytes.clone());
        if keep.size > limit {
            self.keep = None;
        }
    }

    /// These bytes, in place of those noted so far, may go to the cache.
    pub(super) fn keep_instead(&mut self, pieces: &[Bytes]) {
        if let Some(keep) = &mut self.keep {
            (keep.sent, keep.size) = (Vec::new(), 0);
        }
        pieces.iter().for_each(|piece| self.keep(piece));
    }

    /// Milliseconds of own work so far.
    pub(super) fn overhead_ms(&self) -> f64 {
        (self.recorder.ms_since(self.arrived) - milliseconds(self.waited)).max(0.0)
    }

    /// What the calls so far cost together; `None` = unknown for one of them.
    pub(super) fn cost(attempts: &[Attempt]) -> Option<Usd> {
        attempts.iter().map(|attempt| attempt.cost_usd).sum()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Some(open) = self.0.take() else { return };
        let recorder = Arc::clone(&open.recorder);
        let settled = open.settle();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(recorder.after.spawn_on(
                async move {
                    if let Some((lesson, fresh)) = settled.follow_up() {
                        lesson.teach(fresh).await;
                    }
                },
                &runtime,
            )),
            // Nobody can wait for a vector any more: the answer is kept, and teaches nothing.
            Err(_) => drop(settled.follow_up()),
        }
    }
}

impl Open {
    /// How it ended, if nobody said: the drop itself tells.
    fn ended(&self) -> Outcome {
        match self.outcome {
            Some(outcome) => outcome,
            None if std::thread::panicking() && self.first_content.is_some() => Outcome::Broken(Kind::Internal),
            None if std::thread::panicking() => Outcome::Failed(Kind::Internal),
            None if self.recorder.admission.is_closed() => Outcome::Dropped,
            None => Outcome::HungUp,
        }
    }

    /// Closes the books: the event is complete but for the scores.
    fn settle(mut self: Box<Self>) -> Settled {
        let at = self.recorder.clock.now();
        let outcome = self.ended();
        if let Some(since) = self.waiting_since.take() {
            self.waited += self.recorder.clock.monotonic().saturating_sub(since);
        }
        let attempts = self.journal.attempts();
        let answer = self.answer.take().or_else(|| self.journal.cut_answer());
        let since = |moment: Duration| milliseconds(moment.saturating_sub(self.arrived));
        let total_ms = self.recorder.ms_since(self.arrived);
        let last = attempts.iter().rfind(|attempt| attempt.error.is_none());
        let from_cache = !self.cache.is_fresh();
        let (served, model) = self.served.take().map_or((None, None), |(served, model)| (Some(served), model));
        if let Some(conversation) = self.conversation {
            self.recorder.warmth.ended(conversation, &attempts, at);
        }
        let cost_usd = Record::cost(&attempts);
        if let Some(hold) = self.choice.as_mut().and_then(|choice| choice.hold.take()) {
            hold.settle(cost_usd, at);
        }
        let completed = Completed {
            id: self.id,
            at,
            tenant: self.ticket.caller.tenant.clone(),
            outcome,
            stream: self.request.view.stream,
            cache: self.cache,
            reuse: self.reuse.take(),
            background: self.background,
            served: served.filter(|_| !from_cache),
            model,
            usage: last.and_then(|attempt| attempt.usage).or_else(|| answer.as_ref().and_then(|answer| answer.usage)),
            usage_estimated: last.is_some_and(|attempt| attempt.usage_estimated),
            cost_usd,
            attempts,
            first_token_ms: self.first_content.map(since),
            total_ms,
            overhead_ms: (total_ms - milliseconds(self.waited)).max(0.0),
            finish_reason: answer.as_ref().and_then(|answer| answer.finish_reason.clone()),
            response_id: answer.as_ref().and_then(|answer| answer.id.clone()),
            scores: Vec::new(),
            budgets: Vec::new(),
        };
        Settled { open: self, answer, completed: Some(Box::new(completed)), at }
    }
}

/// A request that has ended, on the way into the ledger. Dropping it appends what is there.
struct Settled {
    open: Box<Open>,
    answer: Option<Answer>,
    completed: Option<Box<Completed>>,
    at: Timestamp,
}

impl Settled {
    /// Judges the answer, keeps it if it is good, and appends the event (by dropping itself).
    fn follow_up(mut self) -> Option<(Lesson, Fresh)> {
        let served = self.completed.as_ref().is_some_and(|completed| completed.outcome == Outcome::Served);
        let served = served || self.open.answered_others;
        let fresh = self.open.cache.is_fresh();
        if let (Some(answer), Some(completed), true) = (&self.answer, &mut self.completed, served && fresh) {
            completed.scores = evaluators::evaluate(&self.open.request.view, answer);
            let keep = self.open.keep.take().filter(|_| cache::keepable(answer));
            return keep.and_then(|keep| remember(&self.open, keep, answer, completed));
        }
        None
    }
}

/// An answer that was just kept.
pub(super) struct Fresh {
    pub(super) key: cache::Key,
    pub(super) made: Timestamp,
    pub(super) text: String,
}

/// Keeps a good answer for the next time it is asked for. What it teaches comes back.
fn remember(open: &Open, keep: Keep, answer: &Answer, completed: &Completed) -> Option<(Lesson, Fresh)> {
    // A refusal in words alone is for its evaluator to see.
    let refused = completed.scores.iter().any(|score| score.channel == "refusal" && score.score == Score::ZERO);
    let (Some(deployment), Some(model), false) = (&completed.served, &completed.model, refused) else { return None };
    let sent = keep.sent.concat();
    let body = if completed.stream {
        let mut parser = sse::Parser::new();
        parser.push(Bytes::from(sent));
        let mut events = Vec::new();
        while let Ok(Some(frame)) = parser.advance() {
            events.extend(frame.data.map(std::borrow::Cow::into_owned));
        }
        cache::replay::whole_of_stream(open.request.endpoint, events.iter().map(Vec::as_slice))
    } else {
        Some(Bytes::from(sent))
    };
    let entry = Entry {
        tenant: completed.tenant.clone(),
        body: body?,
        answer: answer.clone(),
        made: completed.at,
        deployment: deployment.clone(),
        model: model.clone(),
        cost: completed.cost_usd,
        took: Duration::from_secs_f64(completed.total_ms.max(0.0) / 1e3),
        tags: keep.tags,
        space: std::sync::OnceLock::new(),
    };
    open.recorder.cache.put(keep.key, entry);
    let fresh = Fresh { key: keep.key, made: completed.at, text: answer.text.clone() };
    keep.lesson.map(|lesson| (lesson, fresh))
}

impl Drop for Settled {
    fn drop(&mut self) {
        let Some(completed) = self.completed.take() else { return };
        let recorder = &self.open.recorder;
        count::completed(&completed, count::route(self.open.request.endpoint), &self.open.live.catalog);
        let _kept = recorder.ledger.append(self.at, Event::Completed(completed));
        if recorder.ended.fetch_add(1, Ordering::Relaxed) % SAMPLES_FOLDED_EVERY == SAMPLES_FOLDED_EVERY - 1 {
            telemetry::fold_samples();
        }
        recorder.open.fetch_sub(1, Ordering::AcqRel);
        recorder.appended.notify_waiters();
    }
}
