//! The simulated providers' HTTP face: `/v1/chat/completions`, streamed or not, and `/v1/models`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::{Content, content};
use super::{Outcome, Provider, Truth, chance, tokens};

/// A simulated provider that is up.
#[derive(Clone, Debug)]
pub struct Served {
    /// Which one.
    pub provider: Provider,
    /// Where it is, up to and including the version: `http://127.0.0.1:40123/v1`.
    pub base_url: String,
}

/// Starts a server for every provider, each on a free port of this machine, until `stop` is cancelled.
///
/// # Errors
/// If no port is to be had.
pub async fn serve(
    truth: Arc<dyn Truth>,
    seed: u64,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> std::io::Result<Vec<Served>> {
    let mut served = Vec::new();
    for provider in truth.providers().to_vec() {
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let base_url = format!("http://{}/v1", listener.local_addr()?);
        // Without it a stream stalls for 40 ms in the kernel. A socket on which it cannot be set is merely slower.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let face = Arc::new(Face { truth: truth.clone(), provider: provider.clone(), seed, calls: AtomicU64::new(0) });
        let routes =
            Router::new().route("/v1/chat/completions", post(chat)).route("/v1/models", get(models)).with_state(face);
        let stopped = stop.clone().cancelled_owned();
        tasks.spawn(async move { axum::serve(listener, routes).with_graceful_shutdown(stopped).await });
        served.push(Served { provider, base_url });
    }
    Ok(served)
}

struct Face {
    truth: Arc<dyn Truth>,
    provider: Provider,
    seed: u64,
    calls: AtomicU64,
}

async fn models(State(face): State<Arc<Face>>) -> Json<Value> {
    let data: Vec<Value> = face
        .provider
        .models
        .iter()
        .map(|model| json!({ "id": model, "object": "model", "created": 0, "owned_by": face.provider.name }))
        .collect();
    Json(json!({ "object": "list", "data": data }))
}

async fn chat(State(face): State<Arc<Face>>, body: Bytes) -> Response {
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        return error(StatusCode::BAD_REQUEST, "the body is not JSON", None);
    };
    let model = request.get("model").and_then(Value::as_str).unwrap_or_default();
    let prompt = last_user_text(&request);
    let Some(outcome) = face.truth.outcome(model, &prompt) else {
        return error(StatusCode::NOT_FOUND, "this simulated provider knows nothing of that model and prompt", None);
    };
    // A fault strikes a call, not a prompt: the next try of the same request may well succeed.
    let call = face.calls.fetch_add(1, Ordering::Relaxed);
    let fate = chance(face.seed, &["fault", &face.provider.name, &call.to_string()]);
    let faults = &face.provider.faults;
    if fate < faults.rate_limited {
        return error(StatusCode::TOO_MANY_REQUESTS, "simulated: too many requests", Some(1));
    }
    if fate < faults.rate_limited + faults.broken {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "simulated: out of order", None);
    }
    let delay = if fate < faults.rate_limited + faults.broken + faults.slow { faults.delay } else { Duration::ZERO };
    let id = format!("chatcmpl-sim-{}-{call}", face.provider.name);
    let answer = Answer { id, model: model.to_owned(), request: &request, prompt: &prompt, outcome };
    if request.get("stream").and_then(Value::as_bool) == Some(true) {
        answer.stream(delay)
    } else {
        tokio::time::sleep(delay + outcome.total).await;
        Json(answer.whole()).into_response()
    }
}

