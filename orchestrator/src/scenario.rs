//! A scenario: what to do to a group, and what has to come of it. Raw text in, a checked value with
//! places out.
//!
//! Everything is refused that is not understood, and all mistakes of a file are told at once. A
//! scenario knows nothing of processes or virtual time: which world runs it is somebody else's
//! business.

mod cluster;
pub mod diagnostic;
mod expectation;
mod ids;
pub mod network;
mod options;
mod parse;
mod pattern;
mod references;
pub mod span_of_time;
mod step;
mod storm;
mod target;
mod tree;
mod when;

use std::collections::BTreeMap;
use std::time::Duration;

use promises::selector::Selector;
use protocol::config::Knobs;
use protocol::id::PeerId;

use diagnostic::{Placed, Span};
use span_of_time::SpanOfTime;

pub use network::{Disk, Form, Healing, InterfaceStep, Link, Partition, ShapeName, ShapeOf, Wall};
pub use parse::{Cell, cells, parse};
pub use storm::{Gust, Storm};

/// One story, ready to run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name; the folder of its runs is called so.
    pub name: String,
    /// One sentence of what it shows.
    pub about: String,
    /// Words to choose it by.
    pub tags: Vec<String>,
    /// The most a run may take.
    pub timeout: SpanOfTime,
    /// How many seeds it is run with.
    pub repeat: u64,
    /// The group at the start.
    pub cluster: Cluster,
    /// Readings that flow all the while.
    pub workload: Option<Workload>,
    /// What is done, in this order.
    pub steps: Vec<Step>,
    /// What has to come of it.
    pub expectations: Vec<Expectation>,
    /// What of it needs real hosts, and where that stands in the file; nothing if it runs on
    /// loopback as well.
    pub needs_hosts: Vec<Placed<String>>,
    /// Promises that must have seen something.
    pub required: Vec<String>,
    /// Promises that are told and do not fail the run, each with the reason.
    pub excused: BTreeMap<String, String>,
}

/// The group at the start.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its peers' ids, in the order of their start.
    pub ids: Ids,
    /// The least and the most time between two starts.
    pub stagger: (SpanOfTime, SpanOfTime),
    /// The knobs of every peer.
    pub knobs: Knobs,
    /// Which profile the knobs start from.
    pub profile: Profile,
    /// Flags handed to every `peer run` on top of the profile: name and value.
    pub flags: Vec<(String, String)>,
    /// The peers that are not started at the beginning; a `spawn` starts them.
    pub late: Vec<PeerId>,
    /// What is special about single hosts, by the name of the process.
    pub hosts: BTreeMap<String, Host>,
}

/// What is special about one host.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Flags of its `peer run`: name and value; `@peer2` in a value is the address of that host.
    pub flags: Vec<(String, String)>,
    /// Its interfaces; a plain one if none are named.
    pub interfaces: Vec<hosts::network::Plan>,
    /// Whether nobody reads what its peer writes to standard output.
    pub unread: bool,
    /// How large the disk is that its peer keeps things on, in MiB; that of this machine if not
    /// said.
    pub disk: Option<u64>,
}

/// Which peers there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ids {
    /// These, in this order.
    Given(Vec<PeerId>),
    /// `peer1` and so on, started in an order that the seed draws.
    Random(u64),
}

/// A set of knobs with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Short deadlines, for tests.
    Fast,
    /// The product's.
    Default,
}

impl Profile {
    /// Its name, as in the file and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Default => "default",
        }
    }

    /// Its knobs.
    #[must_use]
    pub fn knobs(self) -> Knobs {
        match self {
            Self::Fast => Knobs::fast(),
            Self::Default => Knobs::default(),
        }
    }
}

/// Readings that flow all the while.
#[derive(Clone, Debug)]
pub enum Workload {
    /// The bench feeds readings to peers.
    Fed {
        /// Between two readings of one peer.
        interval: Duration,
        /// Who publishes.
        from: Placed<Selector>,
    },
    /// Every peer measures the machine that it runs on, beside what it is fed.
    Host {
        /// Between two readings of one peer.
        interval: SpanOfTime,
    },
}

