//! The binary, as its user meets it: words, exit codes, and a life from start to SIGTERM.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use pointsman::base::DecisionId;
use pointsman::catalog::Price;
use pointsman::ledger::{self, Event, Ledger as _, Outcome, SqliteLedger};
use pointsman::simulate::{self, Faults, Provider, Served, Truth};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The binary in an environment of its own.
fn pointsman(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.env_clear().env("HOME", home).current_dir(home).kill_on_drop(true);
    command
}

async fn output(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().await.expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it speaks UTF-8");
    (status.code().expect("it ends by itself"), text(stdout), text(stderr))
}

/// Every prompt is answered alike, in this time.
struct Alike {
    providers: Vec<Provider>,
    total: Duration,
}

impl Alike {
    fn new(models: &[&str], total: Duration) -> Self {
        let provider = |model: &&str| Provider {
            name: (*model).to_owned(),
            models: vec![(*model).to_owned()],
            price: Price { input: 1.0, output: 2.0, cached_input: None, cache_write: None, reasoning: None },
            faults: Faults::default(),
        };
        Self { providers: models.iter().map(provider).collect(), total }
    }
}

impl Truth for Alike {
    fn providers(&self) -> &[Provider] {
        &self.providers
    }

    fn outcome(&self, _: &str, _: &str) -> Option<simulate::Outcome> {
        let (first_token, total) = (Duration::ZERO, self.total);
        Some(simulate::Outcome { score: 1.0, completion_tokens: 40, first_token, total, cost_usd: None })
    }
}

/// A configuration file with these providers, keeping its data beside it.
fn file(folder: &Path, served: &[Served]) -> PathBuf {
    let mut text =
        format!("version = 1\ndata = '{}'\n[server]\nlisten = '127.0.0.1:0'\n", folder.join("data").display());
    text += "[embed]\nenabled = false\n";
    for Served { provider, base_url } in served {
        text += &format!("[providers.{0}]\nbase_url = {base_url:?}\nmodels = [{0:?}]\n", provider.name);
        text += "price = { input = 1.0, output = 2.0 }\n";
    }
    let path = folder.join("pointsman.toml");
    // As editors do it: a new file in the old one's place.
    std::fs::write(folder.join("new"), text).expect("the folder can be written");
    std::fs::rename(folder.join("new"), &path).expect("the folder can be written");
    path
}

/// A running `serve`, with its log.
struct Running {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    base: String,
}

impl Running {
    async fn start(home: &Path, file: &Path) -> Self {
        let mut child =
            pointsman(home).args(["serve", "--config"]).arg(file).stderr(Stdio::piped()).spawn().expect("it runs");
        let log = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let mut running = Self { child, log, base: String::new() };
        let ready = running.said("ready: base URL ").await;
        let base = ready.split("ready: base URL ").nth(1).and_then(|rest| rest.split(',').next()).expect("its address");
        base.clone_into(&mut running.base);
        running
    }

    /// The next line of the log that holds this.
    async fn said(&mut self, words: &str) -> String {
        let found = async {
            while let Some(line) = self.log.next_line().await.expect("the log is text") {
                if line.contains(words) {
                    return line;
                }
            }
            panic!("it ended without saying {words:?}");
        };
        tokio::time::timeout(Duration::from_mins(1), found).await.expect("it says so within a minute")
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        assert!(std::process::Command::new("kill").args([signal, &pid]).status().expect("kill runs").success());
    }

    async fn models(&self, client: &reqwest::Client) -> BTreeSet<String> {
        let list: Value = client
            .get(format!("{}/models", self.base))
            .send()
            .await
            .expect("it answers")
            .json()
            .await
            .expect("with JSON");
        let names = list["data"].as_array().expect("a list").iter();
        names.map(|model| model["id"].as_str().expect("a name").to_owned()).collect()
    }
}

fn ask(stream: bool) -> Value {
    json!({ "model": "auto", "stream": stream, "messages": [{ "role": "user", "content": "Which way is north?" }] })
}

#[tokio::test]
async fn serve_without_a_provider_says_how_to_give_one_and_that_the_demo_exists() {
    let home = tempfile::tempdir().unwrap();
    let (code, out, err) = output(pointsman(home.path()).arg("serve")).await;
    assert_eq!((code, out.as_str()), (2, ""));
    for words in ["OPENAI_API_KEY", "OLLAMA_HOST", "--config", "pointsman demo"] {
        assert!(err.contains(words), "{words} is missing from: {err}");
    }
}

