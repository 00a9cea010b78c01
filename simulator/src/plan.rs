//! A plan: the explicit list of what is done to a world, and when.
//!
//! A seed draws a plan (see `drawn`), and the plan is what is run: it can be printed, kept, edited and run again.
//! Every fault carries its own end (a pause its length, a kill its restart), so that one can be taken away without
//! changing what the others mean. Times are microseconds of virtual time.

use promises::fault::Identity;
use protocol::config::Knobs;
use serde::{Deserialize, Serialize};

use crate::weather::{OneIn, Weather};

/// What is done to a world, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Of every draw that is left: delays, losses, ties.
    pub seed: u64,
    /// When the faults end, are healed, and calm is expected.
    pub chaos_us: u64,
    /// Whether those that are dead by then are started again.
    pub revive: bool,
    /// Whether bytes travel, cut at drawn places, or messages as values.
    pub bytes: bool,
    /// How much a kernel buffers for one direction of a connection, in bytes.
    pub capacity: usize,
    /// How often a dying process's last frames are lost.
    pub rude: OneIn,
    /// How late a timer may be.
    pub timer_late_us: u32,
    /// How long a turn of a peer's loop takes; what it has to say is written at its end.
    pub turn_us: u32,
    /// The usual weather.
    pub weather: Weather,
    /// The knobs of every peer.
    pub knobs: Knobs,
    /// Who there is.
    pub peers: Vec<Start>,
    /// Who publishes what.
    pub loads: Vec<Load>,
    /// What happens to them.
    pub faults: Vec<Timed>,
}

/// A peer's first start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Its name. A second peer of one name is a twin.
    pub name: String,
    /// The explicit part of its priority.
    pub priority: i64,
    /// When it starts.
    pub at_us: u64,
}

/// Readings of one peer, in bursts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Which peer, counted from 0.
    pub peer: usize,
    /// When the first burst comes.
    pub from_us: u64,
    /// The time between two bursts.
    pub every_us: u64,
    /// How many bursts.
    pub bursts: u64,
    /// How many readings in one.
    pub burst: u64,
    /// How long a reading is, in bytes.
    pub bytes: usize,
}

/// A fault and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timed {
    /// When.
    pub at_us: u64,
    /// What.
    #[serde(flatten)]
    pub act: Act,
}

/// Whom a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// The peer of that number, counted from 0.
    Peer(usize),
    /// Whoever leads by then.
    Leader,
    /// The best of the living that do not lead.
    Successor,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Act {
    /// Killed, and started again after a while or not.
    Kill {
        /// Whom.
        who: Who,
        /// When it comes back, if it does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        back: Option<Back>,
    },
    /// Stopped for a while.
    Pause {
        /// Whom.
        who: Who,
        /// For how long.
        span_us: u64,
    },
    /// Asked to leave, and started again after a while or not.
    Leave {
        /// Whom.
        who: Who,
        /// When it comes back, if it does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        back: Option<Back>,
    },
    /// Its connections to another peer break.
    Reset {
        /// One end.
        who: Who,
        /// The other.
        other: Who,
    },
    /// What it sends to another peer arrives late, all at once.
    Stall {
        /// The sender.
        who: Who,
        /// The receiver.
        other: Who,
        /// For how long nothing arrives.
        span_us: u64,
    },
    /// Some cannot reach some others for a while.
    Cut {
        /// Who cannot reach whom.
        shape: Shape,
        /// For how long.
        span_us: u64,
        /// Whether the connections concerned break when it is over, as behind a router that has forgotten them.
        breaks: bool,
    },
    /// Another weather for a while.
    Storm {
        /// Which.
        weather: Weather,
        /// For how long.
        span_us: u64,
    },
}

/// A return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// How long after its end.
    pub after_us: u64,
    /// As whom.
    pub identity: Identity,
}

/// Who cannot reach whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// These and all others: neither way.
    Split(Vec<usize>),
    /// This one and all others: neither way.
    Isolate(Who),
    /// It speaks, and hears nobody.
    Deaf(Who),
    /// It hears, and nobody hears it.
    Mute(Who),
    /// Two halves, joined by this one only.
    Bridge(usize),
    /// Everybody reaches only the next and the one before, in a ring.
    Ring,
    /// From the first of each pair to the second.
    Pairs(Vec<(usize, usize)>),
}

impl Shape {
    /// The directed pairs, for so many hosts; `find` resolves who is meant.
    #[must_use]
    pub fn pairs(&self, hosts: usize, find: impl Fn(Who) -> Option<usize>) -> Vec<(usize, usize)> {
        let all = (0..hosts).flat_map(|from| (0..hosts).filter(move |to| *to != from).map(move |to| (from, to)));
        match self {
            Self::Split(side) => all.filter(|(from, to)| side.contains(from) != side.contains(to)).collect(),
            Self::Isolate(who) => find(*who).map_or(vec![], |one| all.filter(|&(from, to)| from == one || to == one).collect()),
            Self::Deaf(who) => find(*who).map_or(vec![], |one| all.filter(|&(_, to)| to == one).collect()),
            Self::Mute(who) => find(*who).map_or(vec![], |one| all.filter(|&(from, _)| from == one).collect()),
            Self::Bridge(one) => {
                let left = |host: usize| host < hosts / 2;
                all.filter(|&(from, to)| from != *one && to != *one && left(from) != left(to)).collect()
            }
            Self::Ring => all.filter(|&(from, to)| (from + 1) % hosts != to && (to + 1) % hosts != from).collect(),
            Self::Pairs(pairs) => pairs.iter().copied().filter(|&(from, to)| from < hosts && to < hosts && from != to).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Shape, Who};

    #[track_caller]
    fn check(shape: Shape, pairs: &[(usize, usize)]) {
        assert_eq!(shape.pairs(4, |who| if let Who::Peer(n) = who { Some(n) } else { None }), pairs);
    }

    #[test]
    fn shapes_are_directed_pairs() {
        check(Shape::Deaf(Who::Peer(1)), &[(0, 1), (2, 1), (3, 1)]);
        check(Shape::Mute(Who::Peer(1)), &[(1, 0), (1, 2), (1, 3)]);
        check(Shape::Split(vec![3]), &[(0, 3), (1, 3), (2, 3), (3, 0), (3, 1), (3, 2)]);
        check(Shape::Isolate(Who::Peer(3)), &[(0, 3), (1, 3), (2, 3), (3, 0), (3, 1), (3, 2)]);
        check(Shape::Bridge(0), &[(1, 2), (1, 3), (2, 1), (3, 1)]);
        check(Shape::Ring, &[(0, 2), (1, 3), (2, 0), (3, 1)]);
        check(Shape::Pairs(vec![(0, 1), (0, 9), (2, 2)]), &[(0, 1)]);
        check(Shape::Isolate(Who::Leader), &[]);
    }
}
