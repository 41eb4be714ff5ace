//! A gateway with everything behind it: a scripted provider, a ledger in memory, no encoder.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use pointsman::admission::{self, Admission};
use pointsman::base::{Clock, Digest, Secret, SystemClock};
use pointsman::cache::{self, Cache};
use pointsman::catalog::{Capability, Catalog, Deployment, Price};
use pointsman::dispatch::{self, Dispatcher};
use pointsman::embed::{Embedder, Lexical};
use pointsman::features::Extractor;
use pointsman::gateway::{self, Gateway, Live, Parts};
use pointsman::ledger::{Completed, Decided, Event, Feedback, Ledger, MemoryLedger};
use pointsman::policy::{self, Policy};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use tower::ServiceExt;

use super::upstream::{Act, Upstream};

pub(super) struct House {
    pub(super) gateway: Arc<Gateway>,
    pub(super) ledger: Arc<MemoryLedger>,
    pub(super) router: Router,
    pub(super) upstream: Upstream,
}

/// What a test may want to be different.
pub(super) struct Plans {
    pub(super) admission: admission::Config,
    pub(super) cache: cache::Config,
    pub(super) embedder: Arc<dyn Embedder>,
    pub(super) policy: Option<Arc<dyn Policy>>,
    pub(super) gateway: gateway::Config,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) change: fn(&mut Vec<Deployment>),
}

impl Default for Plans {
    fn default() -> Self {
        Self {
            admission: admission::Config::default(),
            cache: cache::Config::default(),
            embedder: Arc::new(Lexical),
            policy: None,
            gateway: gateway::Config::default(),
            clock: Arc::new(SystemClock::new()),
            change: |_| {},
        }
    }
}

/// A reply, read whole.
#[derive(Debug)]
pub(super) struct Replied {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Replied {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("visible ASCII"))
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }
}

pub(super) fn deployment(name: &str, base_url: &str, input: f64) -> Deployment {
    Deployment {
        id: format!("{name}@here").into(),
        model: name.into(),
        provider: "here".into(),
        upstream_model: format!("up-{name}"),
        base_url: base_url.to_owned(),
        key: Some(Secret::new("provider-secret")),
        headers: BTreeMap::new(),
        price: Some(Price { input, output: 4.0 * input, cached_input: None, cache_write: None, reasoning: None }),
        capabilities: vec![
            Capability::Tools,
            Capability::JsonMode,
            Capability::JsonSchema,
            Capability::Logprobs,
            Capability::ManyChoices,
            Capability::LegacyCompletions,
        ],
        context_window: Some(10_000),
        max_output: Some(5_000),
        weight: 1.0,
        tags: vec![],
        auto: true,
        like: None,
    }
}

impl House {
    pub(super) async fn new(usual: Act) -> Self {
        Self::with(usual, Plans::default()).await
    }

    /// Models `a` (cheap) and `b` (dear), an alias `both`.
    pub(super) async fn with(usual: Act, plans: Plans) -> Self {
        let upstream = Upstream::start(usual).await;
        let clock = plans.clock;
        let ledger = Arc::new(MemoryLedger::new());
        let mut deployments =
            vec![deployment("a", &upstream.base_url(), 1.0), deployment("b", &upstream.base_url(), 10.0)];
        deployments[1].tags = vec!["eu".into()];
        (plans.change)(&mut deployments);
        let aliases = [("both".to_owned(), vec!["a".into(), "b".into()])].into();
        let features = Arc::new(Extractor::new());
        let untaught = || Arc::new(policy::State::new(policy::Config::default(), features.schema().clone()).publish());
        let patient = dispatch::Config { retries: 0, breaker_failures: 1_000, ..dispatch::Config::default() };
        let gateway = Arc::new(Gateway::new(Parts {
            live: Live {
                catalog: Arc::new(Catalog::new(deployments, aliases, None)),
                policy: plans.policy.unwrap_or_else(|| untaught()),
                trial: None,
                features,
                presets: Live::built_in_presets(),
                budgets: Arc::default(),
                guards: Arc::default(),
                config: Digest::of(b"test"),
            },
            admission: Admission::new(&plans.admission),
            cache: Cache::new(plans.cache),
            embedder: plans.embedder,
            dispatcher: Arc::new(Dispatcher::new(patient, Arc::clone(&clock)).expect("TLS")),
            ledger: ledger.clone(),
            clock,
            seed: 7,
            config: plans.gateway,
        }));
        let router = pointsman::http::router(gateway.clone());
        Self { gateway, ledger, router, upstream }
    }

    /// Sends a request through the router, without TCP, and reads the reply whole.
    pub(super) async fn send(&self, request: Request<Body>) -> Replied {
        let response = self.router.clone().oneshot(request).await.expect("a router never fails");
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.expect("a whole body");
        Replied { status: parts.status, headers: parts.headers, body }
    }

    pub(super) async fn post(&self, path: &str, body: impl Into<Body>) -> Replied {
        self.send(post(path, body)).await
    }

    pub(super) async fn get(&self, path: &str) -> Replied {
        self.send(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    pub(super) async fn chat(&self, body: impl Into<Body>) -> Replied {
        self.post("/v1/chat/completions", body).await
    }

    /// Every event so far, after all ended requests are written down.
    pub(super) async fn events(&self) -> Vec<Event> {
        self.gateway.drained().await;
        self.ledger.scan(0, usize::MAX).expect("in memory").into_iter().map(|entry| entry.event).collect()
    }

    pub(super) async fn completed(&self) -> Vec<Completed> {
        let is = |event| if let Event::Completed(event) = event { Some(*event) } else { None };
        self.events().await.into_iter().filter_map(is).collect()
    }

    /// Waits until a request has ended.
    pub(super) async fn first_completed(&self) {
        let mut seen = 0;
        loop {
            self.ledger.wait_beyond(seen).await;
            let entries = self.ledger.scan(seen, usize::MAX).expect("in memory");
            if entries.iter().any(|entry| matches!(entry.event, Event::Completed(_))) {
                return;
            }
            seen += entries.len() as u64;
        }
    }

    pub(super) async fn decided(&self) -> Vec<Decided> {
        let is = |event| if let Event::Decided(event) = event { Some(*event) } else { None };
        self.events().await.into_iter().filter_map(is).collect()
    }

    pub(super) async fn feedback(&self) -> Vec<Feedback> {
        let is = |event| if let Event::Feedback(event) = event { Some(*event) } else { None };
        self.events().await.into_iter().filter_map(is).collect()
    }

    /// Serves over TCP. Dropping or using the sender stops it.
    pub(super) async fn listen(&self, drain: Duration) -> (SocketAddr, oneshot::Sender<()>, impl Future<Output = ()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel();
        let (gateway, router) = (self.gateway.clone(), self.router.clone());
        let stopping = async move {
            let _told_or_dropped = stopped.await;
            gateway.close();
        };
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { pointsman::http::serve(listener, router, stopping, drain).await.expect("serves") });
        let ended = async move {
            tasks.join_next().await.expect("one task").expect("no panic");
        };
        (address, stop, ended)
    }
}

pub(super) fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header("content-type", "application/json").body(body.into()).expect("a request")
}

/// SHA-256 in hexadecimal digits.
pub(super) fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// A chat body for this model.
pub(super) fn ask(model: &str, text: &str) -> String {
    serde_json::json!({"model": model, "messages": [{"role": "user", "content": text}]}).to_string()
}
