//! One connection: bytes in, as lines; lines out, as bytes. Both directions are bounded.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::time::Instant;

use mio::net::UnixStream;

use super::subscription::Subscription;
use super::{Access, Ask};

/// A connected client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: UnixStream,
    pub(super) access: Access,
    input: Input,
    output: Vec<u8>,
    written: usize,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// Set once the other end reads nothing more. Its earlier requests are performed, although it
    /// does not get the answers.
    pub(super) hung_up: bool,
    /// Set once the other end has sent everything.
    ended: bool,
    /// Set once nothing more is read, and the connection closes when everything is written.
    pub(super) closing: bool,
    pub(super) subscriptions: BTreeMap<String, Subscription>,
    /// The subscription that comes first.
    pub(super) first: usize,
    /// Requests without a final answer.
    open: BTreeMap<String, Open>,
    /// How many of them have long answers.
    questions: usize,
    /// A request for which the loop had no room; nothing more is read before it is passed on.
    pub(super) postponed: Option<Ask>,
    pub(super) active_at: Instant,
}

/// Received bytes, as lines. Each byte is searched and moved once, however slowly or finely a
/// client cuts its lines.
#[derive(Debug)]
struct Input {
    bytes: Vec<u8>,
    /// The start of the unread bytes.
    begin: usize,
    /// The end of the first whole line, or the offset up to which there is no line end.
    end: Result<usize, usize>,
    /// How many bytes of an overlong line have been dropped.
    skipped: Option<u64>,
    /// The maximum length of a line.
    most: usize,
}

/// The kind of an open request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    Publish,
    Leave,
    /// A request whose answer may be long.
    Other,
}

/// A line, or its replacement.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Whole(Vec<u8>),
    TooLong(u64),
}

impl Input {
    fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), begin: 0, end: Err(0), skipped: None, most }
    }

    fn has_line(&self) -> bool {
        self.end.is_ok()
    }

    /// Bytes that belong to no line yet.
    fn rest(&self) -> usize {
        self.bytes.len() - self.begin
    }

    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.search();
    }

    fn search(&mut self) {
        if let Err(searched) = self.end {
            let found = self.bytes[searched..].iter().position(|byte| *byte == b'\n');
            self.end = found.map(|past| searched + past).ok_or(self.bytes.len());
        }
    }

    /// The next whole line.
    fn line(&mut self) -> Option<Line> {
        let Ok(end) = self.end else {
            if self.rest() > self.most || self.skipped.is_some() {
                self.skipped = Some(self.skipped.unwrap_or(0) + self.rest() as u64);
                self.forget();
            }
            return None;
        };
        let line = &self.bytes[self.begin..end];
        let line = match self.skipped.take() {
            Some(skipped) => Line::TooLong(skipped + line.len() as u64),
            None if line.len() > self.most => Line::TooLong(line.len() as u64),
            None => Line::Whole(line.to_vec()),
        };
        self.begin = end + 1;
        self.end = Err(self.begin);
        self.search();
        if self.rest() == 0 {
            self.forget();
        } else if !self.has_line() {
            self.bytes.drain(..self.begin);
            self.begin = 0;
            self.end = Err(self.bytes.len());
        }
        Some(line)
    }

    fn forget(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(READ_BYTES);
        self.begin = 0;
        self.end = Err(0);
    }
}

impl Client {
    pub(super) fn new(stream: UnixStream, access: Access, greeting: Vec<u8>, now: Instant) -> Self {
        let most = match access {
            Access::Full => LINE_MAX,
            Access::ReadOnly => QUESTION_MAX,
        };
        Self {
            stream,
            access,
            input: Input::new(most),
            output: greeting,
            written: 0,
            readable: true,
            writable: true,
            hung_up: false,
            ended: false,
            closing: false,
            subscriptions: BTreeMap::new(),
            first: 0,
            open: BTreeMap::new(),
            questions: 0,
            postponed: None,
            active_at: now,
        }
    }

    /// Reads available bytes, up to a bound.
    pub(super) fn fill(&mut self) {
        if !self.readable || self.ended || self.input.has_line() {
            return;
        }
        let mut chunk = [0; READ_BYTES];
        for _ in 0..READS_MOST {
            match self.stream.read(&mut chunk) {
                Ok(0) => self.ended = true,
                Ok(count) => self.input.add(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                // The client closed before it read everything sent to it, even if only the
                // greeting. Its own requests came before that.
                Err(_) => (self.ended, self.hung_up) = (true, true),
            }
            if !self.readable || self.ended || self.input.rest() > self.input.most {
                break;
            }
        }
    }

    /// The next whole line.
    pub(super) fn line(&mut self) -> Option<Line> {
        self.input.line()
    }

    /// The maximum length of its lines.
    pub(super) fn line_max(&self) -> usize {
        self.input.most
    }

    /// Whether its input may need attention.
    pub(super) fn may_have_more(&self) -> bool {
        self.may_be_read() && (self.input.has_line() || self.readable && !self.ended)
    }

    /// Whether more of its input may be read.
    pub(super) fn may_be_read(&self) -> bool {
        !self.closing && !self.is_full() && self.postponed.is_none()
    }

    /// How many bytes follow the last line end, after the client has gone; they are dropped.
    pub(super) fn take_torn(&mut self) -> Option<u64> {
        let left = self.input.skipped.unwrap_or(0) + self.input.rest() as u64;
        if !self.ended || left == 0 || self.input.has_line() {
            return None;
        }
        self.input.skipped = None;
        self.input.forget();
        Some(left)
    }

    /// Whether it needs nothing more: the client has gone, and everything is answered.
    pub(super) fn is_done(&self) -> bool {
        let is_written = self.output.is_empty();
        let asks_no_more = self.ended && !self.input.has_line() && self.postponed.is_none();
        let awaits_nothing = self.open.is_empty() && self.subscriptions.is_empty();
        asks_no_more && self.hung_up
            || is_written && (self.closing || asks_no_more && awaits_nothing)
    }

    /// Whether so many requests are unanswered that no more are read.
    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= OPEN_MAX
            || self.questions >= QUESTIONS_MAX
            || self.output.len() - self.written > ANSWERS_MAX
    }

