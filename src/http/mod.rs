//! The face: OpenAI's routes and a few of our own, JSON errors for everything that goes wrong, and the server loop.
//!
//! | route | what |
//! |---|---|
//! | `POST /v1/chat/completions`, `POST /v1/completions` | an answer, whole or streamed |
//! | `POST /v1/embeddings` | vectors of the local encoder, or of a deployment |
//! | `GET /v1/models`, `GET /v1/models/{id}` | what `model` may be |
//! | `POST /v1/route` | which deployment a chat body would go to, and why; calls nobody |
//! | `POST /v1/feedback` | how good an answer was |
//! | `POST /v1/cache/report` | an answer from memory was wrong: it is forgotten |
//! | `POST /v1/cache/purge` | answers from memory are forgotten: by id, namespace, tag, model, time, or all |
//! | `GET /v1/cache` | how far each namespace of the semantic cache is trusted, and on what evidence |
//! | `GET /v1/decisions/{id}` | what was decided for a request, and what came of it |
//! | `GET /health`, `GET /ready`, `GET /metrics` | for those who look after it |
//!
//! `http` sees the rest of the house through one `Arc<Gateway>`. Every response carries `x-request-id`, the caller's
//! own if it sent one. A panic in a handler is a JSON 500, and the record of its request ends it.

mod cache;
mod chat;
mod embeddings;
mod errors;
mod feedback;
mod headers;
mod health;
mod intake;
mod models;
mod serve;

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, Any as AnyHeader, CorsLayer};
use tracing::Instrument;

pub use embeddings::LOCAL_MODEL;
pub use serve::serve;

use crate::base::problem::Problem;
use crate::base::{Error, Kind};
use crate::gateway::Gateway;
use crate::telemetry;
use errors::Failed;
use headers::REQUEST_ID;

/// The face's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Origins whose pages may call from a browser, or `"*"`; none = no cross-origin calls.
    pub cors_origins: Vec<String>,
}

impl Config {
    /// What is wrong with it.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let bad = self.cors_origins.iter().enumerate().filter(|(_, origin)| {
            *origin != "*"
                && (HeaderValue::try_from(*origin).is_err() || !origin.contains("://") || origin.ends_with('/'))
        });
        bad.map(|(index, origin)| {
            let allowed = "an origin such as `https://example.com`, without a path, or `*`";
            Problem::new(format!("cors_origins[{index}]"), format!("`{origin}`"), allowed)
        })
        .collect()
    }
}

/// All routes, without cross-origin calls.
pub fn router(gateway: Arc<Gateway>) -> Router {
    router_with(gateway, &Config::default())
}

/// All routes.
pub fn router_with(gateway: Arc<Gateway>, config: &Config) -> Router {
    telemetry::metrics();
    let router = Router::new()
        .route("/v1/chat/completions", post(chat::chat))
        .route("/v1/completions", post(chat::completions))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/v1/route", post(chat::route))
        .route("/v1/feedback", post(feedback::feedback))
        .route("/v1/cache/report", post(cache::report))
        .route("/v1/cache/purge", post(cache::purge))
        .route("/v1/cache", get(cache::show))
        .route("/v1/decisions/{id}", get(feedback::explain))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(rim));
    let router = if config.cors_origins.is_empty() { router } else { router.layer(cors(&config.cors_origins)) };
    router.with_state(gateway)
}

fn cors(origins: &[String]) -> CorsLayer {
    let origins = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::try_from(origin).ok()))
    };
    let layer = CorsLayer::new().allow_origin(origins).allow_methods([Method::GET, Method::POST]);
    layer.allow_headers(AnyHeader).expose_headers(AnyHeader)
}

async fn no_route(method: Method, uri: Uri) -> Failed {
    let path: String = uri.path().chars().take(200).collect();
    Error::new(Kind::NotFound, format!("there is no route `{method} {path}`; see the README for those there are"))
        .into()
}

async fn no_method(method: Method, uri: Uri) -> Failed {
    let message = format!("`{}` does not take {method}", uri.path());
    Failed::with_status(Error::new(Kind::InvalidRequest, message), StatusCode::METHOD_NOT_ALLOWED)
}

#[expect(clippy::needless_pass_by_value, reason = "tower-http hands the panic over by value")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(panic = said, "a handler panicked");
    metrics::counter!(telemetry::PANICS).increment(1);
    Failed::from(Error::new(Kind::Internal, "a fault in Pointsman; its log says more under this request's id"))
        .into_response()
}

/// Around every request: its id, its span, one line when its reply begins.
async fn rim(mut request: Request<Body>, next: Next) -> Response {
    let own = request.headers().get(REQUEST_ID).filter(|id| acceptable(id)).cloned();
    let id = own.unwrap_or_else(made_id);
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let method = request.method().clone();
    // Only known routes are named: a path may hold anything.
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default(), %method);
    let mut response = next.run(request).instrument(span.clone()).await;
    let decision = response.headers().get("x-pointsman-decision").and_then(|id| id.to_str().ok()).unwrap_or_default();
    tracing::info!(parent: &span, status = response.status().as_u16(), decision, "replied");
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// An id that a caller may choose: visible ASCII, up to 200 characters.
fn acceptable(id: &HeaderValue) -> bool {
    let bytes = id.as_bytes();
    !bytes.is_empty() && bytes.len() <= 200 && bytes.iter().all(u8::is_ascii_graphic)
}

#[expect(clippy::expect_used, reason = "a UUID's text is visible ASCII")]
fn made_id() -> HeaderValue {
    HeaderValue::try_from(format!("req_{}", uuid::Uuid::now_v7().simple())).expect("visible ASCII")
}
