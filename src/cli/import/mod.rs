//! `pointsman import`: events from a file into the ledger.

mod foreign;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
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
/// Read are lines of JSON: what `pointsman export` writes comes back as it was. Lines of another log (LiteLLM's
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

pub(super) async fn run(args: &Args) -> Result<(), Failure> {
    let folder = args.data.folder()?;
    let ledger = SqliteLedger::open(&folder, &Config::default()).map_err(Failure::failed)?;
    let tally = read(&ledger, open(&args.file)?).await?;
    let Tally { taken, known, foreign, refused, refusals } = &tally;
    if args.json {
        println!("{:#}", json!({ "taken": taken, "known": known, "of_other_logs": foreign, "refused": refusals }));
    } else {
        println!("{taken} events taken, {known} were there already, {refusals} lines refused");
        if *foreign > 0 {
            println!(
                "{foreign} lines were of another log, without the probabilities of what was chosen: they teach a \
                 policy, and no policy can be evaluated on them"
            );
        }
    }
    refused.iter().for_each(|complaint| eprintln!("{complaint}"));
    if *taken + *known == 0 && *refusals > 0 {
        return Err(Failure::failed("no line could be read; expected lines of JSON, see `pointsman import --help`"));
    }
    Ok(())
}

fn open(file: &Path) -> Result<Box<dyn BufRead>, Failure> {
    let reader: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(file).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?)
    };
    Ok(Box::new(BufReader::new(reader)))
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
            Err(reason) => {
                tally.refusals += 1;
                if tally.refused.len() < TOLD {
                    tally.refused.push(format!("line {}: {reason}", number + 1));
                }
            }
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
