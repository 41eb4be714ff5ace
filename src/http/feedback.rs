//! `POST /v1/feedback` and `GET /v1/decisions/{id}`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use super::errors::Failed;
use super::intake;
use crate::base::{DecisionId, Error, Kind, Score};
use crate::gateway::{EVALUATORS, Explained, Gateway, Said, Subject};

/// The longest comment, bytes.
const LONGEST_COMMENT: usize = 10_000;

/// The body of feedback.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    decision_id: Option<String>,
    response_id: Option<String>,
    #[serde(alias = "value")]
    score: Option<Value>,
    comment: Option<String>,
    channel: Option<String>,
    #[serde(alias = "key")]
    idempotency_key: Option<String>,
}

/// Writes feedback down.
pub(super) async fn feedback(
    State(gateway): State<Arc<Gateway>>,
    request: Request<Body>,
) -> Result<Json<Value>, Failed> {
    let (parts, caller, body) = intake::json_body(&gateway, request).await?;
    let wire: Wire = intake::parse(&body)?;
    let header = parts.headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    let receipt = gateway.feedback(&caller, read(wire, header)?).await?;
    Ok(Json(json!({
        "object": "feedback",
        "decision_id": receipt.decision,
        "offset": receipt.offset,
        "repeated": receipt.repeated,
    })))
}

fn read(wire: Wire, header: Option<String>) -> Result<Said, Error> {
    let subject = match (wire.decision_id, wire.response_id) {
        (Some(id), None) => Subject::Decision(decision(&id)?),
        (None, Some(id)) if !id.is_empty() => Subject::Response(id),
        _ => {
            let message = "name the answer by `decision_id` (the header x-pointsman-decision) or by `response_id` \
                           (the answer's `id`), one of them";
            return Err(Error::invalid("decision_id", message));
        }
    };
    let score = match wire.score {
        None => None,
        Some(Value::Bool(good)) => Some(if good { Score::ONE } else { Score::ZERO }),
        Some(other) => {
            let wrong =
                || Error::invalid("score", format!("expected true, false or a number from 0 to 1, got {other}"));
            Some(other.as_f64().and_then(|number| Score::new(number).ok()).ok_or_else(wrong)?)
        }
    };
    if score.is_none() && wire.comment.is_none() {
        return Err(Error::invalid(
            "score",
            "give a `score` (true, false or a number from 0 to 1), a `comment`, or both",
        ));
    }
    if wire.comment.as_ref().is_some_and(|comment| comment.len() > LONGEST_COMMENT) {
        return Err(Error::invalid("comment", format!("a comment may be up to {LONGEST_COMMENT} bytes long")));
    }
    let channel = wire.channel.unwrap_or_else(|| "user".to_owned());
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if channel.is_empty() || channel.len() > 64 || !channel.chars().all(plain) {
        return Err(Error::invalid("channel", "a channel is 1 to 64 letters, digits, `_`, `-` or `.`"));
    }
    if EVALUATORS.contains(&channel.as_str()) {
        let message = format!("`{channel}` is a channel of the built-in evaluators; choose another name");
        return Err(Error::invalid("channel", message));
    }
    let key = wire.idempotency_key.or(header);
    if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > 200) {
        return Err(Error::invalid("idempotency_key", "a key is 1 to 200 bytes long"));
    }
    Ok(Said { subject, channel, score, comment: wire.comment, key })
}

fn decision(id: &str) -> Result<DecisionId, Error> {
    id.parse().map_err(|_| {
        let message = "a decision id is a UUID, as the header x-pointsman-decision gave it";
        Error { param: Some("decision_id".to_owned()), ..Error::new(Kind::NotFound, message) }
    })
}

/// Explains a past decision.
pub(super) async fn explain(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<Explained>, Failed> {
    let caller = intake::caller(&gateway, &headers)?;
    Ok(Json(gateway.explain(&caller, decision(&id)?).await?))
}
