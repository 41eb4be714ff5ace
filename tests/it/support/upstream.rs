//! A provider on loopback that fails in every way providers fail. The way is the first part of the path, so one
//! server plays them all: `http://127.0.0.1:PORT/cut-after-content` is a base URL.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt;
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Usage that every good answer reports.
pub(crate) const USAGE: (u64, u64) = (11, 2);

/// A call that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The way of failing it asked for.
    pub(crate) way: String,
    pub(crate) at: Instant,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The provider: its address, and what it saw.
#[derive(Clone, Default)]
pub(crate) struct Upstream {
    pub(crate) address: String,
    calls: Arc<Mutex<Vec<Call>>>,
    /// How many connections were made to it.
    pub(crate) connections: Arc<AtomicUsize>,
    /// Rung whenever an answer was dropped before its end.
    pub(crate) dropped: Arc<Notify>,
}

impl Upstream {
    /// Starts it on a free port.
    #[expect(clippy::disallowed_methods, reason = "it serves until the test's runtime ends")]
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let upstream = Self { address, ..Self::default() };
        let routes = Router::new()
            .route("/{way}/chat/completions", post(answer))
            .route("/{way}/completions", post(answer))
            .with_state(upstream.clone());
        let connections = upstream.connections.clone();
        let listener = listener.tap_io(move |io| {
            connections.fetch_add(1, Ordering::Relaxed);
            io.set_nodelay(true).expect("a socket");
        });
        tokio::spawn(async move { axum::serve(listener, routes).await });
        upstream
    }

    /// The calls that asked for this way, in order.
    pub(crate) fn calls(&self, way: &str) -> Vec<Call> {
        self.calls.lock().iter().filter(|call| call.way == way).cloned().collect()
    }
}

/// Every way there is, for streams and whole answers alike.
pub(crate) const WAYS: [&str; 24] = [
    "good",
    "429",
    "429-retry-after",
    "500",
    "529",
    "400",
    "401",
    "404",
    "context-length",
    "content-policy",
    "redirect",
    "refused",
    "hang-before-head",
    "hang-after-head",
    "only-pings",
    "hang-after-content",
    "cut-before-content",
    "cut-after-content",
    "end-without-done",
    "malformed-chunk",
    "not-sse",
    "error-before-content",
    "error-after-content",
    "huge-event",
];

