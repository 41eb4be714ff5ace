//! Learners with different settings and on different feature maps, side by side on one pass through the ledger.

use std::sync::Arc;

use rayon::prelude::*;

use super::{Args, Map, Trained, Tried, maps};
use crate::base::{Timestamp, duration};
use crate::cli::Failure;
use crate::cli::evaluate::judge;
use crate::cli::study::{each, fresh};
use crate::config::Config;
use crate::eval::ope::{Figure, Log, compare};
use crate::features::FeatureMap;
use crate::features::fit::refit::Kind;
use crate::learn::{Channels, Learner, Versions, fold};
use crate::ledger::{Entry, Event, Ledger as _, LedgerError, Offset, SqliteLedger};
use crate::policy::{self, Snapshot, Spread, State};

/// Half-lives that are tried beside the configured one, hours; 0 = nothing is forgotten.
const HALF_LIVES: [u64; 3] = [3 * 24, 60 * 24, 0];

/// Learners on one feature map, and what they are judged on as that map sees it.
struct Track {
    map: Map,
    learners: Vec<Learner>,
    /// What each had learned at the first cut, and at the second.
    at_cuts: [Vec<State>; 2],
    /// The decisions between the cuts, and those after the second.
    logs: [Log; 2],
}

impl Track {
    fn new(map: Map, learners: Vec<Learner>, at_most: usize) -> Self {
        let sees = learners.first().and_then(Learner::map).cloned();
        let log = || Log::new(at_most).seeing(sees.clone());
        Self { map, learners, at_cuts: [Vec::new(), Vec::new()], logs: [log(), log()] }
    }

    fn states(&self) -> Vec<State> {
        self.learners.iter().map(|learner| learner.state().clone()).collect()
    }

    fn learn(&mut self, entries: &[Entry], cuts: (Offset, Offset), ledger: &SqliteLedger) -> Result<(), LedgerError> {
        for entry in entries {
            let decided = matches!(entry.event, Event::Decided(_));
            let between = entry.offset > cuts.0 && entry.offset <= cuts.1;
            if between || !decided {
                self.logs[0].add(entry.offset, &entry.event);
            }
            if entry.offset > cuts.1 || !decided {
                self.logs[1].add(entry.offset, &entry.event);
            }
        }
        self.learners
            .par_iter_mut()
            .try_for_each(|learner| entries.iter().try_for_each(|entry| fold(learner, entry, ledger)))
    }
}

/// All of them. The configured settings on the map in force are the first learner of the first track.
pub(super) struct Fleet {
    tracks: Vec<Track>,
    vectors: Option<usize>,
    cuts: (Offset, Offset),
    span: (Timestamp, Timestamp),
}

impl Fleet {
    pub(super) fn read(
        ledger: &SqliteLedger,
        versions: &Versions,
        config: &Config,
        args: &Args,
    ) -> Result<Self, Failure> {
        let nothing = || Failure::failed("there is nothing to learn from: no decision is in the ledger");
        let first = fresh(ledger, versions, config)?.ok_or_else(nothing)?;
        let last = ledger.last() as f64;
        let cuts = ((last * (1.0 - args.heldout - args.choose)) as Offset, (last * (1.0 - args.heldout)) as Offset);
        let made = maps::made(ledger, config, cuts.0, &wanted(args))?;
        let (vectors, maps) = made.map_or((None, Vec::new()), |(count, maps)| (Some(count), maps));
        if let (Map::Components | Map::Supervised, true) = (args.map, maps.is_empty()) {
            let why = match vectors {
                None => "the ledger has no vectors; set `log_vectors = true` in [gateway], and wait".to_owned(),
                Some(count) => format!("{count} vectors in the part to learn from do not make one"),
            };
            return Err(Failure::failed(format!("no feature map can be refitted: {why}")));
        }
        let fleet =
            Self { tracks: tracks(first, maps, config, args), vectors, cuts, span: (Timestamp(0), Timestamp(0)) };
        fleet.sail(ledger)
    }

    fn sail(mut self, ledger: &SqliteLedger) -> Result<Self, Failure> {
        each(ledger, 0, |entries| self.take(entries, ledger))?;
        for track in &mut self.tracks {
            let states = track.states();
            for at in track.at_cuts.iter_mut().filter(|at| at.is_empty()) {
                at.clone_from(&states);
            }
        }
        Ok(self)
    }

    /// Takes in a batch of events.
    fn take(&mut self, entries: &[Entry], ledger: &SqliteLedger) -> Result<(), LedgerError> {
        for entry in entries {
            if self.span.0 == Timestamp(0) {
                self.span.0 = entry.at;
            }
            self.span.1 = self.span.1.max(entry.at);
        }
        let cuts = self.cuts;
        self.tracks.par_iter_mut().try_for_each(|track| {
            let mut rest = entries;
            for (at, cut) in [cuts.0, cuts.1].into_iter().enumerate() {
                if track.at_cuts[at].is_empty() && rest.last().is_some_and(|entry| entry.offset > cut) {
                    let (before, after) = rest.split_at(rest.partition_point(|entry| entry.offset <= cut));
                    track.learn(before, cuts, ledger)?;
                    track.at_cuts[at] = track.states();
                    rest = after;
                }
            }
            track.learn(rest, cuts, ledger)
        })
    }