fn error(status: StatusCode, message: &str, retry_after_seconds: Option<u16>) -> Response {
    let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
    let body = json!({ "error": { "message": message, "type": kind, "param": null, "code": null } });
    let mut response = (status, Json(body)).into_response();
    if let Some(seconds) = retry_after_seconds {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The text of the last user message.
fn last_user_text(request: &Value) -> String {
    let messages = request.get("messages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let user = messages.iter().rev().find(|message| message.get("role").and_then(Value::as_str) == Some("user"));
    user.map(text_of).unwrap_or_default()
}

fn text_of(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

/// An answer that can be given whole or in pieces.
struct Answer<'a> {
    id: String,
    model: String,
    request: &'a Value,
    prompt: &'a str,
    outcome: Outcome,
}

impl Answer<'_> {
    fn usage(&self) -> Value {
        let messages = self.request.get("messages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let prompt: u64 = messages.iter().map(|message| tokens(&text_of(message))).sum();
        let completion = self.outcome.completion_tokens;
        let mut usage = json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        });
        if let Some(cost) = self.outcome.cost_usd {
            usage["cost"] = json!(cost);
        }
        usage
    }

    /// What a judge may know, and a router must not.
    fn grade(&self) -> Value {
        json!({ "score": self.outcome.score, "right": self.outcome.score >= 0.5 })
    }

    fn content(&self) -> Content {
        content(self.request, &self.model, self.prompt, self.outcome.completion_tokens)
    }

    fn whole(&self) -> Value {
        let (message, reason) = match self.content() {
            Content::Text(text) => (json!({ "role": "assistant", "content": text }), "stop"),
            Content::Call(name, arguments) => {
                let call = json!({
                    "id": format!("call-{}", self.id),
                    "type": "function",
                    "function": { "name": name, "arguments": arguments },
                });
                (json!({ "role": "assistant", "content": null, "tool_calls": [call] }), "tool_calls")
            }
        };
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": 0,
            "model": self.model,
            "choices": [{ "index": 0, "message": message, "finish_reason": reason }],
            "usage": self.usage(),
            "simulated": self.grade(),
        })
    }

    /// Server-sent events at the pace of the outcome: a role, about eight pieces, the end, the usage if it is asked
    /// for, `[DONE]`.
    fn stream(&self, delay: Duration) -> Response {
        const PIECES: usize = 8;
        let chunk = |delta: Value, reason: Option<&str>| {
            json!({
                "id": self.id,
                "object": "chat.completion.chunk",
                "created": 0,
                "model": self.model,
                "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }],
            })
        };
        let (deltas, reason) = match self.content() {
            Content::Text(text) => {
                let characters: Vec<char> = text.chars().collect();
                let pieces = characters.chunks(characters.len().div_ceil(PIECES).max(1));
                (pieces.map(|piece| json!({ "content": piece.iter().collect::<String>() })).collect(), "stop")
            }
            Content::Call(name, arguments) => {
                let function = json!({ "name": name, "arguments": "" });
                let id = format!("call-{}", self.id);
                let head = json!({ "index": 0, "id": id, "type": "function", "function": function });
                let body = json!({ "index": 0, "function": { "arguments": arguments } });
                (vec![json!({ "tool_calls": [head] }), json!({ "tool_calls": [body] })], "tool_calls")
            }
        };
        let between = self.outcome.total.saturating_sub(self.outcome.first_token) / deltas.len().max(1) as u32;
        let at_once = Duration::ZERO;
        let mut events = vec![(at_once, chunk(json!({ "role": "assistant", "content": "" }), None))];
        for (index, delta) in deltas.into_iter().enumerate() {
            let pause = if index == 0 { delay + self.outcome.first_token } else { between };
            events.push((pause, chunk(delta, None)));
        }
        let mut last = chunk(json!({}), Some(reason));
        last["simulated"] = self.grade();
        events.push((between, last));
        if self.request.pointer("/stream_options/include_usage").and_then(Value::as_bool) == Some(true) {
            let mut usage = chunk(json!({}), None);
            usage["choices"] = json!([]);
            usage["usage"] = self.usage();
            events.push((at_once, usage));
        }
        let bytes = events.into_iter().map(|(pause, event)| (pause, Bytes::from(format!("data: {event}\n\n"))));
        let done = (at_once, Bytes::from_static(b"data: [DONE]\n\n"));
        let stream = futures::stream::iter(bytes.chain([done])).then(async |(pause, bytes)| {
            tokio::time::sleep(pause).await;
            Ok::<_, Infallible>(bytes)
        });
        ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream)).into_response()
    }
}
