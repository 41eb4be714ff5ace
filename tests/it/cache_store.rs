//! The cache on disk: what comes back after a restart, and from a file that is damaged. For `kill -9` see
//! `cache_killed`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use pointsman::base::{Secret, Seed, TenantId, Timestamp, Usd};
use pointsman::cache::semantic::compare::Verdict;
use pointsman::cache::semantic::quantised::Fine;
use pointsman::cache::semantic::space::{Label, Prompt, Source};
use pointsman::cache::{
    Cache, Change, Config, Contents, Control, Entry, InMemory, Keeper, Key, Place, Purge, SemanticConfig,
};
use pointsman::cache_store::{CacheStore, StoreError};
use pointsman::chat::{Answer, FinishReason};
use pointsman::config::Environment;
use serde_json::json;

pub(super) const NOW: Timestamp = Timestamp(1_000_000_000);

pub(super) fn secret() -> Secret {
    Secret::new("a key of thirty-two characters and more")
}

pub(super) fn config() -> Config {
    let semantic = SemanticConfig { max_wrong: Some(0.05), min_labels: 10, ..SemanticConfig::default() };
    Config { semantic, ..Config::default() }
}

pub(super) fn key(n: u64) -> Key {
    Key::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

pub(super) fn place() -> Place {
    Place { space: key(1_000_000), tenant: TenantId::from("red"), about: "auto".to_owned() }
}

pub(super) fn entry(n: u64) -> Entry {
    let text = format!("the river is {n} miles long");
    let answer = Answer {
        text: text.clone(),
        finish_reason: Some(FinishReason::Stop),
        id: Some("x".to_owned()),
        ..Answer::default()
    };
    Entry {
        tenant: TenantId::from("red"),
        body: Bytes::from(json!({"id": "x", "choices": [{"message": {"content": text}}]}).to_string()),
        answer,
        made: Timestamp(NOW.0 + n),
        deployment: "a@here".into(),
        model: "a".into(),
        cost: Some(Usd(0.001 * (n % 10) as f64)),
        took: Duration::from_millis(n % 1_000),
        tags: vec!["docs".to_owned()],
        space: OnceLock::new(),
    }
}

pub(super) fn prompt(n: u64) -> Prompt {
    let raw: Vec<f32> =
        (0..pointsman::embed::DIMENSIONS).map(|i| Seed(n).uniform(&i.to_string()) as f32 - 0.5).collect();
    let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
    let unit: Vec<f32> = raw.iter().map(|x| x / length).collect();
    let vector = Fine::of(&unit).expect("a vector");
    let text = format!("how long is river number {n}").into();
    Prompt { key: key(n), made: entry(n).made, text, vector, distinct: n.is_multiple_of(3) }
}

/// What a `kill -9` leaves: the files as they are at this moment.
fn left_behind(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    for name in ["cache.sqlite", "cache.sqlite-wal"] {
        if folder.join(name).is_file() {
            std::fs::copy(folder.join(name), copy.path().join(name)).expect("copied");
        }
    }
    copy
}

fn open(folder: &Path) -> Cache {
    let (store, contents) = CacheStore::open(folder, secret()).expect("opens");
    Cache::kept(config(), Arc::new(store), contents, NOW)
}

/// A cache that was used: 30 answers, 20 of them in an index, 100 verdicts, some answers reported or purged.
async fn used(folder: &Path) -> Cache {
    let cache = open(folder);
    for n in 0..30 {
        cache.put(key(n), entry(n));
        if n < 20 {
            cache.place(place(), prompt(n));
        }
    }
    for n in 0..100_u64 {
        let draw = |what: &str| Seed(n).uniform(what);
        let label = Label {
            similarity: 0.7 + 0.3 * draw("similarity"),
            verdict: if draw("right") < 0.8 { Verdict::Right } else { Verdict::Wrong },
            source: Source::Equality,
            check: n % 3 == 0,
            chosen: n % 7 == 0,
            at: Timestamp(NOW.0 + n),
        };
        cache.learn(place(), key(n % 20), entry(n % 20).made, label);
    }
    assert!(cache.report(&TenantId::from("red"), &key(7), Some(0.9), NOW));
    assert!(!cache.report(&TenantId::from("blue"), &key(8), Some(0.9), NOW));
    assert_eq!(cache.purge(&TenantId::from("red"), &Purge::Id(key(9).to_string())), 1);
    assert!(cache.written().await);
    cache
}

#[tokio::test]
async fn what_was_written_comes_back_and_verdicts_refold_to_the_same_beliefs() {
    let folder = tempfile::tempdir().expect("a folder");
    let before = used(folder.path()).await;
    let killed = left_behind(folder.path());
    let after = open(killed.path());
    for n in 0..30 {
        let (one, other) = [&before, &after].map(|cache| cache.get(&key(n), &Control::default(), NOW)).into();
        assert_eq!(one, other, "{n}");
        assert_eq!(one.is_none(), n == 7 || n == 9, "{n}: what was forgotten stays so");
    }
    let space = |cache: &Cache| cache.namespace(&place().space).expect("known");
    for n in 0..20 {
        for similarity in [0.7, 0.85, 0.99] {
            let [one, other] = [&before, &after].map(|cache| space(cache).estimate(&key(n), similarity));
            assert_eq!(one.map(f64::to_bits), other.map(f64::to_bits), "{n} {similarity}");
        }
    }
    assert_eq!(before.portraits(None), after.portraits(None));
    assert_eq!((space(&after).size(), before.portraits(None)[0].standing.reports), ((18, 18), 1));

    after.purge(&TenantId::from("red"), &Purge::All(true));
    assert!(after.written().await);
    let flushed = left_behind(killed.path());
    let empty = open(flushed.path());
    assert_eq!((empty.size().1, empty.generation(&TenantId::from("red"))), (0, 1));
    assert!(empty.portraits(None).is_empty());
}

#[tokio::test]
async fn nothing_can_be_read_without_the_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let _cache = used(folder.path()).await;
    let killed = left_behind(folder.path());
    for name in ["cache.sqlite", "cache.sqlite-wal"] {
        let bytes = std::fs::read(killed.path().join(name)).unwrap_or_default();
        assert!(!bytes.windows(5).any(|part| part == b"river"), "{name}");
    }
    let other = CacheStore::open(killed.path(), Secret::new("another key of thirty-two characters"));
    assert!(matches!(other, Err(StoreError::OtherKey(_))), "{other:?}");
}

