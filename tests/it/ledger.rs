//! The ledger: one suite of promises kept by both stores, then what only the one on disk can get wrong.

use std::sync::Arc;
use std::time::Duration;

use pointsman::base::{DecisionId, Timestamp};
use pointsman::ledger::{Config, Durability, Entry, Event, Ledger, LedgerError, MemoryLedger, SqliteLedger};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::samples::{completed, decided, event, feedback, id};

/// A number of any form that is finite.
fn finite() -> impl Strategy<Value = f64> {
    any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |number| number.is_finite())
}

fn at(second: u64) -> Timestamp {
    Timestamp(1_780_000_000_000_000 + second * 1_000_000)
}

fn on_disk(folder: &TempDir) -> SqliteLedger {
    SqliteLedger::open(folder.path(), &Config::default()).expect("a fresh folder can be opened")
}

/// A second way into the file, for doing it harm.
fn raw(folder: &TempDir) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(folder.path().join("ledger.sqlite")).expect("the file is there");
    connection.busy_timeout(Duration::from_secs(20)).expect("a time-out can be set");
    connection
}

fn offsets(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.offset).collect()
}

/// What every ledger promises.
mod promises {
    use super::*;

    pub(super) async fn positions_have_no_gaps(ledger: Arc<dyn Ledger>) {
        assert_eq!(ledger.last(), 0);
        assert_eq!(ledger.scan(0, 10).expect("readable"), []);
        for n in 0..10 {
            assert!(ledger.append(at(n), event(decided(n, at(n)))));
        }
        assert_eq!(ledger.flush().await.expect("flushed"), 10);
        assert_eq!(ledger.last(), 10);
        assert_eq!(offsets(&ledger.scan(0, 100).expect("readable")), (1..=10).collect::<Vec<_>>());
        assert_eq!(offsets(&ledger.scan(3, 4).expect("readable")), [4, 5, 6, 7]);
        assert_eq!(ledger.scan(10, 4).expect("readable"), []);
        assert_eq!(ledger.scan(1_000, 4).expect("readable"), []);
        assert_eq!(ledger.shed(), 0);
    }

    pub(super) async fn what_comes_back_is_what_was_appended(ledger: Arc<dyn Ledger>) {
        let events = [
            event(decided(1, at(1))),
            event(completed(1, at(2), 1, &[("format", 1.0), ("refusal", 0.1 + 0.2)])),
            event(feedback(1, at(3), "user", 1.0 / 3.0, Some("key"))),
        ];
        for (n, event) in events.iter().enumerate() {
            ledger.append_durable(at(n as u64), event.clone()).await.expect("committed");
        }
        let entries = ledger.scan(0, 10).expect("readable");
        assert_eq!(entries.iter().map(|entry| entry.event.clone()).collect::<Vec<_>>(), events);
        assert_eq!(entries.iter().map(|entry| entry.at).collect::<Vec<_>>(), [at(0), at(1), at(2)]);
    }

    pub(super) async fn a_decision_is_found_by_its_name_and_by_its_response(ledger: Arc<dyn Ledger>) {
        for n in [1, 2, 1, 3] {
            ledger.append(at(n), event(decided(n, at(n))));
        }
        let mut late = completed(2, at(9), 0, &[]);
        late.response_id = Some("chatcmpl-1".to_owned());
        ledger.append(at(8), event(completed(1, at(8), 0, &[])));
        ledger.append(at(9), event(late));
        ledger.flush().await.expect("flushed");
        assert_eq!(offsets(&ledger.of_decision(id(1)).expect("readable")), [1, 3, 5]);
        assert_eq!(ledger.of_decision(id(77)).expect("readable"), []);
        assert_eq!(ledger.decision_of_response("chatcmpl-1").expect("readable"), Some(id(2)), "the latest");
        assert_eq!(ledger.decision_of_response("chatcmpl-").expect("readable"), None);
    }

