//! `kill -9` under load, at random moments: what is opened afterwards is whole and right, and what was acknowledged is
//! there.
//!
//! Twice. [`a_writer_killed_at_fifty_moments_loses_nothing_that_it_acknowledged`] kills a process that does nothing but
//! write, from several threads, as fast as it can: it starts in an instant, so that fifty moments are cheap, and all that
//! it writes is known, so that every row can be compared. [`killed_at_any_moment_it_gives_right_answers_and_none_that_was_reported`]
//! kills the real binary, at fewer moments; `POINTSMAN_MOMENTS=50 cargo test --test it killed` kills both at fifty.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use futures::StreamExt as _;
use pointsman::base::{Seed, TenantId, Timestamp};
use pointsman::cache::semantic::compare::Verdict;
use pointsman::cache::semantic::decision::{Evidence, Pair, Prior};
use pointsman::cache::semantic::space::{Label, Source};
use pointsman::cache::{Cache, Contents, Control, InMemory, Place, Purge};
use pointsman::cache_store::CacheStore;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::cache_store::{NOW, config, entry, key, place, prompt, secret};

/// Threads of the process that only writes.
const WRITERS: u64 = 3;
/// Steps of one writer in one life, at most.
const STEPS: u64 = 100_000;
/// Answers of one writer in one life before it names the first of them anew.
const LIFE: u64 = 1_000_000;

fn moments(usual: u64) -> u64 {
    std::env::var("POINTSMAN_MOMENTS").ok().and_then(|moments| moments.parse().ok()).unwrap_or(usual)
}

/// The number of a writer's step: writers and lives never share one.
fn number(life: u64, writer: u64, step: u64) -> u64 {
    (life * WRITERS + writer) * LIFE + step
}

/// The namespace of a life.
fn place_in(life: u64) -> Place {
    Place { space: key(u64::MAX - life), ..place() }
}

/// The life, the writer and the step of a number.
fn origin(n: u64) -> (u64, u64, u64) {
    let of = n / LIFE;
    (of / WRITERS, of % WRITERS, n % LIFE)
}

/// What is found of answer `n`, by a rule that the test knows.
fn label(n: u64) -> Label {
    let verdict = if n.is_multiple_of(5) { Verdict::Wrong } else { Verdict::Right };
    let similarity = 0.7 + (n % 29) as f64 / 100.0;
    Label {
        similarity,
        verdict,
        source: Source::Equality,
        check: n.is_multiple_of(3),
        chosen: n.is_multiple_of(11),
        at: Timestamp(NOW.0 + n),
    }
}

/// Whether answer `n` is forgotten again, one step after it was put.
const fn forgotten(n: u64) -> bool {
    n % 4 == 1
}

/// The process that is killed. It says of each writer how many steps are written.
#[test]
#[ignore = "runs until it is killed; the next test starts it"]
fn writes_until_it_is_killed() {
    let variable = |name: &str| std::env::var(name).ok();
    let (Some(folder), Some(life)) = (variable("POINTSMAN_TEST_FOLDER"), variable("POINTSMAN_TEST_LIFE")) else {
        return;
    };
    let life: u64 = life.parse().expect("a number");
    let (store, contents) = CacheStore::open(Path::new(&folder), secret()).expect("opens");
    let cache = Cache::kept(config(), Arc::new(store), contents, NOW);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let cache = &cache;
            scope.spawn(move || {
                for step in 0..STEPS {
                    let n = number(life, writer, step);
                    cache.put(key(n), entry(n));
                    cache.place(place_in(life), prompt(n));
                    cache.learn(place_in(life), key(n), entry(n).made, label(n));
                    if step > 0 && forgotten(n - 1) {
                        let id = key(n - 1).to_string();
                        assert_eq!(cache.purge(&TenantId::from("red"), &Purge::Id(id)), 1);
                    }
                    if step % 8 == 7 {
                        assert!(futures::executor::block_on(cache.written()));
                        writeln!(std::io::stdout(), "\nwritten {writer} {step}").expect("its reader is there");
                    }
                }
            });
        }
    });
}

/// Starts the writer, kills it after so many acknowledgements and a pause; the last acknowledged step of each writer.
async fn killed(folder: &Path, life: u64, patience: usize, pause: Duration) -> Vec<Option<u64>> {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "cache_killed::writes_until_it_is_killed", "--ignored", "--nocapture"])
        .env("POINTSMAN_TEST_FOLDER", folder)
        .env("POINTSMAN_TEST_LIFE", life.to_string())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its words")).lines();
    let mut acknowledged = vec![None; WRITERS as usize];
    let mut take = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["written", writer, step] = words[..] {
            acknowledged[writer.parse::<usize>().expect("a number")] = step.parse().ok();
        }
    };
    let mut seen = 0;
    while seen < patience {
        let line = lines.next_line().await.expect("its words").expect("it goes on until it is killed");
        seen += usize::from(line.starts_with("written"));
        take(&line);
    }
    // Chance decides what it is doing at this moment.
    tokio::time::sleep(pause).await;
    child.kill().await.expect("killed");
    while let Ok(Some(line)) = lines.next_line().await {
        take(&line);
    }
    acknowledged
}

