//! The one function that learns: an event in, the sums moved.
//!
//! [`fold`] is a function of the ledger alone. Serving, recovery, retraining, replay and the benchmark all run
//! it, in whatever batches, with whatever is remembered of earlier cases, and come to the same bits. What makes
//! that so: it looks at no clock and draws no lots; it reads of a decision only what stands in the ledger before
//! the event at hand; and a correction takes the very row away that stood before and adds the new one.

use std::sync::Arc;

use super::Config;
use super::case::{Case, Cases};
use super::channels::Channels;
use super::versions::Base;
use crate::base::{Digest, SchemaId, Timestamp};
use crate::features::FeatureMap;
use crate::ledger::{Entry, Event, Ledger, LedgerError, Offset};
use crate::policy::{self, State};

/// What was learned, and how far in the ledger.
#[derive(Debug)]
pub struct Learner {
    pub(super) state: State,
    pub(super) offset: Offset,
    pub(super) restored: Offset,
    /// The time of the last event folded in.
    pub(super) at: Timestamp,
    /// What it stands on.
    pub(super) base: Base,
    /// How it sees decisions that were made on another feature map; `None` = not at all: they count for a model's mean
    /// alone.
    pub(super) map: Option<Arc<FeatureMap>>,
    /// The feature map and its projection that it was made with; a version it stands on may bring its own.
    pub(super) home: (SchemaId, Option<Arc<FeatureMap>>),
    /// The settings it was made with; a version it stands on brings its own.
    pub(super) settings: policy::Config,
    channels: Channels,
    pub(super) cases: Cases,
}

impl Learner {
    /// One that has learned nothing yet.
    #[must_use]
    pub fn new(policy: policy::Config, schema: SchemaId, config: &Config) -> Self {
        Self {
            state: State::new(policy.clone(), schema.clone()),
            offset: 0,
            restored: 0,
            at: Timestamp(0),
            base: Base::default(),
            map: None,
            home: (schema, None),
            settings: policy,
            channels: Channels::with(&config.channels),
            cases: Cases::new(config.cases),
        }
    }

    /// The same, nothing learned yet, on this feature map: decisions that were made on another are seen through it, as
    /// far as their vectors were logged.
    #[must_use]
    pub fn seeing(self, map: &Arc<FeatureMap>) -> Self {
        let schema = map.schema.clone();
        let state = State::new(self.settings.clone(), schema.clone());
        Self { state, map: Some(Arc::clone(map)), home: (schema, Some(Arc::clone(map))), ..self }
    }

    /// One that has learned nothing yet, with other settings, on the same feature map.
    #[must_use]
    pub fn afresh(&self, policy: policy::Config, config: &Config) -> Self {
        let learner = Self::new(policy, self.state.schema().clone(), config);
        Self { map: self.map.clone(), home: self.home.clone(), ..learner }
    }

    /// The same, nothing learned yet, on a feature map that does not come with the program: its versions bring it.
    #[must_use]
    pub fn on(self, map: &Arc<FeatureMap>) -> Self {
        let state = State::new(self.settings.clone(), map.schema.clone());
        Self { state, map: Some(Arc::clone(map)), ..self }
    }

    /// The feature map that it sees decisions through.
    #[must_use]
    pub const fn map(&self) -> Option<&Arc<FeatureMap>> {
        self.map.as_ref()
    }

    /// What was learned.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The position of the last event that was folded in.
    #[must_use]
    pub const fn offset(&self) -> Offset {
        self.offset
    }

    /// The position of the snapshot it began with; 0 = it began with nothing.
    #[must_use]
    pub const fn restored(&self) -> Offset {
        self.restored
    }

