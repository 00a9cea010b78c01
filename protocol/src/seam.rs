//! The seam between the pure core and the world: everything that can happen to a node, and everything it can ask for.
//!
//! Both lists are closed. Within one call the node asks in the order *persist, send, deliver*; a shell that performs
//! the outputs one by one keeps that order.

use std::fmt;
use std::net::SocketAddrV4;

use bytes::Bytes;

use crate::guarantee::Guarantee;
use crate::id::{Epoch, Incarnation, LinkId, Member, Oseq, Seq, ViewId};
use crate::message::{Datagram, Message};
use crate::note::{Note, Refusal};

/// Everything that can happen to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Frames of one link, in order.
    Received {
        /// The link.
        link: LinkId,
        /// What came, oldest first.
        messages: Vec<Message>,
    },
    /// A datagram came in.
    Heard {
        /// Where it came from.
        from: SocketAddrV4,
        /// What it says.
        datagram: Box<Datagram>,
    },
    /// A connection stands: one that the node dialled, or one that somebody else did.
    LinkUp {
        /// The link.
        link: LinkId,
    },
    /// A connection is gone, without the node having hung up.
    LinkDown {
        /// The link.
        link: LinkId,
        /// In what way.
        how: Down,
    },
    /// A dial came to nothing.
    DialFailed {
        /// The link that will never be.
        link: LinkId,
        /// True only for "connection refused": the proof that no process listens there.
        refused: bool,
    },
    /// What is queued for a link has grown beyond what the shell wants to hold, or has drained again.
    Backlog {
        /// The link.
        link: LinkId,
        /// Whether bulk should wait.
        full: bool,
    },
    /// Readings of this peer's own, oldest first. What is there together is best given together: it goes to the sequencer in
    /// one frame. Where the window is full, the rest is left as it is, so that nothing overtakes.
    Publish {
        /// The readings.
        readings: Vec<Publication>,
    },
    /// Leave the group, then stop.
    Leave,
    /// The deadline has passed.
    Wake,
}

/// A reading of this peer's own that has no number yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Any bytes.
    pub payload: Bytes,
    /// Microseconds since 1970 (UTC).
    pub time: u64,
    /// When it is to be handed over; as the knob `delivery` says where nothing is said.
    pub guarantee: Option<Guarantee>,
}

/// In what way a connection went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// The other end closed it, or the kernel of the other machine did.
    Closed,
    /// It was reset or broke.
    Reset,
    /// Our side gave it up: unreadable frames.
    Garbage,
}

/// Everything a node can ask of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect; answer with `LinkUp` or `DialFailed`.
    Dial {
        /// The number that the link will have.
        link: LinkId,
        /// Where to.
        to: SocketAddrV4,
    },
    /// Close, after what is queued has been written; the node has forgotten the link already.
    HangUp {
        /// The link.
        link: LinkId,
    },
    /// Write a frame.
    Send {
        /// The link.
        link: LinkId,
        /// What to say.
        message: Message,
    },
    /// Write one frame, encoded once, to several links.
    Fan {
        /// The links.
        links: Vec<LinkId>,
        /// What to say.
        message: Message,
    },
    /// Send a datagram to whoever listens on the discovery port, and to the seeds.
    Broadcast {
        /// What to say.
        datagram: Box<Datagram>,
    },
    /// Send a datagram to one peer.
    Whisper {
        /// Where to.
        to: SocketAddrV4,
        /// What to say.
        datagram: Box<Datagram>,
    },
    /// Hand an ordered reading, or the absence of one, to the sinks.
    Deliver(Delivery),
    /// What became of readings of this peer's own.
    Published {
        /// The number of the first.
        first: Oseq,
        /// The number of the last.
        last: Oseq,
        /// What became of them.
        outcome: Outcome,
    },
    /// A reading that was just given was not taken; nothing will become of it.
    Refused {
        /// Its place among those that were given together, from 0.
        place: usize,
        /// Why. After a full window, those behind it were not looked at.
        why: Refusal,
    },
    /// Store this, so that the next start takes a larger incarnation and knows whether it has been here before.
    Persist {
        /// The incarnation in use from now on.
        incarnation: Incarnation,
        /// Whether this peer has been in a view (mode `primary`): the next start says so with [`crate::node::Node::veteran`].
        veteran: bool,
    },
    /// Something worth telling.
    Note(Note),
    /// The node is done; nothing will come of further inputs.
    Stop(StopReason),
}

/// What the sinks get, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A reading.
    Reading(Reading),
    /// This peer will never hand over what stood here.
    Gap {
        /// The first position missing.
        from: Seq,
        /// The last position missing.
        to: Seq,
    },
    /// The origin has declared its own readings lost.
    Lost {
        /// Where the declaration stands.
        seq: Seq,
        /// Whose readings.
        origin: Member,
        /// The first of its numbers.
        from: Oseq,
        /// The last of its numbers.
        to: Oseq,
    },
}

/// An ordered reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The epoch of the entry.
    pub epoch: Epoch,
    /// The view in force there.
    pub view_id: ViewId,
    /// Its position in the log.
    pub seq: Seq,
    /// Who published it.
    pub origin: Member,
    /// Its number among the origin's.
    pub oseq: Oseq,
    /// When the origin published it, in microseconds since 1970 (UTC), by the origin's clock.
    pub time: u64,
    /// When it was to be handed over.
    pub guarantee: Guarantee,
    /// Any bytes.
    pub payload: Bytes,
}

/// What became of readings of this peer's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// They have numbers, and wait to be ordered.
    Accepted,
    /// They stand in the log.
    Ordered,
    /// They are stable, and all before them.
    Stable,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accepted => "accepted",
            Self::Ordered => "ordered",
            Self::Stable => "stable",
        })
    }
}

impl Output {
    /// What became of readings with these numbers, in words.
    #[must_use]
    pub fn words(first: Oseq, last: Oseq, outcome: Outcome) -> String {
        if first == last { format!("reading {first} is {outcome}") } else { format!("readings {first} to {last} are {outcome}") }
    }

    /// Says what became of a reading, together with those before it where the same was just said of them.
    pub(crate) fn published(oseq: Oseq, outcome: Outcome, out: &mut Vec<Self>) {
        match out.last_mut() {
            Some(Self::Published { last, outcome: same, .. }) if *same == outcome && last.next() == oseq => *last = oseq,
            _ => out.push(Self::Published { first: oseq, last: oseq, outcome }),
        }
    }
}

/// Why a node is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It was asked to leave, and has left.
    Left,
    /// It was asked to leave, and nobody confirmed it in time.
    LeftUnconfirmed,
    /// Another living process has its name.
    DuplicateId {
        /// Where that one listens.
        holder: SocketAddrV4,
        /// Where this one listens.
        own: SocketAddrV4,
    },
    /// A later incarnation of its name has been in the group while this one was a member.
    OldIncarnation {
        /// The later one.
        known: Incarnation,
    },
}
