//! `pointsman bench`: what routing policies are worth on public outcomes, the baselines that beat us in the same table.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args as Arguments;
use comfy_table::{CellAlignment, Table as Grid, presets};
use indicatif::{ProgressBar, ProgressStyle};
use owo_colors::{OwoColorize as _, Stream};

use super::{Failure, datasets};
use crate::base::Digest;
use crate::eval::column::{Column, OURS, Row};
use crate::eval::crew::{both, spread};
use crate::eval::offline::Effort;
use crate::eval::report::{ANCHORS, Promise, Report, SetReport, examine, page, pieces, promises, routers, transfers};
use crate::eval::routers::{Choices, Router, SETTINGS};
use crate::eval::stream::Projection;
use crate::eval::table::{Limits, Provenance, Table};

/// Redraws of test parts behind every interval.
const DRAWS: usize = 1_000;

/// Run the offline benchmark: what routing policies are worth on public outcomes, with the baselines that beat them.
#[derive(Debug, Arguments)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Something else than routing.
    #[command(subcommand)]
    other: Option<Other>,
    /// Only these bundled sets.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    set: Vec<String>,
    /// Rows of your own in the common form (.jsonl or .jsonl.gz) instead of the bundled sets; prompts are embedded here.
    #[arg(long, value_name = "FILE")]
    rows: Option<PathBuf>,
    /// Only these routers (baselines that others are compared with are added).
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    routers: Vec<String>,
    /// A router that is a list: CSV with the columns `id,model`. May be given more than once.
    #[arg(long, value_name = "FILE")]
    choices: Vec<PathBuf>,
    /// Splits and orders.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    seeds: u32,
    /// Embed the prompts of the bundled sets' rows, found as FOLDER/SET/rows.jsonl.gz, instead of taking stored vectors.
    #[arg(long, value_name = "FOLDER")]
    encode: Option<PathBuf>,
    /// Write everything as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write everything as one self-contained page.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What else can be examined.
#[derive(Debug, clap::Subcommand)]
enum Other {
    Cache(super::bench_cache::Args),
}

/// Runs the benchmark and prints it.
///
/// # Errors
/// [`Failure`] if a set, a router or a file cannot be read, or a result cannot be written.
pub fn run(args: &Args) -> Result<(), Failure> {
    if let Some(Other::Cache(args)) = &args.other {
        return super::bench_cache::run(args);
    }
    let routers = chosen(args)?;
    let (tables, notes) = tables(args)?;
    let projection = Projection::of(&datasets::table(datasets::CONTEXT_SET)?);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let total: u64 = tables.iter().map(|table| pieces(table, args.seeds)).sum();
    let bar = progress(total);
    let tick = || bar.inc(1);
    let effort = Effort { seeds: args.seeds, draws: DRAWS, threads, done: &tick };
    let sets = || {
        spread(tables.len(), threads, &|| (), |i| {
            let mut set = examine(&tables[i], &projection, &routers, effort);
            set.notes.splice(0..0, notes.iter().cloned());
            set
        })
    };
    let (sets, transfers) = both(threads, sets, || transfers(&tables, &routers, effort));
    bar.finish_and_clear();
    let digests: Vec<&str> = sets.iter().map(|set| set.digest.as_str()).collect();
    let names: Vec<&str> = routers.iter().map(|router| router.name()).collect();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let digest = Digest::of_json(&(&version, args.seeds, DRAWS, names, digests)).to_string();
    let settings = SETTINGS.digest().to_string();
    let bars = promises(&sets).into_iter().map(Promise::from).collect();
    let report = Report { version, digest, settings, seeds: args.seeds, bars, sets, transfers, anchors: ANCHORS };
    print(&report);
    let write = |path: &PathBuf, text: String| {
        std::fs::write(path, text).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))
    };
    if let Some(path) = &args.json {
        write(path, serde_json::to_string_pretty(&report).map_err(Failure::failed)?)?;
    }
    if let Some(path) = &args.html {
        write(path, page(&report))?;
    }
    Ok(())
}

