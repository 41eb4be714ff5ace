//! Learning: what an event teaches, and that the ledger alone decides what was learned.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pointsman::base::{Kind, ModelId, Timestamp};
use pointsman::cache::CacheOutcome;
use pointsman::learn::{Channel, Config, Learner, SnapshotError, Snapshots, fold, rebuild, start};
use pointsman::ledger::{Event, Ledger, MemoryLedger, Outcome, SqliteLedger};
use pointsman::policy::pacer::Pace;
use pointsman::policy::{self, Ask, Candidate, Policy, Preferences, PromptCache};
use proptest::prelude::*;

use crate::samples::{MODELS, completed, context, decided, event, failed, feedback, id, kept, schema, score};

fn at(second: u64) -> Timestamp {
    Timestamp(1_780_000_000_000_000 + second * 1_000_000)
}

fn fresh(cases: usize) -> Learner {
    Learner::new(policy::Config::default(), schema(), &Config { cases, ..Config::default() })
}

fn learned(events: impl IntoIterator<Item = Event>) -> Learner {
    let ledger = MemoryLedger::new();
    for (second, event) in events.into_iter().enumerate() {
        assert!(ledger.append(at(second as u64), event));
    }
    rebuild(fresh(100), &ledger).expect("memory is readable")
}

fn append(ledger: &dyn Ledger, second: u64, events: [Event; 2]) {
    for event in events {
        assert!(ledger.append(at(second), event));
    }
}

/// What is believed of a model's quality for the request `n`.
fn quality(learner: &Learner, model: usize, n: u64) -> f64 {
    let candidate = Candidate {
        model: MODELS[model].into(),
        deployment: format!("{}@1", MODELS[model]).into(),
        price: None,
        in_flight: 0,
        alternates: Vec::new(),
        prompt_cache: PromptCache::default(),
        like: None,
    };
    let context = context(n);
    let ask = Ask {
        context: &context,
        prompt_tokens: 50,
        max_tokens: None,
        choices: 1,
        preferences: &Preferences::BALANCED,
        pace: Pace::default(),
    };
    learner.publish().score(&ask, &[candidate]).predictions[0].quality.mean
}

/// A request that this model answered, judged so over these channels when it ended.
fn answered(n: u64, model: usize, scores: &[(&str, f64)]) -> [Event; 2] {
    [event(decided(n, at(n))), event(completed(n, at(n), model, scores))]
}

mod what_an_event_teaches {
    use super::*;

    #[test]
    fn a_good_answer_raises_and_a_bad_one_lowers_the_belief_in_the_model_that_gave_it() {
        let before = quality(&learned([]), 1, 1);
        let good = learned(answered(1, 1, &[("user", 1.0)]));
        let bad = learned(answered(1, 1, &[("user", 0.0)]));
        assert!(quality(&good, 1, 1) > before + 0.01, "{} {before}", quality(&good, 1, 1));
        assert!(quality(&bad, 1, 1) < before - 0.01);
    }

    #[test]
    fn a_late_word_counts_like_an_early_one() {
        let early = learned(answered(1, 1, &[("user", 1.0)]));
        let [decided, completed] = answered(1, 1, &[]);
        let late = learned([decided, completed, event(feedback(1, at(9), "user", 1.0, None))]);
        assert_eq!(early.state().to_bytes(), late.state().to_bytes());
    }

    #[test]
    fn a_word_before_the_end_counts_from_the_end_on() {
        let [decided, completed] = answered(1, 1, &[("user", 0.0)]);
        let during = learned([decided, event(feedback(1, at(9), "user", 1.0, None)), completed]);
        assert_eq!(during.state().to_bytes(), learned(answered(1, 1, &[("user", 1.0)])).state().to_bytes());
    }

