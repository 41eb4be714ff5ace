//! What remembering and learning cost: a handover on the request's path, commits in a second, folds in a second.
//!
//! `cargo bench --bench ledger`. Each line is one pass over the same 20,000 events of the usual size (a decision
//! among eight arms and its end); the handover is told per event.

#![expect(clippy::print_stdout, reason = "a bench says what it measured")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use pointsman::base::{Clock, DecisionId, Digest, ModelId, Score, Seed, SystemClock, TenantId, Timestamp, Usd};
use pointsman::cache::CacheOutcome;
use pointsman::chat::{Endpoint, FinishReason, Usage};
use pointsman::dispatch::Attempt;
use pointsman::embed::Origin;
use pointsman::features::{CONTEXT, Context, Features, Needs};
use pointsman::learn::{self, Learner, rebuild};
use pointsman::ledger::{
    ArmRecord, Completed, Config, Decided, Event, Ledger, MemoryLedger, Mode, Outcome, ScoreRecord, SqliteLedger,
};
use pointsman::policy::{self, Estimate, Prediction, Preferences, PromptCache};

const REQUESTS: u64 = 10_000;
const ARMS: usize = 8;

fn main() {
    let clock = SystemClock::new();
    let events = events();
    let sized = |event: &Event| serde_json::to_vec(event).map_or(0, |json| json.len());
    println!("a decision {} bytes, an end {} bytes", sized(&events[0]), sized(&events[1]));

    let folder = tempfile::tempdir().expect("a folder");
    let config = Config { queue: 1 << 20, ..Config::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let ledger = SqliteLedger::open(folder.path(), &config).expect("the ledger opens");
    let copies = events.clone();
    let before = clock.monotonic();
    for event in copies {
        black_box(ledger.append(Timestamp(1), event));
    }
    let handed = clock.monotonic() - before;
    runtime.block_on(ledger.flush()).expect("the ledger can be written");
    let written = clock.monotonic() - before;
    assert_eq!(ledger.shed(), 0);
    say("handed over", events.len(), handed);
    say("committed", events.len(), written);

    let before = clock.monotonic();
    let mut after = 0;
    while let Some(last) = ledger.scan(after, 1024).expect("the ledger can be read").last() {
        after = last.offset;
    }
    say("read", events.len(), clock.monotonic() - before);

    let memory = MemoryLedger::new();
    events.into_iter().for_each(|event| {
        memory.append(Timestamp(1), event);
    });
    for (name, ledger) in [("folded from memory", &memory as &dyn Ledger), ("folded from disk", &ledger)] {
        let fresh = Learner::new(policy::Config::default(), "bench/1".into(), &learn::Config::default());
        let before = clock.monotonic();
        let learner = rebuild(fresh, ledger).expect("the ledger can be read");
        say(name, learner.offset() as usize, clock.monotonic() - before);
        let before = clock.monotonic();
        black_box(learner.publish());
        say("published", 1, clock.monotonic() - before);
    }
}

fn say(what: &str, count: usize, took: Duration) {
    let each = took.as_secs_f64() / count as f64;
    println!("{what:>20}: {:8.2} us each, {:9.0} in a second", each * 1e6, 1.0 / each);
}

fn events() -> Vec<Event> {
    (0..REQUESTS)
        .flat_map(|n| [Event::Decided(Box::new(decided(n))), Event::Completed(Box::new(completed(n)))])
        .collect()
}

fn model(arm: usize) -> ModelId {
    format!("provider/model-{arm}").into()
}

fn id(n: u64) -> DecisionId {
    DecisionId(uuid::Uuid::from_u128((0x0190_0000_0000_7000_8000_0000 + u128::from(n)) << 32))
}

fn decided(n: u64) -> Decided {
    let estimate = |what: &str| Estimate { mean: Seed(n).uniform(what), sd: Seed(n).uniform(what) / 10.0 };
    let arm = |arm: usize| ArmRecord {
        model: model(arm),
        deployment: format!("provider/model-{arm}@region").into(),
        in_flight: 3,
        propensity: 1.0 / ARMS as f64,
        prompt_cache: PromptCache::default(),
        like: None,
        prediction: Prediction {
            quality: estimate(&format!("quality {arm}")),
            cost: Some(estimate(&format!("cost {arm}"))),
            latency: Some(estimate(&format!("latency {arm}"))),
            utility: Seed(n).uniform(&format!("utility {arm}")),
        },
    };
    let mut x: Vec<f32> = (0..CONTEXT).map(|i| Seed(n).uniform(&format!("x{i}")) as f32 - 0.5).collect();
    x[0] = 1.0;
    Decided {
        id: id(n),
        at: Timestamp(1_780_000_000_000_000 + n),
        tenant: TenantId::from("default"),
        endpoint: Endpoint::ChatCompletions,
        asked: "auto".to_owned(),
        features: Features {
            context: Context { schema: "bench/1".into(), x, origin: Origin::Encoder },
            needs: Needs { prompt_tokens: 120, max_tokens: Some(512), ..Needs::default() },
            intent: None,
            complexity: Some(0.4),
            language: Some("eng".to_owned()),
        },
        vector: None,
        preferences: Preferences::BALANCED,
        arms: (0..ARMS).map(arm).collect(),
        excluded: BTreeMap::new(),
        chosen: (n % ARMS as u64) as usize,
        greedy: 0,
        mode: Mode::Policy,
        seed: Seed(n),
        policy: "thompson".to_owned(),
        catalog: Digest::of(b"catalogue"),
        config: Digest::of(b"configuration"),
        trial: None,
        budgets: Vec::new(),
        guard: None,
    }
}

fn completed(n: u64) -> Completed {
    let arm = (n % ARMS as u64) as usize;
    let usage = Usage { prompt_tokens: Some(120), completion_tokens: Some(200 + n % 100), ..Usage::default() };
    Completed {
        id: id(n),
        at: Timestamp(1_780_000_001_000_000 + n),
        tenant: TenantId::from("default"),
        outcome: Outcome::Served,
        stream: true,
        cache: CacheOutcome::Miss,
        reuse: None,
        background: false,
        served: Some(format!("provider/model-{arm}@region").into()),
        model: Some(model(arm)),
        attempts: vec![Attempt {
            deployment: format!("provider/model-{arm}@region").into(),
            error: None,
            status: Some(200),
            first_token_ms: Some(312.25),
            total_ms: 2_011.5,
            usage: Some(usage),
            usage_estimated: false,
            cost_usd: Some(Usd(0.000_123)),
        }],
        usage: Some(usage),
        usage_estimated: false,
        cost_usd: Some(Usd(0.000_123)),
        first_token_ms: Some(313.0),
        total_ms: 2_012.75,
        overhead_ms: 1.2,
        finish_reason: Some(FinishReason::Stop),
        response_id: Some(format!("chatcmpl-{n:024}")),
        scores: vec![ScoreRecord { channel: "user".to_owned(), score: Score::ONE }],
        budgets: Vec::new(),
    }
}