    /// A request is passed on.
    pub(super) fn begin(&mut self, id: String, kind: Open) {
        self.questions += usize::from(kind == Open::Other);
        self.open.insert(id, kind);
    }

    /// Whether the request of that id is open.
    pub(super) fn has_open(&self, id: &str) -> bool {
        self.open.contains_key(id)
    }

    /// A request got its final answer; true if it was open.
    pub(super) fn finish(&mut self, id: &str) -> bool {
        let kind = self.open.remove(id);
        self.questions -= usize::from(kind == Some(Open::Other));
        kind.is_some()
    }

    /// Closes all open requests, and returns them.
    pub(super) fn finish_all(&mut self) -> BTreeMap<String, Open> {
        self.questions = 0;
        std::mem::take(&mut self.open)
    }

    /// The output buffer for answers.
    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// The subscriptions, and the output buffer for their records.
    pub(super) fn streams(&mut self) -> (&mut BTreeMap<String, Subscription>, &mut Vec<u8>) {
        (&mut self.subscriptions, &mut self.output)
    }

    /// Whether records may be added to the output.
    pub(super) fn has_room(&self) -> bool {
        self.output.len() < RECORDS_ROOM
    }

    /// Writes as much as possible.
    pub(super) fn flush(&mut self) {
        while self.writable && !self.hung_up && self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(_) => self.hung_up = true,
            }
        }
        if self.hung_up {
            // Nothing reads the output, so subscriptions and open requests end.
            self.subscriptions.clear();
            self.finish_all();
            self.written = self.output.len();
        }
        if self.written == self.output.len() {
            self.output.clear();
            self.output.shrink_to(RECORDS_ROOM);
            self.written = 0;
        } else if self.written > RECORDS_ROOM {
            self.output.drain(..self.written);
            self.written = 0;
        }
    }

    /// Whether it has no open request and no subscription.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.subscriptions.is_empty() && self.output.is_empty()
    }
}

/// The kernel's identification of the client, for messages about failed connections.
pub(super) fn who(stream: &UnixStream) -> String {
    let credentials =
        nix::sys::socket::getsockopt(stream, nix::sys::socket::sockopt::PeerCredentials);
    credentials.map_or_else(
        |_| "a client".to_owned(),
        |who| format!("process {} of user {}", who.pid(), who.uid()),
    )
}

/// The bytes of one read.
const READ_BYTES: usize = 16 << 10;
/// Reads per turn.
const READS_MOST: usize = 16;
/// The longest request: a reading of 1 MiB (`payload_max`) in base64, and its keys.
const LINE_MAX: usize = 2 << 20;
/// The longest request of a client that may not publish.
const QUESTION_MAX: usize = 64 << 10;
/// How many requests of one client may be open.
const OPEN_MAX: usize = 4_096;
/// How many of them may have long answers.
const QUESTIONS_MAX: usize = 64;
/// Bytes of answers that may wait for a client before no more of its requests are read.
const ANSWERS_MAX: usize = 256 << 10;
/// Bytes of records that are prepared for one client.
pub(super) const RECORDS_ROOM: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::{Input, Line};

    fn lines(most: usize, pieces: &[&[u8]]) -> (Vec<Line>, Input) {
        let mut input = Input::new(most);
        let mut lines = Vec::new();
        for piece in pieces {
            input.add(piece);
            while input.has_line() {
                lines.extend(input.line());
            }
            assert_eq!(input.line(), None);
        }
        (lines, input)
    }

    #[track_caller]
    fn check(most: usize, pieces: &[&str], expected: &[Result<&str, u64>], rest: usize) {
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
        let (lines, input) = lines(most, &pieces);
        let expected: Vec<Line> = expected
            .iter()
            .map(|line| match line {
                Ok(text) => Line::Whole(text.as_bytes().to_vec()),
                Err(bytes) => Line::TooLong(*bytes),
            })
            .collect();
        assert_eq!(lines, expected, "{pieces:?}");
        assert_eq!(input.skipped.unwrap_or(0) + input.rest() as u64, rest as u64, "{pieces:?}");
    }

    #[test]
    fn lines_are_what_stands_between_ends_of_lines_however_they_come() {
        check(8, &["ab\ncd\n"], &[Ok("ab"), Ok("cd")], 0);
        check(8, &["a", "b", "\n", "c"], &[Ok("ab")], 1);
        check(8, &["\n\n\r\n"], &[Ok(""), Ok(""), Ok("\r")], 0);
        check(8, &["12345678\n", "ab"], &[Ok("12345678")], 2);
        check(8, &["ab\nc", "d\ne", "f\n"], &[Ok("ab"), Ok("cd"), Ok("ef")], 0);
    }

    #[test]
    fn a_line_that_is_too_long_is_counted_and_not_kept() {
        check(8, &["123456789\nab\n"], &[Err(9), Ok("ab")], 0);
        check(8, &["12345", "6789", "abc", "\nx\n"], &[Err(12), Ok("x")], 0);
        check(8, &["123456789", "123456789"], &[], 18);
        let (_, input) = lines(8, &[&[b'x'; 100], &[b'x'; 100]]);
        assert!(input.bytes.is_empty(), "{}", input.bytes.len());
    }
}