    #[test]
    fn a_corrected_score_leaves_what_the_right_one_would_have_left() {
        let wrong_then_right = learned(
            answered(1, 1, &[("user", 0.0), ("format", 1.0)])
                .into_iter()
                .chain([event(feedback(1, at(9), "user", 0.5, None)), event(feedback(1, at(10), "user", 1.0, None))]),
        );
        let right = learned(answered(1, 1, &[("user", 1.0), ("format", 1.0)]));
        for n in 0..5 {
            assert!((quality(&wrong_then_right, 1, n) - quality(&right, 1, n)).abs() < 1e-9);
        }
    }

    #[test]
    fn the_same_key_again_and_a_comment_alone_change_nothing() {
        let first = event(feedback(1, at(9), "user", 1.0, Some("k")));
        let again = event(feedback(1, at(10), "user", 0.0, Some("k")));
        let mut comment = feedback(1, at(11), "user", 0.0, None);
        comment.score = None;
        comment.comment = Some("hm".to_owned());
        let once = learned(answered(1, 1, &[]).into_iter().chain([first.clone()]));
        let more = learned(answered(1, 1, &[]).into_iter().chain([first, again, event(comment)]));
        assert_eq!(once.state().to_bytes(), more.state().to_bytes());
    }

    #[test]
    fn another_tenant_has_no_say() {
        let mut foreign = feedback(1, at(9), "user", 0.0, None);
        foreign.tenant = "strangers".into();
        let with = learned(answered(1, 1, &[]).into_iter().chain([event(foreign)]));
        assert_eq!(with.state().to_bytes(), learned(answered(1, 1, &[])).state().to_bytes());
    }

    #[test]
    fn only_a_whole_fresh_answer_is_a_proof_of_quality() {
        let spoil: [fn(&mut pointsman::ledger::Completed); 7] = [
            |end| end.outcome = Outcome::HungUp,
            |end| end.outcome = Outcome::Dropped,
            |end| end.outcome = Outcome::Broken(Kind::UpstreamProtocol),
            |end| end.outcome = Outcome::Failed(Kind::UpstreamUnavailable),
            |end| end.cache = CacheOutcome::Hit,
            |end| end.cache = CacheOutcome::Semantic,
            |end| end.model = Some(ModelId::from("never/asked")),
        ];
        let before = quality(&learned([]), 1, 1);
        for (case, spoil) in spoil.into_iter().enumerate() {
            let mut end = completed(1, at(1), 1, &[("format", 0.0)]);
            spoil(&mut end);
            let events = [event(decided(1, at(1))), event(end), event(feedback(1, at(2), "user", 0.0, None))];
            assert_eq!(quality(&learned(events), 1, 1), before, "case {case}");
        }
    }

    #[test]
    fn a_providers_failure_is_not_the_models() {
        let after = learned([event(decided(1, at(1))), event(failed(1, at(2)))]);
        assert_eq!(after.state().rows(), 0);
    }

    #[test]
    fn a_fallbacks_answer_is_the_fallbacks_merit() {
        let mut end = completed(1, at(1), 2, &[("user", 1.0)]);
        end.attempts.insert(0, failed(1, at(1)).attempts.remove(0));
        let after = learned([event(decided(1, at(1))), event(end)]);
        assert!(quality(&after, 2, 1) > quality(&after, 0, 1) + 0.01);
        // One score, one answer length, one first token, one total: nothing of the attempt that failed.
        assert_eq!(after.state().rows(), 2);
    }

    #[test]
    fn an_answer_cut_short_says_nothing_of_answer_lengths() {
        let mut end = completed(1, at(1), 1, &[]);
        end.outcome = Outcome::HungUp;
        let hung_up = learned([event(decided(1, at(1))), event(end.clone())]);
        end.attempts[0].usage = None;
        end.attempts[0].total_ms = 9e9;
        let other_length = learned([event(decided(1, at(1))), event(end)]);
        assert_eq!(hung_up.state().to_bytes(), other_length.state().to_bytes());
        assert_eq!(hung_up.state().rows(), 1, "its first token did come");
    }

