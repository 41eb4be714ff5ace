//! Independent jobs on a few threads; results in the order of the jobs, whatever finished first.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Does jobs `0..jobs` on `threads` threads; `done` is called after each one, from any of them.
///
/// # Panics
/// If a job panics.
pub fn spread<T: Send>(
    jobs: usize,
    threads: usize,
    done: &(dyn Fn() + Sync),
    work: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(jobs));
    thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.max(1)) {
            scope.spawn(|| {
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    if job >= jobs {
                        break;
                    }
                    let result = work(job);
                    results.lock().expect("no job panicked").push((job, result));
                    done();
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no job panicked");
    results.sort_by_key(|(job, _)| *job);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_in_the_order_of_the_jobs() {
        let ticks = AtomicUsize::new(0);
        let tick = || {
            ticks.fetch_add(1, Ordering::Relaxed);
        };
        assert_eq!(spread(5, 2, &tick, |job| job * job), [0, 1, 4, 9, 16]);
        assert_eq!(ticks.load(Ordering::Relaxed), 5);
        assert!(spread(0, 2, &tick, |job| job).is_empty());
    }
}
