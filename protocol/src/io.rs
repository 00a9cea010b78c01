//! The seam between the pure core and the world: everything that can happen to a node, and
//! everything it can ask for.
//!
//! Both lists are closed. Within one call the node asks in the order *persist, send, deliver*; a
//! shell that performs the outputs one by one keeps that order.

use std::net::SocketAddrV4;

use bytes::Bytes;

use crate::delivery::outbox::Stretch;
use crate::digest::Digest;
use crate::guarantee::Guarantee;
use crate::id::{Epoch, Incarnation, LinkId, Member, Oseq, PeerId, Seq, ViewId};
use crate::log::Log;
use crate::log::log_id::LogId;
use crate::log::readings::{Collector, Readings};
use crate::log::view::View;
use crate::report::note::{Note, Refusal};
use crate::wire::message::{Datagram, Message};

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
    /// What is queued for a link has grown beyond what the shell wants to hold, or has drained
    /// again.
    Backlog {
        /// The link.
        link: LinkId,
        /// Whether bulk should wait.
        full: bool,
    },
    /// Readings of this peer's own, oldest first. What is there together is best given together: it
    /// goes to the sequencer in one frame. Where the window is full, the rest is left as it is, so
    /// that nothing overtakes.
    Publish {
        /// The readings.
        publications: Vec<Publication>,
    },
    /// This peer is to be found at another address from now on.
    Moved {
        /// What others are to dial.
        address: SocketAddrV4,
    },
    /// What the wall clock shows now, in microseconds since 1970 (UTC). To be said again when it
    /// was set. Entries that this peer numbers carry that time; nothing is decided by it.
    Clock {
        /// The time.
        utc: u64,
    },
    /// This peer's explicit priority is another one from now on. A leader that is outranked then
    /// hands over, whatever the knob `preempt` says.
    Prioritised {
        /// The priority.
        explicit: i64,
    },
    /// Put a question to the leader's program; [`Output::Answered`] is the answer, if one comes.
    Ask {
        /// Echoed in the answer.
        ask: u64,
        /// Any bytes, [`crate::report::query::QUESTION_MOST`] at most.
        question: Bytes,
    },
    /// The answer to [`Output::Asked`].
    Answer {
        /// Who asked.
        to: Member,
        /// Its question.
        ask: u64,
        /// Any bytes, [`crate::report::query::QUESTION_MOST`] at most.
        answer: Bytes,
    },
    /// Leave the group, then stop.
    Leave,
    /// The deadline has passed.
    Wake,
}

/// Readings of this peer's own that have no numbers yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The readings.
    pub readings: Readings,
    /// When they are to be handed over; as the knob `delivery` says where nothing is said.
    pub guarantee: Option<Guarantee>,
}

impl Publication {
    /// A single reading; `time` is in microseconds since 1970 (UTC).
    #[must_use]
    pub fn one(payload: Bytes, time: u64, guarantee: Option<Guarantee>) -> Self {
        Self { readings: Readings::one(payload, time), guarantee }
    }

    /// Readings, each with its time and with when it is to be handed over; those that are alike in
    /// it stand together.
    pub fn together<P: AsRef<[u8]>>(
        readings: impl IntoIterator<Item = (P, u64, Option<Guarantee>)>,
    ) -> Vec<Self> {
        let mut publications = Vec::new();
        let (mut collector, mut alike) = (Collector::default(), None);
        for (payload, time, guarantee) in readings {
            let payload = payload.as_ref();
            if guarantee != alike || !collector.takes(payload.len(), time) {
                publications.extend(
                    std::mem::take(&mut collector)
                        .finish()
                        .map(|readings| Self { readings, guarantee: alike }),
                );
                alike = guarantee;
            }
            collector.push(payload, time);
        }
        publications.extend(collector.finish().map(|readings| Self { readings, guarantee: alike }));
        publications
    }
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
    /// Hand ordered readings, or the absence of some, to the sinks.
    Deliver(Delivery),
    /// Readings of this peer's own have numbers, and wait to be ordered. Said again if it takes
    /// another incarnation before they are.
    Accepted {
        /// The number of the first.
        first: Oseq,
        /// When they are to be handed over.
        guarantee: Guarantee,
        /// The readings.
        readings: Readings,
    },
    /// Readings of this peer's own that were to be safe are.
    Acknowledged {
        /// The number of the first.
        first: Oseq,
        /// Where it stands; the others follow.
        seq: Seq,
        /// How many.
        count: u64,
        /// In which log.
        log: LogId,
        /// In which epoch.
        epoch: Epoch,
    },
    /// What became of readings of this peer's own. Said again where the log that they stand in
    /// becomes another one.
    Published {
        /// The number of the first.
        first: Oseq,
        /// The number of the last.
        last: Oseq,
        /// Where the first one stands; the others follow. Nothing where a snapshot is all that this
        /// peer has of that part of the log: they stand somewhere in it.
        place: Option<Place>,
        /// What became of them.
        outcome: Outcome,
    },
    /// A reading that was just given was not taken; nothing will become of it.
    Refused {
        /// Its place among those that were given together, from 0.
        place: u64,
        /// Why. After a full window, those behind it were not looked at.
        why: Refusal,
    },
    /// Store this, so that the next start takes a larger incarnation and knows whether it has been
    /// here before.
    Persist {
        /// The incarnation in use from now on.
        incarnation: Incarnation,
        /// Whether this peer has been in a view (mode `primary`): the next start says so with
        /// [`crate::node::Node::with_history`].
        has_history: bool,
    },
    /// A member asks this peer's program something; to be answered with [`Input::Answer`].
    Asked {
        /// Who asks.
        from: Member,
        /// Its question's name.
        ask: u64,
        /// Any bytes.
        question: Bytes,
    },
    /// The leader's program has answered [`Input::Ask`].
    Answered {
        /// The question.
        ask: u64,
        /// Any bytes.
        answer: Bytes,
    },
    /// Something worth telling.
    Note(Note),
    /// The node is done; nothing will come of further inputs.
    Stop(StopReason),
}

