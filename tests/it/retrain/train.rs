//! `pointsman train` and `pointsman policy promote`, through the real binary.

use pointsman::learn::{self, Learner, Maker, Versions, rebuild};
use pointsman::ledger::SqliteLedger;
use pointsman::policy;
use serde_json::Value;

use super::{grown, said};
use crate::samples::schema;

#[tokio::test]
async fn a_training_run_makes_a_version_with_its_figures_and_changes_nothing_that_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    grown(folder.path(), 3_000, [0.5, 0.8, 0.9]).await;
    let arguments = ["train", "--json", "--floor", "0.1", "--heldout", "0.6", "--note", "a first one"];
    let (code, report, complaint) = said(folder.path(), &arguments);
    assert_eq!(code, 0, "{complaint}");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let versions = Versions::of_data(folder.path());
    let made = versions.list().expect("readable");
    let [version] = &made[..] else { panic!("one version: {made:?}") };
    assert_eq!((version.by, version.offset, version.note.as_str()), (Maker::Trained, 9_000, "a first one"));
    assert_eq!(report["version"]["name"], "v1");
    assert_eq!(versions.history().expect("readable"), [], "nothing was put in force");
    let trained = &report["trained"]["evaluation"]["candidates"][0];
    assert_eq!(trained["policy"], "trained");
    assert!(trained["gain"]["normal"]["mean"].as_f64().expect("a number") > 0.2, "{trained:#}");
    assert_ne!(trained["verdict"], "keep", "{trained:#}");
    // Every answer passed this check, whoever gave it: nothing is gained on it, and nothing lost.
    let segments = trained["segments"].as_array().expect("segments");
    let empty = segments.iter().find(|segment| segment["name"] == "empty").expect("the channel");
    assert!(empty["gain"]["mean"].as_f64().expect("a number").abs() < 1e-12, "{empty:#}");
    assert_eq!(report["trained"]["evaluation"]["unpriced"][0], "acme/large@1", "no configuration lists it");
    let card = std::fs::read_to_string(versions.file("v1", "card.md")).expect("a card");
    for words in
        ["## Settings", "configured **taken**", "## Held out", "| trained |", "The gate says", "| intent | code |"]
    {
        assert!(card.contains(words), "{words} is missing: {card}");
    }
    // What was learned offline is what is learned online, to the last bit.
    let ledger = SqliteLedger::open_to_read(folder.path()).expect("there");
    let online = Learner::new(policy::Config::default(), schema(), &learn::Config::default());
    let online = rebuild(online, &ledger).expect("readable");
    assert_eq!(versions.state(version).expect("whole").to_bytes(), online.state().to_bytes());
    // The same ledger and settings, the same bytes.
    assert_eq!(said(folder.path(), &arguments).0, 0);
    let again = versions.get("v2").expect("readable");
    assert_eq!(again.digest, version.digest);
    assert_eq!(card, std::fs::read_to_string(versions.file("v2", "card.md")).expect("a card"));

    let (code, words, complaint) = said(folder.path(), &["policy", "promote", "v2"]);
    assert_eq!((code, complaint.as_str()), (0, ""));
    insta::assert_snapshot!(words, @"v2 gets 5 % of the conversations; the serving process takes it further or back, on evidence");
    assert_eq!(
        versions.on_trial().expect("readable").map(|trial| (trial.version, trial.after)),
        Some(("v2".to_owned(), 9_000))
    );
    let (code, _, complaint) = said(folder.path(), &["policy", "promote", "v1", "--shadow"]);
    assert_eq!(code, 1);
    insta::assert_snapshot!(complaint, @"pointsman: another version is on trial; `pointsman policy trial` shows it, with --stop ends it");
    assert_eq!(said(folder.path(), &["policy", "trial", "--stop"]).0, 0);
    assert_eq!(said(folder.path(), &["policy", "promote", "v1", "--now", "--anyway"]).0, 0);
    let history = versions.history().expect("readable");
    assert_eq!((history[0].version.as_deref(), history[0].from), (Some("v1"), 9_000));
}

#[tokio::test]
async fn what_is_no_better_is_not_promoted() {
    let folder = tempfile::tempdir().expect("a folder");
    grown(folder.path(), 900, [0.9, 0.2, 0.1]).await;
    let (code, _, complaint) = said(folder.path(), &["evaluate", "--gate", "--floor", "0.75"]);
    // Nothing is tried three times in four.
    assert_eq!(code, 3, "{complaint}");
    assert!(complaint.contains("tries only 0.0 %"), "{complaint}");
    let (code, _, complaint) = said(folder.path(), &["train", "--floor", "0.75", "--choose", "0"]);
    assert_eq!(code, 0, "{complaint}");
    let (code, _, complaint) = said(folder.path(), &["policy", "promote", "v1"]);
    assert_eq!(code, 3, "{complaint}");
    assert!(complaint.contains("--anyway"), "{complaint}");
    assert_eq!(Versions::of_data(folder.path()).trials().expect("readable"), []);
}
