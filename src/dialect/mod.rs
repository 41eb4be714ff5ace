//! How providers speak: bytes in, meaning out, no I/O.
//!
//! [`sse`] cuts a stream into events, [`openai`] reads what those events, whole answers and error bodies say.
//! What goes to the client is the provider's own bytes; this is the reading beside it.

pub mod openai;
pub mod sse;

use std::time::Duration;

use crate::base::{Error, Kind, Retry};

/// What a provider's failure means for the provider: decides how long it is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Too many requests for now.
    RateLimited,
    /// Out of credit: will not pass by itself soon.
    Quota,
    /// The key is refused, or may not use this model.
    KeyDead,
    /// The model or route does not exist there.
    Missing,
    /// It says that it is broken or overloaded.
    Broken,
    /// It cannot be reached.
    Unreachable,
    /// It did not answer in time.
    Timeout,
    /// It answered something that is not its protocol, or stopped in the middle.
    Protocol,
    /// The prompt is too long for it.
    ContextLength,
    /// It refuses the content.
    ContentPolicy,
    /// It says that the request is wrong.
    Invalid,
}

impl Class {
    /// What the client is told.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::RateLimited | Self::Quota => Kind::RateLimited,
            // A key of ours that died is not the caller's 401.
            Self::KeyDead | Self::Missing | Self::Broken | Self::Unreachable => Kind::UpstreamUnavailable,
            Self::Timeout => Kind::UpstreamTimeout,
            Self::Protocol => Kind::UpstreamProtocol,
            Self::ContextLength => Kind::ContextLength,
            Self::ContentPolicy => Kind::ContentPolicy,
            Self::Invalid => Kind::InvalidRequest,
        }
    }

    /// Whether, and where, to try again.
    #[must_use]
    pub const fn retry(self) -> Retry {
        match self {
            Self::RateLimited | Self::Broken | Self::Unreachable | Self::Timeout | Self::Protocol => Retry::Same,
            Self::Quota | Self::KeyDead | Self::Missing | Self::ContextLength | Self::ContentPolicy => Retry::Elsewhere,
            Self::Invalid => Retry::Never,
        }
    }
}

/// A provider's failure, as far as it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it means.
    pub class: Class,
    /// What it says, in a sentence for the caller.
    pub message: String,
    /// The field of the request that it finds wrong.
    pub param: Option<String>,
    /// How long it wants to be left alone.
    pub retry_after: Option<Duration>,
}

impl Fault {
    /// A failure of this class.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), param: None, retry_after: None }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let error = Self { param: fault.param, ..Self::new(fault.class.kind(), fault.message) };
        error.with_retry(fault.class.retry()).with_retry_after(fault.retry_after)
    }
}
