//! `pointsman train`: from the ledger to a policy version, with its figures on traffic it never saw.

mod card;

use indicatif::HumanCount;
use rayon::prelude::*;
use serde::Serialize;

use super::evaluate::{How, judge, say};
use super::study::{each, fresh};
use super::{Data, Failure};
use crate::base::{Timestamp, duration};
use crate::config::Config;
use crate::eval::ope::evaluate::Figure;
use crate::eval::ope::{Evaluation, Log, compare};
use crate::learn::{Channels, Learner, Maker, Version, Versions, fold};
use crate::ledger::{Entry, Event, Ledger as _, LedgerError, Offset, SqliteLedger};
use crate::policy::{self, Snapshot, Spread, State};

/// Learn a policy anew from the whole ledger, with the settings that serve its traffic best, and keep it as a version.
///
/// One pass through the ledger, in three parts. On the first, policies are learned with several half-lives and both
/// spreads of the belief; on the second they are compared by what they would have been worth, and other settings than
/// the configured ones are taken only if they are surely better; on the third, which none of this saw, the figures of
/// the model card are measured. The version itself has learned everything, up to the last event: it can go on serving
/// from there.
///
/// Quality, answer lengths and times are learned by the same fold as online. The feature map is not: the ledger keeps
/// neither prompts nor their vectors.
///
/// It changes nothing that serves: `pointsman policy promote` does. The same ledger and settings give the same bytes.
/// Works also while the endpoint is serving.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    how: How,
    /// The share of the events, the latest, that the figures are measured on.
    #[arg(long, default_value_t = 0.2, value_name = "SHARE")]
    heldout: f64,
    /// The share of the events before those that settings are chosen on; 0 = keep the configured settings.
    #[arg(long, default_value_t = 0.2, value_name = "SHARE")]
    choose: f64,
    /// What is worth saying of it.
    #[arg(long, default_value = "")]
    note: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Half-lives that are tried beside the configured one, hours; 0 = nothing is forgotten.
const HALF_LIVES: [u64; 3] = [3 * 24, 60 * 24, 0];

/// Settings, and what they gain.
#[derive(Clone, Debug, Serialize)]
struct Tried {
    /// After which time what was learned weighs half.
    half_life: String,
    /// How wide a belief is taken to be.
    spread: Spread,
    /// The gain over the configured settings on the part for choosing; `None` = nothing there could be weighed.
    gain: Option<Figure>,
}

/// What a training run has to say of itself; the model card is written from it.
#[derive(Debug, Serialize)]
struct Trained {
    /// Events learned from.
    events: Offset,
    /// Up to which event settings were compared from, and up to which figures are measured from.
    cuts: (Offset, Offset),
    /// The time of the first and of the last event.
    span: (Timestamp, Timestamp),
    /// The configured settings first.
    tried: Vec<Tried>,
    /// Index into `tried`.
    taken: usize,
    /// The figures; `None` = the log cannot tell ...
    evaluation: Option<Evaluation>,
    /// ... for this reason.
    cannot_tell: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    for (name, share) in [("--heldout", args.heldout), ("--choose", args.choose)] {
        if !(0.0..0.9).contains(&share) || args.heldout + args.choose > 0.9 {
            return Err(Failure::Usage(format!("{name}: expected shares from 0 that leave a tenth to learn from")));
        }
    }
    let config = args.data.config()?;
    let folder = args.data.folder()?;
    let ledger = SqliteLedger::open_to_read(&folder).map_err(Failure::failed)?;
    let fleet = Fleet::read(&ledger, &config, args)?;
    let (trained, learner) = fleet.settle(&config, args)?;
    let files = [
        ("card.md", card::markdown(&trained, learner.state()).into_bytes()),
        ("card.json", serde_json::to_vec_pretty(&trained).map_err(Failure::failed)?),
    ];
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let versions = Versions::of_data(&folder);
    let version = versions.put_with(&learner, Maker::Trained, &args.note, &files).map_err(Failure::failed)?;
    tell(&version, &trained, &versions, args.json);
    Ok(())
}

fn tell(version: &Version, trained: &Trained, versions: &Versions, json: bool) {
    if json {
        println!("{:#}", serde_json::json!({ "version": version, "trained": trained }));
        return;
    }
    if let Some(evaluation) = &trained.evaluation {
        say(evaluation, false);
    }
    let card = versions.file(&version.name, "card.md");
    println!(
        "\n{} has learned {} events; its card: {}\nput it on a part of the traffic: pointsman policy promote {}",
        version.name,
        HumanCount(version.offset),
        card.display(),
        version.name
    );
}

/// Learners with different settings, side by side on one pass.
struct Fleet {
    learners: Vec<Learner>,
    /// What each had learned at the first cut, and at the second.
    at_cuts: [Vec<State>; 2],
    /// The decisions between the cuts, and those after the second.
    logs: [Log; 2],
    cuts: (Offset, Offset),
    span: (Timestamp, Timestamp),
}