#[tokio::test]
async fn a_damaged_file_gives_right_answers_or_none() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(used(folder.path()).await);
    for round in 0..40_u64 {
        let copy = left_behind(folder.path());
        let draw = |what: &str| Seed(round).uniform(what);
        for name in ["cache.sqlite", "cache.sqlite-wal"] {
            let Ok(mut bytes) = std::fs::read(copy.path().join(name)) else { continue };
            if bytes.is_empty() {
                continue;
            }
            let at = (draw(name) * bytes.len() as f64) as usize;
            if draw("cut") < 0.5 {
                bytes.truncate(at);
            } else {
                let end = (at + 200).min(bytes.len());
                bytes[at..end].fill(round as u8);
            }
            std::fs::write(copy.path().join(name), bytes).expect("written");
        }
        // A proof of the key that is damaged reads as another key, and a head as another form: said, not guessed.
        let Ok((_store, contents)) = CacheStore::open(copy.path(), secret()) else { continue };
        for (name, found) in &contents.entries {
            let n = (0..30).find(|n| key(*n) == *name).expect("one of them");
            assert_eq!(*found, entry(n), "round {round}");
        }
        let _cache = Cache::kept(config(), Arc::new(InMemory), contents, NOW);
    }
}

#[test]
fn a_hit_never_lengthens_a_life() {
    let cache = Cache::new(config());
    cache.put(key(1), entry(1));
    let made = entry(1).made;
    let day = Duration::from_hours(24);
    for hit in 0..1_000 {
        let now = made.after(day * hit / 1_000);
        assert!(cache.get(&key(1), &Control::default(), now).is_some(), "{hit}");
    }
    assert!(cache.get(&key(1), &Control::default(), made.after(day)).is_none());
}

#[test]
fn an_answer_and_its_row_die_together() {
    let cache = Cache::new(Config { max_bytes: 100_000, max_entry_bytes: 1_000, ..config() });
    let vectors: Vec<Fine> = (0..97).map(|n| prompt(n).vector).collect();
    for n in 0..100_000 {
        cache.put(key(n), entry(n));
        let (key, made, vector) = (key(n), entry(n).made, vectors[n as usize % vectors.len()].clone());
        cache.place(place(), Prompt { key, made, text: "q".into(), vector, distinct: false });
    }
    let (bytes, answers) = cache.size();
    let (prompts, rows) = cache.namespace(&place().space).expect("known").size();
    assert!(bytes <= 100_000 && answers > 10, "{bytes} {answers}");
    assert_eq!((prompts as u64, rows as u64), (answers, answers));
}

#[test]
fn a_similarity_is_no_setting() {
    let read = |line: &str| {
        let text = format!("version = 1\n[providers.openai]\n[cache.semantic]\n{line}\n");
        let environment: Environment = [("OPENAI_API_KEY", "k")].into_iter().collect();
        pointsman::config::Config::read(&text, &environment).map_err(|problems| problems.to_string())
    };
    assert!(read("max_wrong = 0.02").is_ok());
    assert!(read("threshold = 0.9").expect_err("unknown").contains("threshold"));
    assert!(read("max_wrong = 0.9").expect_err("too much").contains("not a similarity"));
    assert!(read("max_wrong = 0.02\ncheck_share = 0.0").expect_err("blind").contains("check_share"));
}

/// Knows of each name whether it was put or gone last, and is slow to note what was put.
#[derive(Default)]
struct Last(Mutex<BTreeMap<Key, bool>>);

impl Keeper for Last {
    fn keep(&self, change: Change) {
        let (key, there) = match change {
            Change::Put(key, _) => (key, true),
            Change::Gone(key) => (key, false),
            _ => return,
        };
        if there {
            // Whoever could come in between has the time for it.
            (0..20).for_each(|_| std::thread::yield_now());
        }
        self.0.lock().expect("no panic").insert(key, there);
    }
}

#[test]
fn an_answer_reported_while_it_is_put_is_not_back_after_a_restart() {
    let last = Arc::new(Last::default());
    let cache = Cache::kept(config(), Arc::<Last>::clone(&last), Contents::default(), NOW);
    for round in 0..500 {
        std::thread::scope(|scope| {
            scope.spawn(|| cache.put(key(round), entry(round)));
            while !cache.report(&TenantId::from("red"), &key(round), None, NOW) {
                std::thread::yield_now();
            }
        });
        assert!(cache.get(&key(round), &Control::default(), NOW).is_none());
        assert_eq!(last.0.lock().expect("no panic").get(&key(round)), Some(&false), "round {round}: it would be back");
    }
}
