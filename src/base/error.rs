//! What went wrong on a request's path: what, whose fault, and whether trying again helps.
//!
//! The kinds are a closed list. `http` turns each into one status and one OpenAI-shaped body; metrics
//! count them by name. A part that fails in a way only it understands has an error type of its own and
//! says here which kind that is.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What went wrong. The names are public: they stand in error bodies, metrics and the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The request cannot be understood: not JSON, a wrong type, a missing or senseless field.
    InvalidRequest,
    /// No key, or an unknown one.
    Unauthorized,
    /// A known key that may not do this.
    Forbidden,
    /// No such model, decision or route.
    NotFound,
    /// The body is larger than the configured limit.
    TooLarge,
    /// Every deployment is excluded by what the request needs (tools, vision, context length ...).
    NoEligibleDeployment,
    /// The prompt is longer than the upstream's context window.
    ContextLength,
    /// The upstream refused the content.
    ContentPolicy,
    /// Too many requests, here or at every upstream that could have served.
    RateLimited,
    /// The caller's budget is spent.
    BudgetExceeded,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// The upstream cannot be reached, or answers that it is broken or overloaded.
    UpstreamUnavailable,
    /// The upstream answered something that is not its protocol, or stopped in the middle.
    UpstreamProtocol,
    /// Pointsman itself has more work than it takes on, or is shutting down.
    Overloaded,
    /// A fault in Pointsman.
    Internal,
}

impl Kind {
    /// Every kind, in declaration order.
    pub const ALL: [Self; 15] = [
        Self::InvalidRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::TooLarge,
        Self::NoEligibleDeployment,
        Self::ContextLength,
        Self::ContentPolicy,
        Self::RateLimited,
        Self::BudgetExceeded,
        Self::UpstreamTimeout,
        Self::UpstreamUnavailable,
        Self::UpstreamProtocol,
        Self::Overloaded,
        Self::Internal,
    ];

    /// The public name, for example `upstream_timeout`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::TooLarge => "too_large",
            Self::NoEligibleDeployment => "no_eligible_deployment",
            Self::ContextLength => "context_length",
            Self::ContentPolicy => "content_policy",
            Self::RateLimited => "rate_limited",
            Self::BudgetExceeded => "budget_exceeded",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamProtocol => "upstream_protocol",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal",
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::InvalidRequest
            | Self::Unauthorized
            | Self::Forbidden
            | Self::NotFound
            | Self::TooLarge
            | Self::NoEligibleDeployment
            | Self::ContextLength
            | Self::ContentPolicy
            | Self::BudgetExceeded => Blame::Client,
            Self::RateLimited | Self::UpstreamTimeout | Self::UpstreamUnavailable | Self::UpstreamProtocol => {
                Blame::Upstream
            }
            Self::Overloaded | Self::Internal => Blame::Pointsman,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The caller's.
    Client,
    /// Ours.
    Pointsman,
    /// The provider's.
    Upstream,
}

/// Whether, and where, the same request may succeed if tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// Nowhere: the request itself is at fault.
    Never,
    /// At the same deployment, after a pause.
    Same,
    /// At another deployment.
    Elsewhere,
}

/// A failure on a request's path.
#[derive(Debug, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct Error {
    /// What went wrong.
    pub kind: Kind,
    /// Whether trying again helps.
    pub retry: Retry,
    /// A sentence for the caller: what was found, what was expected, what to do. No secret, no prompt text.
    pub message: String,
    /// The field of the request that is at fault, as a path such as `messages[2].content`.
    pub param: Option<String>,
    /// When to come back, if that is known.
    pub retry_after: Option<Duration>,
    /// What lies behind it; for the log, not for the caller.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A failure of this kind, with the retry that is usual for it.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let retry = match kind {
            Kind::RateLimited | Kind::UpstreamTimeout | Kind::UpstreamUnavailable | Kind::UpstreamProtocol => {
                Retry::Same
            }
            Kind::ContextLength | Kind::ContentPolicy => Retry::Elsewhere,
            _ => Retry::Never,
        };
        Self { kind, retry, message: message.into(), param: None, retry_after: None, source: None }
    }

    /// A request that cannot be understood, with the field at fault.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::new(Kind::InvalidRequest, message) }
    }

    /// A fault of our own, with what lies behind it.
    pub fn internal(message: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..Self::new(Kind::Internal, message) }
    }

    /// The same failure with another retry advice.
    #[must_use]
    pub fn with_retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// The same failure with the time to come back.
    #[must_use]
    pub fn with_retry_after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        self.kind.blame()
    }

    /// `error.type` of an error body, in OpenAI's words.
    #[must_use]
    pub const fn openai_type(&self) -> &'static str {
        match self.kind {
            Kind::InvalidRequest
            | Kind::NotFound
            | Kind::TooLarge
            | Kind::NoEligibleDeployment
            | Kind::ContextLength
            | Kind::ContentPolicy => "invalid_request_error",
            Kind::Unauthorized => "authentication_error",
            Kind::Forbidden => "permission_error",
            Kind::RateLimited => "rate_limit_error",
            Kind::BudgetExceeded => "insufficient_quota",
            Kind::UpstreamTimeout | Kind::UpstreamUnavailable | Kind::UpstreamProtocol => "upstream_error",
            Kind::Overloaded | Kind::Internal => "server_error",
        }
    }

    /// `error.code` of an error body: OpenAI's own where it has one for the case, because clients branch on
    /// those, else the name of the kind.
    #[must_use]
    pub fn openai_code(&self) -> &'static str {
        match self.kind {
            Kind::NotFound if self.param.as_deref() == Some("model") => "model_not_found",
            Kind::Unauthorized => "invalid_api_key",
            Kind::ContextLength => "context_length_exceeded",
            Kind::ContentPolicy => "content_policy_violation",
            Kind::RateLimited => "rate_limit_exceeded",
            Kind::BudgetExceeded => "insufficient_quota",
            kind => kind.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_name_is_the_serialised_name() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_string(&kind).expect("serialises"), format!("\"{kind}\""));
        }
    }
}