    #[test]
    fn what_nobody_decided_and_what_ended_twice_teaches_nothing_more() {
        let orphan =
            learned([event(completed(9, at(1), 1, &[("user", 1.0)])), event(feedback(9, at(2), "user", 1.0, None))]);
        assert_eq!(orphan.state().rows(), 0);
        let once = learned(answered(1, 1, &[("user", 1.0)]));
        let again = event(completed(1, at(3), 0, &[("user", 0.0)]));
        let twice = learned(answered(1, 1, &[("user", 1.0)]).into_iter().chain([again]));
        assert_eq!(once.state().to_bytes(), twice.state().to_bytes());
    }

    #[test]
    fn a_channel_is_read_as_the_settings_say() {
        let contrary = Channel { quality: [1.0, 0.0], weight: [1.0, 1.0] };
        let config = Config { channels: BTreeMap::from([("user".to_owned(), contrary)]), ..Config::default() };
        let ledger = MemoryLedger::new();
        for event in answered(1, 1, &[("user", 1.0)]) {
            ledger.append(at(1), event);
        }
        let learner = rebuild(Learner::new(policy::Config::default(), schema(), &config), &ledger).expect("readable");
        assert!(quality(&learner, 1, 1) < quality(&learned([]), 1, 1));
    }
}

/// A step of a random history over a handful of decisions.
#[derive(Clone, Debug)]
enum Step {
    Decided { n: u64 },
    Completed { n: u64, model: usize, how: usize, scores: Vec<(usize, u8)> },
    Feedback { n: u64, channel: usize, score: Option<u8>, key: Option<u8>, ours: bool },
}

const CHANNELS: [&str; 4] = ["user", "format", "refusal", "somebody"];

