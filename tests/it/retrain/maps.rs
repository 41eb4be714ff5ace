//! Feature maps that are refitted from logged vectors, and what promoting one does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pointsman::app::App;
use pointsman::base::Seed;
use pointsman::catalog::Price;
use pointsman::config::{Config, Environment};
use pointsman::embed::{Compact, DIMENSIONS};
use pointsman::eval::ope::weigh::replay;
use pointsman::eval::ope::{Log, Logged};
use pointsman::features::{Extractor, FeatureMap};
use pointsman::gateway::Gateway;
use pointsman::learn::{Ending, Versions};
use pointsman::ledger::{self, Decided, Event, Ledger as _, Part, SqliteLedger};
use pointsman::simulate::{self, Faults, Provider, Truth};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::end_to_end::User;
use super::{at, said};
use crate::samples::{completed, decided, event, feedback};

/// Prompts that vary in forty directions, and in one more, in which little varies, but by which one of two models or
/// the other is good.
fn vector(n: u64) -> [f32; DIMENSIONS] {
    let draw = |i: usize| Seed(n).uniform(&i.to_string()) as f32 - 0.5;
    let mut x: [f32; DIMENSIONS] = std::array::from_fn(|i| if i < 40 { draw(i) } else { 0.0 });
    x[DIMENSIONS - 1] = 0.25 * draw(DIMENSIONS - 1).signum();
    let length = x.iter().map(|x| x * x).sum::<f32>().sqrt();
    x.map(|x| x / length)
}

/// A ledger of so many decisions between two models, as likely as each other, with the prompts' vectors.
async fn grown(folder: &Path, decisions: u64) {
    let ledger = SqliteLedger::open(folder, &ledger::Config::default()).expect("opens");
    let map = FeatureMap::shipped();
    for n in 0..decisions {
        let vector = vector(n);
        let mut decision = decided(n, at(n));
        decision.preferences.max_cost = None;
        decision.arms.truncate(2);
        decision.arms.iter_mut().for_each(|arm| arm.propensity = 0.5);
        decision.chosen = (n % 2) as usize;
        decision.vector = Compact::of(&vector);
        decision.features.context = map.context(decision.vector.as_ref().expect("numbers"));
        let chosen = decision.chosen;
        let suits = (vector[DIMENSIONS - 1] > 0.0) == (chosen == 0);
        let good = f64::from(u8::from(Seed(n).uniform("good") < if suits { 0.9 } else { 0.2 }));
        ledger.append(at(n), event(decision));
        ledger.append(at(n), event(completed(n, at(n), chosen, &[])));
        ledger.append(at(n), event(feedback(n, at(n), "user", good, None)));
    }
    ledger.flush().await.expect("flushed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_map_that_tells_the_models_apart_is_taken_on_evidence_and_goes_into_force_with_its_policy() {
    let folder = tempfile::tempdir().expect("a folder");
    grown(folder.path(), 6_000).await;
    let (code, report, complaint) = said(folder.path(), &["train", "--json", "--floor", "0.4", "--choose", "0.3"]);
    assert_eq!(code, 0, "{complaint}");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let trained = &report["trained"];
    assert_eq!(trained["vectors"], 3_000, "those of the part that nothing is judged on");
    let taken = &trained["tried"][trained["taken"].as_u64().expect("a number") as usize];
    assert_eq!(taken["map"], "supervised", "{:#}", trained["tried"]);
    let gain = trained["evaluation"]["candidates"][0]["gain"]["normal"]["mean"].as_f64().expect("a number");
    assert!(gain > 0.2, "{gain}");
    let card = std::fs::read_to_string(Versions::of_data(folder.path()).file("v1", "card.md")).expect("a card");
    assert!(card.contains("| supervised |") && card.contains("3000 logged vectors"), "{card}");

    let versions = Versions::of_data(folder.path());
    let version = versions.get("v1").expect("there");
    let map = versions.map(&version).expect("readable").expect("it brings its map");
    let shipped = FeatureMap::shipped().schema;
    assert_ne!(version.schema, shipped);
    assert_eq!(map.schema, version.schema);

    // In the running process the map and the policy change over together, and back.
    let config = folder.path().join("pointsman.toml");
    let text = "version = 1\n[embed]\nenabled = false\n[providers.acme]\nbase_url = 'http://127.0.0.1:9/v1'\n\
                models = ['small']\nprice = { input = 1.0, output = 2.0 }\n";
    std::fs::write(&config, text).expect("writable");
    let config = Config::load(Some(&config), &Environment::default()).expect("it is right");
    let app = App::start(config.clone(), folder.path(), Arc::new(|_| {})).await.expect("it starts");
    assert_eq!(in_force(&app), shipped.as_str());
    assert_eq!(said(folder.path(), &["policy", "promote", "v1", "--now", "--anyway"]).0, 0);
    until(&app, version.schema.as_str()).await;
    assert_eq!(said(folder.path(), &["policy", "rollback"]).0, 0);
    until(&app, shipped.as_str()).await;
    assert_eq!(said(folder.path(), &["policy", "promote", "v1", "--now", "--anyway"]).0, 0);
    until(&app, version.schema.as_str()).await;
    stopped(app).await;
    // And they are there again after a start.
    let app = App::start(config, folder.path(), Arc::new(|_| {})).await.expect("it starts");
    assert_eq!(in_force(&app), version.schema.as_str());
    stopped(app).await;
}

/// The feature map in force.
fn in_force(app: &App) -> String {
    let live = app.gateway().live();
    live.features.schema().to_string()
}

async fn until(app: &App, schema: &str) {
    let there = async {
        while in_force(app) != schema {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), there).await.expect("the learner looks every second");
}

async fn stopped(app: App) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    app.serve(listener, std::future::ready(())).await.expect("it ends in good order");
}

