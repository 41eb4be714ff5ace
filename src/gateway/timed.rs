//! How long a future works, apart from how long it waits.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::base::Clock;

/// A future that adds up the time its polls take. The rest of its life is waiting: for an upstream, mostly.
pub(super) struct Timed<F> {
    future: Pin<Box<F>>,
    clock: Arc<dyn Clock>,
    worked: Duration,
}

impl<F: Future> Timed<F> {
    pub(super) fn new(future: F, clock: Arc<dyn Clock>) -> Self {
        Self { future: Box::pin(future), clock, worked: Duration::ZERO }
    }
}

impl<F: Future> Future for Timed<F> {
    /// What the future gives, and how long it worked for it.
    type Output = (F::Output, Duration);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let start = self.clock.monotonic();
        let polled = self.future.as_mut().poll(context);
        let took = self.clock.monotonic().saturating_sub(start);
        self.worked += took;
        polled.map(|output| (output, self.worked))
    }
}
