//! `kill -9` in the middle of training, exporting and promoting: what was in force stays, and nothing is half there.
//!
//! The moments are shares of the time that the command takes when left alone, and the sight of a file being written:
//! the first fall into the long reading, the others into the few milliseconds that matter most.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use pointsman::base::{Clock as _, SystemClock};
use pointsman::learn::Versions;
use serde_json::Value;

use super::{grown, pointsman, said};

/// When to kill.
#[derive(Clone, Debug)]
enum Moment {
    /// After this share of the time that it takes when left alone.
    Share(f64),
    /// As soon as this folder holds a file whose name begins so.
    File(PathBuf, String),
}

/// Starts the command and kills it at this moment. `false`: it was done before.
fn killed(folder: &Path, arguments: &[&str], moment: &Moment, whole: Duration) -> bool {
    let clock = SystemClock::new();
    let mut command = pointsman(folder, arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let come = || match moment {
        Moment::Share(share) => clock.monotonic() >= whole.mul_f64(*share),
        Moment::File(place, start) => names(place).iter().any(|name| name.starts_with(start)),
    };
    while !come() {
        if child.try_wait().expect("it can be waited for").is_some() {
            return false;
        }
        std::thread::yield_now();
    }
    child.kill().expect("it can be killed");
    !child.wait().expect("it is over").success()
}

/// How long it takes when nobody kills it.
fn whole(folder: &Path, arguments: &[&str]) -> Duration {
    let clock = SystemClock::new();
    let (code, _, complaint) = said(folder, arguments);
    assert_eq!(code, 0, "{arguments:?}: {complaint}");
    clock.monotonic()
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

/// Every version that is listed can be put in force, and its card can be read; their names.
fn sound(versions: &Versions) -> Vec<String> {
    let listed = versions.list().expect("every description is whole");
    for version in &listed {
        versions.state(version).expect("its bytes are those it was described with");
        let card = std::fs::read(versions.file(&version.name, "card.json")).expect("it has its card");
        serde_json::from_slice::<Value>(&card).expect("the card is whole");
    }
    listed.into_iter().map(|version| version.name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn training_leaves_what_was_there_and_the_next_run_clears_up() {
    let folder = tempfile::tempdir().expect("a folder");
    grown(folder.path(), 1_000, [0.9, 0.5, 0.2]).await;
    let took = whole(folder.path(), &["train"]);
    assert_eq!(said(folder.path(), &["policy", "promote", "v1", "--now", "--anyway"]).0, 0);
    let versions = Versions::of_data(folder.path());
    let in_force = versions.history().expect("readable");
    let place = folder.path().join(Versions::FOLDER);
    let mut killings = 0;
    for n in 0..8 {
        let before = sound(&versions);
        let next = before.len() + 1;
        let sight = |name: String| Moment::File(place.clone(), name);
        let moment = match n {
            0..4 => Moment::Share(f64::from(n + 1) / 5.0),
            4 => sight(".writing-".to_owned()),
            5 => sight(format!("v{next}.policy")),
            6 => sight(format!("v{next}.card.md")),
            _ => sight(format!("v{next}.card.json")),
        };
        killings += u32::from(killed(folder.path(), &["train"], &moment, took));
        assert_eq!(sound(&versions)[..before.len()], before, "{moment:?}");
        assert_eq!(versions.history().expect("readable"), in_force, "{moment:?}");
        assert_eq!(said(folder.path(), &["policy", "list"]).0, 0, "{moment:?}");
    }
    assert!(killings >= 4, "only {killings} of 8 runs were killed before they were done");
    assert_eq!(said(folder.path(), &["train"]).0, 0);
    let kept = sound(&versions);
    for name in names(&place).into_iter().filter(|name| name != ".lock" && name != "active.json") {
        let (owner, _) = name.split_once('.').expect("an ending");
        assert!(kept.iter().any(|version| version == owner), "{name} is left over");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_leaves_the_file_of_before_or_the_whole_new_one() {
    let folder = tempfile::tempdir().expect("a folder");
    grown(folder.path(), 2_000, [0.9, 0.5, 0.2]).await;
    for name in ["log.jsonl", "log.parquet"] {
        let export = ["export", "--output", name];
        let file = folder.path().join(name);
        let took = whole(folder.path(), &export);
        let new = std::fs::read(&file).expect("it is there");
        let mut killings = 0;
        for n in 0..10 {
            std::fs::write(&file, "what was there before").expect("writable");
            let beside = format!("{name}.writing");
            // Left by the one before; here the sight of it is a moment.
            let _ = std::fs::remove_file(folder.path().join(&beside));
            let moment = match n {
                0..8 => Moment::Share(f64::from(n + 1) / 9.0),
                _ => Moment::File(folder.path().to_owned(), beside),
            };
            let dead = killed(folder.path(), &export, &moment, took);
            killings += u32::from(dead);
            let there = std::fs::read(&file).expect("it is there");
            let old = there == b"what was there before";
            assert!(there == new || (old && dead), "{moment:?} of {name}: neither the old file nor the new one");
        }
        assert!(killings >= 4, "only {killings} of 10 exports were killed before they were done");
        // A killed one has left more behind than there is to write: the next takes its place.
        std::fs::write(folder.path().join(format!("{name}.writing")), vec![b'x'; 2 * new.len()]).expect("writable");
        assert_eq!(said(folder.path(), &export).0, 0);
        assert!(std::fs::read(&file).expect("it is there") == new, "{name}: the same ledger, the same bytes");
        assert!(!names(folder.path()).iter().any(|name| name.ends_with(".writing")), "something is left over");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_has_happened_or_not() {
    let folder = tempfile::tempdir().expect("a folder");
    grown(folder.path(), 200, [0.9, 0.5, 0.2]).await;
    for _ in 0..2 {
        assert_eq!(said(folder.path(), &["train", "--choose", "0"]).0, 0);
    }
    let versions = Versions::of_data(folder.path());
    let place = folder.path().join(Versions::FOLDER);
    let took = whole(folder.path(), &["policy", "promote", "v1", "--now", "--anyway"]);
    for n in 0..12 {
        let before = versions.history().expect("whole");
        let to = if before.last().and_then(|last| last.version.as_deref()) == Some("v1") { "v2" } else { "v1" };
        let moment = match n {
            0..9 => Moment::Share(f64::from(n + 1) / 10.0),
            _ => Moment::File(place.clone(), ".writing-".to_owned()),
        };
        killed(folder.path(), &["policy", "promote", to, "--now", "--anyway"], &moment, took);
        let after = versions.history().expect("whole");
        assert_eq!(after[..before.len()], before, "{moment:?}");
        assert!(after.len() <= before.len() + 1, "{moment:?}");
        let (code, _, complaint) = said(folder.path(), &["policy", "list"]);
        assert_eq!(code, 0, "{moment:?}: {complaint}");
        // The same for a trial: it has begun or it has not.
        let trials = versions.trials().expect("whole").len();
        killed(folder.path(), &["policy", "promote", to, "--anyway"], &moment, took);
        let begun = versions.on_trial().expect("whole");
        assert!(versions.trials().expect("whole").len() - trials == usize::from(begun.is_some()), "{moment:?}");
        assert_eq!(said(folder.path(), &["policy", "trial", "--stop"]).0, 0);
    }
    // Whoever was killed holds no lock.
    assert_eq!(said(folder.path(), &["policy", "promote", "v1", "--now", "--anyway"]).0, 0);
}
