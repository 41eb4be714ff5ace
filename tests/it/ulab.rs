//! Real prompts through the endpoint to nine providers that repeat what nine models made of them; the scores come back
//! as feedback. An offline replay of the same order, with the same draws, chooses the same models to the last request;
//! so the curves of the benchmark are those of the endpoint. And the ledger gives the same policy.
//!
//! The prompts are other people's and lie beside the project, if at all: without them the test says so and passes.
//! `POINTSMAN_ULAB_REQUESTS` (300) says how many are sent.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use pointsman::catalog::Price;
use pointsman::config::{Config, Environment};
use pointsman::features::Extractor;
use pointsman::learn::{Learner, rebuild};
use pointsman::ledger::{Decided, Event};
use pointsman::policy::pacer::Pace;
use pointsman::policy::{
    self, Ask, Bandit, Candidate, Explore, OnlinePolicy as _, Policy as _, PromptCache, Round, draw,
};
use pointsman::simulate::{self, Recorded};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::running::{Running, providers};

const ROWS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/datasets/llmrouter-ulab/rows.jsonl.gz");

#[derive(Deserialize)]
struct Row {
    id: String,
    prompt: String,
    outcomes: BTreeMap<String, Scored>,
}

#[derive(Deserialize)]
struct Scored {
    score: f64,
}

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// The first rows of `order-0`.
fn rows(count: usize) -> Vec<Row> {
    let file = std::fs::File::open(ROWS).expect("it is there");
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzip of text");
    let mut rows: Vec<Row> = text.lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    rows.sort_by_key(|row| <[u8; 32]>::from(Sha256::digest(format!("order-0:{}", row.id).as_bytes())));
    rows.truncate(count);
    rows
}

/// Channels that say nothing: a replay of recorded scores knows no others.
fn unheard(channels: &[&str]) -> String {
    channels.iter().map(|name| format!("[learn.channels.{name}]\nquality = [0, 1]\nweight = [0, 0]\n")).collect()
}

/// Mean score after each quarter of the stream.
fn curve(scores: &[f64]) -> Vec<f64> {
    let mean = |n: usize| scores[..n].iter().sum::<f64>() / n as f64;
    (1..=4).map(|quarter| mean(scores.len() * quarter / 4)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_the_policy_chooses_as_in_an_offline_replay_and_the_ledger_gives_the_same_policy() {
    if !Path::new(ROWS).is_file() {
        eprintln!("skipped: there is no {ROWS}");
        return;
    }
    let rows = rows(number("POINTSMAN_ULAB_REQUESTS", 300));
    let models: Vec<&str> = rows[0].outcomes.keys().map(String::as_str).collect();
    let price = Price { input: 1.0, output: 1.0, cached_input: None, cache_write: None, reasoning: None };
    let mut recorded = Recorded::new(models.iter().map(|model| ((*model).to_owned(), price.clone())));
    for row in &rows {
        row.outcomes.iter().for_each(|(model, outcome)| recorded.record(model, &row.prompt, outcome.score, None));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let served = simulate::serve(Arc::new(recorded), 0, &tasks, &stop).await.expect("ports are to be had");
    let text = format!(
        "version = 1\n[embed]\nenabled = false\n[cache]\nrepeats = 'off'\n[policy]\nhalf_life = '0s'\n[learn]\npublish_after = '5ms'\n{}{}",
        unheard(&["empty", "truncation", "refusal"]),
        providers(&served)
    );
    let running = Running::start(folder.path(), &text).await;
    let quality_alone = [("x-pointsman-cost-weight", "0"), ("x-pointsman-latency-weight", "0")];
    let mut online = Vec::new();
    for row in &rows {
        let (model, score) = running.turn(&row.prompt, &quality_alone).await;
        assert_eq!(score, row.outcomes[&model].score, "the outcome that was recorded");
        online.push(score);
    }

    let last = running.last().await;
    let ledger = running.app.gateway().ledger();
    let entries = ledger.scan(0, last as usize).expect("readable");
    let decided: Vec<Decided> = entries
        .into_iter()
        .filter_map(|entry| if let Event::Decided(event) = entry.event { Some(*event) } else { None })
        .collect();
    assert_eq!(decided.len(), rows.len());

    // The same order offline, by the policy on a fixed list of arms, on the contexts and the draws of the very requests.
    let columns: Vec<&str> = decided[0].arms.iter().map(|arm| arm.model.as_str()).collect();
    let score = |row: &Row, arm: usize| {
        let name = columns[arm].split_once('/').map_or(columns[arm], |(_, name)| name);
        row.outcomes[name].score
    };
    let mut bandit = Bandit::new("offline", policy::Config::default(), Explore::Floor, columns.len());
    let (open, penalty) = (vec![true; columns.len()], vec![0.0; columns.len()]);
    let mut offline = Vec::new();
    for (step, (row, event)) in rows.iter().zip(&decided).enumerate() {
        let x = &event.features.context.x;
        let p = bandit.score(&Round { x, open: &open, penalty: &penalty });
        let arm = draw(&p, event.seed.uniform("arm"));
        assert_eq!(arm, event.chosen, "step {step}: {p:?}, over HTTP {:?}", event.arms);
        bandit.update(x, arm, score(row, arm), 0.0);
        offline.push(score(row, arm));
    }
    eprintln!("{} requests; mean score after each quarter: {:.3?}", rows.len(), curve(&online));
    assert_eq!(online, offline);

    // The ledger alone gives the same policy: every belief of every model, to the last bit.
    let schema = Extractor::new().schema().clone();
    let sections = Config::load(Some(&running.file), &Environment::default()).expect("it is right").sections;
    let fresh = Learner::new(sections.policy, schema, &sections.learn);
    let again = rebuild(fresh, ledger.as_ref()).expect("readable").publish();
    let live = running.app.gateway().live();
    assert_eq!(again.version(), live.policy.version());
    for event in decided.iter().step_by(17) {
        let candidates: Vec<Candidate> = event
            .arms
            .iter()
            .map(|arm| Candidate {
                model: arm.model.clone(),
                deployment: arm.deployment.clone(),
                price: Some(price.clone()),
                in_flight: 0,
                alternates: Vec::new(),
                prompt_cache: PromptCache::default(),
                like: None,
            })
            .collect();
        let ask = Ask {
            context: &event.features.context,
            prompt_tokens: event.features.needs.prompt_tokens,
            max_tokens: None,
            choices: 1,
            preferences: &event.preferences,
            pace: Pace::default(),
        };
        assert_eq!(again.score(&ask, &candidates), live.policy.score(&ask, &candidates));
    }
    stop.cancel();
}
