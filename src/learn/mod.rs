//! From events to policy: what happened is folded into what is believed.
//!
//! State = fold(snapshot, events after it). [`fold()`] is that fold; [`start`] runs it behind the serving process,
//! following the ledger and handing out a new policy every few events; [`Snapshots`] keeps what was learned on
//! disk, so that a start need not read the whole ledger; [`rebuild`] reads it whole and comes to the same bits.
//! Nothing else moves the policy: feedback, too, is appended to the ledger first and learned from there.

pub mod canary;
mod case;
pub mod channels;
mod fold;
mod snapshots;
mod task;

use std::collections::BTreeMap;
use std::time::Duration;

pub use case::{Judged, judged};
pub use channels::{Channel, Channels};
pub use fold::{Learner, fold, rebuild};
use serde::{Deserialize, Serialize};
pub use snapshots::{SnapshotError, Snapshots};
pub use task::{Handle, Progress, start};

use crate::base::Problem;

/// How learning goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Reward channels, beside or in place of the known ones.
    pub channels: BTreeMap<String, Channel>,
    /// A new policy is handed out after this many events ...
    pub publish_events: usize,
    /// ... or this long after the first that is not in it yet.
    #[serde(with = "crate::base::duration")]
    pub publish_after: Duration,
    /// What was learned is written to disk after this many events ...
    pub snapshot_events: u64,
    /// ... or this long after the first that is not in it yet.
    #[serde(with = "crate::base::duration")]
    pub snapshot_after: Duration,
    /// How many snapshots are kept.
    pub snapshots_kept: usize,
    /// How many decisions are kept in memory for labels that come late; older ones are looked up in the ledger.
    pub cases: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            channels: BTreeMap::new(),
            publish_events: 64,
            publish_after: Duration::from_millis(250),
            snapshot_events: 20_000,
            snapshot_after: Duration::from_mins(5),
            snapshots_kept: 5,
            cases: 8_192,
        }
    }
}

impl Config {
    /// What is wrong with these settings.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = channels::problems(&self.channels);
        if self.publish_events == 0 {
            problems.push(Problem::new("publish_events", 0, "1 or more"));
        }
        if self.snapshot_events == 0 {
            problems.push(Problem::new("snapshot_events", 0, "1 or more"));
        }
        if self.snapshots_kept == 0 {
            problems.push(Problem::new("snapshots_kept", 0, "1 or more"));
        }
        problems
    }
}
