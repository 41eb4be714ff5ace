//! Versions on trial: which, on how much of the traffic, since when, and how each trial ended.
//!
//! `trials.json` in the folder of versions is the list, the last one now. It is written by whoever begins or stops a
//! trial, and by the serving process, which takes its steps: on to a larger share, promoted, rolled back. How far the
//! evidence has come is nowhere written: it is a function of the decisions in the ledger that are marked as of this
//! trial, so a start reads them again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::Config;
use super::canary::{Call, Watch};
use super::case::Case;
use super::channels::Channels;
use super::versions::{Activation, VersionError, Versions};
use crate::base::{Clock, DecisionId, SchemaId, Timestamp};
use crate::ledger::{Decided, Event, Ledger, LedgerError, Mode, Offset, Part};
use crate::policy::Snapshot;

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The version serves all.
    Promoted,
    /// It was worse.
    RolledBack,
    /// Somebody stopped it.
    Stopped,
}

/// A step of a trial: from this event on it had this share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The share of the conversations.
    pub share: f64,
    /// The last event before it.
    pub after: Offset,
    /// When.
    pub at: Timestamp,
}

/// The end of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// How.
    pub how: Ending,
    /// When.
    pub at: Timestamp,
    /// Why, in words.
    pub why: String,
}

/// A version on trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Which.
    pub version: String,
    /// The last event before it.
    pub after: Offset,
    /// When it began.
    pub at: Timestamp,
    /// The steps it took; empty = in the shadow: it decides nothing.
    pub steps: Vec<Step>,
    /// How it ended; `None` = it goes on.
    pub ended: Option<End>,
}

const TRIALS: &str = "trials.json";

impl Versions {
    /// Every trial there was; the last one may go on.
    ///
    /// # Errors
    /// If the list cannot be read.
    pub fn trials(&self) -> Result<Vec<Trial>, VersionError> {
        Ok(self.read_json(TRIALS)?.unwrap_or_default())
    }

    /// The trial that goes on.
    ///
    /// # Errors
    /// If the list cannot be read.
    pub fn on_trial(&self) -> Result<Option<Trial>, VersionError> {
        Ok(self.trials()?.pop().filter(|trial| trial.ended.is_none()))
    }

    /// Begins a trial. `false`: another one goes on.
    ///
    /// # Errors
    /// If there is no such version, or the folder cannot be written.
    pub fn begin_trial(&self, trial: Trial) -> Result<bool, VersionError> {
        self.state(&self.get(&trial.version)?)?;
        let _alone = self.alone()?;
        let mut trials = self.trials()?;
        if trials.last().is_some_and(|last| last.ended.is_none()) {
            return Ok(false);
        }
        trials.push(trial);
        self.write_json(TRIALS, &trials)?;
        Ok(true)
    }

    /// Ends the trial that goes on; gives it, if there was one.
    ///
    /// # Errors
    /// If the list cannot be read or written.
    pub fn end_trial(&self, end: End) -> Result<Option<Trial>, VersionError> {
        self.change_trial(|trial| trial.ended = Some(end))
    }

    /// Changes the trial that goes on.
    fn change_trial(&self, change: impl FnOnce(&mut Trial)) -> Result<Option<Trial>, VersionError> {
        let _alone = self.alone()?;
        let mut trials = self.trials()?;
        let Some(last) = trials.last_mut().filter(|trial| trial.ended.is_none()) else { return Ok(None) };
        change(last);
        let changed = last.clone();
        self.write_json(TRIALS, &trials)?;
        Ok(Some(changed))
    }
}

/// What the gateway is to do about trials.
#[derive(Clone, Debug)]
pub struct OnTrial {
    /// The version.
    pub version: String,
    /// What it chooses. It does not learn while on trial: what is judged stays what it was.
    pub policy: Arc<Snapshot>,
    /// The share of the conversations it decides; `None` = none, it is in the shadow.
    pub share: Option<f64>,
}

