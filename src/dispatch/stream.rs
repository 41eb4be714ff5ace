//! A streamed answer on its way: timers, the commit, and the end.
//!
//! [`Flow`] forwards the provider's events byte for byte and reads them on the way by. It has one timer, driven by
//! time and not by arriving bytes: to the first content, then from content to content, and to the end of the whole
//! request. Comments, pings, roles and empty deltas do not move it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use serde_json::json;
use tokio::time::{Instant, Sleep, sleep_until};

use super::attempt::Running;
use super::{Piece, StreamEnd};
use crate::base::Error;
use crate::chat::Usage;
use crate::dialect::openai::Said;
use crate::dialect::sse::{self, Parser};
use crate::dialect::{Class, Fault};

/// How long the connection's proper end is waited for after `[DONE]`; without it the connection cannot be used
/// again.
const AFTER_DONE: Duration = Duration::from_millis(200);

/// The provider's bytes.
pub(super) type Body = Pin<Box<dyn Stream<Item = Result<Bytes, Fault>> + Send>>;

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The first content must be there by then.
    pub(super) first: Instant,
    /// Longest time between two contents.
    pub(super) idle: Duration,
    /// Everything must be over by then.
    pub(super) total: Instant,
}

/// Where a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its bytes come.
    Open,
    /// It said `[DONE]`; the connection's end is waited for.
    Done,
    /// Nothing comes any more.
    Ended,
}

/// A stream under way.
pub(super) struct Flow {
    body: Body,
    parser: Parser,
    running: Running,
    limits: Limits,
    /// Whether the usage chunk is ours and not the client's.
    hide_usage: bool,
    phase: Phase,
    committed: bool,
    /// Whether the provider's bytes are all here.
    body_ended: bool,
    /// A failure that was read behind bytes that go out first.
    fault: Option<Fault>,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
}

/// What comes out of a stream.
enum Next {
    /// Whole events, and whether there was content in them.
    Bytes { bytes: Bytes, content: bool },
    /// Its proper end.
    End,
}

impl Flow {
    pub(super) fn new(body: Body, running: Running, limits: Limits, hide_usage: bool) -> Self {
        let deadline = limits.first.min(limits.total);
        Self {
            body,
            parser: Parser::new(),
            running,
            limits,
            hide_usage,
            phase: Phase::Open,
            committed: false,
            body_ended: false,
            fault: None,
            deadline,
            timer: Box::pin(sleep_until(deadline)),
        }
    }

    /// Holds back everything until the first content (or the proper end of an empty answer) is there.
    ///
    /// # Errors
    /// Whatever went wrong before; the attempt is over and written down.
    pub(super) async fn commit(mut self) -> Result<Committed, Fault> {
        let mut held = Vec::new();
        let mut size = 0;
        loop {
            let next = poll_fn(|context| self.poll_bytes(context)).await;
            // Nothing has been released yet, so a failure right behind the first content still is no harm.
            let next = self.fault.take().map_or(next, Err);
            let fault = match next {
                Ok(Next::End) => break,
                Ok(Next::Bytes { bytes, content }) => {
                    size += bytes.len();
                    held.push(bytes);
                    if content {
                        break;
                    }
                    if size <= sse::MAX_EVENT {
                        continue;
                    }
                    Fault::new(Class::Protocol, "the provider's stream does not come to its content")
                }
                Err(fault) => fault,
            };
            self.running.failed(&fault);
            return Err(fault);
        }
        self.running.started();
        self.committed = true;
        self.extend_deadline();
        // The wait between contents may be shorter than that for the first.
        self.timer.as_mut().reset(self.deadline);
        let first = if held.len() == 1 { held.swap_remove(0) } else { held.concat().into() };
        Ok(Committed { flow: self, first: Some(first), end: None, finished: false })
    }

    /// What comes next, or what went wrong.
    fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Result<Next, Fault>> {
        loop {
            if self.phase == Phase::Open
                && let Some(next) = self.cut()
            {
                return Poll::Ready(Ok(next));
            }
            if self.body_ended {
                self.end("the provider's stream stopped in the middle of the answer", Class::Protocol);
            }
            if let Some(fault) = self.fault.take() {
                self.phase = Phase::Ended;
                return Poll::Ready(Err(fault));
            }
            if self.phase == Phase::Ended {
                return Poll::Ready(Ok(Next::End));
            }
            if self.timer.as_mut().poll(context).is_ready() {
                // Content has come since the timer was set.
                if Instant::now() < self.deadline {
                    self.timer.as_mut().reset(self.deadline);
                } else {
                    let what = if self.committed { "went silent in the middle of the answer" } else { "did not begin" };
                    self.end(&format!("the provider's stream {what} in time"), Class::Timeout);
                }
                continue;
            }
            match (ready!(self.body.as_mut().poll_next(context)), self.phase) {
                (Some(Ok(chunk)), Phase::Open) => self.parser.push(chunk),
                // Behind `[DONE]` there is nothing to say.
                (Some(Ok(_)), _) => {}
                (None, Phase::Open) => {
                    self.body_ended = true;
                    self.parser.finish();
                }
                (Some(Err(fault)), _) => self.end(&fault.message, fault.class),
                (None, _) => self.phase = Phase::Ended,
            }
        }
    }

