//! A plan: the explicit list of faults and loads of a run, with their times.
//!
//! A seed draws a plan (see `drawn`), and the plan is run: it can be printed, kept, edited and run
//! again. Every fault carries its own end (a pause its length, a kill its restart), so that one
//! fault can be removed without changing the meaning of the others. Times are microseconds of
//! virtual time.

use promises::fault::Identity;
use promises::shape::{Over, Shape};
use protocol::activity::Activity;
use protocol::config::Knobs;
use protocol::draw::digest;
use serde::{Deserialize, Serialize};

use crate::hearing::Hearing;
use crate::weather::{OneIn, Weather};

pub use promises::shape::Who;

/// The faults and loads of a run, with their times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The seed of all remaining draws: delays, losses, ties.
    pub seed: u64,
    /// When the faults end and are healed; from then on calm is demanded.
    pub chaos_us: u64,
    /// Whether peers that are dead by then are restarted.
    pub revive: bool,
    /// Whether links carry bytes, cut at drawn places, or messages as values.
    pub bytes: bool,
    /// How much a kernel buffers for one direction of a connection, in bytes.
    pub capacity: usize,
    /// How often a dying process's last frames are lost.
    pub rude: OneIn,
    /// How late a timer may be.
    pub timer_late_us: u32,
    /// How long a turn of a peer's loop takes; its output is written at the end of the turn.
    pub turn_us: u32,
    /// How many unread datagrams a host holds; if more arrive, drawn ones are lost. 0 is unlimited.
    #[serde(default, skip_serializing_if = "is_default")]
    pub datagrams: usize,
    /// The datagrams that are lost whatever the weather: a shrunk plan lists those that mattered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Lost>,
    /// The usual weather.
    pub weather: Weather,
    /// The knobs of every peer.
    #[serde(with = "crate::knobs")]
    pub knobs: Knobs,
    /// The peers.
    pub peers: Vec<Start>,
    /// The readings to publish.
    pub loads: Vec<Load>,
    /// The faults.
    #[serde(default)]
    pub faults: Vec<Timed>,
    /// Which peers hear and can dial which, from the start to the end.
    #[serde(default, skip_serializing_if = "Hearing::is_whole")]
    pub hearing: Hearing,
    /// The peers outside of the core when the chaos ends: dead, or cut off for good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<Outside>,
    /// The liar, and how often it lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lies: Option<Lies>,
}

impl Plan {
    /// The plan in its kept and editable form.
    #[must_use]
    pub fn text(&self) -> String {
        toml::to_string(self).expect("a plan is made of numbers, words and lists of them")
    }

    /// The name of a seed together with its plan: `S1-<seed>-<sum of the plan>`, or `L1-` with a
    /// liar. If a later generator draws another plan from the same seed, the name differs.
    #[must_use]
    pub fn token(&self) -> String {
        let sum = digest(self.text().as_bytes());
        let swarm = if self.lies.is_some() { "L1" } else { "S1" };
        format!("{swarm}-{}-{:08x}", self.seed, sum >> 32 ^ sum & 0xFFFF_FFFF)
    }
}

/// A lost datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lost {
    /// The peer that sends it, counted from 0.
    pub from: usize,
    /// Its number among the sender's datagrams; each receiver of a broadcast counts separately.
    pub nth: u64,
}

/// The liar, and how often it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lies {
    /// The liar is a peer of the group, counted from 0; if there is no number, it is a stranger in
    /// no view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<usize>,
    /// The time of the first lie.
    pub from_us: u64,
    /// The time between two lies.
    pub every_us: u64,
}

/// A peer that is not in the core when the chaos ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outside {
    /// Its number, counted from 0.
    pub peer: usize,
    /// Its fate.
    pub fate: Fate,
}

/// The fate of a peer outside of the core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is dead for good.
    Dead,
    /// It lives, and never again reaches a core peer that also reaches it.
    Apart {
        /// The core peers that it still hears.
        hears: Vec<usize>,
        /// The core peers that still hear it.
        heard_by: Vec<usize>,
    },
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
    /// How much faster than time its clock runs, in parts per million.
    #[serde(default, skip_serializing_if = "is_default")]
    pub drift_ppm: i32,
}

/// Readings of one peer, in bursts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// The peer, counted from 0.
    pub peer: usize,
    /// The time of the first burst.
    pub from_us: u64,
    /// The time between two bursts.
    pub every_us: u64,
    /// How many bursts.
    pub bursts: u64,
    /// How many readings per burst.
    pub burst: u64,
    /// How long a reading is, in bytes.
    pub bytes: usize,
    /// How often a reading asks for the guarantee that is not the cluster's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub otherwise: OneIn,
    /// How often a reading has another length: any up to `payload_max`, exactly that, or one byte
    /// more.
    #[serde(default, skip_serializing_if = "is_default")]
    pub uneven: OneIn,
    /// Whether it continues after the chaos, until the group is one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on: bool,
}

