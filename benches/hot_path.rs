//! What Pointsman adds to a request, beside a bare pass-through proxy in the same run.
//!
//! `cargo bench --bench hot_path [-- REQUESTS]`. Everything is on loopback in one process: an instant upstream, a
//! proxy of a few lines (axum in, reqwest out), and the whole gateway with its ledger on disk. One request at a
//! time on a kept-alive connection, in interleaved rounds, so that a noisy moment hits all alike. "Added" is the
//! median less the median of the direct way. CPU is the whole process's, less what the direct way costs.

#![expect(clippy::print_stdout, reason = "a bench says what it measured")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use pointsman::admission::{self, Admission};
use pointsman::base::{Clock, Digest, SystemClock};
use pointsman::cache::{self, Cache};
use pointsman::catalog::{Capability, Catalog, Deployment, Price};
use pointsman::dispatch::{self, Dispatcher};
use pointsman::embed::{self, Embedder, Lexical, Status};
use pointsman::features::Extractor;
use pointsman::gateway::{self, Gateway, Live, Parts};
use pointsman::ledger::{self, SqliteLedger};
use pointsman::policy;
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events of the streamed answer.
const EVENTS: usize = 23;
/// A pause this long between the bytes of one stream is a stall: Nagle's algorithm against delayed acknowledgements.
const STALL: Duration = Duration::from_millis(30);

const WHOLE: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello there, this is an answer of a usual kind."},"finish_reason":"stop"}],"usage":{"prompt_tokens":32,"completion_tokens":10,"total_tokens":42}}"#;

/// A runtime of its own with this many threads, for one server.
fn server(threads: usize, serve: impl Future<Output = ()> + Send + 'static) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().expect("a runtime");
    std::thread::spawn(move || runtime.block_on(serve));
}

fn bind() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("non-blocking");
    let url = format!("http://{}/v1", listener.local_addr().expect("bound"));
    (listener, url)
}

async fn serve(listener: std::net::TcpListener, router: Router) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    pointsman::http::serve(listener, router, std::future::pending(), Duration::ZERO).await.expect("serves");
}

