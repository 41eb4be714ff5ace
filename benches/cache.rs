//! The semantic cache: the scan of an index by unit and size, insertion, the decision and the vetoes.
//!
//! `cargo bench --bench cache` prints times of one thread and recall against an exact float32 search: the least run, the
//! median of the best of eight blocks of runs (what a quiet machine would show), and the median of all. The index is
//! asked for what the cache asks it for; `finished` is the share of rows of which it read more than one half. With
//! `python3` and its package `usearch` at hand, `usearch` searches the same vectors in the same run.
//! `POINTSMAN_BENCH_ROWS=1000000` adds that size.
#![expect(clippy::print_stdout, reason = "a bench speaks by printing")]

use std::hint::black_box;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pointsman::base::{Clock, SystemClock};
use pointsman::cache::semantic::decision::{Evidence, LEAST_SIMILARITY, Pair, Prior};
use pointsman::cache::semantic::index::Index;
use pointsman::cache::semantic::quantised::Fine;
use pointsman::cache::semantic::{Unit, vetoes};
use pointsman::embed::DIMENSIONS;

/// Cheap pseudo-random numbers in `[-0.5, 0.5)`.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1_u32 << 24) as f32 - 0.5
    }

    fn unit(&mut self, around: Option<&[f32]>, share: f32) -> Vec<f32> {
        let noise: Vec<f32> = (0..DIMENSIONS).map(|_| self.next()).collect();
        let length = noise.iter().map(|x| x * x).sum::<f32>().sqrt();
        let mixed: Vec<f32> = match around {
            Some(centre) => noise.iter().zip(centre).map(|(x, c)| x / length * (1.0 - share) + c * share).collect(),
            None => noise,
        };
        let length = mixed.iter().map(|x| x * x).sum::<f32>().sqrt();
        mixed.into_iter().map(|x| x / length).collect()
    }
}

/// Times in milliseconds.
#[derive(Clone, Copy)]
struct Times {
    least: f64,
    /// The least of the medians of [`BLOCKS`] blocks.
    quiet: f64,
    median: f64,
}

const BLOCKS: usize = 8;

/// The least cosine that is wanted, as the cache has it.
const LEAST: f32 = LEAST_SIMILARITY as f32 - 0.01;

