//! Server-sent events, cut from a byte stream as it arrives.
//!
//! By the standard (WHATWG HTML, "Parsing an event stream"): lines end in LF, CR or CRLF; an empty line ends an
//! event; `data` lines are joined by LF; lines that start with a colon are comments; one byte order mark at the
//! very start is skipped. What is kept beside it is the bytes themselves, so that a proxy can forward an event
//! exactly as it came.
//!
//! Two choices where the standard leaves room. After an empty line that ends in CR at the end of what has
//! arrived, the parser waits for the next byte, which may be the LF that belongs to it: cutting there would leave
//! an LF without an event. And a last event without its empty line comes out after [`Parser::finish`], where
//! the standard drops it: some servers end with a bare `data: [DONE]`.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// Greatest length of one event in bytes.
pub const MAX_EVENT: usize = 4 << 20;

/// UTF-8's byte order mark.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// An event grew beyond [`MAX_EVENT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a server-sent event is longer than {MAX_EVENT} bytes")]
pub struct TooLong;

/// One event, or a block of comments.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The `event` field; `None` where there is none, which means `message`.
    pub event: Option<Cow<'a, str>>,
    /// The `data` lines joined by line feeds; `None` if there is no such line: a comment, a ping.
    pub data: Option<Cow<'a, [u8]>>,
}

/// Cuts frames from bytes. [`Parser::push`] bytes, then call [`Parser::advance`] until it has no more; the bytes
/// of the frames it gave are then to be had in one piece from [`Parser::take`].
#[derive(Debug, Default)]
pub struct Parser {
    /// Everything that arrived and was not taken yet.
    buffer: Bytes,
    /// Where the last frame given starts, and where it ends.
    last: Range<usize>,
    /// Where the line that is being looked at starts.
    line: usize,
    /// How far it has been looked at.
    scanned: usize,
    /// Whether the first line of the stream is behind us.
    started: bool,
    /// Length of the byte order mark in front of the first frame.
    mark: usize,
}

impl Parser {
    /// A parser at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what arrived. Costs no copy while events arrive whole.
    pub fn push(&mut self, chunk: Bytes) {
        if self.buffer.is_empty() {
            self.buffer = chunk;
        } else {
            let held = std::mem::take(&mut self.buffer);
            let mut joined = held.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
            joined.extend_from_slice(&chunk);
            self.buffer = joined.freeze();
        }
    }

    /// The next whole frame, if there is one.
    ///
    /// # Errors
    /// [`TooLong`] when an event is longer than [`MAX_EVENT`]. The stream is of no use then.
    pub fn advance(&mut self) -> Result<Option<Frame<'_>>, TooLong> {
        while let Some((end, next)) = self.line_end() {
            let mut start = self.line;
            (self.line, self.scanned) = (next, next);
            if !self.started {
                self.started = true;
                if self.buffer[..end].starts_with(MARK) {
                    self.mark = MARK.len();
                    start = MARK.len();
                }
            }
            if start == end {
                let begin = self.last.end;
                if next - begin > MAX_EVENT {
                    return Err(TooLong);
                }
                self.last = begin..next;
                return Ok(Some(read(&self.buffer[begin + std::mem::take(&mut self.mark)..next])));
            }
        }
        if self.buffer.len() - self.last.end > MAX_EVENT { Err(TooLong) } else { Ok(None) }
    }

    /// The bytes of all frames given since the last call, in one piece, exactly as they arrived.
    pub fn take(&mut self) -> Bytes {
        let given = self.last.end;
        self.last = 0..0;
        self.line -= given;
        self.scanned -= given;
        self.buffer.split_to(given)
    }

    /// The same without the last frame, which is thrown away.
    pub fn take_but_last(&mut self) -> Bytes {
        let kept = self.last.start;
        let mut taken = self.take();
        taken.truncate(kept);
        taken
    }

    /// Says that the stream has ended: what stands there without an empty line behind it becomes a frame for
    /// [`Parser::advance`].
    pub fn finish(&mut self) {
        if self.buffer.len() > self.last.end {
            self.push(Bytes::from_static(b"\n\n"));
        }
    }

    /// Where the current line ends, and where the next one starts, if that can be told yet.
    fn line_end(&mut self) -> Option<(usize, usize)> {
        let rest = &self.buffer[self.scanned..];
        let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            self.scanned = self.buffer.len();
            return None;
        };
        let end = self.scanned + at;
        match (self.buffer[end], self.buffer.get(end + 1)) {
            (b'\n', _) => Some((end, end + 1)),
            (_, Some(b'\n')) => Some((end, end + 2)),
            (_, Some(_)) => Some((end, end + 1)),
            (_, None) => {
                self.scanned = end;
                None
            }
        }
    }
}

