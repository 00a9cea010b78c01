//! The readable part of a frame. There is one writer and no parser: a reader knows from the annex
//! what the text has to be, and compares. So the two can never say different things, and a body has
//! exactly one spelling.

use std::fmt;

use bytes::Bytes;

use crate::error::WireError;
use crate::id::Seq;
use crate::wire::message::Message;

use super::verb::Verb;

/// Writes a body, up to where payloads begin.
pub(super) fn write(message: &Message, out: &mut impl fmt::Write) -> fmt::Result {
    let verb = Verb::of(message).name();
    match message {
        Message::NewPeerRequest(join) => {
            write!(out, "{verb}:{}:{}", join.from.id(), join.from.address.port())
        }
        Message::Added(added) => write!(out, "{verb}:{}", added.snapshot.seq.next()),
        Message::Election(election) => write!(out, "{verb}:{}", election.candidate.id()),
        Message::Coordinator(word) => write!(out, "{verb}:{}", word.leader.id()),
        Message::SeqSyncResponse(answer) => write!(out, "{verb}:{}", answer.contiguous),
        Message::SeqSyncFinal(last) => write!(out, "{verb}:{}", last.cut),
        Message::SequencerRequest(_) => write_requests_prefix(out),
        Message::Ordered(ordered) => write_ordered_prefix(ordered.first, ordered.positions(), out),
        Message::OrderedAck { contiguous, .. } => write!(out, "{verb}:{contiguous}"),
        Message::MissingSeqRequest(missing) => {
            write!(out, "{verb}:{}-{}", missing.from, missing.to)
        }
        Message::Rejected(no) => write!(out, "{verb}:{}", no.reason.name()),
        Message::Handover { successor, .. } => write!(out, "{verb}:{successor}"),
        Message::Hello(_)
        | Message::Heartbeat(_)
        | Message::HeartbeatAck(_)
        | Message::Ok { .. }
        | Message::Clear { .. }
        | Message::ViewSyncRequest { .. }
        | Message::SeqSyncRequest(_)
        | Message::MissingSeqNotFound(_)
        | Message::Leave
        | Message::Query { .. }
        | Message::Answer { .. } => out.write_str(verb),
    }
}

/// What goes before the payloads of requests.
pub(super) fn write_requests_prefix(out: &mut impl fmt::Write) -> fmt::Result {
    write!(out, "{}:", Verb::SequencerRequest.name())
}

/// What goes before the payloads of entries.
pub(super) fn write_ordered_prefix(
    first: Seq,
    count: u64,
    out: &mut impl fmt::Write,
) -> fmt::Result {
    write!(out, "{}:{first}", Verb::Ordered.name())?;
    if count != 1 {
        write!(out, "-{}", first.plus(count).previous())?;
    }
    out.write_str(":")
}

/// Text on its way into bytes.
pub(super) struct Text<'a>(pub(super) &'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// The part of a body that is still unread.
pub(super) struct Body<'a> {
    verb: Verb,
    frame: &'a Bytes,
    start: usize,
    at: usize,
}

impl<'a> Body<'a> {
    /// The bytes of `frame` from `start` on.
    pub(super) fn new(verb: Verb, frame: &'a Bytes, start: usize) -> Self {
        Self { verb, frame, start, at: start }
    }

    /// Reads the text that `write` writes, and no other.
    pub(super) fn expect(
        &mut self,
        write: impl FnOnce(&mut Matching<'a>) -> fmt::Result,
    ) -> Result<(), WireError> {
        let mut matching = Matching { rest: &self.frame[self.at..] };
        write(&mut matching).map_err(|fmt::Error| self.error())?;
        self.at = self.frame.len() - matching.rest.len();
        Ok(())
    }

    /// The next `length` bytes, shared with the frame.
    pub(super) fn take(&mut self, length: usize) -> Result<Bytes, WireError> {
        let held = self.frame.len() - self.at;
        if length > held {
            return Err(WireError::Truncated { verb: self.verb.name(), announced: length, held });
        }
        let taken = self.frame.slice(self.at..self.at + length);
        self.at += length;
        Ok(taken)
    }

    /// There must be nothing left.
    pub(super) fn end(&self) -> Result<(), WireError> {
        if self.at == self.frame.len() { Ok(()) } else { Err(self.error()) }
    }

    /// Whether readings that weigh so much are less than half of the frame, which would be kept for
    /// the sake of them.
    pub(super) fn is_mostly_else(&self, weight: u64) -> bool {
        2 * weight < self.frame.len() as u64
    }

    fn error(&self) -> WireError {
        let body = &self.frame[self.start..];
        WireError::body(self.verb.name(), self.verb.form(), body)
    }
}

/// Compares what is written with what is there.
pub(super) struct Matching<'a> {
    rest: &'a [u8],
}

impl fmt::Write for Matching<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.rest = self.rest.strip_prefix(text.as_bytes()).ok_or(fmt::Error)?;
        Ok(())
    }
}
