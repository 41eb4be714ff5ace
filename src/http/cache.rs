//! `POST /v1/cache/report`: an answer from memory was wrong. `GET /v1/cache`: how far each namespace is trusted.
//! `POST /v1/cache/purge`: answers are forgotten. Each for the caller's own tenant alone.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use super::errors::Failed;
use super::intake;
use crate::cache::Purge;
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
    gateway.report(&caller, &wire.id).await?;
    Ok(Json(json!({ "object": "cache.report", "id": wire.id, "forgotten": true })))
}

/// What is known of the caller's namespaces.
pub(super) async fn show(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Json<Value>, Failed> {
    let caller = intake::caller(&gateway, &headers)?;
    let config = gateway.cache().config();
    Ok(Json(json!({
        "object": "cache",
        "max_wrong": config.semantic.max_wrong,
        "min_labels": config.semantic.min_labels,
        "judge": config.semantic.judge,
        "judge_share": config.semantic.judge_share,
        "on_disk": config.key.is_some(),
        "namespaces": gateway.namespaces(&caller),
    })))
}

/// Forgets answers.
pub(super) async fn purge(State(gateway): State<Arc<Gateway>>, request: Request<Body>) -> Result<Json<Value>, Failed> {
    let (_, caller, body) = intake::json_body(&gateway, request).await?;
    let what: Purge = intake::parse(&body)?;
    let forgotten = gateway.purge(&caller, &what).await?;
    Ok(Json(json!({ "object": "cache.purge", "purged": what, "forgotten": forgotten })))
}