/// One provider, whose two models are as good as each other.
struct Acme(Vec<Provider>);

impl Truth for Acme {
    fn providers(&self) -> &[Provider] {
        &self.0
    }

    fn outcome(&self, _: &str, _: &str) -> Option<simulate::Outcome> {
        let (first_token, total) = (Duration::ZERO, Duration::ZERO);
        Some(simulate::Outcome { score: 1.0, completion_tokens: 20, first_token, total, cost_usd: None })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_on_trial_sees_requests_through_its_own_map() {
    let folder = tempfile::tempdir().expect("a folder");
    grown(folder.path(), 3_000).await;
    let train = ["train", "--map", "supervised", "--choose", "0", "--json"];
    assert_eq!(said(folder.path(), &train).0, 0);
    let versions = Versions::of_data(folder.path());
    let version = versions.get("v1").expect("there");
    let (state, map) = (versions.state(&version).expect("whole"), versions.map(&version).expect("readable"));
    let (own, shipped) = (Extractor::new().on(map.as_ref().expect("it brings its map")), Extractor::new());
    let policy = state.publish();

    let price = Price { input: 1.0, output: 2.0, cached_input: None, cache_write: None, reasoning: None };
    let models = vec!["small".to_owned(), "large".to_owned()];
    let acme = Provider { name: "acme".to_owned(), models, price, faults: Faults::default() };
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let served = simulate::serve(Arc::new(Acme(vec![acme])), 7, &tasks, &stop).await.expect("ports are to be had");
    let config = folder.path().join("pointsman.toml");
    let text = format!(
        "version = 1\n[embed]\nenabled = false\n[learn.canary]\nshares = [0.5]\nmargins = [0.5]\n[providers.acme]\n\
         base_url = {:?}\nmodels = ['small', 'large']\nprice = {{ input = 1.0, output = 2.0 }}\n",
        served[0].base_url
    );
    std::fs::write(&config, text).expect("writable");
    let config = Config::load(Some(&config), &Environment::default()).expect("it is right");
    let catalog = config.catalog.clone();
    let app = App::start(config, folder.path(), Arc::new(|_| {})).await.expect("it starts");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (user, gateway) = (User::of(&listener), Arc::clone(app.gateway()));
    let promote = |how: &'static str| {
        let folder = folder.path().to_owned();
        tokio::task::spawn_blocking(move || said(&folder, &["policy", "promote", "v1", how]))
    };
    let life = async {
        // In the shadow: what serves decides, on its own map; the version's word is the one it has on its own.
        let before = gateway.ledger().last();
        assert_eq!(promote("--shadow").await.expect("it runs").0, 0);
        while gateway.live().trial.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        user.asks(20).await;
        gateway.ledger().flush().await.expect("flushed");
        let decisions = decisions(&gateway, before);
        assert_eq!(decisions.len(), 20);
        for (decided, logged) in &decisions {
            let record = decided.trial.as_ref().expect("it is marked");
            assert_eq!((record.part, &decided.features.context.schema), (Part::Shadow, shipped.schema()));
            let prompt = (0..20).map(User::prompt).find(|prompt| shipped.context(prompt, None) == logged.context);
            let context = own.context(&prompt.expect("one of those asked"), None);
            let mut seen = logged.clone();
            seen.context = context;
            let word = replay(&policy, &seen, &catalog, None);
            let off = word.target.iter().zip(&record.propensities).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off < 1e-6, "{:?} beside {:?}", word.target, record.propensities);
        }
        let stopped = ["policy", "trial", "--stop"];
        let place = folder.path().to_owned();
        let ended = tokio::task::spawn_blocking(move || said(&place, &stopped)).await;
        assert_eq!(ended.expect("it runs").0, 0);

        // On half of the traffic, each side decides on its own map; as good as what serves, it goes into force with it.
        let before = gateway.ledger().last();
        assert_eq!(promote("--anyway").await.expect("it runs").0, 0);
        let (trial, _) = user.asks_until_over(&versions).await;
        assert_eq!(trial.ended.expect("it is over").how, Ending::Promoted);
        gateway.ledger().flush().await.expect("flushed");
        let mut seen = [0, 0];
        for (decided, _) in self::decisions(&gateway, before) {
            let Some(record) = &decided.trial else { continue };
            let candidate = record.part == Part::Candidate;
            seen[usize::from(candidate)] += 1;
            let expected = if candidate { &version.schema } else { shipped.schema() };
            assert_eq!(&decided.features.context.schema, expected);
        }
        assert!(seen.iter().all(|seen| *seen > 10), "{seen:?}");
        while gateway.live().features.schema() != &version.schema {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.cancel();
    };
    let (served, ()) = tokio::join!(app.serve(listener, stop.cancelled()), life);
    served.expect("it ends in good order");
}

/// What was decided after this position, and the same as the log sees it.
fn decisions(gateway: &Gateway, after: u64) -> Vec<(Box<Decided>, Logged)> {
    let entries = gateway.ledger().scan(after, usize::MAX).expect("readable");
    let mut log = Log::new(entries.len().max(1));
    entries.iter().for_each(|entry| log.add(entry.offset, &entry.event));
    let logged: Vec<Logged> = log.decisions().cloned().collect();
    let decided = entries.into_iter().filter_map(|entry| match entry.event {
        Event::Decided(decided) => Some(decided),
        _ => None,
    });
    decided.zip(logged).collect()
}
