//! A ledger that forgets at exit: for tests, replays and the offline benchmark. The same promises as on disk,
//! but for the disk.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use tokio::sync::watch;

use super::{Entry, Event, Ledger, LedgerError, Offset, Pending};
use crate::base::{DecisionId, Timestamp};

/// Events in memory, committed the moment they are appended.
#[derive(Debug)]
pub struct MemoryLedger {
    events: RwLock<Events>,
    last: watch::Sender<Offset>,
    shed: AtomicU64,
}

#[derive(Debug, Default)]
struct Events {
    entries: Vec<Entry>,
    of_decision: HashMap<DecisionId, Vec<usize>>,
    of_response: HashMap<String, DecisionId>,
}

impl MemoryLedger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self { events: RwLock::default(), last: watch::Sender::new(0), shed: AtomicU64::new(0) }
    }

    fn put(&self, at: Timestamp, event: Event) -> Option<Offset> {
        if let Some(field) = event.not_finite() {
            self.shed.fetch_add(1, Ordering::Relaxed);
            tracing::error!(field, kind = event.kind(), "an event with a number that is not finite was not recorded");
            return None;
        }
        let mut events = self.events.write();
        let index = events.entries.len();
        let offset = index as Offset + 1;
        events.of_decision.entry(event.decision()).or_default().push(index);
        if let Some(response) = event.response_id() {
            let response = response.to_owned();
            events.of_response.insert(response, event.decision());
        }
        events.entries.push(Entry { offset, at, event });
        // Under the lock, so that the position told never goes back.
        self.last.send_replace(offset);
        Some(offset)
    }
}

impl Default for MemoryLedger {
    fn default() -> Self {
        Self::new()
    }
}

impl Ledger for MemoryLedger {
    fn append(&self, at: Timestamp, event: Event) -> bool {
        self.put(at, event).is_some()
    }

    fn append_durable(&self, at: Timestamp, event: Event) -> Pending<'_, Offset> {
        let put = self.put(at, event).ok_or(LedgerError::Senseless);
        Box::pin(std::future::ready(put))
    }

    fn flush(&self) -> Pending<'_, Offset> {
        Box::pin(std::future::ready(Ok(self.last())))
    }

    fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    fn last(&self) -> Offset {
        *self.last.borrow()
    }

    fn wait_beyond(&self, offset: Offset) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(super::beyond(self.last.subscribe(), offset))
    }

    fn scan(&self, after: Offset, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        let events = self.events.read();
        let from = usize::try_from(after).unwrap_or(usize::MAX).min(events.entries.len());
        Ok(events.entries[from..].iter().take(limit).cloned().collect())
    }

    fn of_decision(&self, id: DecisionId) -> Result<Vec<Entry>, LedgerError> {
        let events = self.events.read();
        let indices = events.of_decision.get(&id).map(Vec::as_slice).unwrap_or_default();
        Ok(indices.iter().map(|&index| events.entries[index].clone()).collect())
    }

    fn decision_of_response(&self, response_id: &str) -> Result<Option<DecisionId>, LedgerError> {
        Ok(self.events.read().of_response.get(response_id).copied())
    }
}
