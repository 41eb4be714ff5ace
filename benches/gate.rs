//! The bars of evaluation, gate and canary on logs made from the bundled sets: `cargo bench --bench gate`.
//!
//! `--quick` makes a tenth of the runs. A part alone: `cargo bench --bench gate -- errors`, `promoted`, `apart` or `canary`.
//! Every figure is a function of the tables and of seeds.
#![expect(clippy::print_stdout, reason = "a bench says what it measured")]

use ndarray::Array2;
use pointsman::cli::datasets::table;
use pointsman::eval::crew::spread;
use pointsman::eval::ope::gate::{Apart, Told};
use pointsman::eval::ope::rehearse::{Lean, Rehearsal, Target};
use pointsman::eval::ope::{Estimator, Gate, Verdict};
use pointsman::eval::stream::Projection;
use pointsman::eval::table::Table;
use pointsman::learn::canary::{Call, Config, Watch};

const SETS: [&str; 3] = ["paretobandit", "llmrouter-ulab", "zeroeval"];

/// A set's name, its table, and the contexts of its rows.
type Set = (&'static str, Table, Array2<f32>);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let (quick, parts): (Vec<&String>, Vec<&String>) = arguments.iter().partition(|word| *word == "--quick");
    let asked = |part: &str| parts.is_empty() || parts.iter().any(|asked| *asked == part);
    let runs = |runs: usize| if quick.is_empty() { runs } else { runs / 10 };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let projection = Projection::of(&table("llmrouter-ulab").expect("bundled"));
    let sets: [Set; 3] = SETS.map(|set| {
        let table = table(set).expect("bundled");
        let contexts = projection.contexts(&table);
        (set, table, contexts)
    });
    if asked("errors") {
        all_errors(&sets, runs(400), threads);
    }
    if asked("promoted") {
        all_promoted(&sets, &runs, threads);
    }
    if asked("apart") {
        all_apart(&sets, &runs, threads);
    }
    if asked("canary") {
        all_canaries(runs(200), threads);
    }
}

fn all_errors(sets: &[Set], runs: usize, threads: usize) {
    println!("error of the estimate at 1,000 events, logged with a floor of .01 ({runs} runs)");
    println!("  told all: DR with a reward model that was told every answer to every prompt of the other half");
    println!("  prompts:  the error left when every answer to those 1,000 prompts is known; nobody comes below it");
    println!("  lived:    the mean of 1,000 events that the target itself chose");
    println!(
        "{:<16}{:<10}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>10}{:>9}{:>7}  DR <= .010",
        "set", "target", "gain", "IPS", "SNIPS", "DM", "SNDR", "DRos", "DR", "told all", "prompts", "lived"
    );
    for (set, table, contexts) in sets {
        let world = Rehearsal::new(table, contexts, 0.01);
        for (lean, share) in [(Lean::Learned, 1.0), (Lean::Oracle, 0.5), (Lean::Nowhere, 0.5)] {
            errors(set, &world, &world.leaning(lean, share), lean, runs, threads);
        }
    }
}

fn all_promoted(sets: &[Set], runs: &dyn Fn(usize) -> usize, threads: usize) {
    println!("\nthe gate, floor .03, 20,000 events watched at every one, alpha .05");
    println!(
        "{:<16}{:<10}{:>8}{:>8}{:>10}{:>10}{:>8}",
        "set", "target", "gain", "runs", "promoted", "median at", "refused"
    );
    for (set, table, contexts) in sets {
        let world = Rehearsal::new(table, contexts, 0.03);
        for (lean, gain, count) in [(Lean::Learned, 0.02, 50), (Lean::Oracle, 0.02, 50), (Lean::Nowhere, 0.0, 200)] {
            if let Some(target) = world.target(lean, gain) {
                promoted(set, &world, &target, lean, runs(count), threads);
            }
        }
    }
}

fn all_apart(sets: &[Set], runs: &dyn Fn(usize) -> usize, threads: usize) {
    println!(
        "\nDR and SNIPS apart by so many standard errors, 5,000 events, floor .03: refused of sound and of false logs"
    );
    println!("{:<16}{:<26}{:>8}{:>8}{:>8}{:>8}", "set", "probabilities told", "runs", "2", "2.5", "3");
    for (set, table, contexts) in sets {
        let world = Rehearsal::new(table, contexts, 0.03);
        apart(set, "as drawn", &world, runs(400), threads, &<[f64]>::to_vec);
        apart(set, "one over the arms", &world, runs(100), threads, &|p| vec![1.0 / p.len() as f64; p.len()]);
        apart(set, "half way to that", &world, runs(100), threads, &|p| {
            p.iter().map(|p| (p + 1.0 / 4.0) / 2.0).collect()
        });
    }
}

fn all_canaries(runs: usize, threads: usize) {
    println!("\na canary at 5 %: requests it has served when it is rolled back ({runs} runs, at most 4,000)");
    println!("{:<10}{:>8}{:>12}{:>10}{:>10}{:>12}", "harm", "judged", "rolled back", "median", "95 %", "within 2,000");
    for (harm, judged) in
        [(0.0, 1.0), (0.02, 1.0), (0.03, 1.0), (0.05, 1.0), (0.1, 1.0), (0.2, 1.0), (0.1, 0.3), (0.2, 0.3)]
    {
        canary(harm, judged, runs, threads);
    }
}

