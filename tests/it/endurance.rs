//! The real binary under load, and cut down in the middle of it.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use pointsman::base::DecisionId;
use pointsman::ledger::{self, Entry, Event, Ledger, Outcome, SqliteLedger};
use tempfile::TempDir;

const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"small","choices":[{"index":0,"message":{"role":"assistant","content":"Set."},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#;

/// An upstream that answers at once, on a port of its own.
async fn instant_upstream() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let app =
        Router::new().route("/v1/chat/completions", post(|| async { ([(CONTENT_TYPE, "application/json")], ANSWER) }));
    #[expect(clippy::disallowed_methods, reason = "a test's own upstream; it ends with the test's runtime")]
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// The binary, serving; killed when dropped.
struct Serving {
    child: Child,
    url: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serving {
    async fn start(folder: &Path, upstream: SocketAddr) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|probe| probe.local_addr()).expect("a free port").port();
        let config = folder.join("pointsman.toml");
        let text = format!(
            r#"
            version = 1
            server.listen = "127.0.0.1:{port}"
            embed.enabled = false
            [providers.local]
            base_url = "http://{upstream}/v1"
            [[deployments]]
            provider = "local"
            name = "small"
            price = {{ input = 0.1, output = 0.4 }}
            [[deployments]]
            provider = "local"
            name = "large"
            price = {{ input = 2.0, output = 8.0 }}
            "#
        );
        std::fs::write(&config, text).expect("the folder is writable");
        let child = Command::new(env!("CARGO_BIN_EXE_pointsman"))
            .args(["serve", "--config"])
            .arg(&config)
            .arg("--data")
            .arg(folder.join("data"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let serving = Self { child, url: format!("http://127.0.0.1:{port}") };
        let client = reqwest::Client::new();
        let ready = async {
            while !client.get(format!("{}/ready", serving.url)).send().await.is_ok_and(|r| r.status().is_success()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_mins(1), ready).await.expect("ready within a minute");
        serving
    }

    /// Resident memory in MiB.
    fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux says VmRSS");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("a number of kB") / 1024.0
    }

    fn signal(&self, name: &str) {
        let done = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(done.success());
    }

    /// Sends `count` different prompts, 64 at a time; gives how many were answered with 200.
    async fn load(&self, count: usize, from: usize) -> usize {
        let client = reqwest::Client::new();
        let next = Arc::new(AtomicUsize::new(from));
        let workers = (0..64).map(|_| {
            let (client, next, url) = (client.clone(), next.clone(), format!("{}/v1/chat/completions", self.url));
            async move {
                let mut served = 0;
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= from + count {
                        return served;
                    }
                    let body =
                        format!(r#"{{"model":"auto","messages":[{{"role":"user","content":"Prompt number {i}"}}]}}"#);
                    let sent = client.post(&url).header(CONTENT_TYPE, "application/json").body(body).send().await;
                    served += usize::from(sent.is_ok_and(|reply| reply.status() == 200));
                }
            }
        });
        futures::future::join_all(workers).await.into_iter().sum()
    }
}

fn entries(folder: &Path) -> (SqliteLedger, Vec<Entry>) {
    let ledger = SqliteLedger::open(&folder.join("data"), &ledger::Config::default()).expect("the ledger opens");
    let mut all: Vec<Entry> = Vec::new();
    loop {
        let more = ledger.scan(all.last().map_or(0, |entry| entry.offset), 4096).expect("every event can be read");
        if more.is_empty() {
            return (ledger, all);
        }
        all.extend(more);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_at_64_at_once_leave_one_completed_each_and_flat_memory() {
    let folder = TempDir::new().expect("a folder");
    let upstream = instant_upstream().await;
    let mut serving = Serving::start(folder.path(), upstream).await;
    assert_eq!(serving.load(4_000, 0).await, 4_000);
    let warm = serving.resident();
    assert_eq!(serving.load(6_000, 4_000).await, 6_000);
    let end = serving.resident();
    // Bounded caches go on filling; a leak of one kilobyte a request would show as 6 MiB on top of that.
    assert!(end < warm * 1.15 + 4.0, "resident memory went from {warm:.0} to {end:.0} MiB");
    serving.signal("-TERM");
    assert!(serving.child.wait().expect("it ends").success(), "a drain is no failure");

    let (_ledger, all) = entries(folder.path());
    let mut completed: HashMap<DecisionId, usize> = HashMap::new();
    for entry in &all {
        if let Event::Completed(event) = &entry.event {
            assert_eq!(event.outcome, Outcome::Served);
            *completed.entry(event.id).or_default() += 1;
        }
    }
    assert_eq!(completed.len(), 10_000);
    assert!(completed.values().all(|&count| count == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_mid_load_loses_nothing_that_was_acknowledged_and_serving_goes_on() {
    let folder = TempDir::new().expect("a folder");
    let upstream = instant_upstream().await;
    let mut judged: Vec<String> = Vec::new();
    for round in 0..3 {
        let mut serving = Serving::start(folder.path(), upstream).await;
        let client = reqwest::Client::new();
        let judge = async {
            // Feedback is acknowledged when it is on disk; these must all be there afterwards.
            for i in 0..40 {
                let reply = client
                    .post(format!("{}/v1/chat/completions", serving.url))
                    .header(CONTENT_TYPE, "application/json")
                    .body(format!(r#"{{"model":"auto","messages":[{{"role":"user","content":"Judge {round} {i}"}}]}}"#))
                    .send()
                    .await
                    .expect("served");
                let id = reply.headers()["x-pointsman-decision"].to_str().expect("text").to_owned();
                let sent = client
                    .post(format!("{}/v1/feedback", serving.url))
                    .json(&serde_json::json!({ "decision_id": id, "score": 1.0 }))
                    .send()
                    .await
                    .expect("taken");
                assert!(sent.status().is_success(), "{}", sent.text().await.unwrap_or_default());
                judged.push(id);
            }
        };
        tokio::select! {
            biased;
            () = judge => {}
            served = serving.load(1_000_000, 0) => panic!("the load ended first, after {served}"),
        }
        serving.signal("-KILL");
        serving.child.wait().expect("it is dead");
    }

    let (ledger, all) = entries(folder.path());
    assert!(all.iter().enumerate().all(|(i, entry)| entry.offset == i as u64 + 1), "positions have no gap");
    let kept: Vec<String> = all
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Feedback(event) => Some(event.decision.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(kept, judged, "every acknowledged feedback, once, in order");
    drop(ledger);

    // The next start serves, and what it believes is what the ledger alone says.
    let serving = Serving::start(folder.path(), upstream).await;
    assert_eq!(serving.load(200, 0).await, 200);
}
