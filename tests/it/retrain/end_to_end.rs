//! The whole way: serve, log, train, evaluate, canary, promoted; then a provider gets worse and a stale version's
//! canary is rolled back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use pointsman::app::App;
use pointsman::catalog::Price;
use pointsman::config::{Config, Environment};
use pointsman::learn::{Ending, Trial, Versions};
use pointsman::ledger::{Event, Part};
use pointsman::simulate::{self, Faults, Provider, Served, Truth};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::said;

/// Three models, good this often; the best one may get worse.
struct Changing {
    providers: Vec<Provider>,
    worse: AtomicBool,
}

const WORTH: [(&str, f64); 3] = [("poor", 0.1), ("fair", 0.6), ("fine", 0.98)];

impl Changing {
    fn new() -> Self {
        let provider = |(name, _): &(&str, f64)| Provider {
            name: (*name).to_owned(),
            models: vec![(*name).to_owned()],
            price: Price { input: 1.0, output: 2.0, cached_input: None, cache_write: None, reasoning: None },
            faults: Faults::default(),
        };
        Self { providers: WORTH.iter().map(provider).collect(), worse: AtomicBool::new(false) }
    }
}

impl Truth for Changing {
    fn providers(&self) -> &[Provider] {
        &self.providers
    }

    fn outcome(&self, model: &str, prompt: &str) -> Option<simulate::Outcome> {
        let (_, worth) = WORTH.iter().find(|(name, _)| *name == model)?;
        let worth = if model == "fine" && self.worse.load(Ordering::Relaxed) { 0.0 } else { *worth };
        let score = f64::from(u8::from(simulate::chance(7, &[model, prompt]) < worth));
        let (first_token, total) = (Duration::ZERO, Duration::ZERO);
        Some(simulate::Outcome { score, completion_tokens: 20, first_token, total, cost_usd: None })
    }
}

/// A configuration with these providers and this policy.
fn file(folder: &Path, name: &str, served: &[Served], policy: &str) -> PathBuf {
    let mut text = String::from("version = 1\n[embed]\nenabled = false\n");
    text += "[learn.canary]\nshares = [0.2, 0.5]\nmargins = [0.15, 0.1]\n";
    text += &format!("[policy]\n{policy}\n");
    for Served { provider, base_url } in served {
        text += &format!("[providers.{0}]\nbase_url = {base_url:?}\nmodels = [{0:?}]\n", provider.name);
        text += "price = { input = 1.0, output = 2.0 }\n";
    }
    let path = folder.join(name);
    std::fs::write(&path, text).expect("the folder can be written");
    path
}

/// Asks, reads what the answer is worth, and says so.
pub(super) struct User {
    http: reqwest::Client,
    base: String,
    asked: AtomicU64,
}

impl User {
    /// One of the endpoint at this address.
    pub(super) fn of(listener: &TcpListener) -> Self {
        let base = format!("http://{}/v1", listener.local_addr().expect("bound"));
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { http, base, asked: AtomicU64::new(0) }
    }

    /// What the `n`-th prompt says.
    pub(super) fn prompt(n: u64) -> String {
        format!("What is {n} times {}?", n % 17)
    }

    pub(super) async fn asks(&self, times: usize) {
        futures::stream::iter(0..times).map(|_| self.turn()).buffer_unordered(8).collect::<Vec<()>>().await;
    }

    async fn turn(&self) {
        let n = self.asked.fetch_add(1, Ordering::Relaxed);
        let prompt = Self::prompt(n);
        let body = json!({ "model": "auto", "messages": [{ "role": "user", "content": prompt }] });
        let response = self.post("chat/completions", &body).await;
        let decision = response.headers()["x-pointsman-decision"].to_str().expect("text").to_owned();
        let answer: Value = response.json().await.expect("JSON");
        self.post("feedback", &json!({ "decision_id": decision, "score": answer["simulated"]["score"] })).await;
    }

    /// Asks until what serves thinks another deployment the best than one of this name.
    async fn asks_until_not(&self, name: &str) {
        for _ in 0..60 {
            let body = json!({ "model": "auto", "messages": [{ "role": "user", "content": "What is 3 times 4?" }] });
            let route: Value = self.post("route", &body).await.json().await.expect("JSON");
            let greedy = route["greedy"].as_str().expect("a deployment");
            if !greedy.contains(name) {
                return;
            }
            self.asks(50).await;
        }
        panic!("what serves does not learn");
    }

    async fn post(&self, route: &str, body: &Value) -> reqwest::Response {
        let response = self.http.post(format!("{}/{route}", self.base)).json(body).send().await.expect("it answers");
        assert!(response.status().is_success(), "{}", response.status());
        response
    }

