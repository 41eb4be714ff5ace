//! The nearest entries of one namespace: an exact scan over int8 rows.
//!
//! No graph, no clusters: at the sizes a namespace has (1,000 to 100,000) reading every row is as fast as a graph of
//! equal recall, needs a quarter of its memory, and forgets an entry by turning a bit. Of every row one half is read
//! ([`planes`](super::planes)), and the other of those that may be wanted.
//!
//! Rows stand in slabs that never change. An insertion makes a new last slab of at most [`TAIL`] rows and publishes a
//! new list of slabs; a look-up reads the list that stands when it begins and takes no lock, so neither waits for the
//! other. When the last slab is full it is joined with its neighbours of equal size, up to [`SLAB`] rows, so that
//! every row is copied a few times in its life and the list stays short. Dead rows are left out when slabs are joined,
//! and a slab of which half is dead is rewritten.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::kernels::Unit;
use super::planes::{LANES, Query, Rows};
use super::quantised::Coarse;

/// Rows of the slab that takes insertions.
const TAIL: usize = 64;
/// Rows of the largest slab.
const SLAB: usize = 4_096;
/// Most candidates of one look-up.
pub const MOST: usize = 16;

/// Rows that never change, but for their deaths.
#[derive(Clone, Debug, Default)]
struct Slab {
    rows: Arc<Rows>,
    /// A bit for every row that is gone; empty while there is none.
    dead: Vec<u64>,
    gone: usize,
}

impl Slab {
    fn len(&self) -> usize {
        self.rows.ids().len()
    }

    fn is_dead(&self, at: usize) -> bool {
        self.dead.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn alive(&self) -> usize {
        self.len() - self.gone
    }

    /// The living rows of these slabs, and one more, as one.
    fn join(slabs: &[Self], more: Option<(u32, &Coarse)>) -> Self {
        let count = slabs.iter().map(Self::alive).sum::<usize>() + usize::from(more.is_some());
        let mut rows = Rows::with_capacity(count);
        for slab in slabs {
            rows.extend(&slab.rows, |at| !slab.is_dead(at));
        }
        if let Some((id, vector)) = more {
            rows.push(id, vector);
        }
        Self::from(rows)
    }
}

impl From<Rows> for Slab {
    fn from(rows: Rows) -> Self {
        Self { rows: Arc::new(rows), dead: Vec::new(), gone: 0 }
    }
}

/// A candidate: an entry's number, and its cosine as far as one byte a number tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    /// The entry.
    pub id: u32,
    /// Cosine, within about .0025.
    pub about: f32,
}

/// The nearest so far.
struct Nearest {
    near: Vec<Near>,
    most: usize,
    /// What the next must exceed.
    least: f32,
}

impl Nearest {
    fn offer(&mut self, id: u32, about: f32) {
        if about > self.least {
            let place = self.near.partition_point(|near| near.about >= about);
            self.near.insert(place, Near { id, about });
            self.near.truncate(self.most);
            if self.near.len() == self.most {
                self.least = self.near.last().map_or(f32::INFINITY, |last| last.about);
            }
        }
    }
}

/// The rows of one namespace.
#[derive(Debug, Default)]
pub struct Index {
    slabs: ArcSwap<Vec<Slab>>,
    /// One change at a time.
    turn: Mutex<()>,
}