/// Why a trial cannot go on for now.
#[derive(Debug, thiserror::Error)]
enum TrialError {
    #[error("{0}")]
    Version(#[from] VersionError),
    #[error("{0}")]
    Ledger(#[from] LedgerError),
}

/// How often the list is looked at, and how often the ledger.
const LOOK: Duration = Duration::from_millis(250);
/// Events read at a time.
const STRIDE: usize = 1024;

/// Follows trials beside the serving process until `stop`: hands the version on trial to `act`, watches its answers,
/// and takes the steps they call for. `schema` is the feature map that comes with the
/// program; a version may bring its own.
pub async fn follow_trials(
    ledger: Arc<dyn Ledger>,
    versions: Versions,
    config: Config,
    schema: SchemaId,
    clock: Arc<dyn Clock>,
    act: impl Fn(Option<OnTrial>) + Send + Sync + 'static,
    stop: CancellationToken,
) {
    let channels = Channels::with(&config.channels);
    let mut follower = Follower {
        ledger,
        versions,
        config,
        channels,
        schema,
        clock,
        act: Box::new(act),
        running: None,
        refused: None,
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let looked = tokio::task::spawn_blocking(move || {
            follower.look();
            follower
        });
        match looked.await {
            Ok(back) => follower = back,
            Err(error) => return tracing::error!(%error, "trials of policy versions are no longer followed"),
        }
    }
}

struct Follower {
    ledger: Arc<dyn Ledger>,
    versions: Versions,
    config: Config,
    channels: Channels,
    schema: SchemaId,
    clock: Arc<dyn Clock>,
    act: Box<dyn Fn(Option<OnTrial>) + Send + Sync>,
    running: Option<Running>,
    /// What could not be done, as said last.
    refused: Option<String>,
}

/// A trial that goes on, with its evidence.
struct Running {
    trial: Trial,
    policy: Arc<Snapshot>,
    offset: Offset,
    watch: Watch,
    marked: Marked,
}

impl Follower {
    fn look(&mut self) {
        let refused = self.try_look().err().map(|error| error.to_string());
        if let Some(error) = refused.as_ref().filter(|_| refused != self.refused) {
            tracing::error!(%error, "the trial of a policy version does not go on");
        }
        self.refused = refused;
    }

    fn try_look(&mut self) -> Result<(), TrialError> {
        let listed = self.versions.on_trial()?;
        let same = |running: &Running| {
            listed
                .as_ref()
                .is_some_and(|trial| (&trial.version, trial.after) == (&running.trial.version, running.trial.after))
        };
        if !self.running.as_ref().is_some_and(same) {
            if self.running.take().is_some() {
                (self.act)(None);
            }
            if let Some(trial) = listed {
                self.running = Some(self.begin(trial)?);
                self.tell();
            }
        }
        while self.read_on()? {}
        Ok(())
    }

    fn begin(&self, trial: Trial) -> Result<Running, TrialError> {
        let version = self.versions.get(&trial.version)?;
        let (state, map) = self.versions.learned(&version, (self.schema.clone(), None))?;
        tracing::info!(version = trial.version, "a policy version is on trial");
        let marked = Marked::new(self.config.cases.max(STRIDE));
        let watch = Watch::new(&self.config.canary);
        Ok(Running { offset: trial.after, policy: Arc::new(state.publish().on(map)), trial, watch, marked })
    }

    /// Lets the gateway know.
    fn tell(&self) {
        (self.act)(self.running.as_ref().map(|running| OnTrial {
            version: running.trial.version.clone(),
            policy: Arc::clone(&running.policy),
            share: running.trial.steps.last().map(|step| step.share),
        }));
    }

    /// Takes in the next events; `false` = there are none, or the trial is over.
    fn read_on(&mut self) -> Result<bool, TrialError> {
        let Some(running) = &mut self.running else { return Ok(false) };
        let entries = match self.ledger.scan(running.offset, STRIDE) {
            Ok(entries) => entries,
            Err(LedgerError::Corrupt { offset, .. }) if offset > running.offset => {
                running.offset = offset;
                return Ok(true);
            }
            Err(error) => return Err(error.into()),
        };
        for entry in &entries {
            running.offset = entry.offset;
            let least = self.config.canary.least_weight;
            if let Some((candidate, worth)) =
                running.marked.add(&entry.event, &running.trial.version, &self.channels, least)
            {
                running.watch.add(candidate, worth);
                let step = running.trial.steps.len().saturating_sub(1);
                match running.watch.call(step) {
                    Call::GoOn => {}
                    Call::Advance => return self.advance().map(|()| self.running.is_some()),
                    Call::RollBack => return self.roll_back().map(|()| false),
                }
            }
        }
        Ok(!entries.is_empty())
    }

    fn advance(&mut self) -> Result<(), TrialError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let at = self.clock.now();
        let why = format!("as good as what served, within the margin: {}", words(&running.watch));
        let step = Step { share: 1.0, after: running.offset, at };
        if let Some(&share) = self.config.canary.shares.get(running.trial.steps.len()) {
            tracing::info!(version = running.trial.version, share, why, "on to a larger share of the traffic");
            let changed = self.versions.change_trial(|trial| trial.steps.push(Step { share, ..step }))?;
            if let Some(changed) = changed {
                running.trial = changed;
            }
            self.tell();
            return Ok(());
        }
        let name = running.trial.version.clone();
        let from = self.versions.get(&name)?.offset;
        self.versions.activate(Activation { version: Some(name.clone()), from, at, why: why.clone() })?;
        tracing::info!(version = name, why, "promoted: it serves all");
        self.end(End { how: Ending::Promoted, at, why })
    }

    fn roll_back(&mut self) -> Result<(), TrialError> {
        let Some(running) = &self.running else { return Ok(()) };
        let (at, why) = (self.clock.now(), format!("worse than what served: {}", words(&running.watch)));
        tracing::warn!(version = running.trial.version, why, "rolled back");
        self.end(End { how: Ending::RolledBack, at, why })
    }

    /// The gateway hears of it before the list says so: whoever reads there that a trial is over can rely on it. Where
    /// the list cannot be written, the next look begins the trial again and comes to the same end.
    fn end(&mut self, end: End) -> Result<(), TrialError> {
        self.running = None;
        self.tell();
        self.versions.end_trial(end)?;
        Ok(())
    }
}

fn words(watch: &Watch) -> String {
    let ((low, high), (own, others)) = (watch.difference(), watch.judged());
    format!("a difference of {low:+.3} to {high:+.3} over {own} judged answers of it and {others} others")
}

/// The decisions of a trial that wait to be judged, a bounded number of them: the latest.
struct Marked {
    capacity: usize,
    waiting: HashMap<DecisionId, (Case, bool)>,
    order: VecDeque<DecisionId>,
}

impl Marked {
    fn new(capacity: usize) -> Self {
        Self { capacity, waiting: HashMap::new(), order: VecDeque::new() }
    }