    pub(super) async fn an_acknowledged_event_can_be_read_at_once(ledger: Arc<dyn Ledger>) {
        for n in 1..=5 {
            ledger.append(at(n), event(decided(100 + n, at(n))));
            let offset = ledger.append_durable(at(n), event(decided(n, at(n)))).await.expect("committed");
            assert_eq!(offset, 2 * n);
            assert_eq!(offsets(&ledger.of_decision(id(n)).expect("readable")), [offset]);
        }
    }

    pub(super) async fn whoever_waits_is_woken_when_something_comes(ledger: Arc<dyn Ledger>) {
        let waiting = Arc::clone(&ledger);
        let woken = async move {
            waiting.wait_beyond(1).await;
            waiting.last()
        };
        let append = async {
            ledger.append(at(1), event(decided(1, at(1))));
            ledger.flush().await.expect("flushed");
            ledger.append(at(2), event(decided(2, at(2))));
        };
        let (last, ()) = tokio::join!(woken, append);
        assert!(last >= 2);
        ledger.wait_beyond(0).await;
    }

    pub(super) async fn a_number_that_is_not_finite_is_refused_and_counted(ledger: Arc<dyn Ledger>) {
        let mut senseless = decided(1, at(1));
        senseless.arms[1].prediction.utility = f64::NAN;
        let refused = ledger.append_durable(at(1), event(senseless.clone())).await;
        assert!(matches!(refused, Err(LedgerError::Senseless)), "{refused:?}");
        ledger.append(at(2), event(senseless));
        ledger.append(at(3), event(decided(2, at(3))));
        assert_eq!(ledger.flush().await.expect("flushed"), 1);
        assert_eq!(ledger.shed(), 2);
        assert_eq!(offsets(&ledger.scan(0, 10).expect("readable")), [1]);
    }

    pub(super) async fn many_writers_lose_nothing(ledger: Arc<dyn Ledger>) {
        let writers = (0..8).map(|writer| {
            let ledger = Arc::clone(&ledger);
            std::thread::spawn(move || {
                for n in 0..250 {
                    assert!(ledger.append(at(n), event(decided(writer * 1_000 + n, at(n)))));
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.join().expect("a writer does not panic");
        }
        assert_eq!(ledger.flush().await.expect("flushed"), 2_000);
        let entries = ledger.scan(0, 5_000).expect("readable");
        assert_eq!(offsets(&entries), (1..=2_000).collect::<Vec<_>>());
        // What one thread appended stands in its order.
        for writer in 0..8 {
            let own = |entry: &Entry| (0..250).position(|n| entry.event.decision() == id(writer * 1_000 + n));
            assert_eq!(entries.iter().filter_map(own).collect::<Vec<_>>(), (0..250).collect::<Vec<_>>());
        }
    }
}

/// Each promise, by both stores.
macro_rules! kept_by_both {
    ($($promise:ident)*) => {
        mod in_memory {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                promises::$promise(Arc::new(MemoryLedger::new())).await;
            })*
        }
        mod on_disk {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let folder = tempfile::tempdir().expect("a folder");
                promises::$promise(Arc::new(super::on_disk(&folder))).await;
            })*
        }
    };
}