/// The times of so many runs.
fn time(clock: &SystemClock, runs: usize, mut run: impl FnMut(usize)) -> Times {
    let mut taken: Vec<Duration> = (0..runs)
        .map(|i| {
            let start = clock.monotonic();
            run(i);
            clock.monotonic() - start
        })
        .collect();
    let middle = |taken: &mut [Duration]| {
        taken.sort();
        1e3 * taken[taken.len() / 2].as_secs_f64()
    };
    let quiet = taken.chunks_mut(runs.div_ceil(BLOCKS)).map(middle).fold(f64::INFINITY, f64::min);
    let median = middle(&mut taken);
    Times { least: 1e3 * taken[0].as_secs_f64(), quiet, median }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn main() {
    // `cargo test --benches` only wants to see that it runs.
    let quick = std::env::args().any(|argument| argument == "--test");
    let clock = SystemClock::new();
    let mut sizes = if quick { vec![200] } else { vec![10_000, 100_000] };
    sizes.extend(std::env::var("POINTSMAN_BENCH_ROWS").ok().and_then(|rows| rows.parse::<usize>().ok()));
    println!(
        "{:>9}  {:<22} {:>9} {:>9} {:>9}  {:>8}  bytes",
        "rows", "search", "least ms", "quiet p50", "p50", "recall@1"
    );
    for size in sizes {
        scans(&clock, size, if quick { 3 } else { 400 });
    }
    decisions(&clock, if quick { 3 } else { 2_000 });
}

/// The scan of this many rows, by unit, and what stands beside it.
fn scans(clock: &SystemClock, size: usize, runs: usize) {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    // Prompts come in topics: vectors in clusters, as a real namespace has.
    let topics: Vec<Vec<f32>> = (0..size.div_ceil(50)).map(|_| dice.unit(None, 0.0)).collect();
    let vectors: Vec<f32> = (0..size).flat_map(|i| dice.unit(Some(&topics[i % topics.len()]), 0.55)).collect();
    let row = |i: usize| &vectors[i * DIMENSIONS..(i + 1) * DIMENSIONS];
    let queries: Vec<Vec<f32>> = (0..64).map(|i| dice.unit(Some(row(i * 7_919 % size)), 0.6)).collect();
    let index = Index::of((0..size).map(|i| (i as u32, row(i))));
    let mut best = vec![(0, f32::MIN); queries.len()];
    for i in 0..size {
        for (query, best) in queries.iter().zip(&mut best) {
            let cosine = dot(query, row(i));
            if cosine > best.1 {
                *best = (i as u32, cosine);
            }
        }
    }
    let runs = if size >= 500_000 { runs.min(100) } else { runs };
    let line = |name: &str, Times { least, quiet, median }: Times, recall: f64, bytes: f64| {
        println!("{size:>9}  {name:<22} {least:>9.3} {quiet:>9.3} {median:>9.3}  {recall:>8.3}  {bytes:.1}");
    };
    let plain = time(clock, runs.min(40), |i| {
        let query = &queries[i % queries.len()];
        black_box((0..size).map(|i| dot(query, row(i))).fold(f32::MIN, f32::max));
    });
    line("float32, plain loop", plain, 1.0, 1_536.0);
    let bytes = index.bytes() as f64 / size as f64;
    for unit in Unit::available() {
        let near = |i: usize| index.nearest_by(unit, &queries[i % queries.len()], 8, LEAST).0;
        let right = |(i, best): (usize, &(u32, f32))| {
            let rescored = near(i).into_iter().max_by(|a, b| {
                let cosine = |id: u32| dot(&queries[i], row(id as usize));
                cosine(a.id).total_cmp(&cosine(b.id))
            });
            rescored.is_some_and(|near| near.id == best.0)
        };
        let recall = best.iter().enumerate().filter(|one| right(*one)).count() as f64 / queries.len() as f64;
        line(&format!("int8, {unit:?}"), time(clock, runs, |i| drop(black_box(near(i)))), recall, bytes);
    }
    for (name, least) in [("finished", LEAST), ("finished, no least", f32::NEG_INFINITY)] {
        let finished = |query: &Vec<f32>| index.nearest_by(Unit::fastest(), query, 8, least).1;
        let share = queries.iter().map(finished).sum::<usize>() as f64 / (queries.len() * size) as f64;
        println!("{size:>9}  {name:<22} {share:.4}");
    }
    let fine: Vec<Fine> = (0..8).filter_map(|i| Fine::of(row(i))).collect();
    let rescored = time(clock, runs, |i| {
        black_box(fine.iter().map(|fine| fine.cosine(&queries[i % queries.len()])).fold(f64::MIN, f64::max));
    });
    line("rescoring of 8", rescored, 1.0, 772.0);
    let inserted = time(clock, runs, |i| {
        black_box(index.insert((size + i) as u32, &queries[i % queries.len()]));
    });
    line("insertion", inserted, 1.0, bytes);
    // A look-up waits for no insertion: its time while another thread inserts without a pause, and takes a tenth of the
    // rows out again whenever it has put them in.
    let going = AtomicBool::new(true);
    let beside = std::thread::scope(|scope| {
        scope.spawn(|| {
            let first = 2 * size as u32;
            let mut next = first;
            while going.load(Ordering::Relaxed) {
                index.insert(next, &queries[next as usize % queries.len()]);
                next += 1;
                if next - first > size as u32 / 10 {
                    index.remove(|id| id >= first);
                    next = first;
                }
            }
        });
        let times = time(clock, runs, |i| drop(black_box(index.nearest(&queries[i % queries.len()], 8, LEAST))));
        going.store(false, Ordering::Relaxed);
        times
    });
    line("int8, while inserting", beside, 1.0, bytes);
    usearch(&vectors, &queries, &best.iter().map(|(id, _)| *id).collect::<Vec<_>>());
}

/// Lets `usearch` search the same vectors, if it is there.
fn usearch(vectors: &[f32], queries: &[Vec<f32>], best: &[u32]) {
    let mut command = std::process::Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/usearch_beside.py")).stdin(std::process::Stdio::piped());
    let Ok(mut child) = command.spawn() else { return };
    if let Some(mut pipe) = child.stdin.take() {
        let mut bytes = Vec::with_capacity(4 * vectors.len());
        let counts = [(vectors.len() / DIMENSIONS) as u32, queries.len() as u32, DIMENSIONS as u32];
        bytes.extend(counts.iter().chain(best).flat_map(|n| n.to_le_bytes()));
        bytes.extend(vectors.iter().chain(queries.iter().flatten()).flat_map(|x| x.to_le_bytes()));
        // A program that has no usearch ends at once and does not read.
        let _ = pipe.write_all(&bytes);
    }
    let _ = child.wait();
}

/// The decision and the vetoes.
fn decisions(clock: &SystemClock, runs: usize) {
    let mut prior = Prior::default();
    let mut evidence = Evidence::default();
    let fresh = Evidence::default();
    for i in 0..64 {
        prior.learn(&mut evidence, Pair { similarity: 0.8 + 0.003 * f64::from(i), right: i % 7 != 0 });
    }
    let stored = "How do I change the delivery address of an order that has not been sent yet?";
    let asked = "Is there a way to change where my order is delivered to before it is sent?";
    let none = time(clock, runs, |i| {
        black_box(prior.right(&fresh, 0.9 + 1e-5 * i as f64));
    });
    let many = time(clock, runs, |i| {
        black_box(prior.right(&evidence, 0.9 + 1e-5 * i as f64));
    });
    let veto = time(clock, runs, |_| {
        black_box(vetoes::veto(black_box(stored), black_box(asked)));
    });
    for (name, times) in [("decision, no labels", none), ("decision, 64 labels", many), ("vetoes", veto)] {
        let Times { least, quiet, median } = times;
        println!("{:>9}  {name:<22} {least:>9.4} {quiet:>9.4} {median:>9.4}", "-");
    }
}
