//! `pointsman policy promote` and `pointsman policy trial`: a version goes into force on evidence.

use serde_json::{Value, json};

use super::{Folder, say};
use crate::base::{Clock, SystemClock};
use crate::cli::Failure;
use crate::learn::{Activation, End, Ending, Step, Trial, Version};
use crate::ledger::Ledger;

/// How to put a version in force.
#[derive(Debug, clap::Args)]
pub(super) struct How {
    /// All the traffic at once, instead of a small part, a larger one, then all.
    #[arg(long, conflicts_with = "shadow")]
    now: bool,
    /// Let it decide nothing: write down with every decision what it would have done.
    #[arg(long)]
    shadow: bool,
    /// Whatever the gate said when it was trained.
    #[arg(long)]
    anyway: bool,
}

/// Promotes a version, as far as its own figures allow.
pub(super) fn promote(folder: &Folder, name: &str, how: &How, json: bool) -> Result<(), Failure> {
    let version = folder.versions.get(name).map_err(Failure::failed)?;
    if !how.anyway && !how.shadow {
        may(folder, &version, how.now)?;
    }
    let at = SystemClock::new().now();
    if how.now {
        let why = "promoted by hand".to_owned();
        let activation = Activation { version: Some(version.name.clone()), from: version.offset, at, why };
        folder.versions.activate(activation.clone()).map_err(Failure::failed)?;
        say(json, &json!({ "in_force": activation }), || {
            format!("{name} is in force, and goes on learning from there")
        });
        return Ok(());
    }
    let after = folder.ledger.last();
    let share = folder.config.sections.learn.canary.shares.first().copied();
    let steps = if how.shadow { None } else { share.map(|share| Step { share, after, at }) };
    let trial = Trial { version: version.name, after, at, steps: steps.into_iter().collect(), ended: None };
    if !folder.versions.begin_trial(trial.clone()).map_err(Failure::failed)? {
        let sentence = "another version is on trial; `pointsman policy trial` shows it, with --stop ends it";
        return Err(Failure::Failed(sentence.to_owned()));
    }
    say(json, &json!({ "trial": trial }), || match trial.steps.last() {
        Some(step) => format!(
            "{name} gets {:.0} % of the conversations; the serving process takes it further or back, on evidence",
            step.share * 100.0
        ),
        None => format!("{name} is in the shadow: what it would do stands in the ledger beside what was done"),
    });
    Ok(())
}

/// What the gate said when the version was trained.
fn may(folder: &Folder, version: &Version, now: bool) -> Result<(), Failure> {
    let card: Option<Value> = std::fs::read(folder.versions.file(&version.name, "card.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let judged = card.as_ref().and_then(|card| card.pointer("/evaluation/candidates/0"));
    let why = || {
        let sentences = judged.and_then(|judged| judged["why"].as_array()).into_iter().flatten();
        sentences.filter_map(Value::as_str).collect::<Vec<_>>().join("; ")
    };
    let hint = "--anyway promotes it all the same, --shadow only watches it";
    match judged.and_then(|judged| judged["verdict"].as_str()) {
        Some("promote") => Ok(()),
        Some("keep") => Err(Failure::Keep(format!("{}: {}; {hint}", version.name, why()))),
        // A part of the traffic brings the evidence that the log lacks; all of it asks for that first.
        _ if !now => Ok(()),
        Some(_) => Err(Failure::More(format!(
            "{}: {}; without --now a part of the traffic tells, {hint}",
            version.name,
            why()
        ))),
        None => Err(Failure::More(format!(
            "{}: it was never judged on a log; without --now a part of the traffic tells; {hint}",
            version.name
        ))),
    }
}

/// Shows the trials there were, or stops the one that goes on.
pub(super) fn trial(folder: &Folder, stop: bool, json: bool) -> Result<(), Failure> {
    if stop {
        let end = End { how: Ending::Stopped, at: SystemClock::new().now(), why: "stopped by hand".to_owned() };
        let stopped = folder.versions.end_trial(end).map_err(Failure::failed)?;
        say(json, &json!({ "stopped": stopped }), || match &stopped {
            Some(trial) => format!("{} is no longer on trial", trial.version),
            None => "no version is on trial".to_owned(),
        });
        return Ok(());
    }
    let trials = folder.versions.trials().map_err(Failure::failed)?;
    say(json, &json!({ "trials": trials }), || {
        if trials.is_empty() {
            return "no version was ever on trial".to_owned();
        }
        trials.iter().map(in_words).collect::<Vec<_>>().join("\n")
    });
    Ok(())
}

fn in_words(trial: &Trial) -> String {
    let steps: Vec<String> = trial.steps.iter().map(|step| format!("{:.0} %", step.share * 100.0)).collect();
    let steps = if steps.is_empty() { "in the shadow".to_owned() } else { steps.join(", then ") };
    let ended = match &trial.ended {
        None => "goes on".to_owned(),
        Some(End { how: Ending::Promoted, at, why }) => format!("promoted at {at}: {why}"),
        Some(End { how: Ending::RolledBack, at, why }) => format!("rolled back at {at}: {why}"),
        Some(End { how: Ending::Stopped, at, why }) => format!("ended at {at}: {why}"),
    };
    format!("{} since {}: {steps}; {ended}", trial.version, trial.at)
}
