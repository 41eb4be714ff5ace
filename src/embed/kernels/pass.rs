//! One pass of texts through the network, and how several threads work at it.
//!
//! Rows (tokens) know nothing of each other but in the attention, which reads the keys and values of a whole text. So
//! the network is cut there, into stages: a stage takes a row from one attention to the next, and may begin when every
//! row has come through the one before. In a stage rows are claimed, not given out: whoever is here takes a fair share
//! of all rows, and what a thread that never came would have had is taken by the others. A thread alone takes them
//! all. Each row is computed by the same operations in the same order whoever does it and in whatever company, so the
//! bits do not depend on it.
//!
//! Who waits for the next stage spins, for the others are at work on it this moment, and after a while lets other
//! threads run; nobody sleeps. Keys and values of two stages in turn lie in two planes, so that one meeting a stage is
//! enough: while the one plane is read, rows of the other are written.

use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

/// Turns of a waiting thread before it lets others run: some 20 microseconds.
const SPINS: u32 = 1 << 10;

/// A pass: what its threads share.
#[derive(Default)]
pub(in crate::embed) struct Pass {
    lengths: Vec<usize>,
    rows: usize,
    width: usize,
    stages: u32,
    /// Token vectors (rows, width).
    pub(super) states: Plane,
    /// Queries, keys and values (rows, 3 * width); stage i writes plane i % 2.
    pub(super) mixed: [Plane; 2],
    /// The stage in the upper half, the next row to be claimed in the lower.
    place: AtomicU64,
    /// Rows done, of all stages together.
    done: AtomicUsize,
    /// Threads that are at it.
    present: AtomicUsize,
}

/// Says that a thread has left, also when it panics: then nobody waits for the rows it had claimed.
struct Presence<'a>(&'a Pass);

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.place.store(u64::MAX, Ordering::Release);
        }
        self.0.present.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pass {
    /// A pass of these texts, from the sum of token and position vectors (rows of all texts, width) on, in the memory
    /// of an earlier one if nobody holds that any more.
    pub(super) fn prepare<'a>(
        kept: &'a mut Arc<Self>,
        states: &[f32],
        lengths: &[usize],
        stages: usize,
    ) -> &'a Arc<Self> {
        let rows = lengths.iter().sum::<usize>();
        let width = states.len().checked_div(rows).unwrap_or_default();
        assert_eq!(states.len(), rows * width, "shapes differ");
        if Arc::get_mut(kept).is_none() {
            *kept = Arc::default();
        }
        let pass = Arc::get_mut(kept).expect("nobody else holds it");
        pass.lengths.clear();
        pass.lengths.extend_from_slice(lengths);
        (pass.rows, pass.width, pass.stages) = (rows, width, stages as u32);
        pass.states.hold(states.len());
        pass.states.all()[..states.len()].copy_from_slice(states);
        pass.mixed.iter_mut().for_each(|plane| plane.hold(3 * states.len()));
        // Nothing to do is done.
        *pass.place.get_mut() = if rows == 0 { u64::MAX } else { 0 };
        *pass.done.get_mut() = 0;
        kept
    }

    /// Rows of all texts.
    pub(in crate::embed) const fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers in a token vector.
    pub(super) const fn width(&self) -> usize {
        self.width
    }

    /// Whether there is nothing left to claim, now or later.
    pub(in crate::embed) fn is_over(&self) -> bool {
        self.place.load(Ordering::Acquire) >> 32 >= u64::from(self.stages)
    }

    /// Claims rows and does a stage of them, until the last stage is done. The rows it is called with are claimed by
    /// this thread alone, and every row has come through the stage before.
    pub(super) fn work(&self, mut stage_of: impl FnMut(usize, Range<usize>)) {
        self.present.fetch_add(1, Ordering::Relaxed);
        let _presence = Presence(self);
        let mut turns = 0;
        loop {
            let place = self.place.load(Ordering::Acquire);
            let (stage, from) = ((place >> 32) as u32, (place & u64::from(u32::MAX)) as usize);
            if stage >= self.stages {
                return;
            }
            if from == self.rows {
                turns += 1;
                if turns < SPINS {
                    spin_loop();
                } else {
                    thread::yield_now();
                }
                continue;
            }
            let share = self.rows.div_ceil(self.present.load(Ordering::Relaxed).max(1)).min(self.rows - from);
            let claimed =
                self.place.compare_exchange(place, place + share as u64, Ordering::Acquire, Ordering::Relaxed);
            if claimed.is_err() {
                continue;
            }
            stage_of(stage as usize, from..from + share);
            // Every thread's rows come before this, and this before the stage that is opened by it.
            if self.done.fetch_add(share, Ordering::AcqRel) + share == self.rows * (stage as usize + 1) {
                self.place.store(u64::from(stage + 1) << 32, Ordering::Release);
            }
            turns = 0;
        }
    }

    /// Copies the token vectors out.
    pub(super) fn finish(&self, states: &mut [f32]) {
        assert!(
            self.is_over() && self.done.load(Ordering::Acquire) == self.rows * self.stages as usize,
            "a thread that worked at this text panicked"
        );
        // SAFETY: all rows of all stages are done, so nobody writes any more.
        states.copy_from_slice(unsafe { self.states.read(0..states.len()) });
    }

    /// The texts that have rows among these: where each begins, its length, and which of its rows are meant.
    pub(super) fn texts(&self, rows: Range<usize>) -> impl Iterator<Item = (usize, usize, Range<usize>)> {
        let mut next = 0;
        self.lengths.iter().filter_map(move |length| {
            let start = next;
            next += length;
            let (from, to) = (rows.start.max(start), rows.end.min(next));
            (from < to).then(|| (start, *length, from - start..to - start))
        })
    }
}