    /// Asks until the trial of this version is over.
    pub(super) async fn asks_until_over(&self, versions: &Versions) -> (Trial, u64) {
        let before = self.asked.load(Ordering::Relaxed);
        for _ in 0..60 {
            self.asks(50).await;
            let last = versions.trials().expect("readable").pop().expect("a trial");
            if last.ended.is_some() {
                return (last, self.asked.load(Ordering::Relaxed) - before);
            }
        }
        panic!("the trial goes on and on: {:?}", versions.trials());
    }
}

async fn command(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let (folder, arguments) = (folder.to_owned(), arguments.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    let run = move || said(&folder, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.expect("it runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_better_policy_is_promoted_on_evidence_and_a_stale_one_is_rolled_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let truth = Arc::new(Changing::new());
    let served = simulate::serve(truth.clone(), 7, &tasks, &stop).await.expect("ports are to be had");
    // What serves tries everything three times in ten; the new settings would not.
    let old = "algorithm = 'square_cb'\nexploration_share = 0.3";
    let old = file(folder.path(), "old.toml", &served, old);
    let new = file(folder.path(), "new.toml", &served, "exploration_share = 0.02");
    let config = Config::load(Some(&old), &Environment::default()).expect("it is right");
    let app = App::start(config, folder.path(), Arc::new(|_| {})).await.expect("it starts");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let user = User::of(&listener);
    let gateway = Arc::clone(app.gateway());
    let versions = Versions::of_data(folder.path());
    let life = async {
        user.asks(900).await;
        gateway.ledger().flush().await.expect("flushed");

        let new = new.to_str().expect("text");
        let training = ["train", "--config", new, "--floor", "0.1", "--heldout", "0.5", "--choose", "0", "--json"];
        let (code, report, complaint) = command(folder.path(), &training).await;
        assert_eq!(code, 0, "{complaint}");
        let report: Value = serde_json::from_str(&report).expect("JSON");
        let judged = &report["trained"]["evaluation"]["candidates"][0];
        assert_eq!(judged["verdict"], "promote", "{:#} {:#}", judged["why"], judged["gain"]);
        let gate = ["evaluate", "--gate", "--config", new, "--floor", "0.1"];
        let (code, table, complaint) = command(folder.path(), &gate).await;
        assert_eq!(code, 0, "{table}{complaint}");

        assert_eq!(command(folder.path(), &["policy", "promote", "v1", "--config", new]).await.0, 0);
        let (trial, requests) = user.asks_until_over(&versions).await;
        let how = trial.ended.as_ref().map(|end| end.how);
        assert_eq!(how, Some(Ending::Promoted), "{trial:?} after {requests}");
        let shares: Vec<f64> = trial.steps.iter().map(|step| step.share).collect();
        assert_eq!(shares, [0.2, 0.5]);
        let in_force = versions.history().expect("readable").pop().expect("something was put in force");
        assert_eq!(in_force.version.as_deref(), Some("v1"));

        // The best provider gets worse; what serves learns it, the version of before does not.
        truth.worse.store(true, Ordering::Relaxed);
        user.asks(1_200).await;
        // However slow the machine: the version of before is held against one that knows.
        user.asks_until_not("fine").await;
        let stale = ["policy", "promote", "v1", "--anyway", "--config", new];
        assert_eq!(command(folder.path(), &stale).await.0, 0);
        let (trial, requests) = user.asks_until_over(&versions).await;
        let end = trial.ended.expect("it is over");
        assert_eq!(end.how, Ending::RolledBack, "{} after {requests}", end.why);
        assert_eq!(versions.history().expect("readable").last(), Some(&in_force), "what served still serves");
        assert!(gateway.live().trial.is_none());

        // In the shadow it decides nothing, and what it would do is written down.
        assert_eq!(command(folder.path(), &["policy", "promote", "v1", "--shadow", "--config", new]).await.0, 0);
        while gateway.live().trial.is_none() {
            user.asks(8).await;
        }
        // Ends of earlier answers may still come in: the one asked now is looked for after all that stands there.
        let before = gateway.ledger().flush().await.expect("flushed");
        user.asks(1).await;
        gateway.ledger().flush().await.expect("flushed");
        let entries = gateway.ledger().scan(before, usize::MAX).expect("readable");
        let record = entries.iter().rev().find_map(|entry| match &entry.event {
            Event::Decided(decided) => decided.trial.as_ref(),
            _ => None,
        });
        let record = record.expect("the decision says so");
        assert_eq!((record.version.as_str(), record.part), ("v1", Part::Shadow));
        assert!((record.propensities.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{record:?}");
        stop.cancel();
    };
    let (served, ()) = tokio::join!(app.serve(listener, stop.cancelled()), life);
    served.expect("it ends in good order");
}
