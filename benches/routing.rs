//! The offline benchmark as a bench target: `cargo bench --bench routing [-- SETS SEEDS]`.
//!
//! Runs the bundled sets by the protocol, says how long that took, and holds every figure that a separate reference
//! implementation published for the same rows and the same splits (`benches/expected.csv`) against ours. A figure out of
//! its tolerance is printed with both values. The tolerances leave room for vectors of eight bits and another encoder.

#![expect(clippy::print_stdout, reason = "a bench says what it measured")]

use std::collections::BTreeMap;
use std::time::Instant;

use pointsman::cli::datasets;
use pointsman::eval::offline::Effort;
use pointsman::eval::report::{SetReport, examine, routers};
use pointsman::eval::stream::Projection;

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let chosen = |name: &str| arguments.first().is_none_or(|sets| sets.split(',').any(|set| set == name));
    let seeds = arguments.get(1).and_then(|seeds| seeds.parse().ok()).unwrap_or(10);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let effort = Effort { seeds, draws: 1_000, threads, done: &|| () };
    let projection = Projection::of(&datasets::table(datasets::CONTEXT_SET).expect("a bundled set"));
    let mut found = BTreeMap::new();
    for set in datasets::BUNDLED.iter().filter(|set| chosen(set.name)) {
        let table = datasets::table(set.name).expect("a bundled set");
        let start = now();
        let report = examine(&table, &projection, &routers(), effort);
        println!("{}: {:.1} s", set.name, start.elapsed().as_secs_f64());
        collect(&report, &mut found);
    }
    compare(&found);
}

type Found = BTreeMap<(String, String, String, String), f64>;

/// Every figure of a report by set, column, router and name.
fn collect(report: &SetReport, into: &mut Found) {
    let mut add = |column: &str, router: &str, figure: &str, value: f64| {
        let key = [&report.set, column, router, figure].map(str::to_owned);
        into.insert(key.into(), value);
    };
    for column in &report.columns {
        for row in &column.rows {
            for (name, figure) in &row.figures {
                add(&column.name, &row.router, name, figure.spread.mean);
            }
        }
    }
    for row in report.new_arm.iter().filter(|row| row.base == "ridge") {
        add("new arm", row.way, "gap_share", row.gap_share.mean);
        add("new arm", row.way, "aiq", row.aiq.mean);
    }
    for curve in &report.learning {
        for (n, mean, _) in &curve.points {
            add("learning", &curve.router, &n.to_string(), *mean);
        }
    }
    for row in report.online.iter().flat_map(|online| &online.rows) {
        let last = row.means.len() - 1;
        for (i, (t, mean)) in row.means.iter().enumerate() {
            add("online", &row.policy, &if i == last { "end".to_owned() } else { t.to_string() }, *mean);
        }
        if let Some(blocked) = row.blocked {
            add("online", &row.policy, "blocked", blocked);
        }
    }
    for row in &report.drift {
        let column = format!("drift: {}", row.change);
        add(&column, &row.policy, "reward", row.reward.mean);
        add(&column, &row.policy, "adapted", row.adaptation.mean);
    }
}

/// Prints what is out of its tolerance, and how many figures were compared.
fn compare(found: &Found) {
    let expected = include_str!("expected.csv");
    let mut lines = csv::Reader::from_reader(expected.as_bytes());
    let (mut compared, mut out) = (0, 0);
    for record in lines.records() {
        let record = record.expect("a line of the expected figures");
        let key = (record[0].to_owned(), record[1].to_owned(), record[2].to_owned(), record[3].to_owned());
        let number = |column: usize| record[column].parse::<f64>().expect("a number");
        let (value, tolerance) = (number(4), number(5));
        let Some(ours) = found.get(&key) else { continue };
        compared += 1;
        // Both are rounded as they are printed; the last digit's half is not a difference.
        if (ours - value).abs() > tolerance + 0.0005_f64.min(tolerance) || ours.is_nan() {
            out += 1;
            println!(
                "  out: {}: expected {value} ± {tolerance}, got {ours:.4}",
                [&key.0, &key.1, &key.2, &key.3].map(String::as_str).join(" / ")
            );
        }
    }
    println!("{compared} figures compared with the reference, {out} out of tolerance");
}
