//! Coverage: events that a sweep must have met to count.
//!
//! A sweep in which two peers never asked at once, or no peer died while building its log, has not
//! tested that, however many seeds it ran. Marks are observed from outside, in inputs, outputs and
//! notes; a large sweep that misses one of them does not pass.

use std::fmt;
use std::ops::AddAssign;

use protocol::activity::Activity;

/// A rare event that a sweep has to have met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Two peers ask for leadership at the same time.
    TwoInitiators,
    /// A leader dies with entries that not every member has.
    OrdersInFlight,
    /// An `OK` arrives after the end of the election.
    LateOk,
    /// A datagram arrives twice, and the second one has no effect.
    RepeatSuppressed,
    /// A leader returns, finds a later one, and steps down.
    OldLeader,
    /// A member is removed and added again within a heartbeat.
    RemovedAndAdded,
    /// A message of a past epoch is rejected.
    StaleEpoch,
    /// A peer asks to be admitted during an election.
    JoinerInElection,
    /// The view changes while one of its members still fetches its log.
    ViewInTransfer,
    /// A peer asks to be admitted to a group with `members_max` members.
    FullGroup,
    /// A reading is refused for its size.
    TooLarge,
    /// A reading is refused for its bytes, although the window has room for its number.
    BytesFull,
    /// A middlebox forgets a connection while it is being established.
    Unmade,
    /// A dead or paused peer is admitted.
    LetInGone,
    /// A peer is told that a later life of it is known.
    OldLife,
    /// Messages of a dead process arrive when its successor runs already.
    Ghost,
}

impl Mark {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 16] = [
        Self::TwoInitiators,
        Self::OrdersInFlight,
        Self::LateOk,
        Self::RepeatSuppressed,
        Self::OldLeader,
        Self::RemovedAndAdded,
        Self::StaleEpoch,
        Self::JoinerInElection,
        Self::ViewInTransfer,
        Self::FullGroup,
        Self::TooLarge,
        Self::BytesFull,
        Self::Unmade,
        Self::LetInGone,
        Self::OldLife,
        Self::Ghost,
    ];

    /// Its description.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::TwoInitiators => "two simultaneous initiators",
            Self::OrdersInFlight => "leader dies with orders in flight",
            Self::LateOk => "OK arrives after COORDINATOR",
            Self::RepeatSuppressed => "duplicate broadcast suppressed",
            Self::OldLeader => "old leader returns and steps down",
            Self::RemovedAndAdded => "member removed and re-added inside one heartbeat",
            Self::StaleEpoch => "stale epoch rejected",
            Self::JoinerInElection => "joiner during an election",
            Self::ViewInTransfer => "view change during state transfer",
            Self::FullGroup => "newcomer at a full group",
            Self::TooLarge => "reading too large",
            Self::BytesFull => "window full in bytes",
            Self::Unmade => "connection forgotten while it is made",
            Self::LetInGone => "newcomer gone when it is let in",
            Self::OldLife => "older incarnation told of a later one",
            Self::Ghost => "last words after the return",
        }
    }
}

/// A class of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A process is killed.
    Kill,
    /// A machine loses power.
    Outage,
    /// A process stands still.
    Pause,
    /// A process is asked to leave.
    Leave,
    /// Connections break.
    Reset,
    /// Connections break, and one end is not told.
    HalfOpen,
    /// A middlebox forgets connections, and neither end is told.
    Forget,
    /// Data arrives late, all at once.
    Stall,
    /// Data arrives a little at a time.
    Drip,
    /// Neither side reaches the other.
    Cut,
    /// One side does not reach the other.
    OneWay,
    /// One peer does not hear the other's broadcasts or unicast datagrams, or cannot dial it.
    Hearing,
    /// All traffic is lost, late and damaged more often.
    Storm,
    /// Messages of one kind are lost.
    Lose,
    /// A clock jumps.
    Clock,
    /// A disk is full.
    Disk,
    /// Descriptors have run out.
    Descriptors,
    /// A processor is slow.
    Slow,
}

impl Class {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 18] = [
        Self::Kill,
        Self::Outage,
        Self::Pause,
        Self::Leave,
        Self::Reset,
        Self::HalfOpen,
        Self::Forget,
        Self::Stall,
        Self::Drip,
        Self::Cut,
        Self::OneWay,
        Self::Hearing,
        Self::Storm,
        Self::Lose,
        Self::Clock,
        Self::Disk,
        Self::Descriptors,
        Self::Slow,
    ];

    /// Its short description.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Outage => "outage",
            Self::Pause => "pause",
            Self::Leave => "leave",
            Self::Reset => "reset",
            Self::HalfOpen => "half-open",
            Self::Forget => "forget",
            Self::Stall => "stall",
            Self::Drip => "drip",
            Self::Cut => "cut",
            Self::OneWay => "one way",
            Self::Hearing => "hearing",
            Self::Storm => "storm",
            Self::Lose => "message lost",
            Self::Clock => "clock jump",
            Self::Disk => "disk full",
            Self::Descriptors => "descriptors",
            Self::Slow => "slow steps",
        }
    }
}

