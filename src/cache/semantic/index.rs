//! The nearest entries of one namespace: an exact scan over int8 rows.
//!
//! No graph, no clusters: at the sizes a namespace has (1,000 to 100,000) reading every row is as fast as a graph of
//! equal recall, needs a quarter of its memory, and forgets an entry by turning a bit.
//!
//! Rows stand in slabs that never change. An insertion makes a new last slab of at most [`TAIL`] rows and publishes a
//! new list of slabs; a look-up reads the list that stands when it begins and takes no lock, so neither waits for the
//! other. When the last slab is full it is joined with its neighbours of equal size, up to [`SLAB`] rows, so that
//! every row is copied a few times in its life and the list stays short. Dead rows are left out when slabs are joined,
//! and a slab of which half is dead is rewritten.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::kernels::{self, Row, Unit};
use super::quantised::{Coarse, WIDTH};

/// Rows of the slab that takes insertions.
const TAIL: usize = 64;
/// Rows of the largest slab.
const SLAB: usize = 4_096;
/// Most candidates of one look-up.
pub const MOST: usize = 16;

/// Rows that never change, but for their deaths.
#[derive(Clone, Debug, Default)]
struct Slab {
    rows: Arc<Vec<Row>>,
    scales: Arc<Vec<f32>>,
    ids: Arc<Vec<u32>>,
    /// A bit for every row that is gone; empty while there is none.
    dead: Vec<u64>,
    gone: usize,
}

impl Slab {
    fn is_dead(&self, at: usize) -> bool {
        self.dead.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn alive(&self) -> usize {
        self.ids.len() - self.gone
    }

    /// The living rows of these slabs, and one more, as one.
    fn join(slabs: &[Self], more: Option<(u32, &Coarse)>) -> Self {
        let count = slabs.iter().map(Self::alive).sum::<usize>() + usize::from(more.is_some());
        let (mut rows, mut scales, mut ids) =
            (Vec::with_capacity(count), Vec::with_capacity(count), Vec::with_capacity(count));
        for slab in slabs {
            for at in (0..slab.ids.len()).filter(|at| !slab.is_dead(*at)) {
                rows.push(slab.rows[at]);
                scales.push(slab.scales[at]);
                ids.push(slab.ids[at]);
            }
        }
        if let Some((id, vector)) = more {
            rows.push(vector.numbers);
            scales.push(vector.scale);
            ids.push(id);
        }
        Self { rows: Arc::new(rows), scales: Arc::new(scales), ids: Arc::new(ids), dead: Vec::new(), gone: 0 }
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
        let mut slabs = vec![Slab::default()];
        for (id, vector) in vectors {
            let Some(coarse) = Coarse::of(vector) else { continue };
            if slabs.last().is_some_and(|slab| slab.ids.len() >= SLAB) {
                slabs.push(Slab::default());
            }
            // Nobody else holds these yet, so they are written in place.
            if let Some(Slab { rows, scales, ids, .. }) = slabs.last_mut() {
                Arc::make_mut(rows).push(coarse.numbers);
                Arc::make_mut(scales).push(coarse.scale);
                Arc::make_mut(ids).push(id);
            }
        }
        slabs.retain(|slab| !slab.ids.is_empty());
        if let Some(Slab { rows, scales, ids, .. }) = slabs.last_mut() {
            Arc::make_mut(rows).shrink_to_fit();
            Arc::make_mut(scales).shrink_to_fit();
            Arc::make_mut(ids).shrink_to_fit();
        }
        Self { slabs: ArcSwap::from_pointee(slabs), turn: Mutex::new(()) }
    }

    /// Adds an entry; `false` if the vector has another width or holds what is no number.
    pub fn insert(&self, id: u32, vector: &[f32]) -> bool {
        let Some(vector) = Coarse::of(vector) else { return false };
        let _turn = self.turn.lock();
        let mut slabs = self.slabs.load().as_ref().clone();
        let tail = slabs.pop_if(|slab| slab.ids.len() < TAIL);
        slabs.push(Slab::join(tail.as_slice(), Some((id, &vector))));
        // Like the carry of a binary counter: two of a size become one of twice the size.
        while let [.., before, last] = &slabs[..]
            && last.ids.len() >= TAIL
            && before.ids.len() <= last.ids.len()
            && before.ids.len() + last.ids.len() <= SLAB
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
            for at in 0..slab.ids.len() {
                if gone(slab.ids[at]) && !slab.is_dead(at) {
                    slab.dead.resize(slab.ids.len().div_ceil(64), 0);
                    slab.dead[at / 64] |= 1 << (at % 64);
                    slab.gone += 1;
                }
            }
            if 2 * slab.gone > slab.ids.len() {
                *slab = Slab::join(std::slice::from_ref(slab), None);
            }
        }
        slabs.retain(|slab| !slab.ids.is_empty());
        self.slabs.store(Arc::new(slabs));
    }

