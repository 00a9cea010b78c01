//! What travels in runs: what a member asks to have numbered, and what is numbered.
//!
//! An entry takes up one position of the log, or, if it holds readings, as many as it has readings.
//! It can be cut anywhere between two of them, and weighs what its readings weigh one by one, so
//! that nothing depends on how they came together.

use std::ops::Range;

use bytes::Bytes;

use crate::guarantee::Guarantee;
use crate::id::{Epoch, Member, Oseq, Seq};
use crate::log::change::Change;
use crate::log::readings::{MARK, Readings};
use crate::log::view::View;

/// A run of one sender's readings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requests {
    /// The incarnation that numbered them.
    pub origin: Member,
    /// The number of the first.
    pub first: Oseq,
    /// What it asks for, with consecutive numbers.
    pub run: Vec<Request>,
}

impl Requests {
    /// The last of the sender's numbers that it takes up.
    #[must_use]
    pub fn last(&self) -> Oseq {
        self.run.iter().fold(self.first, |own, request| request.last(own).next()).previous()
    }

    /// The same in memory of its own.
    pub(crate) fn alone(mut self) -> Self {
        for request in &mut self.run {
            if let Request::Readings { readings, .. } = request {
                *readings = readings.alone();
            }
        }
        self
    }
}

/// What a member asks to have numbered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Readings, on their way to the sequencer.
    Readings {
        /// When they are to be handed over.
        guarantee: Guarantee,
        /// The readings.
        readings: Readings,
    },
    /// "My numbers up to here are lost": a declaration of its own readings that it cannot send
    /// again.
    Lost {
        /// The last number that is lost; the first is the request's own number.
        to: Oseq,
    },
}

impl Request {
    /// The last of the sender's numbers that this takes up, given the first.
    #[must_use]
    pub fn last(&self, first: Oseq) -> Oseq {
        match self {
            Self::Readings { readings, .. } => first.plus(readings.len()).previous(),
            Self::Lost { to } => (*to).max(first),
        }
    }

    /// How many bytes it takes in a frame, roughly.
    pub(crate) fn frame_weight(&self) -> u64 {
        match self {
            Self::Readings { readings, .. } => {
                readings.bytes() + MARK as u64 * readings.len() + RUN_HEAD
            }
            Self::Lost { .. } => RUN_HEAD,
        }
    }
}

/// A run of consecutive log entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ordered {
    /// The leader's epoch; of a repair, the epoch of the row that covers the last entry.
    pub epoch: Epoch,
    /// The position of the first entry.
    pub first: Seq,
    /// The entries.
    pub run: Vec<Entry>,
    /// Everything up to here is stable, as far as the sender knows.
    pub stable: Seq,
    /// Set in a repair: the question that this answers.
    pub repair: Option<u64>,
}

impl Ordered {
    /// How many positions it takes up.
    #[must_use]
    pub fn positions(&self) -> u64 {
        self.run.iter().map(Entry::positions).sum()
    }

    /// The same in memory of its own.
    pub(crate) fn alone(mut self) -> Self {
        for entry in &mut self.run {
            if let Entry::Readings { readings, .. } = entry {
                *readings = readings.alone();
            }
        }
        self
    }

    /// What it says from `next` on, in order; nothing if that lies behind its end. It must not lie
    /// before its beginning.
    pub fn from(mut self, next: Seq) -> impl Iterator<Item = Entry> {
        let mut skip = next.above(self.first);
        if skip > 0 {
            // The new ones would keep the memory of all that is known.
            self = self.alone();
        }
        self.run.into_iter().filter_map(move |entry| {
            let positions = entry.positions();
            let skipped = skip.min(positions);
            skip -= skipped;
            match skipped {
                0 => Some(entry),
                _ => (skipped < positions).then(|| entry.part(skipped..positions)),
            }
        })
    }
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// Readings of one origin; each takes up a position of its own.
    Readings {
        /// Who published them.
        origin: Member,
        /// The number of the first among the origin's; those of the others follow.
        first: Oseq,
        /// When they are to be handed over.
        guarantee: Guarantee,
        /// When the leader numbered them, by the leader's clock, in microseconds since 1970; none
        /// where that clock was not known.
        ordered: Option<u64>,
        /// The readings.
        readings: Readings,
    },
    /// A change of the group.
    View(View),
    /// The same, told to somebody who holds the view before it. It stands in no log.
    Change(Change),
    /// Readings that their origin has declared lost.
    Lost {
        /// Whose.
        origin: Member,
        /// The first number.
        from: Oseq,
        /// The last number.
        to: Oseq,
    },
}