/// The routers to run, in the order of the table.
fn chosen(args: &Args) -> Result<Vec<Box<dyn Router>>, Failure> {
    let mut all = routers();
    let known: Vec<String> = all.iter().map(|router| router.name().to_owned()).collect();
    if let Some(strange) = args.routers.iter().find(|name| !known.contains(name)) {
        return Err(Failure::Usage(format!("no router `{strange}`; known: {}", known.join(", "))));
    }
    if !args.routers.is_empty() {
        let baseline = |name: &str| matches!(name, "length" | "lexical-10" | "kNN+ridge");
        all.retain(|router| baseline(router.name()) || args.routers.iter().any(|name| name == router.name()));
    }
    for path in &args.choices {
        let failed = |e: &dyn std::fmt::Display| Failure::Usage(format!("{}: {e}", path.display()));
        let file = std::fs::File::open(path).map_err(|e| failed(&e))?;
        let name = path.file_stem().map_or_else(|| "choices".to_owned(), |stem| stem.to_string_lossy().into_owned());
        all.push(Box::new(Choices::read(&name, file).map_err(|e| failed(&e))?));
    }
    Ok(all)
}

/// The tables to run on, and what has to be said of them.
fn tables(args: &Args) -> Result<(Vec<Table>, Vec<String>), Failure> {
    if let Some(file) = &args.rows {
        let intake = datasets::rows_of(file, Limits::default())?;
        let mut notes: Vec<String> = intake.left_out.iter().map(ToString::to_string).collect();
        let kept = intake.prompts().len();
        if kept < intake.found {
            notes.push(format!("{} sound rows; a sample of {kept}, drawn by hash, is judged", intake.found));
        }
        let bar = progress(kept as u64);
        bar.set_message("embedding");
        let table = datasets::encoded(intake, &datasets::encoder()?, Provenance::default(), &|n| bar.inc(n as u64))?;
        bar.finish_and_clear();
        let (table, note) = table.settled();
        notes.extend(note);
        return Ok((vec![table], notes));
    }
    let names: Vec<&str> = if args.set.is_empty() {
        datasets::BUNDLED.iter().map(|set| set.name).collect()
    } else {
        args.set.iter().map(String::as_str).collect()
    };
    let mut tables = names.iter().map(|name| datasets::table(name)).collect::<Result<Vec<_>, _>>()?;
    if let Some(folder) = &args.encode {
        let encoder = datasets::encoder()?;
        for table in &mut tables {
            let intake =
                datasets::rows_of(&folder.join(&table.set).join("rows.jsonl.gz"), Limits { keep: usize::MAX })?;
            let bar = progress(intake.found as u64);
            bar.set_message(format!("embedding {}", table.set));
            let provenance = table.provenance.clone();
            *table = datasets::encoded(intake, &encoder, provenance, &|n| bar.inc(n as u64))?;
            bar.finish_and_clear();
        }
    }
    Ok((tables, Vec::new()))
}

