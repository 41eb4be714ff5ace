//! What happened, append only: the one truth from which learning, reports and replays are made.
//!
//! The contract and the events are here; SQLite and memory stand beside it. Policy state is a fold over
//! these events, so whatever a later reader needs to judge a decision must stand in them.

pub mod event;

use std::future::Future;
use std::pin::Pin;

pub use event::{ArmRecord, Completed, Decided, Event, Feedback, Mode, Outcome, ScoreRecord};

use crate::base::{DecisionId, Timestamp};

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

/// Why the ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
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
    /// Hands the event to the writer. `false`: it was shed (and counted).
    fn append(&self, at: Timestamp, event: Event) -> bool;

    /// Hands the event to the writer and waits until it is on disk.
    fn append_durable(&self, at: Timestamp, event: Event) -> Pending<'_, Offset>;

    /// Waits until everything appended so far is on disk; gives the last position.
    fn flush(&self) -> Pending<'_, Offset>;

    /// Completes when there is something after `offset`.
    fn wait_beyond(&self, offset: Offset) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Up to `limit` events after `offset`, in order.
    ///
    /// # Errors
    /// If the store fails or an event cannot be read.
    fn scan(&self, after: Offset, limit: usize) -> Result<Vec<Entry>, LedgerError>;

    /// All events of one decision, in order; empty if it is not known.
    ///
    /// # Errors
    /// If the store fails or an event cannot be read.
    fn of_decision(&self, id: DecisionId) -> Result<Vec<Entry>, LedgerError>;

    /// The decision whose answer carried this response id.
    ///
    /// # Errors
    /// If the store fails.
    fn decision_of_response(&self, response_id: &str) -> Result<Option<DecisionId>, LedgerError>;
}