    /// Takes in an event; gives whose answer it judges and what that is worth, when it is the first to say so.
    fn add(&mut self, event: &Event, version: &str, channels: &Channels, least: f64) -> Option<(bool, f64)> {
        let id = event.decision();
        match event {
            Event::Decided(decided) => {
                self.open(decided, version);
                return None;
            }
            Event::Completed(completed) => {
                self.waiting.get_mut(&id)?.0.complete(completed);
            }
            Event::Feedback(feedback) => self.waiting.get_mut(&id)?.0.judge(feedback),
        }
        let (case, candidate) = self.waiting.get(&id)?;
        let judged = case.standing(channels).filter(|judged| judged.weight >= least)?;
        let found = (*candidate, judged.quality);
        self.waiting.remove(&id);
        Some(found)
    }

    fn open(&mut self, decided: &Decided, version: &str) {
        let Some(trial) = decided.trial.as_ref().filter(|trial| trial.version == version) else { return };
        // Where nothing was left to the policy, the two are the same.
        let candidate = match trial.part {
            _ if decided.mode != Mode::Policy => return,
            Part::Candidate => true,
            Part::Others => false,
            Part::Shadow => return,
        };
        self.waiting.insert(decided.id, (Case::open(decided, None), candidate));
        self.order.push_back(decided.id);
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.waiting.remove(&oldest);
        }
    }
}
