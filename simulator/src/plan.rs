//! A plan: the explicit list of what is done to a simulation, and when.
//!
//! A seed draws a plan (see `drawn`), and the plan is what is run: it can be printed, kept, edited
//! and run again. Every fault carries its own end (a pause its length, a kill its restart), so that
//! one can be taken away without changing what the others mean. Times are microseconds of virtual
//! time.

use promises::fault::Identity;
use promises::shape::{Over, Shape};
use protocol::activity::Activity;
use protocol::config::Knobs;
use protocol::draw::digest;
use serde::{Deserialize, Serialize};

use crate::hearing::Hearing;
use crate::weather::{OneIn, Weather};

pub use promises::shape::Who;

/// What is done to a simulation, and when.
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
    /// How many datagrams a host holds that it has not read yet; of more, drawn ones are lost. 0 is
    /// any number.
    #[serde(default, skip_serializing_if = "is_default")]
    pub datagrams: usize,
    /// The datagrams that are lost whatever the weather: how a shrunk plan says which ones
    /// mattered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Lost>,
    /// The usual weather.
    pub weather: Weather,
    /// The knobs of every peer.
    #[serde(with = "crate::knobs")]
    pub knobs: Knobs,
    /// Who there is.
    pub peers: Vec<Start>,
    /// Who publishes what.
    pub loads: Vec<Load>,
    /// What happens to them.
    #[serde(default)]
    pub faults: Vec<Timed>,
    /// Who hears whom, and who can dial whom, from the start to the end.
    #[serde(default, skip_serializing_if = "Hearing::is_whole")]
    pub hearing: Hearing,
    /// Who is not in the core when the chaos ends: dead, or cut off for good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<Outside>,
    /// Who lies, and how often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lies: Option<Lies>,
}

impl Plan {
    /// The plan as it is kept and edited.
    #[must_use]
    pub fn text(&self) -> String {
        toml::to_string(self).expect("a plan is made of numbers, words and lists of them")
    }

    /// The name of a seed together with what it draws: `S1-<seed>-<sum of the plan>`, or `L1-`
    /// where somebody lies. A later generator draws another plan from the same seed, and the name
    /// tells.
    #[must_use]
    pub fn token(&self) -> String {
        let sum = digest(self.text().as_bytes());
        let swarm = if self.lies.is_some() { "L1" } else { "S1" };
        format!("{swarm}-{}-{:08x}", self.seed, sum >> 32 ^ sum & 0xFFFF_FFFF)
    }
}

/// A datagram that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lost {
    /// The peer that sends it, counted from 0.
    pub from: usize,
    /// Which of those that it sends, each receiver of a broadcast counted for itself.
    pub nth: u64,
}

/// Who lies, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lies {
    /// The liar is a peer of the group, counted from 0; a stranger in no view where nobody is
    /// named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<usize>,
    /// When the first lie is told.
    pub from_us: u64,
    /// The time between two.
    pub every_us: u64,
}

/// A peer that is not in the core when the chaos ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outside {
    /// Which, counted from 0.
    pub peer: usize,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a peer outside of the core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is dead, and stays so.
    Dead,
    /// It lives, and never again reaches anybody in the core who reaches it.
    Apart {
        /// Those in the core that it still hears.
        hears: Vec<usize>,
        /// Those in the core that still hear it.
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
    /// How much faster than time its clock runs, in millionths.
    #[serde(default, skip_serializing_if = "is_default")]
    pub drift_ppm: i32,
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
    /// How often a reading asks for the other guarantee than the cluster's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub otherwise: OneIn,
    /// How often a reading has another length: any up to `payload_max`, exactly that, or a byte
    /// more.
    #[serde(default, skip_serializing_if = "is_default")]
    pub uneven: OneIn,
    /// Whether it goes on when the chaos is over, until the group is one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on: bool,
}

/// A fault and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timed {
    /// When, or not before when.
    pub at_us: u64,
    /// What it waits for, if it does: the next peer that begins this is meant by [`Who::It`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Activity>,
    /// Or the next peer that says a message of this kind: a verb, as on the wire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// How many of those that it waits for it lets pass.
    #[serde(default, skip_serializing_if = "is_default")]
    pub past: u32,
    /// How long after that it comes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub later_us: u64,
    /// What.
    #[serde(flatten)]
    pub act: Act,
}

impl Timed {
    /// That at this moment.
    #[must_use]
    pub fn at(at_us: u64, act: Act) -> Self {
        Self { at_us, when: None, says: None, past: 0, later_us: 0, act }
    }
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
    /// Its machine loses power: nobody's connection ends, and dials meet silence until it is there
    /// again.
    Outage {
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
    /// It publishes some readings. No fault, but what a fault may meet.
    Publish {
        /// Who.
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
    /// What it sends to another peer arrives late, all at once.
    Stall {
        /// The sender.
        who: Who,
        /// The receiver.
        other: Who,
        /// For how long nothing arrives.
        span_us: u64,
    },
    /// What it sends to another peer arrives a little at a time.
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
    /// Its connections to another peer break, and that one is not told for a while.
    HalfOpen {
        /// Who knows.
        who: Who,
        /// Who does not.
        other: Who,
        /// For how long not.
        span_us: u64,
    },
    /// Something on the way forgets its connections, also those that are being made: nothing passes
    /// on them any more, nobody is told, and new ones work.
    Forget {
        /// Whose.
        who: Who,
        /// Those to this one; to everybody if nobody is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        other: Option<Who>,
        /// Whether only what it sends is lost.
        one_way: bool,
    },
    /// Messages of one kind are lost; a connection that loses one breaks there.
    Lose {
        /// The kind: a verb, as on the wire.
        kind: String,
        /// From whom; anybody if nobody is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Who>,
        /// To whom; anybody if nobody is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Who>,
        /// How many.
        times: u32,
        /// For how long at most.
        span_us: u64,
    },
    /// Its clock jumps ahead.
    Clock {
        /// Whose.
        who: Who,
        /// How far.
        jump_us: u64,
    },
    /// It can store nothing for a while.
    Disk {
        /// Who.
        who: Who,
        /// For how long.
        span_us: u64,
    },
    /// It has no descriptors left for a while: it opens no connection, and accepts none.
    Descriptors {
        /// Who.
        who: Who,
        /// For how long.
        span_us: u64,
    },
    /// Its processor is busy with something else: every step takes long.
    Slow {
        /// Who.
        who: Who,
        /// How long a step takes.
        step_us: u64,
        /// For how long.
        span_us: u64,
    },
    /// Some cannot reach some others for a while.
    Cut {
        /// Who cannot reach whom.
        shape: Shape,
        /// By which means.
        #[serde(default, skip_serializing_if = "is_default")]
        over: Over,
        /// For how long.
        span_us: u64,
        /// Whether the connections concerned break when it is over, as behind a router that has
        /// forgotten them.
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
    /// Whether its clock is behind by then: who comes back with an empty disk has an incarnation
    /// below its last one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub behind: bool,
}

impl Back {
    /// A return whose clock is right.
    #[must_use]
    pub fn after(after_us: u64, identity: Identity) -> Self {
        Self { after_us, identity, behind: false }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
