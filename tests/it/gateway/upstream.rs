//! A provider that does what it is told, over real TCP, and remembers what it was asked.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response};
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

/// What it does with a request.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Answers JSON with this status and these headers.
    Json(u16, Vec<(&'static str, String)>, String),
    /// Streams these pieces; `None` waits until [`Upstream::go_on`].
    Stream(Vec<Option<String>>),
    /// Never answers.
    Hang,
    /// Does what this makes of the request's body.
    By(fn(&[u8]) -> Act),
}

/// What it was asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

#[derive(Clone)]
pub(super) struct Upstream(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    usual: Mutex<Act>,
    next: Mutex<VecDeque<Act>>,
    asked: Mutex<Vec<Asked>>,
    count: watch::Sender<usize>,
    go_on: Notify,
    streams: AtomicUsize,
    dropped: Notify,
}

/// Counts a stream as long as somebody reads it.
struct Reading(Arc<Inner>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::SeqCst);
        self.0.dropped.notify_waiters();
    }
}

impl Upstream {
    pub(super) async fn start(usual: Act) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let inner = Arc::new(Inner {
            address: listener.local_addr().expect("bound"),
            usual: Mutex::new(usual),
            next: Mutex::default(),
            asked: Mutex::default(),
            count: watch::Sender::new(0),
            go_on: Notify::new(),
            streams: AtomicUsize::new(0),
            dropped: Notify::new(),
        });
        let router = Router::new().fallback(answer).with_state(inner.clone());
        let mut server = tokio::task::JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await });
        // It lives as long as the test's runtime.
        server.detach_all();
        Self(inner)
    }

    pub(super) fn base_url(&self) -> String {
        format!("http://{}/v1", self.0.address)
    }

    /// What it does from now on.
    pub(super) fn usually(&self, act: Act) {
        *self.0.usual.lock() = act;
    }

    /// What it does with the next request, and only with that.
    pub(super) fn next(&self, act: Act) {
        self.0.next.lock().push_back(act);
    }

    /// Everything it was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.0.asked.lock().clone()
    }

    /// Waits until it was asked so often.
    pub(super) async fn was_asked(&self, times: usize) {
        let mut count = self.0.count.subscribe();
        count.wait_for(|count| *count >= times).await.expect("the server lives");
    }

    /// Lets waiting streams go on.
    pub(super) fn go_on(&self) {
        self.0.go_on.notify_one();
    }

    /// Waits until nobody reads a stream of it any more.
    pub(super) async fn abandoned(&self) {
        loop {
            let dropped = self.0.dropped.notified();
            if self.0.streams.load(Ordering::SeqCst) == 0 {
                return;
            }
            dropped.await;
        }
    }
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
    let act = inner.next.lock().pop_front().unwrap_or_else(|| inner.usual.lock().clone());
    let act = if let Act::By(rule) = act { rule(&body) } else { act };
    inner.asked.lock().push(Asked { path: parts.uri.path().to_owned(), headers: parts.headers, body });
    inner.count.send_modify(|count| *count += 1);
    match act {
        Act::Json(status, headers, body) => {
            let mut response = Response::builder().status(status).header("content-type", "application/json");
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(Body::from(body)).expect("a response")
        }
        Act::Stream(pieces) => {
            inner.streams.fetch_add(1, Ordering::SeqCst);
            let reading = Arc::new(Reading(inner.clone()));
            let stream = futures::stream::iter(pieces).filter_map(move |piece| {
                let (reading, inner) = (reading.clone(), inner.clone());
                async move {
                    let _reading = reading;
                    if piece.is_none() {
                        inner.go_on.notified().await;
                    }
                    piece.map(|piece| Ok::<_, Infallible>(Bytes::from(piece)))
                }
            });
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(Body::from_stream(stream))
                .expect("a response")
        }
        // A rule that makes another rule is none.
        Act::Hang | Act::By(_) => std::future::pending().await,
    }
}

/// A whole chat answer with unknown fields, as a provider writes it.
pub(super) fn whole(text: &str) -> Act {
    Act::Json(200, vec![("x-request-id", "up-1".into())], whole_body(text))
}

pub(super) fn whole_body(text: &str) -> String {
    let text = serde_json::Value::from(text);
    format!(
        "{{ \"id\":\"cmpl-7\",\"object\":\"chat.completion\", \"created\": 1700000000,\"model\":\"up-a-2026\",\
         \"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":{text},\"future\":[1e400,\"\\u00e9\"]}},\
         \"logprobs\":null,\"finish_reason\":\"stop\"}}],\
         \"usage\":{{\"prompt_tokens\":9,\"completion_tokens\":4,\"total_tokens\":13}},\"system_fingerprint\":\"fp_1\",\
         \"novel\":{{\"z\":1,\"a\":12345678901234567890123}}}}"
    )
}

/// The events of a streamed chat answer: role, the pieces, the end, usage, `[DONE]`.
pub(super) fn events(pieces: &[&str]) -> Vec<String> {
    let chunk = |rest: String| {
        format!(
            "data: {{\"id\":\"cmpl-8\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
             \"model\":\"up-a-2026\",\"novel\":1,{rest}}}\n\n"
        )
    };
    let choice = |delta: &str, end: &str| {
        chunk(format!("\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{end}}}],\"usage\":null"))
    };
    let mut events = vec![choice(r#"{"role":"assistant","content":""}"#, "null")];
    for piece in pieces {
        events.push(choice(&format!("{{\"content\":{}}}", serde_json::Value::from(*piece)), "null"));
    }
    events.push(choice("{}", "\"stop\""));
    let usage = r#""choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}"#;
    events.push(chunk(usage.to_owned()));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// The same as an act.
pub(super) fn stream(pieces: &[&str]) -> Act {
    Act::Stream(events(pieces).into_iter().map(Some).collect())
}
