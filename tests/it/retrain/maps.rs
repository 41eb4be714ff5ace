//! Feature maps that are refitted from logged vectors, and what promoting one does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pointsman::app::App;
use pointsman::base::Seed;
use pointsman::config::{Config, Environment};
use pointsman::embed::{Compact, DIMENSIONS};
use pointsman::features::FeatureMap;
use pointsman::learn::Versions;
use pointsman::ledger::{self, Ledger as _, SqliteLedger};
use serde_json::Value;

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
