//! The wire: [`Message`]s as bytes and back. `WIRE.md` is the same for people, with every message
//! as an example.
//!
//! A frame is `u32 length | header | annex | body`. The **body is the human-readable line**
//! (`COORDINATOR:peer3`), the annex carries in binary what makes the line safe to act on: epochs,
//! numbers, lineages, views. What stands in both must agree, so that nobody is misled by reading
//! only one of them. In a run, payloads are concatenated at the end of the body and their lengths
//! stand in the annex; a decoded payload is a slice of its frame, never a copy.
//!
//! Pure, and total: any bytes give a message or a [`WireError`], never a panic, and never more
//! memory than a small multiple of the frame. Knows nothing of links, of who may say what (see
//! `node`), or of sockets.

mod annex;
mod body;
mod cutter;
mod group;
mod run;
#[cfg(test)]
pub(crate) mod tests;
mod verb;

use bytes::Bytes;

use crate::error::WireError;
use crate::id::{Contact, Epoch, PeerId, Seq};
use crate::wire::message::{Datagram, Message, WIRE_VERSION};

use annex::{Annex, put};
use body::{Body, Text};
use verb::Verb;

pub use cutter::Cutter;

/// The first bytes of every header. The first one is no ASCII and no UTF-8 start, so no text
/// protocol begins like this.
pub const MAGIC: [u8; 4] = [0xD5, b'S', b'E', b'N'];

/// The header's size in bytes; no frame is shorter.
pub const HEADER: usize = 12;

/// The largest frame, without its length prefix: the largest payload there can be (16 MiB), and as
/// much again for the rest.
pub const FRAME_MAX: usize = 32 << 20;

/// The largest first frame of a stream: a HELLO or a refusal. Nobody gets more memory than this
/// before a HELLO.
pub const FIRST_FRAME_MAX: usize = 4 << 10;

/// The largest frame of a peer that is in no view of the reader, and that the reader has not asked
/// for anything.
pub const SMALL_FRAME_MAX: usize = 64 << 10;

/// The most entries, or requests, in one run; one entry may hold many readings. With [`FRAME_MAX`]
/// it is what whoever builds runs has to keep to.
pub const RUN_MAX: usize = 1 << 16;

/// Appends one whole frame, with its length in front.
///
/// # Panics
/// If the frame would be larger than [`FRAME_MAX`], or a run longer than [`RUN_MAX`]: the builder
/// of the run forgot its bound.
pub fn encode(message: &Message, out: &mut Vec<u8>) {
    let prefix = out.len();
    out.reserve(run::weight(message));
    out.extend_from_slice(&[0; PREFIX]);
    write_frame(message, None, out);
    let length = out.len() - prefix - PREFIX;
    assert!(
        length <= FRAME_MAX,
        "{}: a frame of {length} bytes; runs end at {FRAME_MAX}",
        message.verb()
    );
    patch(out, prefix, length);
}

/// The same in pieces, to be written one right behind the other: large payloads are shared with the
/// message, not copied.
///
/// # Panics
/// As [`encode`].
#[must_use]
pub fn encode_shared(message: &Message) -> Vec<Bytes> {
    let mut out = Vec::with_capacity(HEAD_BYTES + run::weight_copied(message));
    out.extend_from_slice(&[0; PREFIX]);
    write_head(message, None, &mut out);
    let mut pieces = run::share_payloads(message, out);
    let length = pieces.length - PREFIX;
    assert!(
        length <= FRAME_MAX,
        "{}: a frame of {length} bytes; runs end at {FRAME_MAX}",
        message.verb()
    );
    patch(&mut pieces.first, 0, length);
    std::iter::once(Bytes::from(pieces.first)).chain(pieces.others).collect()
}

/// Reads one frame, without its length.
///
/// # Errors
/// [`WireError`]; the frame is of no use then, but the stream it came from can be read on.
pub fn decode(frame: &Bytes) -> Result<Message, WireError> {
    let (header, mut annex, body) = open(frame)?;
    if header.flags != 0 {
        return Err(WireError::Flags { flags: header.flags });
    }
    read(header.verb, &mut annex, body)
}

