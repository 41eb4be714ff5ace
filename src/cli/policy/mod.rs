//! `pointsman policy`: the versions of what was learned; what each believes, how two differ, and the way back.

mod bench;
mod picture;
mod roll_out;

use std::path::PathBuf;

use clap::Subcommand;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Value, json};

use super::{Data, Failure};
use crate::base::{Clock, SystemClock};
use crate::config::Config;
use crate::features::Extractor;
use crate::learn::portrait::{Likeness, Traffic, portrait};
use crate::learn::{Activation, Learner, Maker, Snapshots, Version, Versions};
use crate::ledger::{Ledger, SqliteLedger};
use crate::policy::Snapshot;

/// See what was learned, compare versions of it, and go back to an earlier one; also while the endpoint is serving.
///
/// The learner sets a version aside every day. `now` names what is known now, `ledger` what the whole ledger teaches.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bench(bench::Args),
    /// List the versions, and which is in force.
    List {
        #[command(flatten)]
        data: Data,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show what a version believes of every model, by intent, and how often each was chosen.
    Show {
        /// The version, or `now`.
        #[arg(id = "which", value_name = "VERSION", default_value = NOW)]
        version: String,
        #[command(flatten)]
        data: Data,
        /// Write a picture to this file, a page for the browser.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show where two versions differ: in settings, in beliefs, in what they would choose.
    Diff {
        /// The one.
        one: String,
        /// The other.
        #[arg(default_value = NOW)]
        other: String,
        #[command(flatten)]
        data: Data,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Set aside what is known now as a version.
    Keep {
        /// What is worth saying of it.
        #[arg(long, default_value = "")]
        note: String,
        #[command(flatten)]
        data: Data,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Put a version in force on evidence: a running endpoint gives it a small part of the conversations, then a larger
    /// one, then all, and takes it back as soon as it is surely worse. One that the gate would not have when it was
    /// trained is refused: exit code 3 = it is not better, 4 = too little is known.
    Promote {
        /// The version.
        #[arg(id = "which", value_name = "VERSION")]
        version: String,
        #[command(flatten)]
        how: roll_out::How,
        #[command(flatten)]
        data: Data,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show the trials of versions there were, and the one that goes on.
    Trial {
        /// Stop the one that goes on; what was in force before serves all again.
        #[arg(long)]
        stop: bool,
        #[command(flatten)]
        data: Data,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Put an earlier version in force. What was learned since is dropped (its events stay in the ledger), and learning
    /// goes on from there. A running endpoint changes over within a second or two.
    Rollback {
        /// The version; without one, that which was in force before; else the latest there is. `ledger`: learn all the
        /// ledger holds anew.
        #[arg(id = "which", value_name = "VERSION")]
        version: Option<String>,
        /// Why, for the list.
        #[arg(long, default_value = "rolled back")]
        why: String,
        #[command(flatten)]
        data: Data,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Names what is known now.
const NOW: &str = "now";
/// Names the fold of the whole ledger.
const LEDGER: &str = "ledger";

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Bench(args) => bench::run(args),
        Command::List { data, json } => list(data, *json),
        Command::Show { version, data, html, json } => show(&Folder::open(data)?, version, html.as_ref(), *json),
        Command::Diff { one, other, data, json } => diff(&Folder::open(data)?, (one, other), *json),
        Command::Keep { note, data, json } => {
            let folder = Folder::open(data)?;
            let version = folder.versions.put(&folder.now()?, Maker::Hand, note).map_err(Failure::failed)?;
            say(*json, &json!(version), || format!("{} holds what is known now", version.name));
            Ok(())
        }
        Command::Promote { version, how, data, json } => roll_out::promote(&Folder::open(data)?, version, how, *json),
        Command::Trial { stop, data, json } => roll_out::trial(&Folder::open(data)?, *stop, *json),
        Command::Rollback { version, why, data, json } => {
            rollback(&Folder::open(data)?, version.as_deref(), why, *json)
        }
    }
}

/// A data folder, with the settings it is used with.
struct Folder {
    path: PathBuf,
    versions: Versions,
    ledger: SqliteLedger,
    config: Config,
}

impl Folder {
    fn open(data: &Data) -> Result<Self, Failure> {
        let path = data.folder()?;
        let config = data.config()?;
        let ledger = SqliteLedger::open_to_read(&path).map_err(Failure::failed)?;
        Ok(Self { versions: Versions::of_data(&path), ledger, config, path })
    }

    /// The learner that knows what a running one knows.
    fn now(&self) -> Result<Learner, Failure> {
        let (learn, policy) = (&self.config.sections.learn, self.config.sections.policy.clone());
        let mut learner = Learner::new(policy, Extractor::new().schema().clone(), learn);
        learner.stand_on(&self.versions).map_err(Failure::failed)?;
        let snapshots = Snapshots::new(self.path.join("snapshots"), learn.snapshots_kept);
        snapshots.boot(learner, &self.ledger).map_err(Failure::failed)
    }

    /// A version by name, or what is known now; and what is to be said of it.
    fn policy(&self, name: &str) -> Result<(Snapshot, Value), Failure> {
        if name == NOW {
            let learner = self.now()?;
            let head = json!({
                "name": NOW, "offset": learner.offset(), "rows": learner.state().rows(),
                "schema": learner.state().schema(), "settings": learner.state().config(), "base": learner.version(),
            });
            return Ok((learner.state().publish(), head));
        }
        let version = self.versions.get(name).map_err(Failure::failed)?;
        let state = self.versions.state(&version).map_err(Failure::failed)?;
        Ok((state.publish(), json!(version)))
    }

    fn traffic(&self, policy: &Snapshot) -> Result<Traffic, Failure> {
        let after = self.ledger.last().saturating_sub(LOOKED_AT);
        Traffic::read(&self.ledger, after, policy.schema()).map_err(Failure::failed)
    }
}

/// Latest events that shares and intents are read from.
const LOOKED_AT: u64 = 100_000;

fn say(json: bool, value: &Value, words: impl FnOnce() -> String) {
    println!("{}", if json { format!("{value:#}") } else { words() });
}

fn grid(header: &[&str], right: std::ops::Range<usize>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.iter().copied());
    for index in right {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn list(data: &Data, json: bool) -> Result<(), Failure> {
    let versions = Versions::of_data(&data.folder()?);
    let (all, history) = (versions.list().map_err(Failure::failed)?, versions.history().map_err(Failure::failed)?);
    say(json, &json!({ "versions": all, "history": history }), || listed(&all, &history));
    Ok(())
}

fn listed(all: &[Version], history: &[Activation]) -> String {
    let active = history.last().and_then(|activation| activation.version.as_deref());
    let mut words = match history.last() {
        Some(Activation { version: Some(name), from, at, why }) => {
            format!("in force: {name} and what was learned after event {from} (since {at}: {why})\n")
        }
        _ => "in force: what the whole ledger teaches\n".to_owned(),
    };
    if all.is_empty() {
        return words + "no version was set aside yet; the learner does it daily, `pointsman policy keep` now";
    }
    let mut table = grid(&["", "version", "learned until", "event", "rows", "made by", "on", "note"], 3..5);
    for version in all {
        table.add_row([
            if active == Some(version.name.as_str()) { "*" } else { "" },
            &version.name,
            &version.at.to_string(),
            &version.offset.to_string(),
            &version.rows.to_string(),
            version.by.in_words(),
            version.base.as_deref().unwrap_or("-"),
            &version.note,
        ]);
    }
    words += &table.to_string();
    words
}

fn show(folder: &Folder, name: &str, html: Option<&PathBuf>, json: bool) -> Result<(), Failure> {
    let (policy, head) = folder.policy(name)?;
    let likenesses = portrait(&policy, &folder.traffic(&policy)?);
    if let Some(file) = html {
        let page = picture::page(&head, &likenesses);
        std::fs::write(file, page).map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
    }
    say(json, &json!({ "version": head, "beliefs": likenesses }), || shown(&head, &likenesses));
    Ok(())
}

fn shown(head: &Value, likenesses: &[Likeness]) -> String {
    let mut words = format!(
        "{}: {} rows, learned until event {}, on features {}\n",
        head["name"].as_str().unwrap_or_default(),
        head["rows"],
        head["offset"],
        head["schema"].as_str().unwrap_or_default(),
    );
    if likenesses.is_empty() {
        return words + "no answer was scored yet";
    }
    let mut table = grid(&["intent", "requests", "model", "quality", "95 % of belief", "rows", "chosen"], 1..2);
    let mut last = "";
    for likeness in likenesses {
        let Likeness { intent, requests, model, quality, rows, played } = likeness;
        let (low, high) = likeness.interval();
        let first = last != intent;
        last = intent;
        table.add_row([
            if first { intent.clone() } else { String::new() },
            if first { requests.to_string() } else { String::new() },
            model.to_string(),
            format!("{:.3}", quality.mean),
            format!("{low:.3} .. {high:.3}"),
            format!("{rows:.0}"),
            played.map_or_else(|| "?".to_owned(), |share| format!("{:.1} %", 100.0 * share)),
        ]);
    }
    words += &table.to_string();
    words
}

fn diff(folder: &Folder, (one, other): (&str, &str), json: bool) -> Result<(), Failure> {
    let ((a, a_head), (b, b_head)) = (folder.policy(one)?, folder.policy(other)?);
    if a.schema() != b.schema() {
        let sentence = format!(
            "{one} was learned on features {}, {other} on {}: their beliefs cannot be compared",
            a.schema(),
            b.schema()
        );
        return Err(Failure::Failed(sentence));
    }
    let traffic = folder.traffic(&b)?;
    let agreement = traffic.agreement(&a, &b);
    let settings = differing(&a_head["settings"], &b_head["settings"]);
    let (before, after) = (portrait(&a, &traffic), portrait(&b, &traffic));
    let beliefs: Vec<Value> = after
        .iter()
        .map(|new| {
            let old = before.iter().find(|old| (&old.intent, &old.model) == (&new.intent, &new.model));
            json!({
                "intent": new.intent, "model": new.model, "before": old.map(|old| old.quality),
                "after": new.quality, "change": old.map(|old| new.quality.mean - old.quality.mean),
                "rows": old.map_or(new.rows, |old| new.rows - old.rows),
            })
        })
        .collect();
    let value =
        json!({ "one": a_head, "other": b_head, "settings": settings, "beliefs": beliefs, "agreement": agreement });
    say(json, &value, || {
        let mut words = String::new();
        for (name, before, after) in &settings {
            words += &format!("{name}: {before} -> {after}\n");
        }
        words += &match agreement {
            Some(share) => {
                format!("both expect the best answer of the same model in {:.1} % of the requests\n", 100.0 * share)
            }
            None => "no requests to compare their choices on\n".to_owned(),
        };
        let mut table = grid(&["intent", "model", one, other, "change"], 2..5);
        for (new, value) in after.iter().zip(&beliefs) {
            let number = |value: &Value, sign: bool| match (value.as_f64(), sign) {
                (Some(number), true) => format!("{number:+.3}"),
                (Some(number), false) => format!("{number:.3}"),
                (None, _) => "-".to_owned(),
            };
            table.add_row([
                new.intent.clone(),
                new.model.to_string(),
                number(&value["before"]["mean"], false),
                number(&value["after"]["mean"], false),
                number(&value["change"], true),
            ]);
        }
        words + &table.to_string()
    });
    Ok(())
}

/// The settings that are not alike: name, before, after.
fn differing(one: &Value, other: &Value) -> Vec<(String, Value, Value)> {
    let fields = other.as_object().into_iter().flatten();
    fields
        .filter(|(name, value)| one[name.as_str()] != **value)
        .map(|(name, value)| (name.clone(), one[name.as_str()].clone(), value.clone()))
        .collect()
}

fn rollback(folder: &Folder, name: Option<&str>, why: &str, json: bool) -> Result<(), Failure> {
    let history = folder.versions.history().map_err(Failure::failed)?;
    let version = match name {
        Some(LEDGER) => None,
        Some(name) => Some(name.to_owned()),
        None if history.len() > 1 => history[history.len() - 2].version.clone(),
        None if history.len() == 1 => None,
        None => {
            let latest = folder.versions.list().map_err(Failure::failed)?.pop();
            let none = || Failure::Usage("there is no version to go back to; `pointsman policy list`".to_owned());
            Some(latest.ok_or_else(none)?.name)
        }
    };
    let last = folder.ledger.last();
    let from = if version.is_some() { last } else { 0 };
    let activation = Activation { version: version.clone(), from, at: SystemClock::new().now(), why: why.to_owned() };
    folder.versions.activate(activation.clone()).map_err(Failure::failed)?;
    let dropped = match &version {
        Some(name) => last.saturating_sub(folder.versions.get(name).map_err(Failure::failed)?.offset),
        None => 0,
    };
    say(json, &json!({ "in_force": activation, "events_dropped": dropped }), || match &version {
        Some(name) => format!("{name} is in force; what {dropped} events since then taught is dropped"),
        None => "what the whole ledger teaches is in force".to_owned(),
    });
    Ok(())
}