#[tokio::test]
async fn check_tells_every_mistake_and_ends_with_two() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("bad.toml"), "version = 1\nlog.format = 'loud'\n[server]\nlisten = 8484\n")
        .unwrap();
    let (code, out, err) = output(pointsman(home.path()).args(["check", "bad.toml"])).await;
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("server.listen") && err.contains("log.format") && err.contains("providers"), "{err}");

    let (code, out, _) = output(pointsman(home.path()).args(["check", "bad.toml", "--json"])).await;
    let said: Value = serde_json::from_str(&out).expect("is JSON");
    assert_eq!((code, &said["ok"]), (2, &json!(false)));
    assert_eq!(said["problems"].as_array().map(Vec::len), Some(3));

    let (code, _, err) = output(pointsman(home.path()).args(["check", "none.toml"])).await;
    assert_eq!(code, 2);
    assert!(err.contains("none.toml"), "{err}");
}

#[tokio::test]
async fn the_example_file_is_right() {
    let home = tempfile::tempdir().unwrap();
    let mut command = pointsman(home.path());
    command.arg("check").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/pointsman.example.toml"));
    let (code, out, err) = output(command.env("OPENAI_API_KEY", "k")).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("rack:qwen3-32b"), "{out}");
}

#[tokio::test]
async fn check_shows_what_the_environment_comes_to_without_showing_a_key() {
    let home = tempfile::tempdir().unwrap();
    let mut command = pointsman(home.path());
    let (code, out, err) = output(command.env("OPENAI_API_KEY", "sk-secret").args(["check", "--json"])).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let said: Value = serde_json::from_str(&out).expect("is JSON");
    assert_eq!(said["deployments"][0]["id"], "openai:gpt-6-luna");
    assert_eq!(said["deployments"][0]["key"], json!(true));
    assert!(!out.contains("sk-secret"));
    let (code, out, _) = output(pointsman(home.path()).env("OPENAI_API_KEY", "sk-secret").arg("check")).await;
    assert!(code == 0 && out.contains("openai:gpt-6-luna") && !out.contains("sk-secret"), "{out}");
}

#[tokio::test]
async fn a_changed_file_is_in_force_at_once_a_bad_one_is_not_and_no_request_is_lost() {
    let home = tempfile::tempdir().unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let truth = Arc::new(Alike::new(&["one", "two"], Duration::from_millis(5)));
    let served = simulate::serve(truth, 0, &tasks, &stop).await.unwrap();
    let file_path = file(home.path(), &served[..1]);
    let mut running = Running::start(home.path(), &file_path).await;
    let client = reqwest::Client::new();
    assert!(!running.models(&client).await.contains("two/two"));

    let load = CancellationToken::new();
    let (url, asking) = (format!("{}/chat/completions", running.base), load.clone());
    #[expect(clippy::disallowed_methods, reason = "the load of a test, awaited below")]
    let requests = tokio::task::spawn(async move {
        let client = reqwest::Client::new();
        let mut statuses = Vec::new();
        while !asking.is_cancelled() {
            let calls = (0..4).map(|_| async {
                let answer = client.post(&url).json(&ask(false)).send().await.unwrap();
                (answer.status().as_u16(), answer.text().await.unwrap().contains("imulated"))
            });
            statuses.extend(futures::future::join_all(calls).await);
        }
        statuses
    });

    file(home.path(), &served);
    running.said("the new configuration is in force").await;
    assert!(running.models(&client).await.contains("two/two"));

    std::fs::write(&file_path, "version = 1\nnonsense = true\n").unwrap();
    running.said("the old configuration stays in force").await;
    assert!(running.models(&client).await.contains("two/two"));

    file(home.path(), &served[1..]);
    running.said("the new configuration is in force").await;
    let models = running.models(&client).await;
    assert!(models.contains("two/two") && !models.contains("one/one"), "{models:?}");

    running.signal("-HUP");
    running.said("says the same").await;

    load.cancel();
    let statuses = requests.await.unwrap();
    assert!(statuses.len() >= 8 && statuses.iter().all(|status| *status == (200, true)), "{statuses:?}");
    stop.cancel();
}

