//! `pointsman bench cache`: how often the semantic cache serves and how often it is wrong, beside other rules.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

use super::Failure;
use crate::eval::reuse::{Line, Neighbours, Report, STEPS, Suites, examine};

const STREAM: &[u8] = include_bytes!("../../datasets/semcache/stream.safetensors");
const SUITES: &[u8] = include_bytes!("../../datasets/semcache/suites.safetensors");

/// Replay a stream of questions to the semantic cache: hits, wrong hits, and what other rules make of the same stream.
///
/// The stream comes in numbers (cosines, verdicts, veto flags), so this needs no text, no network and no encoder.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Orders of arrival.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=5))]
    seeds: u8,
    /// Write everything as JSON; `-` for the standard output, instead of the tables.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
}

/// The bundled stream.
///
/// # Errors
/// If the file of the build is damaged.
pub fn stream() -> Result<Neighbours, Failure> {
    Neighbours::from_bytes(STREAM).map_err(|error| Failure::Failed(format!("the bundled stream: {error}")))
}

/// The bundled suites of near-misses.
///
/// # Errors
/// If the file of the build is damaged.
pub fn suites() -> Result<Suites, Failure> {
    Suites::from_bytes(SUITES).map_err(|error| Failure::Failed(format!("the bundled suites: {error}")))
}

/// Runs the benchmark and prints it.
///
/// # Errors
/// [`Failure`] if the result cannot be written.
pub fn run(args: &Args) -> Result<(), Failure> {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(STEPS) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{bar:40} {percent:>3}% {elapsed}");
    let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let report = examine(&stream()?, &suites()?, usize::from(args.seeds), &|| bar.inc(1));
    bar.finish_and_clear();
    let json = || serde_json::to_string_pretty(&report).map_err(Failure::failed);
    match &args.json {
        Some(path) if path.as_os_str() == "-" => println!("{}", json()?),
        Some(path) => {
            std::fs::write(path, json()?).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
            print(&report);
        }
        None => print(&report),
    }
    Ok(())
}

fn grid(header: &[&str], words: usize) -> Table {
    let mut grid = Table::new();
    grid.load_style(presets::NOTHING).set_header(header.iter().copied());
    grid.discover_columns();
    for column in grid.column_iter_mut().skip(words) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    grid
}

fn print(report: &Report) {
    println!(
        "{} questions, each once, in {} orders; a cache that knew everything would serve {:.3}\n",
        report.requests,
        report.lines.first().map_or(0, |line| line.runs.len()),
        report.best_possible
    );
    let mut table = grid(&["policy", "vetoes", "labels", "hit", "wrong / all", "wrong / hit", "labelled"], 3);
    for line in &report.lines {
        let Line { policy, vetoes, labels, hit, wrong, wrong_per_hit, labelled, .. } = line;
        let range =
            |[mean, low, high]: [f64; 3], digits: usize| format!("{mean:.digits$} ({low:.digits$}-{high:.digits$})");
        table.add_row([
            policy.clone(),
            if *vetoes { "yes" } else { "no" }.to_owned(),
            labels.clone(),
            range(*hit, 3),
            range(*wrong, 4),
            wrong_per_hit.map_or_else(|| "-".to_owned(), |wrong| range(wrong, 3)),
            format!("{labelled:.0}"),
        ]);
    }
    println!("{table}\n");
    if let Some(ratio) = report.to_static {
        println!("wrong hits of floor .95 over those of a static threshold with as many hits: {ratio:.2}\n");
    }
    let mut table = grid(&["delta", "floor", "wrong / all", "allowed (delta + 2 sigma)", ""], 0);
    for row in &report.compliance {
        let verdict = if row.holds { "holds" } else { "broken" };
        table.add_row([
            format!("{:.2}", row.delta),
            format!("{:.1}", row.floor),
            format!("{:.4}", row.wrong),
            format!("{:.4}", row.allowed),
            verdict.to_owned(),
        ]);
    }
    println!("{table}\n\nPairs that look alike (cosine of .85 and more):");
    let head =
        ["suite", "class", "wrong", "past vetoes", "past the gate too", "right", "lost to vetoes", "lost in all"];
    let mut table = grid(&head, 2);
    for count in &report.classes {
        let numbers = [count.wrong, count.past_vetoes, count.past_gate, count.right, count.lost_to_vetoes, count.lost];
        let cells = [count.suite.clone(), count.class.clone()].into_iter();
        table.add_row(cells.chain(numbers.map(|number| number.to_string())));
    }
    println!("{table}");
}
