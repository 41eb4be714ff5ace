//! Versions of what was learned: set aside, compared, put in force again, and the ledger's part in it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use pointsman::base::Timestamp;
use pointsman::learn::portrait::{ALL, Traffic, portrait};
use pointsman::learn::{
    Activation, Config, Kept, Learner, Maker, Snapshots, Trial, VersionError, Versions, rebuild, start,
};
use pointsman::ledger::{Event, Ledger, MemoryLedger, SqliteLedger};
use pointsman::policy::{self, Policy};
use proptest::prelude::*;
use serde_json::Value;

use crate::samples::{completed, decided, event, feedback, schema};

fn at(second: u64) -> Timestamp {
    Timestamp(1_780_000_000_000_000 + second * 1_000_000)
}

fn fresh() -> Learner {
    Learner::new(policy::Config::default(), schema(), &Config { cases: 3, ..Config::default() })
}

/// The events of request `n`, answered by one of three models and judged.
fn answered(n: u64) -> [Event; 2] {
    let end = completed(n, at(n), (n % 3) as usize, &[("user", (n % 10) as f64 / 9.0)]);
    [event(decided(n, at(n))), event(end)]
}

fn grown(ledger: &MemoryLedger, requests: std::ops::Range<u64>) {
    for n in requests {
        for event in answered(n) {
            assert!(ledger.append(at(n), event));
        }
    }
}

fn in_force(version: Option<&str>, from: u64) -> Activation {
    Activation { version: version.map(str::to_owned), from, at: at(0), why: "test".to_owned() }
}

/// The learner that the folder and the ledger make.
fn made(versions: &Versions, ledger: &MemoryLedger) -> Learner {
    let mut learner = fresh();
    learner.stand_on(versions).expect("usable");
    rebuild(learner, ledger).expect("readable")
}

#[test]
fn going_back_drops_what_was_learned_since_and_learning_goes_on_from_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let (versions, ledger) = (Versions::of_data(folder.path()), MemoryLedger::new());
    grown(&ledger, 0..20);
    let early = rebuild(fresh(), &ledger).expect("readable");
    let kept = versions.put(&early, Maker::Hand, "before the bad day").expect("writable");
    assert_eq!((kept.name.as_str(), kept.offset, kept.at), ("v1", 40, at(19)));
    grown(&ledger, 20..50);
    versions.activate(in_force(Some("v1"), ledger.last())).expect("writable");
    let back = made(&versions, &ledger);
    assert_eq!((back.version(), back.state().to_bytes()), (Some("v1"), early.state().to_bytes()));

    // What comes after is learned on it, as if what lies between had never been.
    grown(&ledger, 50..60);
    let without = MemoryLedger::new();
    grown(&without, 0..20);
    grown(&without, 50..60);
    let expected = rebuild(fresh(), &without).expect("readable");
    assert_eq!(made(&versions, &ledger).state().to_bytes(), expected.state().to_bytes());

    // And the whole ledger can be had again.
    versions.activate(in_force(None, 0)).expect("writable");
    let whole = rebuild(fresh(), &ledger).expect("readable");
    assert_eq!(made(&versions, &ledger).state().to_bytes(), whole.state().to_bytes());
}