/// What the sinks get, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Readings.
    Run(Run),
    /// A view comes into force.
    View(Box<Standing>),
    /// This peer will never hand over what stood here.
    Gap {
        /// The log.
        log: LogId,
        /// The first position missing.
        from: Seq,
        /// The last position missing.
        to: Seq,
        /// Why.
        why: String,
    },
    /// What was handed over at these positions is not what the group's log has there; what the log
    /// has there follows.
    Diverged {
        /// The log in which it was handed over.
        log: LogId,
        /// The first position.
        from: Seq,
        /// The last position.
        to: Seq,
    },
    /// This peer's group becomes part of another one.
    Merged {
        /// The log of the group that dissolves.
        log: LogId,
        /// The last position that both logs have in common.
        at: Seq,
        /// The log that this peer goes on in; the same one where the two had parted.
        into: LogId,
        /// The leader there.
        leader: PeerId,
    },
    /// What stands at these positions is nothing new to this peer's sinks: they have had these
    /// readings, or been told that they are lost.
    Repeat {
        /// The log.
        log: LogId,
        /// The epoch of the entry.
        epoch: Epoch,
        /// The first position.
        seq: Seq,
        /// The last position.
        last: Seq,
        /// Whose readings.
        origin: Member,
        /// The first of its numbers.
        from: Oseq,
        /// The last of its numbers.
        to: Oseq,
    },
    /// The origin has declared its own readings lost.
    Lost {
        /// The log.
        log: LogId,
        /// The epoch of the declaration.
        epoch: Epoch,
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

/// A view at its place in the log, and what it changes for the peer that it is handed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The log.
    pub log: LogId,
    /// Where it stands.
    pub seq: Seq,
    /// The view.
    pub view: View,
    /// Who is in it and was not in the last view that was handed over.
    pub joined: Vec<Member>,
    /// Who was in that one and is not in this one.
    pub left: Vec<Member>,
}

/// Ordered readings: of one origin, with consecutive numbers, at consecutive positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The log.
    pub log: LogId,
    /// The epoch of the entries.
    pub epoch: Epoch,
    /// The view in force there.
    pub view_id: ViewId,
    /// The position of the first.
    pub first: Seq,
    /// Who published them.
    pub origin: Member,
    /// The number of the first among the origin's.
    pub oseq: Oseq,
    /// When they were to be handed over.
    pub guarantee: Guarantee,
    /// When the leader numbered them, by the leader's clock, in microseconds since 1970; none where
    /// that clock was not known.
    pub ordered: Option<u64>,
    /// The readings.
    pub readings: Readings,
}

impl Run {
    /// The position of the last.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.first.plus(self.readings.len()).previous()
    }

    /// The reading at that place, from 0.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn at(&self, place: u64) -> Reading<'_> {
        let (payload, time) = self.readings.at(place);
        Reading {
            run: self,
            seq: self.first.plus(place),
            oseq: self.oseq.plus(place),
            time,
            payload,
        }
    }

    /// Each by itself.
    pub fn iter(&self) -> impl Iterator<Item = Reading<'_>> {
        (0_u64..).zip(self.readings.iter()).map(|(place, (payload, time))| Reading {
            run: self,
            seq: self.first.plus(place),
            oseq: self.oseq.plus(place),
            time,
            payload,
        })
    }
}