    /// The `most` nearest entries (at most [`MOST`]), nearest first; of equals the earlier inserted.
    #[must_use]
    pub fn nearest(&self, vector: &[f32], most: usize) -> Vec<Near> {
        self.nearest_by(Unit::fastest(), vector, most)
    }

    /// The same with a unit of one's choice.
    #[must_use]
    pub fn nearest_by(&self, unit: Unit, vector: &[f32], most: usize) -> Vec<Near> {
        let Some(query) = Coarse::of(vector) else { return Vec::new() };
        let most = most.min(MOST);
        let mut best: Vec<Near> = Vec::with_capacity(most + 1);
        let mut sums = [0; 1_024];
        for slab in self.slabs.load().iter() {
            let parts = slab.rows.chunks(sums.len()).zip(slab.scales.chunks(sums.len()));
            for (part, (rows, scales)) in parts.enumerate() {
                let sums = &mut sums[..rows.len()];
                kernels::dots(unit, &query.numbers, rows, sums);
                let mut least = if best.len() < most { f32::NEG_INFINITY } else { best[most - 1].about };
                for (at, (sum, scale)) in sums.iter().zip(scales).enumerate() {
                    let about = *sum as f32 * scale * query.scale;
                    let at = part * 1_024 + at;
                    if about > least && !slab.is_dead(at) {
                        let place = best.partition_point(|near| near.about >= about);
                        best.insert(place, Near { id: slab.ids[at], about });
                        best.truncate(most);
                        least = if best.len() < most { f32::NEG_INFINITY } else { best[most - 1].about };
                    }
                }
            }
        }
        best
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
        let row = WIDTH + size_of::<f32>() + size_of::<u32>();
        let of = |slab: &Slab| size_of::<Slab>() + slab.rows.capacity() * row + 8 * slab.dead.len();
        self.slabs.load().iter().map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seed;

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
                let near = index.nearest_by(unit, &query, 4);
                assert_eq!(near[0].id as usize, seed * 800, "{unit:?}");
                assert_eq!(near, laid_out.nearest_by(unit, &query, 4), "{unit:?}");
                assert!(near.iter().all(|near| (near.about - exact(&vectors[near.id as usize], &query)).abs() < 0.005));
                assert!(near.windows(2).all(|two| two[0].about >= two[1].about));
            }
        }
        assert_eq!((index.len(), laid_out.len()), (5_000, 5_000));
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
            let near = index.nearest(&vector(u64::from(id)), 1)[0];
            assert_eq!(near.id == id, id % 10 == 0, "{id}");
        }
        index.remove(|_| true);
        assert!(index.is_empty() && index.nearest(&vector(3), 4).is_empty());
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
                    assert_eq!(index.nearest(&vector(u64::from(*id)), 1)[0].id, *id);
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
                assert_eq!(index.nearest(&query, 1)[0].id, 0);
            }
        });
        assert_eq!(index.len(), 3_000);
    }
}
