//! From a plan to a reply: attempts, retries, fallbacks, breakers and time-outs.
//!
//! The commit rule: until the first content byte (text, tool call, reasoning or refusal) everything the
//! upstream says is held back, and any failure is answered by the next attempt, unseen by the client. From
//! that byte on nothing is retried: a failure becomes one error event, never a splice and never a false end.

mod attempt;
mod breaker;
mod budget;
mod call;
mod config;
mod dispatcher;
mod estimate;
mod forward;
mod health;
mod stream;

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub use config::Config;
pub use dispatcher::Dispatcher;

use crate::base::{DeploymentId, Error, Kind, Usd};
use crate::chat::{Answer, Usage};

/// Deployments to try, in order. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The first one, then the fallbacks.
    pub steps: Vec<DeploymentId>,
}

/// One call to one deployment, after it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// What was called.
    pub deployment: DeploymentId,
    /// What went wrong; `None` = it served (or the client hung up).
    pub error: Option<Kind>,
    /// The HTTP status, if there was one.
    pub status: Option<u16>,
    /// Milliseconds from sending to the first content, if there was any.
    pub first_token_ms: Option<f64>,
    /// Milliseconds from sending to its end.
    pub total_ms: f64,
    /// The tokens it reported, or that were counted here.
    pub usage: Option<Usage>,
    /// Whether `usage` was counted here because the provider did not say.
    pub usage_estimated: bool,
    /// What it cost; `None` = unknown.
    pub cost_usd: Option<Usd>,
}

/// The calls made for one request, in the order they ended; whoever holds a clone sees them.
///
/// `dispatch` writes every attempt here the moment it ends, for whatever reason: served, failed, or cancelled
/// because the future of the run or the reply's stream was dropped (the client hung up). So what was spent
/// is known even when nobody is left to take the reply.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    attempts: Vec<Attempt>,
    answer: Option<Answer>,
}

impl Journal {
    /// Adds an attempt that ended.
    pub fn push(&self, attempt: Attempt) {
        self.0.lock().attempts.push(attempt);
    }

    /// The attempts that have ended so far.
    #[must_use]
    pub fn attempts(&self) -> Vec<Attempt> {
        self.0.lock().attempts.clone()
    }

    /// What a stream had said when it was dropped; `None` where it ended by itself (then
    /// [`StreamEnd::answer`] has it) or said nothing.
    #[must_use]
    pub fn cut_answer(&self) -> Option<Answer> {
        self.0.lock().answer.clone()
    }

    fn push_cut(&self, attempt: Attempt, answer: Option<Answer>) {
        let mut entries = self.0.lock();
        entries.attempts.push(attempt);
        entries.answer = answer;
    }
}

/// What the client gets.
pub struct Reply {
    /// Who answers.
    pub served: DeploymentId,
    /// The provider's own id of the request, if it sent one.
    pub upstream_request_id: Option<String>,
    /// The attempts that failed before this one.
    pub failed: Vec<Attempt>,
    /// The answer.
    pub body: ReplyBody,
}

/// The answer's bytes, whole or as they come.
pub enum ReplyBody {
    /// A whole JSON answer.
    Whole {
        /// The upstream's bytes.
        bytes: Bytes,
        /// What they say.
        answer: Box<Answer>,
        /// The attempt that brought them.
        attempt: Attempt,
    },
    /// Server-sent events; the first piece is already there when the reply is handed over.
    Stream(Pin<Box<dyn Stream<Item = Piece> + Send>>),
}

/// A piece of a streamed answer. `End` comes exactly once and last. Dropping the stream early cancels the
/// upstream call.
pub enum Piece {
    /// Bytes for the client: whole server-sent events.
    Bytes(Bytes),
    /// The stream is over.
    End(Box<StreamEnd>),
}

/// How a stream ended.
pub struct StreamEnd {
    /// What was said in all.
    pub answer: Answer,
    /// The attempt.
    pub attempt: Attempt,
    /// What broke it off, if it did not end well; the client has been told in the stream.
    pub error: Option<Error>,
}

/// No attempt served.
#[derive(Debug)]
pub struct Failure {
    /// What to tell the client: the last attempt's class, the soonest time to come back.
    pub error: Error,
    /// All attempts.
    pub attempts: Vec<Attempt>,
}
