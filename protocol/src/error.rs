//! What can go wrong from outside, as values: what, where, and how to mend it. What only our own
//! mistake can cause is an `assert!` where it happens, never an error here.

use std::time::Duration;

use thiserror::Error;

/// A text that cannot be a peer id. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadId {
    /// Empty, or too long.
    #[error("a peer id has 1 to 64 characters, this one has {length}")]
    Length {
        /// Its length in bytes.
        length: usize,
    },
    /// A character outside the alphabet.
    #[error("peer id {name:?} holds {found:?}; use letters, digits, '.', '_' and '-'")]
    Character {
        /// The text.
        name: String,
        /// The first offending character.
        found: char,
    },
}

/// Bytes that are not a message. The frame is dropped, the node is untouched; a stream in which the
/// frames themselves cannot be told apart any more ([`WireError::Length`]) has to be closed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// The length prefix is outside its bounds, so the stream cannot be followed any further.
    #[error(
        "frame of {length} bytes; a frame has {least} to {most}: is the other end speaking this \
         protocol?"
    )]
    Length {
        /// What the prefix says.
        length: usize,
        /// The smallest frame.
        least: usize,
        /// The largest frame.
        most: usize,
    },
    /// Not our protocol at all.
    #[error("no magic number at the start: is the other end speaking this protocol?")]
    Magic,
    /// A build that speaks another wire version.
    #[error("wire version {theirs}, this build speaks {ours}: run the same build everywhere")]
    Version {
        /// What the frame says.
        theirs: u8,
        /// What this build speaks.
        ours: u8,
    },
    /// No message has this code.
    #[error("unknown verb code {code}: is the sender a newer build?")]
    Verb {
        /// The code.
        code: u8,
    },
    /// A flag that this build does not know, or a datagram's on a link, or a link's in a datagram.
    #[error("header flags {flags:#04x} mean nothing here: is the sender a newer build?")]
    Flags {
        /// The flags.
        flags: u8,
    },
    /// A tag, although there are no keys.
    #[error("a tag of {length} bytes, and this build has no keys: run the same build everywhere")]
    Tag {
        /// Its length.
        length: u8,
    },
    /// An annex or a payload is announced that is longer than what the frame still holds.
    #[error(
        "{verb}: {announced} bytes are announced, the frame holds {held}: was it cut short on its \
         way?"
    )]
    Truncated {
        /// The message's verb.
        verb: &'static str,
        /// Announced.
        announced: usize,
        /// Held.
        held: usize,
    },
    /// The annex does not hold what the verb needs.
    #[error("{verb}: the annex cannot be read: {why}")]
    Annex {
        /// The message's verb.
        verb: &'static str,
        /// The reader's words.
        why: String,
    },
    /// The body is not the text that the verb needs.
    #[error("{verb}: the body should be {expected}, got {got:?}")]
    Body {
        /// The message's verb.
        verb: &'static str,
        /// The form it should have.
        expected: &'static str,
        /// Its beginning.
        got: String,
    },
}

impl WireError {
    /// A wrong body, of which only the beginning is kept.
    pub(crate) fn body(verb: &'static str, expected: &'static str, got: &[u8]) -> Self {
        Self::Body {
            verb,
            expected,
            got: String::from_utf8_lossy(&got[..got.len().min(BODY_SHOWN)]).into_owned(),
        }
    }
}

/// How much of a wrong body is kept, in bytes.
const BODY_SHOWN: usize = 64;

/// A knob that cannot be what it was set to, alone or beside another one. Nothing was started.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A duration outside its bounds.
    #[error("{knob} is {got:?}; make it {least:?} to {most:?}")]
    Span {
        /// Its name.
        knob: &'static str,
        /// What it was set to.
        got: Duration,
        /// The least that works.
        least: Duration,
        /// The most that makes sense.
        most: Duration,
    },
    /// A count outside its bounds.
    #[error("{knob} is {got}; make it {least} to {most}")]
    Count {
        /// Its name.
        knob: &'static str,
        /// What it was set to.
        got: u64,
        /// The least that works.
        least: u64,
        /// The most that makes sense.
        most: u64,
    },
    /// A deadline that would pass between two heartbeats.
    #[error(
        "heartbeat_timeout is {timeout:?} and heartbeat_interval {interval:?}; make the timeout at \
         least twice the interval"
    )]
    Impatient {
        /// heartbeat_timeout.
        timeout: Duration,
        /// heartbeat_interval.
        interval: Duration,
    },
    /// A log that has no room for the views of its own group.
    #[error(
        "retain_bytes is {got}; the views of members_max = {members_max} members need {least} at \
         least: raise it, or lower members_max"
    )]
    Retention {
        /// retain_bytes.
        got: u64,
        /// The least that it may be.
        least: u64,
        /// members_max.
        members_max: u64,
    },
    /// Something that is none of a knob's choices.
    #[error("{knob} is {got:?}; make it {choices}")]
    Choice {
        /// Its name.
        knob: &'static str,
        /// What it was set to.
        got: String,
        /// What it can be.
        choices: &'static str,
    },
    /// Something that cannot be what a newcomer gets of the past.
    #[error("late_join is {got:?}; make it \"from_now\" or \"last N\", such as \"last 100\"")]
    LateJoin {
        /// What it was set to.
        got: String,
    },
    /// Mode `primary` without the names of those who found the group.
    #[error(
        "mode is primary and bootstrap names nobody; name the peers that found the group together, \
         such as bootstrap = [\"peer1\", \"peer2\", \"peer3\"], alike everywhere"
    )]
    Bootstrap,
    /// Founders by name where whoever is there founds the group.
    #[error(
        "bootstrap names {count} peers and mode is available, where whoever is there founds the \
         group; drop bootstrap or set mode to primary"
    )]
    NoBootstrap {
        /// How many are named.
        count: usize,
    },
    /// A cluster name outside its bounds.
    #[error("cluster {name:?} has {length} bytes; make it 1 to 64")]
    Cluster {
        /// The name.
        name: String,
        /// Its length in bytes.
        length: usize,
    },
}
