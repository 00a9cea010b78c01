//! Recordings: all inputs of a peer's node, so that a finished run can be replayed step by step
//! (`peer replay`).
//!
//! The node is a value: the same inputs at the same times give the same outputs. So its creation
//! and its inputs are all there is to keep. A recording is a sequence of records, `u32 length |
//! entry`, in postcard: a *life* (the node's parameters, as JSON, so that `strings` shows it), then
//! each input with its time, messages in the form of the wire; and the few notes of the shell
//! itself. A restarted process adds a life to the same file.
//!
//! A torn record at the end is normal after a kill. The file grows for as long as the peer runs: it
//! is for tests and for the search for a defect, not for everyday use.

use std::io;
use std::path::{Path, PathBuf};

use bytes::{Buf as _, Bytes};
use log::LevelFilter;
use protocol::config::{Guarantee, Knobs};
use protocol::error::WireError;
use protocol::frame::{self, FRAME_MAX};
use protocol::id::{Contact, LinkId, Member};
use protocol::io::{Down, Input, Publication};
use protocol::message::{Message, WIRE_VERSION};
use protocol::note::Note;
use protocol::readings::Readings;
use protocol::time::Time;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::reader::Reader;
pub use self::recorder::Recorder;

mod reader;
mod recorder;

/// An entry of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A process starts here.
    Life(Box<Life>),
    /// A note of the shell itself, between two inputs.
    Told {
        /// When.
        at: Time,
        /// The note.
        note: Box<Note>,
    },
    /// An input of the node.
    Given {
        /// When.
        at: Time,
        /// How many outputs this node had produced before, in total: if a replay has another
        /// number, it has diverged.
        outputs: u64,
        /// The input.
        input: Input,
    },
}

/// The parameters of a node, and the settings of its notes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// The version of this format.
    pub format: u32,
    /// The version of the wire, which the recorded messages have.
    pub wire: u8,
    /// The first event of the process: its id, build, addresses.
    pub start: Note,
    /// Who the peer is.
    pub me: Contact,
    /// The knobs of the protocol.
    pub knobs: Knobs,
    /// The seed of the node's draws.
    pub seed: u64,
    /// When the node was created.
    pub now: Time,
    /// The same moment in microseconds since 1970 (UTC).
    pub utc: u64,
    /// Whether every single reading was reported.
    pub readings: bool,
    /// Whether the incarnation was stored.
    pub stores: bool,
    /// Whether the peer knew of an earlier life in a view.
    pub veteran: bool,
    /// The level of the human log.
    pub log_level: LevelFilter,
    /// How many bytes of a torn record were cut off in front of this life.
    pub torn: u64,
}

impl Life {
    /// The build that ran.
    #[must_use]
    pub fn build(&self) -> &str {
        if let Note::Start { build, .. } = &self.start { build } else { "" }
    }

    /// A moment of this life in microseconds since 1970.
    #[must_use]
    pub fn utc(&self, at: Time) -> u64 {
        self.utc.saturating_add(at.as_micros()).saturating_sub(self.now.as_micros())
    }
}

/// A file that is no recording, or one that cannot be read further.
#[derive(Debug, Error)]
#[error("{path}, byte {offset}: {what}", path = path.display())]
pub struct BadInputs {
    /// The file.
    pub path: PathBuf,
    /// The offset of the unreadable record.
    pub offset: u64,
    /// What is wrong with it.
    pub what: BadRecord,
}