kept_by_both! {
    positions_have_no_gaps
    what_comes_back_is_what_was_appended
    a_decision_is_found_by_its_name_and_by_its_response
    an_acknowledged_event_can_be_read_at_once
    whoever_waits_is_woken_when_something_comes
    a_number_that_is_not_finite_is_refused_and_counted
    many_writers_lose_nothing
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_bit_of_a_number_survives_the_disk(
        x in proptest::collection::vec(any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |x| x.is_finite()), 33),
        numbers in proptest::collection::vec(finite(), 6),
        seed in any::<u64>(),
        at in any::<u64>(),
    ) {
        let mut decision = decided(1, Timestamp(at));
        decision.features.context.x = x;
        decision.seed = pointsman::base::Seed(seed);
        decision.arms[0].propensity = numbers[0];
        decision.arms[0].prediction.quality.mean = numbers[1];
        decision.arms[1].prediction.utility = numbers[2];
        decision.preferences.latency_per_second = numbers[3];
        decision.features.complexity = Some(numbers[4]);
        let mut ending = completed(1, Timestamp(at), 0, &[]);
        ending.total_ms = numbers[5];
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = on_disk(&folder);
        ledger.append(Timestamp(at), event(decision.clone()));
        ledger.append(Timestamp(at), event(ending.clone()));
        drop(ledger);
        let entries = on_disk(&folder).scan(0, 10).expect("readable");
        prop_assert_eq!(entries.len(), 2);
        prop_assert_eq!(&entries[0], &Entry { offset: 1, at: Timestamp(at), event: event(decision.clone()) });
        prop_assert_eq!(&entries[1].event, &event(ending));
        let Event::Decided(read) = &entries[0].event else { unreachable!("its kind is decided") };
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&read.features.context.x), bits(&decision.features.context.x));
    }
}

#[tokio::test]
async fn a_ledger_opened_again_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    for round in 0..3 {
        let ledger = on_disk(&folder);
        assert_eq!(ledger.last(), round * 2);
        ledger.append(at(round), event(decided(round, at(round))));
        // Not flushed: closing writes what is queued.
        ledger.append(at(round), event(completed(round, at(round), 0, &[])));
    }
    assert_eq!(offsets(&on_disk(&folder).scan(0, 10).expect("readable")), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_full_sync_is_acknowledged_like_a_normal_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config { durability: Durability::Full, ..Config::default() };
    let ledger = SqliteLedger::open(folder.path(), &config).expect("opens");
    assert_eq!(ledger.append_durable(at(1), event(decided(1, at(1)))).await.expect("committed"), 1);
}

#[test]
fn a_second_opener_is_told_that_the_folder_is_in_use() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = on_disk(&folder);
    let refused = SqliteLedger::open(folder.path(), &Config::default()).expect_err("it is in use");
    assert!(matches!(refused, LedgerError::Locked { .. }), "{refused}");
    drop(first);
    on_disk(&folder);
}

#[test]
fn a_file_of_a_later_form_and_a_file_of_somebody_else_are_refused_untouched() {
    for (statement, found) in [("PRAGMA user_version = 9", 9), ("PRAGMA application_id = 77", 1)] {
        let folder = tempfile::tempdir().expect("a folder");
        drop(on_disk(&folder));
        raw(&folder).execute_batch(statement).expect("the header can be set");
        let refused = SqliteLedger::open(folder.path(), &Config::default()).expect_err("not ours");
        assert!(matches!(refused, LedgerError::Form { found: form, known: 1, .. } if form == found), "{refused}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    raw(&folder).execute_batch("CREATE TABLE recipes (name TEXT)").expect("a table");
    let refused = SqliteLedger::open(folder.path(), &Config::default()).expect_err("not ours");
    assert!(matches!(refused, LedgerError::Form { found: 0, .. }), "{refused}");
    let journal: String =
        raw(&folder).pragma_query_value(None, "journal_mode", |row| row.get(0)).expect("a journal mode");
    assert_eq!(journal, "delete", "the other program's file is as it was");
}

#[tokio::test]
async fn a_reader_sees_what_was_committed_while_another_process_writes() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = SqliteLedger::open_to_read(folder.path()).expect_err("there is none yet");
    assert!(matches!(missing, LedgerError::Folder { .. }), "{missing}");
    let writer = on_disk(&folder);
    writer.append_durable(at(1), event(decided(1, at(1)))).await.expect("committed");
    let reader = SqliteLedger::open_to_read(folder.path()).expect("opens");
    assert_eq!((reader.last(), offsets(&reader.scan(0, 10).expect("readable"))), (1, vec![1]));
    writer.append_durable(at(2), event(decided(2, at(2)))).await.expect("committed");
    assert_eq!(offsets(&reader.scan(0, 10).expect("readable")), [1, 2]);
    assert!(!reader.append(at(3), event(decided(3, at(3)))));
    assert!(matches!(reader.append_durable(at(3), event(decided(3, at(3)))).await, Err(LedgerError::Busy)));
}

#[test]
fn a_folder_that_cannot_be_one_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").expect("written");
    let refused = SqliteLedger::open(&file, &Config::default()).expect_err("a file is no folder");
    assert!(matches!(refused, LedgerError::Folder { .. }), "{refused}");
    assert!(refused.to_string().contains(&file.display().to_string()), "{refused}");
}

