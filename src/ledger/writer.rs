//! The one thread that writes, and the queue before it.
//!
//! Many requests hand over events; one thread turns them into rows and commits many at once. A handover is a
//! push under a short lock: no request waits for the disk or for the making of JSON. The thread is woken when
//! the first event comes and then lets more come for the length of the window, unless somebody waits for an
//! acknowledgement: that closes the window at once.
//!
//! A commit that fails is tried again, with pauses, until it succeeds; meanwhile the queue fills and what comes
//! beyond its bound is shed and counted. Whoever waits for an acknowledgement is told after a few attempts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{oneshot, watch};

use super::{Config, Event, LedgerError, Offset};
use crate::base::Timestamp;

/// Where a waiter is told how its event fared.
pub(super) type Acknowledge = oneshot::Sender<Result<Offset, LedgerError>>;

/// The pauses between attempts of a failing commit grow from this one ...
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// ... to this one.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// After this many failed attempts (about half a second) those who wait are told.
const ATTEMPTS_BEFORE_TELLING: u32 = 5;
/// After this many, at shut-down only, the thread gives up (about four seconds).
const ATTEMPTS_AT_SHUTDOWN: u32 = 9;

/// An event ready to be stored.
pub(super) struct Row {
    pub(super) offset: Offset,
    pub(super) at: Timestamp,
    pub(super) kind: &'static str,
    pub(super) decision: [u8; 16],
    pub(super) response: Option<String>,
    pub(super) body: String,
}

/// What rows are committed to: all of them, or none.
pub(super) trait Store: Send + 'static {
    /// Commits the rows.
    fn commit(&mut self, rows: &[Row]) -> Result<(), LedgerError>;
    /// The position of the last committed row: after a failure it says whether the commit took place after all.
    fn last(&mut self) -> Result<Offset, LedgerError>;
}

#[derive(Debug)]
enum Message {
    Append(Timestamp, Event, Option<Acknowledge>),
    Flush(Acknowledge),
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Message>,
    /// Somebody waits for an acknowledgement.
    urgent: bool,
    closed: bool,
}

/// The queue, shared by those who append and the thread that writes.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    capacity: usize,
    batch: usize,
    shed: AtomicU64,
    last: watch::Sender<Offset>,
}

impl Queue {
    /// An empty queue before a store whose last position is `last`.
    pub(super) fn new(config: &Config, last: Offset) -> Self {
        Self {
            waiting: Mutex::default(),
            wake: Condvar::new(),
            capacity: config.queue.max(1),
            batch: config.batch.max(1),
            shed: AtomicU64::new(0),
            last: watch::Sender::new(last),
        }
    }

    /// Takes the event, or sheds it.
    pub(super) fn append(&self, at: Timestamp, event: Event) -> bool {
        self.push(Message::Append(at, event, None)).is_ok()
    }

    /// Takes the event and says where its fate will be told.
    pub(super) fn append_durable(
        &self,
        at: Timestamp,
        event: Event,
    ) -> Result<oneshot::Receiver<Result<Offset, LedgerError>>, LedgerError> {
        let (tell, told) = oneshot::channel();
        self.push(Message::Append(at, event, Some(tell))).map(|()| told)
    }

    /// Asks to be told when everything taken so far is committed.
    pub(super) fn flush(&self) -> Result<oneshot::Receiver<Result<Offset, LedgerError>>, LedgerError> {
        let (tell, told) = oneshot::channel();
        self.push(Message::Flush(tell)).map(|()| told)
    }

