//! `POST /v1/cache/report`: an answer from memory was wrong.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use serde::Deserialize;
use serde_json::{Value, json};

use super::errors::Failed;
use super::intake;
use crate::gateway::Gateway;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    id: String,
}

/// Forgets the answer; the next such request calls a model.
pub(super) async fn report(State(gateway): State<Arc<Gateway>>, request: Request<Body>) -> Result<Json<Value>, Failed> {
    let (_, caller, body) = intake::json_body(&gateway, request).await?;
    let wire: Wire = intake::parse(&body)?;
    gateway.report(&caller, &wire.id)?;
    Ok(Json(json!({ "object": "cache.report", "id": wire.id, "forgotten": true })))
}
