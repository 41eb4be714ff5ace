//! One call upstream for many equal requests.
//!
//! The first request of a key flies: it chooses, calls, and its answer is written into a buffer from the first byte.
//! Equal requests that come while it flies sit in the same flight and are given the same bytes from the start; so does
//! the first request itself. Nobody is the engine: whoever of them is hungry polls the call, and all are woken when it
//! moves. So a client that hangs up, the first one too, takes nothing from the others, and when the last is gone the
//! call is dropped and with it cancelled. No task of its own, no channel, no copy.
//!
//! The money is booked once, in the record of the request that flew. If its client hangs up before the end, the
//! record is left in the flight and closed with it. Only exact keys fly together, never prompts that are merely alike.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures::Stream;
use futures::future::{BoxFuture, FutureExt as _, Shared};
use parking_lot::Mutex;

use super::record::Record;
use crate::base::{DeploymentId, Error, Kind, ModelId};
use crate::cache::Key;
use crate::chat::Answer;
use crate::dispatch::{Attempt, Piece, StreamEnd};

/// What requests must share to fly together: the key of the answer, and how it is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Route {
    pub(super) key: Key,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

/// Requests in one flight; more fly in the next.
const SEATS: usize = 10_000;
/// Bytes of an answer up to which others may still get in.
const BUFFER: usize = 4 << 20;

/// The flights under way.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<Route, Weak<Flight>>>);

/// One flight.
pub(super) struct Flight {
    landing: Shared<BoxFuture<'static, Arc<Landed>>>,
    seats: AtomicUsize,
    flights: Arc<Flights>,
    route: Route,
}

impl std::fmt::Debug for Flight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flight").field("seats", &self.seats).finish_non_exhaustive()
    }
}

/// A request's place in a flight.
pub(super) enum Seat {
    /// It flies; its record is on board.
    First(Arc<Flight>),
    /// It sits with others and keeps its record.
    Beside(Arc<Flight>, Record),
}

impl Flights {
    /// Takes a seat in the flight of this route, or sets one off with `set_off`.
    pub(super) fn board<F>(self: &Arc<Self>, route: Route, record: Record, set_off: impl FnOnce(Record) -> F) -> Seat
    where
        F: Future<Output = Landed> + Send + 'static,
    {
        // Declared before the lock and so dropped after it: the last holder of a flight takes the lock.
        let known;
        let mut open = self.0.lock();
        known = open.get(&route).and_then(Weak::upgrade);
        if let Some(flight) = known.as_ref().filter(|flight| flight.takes_more()) {
            flight.seats.fetch_add(1, Ordering::Relaxed);
            return Seat::Beside(Arc::clone(flight), record);
        }
        let landing = set_off(record).map(Arc::new).boxed().shared();
        let flight = Arc::new(Flight { landing, seats: AtomicUsize::new(1), flights: Arc::clone(self), route });
        open.insert(route, Arc::downgrade(&flight));
        Seat::First(flight)
    }
}

impl Flight {
    /// Waits until there is an answer, or its first bytes, or an error.
    pub(super) async fn landed(&self) -> Arc<Landed> {
        self.landing.clone().await
    }

    fn takes_more(&self) -> bool {
        let room = self.seats.load(Ordering::Relaxed) < SEATS;
        room && self.landing.peek().is_none_or(|landed| match &landed.what {
            What::Stream(flow) => flow.state.lock().takes_more(),
            What::Whole(_) => true,
            What::Failed(_) => false,
        })
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut open = self.flights.0.lock();
        if open.get(&self.route).is_some_and(|flight| flight.strong_count() == 0) {
            open.remove(&self.route);
        }
    }
}

/// What came of a call.
pub(super) struct Landed {
    pub(super) what: What,
    /// Who answered, with which model; `None` for an error and from memory.
    pub(super) served: Option<(DeploymentId, Option<ModelId>)>,
    /// The provider's own id of the request.
    pub(super) upstream_request_id: Option<String>,
    /// The record of the request that flew, unless it is with its client.
    book: Mutex<Option<Record>>,
}

/// An answer, a stream or an error, for all.
pub(super) enum What {
    Whole(Box<(Bytes, Answer)>),
    Stream(Arc<Flow>),
    Failed(Box<Error>),
}

impl Landed {
    pub(super) fn new(what: What, record: Record) -> Self {
        Self { what, served: None, upstream_request_id: None, book: Mutex::new(Some(record)) }
    }

    /// From this deployment, under the provider's own id of the request.
    pub(super) fn by(mut self, served: (DeploymentId, Option<ModelId>), upstream_request_id: Option<String>) -> Self {
        (self.served, self.upstream_request_id) = (Some(served), upstream_request_id);
        self
    }

    /// The record of the request that flew, for its client; `None` if it was taken before.
    pub(super) fn take_record(&self) -> Option<Record> {
        self.book.lock().take()
    }

