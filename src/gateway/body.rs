//! The answer's bytes on their way out, with the record of the request inside: when the last byte has been taken, or
//! the body is dropped, the request has ended.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::flight::{Landed, Reader};
use super::record::Record;
use crate::base::{Clock, Kind};
use crate::dispatch::{Piece, StreamEnd};
use crate::ledger::Outcome;

/// The body of an answer. Bytes go out as they come in, unbuffered.
pub struct Body {
    // Declared before `record`, so that it is dropped first: an attempt that is cut short must be in the journal
    // when the record closes its books.
    source: Source,
    record: Option<Record>,
    /// The flight in which the record is left if the client hangs up while others still read.
    aboard: Option<Arc<Landed>>,
    clock: Arc<dyn Clock>,
}

enum Source {
    Whole(Option<Bytes>),
    Pieces(std::vec::IntoIter<Bytes>),
    Stream(Pin<Box<dyn Stream<Item = Piece> + Send>>),
}

impl Body {
    /// A whole answer; its record says already how it ends.
    pub(super) fn whole(bytes: Bytes, record: Record, clock: Arc<dyn Clock>) -> Self {
        Self { source: Source::Whole(Some(bytes)), record: Some(record), aboard: None, clock }
    }

    /// An answer from memory, in pieces.
    pub(super) fn pieces(pieces: Vec<Bytes>, record: Record, clock: Arc<dyn Clock>) -> Self {
        Self { source: Source::Pieces(pieces.into_iter()), record: Some(record), aboard: None, clock }
    }

    /// An answer as it comes.
    pub(super) fn stream(
        stream: Pin<Box<dyn Stream<Item = Piece> + Send>>,
        record: Record,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { source: Source::Stream(stream), record: Some(record), aboard: None, clock }
    }

    /// The stream that others read too, for the client whose request made the call.
    pub(super) fn shared(stream: Reader, record: Record, aboard: Arc<Landed>, clock: Arc<dyn Clock>) -> Self {
        Self { source: Source::Stream(Box::pin(stream)), record: Some(record), aboard: Some(aboard), clock }
    }

    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match &mut self.source {
            Source::Whole(bytes) => Poll::Ready(bytes.take()),
            Source::Pieces(pieces) => Poll::Ready(pieces.next()),
            Source::Stream(stream) => match std::task::ready!(stream.as_mut().poll_next(context)) {
                Some(Piece::Bytes(bytes)) => {
                    if let Some(record) = &mut self.record {
                        record.keep(&bytes);
                    }
                    Poll::Ready(Some(bytes))
                }
                Some(Piece::End(end)) => {
                    self.end(*end);
                    Poll::Ready(None)
                }
                // It ended without saying how, against its promise.
                None => {
                    if let Some(record) = &mut self.record {
                        record.ends(Outcome::Broken(Kind::Internal));
                    }
                    Poll::Ready(None)
                }
            },
        }
    }

    /// The stream said how it ended.
    fn end(&mut self, end: StreamEnd) {
        let Some(record) = &mut self.record else { return };
        record.answer = Some(end.answer);
        match end.error {
            None => record.ends(Outcome::Served),
            Some(error) => {
                super::count::error(error.kind);
                record.keep = None;
                record.ends(Outcome::Broken(error.kind));
            }
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // Without a flight the record stays, to be dropped after the source.
        if let Some(aboard) = self.aboard.clone()
            && let Some(record) = self.record.take()
        {
            aboard.leave(record);
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let start = self.clock.monotonic();
        let polled = self.next(context);
        let now = self.clock.monotonic();
        let whole = matches!(self.source, Source::Whole(_));
        if let Some(record) = &mut self.record {
            record.resumes(start, Duration::ZERO);
            record.waits_since(now);
            match &polled {
                Poll::Ready(Some(_)) => record.content_sent(),
                Poll::Ready(None) => record.ends(Outcome::Served),
                Poll::Pending => {}
            }
            // A whole answer has ended with its one piece: nobody asks for a second.
            if whole && polled.is_ready() {
                record.ends(Outcome::Served);
            }
        }
        if matches!(polled, Poll::Ready(None)) {
            self.record = None;
        }
        polled.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            _ => SizeHint::default(),
        }
    }
}