/// One thing to do.
#[derive(Clone, Debug)]
pub struct Step {
    /// What expectations call it.
    pub id: Option<String>,
    /// Its place in the file.
    pub span: Span,
    /// What is done.
    pub verb: Verb,
    /// Not before this time after the start of the run.
    pub at: Option<SpanOfTime>,
    /// Not before this point of another step.
    pub after: Option<Point>,
    /// How long it lasts: a pause ends by itself, a condition has to hold that long.
    pub lasts: Option<SpanOfTime>,
    /// How long it may take.
    pub within: Option<SpanOfTime>,
    /// How many times it is done.
    pub repeat: u64,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Verb {
    /// Waits until something is so.
    Wait(Condition),
    /// SIGKILL.
    Kill(Target),
    /// SIGTERM, and waits until it is gone.
    Stop(Target),
    /// SIGSTOP.
    Pause(Target),
    /// SIGCONT; it ends a starvation, too.
    Resume(Target),
    /// SIGSTOP and SIGCONT in turns, so that a process gets a share of its time only.
    Starve {
        /// Which.
        target: Target,
        /// How much of its time it may run, in percent.
        share: u64,
        /// How long one turn of standing still and running takes.
        period: SpanOfTime,
    },
    /// Faults drawn one after the other, for as long as the step lasts.
    Storm(Storm),
    /// Starts a dead process again; a living one is killed first.
    Restart {
        /// Which.
        target: Target,
        /// Under its own id, or under a new one.
        same_identity: bool,
    },
    /// Starts another process.
    Spawn(Vec<Spawn>),
    /// A burst of readings.
    Publish {
        /// Who publishes.
        target: Target,
        /// How many each.
        count: u64,
        /// The size of a reading in bytes, at least.
        size: u64,
    },
    /// Nothing passes over some links.
    Partition(Partition),
    /// Some links are bad.
    Link(Box<Link>),
    /// An interface changes.
    Interface(InterfaceStep),
    /// A firewall in front of a host.
    Firewall {
        /// In front of whom.
        target: Target,
        /// What it does.
        wall: Wall,
    },
    /// Something is wrong with the disk of a host.
    Disk {
        /// Of whom.
        target: Target,
        /// What.
        disk: Disk,
    },
    /// Faults of the network are over.
    Heal(Healing),
    /// Stops the workload and waits until what was published is delivered everywhere.
    Quiesce,
    /// Lets time pass.
    Sleep,
    /// Several steps as one.
    Do(Vec<Step>),
}

impl Verb {
    /// Its name in the file.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Wait(_) => "wait",
            Self::Kill(_) => "kill",
            Self::Stop(_) => "stop",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::Starve { .. } => "starve",
            Self::Storm(_) => "storm",
            Self::Restart { .. } => "restart",
            Self::Spawn(_) => "spawn",
            Self::Publish { .. } => "publish",
            Self::Partition(_) => "partition",
            Self::Link(_) => "link",
            Self::Interface(_) => "interface",
            Self::Firewall { .. } => "firewall",
            Self::Disk { .. } => "disk",
            Self::Heal(_) => "heal",
            Self::Quiesce => "quiesce",
            Self::Sleep => "for",
            Self::Do(_) => "do",
        }
    }

    /// Whom it is done to.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::Kill(target)
            | Self::Stop(target)
            | Self::Pause(target)
            | Self::Resume(target) => Some(target),
            Self::Restart { target, .. }
            | Self::Publish { target, .. }
            | Self::Starve { target, .. } => Some(target),
            Self::Interface(InterfaceStep { target, .. })
            | Self::Firewall { target, .. }
            | Self::Disk { target, .. } => Some(target),
            Self::Storm(_)
            | Self::Wait(_)
            | Self::Spawn(_)
            | Self::Quiesce
            | Self::Sleep
            | Self::Do(_)
            | Self::Partition(_)
            | Self::Link(_)
            | Self::Heal(_) => None,
        }
    }

    /// Whether it touches a host or the network, and not only processes.
    #[must_use]
    pub fn is_of_hosts(&self) -> bool {
        let of_network = matches!(
            self,
            Self::Partition(_) | Self::Link(_) | Self::Interface(_) | Self::Firewall { .. }
        );
        of_network || matches!(self, Self::Disk { .. } | Self::Heal(_))
    }

    /// Whether it can last, and end by itself.
    #[must_use]
    pub fn can_last(&self) -> bool {
        let lasts = matches!(
            self,
            Self::Sleep | Self::Pause(_) | Self::Starve { .. } | Self::Storm(_) | Self::Wait(_)
        );
        lasts || self.is_of_hosts() && !matches!(self, Self::Heal(_))
    }
}