    /// Leaves the record of a client that hung up on board.
    pub(super) fn leave(&self, record: Record) {
        *self.book.lock() = Some(record);
    }
}

impl Drop for Landed {
    fn drop(&mut self) {
        let Some(mut record) = self.book.get_mut().take() else { return };
        // Nobody is left. A call under way is cancelled first, so that its attempt is in the journal.
        match &self.what {
            What::Stream(flow) => {
                let mut state = flow.state.lock();
                state.stream = None;
                if let Some(end) = state.end.take() {
                    record.keep_instead(&state.pieces);
                    if end.error.is_some() {
                        record.keep = None;
                    }
                    record.answer = Some(end.answer);
                    record.answered_others = true;
                }
            }
            What::Whole(_) => record.answered_others = true,
            What::Failed(_) => {}
        }
    }
}

/// A stream that many read.
pub(super) struct Flow {
    state: Mutex<State>,
    bell: Arc<Bell>,
    readers: AtomicU64,
}

struct State {
    stream: Option<Pin<Box<dyn Stream<Item = Piece> + Send>>>,
    pieces: Vec<Bytes>,
    size: usize,
    end: Option<Ended>,
}

impl State {
    fn takes_more(&self) -> bool {
        self.size <= BUFFER && self.end.as_ref().is_none_or(|end| end.error.is_none())
    }
}

/// How it ended, to be told to every reader.
#[derive(Clone)]
struct Ended {
    answer: Answer,
    attempt: Option<Attempt>,
    error: Option<(Kind, String)>,
}

impl Flow {
    pub(super) fn new(stream: Pin<Box<dyn Stream<Item = Piece> + Send>>) -> Arc<Self> {
        let state = State { stream: Some(stream), pieces: Vec::new(), size: 0, end: None };
        Arc::new(Self { state: Mutex::new(state), bell: Arc::default(), readers: AtomicU64::new(0) })
    }

    /// A reader from the first byte on. Keeps the flight in the air.
    pub(super) fn reader(self: &Arc<Self>, flight: Arc<Flight>, landed: Arc<Landed>) -> Reader {
        let id = self.readers.fetch_add(1, Ordering::Relaxed);
        Reader { flow: Arc::clone(self), id, at: 0, ended: false, _aboard: (flight, landed) }
    }
}

/// Wakes all who wait for the stream.
#[derive(Default)]
struct Bell(Mutex<HashMap<u64, Waker>>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let waiting = std::mem::take(&mut *self.0.lock());
        waiting.into_values().for_each(Waker::wake);
    }
}

/// One reader of a shared stream.
pub(super) struct Reader {
    flow: Arc<Flow>,
    id: u64,
    at: usize,
    ended: bool,
    _aboard: (Arc<Flight>, Arc<Landed>),
}

impl Stream for Reader {
    type Item = Piece;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        let flow = Arc::clone(&self.flow);
        let mut state = flow.state.lock();
        loop {
            if let Some(piece) = state.pieces.get(self.at) {
                self.at += 1;
                return Poll::Ready(Some(Piece::Bytes(piece.clone())));
            }
            if let Some(end) = &state.end {
                let over = std::mem::replace(&mut self.ended, true);
                return Poll::Ready(end.told().filter(|_| !over));
            }
            flow.bell.0.lock().insert(self.id, context.waker().clone());
            let waker = Waker::from(Arc::clone(&flow.bell));
            let Some(stream) = &mut state.stream else { return Poll::Ready(None) };
            match std::task::ready!(stream.as_mut().poll_next(&mut Context::from_waker(&waker))) {
                Some(Piece::Bytes(bytes)) => {
                    state.size += bytes.len();
                    state.pieces.push(bytes);
                }
                Some(Piece::End(end)) => {
                    let StreamEnd { answer, attempt, error } = *end;
                    let error = error.map(|error| (error.kind, error.message));
                    state.end = Some(Ended { answer, attempt: Some(attempt), error });
                    state.stream = None;
                }
                // It ended without saying how, against its promise.
                None => {
                    let error = Some((Kind::Internal, "the stream ended without a word".to_owned()));
                    state.end = Some(Ended { answer: Answer::default(), attempt: None, error });
                    state.stream = None;
                }
            }
            waker.wake();
        }
    }
}

impl Ended {
    fn told(&self) -> Option<Piece> {
        let error = self.error.as_ref().map(|(kind, message)| Error::new(*kind, message.clone()));
        let Self { answer, attempt, .. } = self.clone();
        Some(Piece::End(Box::new(StreamEnd { answer, attempt: attempt?, error })))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let bell = &self.flow.bell;
        bell.0.lock().remove(&self.id);
        // It may have been the one whom the call was about to wake.
        Arc::clone(bell).wake();
    }
}

/// The error once more, for another request.
pub(super) fn again(error: &Error) -> Error {
    let copy = Error::new(error.kind, error.message.clone()).with_retry_after(error.retry_after);
    Error { param: error.param.clone(), ..copy }
}