#[tokio::test]
async fn a_stream_under_way_is_finished_after_sigterm_and_everything_is_in_the_ledger() {
    let home = tempfile::tempdir().unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let truth = Arc::new(Alike::new(&["slow"], Duration::from_millis(800)));
    let served = simulate::serve(truth, 0, &tasks, &stop).await.unwrap();
    let mut running = Running::start(home.path(), &file(home.path(), &served)).await;

    let client = reqwest::Client::new();
    let answer = client.post(format!("{}/chat/completions", running.base)).json(&ask(true)).send().await.unwrap();
    let decision: DecisionId = answer.headers()["x-pointsman-decision"].to_str().unwrap().parse().unwrap();
    let mut pieces = answer.bytes_stream();
    let mut text = String::from_utf8(pieces.next().await.unwrap().unwrap().to_vec()).unwrap();
    running.signal("-TERM");
    while let Some(piece) = pieces.next().await {
        text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
    }
    assert!(text.contains("\"finish_reason\":\"stop\"") && text.trim_end().ends_with("[DONE]"), "{text}");
    drop(client);
    assert_eq!(running.child.wait().await.unwrap().code(), Some(0));

    let ledger = SqliteLedger::open(&home.path().join("data"), &ledger::Config::default()).unwrap();
    let events = ledger.of_decision(decision).unwrap();
    let outcomes: Vec<Outcome> = events
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Completed(completed) => Some(completed.outcome),
            _ => None,
        })
        .collect();
    assert_eq!(outcomes, [Outcome::Served]);
    let snapshots = std::fs::read_dir(home.path().join("data/snapshots")).map_or(0, Iterator::count);
    assert!(snapshots > 0, "what was learned is written at the end");
    stop.cancel();
}

#[tokio::test]
async fn the_demo_ends_by_itself_and_prints_one_object() {
    let home = tempfile::tempdir().unwrap();
    let mut command = pointsman(home.path());
    command.args(["demo", "--once", "--json", "--no-encoder", "--requests", "48", "--listen", "127.0.0.1:0"]);
    let (code, out, err) = output(&mut command).await;
    assert_eq!(code, 0, "{err}");
    let said: Value = serde_json::from_str(&out).expect("is one JSON object");
    assert_eq!((&said["requests"], &said["errors"]), (&json!(48), &json!(0)), "{said}");
    assert_eq!((&said["first_quarter"]["requests"], &said["last_quarter"]["requests"]), (&json!(12), &json!(12)));
    assert_eq!(said["best_single"]["model"], "sim/grand");
    assert_eq!(said["cheapest"]["model"], "sim/swift");
    let shares: f64 = said["share"].as_object().unwrap().values().map(|share| share.as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-9);
    for figure in ["mean_quality", "cost_usd", "p50_ms", "p99_ms"] {
        assert!(said[figure].as_f64().is_some_and(|value| value > 0.0), "{figure}: {said}");
    }
}

#[tokio::test]
async fn what_the_demo_keeps_is_learned_from_as_it_says() {
    let home = tempfile::tempdir().expect("a folder");
    let kept = home.path().join("kept");
    let mut command = pointsman(home.path());
    command.args([
        "demo",
        "--once",
        "--json",
        "--no-encoder",
        "--requests",
        "300",
        "--listen",
        "127.0.0.1:0",
        "--keep",
    ]);
    let (code, _, err) = output(command.arg(&kept)).await;
    assert_eq!(code, 0, "{err}");
    for next in ["pointsman train", "pointsman evaluate", "pointsman replay"] {
        assert!(err.contains(next), "{err}");
    }
    let there = |arguments: &[&str]| {
        let mut command = pointsman(home.path());
        command.args(arguments).current_dir(&kept);
        command
    };
    // Few requests: what is tried is what the floor says is.
    let (code, out, err) = output(&mut there(&["train", "--json", "--floor", "0.001"])).await;
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).expect("is one JSON object");
    assert_eq!(report["version"]["name"], "v1");
    let evaluation = &report["trained"]["evaluation"];
    assert!(evaluation["rounds"].as_u64().is_some_and(|rounds| rounds > 20), "{evaluation:#}");
    assert_eq!(evaluation["unpriced"], json!([]), "the kept configuration lists every deployment at its price");
    let (code, out, err) = output(&mut there(&["policy", "list"])).await;
    assert!(code == 0 && out.contains("v1"), "{out}{err}");
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = pointsman(home.path());
    let mut child =
        command.args(["export", "--columns"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    let ended = child.wait_with_output().await.expect("it ends");
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""));
}
