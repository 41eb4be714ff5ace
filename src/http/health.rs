//! `GET /health`, `GET /ready`, `GET /metrics`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::gateway::Gateway;
use crate::telemetry;

/// Namespaces of the cache whose bound is told.
const NAMESPACES: usize = 20;

/// The process answers.
pub(super) async fn health() -> Json<serde_json::Value> {
    Json(json!({"status": "ok"}))
}

/// It takes requests. A missing encoder does not make it unready: requests are decided on the lexical context.
pub(super) async fn ready(State(gateway): State<Arc<Gateway>>) -> Response {
    let live = gateway.live();
    let problem = if gateway.admission().is_closed() {
        Some("shutting down")
    } else if live.catalog.deployments.is_empty() {
        Some("no deployment is configured")
    } else {
        None
    };
    let status = if problem.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": problem.map_or("ready", |_| "not ready"),
        "reason": problem,
        "deployments": live.catalog.deployments.len(),
        "policy": live.policy.version(),
        "encoder": gateway.embedder().status(),
        "in_flight": gateway.admission().in_flight(),
    });
    (status, Json(body)).into_response()
}

/// Everything that is counted, in Prometheus' text form.
pub(super) async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    let age = gateway.clock().now().since(gateway.published());
    metrics::gauge!(telemetry::SNAPSHOT_AGE_SECONDS).set(age.as_secs_f64());
    metrics::counter!(telemetry::EVENTS_SHED).absolute(gateway.ledger().shed());
    for space in gateway.cache().portraits(None).into_iter().take(NAMESPACES) {
        let name = space.namespace[..12].to_owned();
        metrics::gauge!(telemetry::CACHE_WRONG_BOUND, "namespace" => name, "state" => space.standing.state.name())
            .set(space.bound);
    }
    gateway.live().budgets.tell(gateway.clock().now());
    metrics::gauge!(telemetry::CACHE_BYTES).set(gateway.cache().size().0 as f64);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], telemetry::render()).into_response()
}