impl Fleet {
    fn read(ledger: &SqliteLedger, config: &Config, args: &Args) -> Result<Self, Failure> {
        let nothing = || Failure::failed("there is nothing to learn from: no decision is in the ledger");
        let first = fresh(ledger, config)?.ok_or_else(nothing)?;
        let schema = first.state().schema().clone();
        let mut learners = vec![first];
        if args.choose > 0.0 {
            for hours in HALF_LIVES {
                let half_life = std::time::Duration::from_secs(hours * 3600);
                if half_life != config.sections.policy.half_life {
                    let settings = policy::Config { half_life, ..config.sections.policy.clone() };
                    learners.push(Learner::new(settings, schema.clone(), &config.sections.learn));
                }
            }
        }
        let last = ledger.last() as f64;
        let cuts = ((last * (1.0 - args.heldout - args.choose)) as Offset, (last * (1.0 - args.heldout)) as Offset);
        let logs = [Log::new(args.how.at_most), Log::new(args.how.at_most)];
        let mut fleet =
            Self { learners, at_cuts: [Vec::new(), Vec::new()], logs, cuts, span: (Timestamp(0), Timestamp(0)) };
        each(ledger, 0, |entries| fleet.take(entries, ledger))?;
        for at in &mut fleet.at_cuts {
            if at.is_empty() {
                *at = fleet.learners.iter().map(|learner| learner.state().clone()).collect();
            }
        }
        Ok(fleet)
    }

    /// Takes in a batch of events.
    fn take(&mut self, entries: &[Entry], ledger: &SqliteLedger) -> Result<(), LedgerError> {
        let mut rest = entries;
        for (at, cut) in [self.cuts.0, self.cuts.1].into_iter().enumerate() {
            if self.at_cuts[at].is_empty() && rest.last().is_some_and(|entry| entry.offset > cut) {
                let (before, after) = rest.split_at(rest.partition_point(|entry| entry.offset <= cut));
                self.learn(before, ledger)?;
                self.at_cuts[at] = self.learners.iter().map(|learner| learner.state().clone()).collect();
                rest = after;
            }
        }
        self.learn(rest, ledger)
    }

    fn learn(&mut self, entries: &[Entry], ledger: &SqliteLedger) -> Result<(), LedgerError> {
        for entry in entries {
            if self.span.0 == Timestamp(0) {
                self.span.0 = entry.at;
            }
            self.span.1 = self.span.1.max(entry.at);
            let decided = matches!(entry.event, Event::Decided(_));
            let between = entry.offset > self.cuts.0 && entry.offset <= self.cuts.1;
            if between || !decided {
                self.logs[0].add(entry.offset, &entry.event);
            }
            if entry.offset > self.cuts.1 || !decided {
                self.logs[1].add(entry.offset, &entry.event);
            }
        }
        self.learners
            .par_iter_mut()
            .try_for_each(|learner| entries.iter().try_for_each(|entry| fold(learner, entry, ledger)))
    }

    /// Chooses the settings, measures, and gives the learner that is to be kept.
    fn settle(self, config: &Config, args: &Args) -> Result<(Trained, Learner), Failure> {
        let channels = Channels::with(&config.sections.learn.channels);
        let [choosing, heldout] = &self.logs;
        let configured = config.sections.policy.spread;
        let spreads = [configured, if configured == Spread::Trials { Spread::Context } else { Spread::Trials }];
        // The configured settings are the first learner's, with the first spread.
        let all: Vec<(usize, Spread)> =
            spreads.into_iter().flat_map(|spread| (0..self.learners.len()).map(move |at| (at, spread))).collect();
        let all = if args.choose > 0.0 { &all[..] } else { &all[..1] };
        let with = |states: &[State], (at, spread): (usize, Spread)| -> Result<State, Failure> {
            let settings = policy::Config { spread, ..states[at].config().clone() };
            states[at].clone().choosing_by(settings).map_err(Failure::failed)
        };
        let policies: Vec<Snapshot> =
            all.iter().map(|&which| Ok(with(&self.at_cuts[0], which)?.publish())).collect::<Result<_, Failure>>()?;
        let mut options = args.how.options(choosing, config.sections.policy.exploration_share)?;
        options.delta = 0.1 / all.len() as f64;
        let gains = compare(
            choosing,
            &channels,
            &self.at_cuts[0][0],
            &policies.iter().collect::<Vec<_>>(),
            &config.catalog,
            &options,
        )
        .map_err(Failure::failed)?;
        let surely = |gain: &Figure| gain.interval.is_some_and(|interval| interval.lower > 0.0);
        let taken = (1..gains.len())
            .filter(|&at| surely(&gains[at]))
            .max_by(|&a, &b| gains[a].mean.total_cmp(&gains[b].mean))
            .unwrap_or(0);
        let frozen = with(&self.at_cuts[1], all[taken])?;
        let evaluation = judge(config, heldout, &frozen, &frozen.publish(), "trained", &args.how);
        let tried = all
            .iter()
            .enumerate()
            .map(|(n, &(at, spread))| Tried {
                half_life: duration::format(self.learners[at].state().config().half_life),
                spread,
                gain: gains.get(n).copied(),
            })
            .collect();
        let (at, spread) = all[taken];
        let Some(learner) = self.learners.into_iter().nth(at) else {
            return Err(Failure::failed("no learner has these settings"));
        };
        let settings = policy::Config { spread, ..learner.state().config().clone() };
        let learner = learner.choosing_by(settings).map_err(Failure::failed)?;
        let events = learner.offset();
        let (evaluation, cannot_tell) = match evaluation {
            Ok(evaluation) => (Some(evaluation), None),
            Err(failure) => (None, Some(failure.to_string())),
        };
        Ok((Trained { events, cuts: self.cuts, span: self.span, tried, taken, evaluation, cannot_tell }, learner))
    }
}