/// The messages at which a fault may strike.
pub const WORDS: [&str; 17] = [
    "HELLO",
    "NEW_PEER_REQUEST",
    "ADDED TO NETWORK",
    "HEARTBEAT",
    "ELECTION",
    "OK",
    "CLEAR",
    "COORDINATOR",
    "SEQ_SYNC_REQUEST",
    "SEQ_SYNC_RESPONSE",
    "SEQ_SYNC_FINAL",
    "SEQUENCER_REQUEST",
    "ORDERED_ACK",
    "MISSING_SEQ_REQUEST",
    "REJECTED",
    "LEAVE",
    "HANDOVER",
];

/// How often each mark was met, and how often each class of faults met each phase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    seen: [u64; Mark::ALL.len()],
    met: [[u64; Activity::ALL.len()]; Class::ALL.len()],
    struck: [u64; WORDS.len()],
}

impl Marks {
    /// A rare event happened.
    pub fn see(&mut self, mark: Mark) {
        self.seen[mark as usize] += 1;
    }

    /// A fault met a peer in some phase.
    pub fn meet(&mut self, class: Class, activity: Activity) {
        self.met[class as usize][activity as usize] += 1;
    }

    /// A fault struck at the message for which it had waited.
    pub fn strike(&mut self, verb: &str) {
        if let Some(at) = WORDS.iter().position(|word| *word == verb) {
            self.struck[at] += 1;
        }
    }

    /// How often a rare event happened.
    #[must_use]
    pub fn seen(&self, mark: Mark) -> u64 {
        self.seen[mark as usize]
    }

    /// How often such a fault met such a phase.
    #[must_use]
    pub fn met(&self, class: Class, activity: Activity) -> u64 {
        self.met[class as usize][activity as usize]
    }

    /// The events that never happened, described.
    #[must_use]
    pub fn unseen(&self) -> Vec<String> {
        let marks = Mark::ALL
            .into_iter()
            .filter(|mark| self.seen(*mark) == 0)
            .map(|mark| mark.words().to_owned());
        let pairs = Class::ALL
            .into_iter()
            .flat_map(|class| Activity::ALL.map(|activity| (class, activity)));
        let never = pairs.filter(|(class, activity)| self.met(*class, *activity) == 0);
        let words = WORDS
            .into_iter()
            .zip(self.struck)
            .filter(|(_, count)| *count == 0)
            .map(|(verb, _)| format!("fault at {verb}"));
        marks
            .chain(never.map(|(class, activity)| format!("{} while {activity}", class.words())))
            .chain(words)
            .collect()
    }
}

impl AddAssign<&Self> for Marks {
    fn add_assign(&mut self, other: &Self) {
        self.seen.iter_mut().zip(other.seen).for_each(|(sum, more)| *sum += more);
        let (met, more) = (self.met.iter_mut().flatten(), other.met.iter().flatten());
        met.zip(more).for_each(|(sum, more)| *sum += more);
        self.struck.iter_mut().zip(other.struck).for_each(|(sum, more)| *sum += more);
    }
}

/// As a table.
impl fmt::Display for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mark in Mark::ALL {
            writeln!(f, "{:>9}  {}", self.seen(mark), mark.words())?;
        }
        for (verb, count) in WORDS.into_iter().zip(self.struck) {
            writeln!(f, "{count:>9}  fault at {verb}")?;
        }
        write!(f, "{:14}", "fault met")?;
        Activity::ALL.into_iter().try_for_each(|activity| write!(f, "{activity:>9}"))?;
        for class in Class::ALL {
            write!(f, "\n  {:12}", class.words())?;
            Activity::ALL
                .into_iter()
                .try_for_each(|activity| write!(f, "{:>9}", self.met(class, activity)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Class, Mark, Marks, WORDS};
    use protocol::activity::Activity;

    #[test]
    fn what_was_never_seen_is_named() {
        let mut marks = Marks::default();
        assert_eq!(
            marks.unseen().len(),
            Mark::ALL.len() + Class::ALL.len() * Activity::ALL.len() + WORDS.len()
        );
        marks.see(Mark::LateOk);
        marks.meet(Class::Drip, Activity::Syncing);
        marks.strike("LEAVE");
        let unseen = marks.unseen();
        assert!(
            !unseen.iter().any(|words| words == "OK arrives after COORDINATOR"
                || words == "drip while syncing"
                || words == "fault at LEAVE"),
            "{unseen:?}"
        );
        assert!(unseen.iter().any(|words| words == "kill while building"), "{unseen:?}");
        let mut sum = marks.clone();
        sum += &marks;
        assert_eq!((sum.seen(Mark::LateOk), sum.met(Class::Drip, Activity::Syncing)), (2, 2));
    }

    #[test]
    fn each_has_its_place() {
        assert!(Mark::ALL.into_iter().enumerate().all(|(at, mark)| mark as usize == at));
        assert!(Class::ALL.into_iter().enumerate().all(|(at, class)| class as usize == at));
    }
}