/// Numbers that several threads work at, each on a part of its own.
#[derive(Default)]
pub(super) struct Plane(Vec<UnsafeCell<f32>>);

// SAFETY: whoever takes a part promises that nobody else writes there.
unsafe impl Sync for Plane {}

impl Plane {
    fn hold(&mut self, numbers: usize) {
        if self.0.len() < numbers {
            self.0.resize_with(numbers, UnsafeCell::default);
        }
    }

    fn all(&mut self) -> &mut [f32] {
        // SAFETY: nobody else has it, and a cell is what is in it.
        unsafe { std::slice::from_raw_parts_mut(UnsafeCell::raw_get(self.0.as_ptr()), self.0.len()) }
    }

    /// # Safety
    /// Nobody writes there as long as this is held.
    pub(super) unsafe fn read(&self, part: Range<usize>) -> &[f32] {
        let cells = &self.0[part];
        // SAFETY: the caller's promise; a cell is what is in it.
        unsafe { std::slice::from_raw_parts(UnsafeCell::raw_get(cells.as_ptr()), cells.len()) }
    }

    /// # Safety
    /// Nobody else reads or writes there as long as this is held.
    #[expect(clippy::mut_from_ref, reason = "what the cells are for; the caller's promise makes it alone")]
    pub(super) unsafe fn write(&self, part: Range<usize>) -> &mut [f32] {
        let cells = &self.0[part];
        // SAFETY: the caller's promise; a cell is what is in it.
        unsafe { std::slice::from_raw_parts_mut(UnsafeCell::raw_get(cells.as_ptr()), cells.len()) }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;

    use super::*;

    const STAGES: usize = 7;

    fn pass(lengths: &[usize]) -> Arc<Pass> {
        let mut kept = Arc::default();
        let states = vec![0.5; lengths.iter().sum::<usize>() * 4];
        Arc::clone(Pass::prepare(&mut kept, &states, lengths, STAGES))
    }

    /// What each of so many threads does at the pass, all beginning together.
    fn together(pass: &Pass, threads: usize, stage_of: impl Fn(usize, Range<usize>) + Sync) {
        let begin = Barrier::new(threads);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    begin.wait();
                    // A panic of one is found by the others' result.
                    let _ = catch_unwind(AssertUnwindSafe(|| pass.work(&stage_of)));
                });
            }
        });
    }

    #[test]
    fn every_row_goes_through_every_stage_once_and_none_before_all_are_through_the_last() {
        for (rows, threads) in [(1, 3), (2, 3), (16, 2), (31, 4), (256, 5)] {
            let pass = pass(&[rows]);
            let done: Vec<Vec<AtomicUsize>> =
                (0..STAGES).map(|_| (0..rows).map(|_| AtomicUsize::new(0)).collect()).collect();
            let times = |stage: usize| done[stage].iter().map(|row| row.load(Ordering::Relaxed));
            together(&pass, threads, |stage, claimed| {
                assert!(stage == 0 || times(stage - 1).all(|times| times == 1), "stage {stage} began early");
                // Some are slower than others.
                (0..claimed.start % 7).for_each(|_| thread::yield_now());
                for row in claimed {
                    done[stage][row].fetch_add(1, Ordering::Relaxed);
                }
            });
            assert!((0..STAGES).flat_map(times).all(|times| times == 1), "{rows} rows, {threads} threads");
            assert!(pass.is_over());
            pass.finish(&mut vec![0.0; rows * 4]);
        }
    }

    #[test]
    fn a_thread_alone_takes_all_rows_at_once() {
        let pass = pass(&[3, 0, 29]);
        let mut claims = Vec::new();
        pass.work(|stage, rows| claims.push((stage, rows)));
        assert_eq!(claims, (0..STAGES).map(|stage| (stage, 0..32)).collect::<Vec<_>>());
        assert_eq!(pass.texts(2..5).collect::<Vec<_>>(), [(0, 3, 2..3), (3, 29, 0..2)]);
    }

    #[test]
    fn a_thread_that_panics_is_not_waited_for_and_is_said() {
        let pass = pass(&[64]);
        let ended = AtomicUsize::new(0);
        together(&pass, 3, |stage, rows| {
            assert!(stage < 3 || rows.start > 0, "this one breaks");
            ended.fetch_add(1, Ordering::Relaxed);
        });
        assert!(pass.is_over());
        assert!(catch_unwind(AssertUnwindSafe(|| pass.finish(&mut [0.0; 256]))).is_err());
    }

    #[test]
    fn memory_is_used_again_but_not_while_another_holds_it() {
        let mut kept = Arc::default();
        let first = Arc::as_ptr(Pass::prepare(&mut kept, &[1.0; 8], &[2], 1));
        let held = Arc::clone(Pass::prepare(&mut kept, &[2.0; 8], &[2], 1));
        assert_eq!(Arc::as_ptr(&held), first);
        assert_ne!(Arc::as_ptr(Pass::prepare(&mut kept, &[3.0; 8], &[2], 1)), first);
        let mut states = [0.0; 8];
        held.work(|_, _| ());
        held.finish(&mut states);
        assert_eq!(states, [2.0; 8]);
    }
}