/// Reads the lines of one frame.
fn read(frame: &[u8]) -> Frame<'_> {
    let mut read = Frame { event: None, data: None };
    let mut rest = frame;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        let width = if after.starts_with(b"\r\n") { 2 } else { after.len().min(1) };
        rest = &after[width..];
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..])),
            None => (line, &[][..]),
        };
        match name {
            b"data" => match &mut read.data {
                None => read.data = Some(Cow::Borrowed(value)),
                Some(data) => {
                    let data = data.to_mut();
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            },
            b"event" if !value.is_empty() => read.event = Some(String::from_utf8_lossy(value)),
            _ => {}
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame's event and data.
    type Read = (Option<String>, Option<Vec<u8>>);

    /// What a reader of the stream sees, the bytes of every frame, and what is left over.
    fn frames(pieces: &[&[u8]]) -> (Vec<Read>, Vec<u8>) {
        let mut parser = Parser::new();
        let (mut seen, mut raw) = (Vec::new(), Vec::new());
        for piece in pieces {
            parser.push(Bytes::copy_from_slice(piece));
            while let Some(frame) = parser.advance().expect("short events") {
                seen.push((frame.event.map(Cow::into_owned), frame.data.map(Cow::into_owned)));
            }
            raw.extend_from_slice(&parser.take());
        }
        (seen, raw)
    }

    fn data(bytes: &[u8]) -> Vec<String> {
        let text = |data: Vec<u8>| String::from_utf8(data).expect("test data is text");
        frames(&[bytes]).0.into_iter().filter_map(|(_, data)| data.map(text)).collect()
    }

    #[test]
    fn the_examples_of_the_standard_are_read_as_it_says() {
        assert_eq!(data(b"data: YHOO\ndata: +2\ndata: 10\n\n"), ["YHOO\n+2\n10"]);
        // Three blocks: a comment with an event, a comment; an event with an empty line; the last is cut off.
        let stream = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event";
        assert_eq!(data(stream), ["first event", "second event"]);
        assert_eq!(data(b"data\n\ndata\ndata\n\ndata:"), ["", "\n"]);
        assert_eq!(data(b"data:test\n\ndata: test\n\n"), ["test", "test"]);
    }

    #[test]
    fn every_line_end_and_a_byte_order_mark_are_understood() {
        assert_eq!(data(b"\xef\xbb\xbfdata: a\r\ndata: b\r\n\r\n"), ["a\nb"]);
        assert_eq!(data(b"data: a\r\rdata: b\n\r\n"), ["a", "b"]);
        assert_eq!(data(b"\xef\xbb\xbf\ndata: a\n\n"), ["a"]);
    }

    #[test]
    fn an_unfinished_last_event_comes_out_at_the_end() {
        let mut parser = Parser::new();
        parser.push(Bytes::from_static(b"data: [DONE]"));
        assert_eq!(parser.advance(), Ok(None));
        parser.finish();
        let frame = parser.advance().expect("short").expect("there");
        assert_eq!(frame.data.as_deref(), Some(&b"[DONE]"[..]));
        assert_eq!(parser.take(), "data: [DONE]\n\n");
    }

    #[test]
    fn a_frame_can_be_left_out_of_what_is_forwarded() {
        let mut parser = Parser::new();
        parser.push(Bytes::from_static(b"data: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4"));
        parser.advance().expect("short");
        parser.advance().expect("short");
        assert_eq!(parser.take_but_last(), "data: 1\n\n");
        parser.advance().expect("short");
        assert_eq!(parser.take(), "data: 3\n\n");
        assert_eq!(parser.advance(), Ok(None));
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = Parser::new();
        parser.push(Bytes::from(vec![b'x'; MAX_EVENT]));
        assert_eq!(parser.advance(), Ok(None));
        parser.push(Bytes::from_static(b"x\n\n"));
        assert_eq!(parser.advance(), Err(TooLong));
    }

    /// Streams made of the pieces that matter, rather than of random bytes, which hardly ever hold an event.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(&b"\n"[..]),
            Just(&b"\r"[..]),
            Just(&b"\r\n"[..]),
            Just(&b"data: x"[..]),
            Just(&b"data"[..]),
            Just(&b": ping"[..]),
            Just(&b"event: error"[..]),
            Just(&b"\xef\xbb\xbf"[..]),
            Just(&b" "[..]),
            Just(&b"\xff"[..]),
            Just(&b"[DONE]"[..]),
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_split_reads_like_the_whole(stream in stream(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12)) {
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            places.extend([0, stream.len()]);
            places.sort_unstable();
            let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            let (seen, raw) = frames(&pieces);
            let (whole, whole_raw) = frames(&[&stream]);
            prop_assert_eq!(seen, whole);
            prop_assert_eq!(&raw, &whole_raw);
            prop_assert!(stream.starts_with(&raw), "the frames' bytes are the stream's");
        }
    }
}