/// A fault and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timed {
    /// Its time, or the earliest time.
    pub at_us: u64,
    /// The phase that it waits for, if any: [`Who::It`] is the next peer that begins this phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Activity>,
    /// Or the kind of message that it waits for: a verb, as on the wire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// How many of the awaited events it lets pass.
    #[serde(default, skip_serializing_if = "is_default")]
    pub past: u32,
    /// How long after the awaited event it strikes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub later_us: u64,
    /// The act.
    #[serde(flatten)]
    pub act: Act,
}

impl Timed {
    /// This act at this moment.
    #[must_use]
    pub fn at(at_us: u64, act: Act) -> Self {
        Self { at_us, when: None, says: None, past: 0, later_us: 0, act }
    }
}

/// An act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Act {
    /// Killed, and restarted after a while or not.
    Kill {
        /// The peer.
        who: Who,
        /// Its restart, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        back: Option<Back>,
    },
    /// Its machine loses power: connections get no end, and dials get no answer until power
    /// returns.
    Outage {
        /// The peer.
        who: Who,
        /// Its restart, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        back: Option<Back>,
    },
    /// Stopped for a while.
    Pause {
        /// The peer.
        who: Who,
        /// For how long.
        span_us: u64,
    },
    /// Asked to leave, and restarted after a while or not.
    Leave {
        /// The peer.
        who: Who,
        /// Its restart, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        back: Option<Back>,
    },
    /// It publishes some readings. This is no fault, but a fault may meet it.
    Publish {
        /// The peer.
        who: Who,
        /// How many.
        readings: u64,
        /// How long each is, in bytes.
        bytes: usize,
    },
    /// Its connections to another peer break.
    Reset {
        /// One end.
        who: Who,
        /// The other.
        other: Who,
    },
    /// Its data to another peer arrives late, all at once.
    Stall {
        /// The sender.
        who: Who,
        /// The receiver.
        other: Who,
        /// For how long no data arrives.
        span_us: u64,
    },
    /// Its data to another peer arrives a little at a time.
    Drip {
        /// The sender.
        who: Who,
        /// The receiver.
        other: Who,
        /// The time between two pieces.
        gap_us: u64,
        /// For how long.
        span_us: u64,
    },
    /// Its connections to another peer break, and the other peer is not told for a while.
    HalfOpen {
        /// The peer that knows.
        who: Who,
        /// The peer that does not.
        other: Who,
        /// For how long not.
        span_us: u64,
    },
    /// A middlebox forgets its connections, including those being established: nothing passes on
    /// them any more, neither end is told, and new ones work.
    Forget {
        /// The peer.
        who: Who,
        /// Only connections to this peer; all connections if none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        other: Option<Who>,
        /// Whether only its outgoing data is lost.
        one_way: bool,
    },
    /// Messages of one kind are lost; a connection that loses one breaks there.
    Lose {
        /// The kind: a verb, as on the wire.
        kind: String,
        /// The sender; any peer if none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Who>,
        /// The receiver; any peer if none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Who>,
        /// How many messages.
        times: u32,
        /// For how long at most.
        span_us: u64,
    },
    /// Its clock jumps ahead.
    Clock {
        /// The peer.
        who: Who,
        /// How far.
        jump_us: u64,
    },
    /// It can store nothing for a while.
    Disk {
        /// The peer.
        who: Who,
        /// For how long.
        span_us: u64,
    },
    /// It has no descriptors left for a while: it opens no connection, and accepts none.
    Descriptors {
        /// The peer.
        who: Who,
        /// For how long.
        span_us: u64,
    },
    /// Its processor is busy otherwise: every step takes long.
    Slow {
        /// The peer.
        who: Who,
        /// How long a step takes.
        step_us: u64,
        /// For how long.
        span_us: u64,
    },
    /// Some peers cannot reach others for a while.
    Cut {
        /// The pairs.
        shape: Shape,
        /// The affected traffic.
        #[serde(default, skip_serializing_if = "is_default")]
        over: Over,
        /// For how long.
        span_us: u64,
        /// Whether the affected connections break at the end of the cut, as behind a router that
        /// has forgotten them.
        breaks: bool,
    },
    /// Another weather for a while.
    Storm {
        /// The weather.
        weather: Weather,
        /// For how long.
        span_us: u64,
    },
}

/// A restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// How long after the end of the process.
    pub after_us: u64,
    /// Its identity.
    pub identity: Identity,
    /// Whether its clock is behind by then: with an empty disk it gets an incarnation below its
    /// last one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub behind: bool,
}

impl Back {
    /// A restart with a correct clock.
    #[must_use]
    pub fn after(after_us: u64, identity: Identity) -> Self {
        Self { after_us, identity, behind: false }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