/// Whom a step is done to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Chosen when the step runs.
    pub who: Placed<Selector>,
    /// The name that the choice is given.
    pub bind: Option<String>,
    /// What if nobody fits.
    pub if_none: IfNone,
}

/// What a step does if nobody fits its selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfNone {
    /// Waits until somebody does, up to `within`.
    Wait,
    /// Is left out.
    Skip,
    /// Fails.
    Fail,
}

/// A process to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spawn {
    /// What its files are called.
    pub name: String,
    /// The id that it is given.
    pub id: PeerId,
    /// The status it is expected to end with, if it is expected to end by itself.
    pub exits: Option<i32>,
}

/// What a wait waits for.
#[derive(Clone, Debug)]
pub enum Condition {
    /// One leader, the same view everywhere, that view names exactly the living, and no election
    /// for two heartbeats.
    Stable,
    /// A majority names the same living leader.
    Leader,
    /// A majority names another leader than this one.
    LeaderNot(Placed<Selector>),
    /// So many readings were delivered by every running peer since the run began.
    Delivered(u64),
    /// So many readings are published and delivered nowhere.
    Unordered(u64),
    /// Somebody presses Ctrl-C: for demonstrations, which no timeout ends.
    Interrupt,
    /// An event, at least so many times since the last step that did something began.
    Event {
        /// Which.
        pattern: EventPattern,
        /// By whom.
        on: Option<Placed<Selector>>,
        /// How often, at each.
        count: u64,
        /// The name that those at whom it was seen are given.
        bind: Option<String>,
    },
    /// A log line that was written since the last step that did something began.
    Log {
        /// Which.
        pattern: LogPattern,
        /// By whom.
        on: Option<Placed<Selector>>,
        /// The name that those at whom it was seen are given.
        bind: Option<String>,
    },
}

/// A point in time: when a step starts or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The step.
    pub step: String,
    /// Its end rather than its start.
    pub end: bool,
    /// Its place in the file.
    pub span: Span,
}

/// What has to come of the steps.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Its place in the file.
    pub span: Span,
    /// What is looked for.
    pub what: What,
    /// At whom, each of them; anybody if not said.
    pub on: Option<Placed<Selector>>,
    /// From when on.
    pub after: Option<Point>,
    /// Until when.
    pub before: Option<Point>,
    /// How soon after `after`.
    pub within: Option<SpanOfTime>,
    /// How often, least and most.
    pub count: (u64, u64),
}

impl Expectation {
    /// Whether it must not happen at all.
    #[must_use]
    pub fn is_never(&self) -> bool {
        self.count == (0, 0)
    }
}

/// What is looked for.
#[derive(Clone, Debug)]
pub enum What {
    /// An event.
    Event(EventPattern),
    /// A log line.
    Log(LogPattern),
    /// At the point `after`, at least so many readings are published and delivered nowhere, by the
    /// history.
    Unordered(u64),
}

/// An event and some of its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPattern {
    /// Its name.
    pub name: String,
    /// Its fields: each one of these values, as text; `$name` stands for those bound so.
    pub fields: BTreeMap<String, Vec<String>>,
}

/// A regular expression in which `$name` stands for those bound so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPattern(pub Placed<String>);

impl Scenario {
    /// Whether it waits for Ctrl-C: then that is how it is meant to end.
    #[must_use]
    pub fn is_endless(&self) -> bool {
        self.all_steps().iter().any(|step| matches!(step.verb, Verb::Wait(Condition::Interrupt)))
    }

    /// Every step, those inside `do` included, in order.
    #[must_use]
    pub fn all_steps(&self) -> Vec<&Step> {
        fn gather<'a>(steps: &'a [Step], out: &mut Vec<&'a Step>) {
            for step in steps {
                out.push(step);
                if let Verb::Do(inner) = &step.verb {
                    gather(inner, out);
                }
            }
        }
        let mut out = Vec::new();
        gather(&self.steps, &mut out);
        out
    }
}