/// The last acknowledged step of each writer, by life.
type Acknowledged = BTreeMap<u64, Vec<Option<u64>>>;

#[tokio::test]
async fn a_writer_killed_at_fifty_moments_loses_nothing_that_it_acknowledged() {
    let mut folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged = Acknowledged::new();
    let (mut entries, mut beyond) = (0, 0);
    for life in 0..moments(50) {
        if life % 10 == 0 {
            // What ten lives have written is enough to be read again and again.
            (folder, acknowledged) = (tempfile::tempdir().expect("a folder"), Acknowledged::new());
        }
        let draw = |what: &str| Seed(life).uniform(what);
        let pause = Duration::from_micros((draw("pause") * 20_000.0) as u64);
        // Some end before anything is said.
        let patience = if life % 7 == 0 { 0 } else { (draw("patience") * 12.0) as usize };
        acknowledged.insert(life, killed(folder.path(), life, patience, pause).await);
        let (store, contents) = CacheStore::open(folder.path(), secret()).expect("opens");
        drop(store);
        beyond += check(&acknowledged, &contents);
        entries += contents.entries.len();
        believes(contents);
    }
    assert!(entries > 100 && beyond > 0, "{entries} answers, {beyond} steps beyond what was acknowledged");
}

/// Holds what was opened against what was written; how many verdicts there are beyond those that were acknowledged.
fn check(acknowledged: &Acknowledged, contents: &Contents) -> u64 {
    // Whole answers and prompts, each the one of its name and of its time, which is its number.
    let mut kept: BTreeSet<u64> = BTreeSet::new();
    for (name, found) in &contents.entries {
        let n = found.made.0 - NOW.0;
        assert_eq!((*name, found), (key(n), &entry(n)));
        kept.insert(n);
    }
    let mut prompts: BTreeSet<u64> = BTreeSet::new();
    for (at, found) in &contents.prompts {
        let n = found.made.0 - NOW.0;
        assert_eq!((at, found), (&place_in(origin(n).0), &prompt(n)));
        assert!(kept.contains(&n), "a prompt without its answer");
        prompts.insert(n);
    }
    let mut verdicts: BTreeMap<(u64, u64), Vec<u64>> = BTreeMap::new();
    for (at, name, made, found) in &contents.labels {
        let n = made.0 - NOW.0;
        let (life, writer, step) = origin(n);
        assert_eq!((at, *name, found), (&place_in(life), key(n), &label(n)));
        verdicts.entry((life, writer)).or_default().push(step);
    }
    let mut beyond = 0;
    for ((life, writer), last) in
        acknowledged.iter().flat_map(|(life, each)| (0..).zip(each).map(|(writer, last)| ((*life, writer), *last)))
    {
        // A beginning of what was learned, in order, nothing twice, nothing missing of what was acknowledged.
        let found = verdicts.remove(&(life, writer)).unwrap_or_default();
        assert!(found.iter().copied().eq(0..found.len() as u64), "life {life}, writer {writer}: {found:?}");
        let certain = last.map_or(0, |step| step + 1);
        assert!(found.len() as u64 >= certain, "life {life}, writer {writer}: {} of {certain}", found.len());
        beyond += found.len() as u64 - certain;
        for step in 0..certain {
            let n = number(life, writer, step);
            // Whether the last one is forgotten again is said by the step after it.
            if forgotten(n) && step + 1 == certain {
                continue;
            }
            let there = (kept.contains(&n), prompts.contains(&n));
            assert_eq!(there, (!forgotten(n), !forgotten(n)), "life {life}, writer {writer}, step {step}");
        }
    }
    assert!(verdicts.is_empty(), "of nobody: {verdicts:?}");
    beyond
}

/// What is believed after a start is what the verdicts say, folded here by hand.
fn believes(contents: Contents) {
    let mut by_hand: BTreeMap<u64, (Prior, BTreeMap<u64, Evidence>)> = BTreeMap::new();
    for (_, _, made, label) in &contents.labels {
        let n = made.0 - NOW.0;
        let (prior, evidence) = by_hand.entry(origin(n).0).or_default();
        let pair = Pair { similarity: label.similarity, right: label.verdict == Verdict::Right };
        let evidence = evidence.entry(n).or_default();
        if label.chosen { evidence.learn(pair) } else { prior.learn(evidence, pair) }
    }
    let placed: Vec<u64> = contents.prompts.iter().map(|(_, prompt)| prompt.made.0 - NOW.0).collect();
    let cache = Cache::kept(config(), Arc::new(InMemory), contents, NOW);
    for n in placed.into_iter().step_by(7) {
        let life = origin(n).0;
        let (prior, evidence) = by_hand.entry(life).or_default();
        let space = cache.namespace(&place_in(life).space).expect("known");
        let fresh = Evidence::default();
        let expected = prior.right(evidence.get(&n).unwrap_or(&fresh), 0.9);
        assert_eq!(space.estimate(&key(n), 0.9).map(f64::to_bits), Some(expected.to_bits()), "{n}");
        assert!(cache.get(&key(n), &Control::default(), NOW).is_some());
    }
}