    /// No more is taken; the thread writes what there is and ends.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.wake.notify_one();
    }

    pub(super) fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    pub(super) fn last(&self) -> Offset {
        *self.last.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Offset> {
        self.last.subscribe()
    }

    fn push(&self, message: Message) -> Result<(), LedgerError> {
        let is_event = matches!(message, Message::Append(..));
        let urgent = matches!(message, Message::Append(_, _, Some(_)) | Message::Flush(_));
        let mut waiting = self.waiting.lock();
        if waiting.closed || (is_event && waiting.messages.len() >= self.capacity) {
            drop(waiting);
            if is_event {
                self.count_shed(1, "the ledger's writer cannot keep up");
            }
            return Err(LedgerError::Busy);
        }
        waiting.messages.push_back(message);
        waiting.urgent |= urgent;
        // A wake-up costs a system call: only when it changes what the writer does.
        let wake = urgent || waiting.messages.len() == 1 || waiting.messages.len() == self.batch;
        drop(waiting);
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Waits for the next batch; `None` when the queue is closed and empty.
    fn take(&self, window: Duration) -> Option<Vec<Message>> {
        let mut waiting = self.waiting.lock();
        while waiting.messages.is_empty() && !waiting.closed {
            self.wake.wait(&mut waiting);
        }
        while !(waiting.urgent || waiting.closed || waiting.messages.len() >= self.batch) {
            if self.wake.wait_for(&mut waiting, window).timed_out() {
                break;
            }
        }
        let count = waiting.messages.len().min(self.batch);
        let taken: Vec<Message> = waiting.messages.drain(..count).collect();
        // What is left, if anything, has waited long enough already.
        waiting.urgent = !waiting.messages.is_empty();
        (!taken.is_empty()).then_some(taken)
    }

    fn is_closed(&self) -> bool {
        self.waiting.lock().closed
    }

    fn count_shed(&self, count: u64, why: &str) {
        let before = self.shed.fetch_add(count, Ordering::Relaxed);
        // The first, and then ever more rarely: a log that floods helps nobody.
        if before == 0 || (before + count).ilog2() > before.ilog2() {
            tracing::error!(shed = before + count, "events were not recorded: {why}");
        }
    }
}

/// Runs the writer until the queue is closed and empty.
pub(super) fn run(queue: &Arc<Queue>, mut store: impl Store, window: Duration) {
    while let Some(messages) = queue.take(window) {
        Batch::of(queue, messages).commit(queue, &mut store);
    }
}

/// What is committed together, and who waits for it.
struct Batch {
    rows: Vec<Row>,
    /// With the position each waits for.
    waiters: Vec<(Offset, Acknowledge)>,
}

impl Batch {
    fn of(queue: &Queue, messages: Vec<Message>) -> Self {
        let mut rows = Vec::with_capacity(messages.len());
        let mut waiters = Vec::new();
        let mut last = queue.last();
        for message in messages {
            match message {
                Message::Flush(waiter) => waiters.push((last, waiter)),
                Message::Append(at, event, waiter) => match row(last + 1, at, &event) {
                    Ok(row) => {
                        last += 1;
                        rows.push(row);
                        waiters.extend(waiter.map(|waiter| (last, waiter)));
                    }
                    Err(error) => {
                        queue.count_shed(1, "one could not be put into words");
                        tracing::error!(kind = event.kind(), decision = %event.decision(), %error, "event not recorded");
                        if let Some(waiter) = waiter {
                            // A waiter that went away needs no answer.
                            let _ = waiter.send(Err(error));
                        }
                    }
                },
            }
        }
        Self { rows, waiters }
    }

    fn commit(mut self, queue: &Queue, store: &mut impl Store) {
        let Some(last) = self.rows.last().map(|row| row.offset) else {
            return self.tell();
        };
        let mut pause = FIRST_PAUSE;
        let mut attempts = 0_u32;
        while let Err(error) = store.commit(&self.rows) {
            if store.last().is_ok_and(|stored| stored >= last) {
                break;
            }
            attempts += 1;
            if attempts.is_power_of_two() {
                tracing::error!(%error, attempts, events = self.rows.len(), "the ledger cannot be written; trying again");
            }
            if attempts == ATTEMPTS_BEFORE_TELLING {
                for (_, waiter) in self.waiters.drain(..) {
                    let _ = waiter.send(Err(LedgerError::Store(error.to_string().into())));
                }
            }
            if attempts >= ATTEMPTS_AT_SHUTDOWN && queue.is_closed() {
                queue.count_shed(self.rows.len() as u64, "the store failed until the process had to end");
                return;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        queue.last.send_replace(last);
        self.tell();
    }

    fn tell(self) {
        for (offset, waiter) in self.waiters {
            let _ = waiter.send(Ok(offset));
        }
    }
}

fn row(offset: Offset, at: Timestamp, event: &Event) -> Result<Row, LedgerError> {
    if event.not_finite().is_some() {
        return Err(LedgerError::Senseless);
    }
    let body = serde_json::to_string(event).map_err(|error| LedgerError::Store(error.into()))?;
    Ok(Row {
        offset,
        at,
        kind: event.kind(),
        decision: *event.decision().0.as_bytes(),
        response: event.response_id().map(str::to_owned),
        body,
    })
}