/// One whole datagram. Not bounded here: what fits a network's packets is for those to judge who
/// broadcast.
///
/// # Panics
/// As [`encode`].
#[must_use]
pub fn encode_datagram(datagram: &Datagram) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&datagram.message, Some(datagram), &mut out);
    out
}

/// Reads one datagram.
///
/// # Errors
/// [`WireError`]; the datagram is of no use then.
pub fn decode_datagram(datagram: &Bytes) -> Result<Datagram, WireError> {
    let (header, mut annex, body) = open(datagram)?;
    if header.flags != FLAG_DATAGRAM {
        return Err(WireError::Flags { flags: header.flags });
    }
    let (cluster, from, Count(count)): (u64, Contact, Count) = annex.take()?;
    Ok(Datagram { cluster, from, count, message: read(header.verb, &mut annex, body)? })
}

/// A sender's own count.
#[derive(serde::Deserialize)]
struct Count(#[serde(deserialize_with = "crate::bounded::number")] u64);

/// What of the header matters once it has been checked.
struct Header {
    verb: Verb,
    flags: u8,
}

/// Checks the header and parts the annex from the body.
fn open(frame: &Bytes) -> Result<(Header, Annex<'_>, Body<'_>), WireError> {
    let Some((header, rest)) = frame.split_first_chunk::<HEADER>() else {
        // Random bytes are rather no magic than too short a frame.
        let shared = frame.len().min(MAGIC.len());
        return Err(if frame[..shared] == MAGIC[..shared] {
            length_error(frame.len(), FRAME_MAX)
        } else {
            WireError::Magic
        });
    };
    let [m0, m1, m2, m3, version, code, flags, tag, a0, a1, a2, a3] = *header;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(WireError::Magic);
    }
    if version != WIRE_VERSION {
        return Err(WireError::Version { theirs: version, ours: WIRE_VERSION });
    }
    if frame.len() > FRAME_MAX {
        return Err(length_error(frame.len(), FRAME_MAX));
    }
    let verb = Verb::from_code(code).ok_or(WireError::Verb { code })?;
    if tag != 0 {
        return Err(WireError::Tag { length: tag });
    }
    let announced = u32::from_be_bytes([a0, a1, a2, a3]) as usize;
    let annex = rest.get(..announced).ok_or(WireError::Truncated {
        verb: verb.name(),
        announced,
        held: rest.len(),
    })?;
    Ok((
        Header { verb, flags },
        Annex::new(verb, frame, annex),
        Body::new(verb, frame, HEADER + announced),
    ))
}

/// Header, annex and body; with the facts of a datagram first in the annex where it is one.
fn write_frame(message: &Message, datagram: Option<&Datagram>, out: &mut Vec<u8>) {
    write_head(message, datagram, out);
    run::write_payloads(message, out);
}

/// All but the payloads.
fn write_head(message: &Message, datagram: Option<&Datagram>, out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    let flags = if datagram.is_some() { FLAG_DATAGRAM } else { 0 };
    let tag_length = 0;
    out.extend_from_slice(&[WIRE_VERSION, Verb::of(message).code(), flags, tag_length]);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    if let Some(Datagram { cluster, from, count, .. }) = datagram {
        put(&(cluster, from, count), out);
    }
    write_annex(message, out);
    let length = out.len() - at - 4;
    patch(out, at, length);
    body::write(message, &mut Text(out)).expect("a Vec takes any text");
}

