//! A scenario: what to do to a group, and what to expect of it. Raw text in, a checked value with
//! places in the file out.
//!
//! Everything unknown is refused, and all mistakes of a file are reported at once. A scenario does
//! not know processes or virtual time: the caller chooses the world that runs it.

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

/// One scenario, ready to run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name, which is also the name of its runs' folder.
    pub name: String,
    /// One sentence about what it shows.
    pub about: String,
    /// Words to select it by.
    pub tags: Vec<String>,
    /// The limit of a run.
    pub timeout: SpanOfTime,
    /// How many seeds it runs with.
    pub repeat: u64,
    /// The group at the start.
    pub cluster: Cluster,
    /// Readings that flow during the whole run.
    pub workload: Option<Workload>,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The expectations.
    pub expectations: Vec<Expectation>,
    /// The parts that need real hosts, and their places in the file; empty if the scenario runs on
    /// loopback as well.
    pub needs_hosts: Vec<Placed<String>>,
    /// Promises that must have had something to check.
    pub required: Vec<String>,
    /// Promises that are reported and do not fail the run, each with the reason.
    pub excused: BTreeMap<String, String>,
}

/// The group at the start.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its peers' ids, in the order in which they start.
    pub ids: Ids,
    /// The shortest and the longest time between two starts.
    pub stagger: (SpanOfTime, SpanOfTime),
    /// The knobs of every peer.
    pub knobs: Knobs,
    /// Which profile the knobs start from.
    pub profile: Profile,
    /// Flags handed to every `peer run` on top of the profile: name and value.
    pub flags: Vec<(String, String)>,
    /// The peers that are not started at the beginning; a `spawn` starts them.
    pub late: Vec<PeerId>,
    /// Special settings of single hosts, by process name.
    pub hosts: BTreeMap<String, Host>,
}

/// Special settings of one host.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Flags of its `peer run`: name and value; `@peer2` in a value is the address of that host.
    pub flags: Vec<(String, String)>,
    /// Its interfaces; one plain interface if the list is empty.
    pub interfaces: Vec<hosts::network::Plan>,
    /// Whether nothing reads the standard output of its peer.
    pub unread: bool,
    /// The size of the disk for its peer's data, in MiB; the disk of this machine if not set.
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

/// Readings that flow during the whole run.
#[derive(Clone, Debug)]
pub enum Workload {
    /// The test bench feeds readings to peers.
    Fed {
        /// Between two readings of one peer.
        interval: Duration,
        /// Who publishes.
        from: Placed<Selector>,
    },
    /// Every peer measures its own machine, beside the readings it is fed.
    Host {
        /// Between two readings of one peer.
        interval: SpanOfTime,
    },
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its id in expectations.
    pub id: Option<String>,
    /// Its place in the file.
    pub span: Span,
    /// What it does.
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
    /// Waits until a condition holds.
    Wait(Condition),
    /// SIGKILL.
    Kill(Target),
    /// SIGTERM, and waits until it is gone.
    Stop(Target),
    /// SIGSTOP.
    Pause(Target),
    /// SIGCONT; it ends a starvation, too.
    Resume(Target),
    /// SIGSTOP and SIGCONT in turns, so that a process gets only a share of its time.
    Starve {
        /// Which.
        target: Target,
        /// How much of its time it may run, in percent.
        share: u64,
        /// How long one turn of stopping and running takes.
        period: SpanOfTime,
    },
    /// Faults drawn one after the other, for as long as the step lasts.
    Storm(Storm),
    /// Restarts a dead process; a live one is killed first.
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
    /// Cuts links.
    Partition(Partition),
    /// Degrades links.
    Link(Box<Link>),
    /// An interface changes.
    Interface(InterfaceStep),
    /// A firewall in front of a host.
    Firewall {
        /// The hosts.
        target: Target,
        /// What it does.
        wall: Wall,
    },
    /// A fault of a host's disk.
    Disk {
        /// The host.
        target: Target,
        /// The fault.
        disk: Disk,
    },
    /// Ends network faults.
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

    /// The target of the step.
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

    /// Whether it affects a host or the network, and not only processes.
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

/// The target of a step.
#[derive(Clone, Debug)]
pub struct Target {
    /// Chosen when the step runs.
    pub who: Placed<Selector>,
    /// The name bound to the choice.
    pub bind: Option<String>,
    /// What to do if no process matches.
    pub if_none: IfNone,
}

/// What a step does if no process matches its selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfNone {
    /// Waits until one matches, up to `within`.
    Wait,
    /// The step is skipped.
    Skip,
    /// The step fails.
    Fail,
}

/// A process to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spawn {
    /// The name in its file names.
    pub name: String,
    /// The id that it is given.
    pub id: PeerId,
    /// The exit status, if it is expected to end by itself.
    pub exits: Option<i32>,
}

/// The condition of a wait.
#[derive(Clone, Debug)]
pub enum Condition {
    /// One leader, the same view everywhere with exactly the live peers, and no election for two
    /// heartbeats.
    Stable,
    /// A majority names the same living leader.
    Leader,
    /// A majority names another leader than this one.
    LeaderNot(Placed<Selector>),
    /// This many readings were delivered by every running peer since the run began.
    Delivered(u64),
    /// This many readings are published and not delivered anywhere.
    Unordered(u64),
    /// The user presses Ctrl-C: for demonstrations, which no timeout ends.
    Interrupt,
    /// An event, at least this many times since the last act.
    Event {
        /// Which.
        pattern: EventPattern,
        /// The processes that must show it.
        on: Option<Placed<Selector>>,
        /// How often, at each process.
        count: u64,
        /// The name bound to the processes that showed it.
        bind: Option<String>,
    },
    /// A log line written since the last act.
    Log {
        /// Which.
        pattern: LogPattern,
        /// The processes that must write it.
        on: Option<Placed<Selector>>,
        /// The name bound to the processes that wrote it.
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

/// An expectation.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Its place in the file.
    pub span: Span,
    /// What is expected.
    pub what: What,
    /// The processes that each must show it; any process if not set.
    pub on: Option<Placed<Selector>>,
    /// From when on.
    pub after: Option<Point>,
    /// Until when.
    pub before: Option<Point>,
    /// How soon after `after`.
    pub within: Option<SpanOfTime>,
    /// The least and the greatest count.
    pub count: (u64, u64),
}

impl Expectation {
    /// Whether it must not happen at all.
    #[must_use]
    pub fn is_never(&self) -> bool {
        self.count == (0, 0)
    }
}

/// What is expected.
#[derive(Clone, Debug)]
pub enum What {
    /// An event.
    Event(EventPattern),
    /// A log line.
    Log(LogPattern),
    /// At the point `after`, at least this many readings are published and not delivered anywhere,
    /// by the history.
    Unordered(u64),
}

/// An event and some of its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPattern {
    /// Its name.
    pub name: String,
    /// Its fields: each has one of these values, as text; `$name` stands for the values bound to
    /// the name.
    pub fields: BTreeMap<String, Vec<String>>,
}

/// A regular expression in which `$name` stands for the values bound to the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPattern(pub Placed<String>);

impl Scenario {
    /// Whether it waits for Ctrl-C, which then is its normal end.
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