    /// No more can be had: well, if the answer is whole, else for this reason.
    fn end(&mut self, why: &str, class: Class) {
        if self.phase == Phase::Open && !self.running.said.is_complete() {
            self.fault.get_or_insert_with(|| Fault::new(class, why));
        }
        self.phase = Phase::Ended;
    }

    /// Whatever can be forwarded of what has arrived, in one piece. A failure is kept for when that is out.
    fn cut(&mut self) -> Option<Next> {
        let (mut content, mut progress) = (false, false);
        let bytes = loop {
            let frame = match self.parser.advance() {
                Ok(Some(frame)) => frame,
                Ok(None) => break self.parser.take(),
                Err(too_long) => {
                    self.fault = Some(Fault::new(Class::Protocol, too_long.to_string()));
                    break self.parser.take();
                }
            };
            let Some(data) = frame.data else { continue };
            match self.running.said.read(frame.event.as_deref(), &data) {
                Ok(Said::Done) => {
                    if !self.running.said.has_content() && !self.running.said.is_complete() {
                        self.fault = Some(Fault::new(Class::Protocol, "the provider's stream held no answer"));
                        break self.parser.take_but_last();
                    }
                    self.phase = Phase::Done;
                    self.deadline = Instant::now() + AFTER_DONE;
                    self.timer.as_mut().reset(self.deadline);
                    break self.parser.take();
                }
                Ok(Said::Usage) if self.hide_usage => {
                    progress = true;
                    let before = self.parser.take_but_last();
                    if !before.is_empty() {
                        break before;
                    }
                }
                Ok(said) => {
                    content |= said == Said::Content;
                    progress |= said != Said::Nothing;
                }
                Err(fault) => {
                    self.fault = Some(fault);
                    break self.parser.take_but_last();
                }
            }
        };
        if progress && self.committed && self.phase == Phase::Open {
            self.extend_deadline();
        }
        (!bytes.is_empty()).then_some(Next::Bytes { bytes, content })
    }

    fn extend_deadline(&mut self) {
        self.deadline = (Instant::now() + self.limits.idle).min(self.limits.total);
    }
}

/// A stream that has committed: what comes now reaches the client, and nothing can take its place.
pub(super) struct Committed {
    flow: Flow,
    /// What was held back, ending in the first content.
    first: Option<Bytes>,
    /// The end, when the error event goes out before it.
    end: Option<Box<StreamEnd>>,
    finished: bool,
}

impl Stream for Committed {
    type Item = Piece;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        let this = self.get_mut();
        if this.finished {
            return Poll::Ready(None);
        }
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Piece::Bytes(first)));
        }
        if let Some(end) = this.end.take() {
            this.finished = true;
            return Poll::Ready(Some(Piece::End(end)));
        }
        Poll::Ready(Some(match ready!(this.flow.poll_bytes(context)) {
            Ok(Next::Bytes { bytes, .. }) => Piece::Bytes(bytes),
            Ok(Next::End) => {
                this.finished = true;
                let attempt = this.flow.running.served();
                let answer = std::mem::take(&mut this.flow.running.said).into_answer();
                Piece::End(Box::new(StreamEnd { answer, attempt, error: None }))
            }
            Err(fault) => {
                let attempt = this.flow.running.failed(&fault);
                let answer = std::mem::take(&mut this.flow.running.said).into_answer();
                let error = Error::from(fault);
                let event = error_event(&error, attempt.usage.as_ref());
                this.end = Some(Box::new(StreamEnd { answer, attempt, error: Some(error) }));
                Piece::Bytes(event)
            }
        }))
    }
}

/// The last event of a stream that broke off, in OpenAI's shape, with what is known of the usage. No `[DONE]`
/// follows it.
fn error_event(error: &Error, usage: Option<&Usage>) -> Bytes {
    let (kind, code) = (error.openai_type(), error.openai_code());
    let mut event = json!({
        "error": { "message": error.message, "type": kind, "param": error.param, "code": code }
    });
    if let Some(Usage { prompt_tokens, completion_tokens, .. }) = usage {
        let total_tokens = prompt_tokens.zip(*completion_tokens).map(|(prompt, completion)| prompt + completion);
        event["usage"] = json!({
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": total_tokens,
        });
    }
    format!("data: {event}\n\n").into()
}

#[cfg(test)]
mod tests;
