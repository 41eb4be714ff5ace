//! The one place where failures become statuses and bodies.
//!
//! The body has OpenAI's shape, so that every client's error classes work: `{"error": {"message", "type", "param",
//! "code"}}`. `code` is OpenAI's own where it has one for the case (clients branch on those) and the name of the
//! [`Kind`] elsewhere. What was tried for the request, if anything, stands in `error.metadata`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::headers;
use crate::base::{Error, Kind};
use crate::gateway::Refused;

/// A failure on its way to the client.
#[derive(Debug)]
pub(super) struct Failed {
    error: Error,
    status: StatusCode,
    refused: Option<Box<Refusal>>,
}

#[derive(Debug)]
struct Refusal {
    facts: crate::gateway::Facts,
    attempts: Vec<Value>,
}

impl Failed {
    /// The failure with a status that no kind has by itself (405, 408, 415).
    pub(super) fn with_status(error: Error, status: StatusCode) -> Self {
        Self { error, status, refused: None }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        // RFC 9111, 5.2.1.7: what is asked for only from memory, and is not there, is a 504.
        let uncached = error.kind == Kind::NotFound && error.param.as_deref() == Some("cache-control");
        let status = if uncached { StatusCode::GATEWAY_TIMEOUT } else { status(error.kind) };
        Self { status, error, refused: None }
    }
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        let attempts = refused
            .attempts
            .iter()
            .map(|attempt| json!({"deployment": attempt.deployment, "error": attempt.error, "status": attempt.status}))
            .collect();
        let refusal = refused.facts.map(|facts| Box::new(Refusal { facts: *facts, attempts }));
        Self { refused: refusal, ..Self::from(refused.error) }
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let Self { error, status, refused } = self;
        if let Some(source) = &error.source {
            tracing::warn!(kind = error.kind.name(), message = error.message, source, "a request failed");
        }
        let mut inner = json!({
            "message": error.message,
            "type": error.openai_type(),
            "param": error.param.as_ref().filter(|param| !param.is_empty()),
            "code": error.openai_code(),
        });
        if let Some(refused) = &refused {
            inner["metadata"] = json!({"decision": refused.facts.decision, "attempts": refused.attempts});
        }
        let mut response = (status, Json(json!({"error": inner}))).into_response();
        if let Some(after) = error.retry_after {
            // Whole seconds, rounded up: coming back too early is a second refusal.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(refused) = refused {
            headers::tell(response.headers_mut(), &refused.facts);
        }
        response
    }
}

/// The status of each kind.
pub(super) const fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::InvalidRequest | Kind::NoEligibleDeployment | Kind::ContextLength | Kind::ContentPolicy => {
            StatusCode::BAD_REQUEST
        }
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::RateLimited | Kind::BudgetExceeded => StatusCode::TOO_MANY_REQUESTS,
        Kind::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        Kind::UpstreamProtocol => StatusCode::BAD_GATEWAY,
        Kind::UpstreamUnavailable | Kind::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