    /// The version it stands on; `None` = it folds the whole ledger.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.base.version.as_deref()
    }

    /// Begins anew, with this state on this base.
    pub(super) fn begin(&mut self, (state, map): (State, Option<Arc<FeatureMap>>), base: Base) {
        self.state = state;
        self.offset = base.from;
        self.restored = 0;
        self.map = map;
        self.base = base;
        self.cases.forget();
    }

    /// The same learning, to choose by other settings.
    ///
    /// # Errors
    /// If the half-lives are others: those shape the learning itself.
    pub fn choosing_by(mut self, settings: policy::Config) -> Result<Self, policy::StateError> {
        self.state = self.state.choosing_by(settings)?;
        Ok(self)
    }

    /// The beliefs that follow from what was learned.
    #[must_use]
    pub fn publish(&self) -> Arc<policy::Snapshot> {
        Arc::new(self.state.publish().on(self.map.clone()))
    }

    /// Names the reading of scores it folds with.
    pub(super) fn reading(&self) -> Digest {
        self.channels.digest()
    }

    /// Folds in up to `limit` events that stand after what it knows; gives how many, 0 = it knows all.
    /// An event that cannot be read is passed over, with a warning.
    ///
    /// # Errors
    /// If the ledger cannot be read; what was folded until then stays.
    pub fn catch_up(&mut self, ledger: &dyn Ledger, limit: usize) -> Result<usize, LedgerError> {
        match ledger.scan(self.offset, limit) {
            Ok(entries) => {
                for entry in &entries {
                    fold(self, entry, ledger)?;
                }
                Ok(entries.len())
            }
            Err(error @ LedgerError::Corrupt { offset, .. }) if offset > self.offset => {
                tracing::warn!(%error, "passed over in learning");
                self.offset = offset;
                Ok(1)
            }
            Err(error) => Err(error),
        }
    }
}

/// Events read from the ledger at a time where all are wanted.
pub(super) const STRIDE: usize = 1024;

/// The learner that has learned everything the ledger holds, from what `learner` knows on: from its very
/// beginning if that is a fresh one.
///
/// # Errors
/// If the ledger cannot be read.
pub fn rebuild(mut learner: Learner, ledger: &dyn Ledger) -> Result<Learner, LedgerError> {
    while learner.catch_up(ledger, STRIDE)? > 0 {}
    Ok(learner)
}

/// Folds one event in; one that stands before what the learner knows changes nothing.
///
/// # Errors
/// If the ledger must be asked about an earlier event and cannot be read; then nothing was changed.
pub fn fold(learner: &mut Learner, entry: &Entry, ledger: &dyn Ledger) -> Result<(), LedgerError> {
    if entry.offset <= learner.offset {
        return Ok(());
    }
    let id = entry.event.decision();
    if let Event::Decided(decided) = &entry.event {
        learner.cases.put(id, Case::open(decided, learner.map.as_deref()));
    } else if let Some(case) = learner.cases.get_mut(id) {
        learn(&mut learner.state, &learner.channels, case, &entry.event);
    } else if let Some(mut case) =
        Case::look_up(ledger, id, entry.offset, (&learner.channels, &learner.base, learner.map.as_deref()))?
    {
        learn(&mut learner.state, &learner.channels, &mut case, &entry.event);
        learner.cases.put(id, case);
    }
    learner.state.decay_to(entry.at);
    learner.offset = entry.offset;
    learner.at = entry.at;
    Ok(())
}

/// Moves the sums from what the case said before the event to what it says after it.
fn learn(state: &mut State, channels: &Channels, case: &mut Case, event: &Event) {
    let before = case.learned;
    match event {
        Event::Completed(completed) => {
            if case.complete(completed) {
                case.calls(completed).for_each(|call| state.observe_call(&call));
            }
        }
        Event::Feedback(feedback) => case.judge(feedback),
        Event::Decided(_) => {}
    }
    let after = case.standing(channels);
    case.learned = after;
    if before != after {
        if let Some(standing) = before {
            state.retract_quality(&case.row(standing));
        }
        if let Some(standing) = after {
            let row = case.row(standing);
            state.observe_quality(&row);
            if before.is_none() && state.watch(&row) {
                tracing::warn!(model = %row.model, "its answers have become worse; what was learned of it weighs a quarter");
            }
        }
    }
}