/// What is wrong with a record.
#[derive(Debug, Error)]
pub enum BadRecord {
    /// The file cannot be read at all.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Not the first record of a recording.
    #[error("no recording starts here: is it a file that `peer run --inputs` wrote?")]
    NoRecording,
    /// An impossible length.
    #[error(
        "a record of {0} bytes; a record has 1 to {RECORD_MAX}: the file is damaged from here on"
    )]
    Length(u64),
    /// The bytes are no entry.
    #[error("the record cannot be read ({0}): the file is damaged from here on")]
    Entry(#[from] postcard::Error),
    /// A life that this build cannot read.
    #[error("the description of the peer cannot be read ({why}); it was recorded by build {build}, \
             this is build {ours}", ours = crate::BUILD)]
    Life {
        /// The build named in it.
        build: String,
        /// The parser's error.
        why: String,
    },
    /// An unknown note.
    #[error("a note cannot be read ({0}): was it recorded by another build?")]
    Note(serde_json::Error),
    /// A message that this build cannot read.
    #[error("a message cannot be read ({0}): was it recorded by another build?")]
    Message(#[from] WireError),
}

/// The command that replays a recording.
#[must_use]
pub fn replay_command(path: &Path) -> String {
    format!("peer replay {} --trace", path.display())
}

/// An entry in its written form.
#[derive(Deserialize, Serialize)]
enum Written {
    Life { json: String },
    Told { at: Time, json: String },
    Given { at: Time, outputs: u64, input: Given },
}

/// An input in its written form; messages as frames.
#[derive(Deserialize, Serialize)]
enum Given {
    /// Frames with their lengths, as the link carried them.
    Received {
        link: u64,
        frames: Bytes,
    },
    Heard {
        from: std::net::SocketAddrV4,
        datagram: Bytes,
    },
    LinkUp {
        link: u64,
    },
    LinkDown {
        link: u64,
        how: Ended,
    },
    DialFailed {
        link: u64,
        refused: bool,
    },
    Backlog {
        link: u64,
        full: bool,
    },
    Publish {
        publications: Vec<(Readings, Option<Guarantee>)>,
    },
    Leave,
    Wake,
    Moved {
        address: std::net::SocketAddrV4,
    },
    Clock {
        utc: u64,
    },
    Prioritised {
        explicit: i64,
    },
    Ask {
        ask: u64,
        question: Bytes,
    },
    Answer {
        to: Member,
        ask: u64,
        answer: Bytes,
    },
}

#[derive(Deserialize, Serialize)]
enum Ended {
    Closed,
    Reset,
    Garbage,
}

impl Given {
    fn of(input: &Input) -> Self {
        match input {
            Input::Received { link, messages } => {
                let mut frames = Vec::new();
                messages.iter().for_each(|message| frame::encode(message, &mut frames));
                Self::Received { link: link.0, frames: frames.into() }
            }
            Input::Heard { from, datagram } => {
                Self::Heard { from: *from, datagram: frame::encode_datagram(datagram).into() }
            }
            Input::LinkUp { link } => Self::LinkUp { link: link.0 },
            Input::LinkDown { link, how } => {
                let how = match how {
                    Down::Closed => Ended::Closed,
                    Down::Reset => Ended::Reset,
                    Down::Garbage => Ended::Garbage,
                };
                Self::LinkDown { link: link.0, how }
            }
            Input::DialFailed { link, refused } => {
                Self::DialFailed { link: link.0, refused: *refused }
            }
            Input::Backlog { link, full } => Self::Backlog { link: link.0, full: *full },
            Input::Publish { publications } => {
                let parts = |publication: &Publication| {
                    (publication.readings.clone(), publication.guarantee)
                };
                Self::Publish { publications: publications.iter().map(parts).collect() }
            }
            Input::Leave => Self::Leave,
            Input::Wake => Self::Wake,
            Input::Moved { address } => Self::Moved { address: *address },
            Input::Clock { utc } => Self::Clock { utc: *utc },
            Input::Prioritised { explicit } => Self::Prioritised { explicit: *explicit },
            Input::Ask { ask, question } => Self::Ask { ask: *ask, question: question.clone() },
            Input::Answer { to, ask, answer } => {
                Self::Answer { to: to.clone(), ask: *ask, answer: answer.clone() }
            }
        }
    }

    fn read(self) -> Result<Input, BadRecord> {
        Ok(match self {
            Self::Received { link, frames } => {
                Input::Received { link: LinkId(link), messages: messages(frames)? }
            }
            Self::Heard { from, datagram } => {
                Input::Heard { from, datagram: Box::new(frame::decode_datagram(&datagram)?) }
            }
            Self::LinkUp { link } => Input::LinkUp { link: LinkId(link) },
            Self::LinkDown { link, how } => {
                let how = match how {
                    Ended::Closed => Down::Closed,
                    Ended::Reset => Down::Reset,
                    Ended::Garbage => Down::Garbage,
                };
                Input::LinkDown { link: LinkId(link), how }
            }
            Self::DialFailed { link, refused } => Input::DialFailed { link: LinkId(link), refused },
            Self::Backlog { link, full } => Input::Backlog { link: LinkId(link), full },
            Self::Publish { publications } => {
                let whole = |(readings, guarantee)| Publication { readings, guarantee };
                Input::Publish { publications: publications.into_iter().map(whole).collect() }
            }
            Self::Leave => Input::Leave,
            Self::Wake => Input::Wake,
            Self::Moved { address } => Input::Moved { address },
            Self::Clock { utc } => Input::Clock { utc },
            Self::Prioritised { explicit } => Input::Prioritised { explicit },
            Self::Ask { ask, question } => Input::Ask { ask, question },
            Self::Answer { to, ask, answer } => Input::Answer { to, ask, answer },
        })
    }
}

/// The messages in a sequence of frames.
fn messages(mut frames: Bytes) -> Result<Vec<Message>, BadRecord> {
    let mut messages = Vec::new();
    while !frames.is_empty() {
        let length = frames.try_get_u32().map_or(usize::MAX, |length| length as usize);
        if length > frames.len() {
            return Err(postcard::Error::DeserializeUnexpectedEnd.into());
        }
        messages.push(frame::decode(&frames.split_to(length))?);
    }
    Ok(messages)
}

impl Entry {
    /// The record of an input, without its length.
    fn write_given(at: Time, outputs: u64, input: &Input, out: Vec<u8>) -> Vec<u8> {
        write(&Written::Given { at, outputs, input: Given::of(input) }, out)
    }

    fn write_told(at: Time, note: &Note, out: Vec<u8>) -> Vec<u8> {
        write(&Written::Told { at, json: json(note) }, out)
    }

    fn write_life(life: &Life, out: Vec<u8>) -> Vec<u8> {
        write(&Written::Life { json: json(life) }, out)
    }

    fn read(record: &[u8]) -> Result<Self, BadRecord> {
        Ok(match postcard::from_bytes(record)? {
            Written::Life { json } => Self::Life(Box::new(read_life(&json)?)),
            Written::Told { at, json } => {
                Self::Told { at, note: serde_json::from_str(&json).map_err(BadRecord::Note)? }
            }
            Written::Given { at, outputs, input } => {
                Self::Given { at, outputs, input: input.read()? }
            }
        })
    }
}

fn read_life(json: &str) -> Result<Life, BadRecord> {
    let bad = |why: String| {
        let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
        BadRecord::Life {
            build: value["start"]["build"].as_str().unwrap_or("unknown").to_owned(),
            why,
        }
    };
    let life: Life = serde_json::from_str(json).map_err(|error| bad(error.to_string()))?;
    if (life.format, life.wire) != (FORMAT, WIRE_VERSION) {
        return Err(bad(format!(
            "format {} and wire {}, not {FORMAT} and {WIRE_VERSION}",
            life.format, life.wire
        )));
    }
    Ok(life)
}

fn write(entry: &Written, out: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(entry, out)
        .expect("an entry is made of what postcard can say, and a Vec takes any length")
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("notes and lives are made of what JSON can say")
}

/// The version of this format.
pub const FORMAT: u32 = 3;
/// The largest record: one read of a link brings at most one frame and a little more.
const RECORD_MAX: u64 = 2 * FRAME_MAX as u64;
/// The length in front of a record, in bytes.
const PREFIX: usize = 4;

#[cfg(test)]
pub(crate) mod tests;