fn write_annex(message: &Message, out: &mut Vec<u8>) {
    match message {
        Message::Hello(hello) => put(hello, out),
        Message::NewPeerRequest(join) => put(join, out),
        Message::Added(added) => put(added, out),
        Message::Heartbeat(beat) => put(beat, out),
        Message::HeartbeatAck(ack) => put(ack, out),
        Message::Election(election) => put(election, out),
        Message::Ok { ask } | Message::Clear { ask } | Message::ViewSyncRequest { ask } => {
            put(ask, out)
        }
        Message::Coordinator(word) => put(word, out),
        Message::SeqSyncRequest(request) => put(request, out),
        Message::SeqSyncResponse(answer) => put(answer, out),
        Message::SeqSyncFinal(last) => put(last, out),
        Message::SequencerRequest(requests) => run::write_requests(requests, out),
        Message::Ordered(ordered) => run::write_ordered(ordered, out),
        Message::OrderedAck { epoch, contiguous } => put(&(epoch, contiguous), out),
        Message::MissingSeqRequest(missing) => put(missing, out),
        Message::MissingSeqNotFound(missing) => put(missing, out),
        Message::Rejected(no) => put(no, out),
        Message::Leave => {}
        Message::Handover { successor, epoch } => put(&(successor, epoch), out),
        Message::Query { ask, question: text } | Message::Answer { ask, answer: text } => {
            put(&(ask, text), out)
        }
    }
}

/// Reads what is left of the annex, and the body beside it.
fn read(verb: Verb, annex: &mut Annex<'_>, mut body: Body<'_>) -> Result<Message, WireError> {
    let message = match verb {
        Verb::Hello => Message::Hello(annex.take()?),
        Verb::NewPeerRequest => Message::NewPeerRequest(annex.take()?),
        Verb::Added => Message::Added(annex.take()?),
        Verb::Heartbeat => Message::Heartbeat(annex.take()?),
        Verb::HeartbeatAck => Message::HeartbeatAck(annex.take()?),
        Verb::Election => Message::Election(annex.take()?),
        Verb::Ok => Message::Ok { ask: annex.take()? },
        Verb::Clear => Message::Clear { ask: annex.take()? },
        Verb::Coordinator => Message::Coordinator(annex.take()?),
        Verb::ViewSyncRequest => Message::ViewSyncRequest { ask: annex.take()? },
        Verb::SeqSyncRequest => Message::SeqSyncRequest(annex.take()?),
        Verb::SeqSyncResponse => Message::SeqSyncResponse(annex.take()?),
        Verb::SeqSyncFinal => Message::SeqSyncFinal(annex.take()?),
        Verb::SequencerRequest => {
            return run::read_requests(annex, body).map(Message::SequencerRequest);
        }
        Verb::Ordered => return run::read_ordered(annex, body).map(Message::Ordered),
        Verb::OrderedAck => {
            let (epoch, contiguous): (Epoch, Seq) = annex.take()?;
            Message::OrderedAck { epoch, contiguous }
        }
        Verb::MissingSeqRequest => Message::MissingSeqRequest(annex.take()?),
        Verb::MissingSeqNotFound => Message::MissingSeqNotFound(annex.take()?),
        Verb::Rejected => Message::Rejected(annex.take()?),
        Verb::Leave => Message::Leave,
        Verb::Handover => {
            let (successor, epoch): (PeerId, Epoch) = annex.take()?;
            Message::Handover { successor, epoch }
        }
        Verb::Query => {
            let (ask, question) = annex.take()?;
            Message::Query { ask, question }
        }
        Verb::Answer => {
            let (ask, answer) = annex.take()?;
            Message::Answer { ask, answer }
        }
    };
    annex.end()?;
    body.expect(|out| body::write(&message, out))?;
    body.end()?;
    Ok(message)
}

/// Fills in a length that was not known when its place was written.
fn patch(out: &mut [u8], at: usize, length: usize) {
    let length = u32::try_from(length).expect("four gigabytes of log do not get into one message");
    out[at..at + PREFIX].copy_from_slice(&length.to_be_bytes());
}

fn length_error(length: usize, most: usize) -> WireError {
    WireError::Length { length, least: HEADER, most }
}

/// The size of a length.
const PREFIX: usize = 4;
/// What a frame takes without runs, mostly.
const HEAD_BYTES: usize = 256;

/// Set in datagrams, whose annex begins with who speaks. All other flags are reserved; 0x01 is for
/// the tag.
const FLAG_DATAGRAM: u8 = 0x02;