#[test]
fn a_late_word_on_a_dropped_request_counts_once_and_can_be_corrected() {
    let folder = tempfile::tempdir().expect("a folder");
    let (versions, ledger) = (Versions::of_data(folder.path()), MemoryLedger::new());
    grown(&ledger, 0..20);
    versions.put(&rebuild(fresh(), &ledger).expect("readable"), Maker::Hand, "").expect("writable");
    grown(&ledger, 20..40);
    versions.activate(in_force(Some("v1"), ledger.last())).expect("writable");
    let before = made(&versions, &ledger).state().rows();
    // Request 30 was judged in what was dropped: nothing of it is in the sums, so nothing is taken out of them.
    ledger.append(at(60), event(feedback(30, at(60), "user", 0.25, None)));
    assert_eq!(made(&versions, &ledger).state().rows(), before + 1);
    // Request 10 was learned: its old row goes, a new one comes.
    ledger.append(at(61), event(feedback(10, at(61), "user", 0.75, None)));
    assert_eq!(made(&versions, &ledger).state().rows(), before + 3);
    ledger.append(at(62), event(feedback(30, at(62), "user", 0.5, None)));
    assert_eq!(made(&versions, &ledger).state().rows(), before + 5);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 25, ..ProptestConfig::default() })]

    /// Wherever versions were made and put in force, however the learner was restarted on the way.
    #[test]
    fn the_policy_is_a_function_of_the_folder_and_the_ledger(
        steps in proptest::collection::vec((1..8_u64, 0..4_u8, any::<prop::sample::Index>()), 1..12),
        stride in 1..9_usize,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let (versions, ledger) = (Versions::of_data(folder.path()), MemoryLedger::new());
        let snapshots = Snapshots::new(folder.path().join("snapshots"), 3);
        let mut live = fresh();
        let mut next = 0;
        for (requests, what, which) in steps {
            grown(&ledger, next..next + requests);
            next += requests;
            ledger.append(at(next), event(feedback(which.index(next as usize) as u64, at(next), "user", 0.5, None)));
            while live.catch_up(&ledger, stride).expect("readable") > 0 {}
            match what {
                0 => drop(versions.put(&live, Maker::Hand, "").expect("writable")),
                1 => {
                    snapshots.write(&live, &ledger).expect("writable");
                    live = fresh();
                    live.stand_on(&versions).expect("usable");
                    live = snapshots.boot(live, &ledger).expect("readable");
                }
                2 => {
                    let all = versions.list().expect("readable");
                    if !all.is_empty() {
                        let version = &all[which.index(all.len())];
                        let from = if requests % 2 == 0 { ledger.last() } else { version.offset };
                        versions.activate(in_force(Some(&version.name), from)).expect("writable");
                        prop_assert_eq!(live.stand_on(&versions).is_ok(), true);
                        while live.catch_up(&ledger, stride).expect("readable") > 0 {}
                    }
                }
                _ => {}
            }
            prop_assert_eq!(live.state().to_bytes(), made(&versions, &ledger).state().to_bytes());
        }
    }
}

#[test]
fn only_the_learner_s_own_are_removed_and_never_one_that_was_in_force_or_on_trial() {
    let folder = tempfile::tempdir().expect("a folder");
    let versions = Versions::of_data(folder.path());
    for by in [Maker::Learner, Maker::Hand, Maker::Learner, Maker::Learner, Maker::Learner, Maker::Trained] {
        versions.put(&fresh(), by, "").expect("writable");
    }
    versions.activate(in_force(Some("v1"), 0)).expect("writable");
    let trial = Trial { version: "v3".to_owned(), after: 0, at: at(0), steps: Vec::new(), ended: None };
    assert!(versions.begin_trial(trial).expect("writable"));
    versions.prune(1).expect("writable");
    let names: Vec<String> = versions.list().expect("readable").into_iter().map(|version| version.name).collect();
    assert_eq!(names, ["v1", "v2", "v3", "v5", "v6"], "v3 is on trial");
    assert_eq!(versions.put(&fresh(), Maker::Hand, "").expect("writable").name, "v7");
}

