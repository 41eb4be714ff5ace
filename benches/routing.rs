//! The offline benchmark as a bench target: `cargo bench --bench routing [-- SETS SEEDS DITHERS]`.
//!
//! Runs the bundled sets by the protocol, says how long that took, and holds every figure that a separate reference
//! implementation published for the same rows and the same splits (`benches/expected.csv`) against ours.
//!
//! The reference read vectors of 32 bits; bundled are vectors of 8. Most figures hardly feel it, but a bandit that plays
//! its greatest value is chaotic: another arm at one step, and from there on it learns from other rows. So routers and
//! bandits are run again on vectors that are moved by chance within what the rounding took (`DITHERS` times). The
//! reference is one draw of what they give; a figure that is out of its tolerance counts as equal where the reference is
//! no further from their mean than that tolerance and [`SPREADS`] of their standard deviations, and is printed.

#![expect(clippy::print_stdout, reason = "a bench says what it measured")]

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use pointsman::base::Seed;
use pointsman::cli::datasets;
use pointsman::eval::column::{Column, Difference};
use pointsman::eval::exam::Spread;
use pointsman::eval::offline::{Effort, in_distribution, leave_group_out};
use pointsman::eval::report::{SetReport, examine, routers, transfers};
use pointsman::eval::routers::Router;
use pointsman::eval::stream::{DriftRow, Maker, Online, Projection, drift, online, policies};
use pointsman::eval::table::Table;

/// Standard deviations that the rounding of the vectors is allowed.
const SPREADS: f64 = 3.0;

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let chosen = |name: &str| arguments.first().is_none_or(|sets| sets.split(',').any(|set| set == name));
    let number = |at: usize, usual: u32| arguments.get(at).map_or(usual, |text| text.parse().expect("a number"));
    let (seeds, dithers) = (number(1, 10), number(2, 24));
    let load = |name: &str| datasets::table(name).expect("a bundled set");
    let context = load(datasets::CONTEXT_SET);
    let tables: Vec<Table> =
        datasets::BUNDLED.iter().filter(|set| chosen(set.name)).map(|set| load(set.name)).collect();
    let expected = expected();
    let known: HashSet<&str> = expected.iter().map(|figure| figure.key[2].as_str()).collect();
    let routers = || routers().into_iter().filter(|router| known.contains(router.name())).collect::<Vec<_>>();
    let found = figures(&tables, &context, &routers(), seeds);
    println!("vectors moved within their rounding, {dithers} times:");
    let dithered: Vec<Found> = (0..dithers)
        .map(|dither| {
            let tables: Vec<Table> = tables.iter().map(|table| moved(table, dither)).collect();
            moving_figures(&tables, &moved(&context, dither), &routers(), &known, seeds)
        })
        .collect();
    compare(&expected, &found, &dithered);
}

/// The table with every element of its vectors moved evenly by up to half a step of eight bits.
fn moved(table: &Table, dither: u32) -> Table {
    let mut table = table.clone();
    for (row, mut vector) in table.vectors.rows_mut().into_iter().enumerate() {
        let step = vector.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / 127.0;
        let seed = Seed(u64::from(dither) << 32 | row as u64);
        for (i, x) in vector.iter_mut().enumerate() {
            *x += (seed.uniform(&i.to_string()) as f32 - 0.5) * step;
        }
    }
    table
}

fn effort(seeds: u32) -> Effort<'static> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    Effort { seeds, draws: 1_000, threads, done: &|| () }
}

fn figures(tables: &[Table], context: &Table, routers: &[Box<dyn Router>], seeds: u32) -> Found {
    let projection = Projection::of(context);
    let mut found = Found::new();
    for table in tables {
        let start = now();
        let report = examine(table, &projection, routers, effort(seeds));
        println!("{}: {:.1} s", table.set, start.elapsed().as_secs_f64());
        collect(&report, &mut found);
    }
    for column in transfers(tables, routers, effort(seeds)) {
        for row in &column.rows {
            found.insert(["transfer", &column.name, &row.router, "apgr"].map(str::to_owned), row.mean("apgr"));
        }
    }
    found
}

/// What hangs on the last bits of the vectors: neighbours, and bandits that play their greatest value.
fn moving_figures(
    tables: &[Table],
    context: &Table,
    routers: &[Box<dyn Router>],
    known: &HashSet<&str>,
    seeds: u32,
) -> Found {
    let projection = Projection::of(context);
    let mut found = Found::new();
    for table in tables.iter().filter(|table| table.len() > 100) {
        let mut into = Into { set: &table.set, found: &mut found };
        into.column(&in_distribution(table, routers, effort(seeds)));
        if let Some(column) = leave_group_out(table, routers, effort(seeds)) {
            into.column(&column);
        }
        if !table.is_pair() {
            let contexts = projection.contexts(table);
            let published = |mut policies: Vec<Maker<'static>>| {
                policies.retain(|(name, _)| known.contains(name.as_str()));
                policies
            };
            into.online(&online(table, &contexts, &published(policies::cold()), false, effort(seeds)));
            into.drift(&drift(table, &contexts, &published(policies::drifting()), effort(seeds)));
        }
    }
    found
}

