//! One connection: bytes in, as lines; lines out, as bytes. Bounded both ways.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::time::Instant;

use mio::net::UnixStream;

use super::Access;
use super::subscription::Subscription;

/// Somebody who is connected.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: UnixStream,
    pub(super) access: Access,
    input: Vec<u8>,
    /// How many bytes of a line that is too long have been thrown away.
    skipped: Option<u64>,
    output: Vec<u8>,
    written: usize,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// Set once the other end reads nothing more.
    pub(super) hung_up: bool,
    /// Set once the other end has said all that it has to say.
    ended: bool,
    /// Set once nothing more is to be read, and the connection is closed when everything is written.
    pub(super) closing: bool,
    pub(super) subscriptions: BTreeMap<String, Subscription>,
    /// Requests that the loop has not answered for good.
    pub(super) open: BTreeMap<String, Open>,
    pub(super) active_at: Instant,
}

/// What kind of request is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    Publish,
    Leave,
    Other,
}

/// A line, or what stands in its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Whole(Vec<u8>),
    TooLong(u64),
}

impl Client {
    pub(super) fn new(stream: UnixStream, access: Access, greeting: Vec<u8>, now: Instant) -> Self {
        Self {
            stream,
            access,
            input: Vec::new(),
            skipped: None,
            output: greeting,
            written: 0,
            readable: true,
            writable: true,
            hung_up: false,
            ended: false,
            closing: false,
            subscriptions: BTreeMap::new(),
            open: BTreeMap::new(),
            active_at: now,
        }
    }

    /// Reads what there is, up to a bound; false once the connection is broken.
    pub(super) fn fill(&mut self) -> bool {
        let mut chunk = [0; READ_BYTES];
        let mut budget = READS_MOST;
        while self.readable && !self.ended && budget > 0 && self.input.len() <= LINE_MAX {
            budget -= 1;
            match self.stream.read(&mut chunk) {
                Ok(0) => self.ended = true,
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(_) => return false,
            }
        }
        true
    }

    /// The next line that has been read whole.
    pub(super) fn line(&mut self) -> Option<Line> {
        let end = self.input.iter().position(|byte| *byte == b'\n');
        match (end, self.skipped) {
            (Some(end), skipped) => {
                let mut line: Vec<u8> = self.input.drain(..=end).collect();
                line.pop();
                self.skipped = None;
                match skipped {
                    Some(skipped) => Some(Line::TooLong(skipped + line.len() as u64)),
                    None if line.len() > LINE_MAX => Some(Line::TooLong(line.len() as u64)),
                    None => Some(Line::Whole(line)),
                }
            }
            (None, skipped) if self.input.len() > LINE_MAX || skipped.is_some() => {
                self.skipped = Some(skipped.unwrap_or(0) + self.input.len() as u64);
                self.input = Vec::new();
                None
            }
            (None, _) => None,
        }
    }

    /// Whether there may be more to read at once.
    pub(super) fn may_have_more(&self) -> bool {
        !self.closing && !self.is_full() && (self.input.contains(&b'\n') || self.readable && !self.ended)
    }

    /// How many bytes of an unfinished line are left, once its writer has gone.
    pub(super) fn torn(&self) -> Option<u64> {
        let left = self.skipped.unwrap_or(0) + self.input.len() as u64;
        (self.ended && left > 0 && !self.input.contains(&b'\n')).then_some(left)
    }

    /// Whether it wants nothing more: its writer has gone, and all is answered.
    pub(super) fn is_done(&self) -> bool {
        let is_written = self.output.is_empty();
        let asks_no_more = self.ended && !self.input.contains(&b'\n');
        let awaits_nothing = self.open.is_empty() && self.subscriptions.is_empty();
        // What a client has asked for before it hung up is done, although it does not hear of it.
        asks_no_more && self.hung_up || is_written && (self.closing || asks_no_more && awaits_nothing)
    }

    /// Whether it has so much to be answered that nothing more is read from it.
    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= OPEN_MAX || self.output.len() - self.written > ANSWERS_MAX
    }

    /// Where answers go.
    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// The subscriptions, and where their records go.
    pub(super) fn streams(&mut self) -> (&mut BTreeMap<String, Subscription>, &mut Vec<u8>) {
        (&mut self.subscriptions, &mut self.output)
    }

    /// Whether records may be added to the output.
    pub(super) fn has_room(&self) -> bool {
        self.output.len() < RECORDS_ROOM
    }

    /// Writes what there is; false once the connection is broken.
    pub(super) fn flush(&mut self) -> bool {
        while self.writable && self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(_) => return false,
            }
        }
        if self.written == self.output.len() {
            self.output.clear();
            self.output.shrink_to(RECORDS_ROOM);
            self.written = 0;
        } else if self.written > RECORDS_ROOM {
            self.output.drain(..self.written);
            self.written = 0;
        }
        true
    }

    /// Whether it neither wants nor awaits anything.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.subscriptions.is_empty() && self.output.is_empty()
    }
}

/// Whom the kernel says that this is; for messages about connections that go wrong.
pub(super) fn who(stream: &UnixStream) -> String {
    let credentials = nix::sys::socket::getsockopt(stream, nix::sys::socket::sockopt::PeerCredentials);
    credentials.map_or_else(|_| "a client".to_owned(), |who| format!("process {} of user {}", who.pid(), who.uid()))
}

/// The bytes of one read.
const READ_BYTES: usize = 16 << 10;
/// Reads in one turn.
const READS_MOST: usize = 16;
/// The longest request: a reading of `payload_max` in base64, and its keys.
pub(super) const LINE_MAX: usize = 2 << 20;
/// Requests of one client that may be open.
const OPEN_MAX: usize = 4_096;
/// Bytes of answers that may wait for a client before nothing more is read from it.
const ANSWERS_MAX: usize = 256 << 10;
/// Bytes of records that are made ready for one client.
pub(super) const RECORDS_ROOM: usize = 64 << 10;
