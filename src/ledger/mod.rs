//! What happened, append only: the one truth from which learning, reports and replays are made.
//!
//! The contract and the events are here; SQLite and memory stand beside it. Policy state is a fold over
//! these events, so whatever a later reader needs to judge a decision must stand in them.
//!
//! What a crash may cost. An event that `append_durable` acknowledged was committed: it survives the death of
//! the process (`kill -9`). One that `append` took may be lost with the process if it came within the last
//! group-commit window ([`Config::window`], 20 ms unless set). When the machine itself loses power, what the
//! operating system had not yet written may be lost too, unless [`Durability::Full`] is chosen; the file stays
//! sound and its positions without gaps in every case.

pub mod event;
mod memory;
mod sqlite;
mod writer;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

pub use event::{
    ArmRecord, BudgetRecord, Completed, Decided, Event, Feedback, GuardRecord, Mode, Outcome, Part, ReuseRecord,
    ScoreRecord, TrialRecord,
};
pub use memory::MemoryLedger;
use serde::{Deserialize, Serialize};
pub use sqlite::SqliteLedger;

use crate::base::{DecisionId, Problem, Timestamp};

/// Position in the ledger: 1 for the first event, then one more each. 0 = before the first.
pub type Offset = u64;

/// An event where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its position.
    pub offset: Offset,
    /// When it was appended.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// When a commit counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// When the operating system has it: survives the death of the process, not always a loss of power.
    #[default]
    Normal,
    /// When the disk has it.
    Full,
}

/// How events are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long an event may wait for others to share its commit. What was only `append`ed within this time
    /// before a `kill -9` may be lost.
    #[serde(with = "crate::base::duration")]
    pub window: Duration,
    /// Events in one commit at most.
    pub batch: usize,
    /// Events that may wait for the writer; what comes beyond is shed and counted.
    pub queue: usize,
    /// When a commit counts as done.
    pub durability: Durability,
}

impl Default for Config {
    fn default() -> Self {
        Self { window: Duration::from_millis(20), batch: 1024, queue: 16_384, durability: Durability::Normal }
    }
}

impl Config {
    /// What is wrong with these settings.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.window > Duration::from_secs(5) {
            let found = crate::base::duration::format(self.window);
            problems.push(Problem::new("window", found, "0ms to 5s"));
        }
        if !(1..=65_536).contains(&self.batch) {
            problems.push(Problem::new("batch", self.batch, "1 to 65536 events"));
        }
        if !(1..=1_048_576).contains(&self.queue) {
            problems.push(Problem::new("queue", self.queue, "1 to 1048576 events"));
        }
        problems
    }
}

/// Why the ledger could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The folder cannot be used.
    #[error("the data folder {} cannot be used: {reason}; make it writable for this user or name another one", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Another process has it open.
    #[error("the data folder {} is in use by another pointsman process; stop that one or name another folder", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// The file was written by a later version, or is something else.
    #[error("{} is a ledger of form {found}, this version reads form {known}; use the version that wrote it, or name another data folder", file.display())]
    Form {
        /// The file.
        file: PathBuf,
        /// What it says it is.
        found: i64,
        /// What this version reads.
        known: i64,
    },
    /// The store failed.
    #[error("the ledger's store failed: {0}")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A stored event cannot be read; its position says which.
    #[error("ledger event {offset} cannot be read: {reason}")]
    Corrupt {
        /// Its position.
        offset: Offset,
        /// What is wrong with it.
        reason: String,
    },
    /// The event holds a number that is not finite; it was not recorded (and is counted as shed).
    #[error("the event holds a number that is not finite and was not recorded")]
    Senseless,
    /// The writer has stopped, or has more to write than it takes on.
    #[error("the ledger does not take events at the moment")]
    Busy,
}

/// A future of a ledger operation.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, LedgerError>> + Send + 'a>>;

/// An append-only store of events.
///
/// `append` never waits: on overload the event is shed, counted, and `false` comes back. The reading calls
/// block and belong on a blocking thread.
pub trait Ledger: Send + Sync + 'static {
    /// Hands the event to the writer. `false`: it was shed, and counted: the writer has too much to do, or the
    /// event holds a number that is not finite and so could not be read back.
    fn append(&self, at: Timestamp, event: Event) -> bool;

    /// Hands the event to the writer and waits until it is committed. An error means that it is not known to be:
    /// the writer keeps trying to write what it took.
    fn append_durable(&self, at: Timestamp, event: Event) -> Pending<'_, Offset>;

    /// Waits until everything appended so far is committed; gives the last position.
    fn flush(&self) -> Pending<'_, Offset>;

    /// How many events were shed since the ledger was opened.
    fn shed(&self) -> u64;

    /// The position of the last committed event.
    fn last(&self) -> Offset;

    /// Completes when there is something after `offset`.
    fn wait_beyond(&self, offset: Offset) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Up to `limit` committed events after `after`, in order, up to the first that cannot be read.
    ///
    /// # Errors
    /// If the store fails; [`LedgerError::Corrupt`] if the very first of them cannot be read, so that a reader
    /// may go on after it.
    fn scan(&self, after: Offset, limit: usize) -> Result<Vec<Entry>, LedgerError>;

    /// All committed events of one decision, in order; empty if it is not known. One that cannot be read is
    /// left out, with a warning in the log.
    ///
    /// # Errors
    /// If the store fails.
    fn of_decision(&self, id: DecisionId) -> Result<Vec<Entry>, LedgerError>;

    /// The decision whose answer carried this response id; the latest, if there are several.
    ///
    /// # Errors
    /// If the store fails.
    fn decision_of_response(&self, response_id: &str) -> Result<Option<DecisionId>, LedgerError>;
}

/// Completes when the watched position is beyond `offset`; never, if nothing can come any more.
async fn beyond(mut last: tokio::sync::watch::Receiver<Offset>, offset: Offset) {
    if last.wait_for(|last| *last > offset).await.is_err() {
        std::future::pending::<()>().await;
    }
}