impl Step {
    fn event(&self, now: Timestamp) -> Event {
        match self {
            Self::Decided { n } => event(decided(*n, now)),
            Self::Completed { n, model, how, scores } => {
                let scores: Vec<(&str, f64)> =
                    scores.iter().map(|&(channel, value)| (CHANNELS[channel], f64::from(value) / 255.0)).collect();
                let mut end = completed(*n, now, *model, &scores);
                match how {
                    0 => end.outcome = Outcome::HungUp,
                    1 => end.cache = CacheOutcome::Hit,
                    2 => end = failed(*n, now),
                    3 => end.tenant = "strangers".into(),
                    _ => {}
                }
                event(end)
            }
            Self::Feedback { n, channel, score: value, key, ours } => {
                let key = key.map(|key| key.to_string());
                let mut word = feedback(*n, now, CHANNELS[*channel], 0.0, key.as_deref());
                word.score = value.map(|value| score(f64::from(value) / 255.0));
                if !ours {
                    word.tenant = "strangers".into();
                }
                event(word)
            }
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..6_u64;
    prop_oneof![
        3 => n.clone().prop_map(|n| Step::Decided { n }),
        3 => (n.clone(), 0..3_usize, 0..12_usize, proptest::collection::vec((0..4_usize, any::<u8>()), 0..4))
            .prop_map(|(n, model, how, scores)| Step::Completed { n, model, how, scores }),
        3 => (n, 0..4_usize, proptest::option::weighted(0.9, any::<u8>()), proptest::option::of(0..2_u8), proptest::bool::weighted(0.9))
            .prop_map(|(n, channel, score, key, ours)| Step::Feedback { n, channel, score, key, ours }),
    ]
}

/// A history with the seconds between its steps: mostly few, sometimes days, sometimes backwards.
fn history() -> impl Strategy<Value = Vec<(Step, i64)>> {
    let pause = prop_oneof![6 => 0..100_i64, 1 => 0..2_000_000_i64, 1 => -10_000..0_i64];
    proptest::collection::vec((step(), pause), 0..80)
}

fn events(history: &[(Step, i64)]) -> Vec<(Timestamp, Event)> {
    let mut now = 1_780_000_000_i64;
    history
        .iter()
        .map(|(step, pause)| {
            now += pause;
            let at = Timestamp(now.unsigned_abs() * 1_000_000);
            (at, step.event(at))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// However it is read, interrupted, remembered and handed out, the same ledger teaches the same.
    #[test]
    fn what_was_learned_is_a_function_of_the_ledger_alone(
        history in history(),
        cases in 0..5_usize,
        stride in 1..9_usize,
        restarts in proptest::collection::vec(0..80_usize, 0..4),
        publish in any::<u32>(),
    ) {
        let ledger = MemoryLedger::new();
        let events = events(&history);
        for (at, event) in &events {
            ledger.append(*at, event.clone());
        }
        let whole = rebuild(fresh(1_000), &ledger).expect("readable");
        prop_assert_eq!(whole.offset(), events.len() as u64);

        // In strides, with few cases in memory, with policies handed out and restarts from snapshots on the way.
        let folder = tempfile::tempdir().expect("a folder");
        let snapshots = Snapshots::new(folder.path(), 5);
        let mut learner = fresh(cases);
        let mut restarts = restarts.clone();
        while learner.catch_up(&ledger, stride).expect("readable") > 0 {
            if publish >> (learner.offset() % 32) & 1 == 1 {
                drop(learner.publish());
            }
            if let Some(at) = restarts.iter().position(|&at| at as u64 <= learner.offset()) {
                restarts.swap_remove(at);
                snapshots.write(&learner, &ledger).expect("writable");
                learner = snapshots.boot(fresh(cases), &ledger).expect("readable");
            }
        }
        prop_assert_eq!(learner.state().to_bytes(), whole.state().to_bytes());

        // Live: the ledger holds no more than what was folded.
        let growing = MemoryLedger::new();
        let mut live = fresh(cases);
        for (at, event) in events {
            growing.append(at, event);
            let entry = growing.scan(live.offset(), 1).expect("readable").remove(0);
            fold(&mut live, &entry, &growing).expect("readable");
            fold(&mut live, &entry, &growing).expect("an event known already changes nothing");
        }
        prop_assert_eq!(live.state().to_bytes(), whole.state().to_bytes());
    }
}

#[test]
fn an_event_that_cannot_be_read_is_passed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = SqliteLedger::open(folder.path(), &pointsman::ledger::Config::default()).expect("opens");
    for n in 0..10 {
        append(&ledger, n, answered(n, 1, &[("user", 1.0)]));
    }
    drop(ledger);
    let file = rusqlite::Connection::open(folder.path().join("ledger.sqlite")).expect("the file is there");
    file.execute("UPDATE events SET body = '{}' WHERE offset IN (1, 8, 20)", []).expect("harm is done");
    drop(file);
    let ledger = SqliteLedger::open(folder.path(), &pointsman::ledger::Config::default()).expect("opens");
    let learner = rebuild(fresh(0), &ledger).expect("readable");
    assert_eq!(learner.offset(), 20);
    // Seven answers of two rows each: the first was not decided, the fourth and the last have no end.
    assert_eq!(learner.state().rows(), 14);
    assert_eq!(learner.state().to_bytes(), rebuild(fresh(100), &ledger).expect("readable").state().to_bytes());
}

mod snapshots {
    use super::*;

    fn ledger(answers: u64) -> MemoryLedger {
        let ledger = MemoryLedger::new();
        for n in 0..answers {
            for event in answered(n, (n % 3) as usize, &[("user", (n % 10) as f64 / 10.0)]) {
                ledger.append(at(n), event);
            }
        }
        ledger
    }

    fn files(folder: &tempfile::TempDir) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        files
    }

    /// Boots and says with how many events already known it began.
    fn boot_from(snapshots: &Snapshots, ledger: &MemoryLedger) -> (u64, Vec<u8>) {
        let learner = snapshots.boot(fresh(10), ledger).expect("readable");
        (learner.restored(), learner.state().to_bytes())
    }

    #[test]
    fn a_start_goes_on_from_the_newest_and_only_the_latest_are_kept() {
        let ledger = ledger(20);
        let folder = tempfile::tempdir().expect("a folder");
        let snapshots = Snapshots::new(folder.path().join("policy"), 3);
        let mut learner = fresh(10);
        for _ in 0..6 {
            learner.catch_up(&ledger, 5).expect("readable");
            snapshots.write(&learner, &ledger).expect("writable");
        }
        let whole = rebuild(fresh(10), &ledger).expect("readable");
        assert_eq!(boot_from(&snapshots, &ledger), (30, whole.state().to_bytes()));
        assert_eq!(std::fs::read_dir(folder.path().join("policy")).expect("a folder").count(), 3);
    }

    #[test]
    fn cut_off_anywhere_or_with_any_bit_turned_it_is_passed_over_for_the_one_before() {
        let ledger = ledger(6);
        let folder = tempfile::tempdir().expect("a folder");
        let snapshots = Snapshots::new(folder.path(), 5);
        let mut learner = fresh(10);
        learner.catch_up(&ledger, 3).expect("readable");
        snapshots.write(&learner, &ledger).expect("writable");
        learner.catch_up(&ledger, 4).expect("readable");
        let newest = snapshots.write(&learner, &ledger).expect("writable");
        let whole = rebuild(fresh(10), &ledger).expect("readable").state().to_bytes();
        assert_eq!(boot_from(&snapshots, &ledger), (7, whole.clone()));
        let bytes = std::fs::read(&newest).expect("readable");
        // Every place in the header and the checksum, and a sieve of places in the sums between.
        let places: Vec<usize> =
            (0..bytes.len()).filter(|&at| at < 160 || at + 40 > bytes.len() || at % 97 == 0).collect();
        for &place in &places {
            std::fs::write(&newest, &bytes[..place]).expect("writable");
            assert_eq!(boot_from(&snapshots, &ledger), (3, whole.clone()), "cut off at {place}");
            let mut turned = bytes.clone();
            turned[place] ^= 1 << (place % 8);
            std::fs::write(&newest, &turned).expect("writable");
            assert_eq!(boot_from(&snapshots, &ledger), (3, whole.clone()), "turned at {place}");
        }
        let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
        std::fs::write(&newest, longer).expect("writable");
        assert_eq!(boot_from(&snapshots, &ledger), (3, whole.clone()));
        // None left: all is made again from the ledger.
        for file in files(&folder) {
            std::fs::write(file, b"mould").expect("writable");
        }
        assert_eq!(boot_from(&snapshots, &ledger), (0, whole));
    }

    #[test]
    fn what_a_crash_left_half_written_is_not_taken_for_a_snapshot() {
        let ledger = ledger(3);
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("policy-00000000000000000004.writing"), b"PTSMSNAP").expect("writable");
        std::fs::write(folder.path().join("policy-x.snapshot"), b"PTSMSNAP").expect("writable");
        assert_eq!(boot_from(&Snapshots::new(folder.path(), 5), &ledger).0, 0);
    }

    #[test]
    fn one_that_ran_ahead_of_its_ledger_or_is_of_another_one_is_not_taken() {
        let all = ledger(10);
        let folder = tempfile::tempdir().expect("a folder");
        let snapshots = Snapshots::new(folder.path(), 5);
        let mut learner = fresh(10);
        learner.catch_up(&all, 4).expect("readable");
        snapshots.write(&learner, &all).expect("writable");
        learner.catch_up(&all, 14).expect("readable");
        snapshots.write(&learner, &all).expect("writable");
        // The machine lost its power and the ledger its tail.
        let shorter = ledger(5);
        let (restored, state) = boot_from(&snapshots, &shorter);
        assert_eq!(restored, 4);
        assert_eq!(state, rebuild(fresh(10), &shorter).expect("readable").state().to_bytes());
        // And then grew beyond the old position with other events: the one that ran ahead is gone for good.
        for n in 100..120 {
            append(&shorter, n, answered(n, 0, &[("user", 0.0)]));
        }
        assert_eq!(boot_from(&snapshots, &shorter).0, 4);
        let foreign = MemoryLedger::new();
        for n in 50..80 {
            foreign.append(at(n), event(decided(n, at(n))));
        }
        assert_eq!(boot_from(&snapshots, &foreign).0, 0);
    }

    #[test]
    fn other_features_other_channels_and_other_half_lives_are_refused_in_words() {
        let ledger = ledger(4);
        let folder = tempfile::tempdir().expect("a folder");
        let snapshots = Snapshots::new(folder.path(), 5);
        let learner = rebuild(fresh(10), &ledger).expect("readable");
        let file = snapshots.write(&learner, &ledger).expect("writable");
        let bytes = std::fs::read(&file).expect("readable");
        let told = |mut learner: Learner| learner.restore(&bytes, &ledger).expect_err("refused").to_string();
        let other_features = Learner::new(policy::Config::default(), "samples/2".into(), &Config::default());
        insta::assert_snapshot!(told(other_features), @"it was learned on the features samples/1, in force are samples/2; go back to those, or redo the training: `pointsman train` makes a policy for samples/2 from the ledger");
        let mute = Channel { quality: [0.0, 1.0], weight: [0.0, 0.0] };
        let config = Config { channels: BTreeMap::from([("user".to_owned(), mute)]), ..Config::default() };
        let other_channels = Learner::new(policy::Config::default(), schema(), &config);
        insta::assert_snapshot!(told(other_channels), @"it was folded with other reward channels than those in force");
        let half_life = policy::Config { half_life: Duration::from_hours(1), ..policy::Config::default() };
        let other_half_life = Learner::new(half_life, schema(), &Config::default());
        insta::assert_snapshot!(told(other_half_life), @"the policy state was learned with other half-lives than those in force; make it again from the ledger");
        let mut later = bytes[..bytes.len() - 16].to_vec();
        later[8] = 9;
        later.extend(pointsman::base::Digest::of(&later).as_bytes());
        let refused = fresh(10).restore(&later, &ledger).expect_err("refused");
        assert!(matches!(refused, SnapshotError::Form { found: 9 }), "{refused}");
    }
}

mod the_task {
    use super::*;

