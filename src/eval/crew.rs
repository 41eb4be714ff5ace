//! Independent jobs, spread over the machine; results in the order of the jobs, whatever finished first.
//!
//! Jobs may have jobs of their own: who waits for them does others meanwhile, so that a long job at the end of one list
//! leaves no processor idle while there is another list.

use rayon::prelude::*;

/// Does jobs `0..jobs`, on one thread if that is all there is to be, else on all of the pool; `done` is called after each
/// one, from any of them.
///
/// # Panics
/// If a job panics.
pub fn spread<T: Send>(
    jobs: usize,
    threads: usize,
    done: &(dyn Fn() + Sync),
    work: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    let work = |job| {
        let result = work(job);
        done();
        result
    };
    if threads <= 1 {
        return (0..jobs).map(work).collect();
    }
    (0..jobs).into_par_iter().with_max_len(1).map(work).collect()
}

/// Two pieces of work, at the same time if there is more than one thread.
pub fn both<A: Send, B: Send>(threads: usize, a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
    if threads <= 1 { (a(), b()) } else { rayon::join(a, b) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn results_stand_in_the_order_of_the_jobs() {
        let ticks = AtomicUsize::new(0);
        let tick = || {
            ticks.fetch_add(1, Ordering::Relaxed);
        };
        for threads in [1, 2] {
            let sums = spread(5, threads, &tick, |job| spread(job, threads, &|| (), |job| job).iter().sum::<usize>());
            assert_eq!(sums, [0, 0, 1, 3, 6]);
        }
        assert_eq!(ticks.load(Ordering::Relaxed), 10);
        assert!(spread(0, 2, &tick, |job| job).is_empty());
    }
}
