//! `kill -9`, again and again: a child process writes and learns under load, the parent ends it without a word
//! and looks at what is left.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use pointsman::base::{Clock, Seed, SystemClock};
use pointsman::learn::{self, Learner, Snapshots, rebuild, start};
use pointsman::ledger::{self, Event, Ledger, SqliteLedger};
use pointsman::policy;

use crate::samples::{completed, decided, event, feedback, id, kept, schema};

/// Tells the child which folder to write to.
const FOLDER: &str = "POINTSMAN_CRASH_FOLDER";
const ROUNDS: u64 = 20;

fn fresh() -> Learner {
    Learner::new(policy::Config::default(), schema(), &learn::Config::default())
}

fn open(folder: &Path) -> SqliteLedger {
    let config = ledger::Config { window: Duration::from_millis(2), ..ledger::Config::default() };
    SqliteLedger::open(folder, &config).expect("the ledger opens")
}

/// The child: not a test of its own, and over at once when nobody asked for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let ledger: Arc<dyn Ledger> = Arc::new(open(folder));
    let snapshots = Snapshots::new(folder.join("policy"), 5);
    let config = learn::Config { publish_events: 8, snapshot_events: 16, ..learn::Config::default() };
    let learner = snapshots.boot(fresh(), ledger.as_ref()).expect("the learner starts");
    let _learning = start(learner, Arc::clone(&ledger), Some(kept(snapshots, folder)), &config, |_| {});
    let first = ledger.last();
    let clients = (0..4).map(|client| {
        let ledger = Arc::clone(&ledger);
        async move {
            let clock = SystemClock::new();
            for n in 0.. {
                let n = first * 100 + client * 1_000_000_000 + n;
                let now = clock.now();
                ledger.append(now, event(decided(n, now)));
                ledger.append(now, event(completed(n, now, (n % 3) as usize, &[("format", 1.0)])));
                let word = event(feedback(n, now, "user", Seed(n).uniform("user"), None));
                if let Ok(offset) = ledger.append_durable(now, word).await {
                    println!("ack {offset} {n}");
                }
            }
        }
    });
    futures::future::join_all(clients).await;
}

#[test]
fn nothing_acknowledged_is_lost_and_the_policy_is_the_ledgers() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged: Vec<(u64, u64)> = Vec::new();
    let mut from_snapshots = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "crash::child", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the child starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        // Chance decides when; what the child does at that moment (a commit, a snapshot, a rename) chance decides too.
        let patience = 1 + (Seed(round).uniform("acknowledgements") * 200.0) as usize;
        let mut lines = lines.map_while(Result::ok).filter_map(|line| {
            let (_, acknowledgement) = line.split_once("ack ")?;
            let (offset, n) = acknowledgement.split_once(' ')?;
            Some((offset.parse().ok()?, n.parse().ok()?))
        });
        acknowledged.extend(lines.by_ref().take(patience));
        child.kill().expect("the child can be killed");
        // What it said before it died counts too.
        acknowledged.extend(lines);
        child.wait().expect("the child is dead");

        let ledger = open(folder.path());
        let entries = ledger.scan(0, usize::MAX).expect("every event can be read");
        let expected = 1..=ledger.last();
        assert!(entries.iter().map(|entry| entry.offset).eq(expected), "round {round}: the positions have gaps");
        for &(offset, n) in &acknowledged {
            let entry = entries.get(offset as usize - 1);
            let kept =
                entry.is_some_and(|entry| entry.event.decision() == id(n) && matches!(entry.event, Event::Feedback(_)));
            assert!(kept, "round {round}: event {offset} was acknowledged and is not there");
        }
        let booted =
            Snapshots::new(folder.path().join("policy"), 5).boot(fresh(), &ledger).expect("the learner starts");
        let whole = rebuild(fresh(), &ledger).expect("the ledger is readable");
        assert_eq!(booted.state().to_bytes(), whole.state().to_bytes(), "round {round}");
        from_snapshots += u64::from(booted.restored() > 0);
    }
    assert!(acknowledged.len() as u64 >= ROUNDS);
    assert!(from_snapshots >= ROUNDS / 2, "{from_snapshots} starts only went on from a snapshot");
}
