//! How long training and evaluation take on a large ledger, and how much memory: `cargo bench --bench retrain`.
//!
//! Makes ledgers of 100,000, 300,000 and 1,000,000 decisions, all answered and judged, and runs the real binary on them.
//! Other sizes: `cargo bench --bench retrain -- 20000`. `POINTSMAN_BINARY` names another binary than the one just built.
#![expect(clippy::print_stdout, reason = "a bench says what it measured")]

use std::path::Path;
use std::process::{Command, Stdio};

use pointsman::base::{Clock as _, DeploymentId, ModelId, Seed, SystemClock, TenantId, Timestamp, Usd};
use pointsman::features::Intent;
use pointsman::ledger::{ArmRecord, Config, Decided, Event, Feedback, Ledger as _, SqliteLedger};
use pointsman::policy::{Estimate, Prediction, Preferences, draw};

#[expect(dead_code, reason = "the tests' samples; a bench needs some of them")]
#[path = "../tests/it/samples.rs"]
mod samples;

const MODELS: [(&str, f64, f64); 4] =
    [("lab/mini", 0.62, 1e-5), ("lab/base", 0.72, 1e-4), ("lab/max", 0.8, 1e-3), ("other/code", 0.68, 2e-4)];
const INTENTS: [&str; 6] = ["code", "maths", "chat", "facts", "translation", "creative"];
/// Two weeks, whatever the size.
const SPAN: u64 = 14 * 24 * 3600 * 1_000_000;

#[tokio::main]
async fn main() {
    let asked: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if asked.is_empty() { vec![100_000, 300_000, 1_000_000] } else { asked };
    println!(
        "{:>10}{:>12}{:>10}{:>10}{:>12}{:>10}{:>14}",
        "decisions", "ledger MB", "train s", "peak MB", "evaluate s", "peak MB", "us a decision"
    );
    for size in sizes {
        let folder = tempfile::tempdir().expect("a folder");
        fill(folder.path(), size).await;
        let megabytes = std::fs::metadata(folder.path().join("ledger.sqlite")).expect("there").len() / 1_000_000;
        let train = run(folder.path(), &["train"]);
        let evaluate = run(folder.path(), &["evaluate"]);
        println!(
            "{size:>10}{megabytes:>11}{:>9.1}{:>8.1}{:>9}{:>12.1}{:>8.1}{:>9}{:>20.1}",
            train.seconds,
            train.work,
            train.peak,
            evaluate.seconds,
            evaluate.work,
            evaluate.peak,
            (train.work + evaluate.work) / size as f64 * 1e6
        );
    }
}

/// What a run took.
struct Took {
    /// Seconds on the clock.
    seconds: f64,
    /// Seconds of processor time.
    work: f64,
    /// Megabytes at the peak.
    peak: u64,
}

fn run(folder: &Path, arguments: &[&str]) -> Took {
    let binary = std::env::var_os("POINTSMAN_BINARY");
    let binary = binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_pointsman").into());
    let clock = SystemClock::new();
    let mut child = Command::new(binary)
        .args(arguments)
        .env_clear()
        .env("HOME", folder)
        .env("POINTSMAN_DATA", folder)
        .current_dir(folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    let (status, stat) = (format!("/proc/{}/status", child.id()), format!("/proc/{}/stat", child.id()));
    let (mut peak, mut work) = (0, 0.0_f64);
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or(0) / 1_000);
        // Fields 14 and 15, in hundredths of a second; the name before them ends with a bracket.
        let text = std::fs::read_to_string(&stat).unwrap_or_default();
        let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        work = work.max(fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0);
        if let Some(ended) = child.try_wait().expect("it can be waited for") {
            assert!(ended.success(), "{arguments:?} failed");
            return Took { seconds: clock.monotonic().as_secs_f64(), work, peak };
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

async fn fill(folder: &Path, decisions: u64) {
    let ledger = SqliteLedger::open(folder, &Config::default()).expect("opens");
    for n in 0..decisions {
        let at = Timestamp(1_780_000_000_000_000 + n * (SPAN / decisions));
        for event in events(n, at) {
            ledger.append(at, event);
        }
        if n % 4_000 == 3_999 {
            ledger.flush().await.expect("flushed");
        }
    }
    ledger.flush().await.expect("flushed");
}

/// An answered and judged decision: four models, six intents, of which one goes best by a model of its own.
fn events(n: u64, at: Timestamp) -> [Event; 3] {
    let seed = Seed(n);
    let intent = (seed.uniform("intent") * INTENTS.len() as f64) as usize;
    let favourite = if INTENTS[intent] == "code" { 3 } else { 2 };
    let mut propensities = [0.03; 4];
    propensities[if seed.uniform("served") < 0.5 { favourite } else { 1 }] = 0.91;
    let chosen = draw(&propensities, seed.uniform("arm"));
    let (_, worth, cost) = MODELS[chosen];
    let worth = if chosen == favourite { worth + 0.15 } else { worth };
    let good = f64::from(u8::from(seed.uniform("good") < worth));
    let decided = decided(n, at, intent, &propensities, chosen);
    let feedback = samples::feedback(n, at, "user", good, None);
    let mut completed = samples::completed(n, at, 0, &["empty", "truncation", "refusal"].map(|channel| (channel, 1.0)));
    let deployment = decided.arms[chosen].deployment.clone();
    completed.tenant = decided.tenant.clone();
    completed.model = Some(decided.arms[chosen].model.clone());
    completed.served = Some(deployment.clone());
    completed.attempts[0].deployment = deployment;
    completed.attempts[0].cost_usd = Some(Usd(cost));
    completed.cost_usd = Some(Usd(cost));
    let feedback = Feedback { tenant: decided.tenant.clone(), ..feedback };
    [samples::event(decided), samples::event(completed), samples::event(feedback)]
}

fn decided(n: u64, at: Timestamp, intent: usize, propensities: &[f64; 4], chosen: usize) -> Decided {
    let mut decided = samples::decided(n, at);
    decided.tenant = TenantId::from(["red", "green", "blue"][(n % 3) as usize]);
    decided.features.context.x[intent + 1] += 0.5;
    decided.features.intent = Some(Intent { name: INTENTS[intent].to_owned(), probability: 0.9 });
    decided.preferences = Preferences::default();
    let arm = decided.arms[0].clone();
    let arms = MODELS.iter().zip(propensities).map(|((model, worth, cost), propensity)| ArmRecord {
        model: ModelId::from(*model),
        deployment: DeploymentId::from(format!("{model}@1")),
        propensity: *propensity,
        prediction: Prediction {
            quality: Estimate { mean: *worth, sd: 0.1 },
            cost: Some(Estimate { mean: *cost, sd: cost / 10.0 }),
            latency: Some(Estimate { mean: 1.2, sd: 0.4 }),
            utility: worth - 0.01,
        },
        ..arm.clone()
    });
    decided.arms = arms.collect();
    (decided.chosen, decided.greedy) = (chosen, 1);
    decided
}