/// Figures by set, column, router and name.
type Found = BTreeMap<[String; 4], f64>;

/// Where the figures of one set go.
struct Into<'a> {
    set: &'a str,
    found: &'a mut Found,
}

impl Into<'_> {
    fn add(&mut self, column: &str, router: &str, figure: &str, value: f64) {
        self.found.insert([self.set, column, router, figure].map(str::to_owned), value);
    }

    fn column(&mut self, column: &Column) {
        for row in &column.rows {
            for (name, figure) in &row.figures {
                self.add(&column.name, &row.router, name, figure.spread.mean);
            }
            for Difference { against, mean, low, high } in &row.differences {
                for (end, value) in [("", mean), (", low", low), (", high", high)] {
                    self.add(&column.name, &row.router, &format!("over {against}{end}"), *value);
                }
            }
        }
    }

    fn online(&mut self, online: &Online) {
        for row in &online.rows {
            let last = row.means.len() - 1;
            for (i, (t, mean)) in row.means.iter().enumerate() {
                self.add("online", &row.policy, &if i == last { "end".to_owned() } else { t.to_string() }, *mean);
            }
            self.add("online", &row.policy, "regret to fixed", row.regret_to_fixed[last].1.mean);
            self.add("online", &row.policy, "regret to ridge", row.regret_to_ridge[last].1.mean);
            if let Some(blocked) = row.blocked {
                self.add("online", &row.policy, "blocked", blocked);
            }
        }
    }

    fn drift(&mut self, rows: &[DriftRow]) {
        for row in rows {
            let column = format!("drift: {}", row.change);
            self.add(&column, &row.policy, "reward", row.reward.mean);
            self.add(&column, &row.policy, "adapted", row.adaptation.mean);
        }
    }
}

/// Every figure of a report by set, column, router and name.
fn collect(report: &SetReport, found: &mut Found) {
    let mut into = Into { set: &report.set, found };
    report.columns.iter().for_each(|column| into.column(column));
    for row in report.new_arm.iter().filter(|row| row.base == "ridge") {
        into.add("new arm", row.way, "gap_share", row.gap_share.mean);
        into.add("new arm", row.way, "aiq", row.aiq.mean);
    }
    for curve in &report.learning {
        for (n, mean, _) in &curve.points {
            into.add("learning", &curve.router, &n.to_string(), *mean);
        }
    }
    report.online.iter().for_each(|online| into.online(online));
    into.drift(&report.drift);
}

/// What the reference published.
struct Expected {
    key: [String; 4],
    value: f64,
    tolerance: f64,
}

fn expected() -> Vec<Expected> {
    let mut lines = csv::Reader::from_reader(include_str!("expected.csv").as_bytes());
    let figure = |record: csv::StringRecord| Expected {
        key: [0, 1, 2, 3].map(|column| record[column].to_owned()),
        value: record[4].parse().expect("a number"),
        tolerance: record[5].parse().expect("a number"),
    };
    lines.records().map(|record| figure(record.expect("a line of the expected figures"))).collect()
}

/// Prints what is out of its tolerance, what the rounding of the vectors accounts for, and how many were compared.
fn compare(expected: &[Expected], found: &Found, dithered: &[Found]) {
    let (mut compared, mut rounding, mut out) = (0, 0, 0);
    for Expected { key, value, tolerance } in expected {
        let Some(ours) = found.get(key) else { continue };
        compared += 1;
        // Both are rounded as they are printed; the last digit's half is not a difference.
        let tolerance = tolerance + 0.0005_f64.min(*tolerance);
        if (ours - value).abs() <= tolerance {
            continue;
        }
        let draws: Vec<f64> = dithered.iter().filter_map(|found| found.get(key)).copied().collect();
        let Spread { mean, sd } = Spread::of(&draws);
        let equal = (mean - value).abs() <= tolerance + SPREADS * sd;
        *(if equal { &mut rounding } else { &mut out }) += 1;
        let verdict = if equal { "by rounding" } else { "OUT" };
        println!(
            "  {verdict}: {}: expected {value} ± {tolerance:.4}, got {ours:.4}; moved {mean:.4} ± {sd:.4}",
            key.join(" / ")
        );
    }
    let within = compared - rounding - out;
    println!(
        "{compared} figures compared with the reference: {within} within its tolerance, {rounding} more within that and \
         {SPREADS} standard deviations of what the rounding of the vectors makes, {out} out"
    );
}