/// Answers at once: whole, or [`EVENTS`] events each in a write of its own.
async fn instant(request: Request) -> Response {
    let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.expect("a body");
    let stream = memchr(&body, b"\"stream\":true");
    if !stream {
        return Response::builder().header("content-type", "application/json").body(Body::from(WHOLE)).expect("fine");
    }
    let chunk = |choices: &str| {
        format!(
            "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{choices}]}}\n\n"
        )
    };
    let mut events: Vec<String> =
        vec![chunk(r#"{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}"#)];
    for _ in 0..EVENTS - 3 {
        events.push(chunk(r#"{"index":0,"delta":{"content":"word "},"finish_reason":null}"#));
    }
    events.push(chunk(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#));
    events.push("data: [DONE]\n\n".to_owned());
    let stream = futures::stream::iter(events).then(|event| async {
        tokio::task::yield_now().await;
        Ok::<_, std::convert::Infallible>(Bytes::from(event))
    });
    Response::builder().header("content-type", "text/event-stream").body(Body::from_stream(stream)).expect("fine")
}

fn memchr(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// A proxy that does nothing but pass bytes on.
async fn bare(State((client, base)): State<(reqwest::Client, String)>, request: Request) -> Response {
    let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.expect("a body");
    let answer = client
        .post(format!("{base}/chat/completions"))
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .expect("an answer");
    let kind = answer.headers()["content-type"].clone();
    Response::builder().header("content-type", kind).body(Body::from_stream(answer.bytes_stream())).expect("fine")
}

fn gateway(upstream: &str, embedder: Arc<dyn Embedder>, folder: &std::path::Path) -> Arc<Gateway> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let deployment = |name: &str, input: f64| Deployment {
        id: format!("{name}@here").into(),
        model: name.into(),
        provider: "here".into(),
        upstream_model: "m".into(),
        base_url: upstream.to_owned(),
        key: None,
        headers: BTreeMap::new(),
        price: Some(Price { input, output: 4.0 * input, cached_input: None, cache_write: None, reasoning: None }),
        capabilities: vec![Capability::Tools, Capability::JsonMode],
        context_window: Some(100_000),
        max_output: None,
        weight: 1.0,
        tags: vec![],
        auto: true,
        like: None,
    };
    let deployments = (1..=8).map(|n| deployment(&format!("model-{n}"), f64::from(n))).collect();
    let features = Arc::new(Extractor::new());
    let policy = policy::State::new(policy::Config::default(), features.schema().clone()).publish();
    Arc::new(Gateway::new(Parts {
        live: Live {
            catalog: Arc::new(Catalog::new(deployments, BTreeMap::new(), None)),
            policy: Arc::new(policy),
            trial: None,
            features,
            presets: Live::built_in_presets(),
            budgets: Arc::default(),
            guards: Arc::default(),
            config: Digest::of(b"bench"),
        },
        admission: Admission::new(&admission::Config::default()),
        cache: Cache::new(cache::Config::default()),
        embedder,
        dispatcher: Arc::new(Dispatcher::new(dispatch::Config::default(), Arc::clone(&clock)).expect("TLS")),
        ledger: Arc::new(SqliteLedger::open(folder, &ledger::Config::default()).expect("a ledger")),
        clock,
        seed: 1,
        config: gateway::Config::default(),
    }))
}

/// A prompt of about 32 tokens; another one for every `n`.
fn prompt(n: u64) -> String {
    format!(
        "Please explain in simple words why the sky over harbour number {n} looks blue at noon and red in the \
         evening, and what a child could watch to see it"
    )
}

fn body(n: u64, stream: bool) -> String {
    serde_json::json!({"model": "auto", "stream": stream, "messages": [{"role": "user", "content": prompt(n)}]})
        .to_string()
}

/// Where requests go, and whether each has a text of its own.
struct Way {
    name: &'static str,
    base: String,
    fresh: bool,
    whole: Vec<Duration>,
    streams: Vec<Duration>,
    stalls: usize,
    cpu: Duration,
}

/// CPU time of all threads of the process.
fn cpu() -> Duration {
    let mut nanos = 0;
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        nanos += stat.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
    }
    Duration::from_nanos(nanos)
}

#[expect(clippy::disallowed_methods, reason = "a bench measures with the machine's clock")]
fn now() -> Instant {
    Instant::now()
}

async fn ask(client: &reqwest::Client, base: &str, body: String) -> (Duration, usize) {
    let start = now();
    let request = client.post(format!("{base}/chat/completions")).header("content-type", "application/json").body(body);
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status().as_u16(), 200);
    let (mut last, mut stalls) = (now(), 0);
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        piece.expect("whole");
        stalls += usize::from(last.elapsed() > STALL);
        last = now();
    }
    (start.elapsed(), stalls)
}

fn percentile(times: &[Duration], share: f64) -> f64 {
    let mut sorted: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

fn encoder() -> Option<Arc<dyn Embedder>> {
    let config = embed::Config { offline: true, ..embed::Config::default() };
    let embedder = embed::load(&config, Arc::new(|_| {})).ok()?;
    let settled = futures::executor::block_on(embedder.settled());
    matches!(settled, Status::Ready).then_some(embedder)
}

fn main() {
    let requests: usize = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000);
    let (listener, direct) = bind();
    server(1, serve(listener, Router::new().fallback(instant)));
    let (listener, proxy) = bind();
    let client = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build().expect("a client");
    server(2, serve(listener, Router::new().fallback(bare).with_state((client, direct.clone()))));
    let folder = tempfile::tempdir().expect("a folder");
    let way = |name, base: &str, fresh| Way {
        name,
        base: base.to_owned(),
        fresh,
        whole: vec![],
        streams: vec![],
        stalls: 0,
        cpu: Duration::ZERO,
    };
    let mut ways = vec![way("direct", &direct, false), way("bare proxy", &proxy, false)];
    let start = |name: &str, embedder: Arc<dyn Embedder>| {
        let (listener, base) = bind();
        let (upstream, folder) = (direct.clone(), folder.path().join(name));
        std::fs::create_dir_all(&folder).expect("a folder");
        server(2, async move { serve(listener, pointsman::http::router(gateway(&upstream, embedder, &folder))).await });
        base
    };
    let off = start("off", Arc::new(Lexical));
    ways.push(way("pointsman, encoder off", &off, true));
    match encoder() {
        Some(embedder) => {
            let on = start("on", embedder);
            ways.push(way("pointsman, text seen before", &on, false));
            ways.push(way("pointsman, encoder on, new text", &on, true));
        }
        None => println!("no encoder on this machine (`pointsman models fetch` gets it): measured without it\n"),
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure(&mut ways, requests));
    report(&ways);
}

/// Rounds of requests, the ways interleaved; the first round warms up and is thrown away.
async fn measure(ways: &mut [Way], requests: usize) {
    const ROUNDS: usize = 10;
    let client = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build().expect("a client");
    let mut n = 0;
    for round in 0..=ROUNDS {
        for way in ways.iter_mut() {
            let before = cpu();
            for _ in 0..requests.div_ceil(ROUNDS) {
                n += u64::from(way.fresh);
                let (took, _) = ask(&client, &way.base, body(if way.fresh { n } else { 0 }, false)).await;
                if round > 0 {
                    way.whole.push(took);
                }
            }
            if round > 0 {
                way.cpu += cpu().saturating_sub(before);
            }
            for _ in 0..requests.div_ceil(5 * ROUNDS) {
                let (took, stalls) = ask(&client, &way.base, body(0, true)).await;
                if round > 0 {
                    way.streams.push(took);
                    way.stalls += stalls;
                }
            }
        }
    }
}

fn report(ways: &[Way]) {
    let [direct, proxy, ..] = ways else { return };
    let base = percentile(&direct.whole, 0.5);
    let cpu_of = |way: &Way| way.cpu.as_secs_f64() * 1e3 / way.whole.len() as f64;
    let bare_added = (percentile(&proxy.whole, 0.5) - base).max(1e-6);
    println!(
        "one at a time, {} requests and {} streams of {EVENTS} events each way, ms",
        direct.whole.len(),
        direct.streams.len()
    );
    println!(
        "{:<34}{:>8}{:>8}{:>10}{:>9}{:>12}{:>11}{:>11}{:>8}",
        "", "p50", "p99", "added p50", "x bare", "CPU a req", "stream p50", "stream p99", "stalls"
    );
    for way in ways {
        let p50 = percentile(&way.whole, 0.5);
        println!(
            "{:<34}{:>8.3}{:>8.3}{:>10.3}{:>9.2}{:>12.3}{:>11.3}{:>11.3}{:>8}",
            way.name,
            p50,
            percentile(&way.whole, 0.99),
            p50 - base,
            (p50 - base) / bare_added,
            cpu_of(way) - cpu_of(direct),
            percentile(&way.streams, 0.5),
            percentile(&way.streams, 0.99),
            way.stalls,
        );
    }
    println!(
        "\nbars: added p50 below 0.5 with the encoder off or a text seen before, below 5 with the encoder on; no stalls"
    );
}