impl Index {
    /// An index of these vectors, laid out at once. Vectors of another width, or with what is no number, are left out.
    #[must_use]
    pub fn of<'a>(vectors: impl IntoIterator<Item = (u32, &'a [f32])>) -> Self {
        let mut slabs: Vec<Rows> = Vec::new();
        for (id, vector) in vectors {
            let Some(coarse) = Coarse::of(vector) else { continue };
            match slabs.last_mut().filter(|rows| rows.ids().len() < SLAB) {
                Some(rows) => rows.push(id, &coarse),
                None => slabs.push(Rows::of(id, &coarse)),
            }
        }
        slabs.last_mut().into_iter().for_each(Rows::shrink_to_fit);
        let slabs: Vec<Slab> = slabs.into_iter().map(Slab::from).collect();
        Self { slabs: ArcSwap::from_pointee(slabs), turn: Mutex::new(()) }
    }

    /// Adds an entry; `false` if the vector has another width or holds what is no number.
    pub fn insert(&self, id: u32, vector: &[f32]) -> bool {
        let Some(vector) = Coarse::of(vector) else { return false };
        let _turn = self.turn.lock();
        let mut slabs = self.slabs.load().as_ref().clone();
        let tail = slabs.pop_if(|slab| slab.len() < TAIL);
        slabs.push(Slab::join(tail.as_slice(), Some((id, &vector))));
        // Like the carry of a binary counter: two of a size become one of twice the size.
        while let [.., before, last] = &slabs[..]
            && last.len() >= TAIL
            && before.len() <= last.len()
            && before.len() + last.len() <= SLAB
        {
            let joined = Slab::join(&slabs[slabs.len() - 2..], None);
            slabs.truncate(slabs.len() - 2);
            slabs.push(joined);
        }
        self.slabs.store(Arc::new(slabs));
        true
    }

    /// Takes entries out: all for which `gone` says so.
    pub fn remove(&self, gone: impl Fn(u32) -> bool) {
        let _turn = self.turn.lock();
        let mut slabs = self.slabs.load().as_ref().clone();
        for slab in &mut slabs {
            for (at, id) in slab.rows.ids().iter().enumerate() {
                if gone(*id) && !slab.is_dead(at) {
                    slab.dead.resize(slab.len().div_ceil(64), 0);
                    slab.dead[at / 64] |= 1 << (at % 64);
                    slab.gone += 1;
                }
            }
            if 2 * slab.gone > slab.len() {
                *slab = Slab::join(std::slice::from_ref(slab), None);
            }
        }
        slabs.retain(|slab| slab.len() > 0);
        self.slabs.store(Arc::new(slabs));
    }

    /// The `most` nearest entries (at most [`MOST`]) of which [`Near::about`] is at least `least`, nearest first; of
    /// equals the earlier inserted. The higher `least` is, the less is read.
    #[must_use]
    pub fn nearest(&self, vector: &[f32], most: usize, least: f32) -> Vec<Near> {
        self.nearest_by(Unit::fastest(), vector, most, least).0
    }

    /// The same with a unit of one's choice, and of how many rows both halves were read.
    #[must_use]
    pub fn nearest_by(&self, unit: Unit, vector: &[f32], most: usize, least: f32) -> (Vec<Near>, usize) {
        let most = most.min(MOST);
        let mut nearest = Nearest { near: Vec::with_capacity(most + 1), most, least: least.next_down() };
        let mut finished = 0;
        let Some(query) = Coarse::of(vector).filter(|_| most > 0) else { return (nearest.near, finished) };
        let query = Query::new(unit, query);
        let mut sums = [[0; LANES]; SLAB / LANES];
        for slab in self.slabs.load().iter() {
            let blocks = query.scan(&slab.rows, &mut sums);
            for (block, high) in sums[..blocks].iter().enumerate() {
                if !query.may_exceed(nearest.least, &slab.rows, block, high) {
                    continue;
                }
                let (from, cosines) = (LANES * block, query.cosines(&slab.rows, block, high));
                for (at, (id, about)) in slab.rows.ids()[from..].iter().zip(cosines).enumerate() {
                    if !slab.is_dead(from + at) {
                        nearest.offer(*id, about);
                    }
                }
                finished += LANES;
            }
        }
        (nearest.near, finished)
    }

    /// Entries in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slabs.load().iter().map(Slab::alive).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that its rows occupy, the dead ones included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of = |slab: &Slab| size_of::<Slab>() + size_of::<Rows>() + slab.rows.bytes() + 8 * slab.dead.len();
        self.slabs.load().iter().map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::Seed;
    use crate::cache::semantic::quantised::WIDTH;

    /// Vectors that are pairwise nearly orthogonal, cheaply drawn.
    fn vector(seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1_u32 << 24) as f32 - 0.5
        };
        let raw: Vec<f32> = (0..WIDTH).map(|_| draw()).collect();
        let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
        raw.into_iter().map(|x| x / length).collect()
    }

    fn exact(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn the_nearest_is_found_by_every_unit_and_its_cosine_is_nearly_right() {
        let index = Index::default();
        let vectors: Vec<Vec<f32>> = (0..5_000).map(vector).collect();
        for (id, vector) in (0..).zip(&vectors) {
            assert!(index.insert(id, vector));
        }
        let laid_out = Index::of((0..).zip(vectors.iter().map(Vec::as_slice)));
        for seed in 0..6 {
            // Something near one of them.
            let (to, other) = (&vectors[seed * 800], vector(1_000_000 + seed as u64));
            let query: Vec<f32> = to.iter().zip(&other).map(|(a, b)| 0.8 * a + 0.6 * b).collect();
            for unit in Unit::available() {
                let near = index.nearest_by(unit, &query, 4, 0.0).0;
                assert_eq!(near[0].id as usize, seed * 800, "{unit:?}");
                assert_eq!(near, laid_out.nearest_by(unit, &query, 4, 0.0).0, "{unit:?}");
                assert!(near.iter().all(|near| (near.about - exact(&vectors[near.id as usize], &query)).abs() < 0.005));
                assert!(near.windows(2).all(|two| two[0].about >= two[1].about));
            }
        }
        assert_eq!((index.len(), laid_out.len()), (5_000, 5_000));
        // Of what is far from everything nothing is read whole, if nothing far is wanted.
        assert_eq!(index.nearest_by(Unit::fastest(), &vector(2_000_000), 4, 0.6), (Vec::new(), 0));
        assert!(index.bytes() <= 400 * 5_000, "{}", index.bytes());
    }

    #[test]
    fn what_was_taken_out_is_not_found_and_its_rows_go() {
        let index = Index::default();
        for id in 0..1_000 {
            index.insert(id, &vector(u64::from(id)));
        }
        let full = index.bytes();
        index.remove(|id| id % 10 != 0);
        assert_eq!(index.len(), 100);
        assert!(index.bytes() < full / 4, "{} of {full}", index.bytes());
        for id in [0, 7, 500, 501] {
            let near = index.nearest(&vector(u64::from(id)), 1, 0.0)[0];
            assert_eq!(near.id == id, id % 10 == 0, "{id}");
        }
        index.remove(|_| true);
        assert!(index.is_empty() && index.nearest(&vector(3), 4, 0.0).is_empty());
    }

    #[test]
    fn a_model_of_a_list_is_agreed_with_under_any_changes() {
        let index = Index::default();
        let mut model: Vec<u32> = Vec::new();
        for step in 0..600_u64 {
            let draw = Seed(step).uniform("what");
            if draw < 0.75 || model.is_empty() {
                model.push(step as u32);
                index.insert(step as u32, &vector(step));
            } else {
                let gone = model.remove((draw * 1e6) as usize % model.len());
                index.remove(|id| id == gone);
            }
            assert_eq!(index.len(), model.len());
            if step % 20 == 0 {
                for id in &model {
                    assert_eq!(index.nearest(&vector(u64::from(*id)), 1, 0.0)[0].id, *id);
                }
            }
        }
    }

    /// What is to be found: every row read whole, in the order of their insertion.
    fn plain(rows: &[(u32, Coarse)], query: &[f32], most: usize, least: f32) -> Vec<Near> {
        let query = Coarse::of(query).expect("numbers");
        let of = |(id, row): &(u32, Coarse)| {
            let sum: i32 = row.numbers.iter().zip(&query.numbers).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
            Near { id: *id, about: sum as f32 * row.scale * query.scale }
        };
        let mut near: Vec<Near> = rows.iter().map(of).filter(|near| near.about >= least).collect();
        near.sort_by(|a, b| b.about.partial_cmp(&a.about).expect("numbers"));
        near.truncate(most.min(MOST));
        near
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn what_is_found_is_what_a_plain_scan_finds(
            // So many are inserted, of so few different ones about a centre; or of those that are there, some go.
            changes in proptest::collection::vec((any::<bool>(), 1..300_u32, 1..60_u64, 2..6_u32), 1..12),
            (to, share) in (0..60_u64, prop_oneof![Just(0.0), Just(1.0), 0.0..1.0_f32]),
            most in 0..=MOST + 1,
            least in prop_oneof![Just(f32::NEG_INFINITY), Just(2.0), -0.2..1.0_f32],
        ) {
            let mixed = |one: &[f32], other: &[f32], share: f32| -> Vec<f32> {
                one.iter().zip(other).map(|(a, b)| share * a + (1.0 - share * share).sqrt() * b).collect()
            };
            let centre = vector(1_000);
            let about = |seed: u64| mixed(&centre, &vector(seed), 0.7);
            let (index, mut rows, mut next) = (Index::default(), Vec::new(), 0);
            for (inserts, count, different, every) in changes {
                if inserts {
                    for id in next..next + count {
                        let vector = about(u64::from(id) % different);
                        prop_assert!(index.insert(id, &vector));
                        rows.push((id, Coarse::of(&vector).expect("numbers")));
                    }
                    next += count;
                } else {
                    index.remove(|id| id % every == 0);
                    rows.retain(|(id, _)| id % every != 0);
                }
            }
            let query = mixed(&about(to), &vector(2_000), share);
            let all = plain(&rows, &query, most, f32::NEG_INFINITY);
            // Also a least that one just reaches.
            for least in all.last().map(|last| last.about).into_iter().chain([least]) {
                let expected = plain(&rows, &query, most, least);
                for unit in Unit::available() {
                    let (near, finished) = index.nearest_by(unit, &query, most, least);
                    prop_assert_eq!(&near, &expected, "{:?}", unit);
                    prop_assert!(finished >= near.len() && (least < 2.0 || finished == 0));
                }
            }
        }
    }

    #[test]
    fn look_ups_go_on_while_entries_come() {
        let index = Index::of([(0, vector(0).as_slice())]);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (1..3_000).for_each(|id| assert!(index.insert(id, &vector(u64::from(id))))));
            let query = vector(0);
            while !writer.is_finished() {
                assert_eq!(index.nearest(&query, 1, 0.0)[0].id, 0);
            }
        });
        assert_eq!(index.len(), 3_000);
    }
}