#[test]
fn a_damaged_or_foreign_version_is_refused_and_what_was_in_force_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let versions = Versions::of_data(folder.path());
    let version = versions.put(&fresh(), Maker::Hand, "").expect("writable");
    let other = Learner::new(policy::Config::default(), "other/2".into(), &Config::default());
    versions.put(&other, Maker::Hand, "").expect("writable");
    versions.activate(in_force(Some("v2"), 0)).expect("its bytes are whole");
    let mut learner = fresh();
    assert!(matches!(learner.stand_on(&versions), Err(VersionError::State { .. })));
    assert_eq!(learner.version(), None);
    let file = folder.path().join(Versions::FOLDER).join("v1.policy");
    let mut bytes = std::fs::read(&file).expect("readable");
    bytes[30] ^= 4;
    std::fs::write(&file, bytes).expect("writable");
    assert!(matches!(versions.state(&version), Err(VersionError::Damaged { .. })));
    assert!(matches!(versions.activate(in_force(Some("v1"), 0)), Err(VersionError::Damaged { .. })));
    for name in ["v9", "../v1", "v+1", ""] {
        assert!(matches!(versions.get(name), Err(VersionError::Unknown { .. })), "{name}");
    }
    assert_eq!(versions.history().expect("readable").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_running_learner_changes_over_and_sets_its_own_state_aside() {
    let folder = tempfile::tempdir().expect("a folder");
    let versions = Versions::of_data(folder.path());
    let ledger = Arc::new(MemoryLedger::new());
    grown(&ledger, 0..10);
    let early = rebuild(fresh(), ledger.as_ref()).expect("readable");
    versions.put(&early, Maker::Hand, "").expect("writable");
    grown(&ledger, 10..30);
    let kept = Kept { snapshots: Snapshots::new(folder.path().join("snapshots"), 3), versions: versions.clone() };
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let shared: Arc<dyn Ledger> = Arc::clone(&ledger) as _;
    let handle = start(fresh(), shared, Some(kept), &Config::default(), move |policy| {
        let _ = tell.send(policy.version().to_owned());
    });
    handle.published(60).await;
    versions.activate(in_force(Some("v1"), 60)).expect("writable");
    let expected = early.publish().version().to_owned();
    while told.recv().await.expect("the learner runs") != expected {}
    let learner = handle.stop().await.expect("stops");
    assert_eq!((learner.version(), learner.state().to_bytes()), (Some("v1"), early.state().to_bytes()));
    let aside = versions.list().expect("readable").pop().expect("there are two");
    assert_eq!((aside.by, aside.offset), (Maker::SetAside, 60));
    assert_eq!(versions.state(&aside).expect("whole").rows(), 30 * 2);
}

#[test]
fn a_portrait_shows_beliefs_and_shares_by_intent() {
    let ledger = MemoryLedger::new();
    grown(&ledger, 0..30);
    let policy = rebuild(fresh(), &ledger).expect("readable").publish();
    let traffic = Traffic::read(&ledger, 0, &schema()).expect("readable");
    let likenesses = portrait(&policy, &traffic);
    assert_eq!(likenesses.len(), 2 * 3, "all and code, three models each");
    for likeness in &likenesses {
        assert_eq!((likeness.requests, likeness.played), (30, Some(1.0 / 3.0)));
        let (low, high) = likeness.interval();
        assert!(low < likeness.quality.mean && likeness.quality.mean < high);
    }
    assert_eq!(likenesses[0].intent, ALL);
    assert_eq!(traffic.agreement(&policy, &policy), Some(1.0));
}

fn pointsman(data: &Path, arguments: &[&str]) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .arg("policy")
        .args(arguments)
        .arg("--data")
        .arg(data)
        .current_dir(data)
        .env_remove("POINTSMAN_CONFIG")
        .output()
        .expect("it runs");
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("text")
}

#[test]
fn the_command_line_keeps_shows_compares_and_goes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path();
    let fill = |requests: std::ops::Range<u64>| {
        let ledger = SqliteLedger::open(data, &pointsman::ledger::Config::default()).expect("opens");
        for n in requests {
            for event in answered(n) {
                assert!(ledger.append(at(n), event));
            }
        }
    };
    fill(0..30);
    assert!(pointsman(data, &["list"]).contains("no version was set aside yet"));
    assert!(pointsman(data, &["keep", "--note", "first"]).starts_with("v1 "));
    fill(30..60);
    let page = data.join("picture.html");
    let shown = pointsman(data, &["show", "--html", page.to_str().expect("text")]);
    assert!(shown.contains("120 rows") && shown.contains("acme/small"), "{shown}");
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.contains("<svg") && page.contains("acme/large") && !page.contains("http"), "{page}");
    let diff: Value = serde_json::from_str(&pointsman(data, &["diff", "v1", "--json"])).expect("JSON");
    assert!(diff["beliefs"].as_array().is_some_and(|beliefs| beliefs.len() == 6), "{diff}");
    let back = pointsman(data, &["rollback", "--why", "a bad day"]);
    assert_eq!(back, "v1 is in force; what 60 events since then taught is dropped\n");
    let listed: Value = serde_json::from_str(&pointsman(data, &["list", "--json"])).expect("JSON");
    assert_eq!(listed["history"][0]["why"], "a bad day");
    assert!(pointsman(data, &["show"]).contains("60 rows"));
    assert!(pointsman(data, &["rollback"]).starts_with("what the whole ledger teaches"));
    assert!(pointsman(data, &["show"]).contains("120 rows"));
}