    /// Chooses the settings, measures, and gives the learner that is to be kept.
    pub(super) fn settle(self, config: &Config, args: &Args) -> Result<(Trained, Learner), Failure> {
        let channels = Channels::with(&config.sections.learn.channels);
        let all = self.settings(config, args);
        let policies: Vec<Snapshot> =
            all.iter().map(|&which| Ok(self.state(0, which)?.publish())).collect::<Result<_, Failure>>()?;
        let first = &self.tracks[0];
        let mut options = args.how.options(&first.logs[0], config.sections.policy.exploration_share)?;
        options.delta = 0.1 / all.len() as f64;
        let pairs: Vec<(&Log, &Snapshot)> =
            all.iter().zip(&policies).map(|((track, ..), policy)| (&self.tracks[*track].logs[0], policy)).collect();
        let gains =
            compare(&pairs, &channels, &first.at_cuts[0][0], &config.catalog, &options).map_err(Failure::failed)?;
        // More than what adding the same numbers in another order makes.
        let surely = |gain: &Figure| gain.interval.is_some_and(|interval| interval.lower > 1e-9);
        let taken = (1..gains.len())
            .filter(|&at| surely(&gains[at]))
            .max_by(|&a, &b| gains[a].mean.total_cmp(&gains[b].mean))
            .unwrap_or(0);
        // A map that was asked for by name is the only other track, with one learner.
        let asked = matches!(args.map, Map::Components | Map::Supervised);
        let taken = if asked { all.iter().position(|(track, ..)| *track > 0).unwrap_or(taken) } else { taken };
        let frozen = self.state(1, all[taken])?;
        let heldout = &self.tracks[all[taken].0].logs[1];
        let evaluation = judge(config, heldout, &frozen, &frozen.publish(), "trained", &args.how);
        let tried = all
            .iter()
            .enumerate()
            .map(|(n, &(track, at, spread))| Tried {
                map: self.tracks[track].map,
                half_life: duration::format(self.tracks[track].learners[at].state().config().half_life),
                spread,
                gain: gains.get(n).copied(),
            })
            .collect();
        let (track, at, spread) = all[taken];
        let Self { tracks, vectors, cuts, span } = self;
        let learner = tracks.into_iter().nth(track).and_then(|track| track.learners.into_iter().nth(at));
        let Some(learner) = learner else { return Err(Failure::failed("no learner has these settings")) };
        let settings = policy::Config { spread, ..learner.state().config().clone() };
        let learner = learner.choosing_by(settings).map_err(Failure::failed)?;
        let events = learner.offset();
        let (evaluation, cannot_tell) = match evaluation {
            Ok(evaluation) => (Some(evaluation), None),
            Err(failure) => (None, Some(failure.to_string())),
        };
        Ok((Trained { events, vectors, cuts, span, tried, taken, evaluation, cannot_tell }, learner))
    }

    /// What is compared: track, learner, spread. The configured settings come first.
    fn settings(&self, config: &Config, args: &Args) -> Vec<(usize, usize, Spread)> {
        let configured = config.sections.policy.spread;
        let other = if configured == Spread::Trials { Spread::Context } else { Spread::Trials };
        let spreads = if args.choose > 0.0 { vec![configured, other] } else { vec![configured] };
        let in_force =
            spreads.into_iter().flat_map(|spread| (0..self.tracks[0].learners.len()).map(move |at| (0, at, spread)));
        in_force.chain((1..self.tracks.len()).map(|track| (track, 0, configured))).collect()
    }

    fn state(&self, cut: usize, (track, at, spread): (usize, usize, Spread)) -> Result<State, Failure> {
        let state = &self.tracks[track].at_cuts[cut][at];
        let settings = policy::Config { spread, ..state.config().clone() };
        state.clone().choosing_by(settings).map_err(Failure::failed)
    }
}

/// The maps to make.
fn wanted(args: &Args) -> Vec<(Map, Kind)> {
    let both = [(Map::Components, Kind::Components), (Map::Supervised, Kind::Supervised)];
    both.into_iter().filter(|(map, _)| args.map == *map || (args.map == Map::Choose && args.choose > 0.0)).collect()
}

fn tracks(first: Learner, maps: Vec<(Map, Arc<FeatureMap>)>, config: &Config, args: &Args) -> Vec<Track> {
    let another = |settings: policy::Config| first.afresh(settings, &config.sections.learn);
    let mut others = Vec::new();
    for hours in HALF_LIVES.into_iter().filter(|_| args.choose > 0.0) {
        let half_life = std::time::Duration::from_secs(hours * 3600);
        if half_life != config.sections.policy.half_life {
            others.push(another(policy::Config { half_life, ..config.sections.policy.clone() }));
        }
    }
    let refitted: Vec<(Map, Learner)> =
        maps.iter().map(|(map, made)| (*map, another(config.sections.policy.clone()).on(made))).collect();
    let at_most = args.how.at_most;
    let in_force = Track::new(Map::Keep, std::iter::once(first).chain(others).collect(), at_most);
    let refitted = refitted.into_iter().map(|(map, learner)| Track::new(map, vec![learner], at_most));
    std::iter::once(in_force).chain(refitted).collect()
}
