//! From events to policy: what happened is folded into what is believed.
//!
//! State = fold(snapshot, events after it). [`fold()`] is that fold; [`start`] runs it behind the serving process,
//! following the ledger and handing out a new policy every few events; [`Snapshots`] keeps what was learned on
//! disk, so that a start need not read the whole ledger; [`rebuild`] reads it whole and comes to the same bits.
//! [`Versions`] keeps what was learned under names, to compare, to promote and to go back to.
//! Nothing else moves the policy: feedback, too, is appended to the ledger first and learned from there.

pub mod canary;
mod case;
pub mod channels;
mod fold;
pub mod portrait;
mod snapshots;
mod task;
mod trials;
mod versions;

use std::collections::BTreeMap;
use std::time::Duration;

pub use case::{Judged, judged};
pub use channels::{Channel, Channels};
pub use fold::{Learner, fold, rebuild};
use serde::{Deserialize, Serialize};
pub use snapshots::{SnapshotError, Snapshots};
pub use task::{Handle, Kept, Progress, start};
pub use trials::{End, Ending, OnTrial, Step, Trial, follow_trials};
pub use versions::{Activation, Gap, Maker, PROJECTION, Version, VersionError, Versions};

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
    /// What was learned is set aside as a version, to go back to, this long after the last one ...
    #[serde(with = "crate::base::duration")]
    pub version_after: Duration,
    /// ... and of those this many are kept.
    pub versions_kept: usize,
    /// How many decisions are kept in memory for labels that come late; older ones are looked up in the ledger.
    pub cases: usize,
    /// How a policy version is rolled out.
    pub canary: canary::Config,
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
            version_after: Duration::from_hours(24),
            versions_kept: 14,
            cases: 8_192,
            canary: canary::Config::default(),
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
        problems.extend(
            self.canary
                .problems()
                .into_iter()
                .map(|problem| Problem { path: format!("canary.{}", problem.path), ..problem }),
        );
        if self.snapshots_kept == 0 {
            problems.push(Problem::new("snapshots_kept", 0, "1 or more"));
        }
        if self.version_after < Duration::from_mins(1) {
            let found = crate::base::duration::format(self.version_after);
            problems.push(Problem::new("version_after", found, "1m or more"));
        }
        problems
    }
}