impl Entry {
    /// What it is in the log of somebody whose view there is `before`; none if it changes another
    /// view.
    pub(crate) fn resolve(self, before: Option<&View>) -> Option<Self> {
        match self {
            Self::Change(change) => change.of(before?).map(Self::View),
            Self::Readings { .. } | Self::View(_) | Self::Lost { .. } => Some(self),
        }
    }

    /// A single reading; `time` is in microseconds since 1970 (UTC).
    #[must_use]
    pub fn one(
        origin: Member,
        number: Oseq,
        guarantee: Guarantee,
        payload: Bytes,
        time: u64,
    ) -> Self {
        Self::Readings {
            origin,
            first: number,
            guarantee,
            ordered: None,
            readings: Readings::one(payload, time),
        }
    }

    /// How many positions of the log it takes up.
    #[must_use]
    pub fn positions(&self) -> u64 {
        match self {
            Self::Readings { readings, .. } => readings.len(),
            Self::View(_) | Self::Change(_) | Self::Lost { .. } => 1,
        }
    }

    /// What stands at some of its positions, counted from 0.
    ///
    /// # Panics
    /// If the range is empty, or not a part of what there is.
    #[must_use]
    pub fn part(&self, range: Range<u64>) -> Self {
        match self {
            Self::Readings { origin, first, guarantee, ordered, readings } => Self::Readings {
                origin: origin.clone(),
                first: first.plus(range.start),
                guarantee: *guarantee,
                ordered: *ordered,
                readings: readings.slice(range),
            },
            Self::View(_) | Self::Change(_) | Self::Lost { .. } => {
                assert!(range == (0..1), "{range:?} of one position");
                self.clone()
            }
        }
    }

    /// What stands at each of its positions.
    pub fn singly(&self) -> impl Iterator<Item = Self> {
        (0..self.positions()).map(|at| self.part(at..at + 1))
    }

    /// The last number of a member's at its first position, if it is one of that member's, and when
    /// it is to be handed over.
    pub(crate) fn number_of(&self, member: &Member) -> Option<(Oseq, Guarantee)> {
        match self {
            Self::Readings { origin, first, guarantee, .. } if origin == member => {
                Some((*first, *guarantee))
            }
            Self::Lost { origin, to, .. } if origin == member => Some((*to, Guarantee::Agreed)),
            Self::Readings { .. } | Self::Lost { .. } | Self::View(_) | Self::Change(_) => None,
        }
    }

    /// Roughly how many bytes it takes in memory; of readings, the sum of what each would take.
    #[must_use]
    pub fn weight(&self) -> u64 {
        match self {
            Self::Readings { readings, .. } => readings.bytes() + READING_WEIGHT * readings.len(),
            Self::View(view) => View::weight_of(view.size()) + view.remarks.weight(),
            Self::Change(change) => {
                64 + (change.gone.len() + change.come.len()) as u64 * 160 + change.remarks.weight()
            }
            Self::Lost { .. } => 64,
        }
    }

    /// How many of its first positions weigh that much, at least.
    pub(crate) fn least_weighing(&self, weight: u64) -> u64 {
        match self {
            Self::Readings { readings, .. } if weight > 0 => {
                readings.fitting(weight - 1, READING_WEIGHT) + 1
            }
            Self::Readings { .. } => 0,
            Self::View(_) | Self::Change(_) | Self::Lost { .. } => 1,
        }
    }

    /// How many of its first positions a frame takes that has so many bytes left, roughly.
    pub(crate) fn fitting(&self, bytes: u64) -> u64 {
        match self {
            Self::Readings { readings, .. } => {
                bytes.checked_sub(RUN_HEAD).map_or(0, |left| readings.fitting(left, MARK as u64))
            }
            Self::View(_) | Self::Change(_) | Self::Lost { .. } => {
                u64::from(self.weight() <= bytes)
            }
        }
    }

    /// How many bytes it takes in a frame, roughly.
    pub(crate) fn frame_weight(&self) -> u64 {
        match self {
            Self::Readings { readings, .. } => {
                readings.bytes() + MARK as u64 * readings.len() + RUN_HEAD
            }
            Self::View(_) | Self::Change(_) | Self::Lost { .. } => self.weight(),
        }
    }
}

/// What a reading takes in memory besides its payload, where it stands alone.
const READING_WEIGHT: u64 = 48;
/// What readings take in a frame besides their marks and payloads.
const RUN_HEAD: u64 = 32;