/// The error that DR may have. Where the prompts alone leave more, no estimator has less.
const BAR: f64 = 0.01;
const ESTIMATORS: [Estimator; 6] =
    [Estimator::Ips, Estimator::Snips, Estimator::Direct, Estimator::SelfNormalisedDr, Estimator::Tuned, Estimator::Dr];

fn errors(set: &str, world: &Rehearsal, target: &Target, lean: Lean, runs: usize, threads: usize) {
    let truth = world.served() + target.gain;
    let all = spread(runs, threads, &|| {}, |run| {
        let (rounds, _) = world.log(target, 1_000, 0.01, run as u64);
        let off = |estimator: Estimator, rounds: &[_]| estimator.estimate(rounds).map_or(f64::NAN, |is| is - truth);
        let told_all = off(Estimator::Dr, &world.log_told_all(target, 1_000, run as u64));
        let lived = world.lived(target, 1_000, (1 << 20) + run as u64) - truth;
        ESTIMATORS.map(|estimator| off(estimator, &rounds)).into_iter().chain([told_all, lived]).collect::<Vec<_>>()
    });
    let error = |at: usize| (all.iter().map(|errors| errors[at].powi(2)).sum::<f64>() / runs as f64).sqrt();
    let lean = format!("{lean:?}");
    print!("{set:<16}{lean:<10}{:>8.4}", target.gain);
    (0..6).for_each(|at| print!("{:>8.4}", error(at)));
    let least = world.of_prompts(target, 1_000);
    let bar = match error(5) {
        reached if reached <= BAR => "held",
        _ if least > BAR => "beyond reach",
        _ => "missed",
    };
    println!("{:>10.4}{least:>9.4}{:>7.4}  {bar}", error(6), error(7));
}

/// How often a limit refuses logs that tell their probabilities in this way.
fn apart(
    set: &str,
    name: &str,
    world: &Rehearsal,
    runs: usize,
    threads: usize,
    told: &(impl Fn(&[f64]) -> Vec<f64> + Sync),
) {
    let target = world.leaning(Lean::Learned, 0.5);
    let errors = spread(runs, threads, &|| {}, |run| {
        let (rounds, _) = world.log_told(&target, 5_000, 0.03, run as u64, told);
        Apart::of(&rounds).map_or(0.0, |apart| (apart.dr - apart.snips).abs() / apart.error)
    });
    print!("{set:<16}{name:<26}{runs:>8}");
    for limit in [2.0, 2.5, 3.0] {
        print!("{:>8.3}", errors.iter().filter(|error| **error > limit).count() as f64 / runs as f64);
    }
    println!();
}

fn promoted(set: &str, world: &Rehearsal, target: &Target, lean: Lean, runs: usize, threads: usize) {
    let gate = Gate { floor: 0.03, ..Gate::default() };
    let verdicts: Vec<Result<u64, bool>> = spread(runs, threads, &|| {}, |run| {
        let (rounds, support) = world.log(target, 20_000, 0.03, run as u64);
        let told = Told { covered: support.share().unwrap_or(0.0), ..Told::default() };
        match gate.judge(&rounds, &told).verdict {
            Verdict::Promote { after } => Ok(after),
            Verdict::Keep(_) => Err(true),
            Verdict::More { .. } => Err(false),
        }
    });
    let refused = verdicts.iter().filter(|verdict| **verdict == Err(true)).count();
    let mut after: Vec<u64> = verdicts.into_iter().filter_map(Result::ok).collect();
    after.sort_unstable();
    let median = after.get(after.len() / 2).map_or_else(|| "-".to_owned(), u64::to_string);
    let lean = format!("{lean:?}");
    let promoted = after.len() as f64 / runs as f64;
    println!("{set:<16}{lean:<10}{:>8.4}{runs:>8}{promoted:>10.3}{median:>10}{refused:>8}", target.gain);
}

/// Answers are right or wrong: right in eight of ten, by the canary less often.
fn canary(harm: f64, judged: f64, runs: usize, threads: usize) {
    use pointsman::base::Seed;
    let mut served: Vec<Option<u64>> = spread(runs, threads, &|| {}, |run| {
        let (mut watch, mut served) = (Watch::calling(&Config::default()), 0);
        for n in 0.. {
            let seed = Seed((run as u64) << 32 | n);
            let candidate = seed.uniform("canary") < 0.05;
            served += u64::from(candidate);
            if served > 4_000 {
                return None;
            }
            if seed.uniform("judged") < judged {
                let right = seed.uniform("right") < if candidate { 0.8 - harm } else { 0.8 };
                watch.add(candidate, f64::from(u8::from(right)));
                if watch.call(1) == Call::RollBack {
                    return Some(served);
                }
            }
        }
        None
    });
    served.sort_unstable_by_key(|served| served.unwrap_or(u64::MAX));
    let at = |share: f64| {
        let at = served.get((share * runs as f64) as usize).copied().flatten();
        at.map_or_else(|| "-".to_owned(), |at| at.to_string())
    };
    let count = |most: u64| served.iter().flatten().filter(|served| **served <= most).count() as f64 / runs as f64;
    println!("{harm:<10}{judged:>8}{:>12.3}{:>10}{:>10}{:>12.3}", count(u64::MAX), at(0.5), at(0.95), count(2_000));
}
