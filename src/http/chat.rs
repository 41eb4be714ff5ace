//! `POST /v1/chat/completions`, `POST /v1/completions`, and the dry run `POST /v1/route`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Request, header};
use axum::response::{IntoResponse, Response};

use super::errors::Failed;
use super::{headers, intake};
use crate::chat::{ChatRequest, Endpoint};
use crate::gateway::{Gateway, Incoming, Served};

/// Chat completions.
pub(super) async fn chat(State(gateway): State<Arc<Gateway>>, request: Request<Body>) -> Result<Response, Failed> {
    complete(&gateway, Endpoint::ChatCompletions, request).await
}

/// Legacy completions.
pub(super) async fn completions(
    State(gateway): State<Arc<Gateway>>,
    request: Request<Body>,
) -> Result<Response, Failed> {
    complete(&gateway, Endpoint::Completions, request).await
}

async fn complete(gateway: &Arc<Gateway>, endpoint: Endpoint, request: Request<Body>) -> Result<Response, Failed> {
    let (parts, caller, body) = intake::json_body(gateway, request).await?;
    let arrived = gateway.clock().monotonic();
    let request = ChatRequest::parse(endpoint, body)?;
    let wishes = intake::wishes(&parts.headers, &request.view.metadata)?;
    let control = intake::control(&parts.headers);
    let served = gateway.handle(Incoming { caller, request, wishes, control, arrived }).await?;
    Ok(respond(served))
}

fn respond(served: Served) -> Response {
    let Served { facts, stream, body } = served;
    let mut response = Response::new(Body::new(body));
    let head = response.headers_mut();
    headers::tell(head, &facts);
    if stream {
        head.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
        head.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // Proxies in front are asked to pass events on as they come.
        head.insert("x-accel-buffering", HeaderValue::from_static("no"));
    } else {
        head.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

/// What would be done with a chat body, and why. Calls nobody, writes nothing down.
pub(super) async fn route(State(gateway): State<Arc<Gateway>>, request: Request<Body>) -> Result<Response, Failed> {
    let (parts, caller, body) = intake::json_body(&gateway, request).await?;
    let request = ChatRequest::parse(Endpoint::ChatCompletions, body)?;
    let wishes = intake::wishes(&parts.headers, &request.view.metadata)?;
    Ok(Json(gateway.dry_run(&caller, &request, &wishes).await?).into_response())
}