fn progress(total: u64) -> ProgressBar {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(total) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{bar:40} {percent:>3}% {elapsed} {msg}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn title(text: &str) {
    println!("\n{}", text.if_supports_color(Stream::Stdout, |text| text.bold()));
}

fn grid(header: &[&str]) -> Grid {
    let mut grid = Grid::new();
    grid.load_style(presets::NOTHING).set_header(header.iter().copied());
    grid.discover_columns();
    for column in grid.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    grid
}

fn print(report: &Report) {
    for set in &report.sets {
        title(&format!("{}: {} prompts, {} models, {} groups", set.set, set.rows, set.models.len(), set.groups));
        set.notes.iter().for_each(|note| println!("  {note}"));
        set.columns.iter().for_each(print_column);
        print_learning(set);
        print_new_arm(set);
        print_streams(set);
        print_budgets(set);
    }
    report.transfers.iter().for_each(print_column);
    print_promises(report);
    title("Published by others, under other settings (never beside ours without the setting)");
    for anchor in report.anchors {
        println!("  {}: {} [{}]", anchor.source, anchor.figure, anchor.read);
    }
    println!(
        "\nreport {} (version {}, settings of pointsman {}, {} splits and orders)",
        report.digest, report.version, report.settings, report.seeds
    );
}

fn print_promises(report: &Report) {
    if report.bars.is_empty() {
        return;
    }
    title(&format!("What pointsman is held to ({} splits; the bounds are for 10)", report.seeds));
    let mut grid = grid(&["", "measured", "bound", ""]);
    for Promise { bar, held } in &report.bars {
        let digits = bar.digits;
        let way = if bar.at_most { "at most" } else { "at least" };
        let verdict = match held {
            Some(true) => "held".if_supports_color(Stream::Stdout, |text| text.green()).to_string(),
            Some(false) => "missed".if_supports_color(Stream::Stdout, |text| text.red()).to_string(),
            None => String::new(),
        };
        let bound = bar.bound.map_or_else(String::new, |bound| format!("{way} {bound:.digits$}"));
        grid.add_row([bar.subject.clone(), format!("{:.digits$}", bar.figure), bound, verdict]);
    }
    println!("{grid}");
}

fn figure(row: &Row, name: &str, digits: usize, spread: bool) -> String {
    let Some(figure) = row.figures.get(name).filter(|f| f.spread.mean.is_finite()) else { return "not reached".into() };
    let missed = if figure.not_reached > 0 { format!(" ({} not)", figure.not_reached) } else { String::new() };
    let spread = if spread { format!(" ± {:.digits$}", figure.spread.sd) } else { String::new() };
    format!("{:.digits$}{spread}{missed}", figure.spread.mean)
}

fn print_column(column: &Column) {
    let many = column.parts > 1;
    title(&format!("  {}", column.name));
    let pair = column.headline == "apgr";
    let head: &[&str] = if pair {
        &["router", "APGR", "APGR-10", "CPT50", "CPT80", "less lexical-10", "less kNN+ridge"]
    } else {
        &["router", "gap share", "log share", "AIQ", "QNC95", "score", "less lexical-10", "less kNN+ridge"]
    };
    let mut grid = grid(head);
    for row in &column.rows {
        let difference = |against: &str| {
            let digits = if pair { 3 } else { 1 };
            row.differences.iter().find(|d| d.against == against).map_or(String::new(), |d| {
                let verdict = if d.is_unseen() { " ~" } else { "" };
                format!("{:+.digits$} [{:+.digits$}, {:+.digits$}]{verdict}", d.mean, d.low, d.high)
            })
        };
        let mark = if row.yardstick { " *" } else { "" };
        let mut cells = vec![format!("{}{mark}", row.router)];
        if pair {
            cells.extend([figure(row, "apgr", 3, many), figure(row, "apgr10", 3, false)]);
            cells.extend([figure(row, "cpt50", 1, false), figure(row, "cpt80", 1, false)]);
        } else {
            cells.extend([figure(row, "gap_share", 1, many), figure(row, "gap_share_log", 1, false)]);
            cells.extend([figure(row, "aiq", 4, false), figure(row, "qnc95", 1, false)]);
            cells.push(figure(row, "quality_alone", 4, false));
        }
        cells.extend([difference("lexical-10"), difference("kNN+ridge")]);
        grid.add_row(cells);
    }
    println!("{grid}");
    if let Some(sentence) = column.who_beats(OURS) {
        println!("  {sentence}");
    }
    println!("  * knows what a served request does not carry, or is a line to compare with; ~ no difference seen");
}

fn print_learning(set: &SetReport) {
    let Some(first) = set.learning.first().filter(|curve| !curve.points.is_empty()) else { return };
    title("  score by the number of labelled prompts, money worth nothing");
    let sizes: Vec<String> = first.points.iter().map(|(n, ..)| n.to_string()).collect();
    let head: Vec<&str> = std::iter::once("router").chain(sizes.iter().map(String::as_str)).collect();
    let mut grid = grid(&head);
    for curve in &set.learning {
        let cells = curve.points.iter().map(|(_, mean, sd)| format!("{mean:.4} ± {sd:.3}"));
        grid.add_row(std::iter::once(curve.router.clone()).chain(cells));
    }
    println!("{grid}");
}

fn print_new_arm(set: &SetReport) {
    if set.new_arm.is_empty() {
        return;
    }
    title("  a new model with 50 labels");
    let mut grid = grid(&["the others by", "the new one by", "gap share", "AIQ"]);
    for row in &set.new_arm {
        let share = format!("{:.1} ± {:.1}", row.gap_share.mean, row.gap_share.sd);
        grid.add_row([row.base.clone(), row.way.to_owned(), share, format!("{:.4}", row.aiq.mean)]);
    }
    println!("{grid}");
}

fn print_streams(set: &SetReport) {
    if let Some(online) = &set.online {
        title("  one outcome a request: mean score so far, regret at the end, mean on the blocked order");
        let places: Vec<String> = online.rows[0].means.iter().map(|(t, _)| format!("to {t}")).collect();
        let mut head = vec!["policy"];
        head.extend(places.iter().map(String::as_str));
        head.extend(["to best fixed", "to ridge", "blocked"]);
        let mut grid = grid(&head);
        for row in &online.rows {
            let mut cells = vec![row.policy.clone()];
            cells.extend(row.means.iter().map(|(_, mean)| format!("{mean:.4}")));
            let end = |regret: &[(usize, crate::eval::exam::Spread)]| {
                regret.last().map_or(String::new(), |(_, r)| format!("{:+.1} ± {:.1}", r.mean, r.sd))
            };
            cells.extend([end(&row.regret_to_fixed), end(&row.regret_to_ridge)]);
            cells.push(row.blocked.map_or("-".to_owned(), |mean| format!("{mean:.4}")));
            grid.add_row(cells);
        }
        println!("{grid}");
    }
    if !set.trained.is_empty() {
        title("  the test part as a stream, after training on the rest: mean score, and over the best single model");
        let mut grid = grid(&["policy", "score", "gain"]);
        for row in &set.trained {
            let (score, gain) = (row.score, row.gain);
            let score = format!("{:.4} ± {:.3}", score.mean, score.sd);
            grid.add_row([row.policy.clone(), score, format!("{:+.4} ± {:.3}", gain.mean, gain.sd)]);
        }
        println!("{grid}");
    }
    if !set.drift.is_empty() {
        title("  drift: mean reward in the changed third, requests until adapted (orders where not)");
        let mut grid = grid(&["change", "policy", "reward", "adapted after"]);
        for row in &set.drift {
            let after =
                if row.adaptation.mean.is_finite() { format!("{:.0}", row.adaptation.mean) } else { "never".into() };
            let missed = if row.missed > 0 { format!(" ({} not)", row.missed) } else { String::new() };
            let reward = format!("{:.4} ± {:.3}", row.reward.mean, row.reward.sd);
            grid.add_row([row.change.to_owned(), row.policy.clone(), reward, after + &missed]);
        }
        println!("{grid}");
    }
}

fn print_budgets(set: &SetReport) {
    if set.budgets.is_empty() {
        return;
    }
    title("  budgets: what was used, overshoot from request 200 on, gain over a fixed mix at the money spent");
    let mut grid = grid(&["policy", "USD/1,000", "used", "overshoot", "score", "zero .. oracle", "gain"]);
    for row in &set.budgets {
        grid.add_row([
            row.policy.clone(),
            format!("{:.3}", 1000.0 * row.budget),
            format!("{:.0}%", 100.0 * row.utilisation.mean),
            format!("{:+.1}%", 100.0 * row.overshoot.mean),
            format!("{:.4}", row.quality.mean),
            format!("{:.3} .. {:.3}", row.lines.0, row.lines.1),
            format!("{:+.4} [{:+.4}, {:+.4}]", row.gain.mean, row.interval.0, row.interval.1),
        ]);
    }
    println!("{grid}");
}