#[tokio::test]
async fn a_failing_commit_is_tried_again_until_it_succeeds_and_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = on_disk(&folder);
    ledger.append_durable(at(0), event(decided(0, at(0)))).await.expect("committed");
    let breaker = raw(&folder);
    breaker
        .execute_batch("CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
        .expect("a trigger");
    for n in 1..=20 {
        assert!(ledger.append(at(n), event(decided(n, at(n)))));
    }
    let told = ledger.append_durable(at(21), event(decided(21, at(21)))).await.expect_err("it cannot be committed");
    assert!(told.to_string().contains("disk is full"), "{told}");
    assert_eq!(ledger.last(), 1);
    breaker.execute_batch("DROP TRIGGER full").expect("no trigger");
    assert_eq!(ledger.flush().await.expect("flushed"), 22);
    let decisions: Vec<DecisionId> =
        ledger.scan(0, 100).expect("readable").iter().map(|entry| entry.event.decision()).collect();
    assert_eq!(decisions, (0..=21).map(id).collect::<Vec<_>>());
    assert_eq!(ledger.shed(), 0);
}

#[tokio::test]
async fn a_writer_that_cannot_keep_up_sheds_and_counts_what_it_sheds() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config { queue: 8, batch: 4, ..Config::default() };
    let ledger = SqliteLedger::open(folder.path(), &config).expect("opens");
    let blocker = raw(&folder);
    blocker.execute_batch("BEGIN IMMEDIATE").expect("the file can be held");
    let taken = (0..100).filter(|&n| ledger.append(at(n), event(decided(n, at(n))))).count();
    assert!((8..=12).contains(&taken), "{taken}: the queue and at most one batch");
    assert_eq!(ledger.shed(), 100 - taken as u64);
    let refused = ledger.append_durable(at(100), event(decided(100, at(100)))).await;
    assert!(matches!(refused, Err(LedgerError::Busy)), "{refused:?}");
    blocker.execute_batch("COMMIT").expect("the file can be let go");
    assert_eq!(ledger.flush().await.expect("flushed"), taken as u64);
    assert_eq!(ledger.shed() + ledger.last(), 101, "recorded or counted");
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_named_and_the_rest_stays_readable() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = on_disk(&folder);
    for n in 1..=5 {
        ledger.append(at(n), event(decided(n % 2, at(n))));
    }
    ledger.flush().await.expect("flushed");
    raw(&folder).execute("UPDATE events SET body = 'mould' WHERE offset = 3", []).expect("harm is done");
    assert_eq!(offsets(&ledger.scan(0, 10).expect("readable up to there")), [1, 2]);
    let error = ledger.scan(2, 10).expect_err("the third cannot be read");
    assert!(matches!(error, LedgerError::Corrupt { offset: 3, .. }), "{error}");
    assert_eq!(offsets(&ledger.scan(3, 10).expect("readable after it")), [4, 5]);
    assert_eq!(offsets(&ledger.of_decision(id(1)).expect("readable")), [1, 5]);
}

#[test]
fn nonsense_in_the_settings_is_named() {
    assert_eq!(Config::default().problems(), []);
    let wrong = Config { window: Duration::from_mins(1), batch: 0, queue: 0, ..Config::default() };
    let paths: Vec<String> = wrong.problems().into_iter().map(|problem| problem.path).collect();
    assert_eq!(paths, ["window", "batch", "queue"]);
}
