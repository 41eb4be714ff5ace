//! `pointsman import`: events from a file into the ledger.

mod foreign;
mod table;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{Data, Failure};
use crate::base::Timestamp;
use crate::features::Extractor;
use crate::ledger::{Config, Event, Ledger, SqliteLedger};

/// Take the events of an export, or the request log of another gateway, into the ledger.
///
/// Read are lines of JSON, and Parquet files of `pointsman export`: what that writes comes back as it was. Lines of another log (LiteLLM's
/// spend and standard logs, or an OpenAI request beside its response) are read as far as they carry the facts: model,
/// tokens, cost, times, a score where there is one, and the context of the prompt, which is not kept itself. They say
/// nothing of what else might have been chosen and with which probability: so they teach a policy, but no policy can
/// be evaluated on them.
///
/// What the ledger holds already is passed over, so a file may be imported twice. The endpoint must not be running.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: Data,
    /// The file; `-` reads the standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Events appended before they are waited for.
const STRIDE: usize = 2_000;
/// Complaints that are printed.
const TOLD: usize = 10;

/// A line of an export. The event is read by its kind alone: read as a tagged whole, its numbers would be rounded twice.
#[derive(Deserialize)]
struct Line<'a> {
    form: u32,
    at: Timestamp,
    #[serde(borrow)]
    event: &'a RawValue,
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

/// How it went.
#[derive(Default)]
struct Tally {
    taken: u64,
    known: u64,
    foreign: u64,
    refused: Vec<String>,
    refusals: u64,
}

impl Tally {
    fn refuse(&mut self, place: &str, reason: &str) {
        self.refusals += 1;
        if self.refused.len() < TOLD {
            self.refused.push(format!("{place}: {reason}"));
        }
    }
}

pub(super) async fn run(args: &Args) -> Result<(), Failure> {
    let folder = args.data.folder()?;
    let ledger = SqliteLedger::open(&folder, &Config::default()).map_err(Failure::failed)?;
    let tally = match open(&args.file)? {
        Source::Lines(lines) => read(&ledger, lines).await?,
        Source::Table(file) => read_table(&ledger, file).await?,
    };
    let Tally { taken, known, foreign, refused, refusals } = &tally;
    if args.json {
        println!("{:#}", json!({ "taken": taken, "known": known, "of_other_logs": foreign, "refused": refusals }));
    } else {
        println!("{taken} events taken, {known} were there already, {refusals} refused");
        if *foreign > 0 {
            println!(
                "{foreign} lines were of another log, without the probabilities of what was chosen: they teach a \
                 policy, and no policy can be evaluated on them"
            );
        }
    }
    refused.iter().for_each(|complaint| eprintln!("{complaint}"));
    if *taken + *known == 0 && *refusals > 0 {
        return Err(Failure::failed(
            "nothing could be read; expected lines of JSON or a Parquet file of `pointsman export`, see `pointsman import --help`",
        ));
    }
    Ok(())
}

/// What there is to read.
enum Source {
    Lines(Box<dyn BufRead>),
    Table(File),
}

fn open(path: &Path) -> Result<Source, Failure> {
    if path == Path::new("-") {
        return Ok(Source::Lines(Box::new(BufReader::new(std::io::stdin()))));
    }
    let wrong = |error: std::io::Error| Failure::Usage(format!("{}: {error}", path.display()));
    let mut file = File::open(path).map_err(wrong)?;
    // What cannot be asked (a pipe) is read as lines.
    if file.metadata().map_err(wrong)?.is_file() && table::is_one(&mut file).map_err(wrong)? {
        return Ok(Source::Table(file));
    }
    Ok(Source::Lines(Box::new(BufReader::new(file))))
}

async fn read_table(ledger: &SqliteLedger, file: File) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    for (number, row) in table::rows(file)?.enumerate() {
        match row {
            Ok((at, event)) => take(ledger, at, event, &mut tally).await?,
            Err(reason) => tally.refuse(&format!("row {}", number + 1), &reason),
        }
    }
    ledger.flush().await.map_err(Failure::failed)?;
    Ok(tally)
}

async fn read(ledger: &SqliteLedger, lines: Box<dyn BufRead>) -> Result<Tally, Failure> {
    let extractor = Extractor::new();
    let mut tally = Tally::default();
    for (number, line) in lines.lines().enumerate() {
        let line = line.map_err(Failure::failed)?;
        if line.trim().is_empty() {
            continue;
        }
        match events(&line, &extractor) {
            Ok((events, foreign)) => {
                tally.foreign += u64::from(foreign);
                for (at, event) in events {
                    take(ledger, at, event, &mut tally).await?;
                }
            }
            Err(reason) => tally.refuse(&format!("line {}", number + 1), &reason),
        }
    }
    ledger.flush().await.map_err(Failure::failed)?;
    Ok(tally)
}

async fn take(ledger: &SqliteLedger, at: Timestamp, event: Event, tally: &mut Tally) -> Result<(), Failure> {
    let known = ledger.of_decision(event.decision()).map_err(Failure::failed)?;
    if known.iter().any(|entry| entry.event == event) {
        tally.known += 1;
        return Ok(());
    }
    if !ledger.append(at, event) {
        return Err(Failure::failed("the ledger did not take an event: it holds a number that is not finite"));
    }
    tally.taken += 1;
    if tally.taken.is_multiple_of(STRIDE as u64) {
        ledger.flush().await.map_err(Failure::failed)?;
    }
    Ok(())
}

/// The events of a line, and whether it is of another log.
fn events(line: &str, extractor: &Extractor) -> Result<(Vec<(Timestamp, Event)>, bool), String> {
    if let Ok(Line { form, at, event }) = serde_json::from_str::<Line<'_>>(line) {
        if form != super::export::FORM {
            return Err(format!("it has form {form}, this version reads {}", super::export::FORM));
        }
        return Ok((
            vec![(at, own(event.get()).map_err(|error| format!("its event cannot be read: {error}"))?)],
            false,
        ));
    }
    let value = serde_json::from_str(line).map_err(|error| format!("it is not JSON: {error}"))?;
    foreign::events(&value, extractor).map(|events| (events, true))
}

fn own(event: &str) -> Result<Event, serde_json::Error> {
    let Kind { kind } = serde_json::from_str(event)?;
    match kind.as_str() {
        "decided" => serde_json::from_str(event).map(Event::Decided),
        "completed" => serde_json::from_str(event).map(Event::Completed),
        "feedback" => serde_json::from_str(event).map(Event::Feedback),
        other => Err(serde::de::Error::unknown_variant(other, &["decided", "completed", "feedback"])),
    }
}