impl Delivery {
    /// The first and the last position that it speaks of.
    #[must_use]
    pub fn range(&self) -> (Seq, Seq) {
        match self {
            Self::Run(run) => (run.first, run.last()),
            Self::Gap { from, to, .. } | Self::Diverged { from, to, .. } => (*from, *to),
            Self::View(standing) => (standing.seq, standing.seq),
            Self::Merged { at, .. } => (*at, *at),
            Self::Repeat { seq, last, .. } => (*seq, *last),
            Self::Lost { seq, .. } => (*seq, *seq),
        }
    }

    /// The log that it speaks of.
    #[must_use]
    pub fn log(&self) -> &LogId {
        match self {
            Self::Run(run) => &run.log,
            Self::View(standing) => &standing.log,
            Self::Gap { log, .. }
            | Self::Diverged { log, .. }
            | Self::Merged { log, .. }
            | Self::Repeat { log, .. }
            | Self::Lost { log, .. } => log,
        }
    }
}

/// An ordered reading.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// Those with which it was handed over.
    pub run: &'a Run,
    /// Its position in the log.
    pub seq: Seq,
    /// Its number among the origin's.
    pub oseq: Oseq,
    /// When the origin published it, in microseconds since 1970 (UTC), by the origin's clock.
    pub time: u64,
    /// Any bytes.
    pub payload: &'a [u8],
}

/// What became of readings of this peer's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// They stand in the log.
    Ordered,
    /// They are stable, and all before them.
    Stable,
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The position.
    pub seq: Seq,
    /// In which log.
    pub log: LogId,
    /// In which epoch.
    pub epoch: Epoch,
}

impl Place {
    /// As many positions further on, in the same epoch.
    #[must_use]
    pub fn plus(&self, count: u64) -> Self {
        Self { seq: self.seq.plus(count), ..self.clone() }
    }
}

impl Output {
    /// What has become of readings of this peer's own, in words; none where it says nothing of
    /// that.
    #[must_use]
    pub fn fate(&self) -> Option<String> {
        let (first, last, fate) = match self {
            Self::Accepted { first, readings, .. } => {
                (*first, first.plus(readings.len()).previous(), "accepted")
            }
            Self::Acknowledged { first, count, .. } => {
                (*first, first.plus(*count).previous(), "safe")
            }
            Self::Published { first, last, outcome: Outcome::Ordered, .. } => {
                (*first, *last, "ordered")
            }
            Self::Published { first, last, outcome: Outcome::Stable, .. } => {
                (*first, *last, "stable")
            }
            Self::Refused { place, why } => {
                return Some(format!("reading {} of those given is refused: {why}", place + 1));
            }
            _ => return None,
        };
        Some(if first == last {
            format!("reading {first} is {fate}")
        } else {
            format!("readings {first} to {last} are {fate}")
        })
    }

    /// Says what became of readings, together with those before them where the same was just said
    /// of those.
    pub(crate) fn published(stretch: Stretch, outcome: Outcome, log: &Log, out: &mut Vec<Self>) {
        let Stretch { seq, oseq: first, .. } = stretch;
        // The row of the epoch comes before the entry, so an entry that is about to be appended has
        // its epoch already.
        let place = Place { seq, log: log.name(), epoch: log.epoch_at(seq) };
        match out.last_mut() {
            Some(Self::Published { first: from, last, place: Some(before), outcome: same })
                if *same == outcome
                    && last.next() == first
                    && before.plus(first.above(*from)) == place =>
            {
                *last = stretch.last();
            }
            _ => out.push(Self::Published {
                first,
                last: stretch.last(),
                place: Some(place),
                outcome,
            }),
        }
    }

    /// What it says of single readings, one note each: that they were published, handed over, or
    /// are safe. All other notes are outputs of their own; these are only made for those who want
    /// to know each.
    pub fn notes_of_readings(&self, tell: impl FnMut(Note)) {
        match self {
            Self::Accepted { first, guarantee, readings } => {
                let safe = *guarantee == Guarantee::Safe;
                let publish = |(place, (payload, _))| Note::Publish {
                    oseq: first.plus(place),
                    digest: Digest::of(payload),
                    safe,
                };
                (0..).zip(readings.iter()).map(publish).for_each(tell);
            }
            Self::Deliver(Delivery::Run(run)) => {
                run.iter().map(|reading| Note::delivered(&reading)).for_each(tell)
            }
            Self::Acknowledged { first, seq, count, log, epoch } => {
                let (log, epoch) = (|| log.clone(), || epoch.clone());
                let acknowledged = |past| Note::Acknowledged {
                    oseq: first.plus(past),
                    seq: seq.plus(past),
                    log: log(),
                    epoch: epoch(),
                };
                (0..*count).map(acknowledged).for_each(tell);
            }
            _ => {}
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