/// Says for every question something that is right for it alone.
#[expect(clippy::disallowed_methods, reason = "it serves until the test's runtime ends")]
async fn upstream() -> String {
    let answer = async |body: Bytes| {
        let asked: Value = serde_json::from_slice(&body).expect("JSON");
        let question = asked["messages"][0]["content"].as_str().unwrap_or_default();
        json!({"id": "u", "object": "chat.completion", "model": "m", "created": 1,
               "choices": [{"index": 0, "finish_reason": "stop",
                            "message": {"role": "assistant", "content": right(question)}}],
               "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}})
        .to_string()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let router = Router::new().route("/v1/chat/completions", post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/v1")
}

fn right(question: &str) -> String {
    format!("the answer is {}", blake3::hash(question.as_bytes()))
}

/// The binary, and where it serves.
async fn start(home: &Path) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .env_clear()
        .env("HOME", home)
        .env("CACHE_KEY", secret().expose())
        .current_dir(home)
        .args(["serve", "--config", "pointsman.toml", "--listen", "127.0.0.1:0", "--data", "data"])
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("its log")).lines();
    let mut seen = String::new();
    while let Some(line) = lines.next_line().await.expect("its log") {
        if let Some((_, rest)) = line.split_once("base URL ") {
            let base = rest.split(',').next().expect("an address").to_owned();
            // The log goes on; somebody must read it.
            #[expect(clippy::disallowed_methods, reason = "ends with the log")]
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (child, base);
        }
        seen += &line;
        seen.push('\n');
    }
    panic!("it did not start:\n{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_it_gives_right_answers_and_none_that_was_reported() {
    let moments = moments(12);
    let home = tempfile::tempdir().expect("a folder");
    let toml = format!(
        "version = 1\n[providers.rack]\nbase_url = '{}'\nmodels = ['m']\nprice = {{ input = 1.0, output = 1.0 }}\n\
         [embed]\nenabled = false\n[cache]\nkey = {{ env = 'CACHE_KEY' }}\n",
        upstream().await
    );
    std::fs::write(home.path().join("pointsman.toml"), toml).expect("written");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let mut forgotten: BTreeSet<u64> = BTreeSet::new();
    let (mut asked, mut hits, mut reports) = (0_u64, 0, 0);
    for round in 0..moments {
        let (mut child, base) = start(home.path()).await;
        let ask = |n: u64| {
            let question = format!("question {n}");
            let body = json!({"model": "auto", "temperature": 0, "messages": [{"role": "user", "content": question}]});
            let sent = client.post(format!("{base}/chat/completions")).json(&body).send();
            async move {
                let reply = sent.await.map_err(|error| format!("{error:?}"))?;
                let status = reply.status();
                let header = |name: &str| Some(reply.headers().get(name)?.to_str().ok()?.to_owned());
                let (outcome, id) = (header("x-pointsman-cache"), header("x-pointsman-cache-id"));
                let body: Value = reply.json().await.map_err(|error| format!("{status}: {error:?}"))?;
                let outcome = outcome.ok_or_else(|| format!("{status}: {body}"))?;
                assert_eq!(body["choices"][0]["message"]["content"], right(&question), "{status} {outcome}: {body}");
                Ok::<_, String>((n, outcome, id))
            }
        };
        // What was said to be forgotten before the last kill is not in memory.
        for n in std::mem::take(&mut forgotten) {
            let (_, outcome, _) = ask(n).await.expect("it serves");
            assert_eq!(outcome, "miss", "round {round}: question {n} was reported");
        }
        let patience = 5 + (Seed(round).uniform("patience") * 60.0) as usize;
        let numbers = (0..asked).rev().take(40).chain(asked..asked + 60);
        let mut replies = futures::stream::iter(numbers.map(&ask)).buffer_unordered(8).take(patience);
        let mut kept: BTreeMap<u64, String> = BTreeMap::new();
        while let Some(reply) = replies.next().await {
            let (n, outcome, id) = reply.expect("it serves");
            hits += u64::from(outcome == "hit");
            kept.extend(id.filter(|_| n % 5 == 0).map(|id| (n, id)));
        }
        drop(replies);
        for (n, id) in kept {
            let report = client.post(format!("{base}/cache/report")).json(&json!({"id": id})).send().await;
            let report = report.expect("it serves");
            assert!(report.status().is_success(), "{}", report.text().await.expect("a reason"));
            forgotten.insert(n);
            reports += 1;
        }
        asked += 20;
        // Chance decides what it is doing at this moment.
        let last = futures::future::join_all((0..8).map(|n| ask(1_000_000 + 8 * round + n)));
        let pause = Duration::from_micros((Seed(round).uniform("pause") * 30_000.0) as u64);
        let _cut_off = tokio::time::timeout(pause, last).await;
        child.kill().await.expect("killed");
    }
    assert!(hits > moments && reports > 0, "{hits} hits, {reports} reports");
}
