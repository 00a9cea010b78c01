//! The world that a scenario runs in. The engine uses only this trait; each world decides how a
//! kill or the passing of time works there.
//!
//! [`crate::processes`] is the world of real peers on loopback.

use std::time::Duration;

use hosts::network::Change;
use hosts::rule::{Line, Traffic};
use promises::fault::{Fault, LinkSet};
use promises::history::Record;
use promises::world::WorldEvent;
use protocol::id::PeerId;
use protocol::time::Time;

use crate::holdings::Holdings;
use crate::scenario::{Disk, Wall};

/// Why a world could not do something: never the product's fault.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The system refused.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// This world has no means for it.
    #[error("this world cannot do `{what}`")]
    Impossible {
        /// What was asked for.
        what: String,
    },
}

/// A network fault, in force until it is mended.
#[derive(Clone, Debug)]
pub enum Wrong {
    /// Some links pass no frames of some kind.
    Cut {
        /// Which links.
        table: LinkSet,
        /// Which frames.
        traffic: Traffic,
    },
    /// Some links are degraded.
    Bad {
        /// Which links.
        table: LinkSet,
        /// Which frames.
        traffic: Traffic,
        /// How bad.
        line: Line,
    },
    /// An interface is changed.
    Interface {
        /// Whose.
        who: Vec<String>,
        /// Which.
        name: String,
        /// The change.
        change: Change,
    },
    /// The folder of a peer is full, or gone.
    Disk {
        /// Whose.
        who: Vec<String>,
        /// Which of the two.
        disk: Disk,
    },
    /// A firewall stands in front of hosts.
    Wall {
        /// The hosts.
        who: Vec<String>,
        /// What it does.
        wall: Wall,
    },
}

/// An observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A process reported an event.
    Event {
        /// The name of the process.
        process: String,
        /// The event.
        record: Record,
    },
    /// A process wrote a line of its human log.
    Line {
        /// The name of the process.
        process: String,
        /// Where in the log the line begins.
        offset: u64,
        /// When it was written.
        time: Time,
        /// Its text.
        text: String,
    },
    /// A process has ended.
    Ended {
        /// The name of the process.
        process: String,
        /// The peer it was.
        peer: PeerId,
        /// Its process id.
        pid: u32,
        /// Its status, if it ended by itself.
        status: Option<i32>,
        /// The signal that ended it, if one did.
        signal: Option<i32>,
    },
    /// An unreadable line of an event file: lost evidence.
    Unreadable {
        /// The name of the process.
        process: String,
        /// Why.
        why: String,
    },
}

/// The world that a scenario runs in.
pub trait World {
    /// Its name: `processes`, `simulator`.
    fn name(&self) -> &'static str;

    /// The current time of the world.
    fn now(&self) -> Time;

    /// Starts a process; returns its pid, or 0 in a world without pids.
    ///
    /// # Errors
    /// If it cannot be started.
    fn start(&mut self, process: &str, peer: &PeerId) -> Result<u32, WorldError>;

    /// Wipes the data of a process, its port included.
    ///
    /// # Errors
    /// If that cannot be done.
    fn wipe(&mut self, process: &str) -> Result<(), WorldError>;

    /// Injects a fault into processes, all at once, and waits for its effect; false if the effect
    /// was not seen at every process.
    ///
    /// # Errors
    /// If it cannot be done.
    fn act(&mut self, fault: &Fault, processes: &[String]) -> Result<bool, WorldError>;

    /// Puts a network fault in force, under a name.
    ///
    /// # Errors
    /// If it cannot be done, or this world has no network of its own.
    fn go_wrong(&mut self, name: &str, wrong: &Wrong) -> Result<(), WorldError> {
        let _ = wrong;
        Err(WorldError::Impossible { what: name.to_owned() })
    }

    /// Ends the network fault of that name.
    ///
    /// # Errors
    /// If it cannot be undone.
    fn mend(&mut self, name: &str) -> Result<(), WorldError> {
        Err(WorldError::Impossible { what: name.to_owned() })
    }

    /// The last frames of the network as a file, if there are any.
    fn capture(&self) -> Option<Vec<u8>> {
        None
    }

    /// Gives a process a reading to publish; false if it does not run.
    fn publish(&mut self, process: &str, reading: &str) -> bool;

    /// How many bytes of readings the process has not taken yet.
    fn backlog(&self, process: &str) -> usize;

    /// The pid and the resources of a process; none if it does not run, or in a world without
    /// resources.
    fn holdings(&self, process: &str) -> Option<(u32, Holdings)>;

    /// The names of the running processes, paused ones included.
    fn living(&self) -> Vec<String>;

    /// The current length of each process's human log.
    fn marks(&self) -> Vec<(String, u64)>;

    /// Lets this much time pass, without observing anything.
    fn pass(&mut self, span: Duration);

    /// Lets a little time pass and appends the observations.
    ///
    /// # Errors
    /// If the world cannot be observed any more.
    fn turn(&mut self, seen: &mut Vec<Seen>) -> Result<(), WorldError>;

    /// Records an act as part of the history.
    ///
    /// # Errors
    /// If it cannot be written.
    fn record(&mut self, event: &WorldEvent) -> Result<(), WorldError>;

    /// Ends all processes, gently until `hurry` says otherwise, and appends the observations until
    /// then. Returns the names of those that had to be killed.
    ///
    /// # Errors
    /// If it cannot be ended.
    fn end(
        &mut self,
        hurry: &mut dyn FnMut() -> bool,
        seen: &mut Vec<Seen>,
    ) -> Result<Vec<String>, WorldError>;
}
