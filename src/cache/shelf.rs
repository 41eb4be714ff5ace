//! What is kept when there is no room for all: that which saves most for the bytes it takes.
//!
//! Greedy-Dual-Size-Frequency (Cherkasova, HPL-98-69): an answer's rank is `age + uses * worth / bytes`, and what has
//! the least rank goes. `age` is the rank of the last one that went, so that what was worth much and is used no more is
//! passed by those that come. A new answer stands in the same line: one that is worth less than everything here is not
//! taken in at the cost of something better. Worth is what one use saves ([`Entry::worth`]).
//!
//! Answers are spread over a few shelves by their names, each with its own lock and its share of the bytes; a use moves an
//! answer within its shelf.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use super::exact::Entry;
use super::key::Key;

/// Most shelves.
const SHELVES: u64 = 16;
/// The largest answers for which a shelf has room at the least.
const ROOM: u64 = 8;

/// Who is told by name alone, and who is told of the answer too.
type ByName = Box<dyn Fn(&Key) + Send + Sync>;
type OfAnswer = Box<dyn Fn(&Key, &Entry) + Send + Sync>;

/// Told of answers that are here no more.
pub(super) struct Leaving {
    /// One is forgotten, pushed out or too old. Told before anything else can happen to its name, so that what is
    /// written down has the order of what happened: must not wait.
    pub(super) gone: ByName,
    /// One is gone or was replaced. Told when others may go on.
    pub(super) left: OfAnswer,
}

/// A rank, and when it was given: of equals the one that waits longest goes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rank(f64, u64);

impl Eq for Rank {}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

#[derive(Debug)]
struct Kept {
    entry: Arc<Entry>,
    bytes: u64,
    uses: f64,
    rank: Rank,
}

#[derive(Debug, Default)]
struct Shelf {
    kept: HashMap<Key, Kept>,
    line: BTreeMap<Rank, Key>,
    bytes: u64,
    age: f64,
    given: u64,
}

impl Shelf {
    fn rank(&mut self, entry: &Entry, bytes: u64, uses: f64) -> Rank {
        self.given += 1;
        Rank(self.age + uses * entry.worth() / bytes as f64, self.given)
    }

    fn take(&mut self, key: &Key) -> Option<Kept> {
        let kept = self.kept.remove(key)?;
        self.line.remove(&kept.rank);
        self.bytes -= kept.bytes;
        Some(kept)
    }

    fn put(&mut self, key: Key, entry: Arc<Entry>, bytes: u64, uses: f64) {
        let rank = self.rank(&entry, bytes, uses);
        self.line.insert(rank, key);
        self.bytes += bytes;
        self.kept.insert(key, Kept { entry, bytes, uses, rank });
    }

    fn used(&mut self, key: &Key) -> Option<Arc<Entry>> {
        let kept = self.take(key)?;
        let entry = Arc::clone(&kept.entry);
        self.put(*key, kept.entry, kept.bytes, kept.uses + 1.0);
        Some(entry)
    }

    /// Makes it fit; what went.
    fn shrink(&mut self, most: u64) -> Vec<(Key, Arc<Entry>)> {
        let mut gone = Vec::new();
        while self.bytes > most {
            let Some((rank, key)) = self.line.first_key_value().map(|(rank, key)| (*rank, *key)) else { break };
            self.age = self.age.max(rank.0);
            gone.extend(self.take(&key).map(|kept| (key, kept.entry)));
        }
        gone
    }
}

/// Answers by name, bounded in bytes.
pub(super) struct Shelves {
    shelves: Vec<Mutex<Shelf>>,
    /// Bytes of one shelf.
    room: u64,
    leaving: Leaving,
}

impl Shelves {
    /// Empty ones of so many bytes in all, for answers of at most so many.
    pub(super) fn new(most: u64, largest: u64, leaving: Leaving) -> Self {
        let count = (most / (ROOM * largest.max(1))).clamp(1, SHELVES);
        let shelves = (0..count).map(|_| Mutex::default()).collect();
        Self { shelves, room: most / count, leaving }
    }

    fn of(&self, key: &Key) -> &Mutex<Shelf> {
        &self.shelves[usize::from(key.as_bytes()[0]) % self.shelves.len()]
    }

    /// The answer of this name, which is used.
    pub(super) fn used(&self, key: &Key) -> Option<Arc<Entry>> {
        self.of(key).lock().used(key)
    }

    /// The answer of this name, which is looked at.
    pub(super) fn peek(&self, key: &Key) -> Option<Arc<Entry>> {
        self.of(key).lock().kept.get(key).map(|kept| Arc::clone(&kept.entry))
    }