/// Says so when it is dropped before it was told to be quiet.
struct Bell(Arc<Notify>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[derive(serde::Deserialize)]
struct Asked {
    stream: Option<bool>,
    stream_options: Option<serde::de::IgnoredAny>,
}

async fn answer(
    State(upstream): State<Upstream>,
    Path(path): Path<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let way = path["way"].clone();
    let earlier = upstream.calls(&way).len();
    upstream.calls.lock().push(Call { way: way.clone(), at: Instant::now(), headers, body: body.clone() });
    let asked: Asked = serde_json::from_slice(&body).expect("what arrives upstream is JSON");
    let stream = asked.stream.unwrap_or(false);
    let error = |status: u16, code: &str, message: &str| {
        let body = json!({"error": {"message": message, "type": code, "code": code}}).to_string();
        (StatusCode::from_u16(status).expect("a status"), [("content-type", "application/json")], body).into_response()
    };
    match way.as_str() {
        "no-stream-options" if asked.stream_options.is_some() => {
            let body = r#"{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"]}]}"#;
            (StatusCode::UNPROCESSABLE_ENTITY, [("content-type", "application/json")], body).into_response()
        }
        "429" => error(429, "rate_limit_exceeded", "slow down"),
        "429-retry-after" => with_header(error(429, "rate_limit_exceeded", "slow down"), "retry-after", "7"),
        // Asks for 100 ms, then for 250 ms, then answers.
        "429-escalating" if earlier == 0 => with_header(error(429, "rate_limit_exceeded", ""), "retry-after-ms", "100"),
        "429-escalating" if earlier == 1 => with_header(error(429, "rate_limit_exceeded", ""), "retry-after-ms", "250"),
        "500" => error(500, "server_error", "broken"),
        "500-once" if earlier == 0 => error(500, "server_error", "broken"),
        "529" => error(529, "overloaded_error", "overloaded"),
        "400" => error(400, "invalid_request_error", "`temperature` is too high"),
        "401" => error(401, "invalid_api_key", "Incorrect API key provided: sk-secret"),
        "404" => error(404, "model_not_found", "no such model"),
        "context-length" => error(400, "context_length_exceeded", "the prompt is too long"),
        "content-policy" => error(400, "content_policy_violation", "refused"),
        "redirect" => with_header(StatusCode::TEMPORARY_REDIRECT.into_response(), "location", "/good/chat/completions"),
        "hang-before-head" => std::future::pending().await,
        way => serve(way, stream, &upstream),
    }
}

fn with_header(mut response: Response, name: &'static str, value: &'static str) -> Response {
    response.headers_mut().insert(name, value.parse().expect("a header value"));
    response
}

enum Step {
    Say(String),
    Wait(Duration),
    Break,
    Hang,
}
use Step::{Break, Hang, Say, Wait};

fn event(value: &Value) -> Step {
    Say(format!("data: {value}\n\n"))
}

fn serve(way: &str, stream: bool, upstream: &Upstream) -> Response {
    let (prompt, completion) = USAGE;
    let usage = json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion});
    let chunk = |delta: Value, finish: Value| {
        event(&json!({"id": "up-1", "object": "chat.completion.chunk", "model": "up-model", "x_unknown": 1e2,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
    };
    let role = || chunk(json!({"role": "assistant", "content": ""}), Value::Null);
    let text = |text: &str| chunk(json!({"content": text}), Value::Null);
    let stop = || chunk(json!({}), json!("stop"));
    let fail = || event(&json!({"error": {"message": "overloaded", "type": "overloaded_error"}}));
    let ping = || Say(": ping\n\n".to_owned());
    let whole = json!({"id": "up-1", "object": "chat.completion", "model": "up-model", "x_unknown": 1e2,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": usage})
    .to_string();
    let half = || Say(whole[..whole.len() / 2].to_owned());
    let pings = || (0..1000).flat_map(|_| [ping(), Wait(Duration::from_millis(10))]).collect::<Vec<_>>();
    let steps = match (way, stream) {
        ("hang-after-head", true) => vec![role(), Hang],
        ("hang-after-head", false) => vec![half(), Hang],
        ("only-pings", true) => pings(),
        ("only-pings", false) => {
            (0..1000).flat_map(|_| [Say(" ".to_owned()), Wait(Duration::from_millis(10))]).collect()
        }
        ("hang-after-content", true) => vec![role(), text("Hel"), Hang],
        ("hang-after-content", false) => vec![Say(whole[..whole.len() - 1].to_owned()), Hang],
        ("cut-before-content", true) => vec![role(), Wait(Duration::from_millis(50)), Break],
        ("cut-before-content", false) => vec![Say(" ".to_owned()), Wait(Duration::from_millis(50)), Break],
        ("cut-after-content", true) => vec![role(), text("Hel"), Wait(Duration::from_millis(50)), Break],
        ("cut-after-content", false) => vec![half(), Wait(Duration::from_millis(50)), Break],
        ("end-without-done", true) => vec![role(), text("Hel")],
        ("end-without-done", false) => vec![half()],
        ("malformed-chunk", true) => vec![role(), Say("data: {\"choices\":[{\"del\n\n".to_owned()), text("lo"), stop()],
        ("malformed-chunk", false) => vec![Say(format!("{whole}}}{{"))],
        ("not-sse", true) => vec![Say("<html>\n\nIt works!\n\n</html>\n\n".to_owned())],
        ("not-sse", false) => vec![Say("<html>It works!</html>".to_owned())],
        ("error-before-content", true) => vec![role(), fail()],
        ("error-before-content" | "error-after-content", false) => {
            vec![Say(json!({"error": {"message": "overloaded", "type": "overloaded_error"}}).to_string())]
        }
        ("error-after-content", true) => vec![role(), text("Hel"), Wait(Duration::from_millis(50)), fail()],
        ("huge-event", true) => {
            let filler = || Say("x".repeat(1 << 20));
            std::iter::once(Say("data: ".to_owned())).chain((0..6).map(|_| filler())).collect()
        }
        ("huge-event", false) => (0..6).map(|_| Say(" ".repeat(1 << 20))).collect(),
        ("slow", true) => {
            let pause = || Wait(Duration::from_millis(20));
            vec![ping(), role(), pause(), text("Hel"), pause(), ping(), text("lo"), pause(), stop(), done()]
        }
        ("no-stream-options", true) => vec![role(), text("Hel"), text("lo"), stop(), done()],
        (_, true) => {
            let usage = event(&json!({"id": "up-1", "model": "up-model", "choices": [], "usage": usage}));
            vec![role(), text("Hel"), text("lo"), stop(), usage, done()]
        }
        (_, false) => vec![Say(whole)],
    };
    let kind = if stream { "text/event-stream" } else { "application/json" };
    let bell = Bell(upstream.dropped.clone());
    let body = futures::stream::unfold((steps.into_iter(), bell), |(mut steps, bell)| async {
        loop {
            let Some(step) = steps.next() else {
                // It ends by itself: nobody hung up.
                std::mem::forget(bell);
                return None;
            };
            match step {
                Say(text) => return Some((Ok(text), (steps, bell))),
                Wait(pause) => tokio::time::sleep(pause).await,
                Break => return Some((Err(std::io::Error::other("broken off")), (steps, bell))),
                Hang => std::future::pending().await,
            }
        }
    });
    let headers = [("content-type", kind), ("x-request-id", "req-up")];
    (headers, Body::from_stream(body.boxed())).into_response()
}

fn done() -> Step {
    Say("data: [DONE]\n\n".to_owned())
}