    type Published = Arc<Mutex<Vec<Arc<policy::Snapshot>>>>;

    /// Collects the policies handed out.
    fn collect() -> (Published, impl Fn(Arc<policy::Snapshot>) + Send + Sync) {
        let published = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&published);
        (published, move |policy| to.lock().expect("not poisoned").push(policy))
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_is_handed_out_at_once_and_whenever_enough_has_come() {
        let ledger = Arc::new(MemoryLedger::new());
        let (published, publish) = collect();
        let config = Config { publish_events: 4, publish_after: Duration::from_hours(1), ..Config::default() };
        let handle = start(fresh(10), Arc::clone(&ledger) as Arc<dyn Ledger>, None, &config, publish);
        handle.published(0).await;
        for n in 0..6 {
            append(ledger.as_ref(), n, answered(n, 0, &[("user", 1.0)]));
        }
        handle.published(12).await;
        assert_eq!(published.lock().expect("not poisoned").len(), 4, "one at the start, then every four events");
        let learner = handle.stop().await.expect("stops");
        assert_eq!(
            learner.state().to_bytes(),
            rebuild(fresh(10), ledger.as_ref()).expect("readable").state().to_bytes()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn few_events_are_handed_out_when_the_time_has_come() {
        let ledger = Arc::new(MemoryLedger::new());
        let (published, publish) = collect();
        let config = Config { publish_events: 1_000, publish_after: Duration::from_hours(1), ..Config::default() };
        let handle = start(fresh(10), Arc::clone(&ledger) as Arc<dyn Ledger>, None, &config, publish);
        let started = tokio::time::Instant::now();
        for event in answered(1, 0, &[("user", 1.0)]) {
            ledger.append(at(1), event);
        }
        handle.published(2).await;
        assert!(started.elapsed() >= Duration::from_hours(1), "{:?}", started.elapsed());
        let versions: Vec<String> =
            published.lock().expect("not poisoned").iter().map(|policy| policy.version().to_owned()).collect();
        assert_eq!(versions.len(), 2);
        assert_ne!(versions[0], versions[1]);
    }

    #[tokio::test]
    async fn what_was_learned_is_written_on_the_way_and_at_the_end() {
        let ledger: Arc<dyn Ledger> = Arc::new(MemoryLedger::new());
        let folder = tempfile::tempdir().expect("a folder");
        let snapshots = Snapshots::new(folder.path(), 50);
        let config = Config { snapshot_events: 10, publish_events: 5, ..Config::default() };
        let handle =
            start(fresh(10), Arc::clone(&ledger), Some(kept(snapshots.clone(), folder.path())), &config, |_| {});
        for n in 0..13 {
            append(ledger.as_ref(), n, answered(n, 0, &[("user", 1.0)]));
        }
        handle.published(25).await;
        assert!(handle.progress().written >= 20, "{:?}", handle.progress());
        let learner = handle.stop().await.expect("stops");
        assert_eq!(learner.offset(), 26);
        let booted = snapshots.boot(fresh(10), ledger.as_ref()).expect("readable");
        assert_eq!((booted.restored(), booted.state().to_bytes()), (26, learner.state().to_bytes()));
        // Nothing new: a start and a stop write nothing.
        let files = std::fs::read_dir(folder.path()).expect("a folder").count();
        let handle = start(booted, ledger, Some(kept(snapshots, folder.path())), &config, |_| {});
        handle.stop().await.expect("stops");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), files);
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_is_said_at_the_end_and_stops_no_learning() {
        let ledger: Arc<dyn Ledger> = Arc::new(MemoryLedger::new());
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "in the way").expect("writable");
        let config = Config { snapshot_events: 1, publish_events: 1, ..Config::default() };
        let handle =
            start(fresh(10), Arc::clone(&ledger), Some(kept(Snapshots::new(file, 5), folder.path())), &config, |_| {});
        for event in answered(1, 0, &[("user", 1.0)]) {
            ledger.append(at(1), event);
        }
        handle.published(2).await;
        assert!(matches!(handle.stop().await, Err(SnapshotError::Io(_))));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn following_a_ledger_on_disk_under_load_ends_where_a_rebuild_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger: Arc<dyn Ledger> =
            Arc::new(SqliteLedger::open(folder.path(), &pointsman::ledger::Config::default()).expect("opens"));
        let handle = start(fresh(50), Arc::clone(&ledger), None, &Config::default(), |_| {});
        for n in 0..1_000 {
            append(ledger.as_ref(), n, answered(n, (n % 3) as usize, &[("user", 1.0)]));
            if n >= 300 {
                assert!(ledger.append(at(n), event(feedback(n - 300, at(n), "user", 0.5, None))));
            }
        }
        let last = ledger.flush().await.expect("flushed");
        handle.published(last).await;
        assert_eq!(handle.progress().folded, last);
        let learner = handle.stop().await.expect("stops");
        assert_eq!(
            learner.state().to_bytes(),
            rebuild(fresh(0), ledger.as_ref()).expect("readable").state().to_bytes()
        );
        assert_eq!(learner.state().rows(), 1_000 * 2 + 700 * 2);
        let known = ledger.of_decision(id(1)).expect("readable");
        assert_eq!(known.len(), 3);
    }
}