    /// Keeps an answer that takes so many bytes, in place of an older one of its name; whether it is kept. If so, `kept`
    /// is called before anything else can happen to its name: it must not wait.
    pub(super) fn put(&self, key: Key, entry: Arc<Entry>, bytes: u64, kept: impl FnOnce()) -> bool {
        let (old, gone, stays) = {
            let mut shelf = self.of(&key).lock();
            let old = shelf.take(&key);
            shelf.put(key, entry, bytes, old.as_ref().map_or(1.0, |old| old.uses));
            let gone = shelf.shrink(self.room);
            let stays = shelf.kept.contains_key(&key);
            if stays {
                kept();
            }
            gone.iter().for_each(|(key, _)| (self.leaving.gone)(key));
            (old, gone, stays)
        };
        let old = old.map(|old| (key, old.entry));
        old.iter().chain(&gone).for_each(|(key, entry)| (self.leaving.left)(key, entry));
        stays
    }

    /// Forgets the answer of this name.
    pub(super) fn forget(&self, key: &Key) {
        let kept = {
            let mut shelf = self.of(key).lock();
            let kept = shelf.take(key);
            kept.iter().for_each(|_| (self.leaving.gone)(key));
            kept
        };
        kept.iter().for_each(|kept| (self.leaving.left)(key, &kept.entry));
    }

    /// The answers for which `which` says so.
    pub(super) fn find(&self, which: impl Fn(&Entry) -> bool) -> Vec<Key> {
        let of_one = |shelf: &Mutex<Shelf>| -> Vec<Key> {
            shelf.lock().kept.iter().filter(|(_, kept)| which(&kept.entry)).map(|(key, _)| *key).collect()
        };
        self.shelves.iter().flat_map(of_one).collect()
    }

    /// Bytes held, and how many answers.
    pub(super) fn size(&self) -> (u64, u64) {
        let of_one = |shelf: &Mutex<Shelf>| {
            let shelf = shelf.lock();
            (shelf.bytes, shelf.kept.len() as u64)
        };
        self.shelves.iter().map(of_one).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }
}

impl std::fmt::Debug for Shelves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelves").field("size", &self.size()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::OnceLock;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::base::{Seed, Timestamp, Usd};
    use crate::chat::Answer;

    fn entry(cost: f64, seconds: u64) -> Arc<Entry> {
        Arc::new(Entry {
            tenant: "t".into(),
            body: Bytes::new(),
            answer: Answer::default(),
            made: Timestamp(0),
            deployment: "d".into(),
            model: "m".into(),
            cost: Some(Usd(cost)),
            took: Duration::from_secs(seconds),
            tags: Vec::new(),
            space: OnceLock::new(),
        })
    }

    fn untold() -> Leaving {
        Leaving { gone: Box::new(|_| {}), left: Box::new(|_, _| {}) }
    }

    fn key(n: u64) -> Key {
        Key::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes())
    }

    #[test]
    fn what_is_dear_small_or_often_used_stays_and_nothing_stays_for_ever() {
        let shelves = Shelves::new(1_000, 1_000, untold());
        let there = |n: u64| shelves.peek(&key(n)).is_some();
        shelves.put(key(1), entry(1.0, 1), 300, || ());
        shelves.put(key(2), entry(0.001, 1), 300, || ());
        shelves.put(key(3), entry(0.001, 1), 300, || ());
        (0..5).for_each(|_| drop(shelves.used(&key(3))));
        assert!(shelves.put(key(4), entry(0.01, 1), 300, || ()));
        assert!(there(1) && !there(2) && there(3) && there(4));
        assert!(!shelves.put(key(5), entry(0.0001, 0), 900, || ()), "worth less than what would have to go");
        assert!(there(1) && there(3) && there(4));
        // Used once, however dear, it is passed in the end by what is used again and again.
        for n in 0..20_000 {
            shelves.put(key(100 + n % 4), entry(0.01, 1), 300, || ());
            shelves.used(&key(100 + n % 4));
        }
        assert!(!there(1) && shelves.size().0 <= 1_000);
    }

    /// Money and time saved, in dollars, of requests with a few favourites, among answers of unlike cost and size.
    #[test]
    fn it_saves_more_than_keeping_what_was_used_last() {
        let of = |n: u64| {
            let draw = |what: &str| Seed(n).uniform(what);
            let cost = 10_f64.powf(-4.0 + 3.0 * draw("cost"));
            (entry(cost, 1 + (10.0 * draw("seconds")) as u64), 200 + (4_000.0 * draw("bytes")) as u64)
        };
        let most = 200_000;
        let shelves = Shelves::new(most, 50_000, untold());
        let mut last: VecDeque<u64> = VecDeque::new();
        let (mut held, mut saved, mut by_last) = (0, 0.0, 0.0);
        for request in 0..60_000_u64 {
            // Of 3,000 questions, the popular ones first.
            let n = (3_000.0 * Seed(request).uniform("which").powi(3)) as u64;
            let (entry, bytes) = of(n);
            match shelves.used(&key(n)) {
                Some(_) => saved += entry.worth(),
                None => drop(shelves.put(key(n), Arc::clone(&entry), bytes, || ())),
            }
            if let Some(at) = last.iter().position(|one| *one == n) {
                by_last += entry.worth();
                last.remove(at);
            } else {
                held += bytes;
            }
            last.push_back(n);
            while held > most {
                held -= last.pop_front().map_or(0, |gone| of(gone).1);
            }
        }
        assert!(saved > 1.3 * by_last, "{saved} and {by_last}");
    }
}
