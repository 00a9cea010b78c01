//! Where a scenario runs. The engine speaks to this trait only; what a kill or a moment of time is,
//! the world knows.
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

/// Why a world could not do what it was asked for: not the product's fault.
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
    /// This world cannot do that at all.
    #[error("this world cannot do `{what}`")]
    Impossible {
        /// What was asked for.
        what: String,
    },
}

/// Something that is wrong with the network until it is mended.
#[derive(Clone, Debug)]
pub enum Wrong {
    /// Nothing of some sort passes over some links.
    Cut {
        /// Which links.
        table: LinkSet,
        /// Which frames.
        traffic: Traffic,
    },
    /// Some links are bad.
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
        /// What becomes of it.
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
        /// In front of whom.
        who: Vec<String>,
        /// What it does.
        wall: Wall,
    },
}

/// Something that was seen.
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
    /// A line of an event file that cannot be read: lost evidence.
    Unreadable {
        /// The name of the process.
        process: String,
        /// Why.
        why: String,
    },
}

/// Where a scenario runs.
pub trait World {
    /// Its name: `processes`, `simulator`.
    fn name(&self) -> &'static str;

    /// What time it is there.
    fn now(&self) -> Time;

    /// Starts a process; returns its process id, 0 where there is none.
    ///
    /// # Errors
    /// If it cannot be started.
    fn start(&mut self, process: &str, peer: &PeerId) -> Result<u32, WorldError>;

    /// Makes a process forget what it kept, its port included.
    ///
    /// # Errors
    /// If that cannot be done.
    fn wipe(&mut self, process: &str) -> Result<(), WorldError>;

    /// Does something to processes, to all of them at once, and waits until it is seen to have
    /// worked; false if that was not seen at every one.
    ///
    /// # Errors
    /// If it cannot be done.
    fn act(&mut self, fault: &Fault, processes: &[String]) -> Result<bool, WorldError>;

    /// Has something be wrong with the network, under a name.
    ///
    /// # Errors
    /// If it cannot be done, or this world has no network of its own.
    fn go_wrong(&mut self, name: &str, wrong: &Wrong) -> Result<(), WorldError> {
        let _ = wrong;
        Err(WorldError::Impossible { what: name.to_owned() })
    }

    /// What was wrong under that name is over.
    ///
    /// # Errors
    /// If it cannot be undone.
    fn mend(&mut self, name: &str) -> Result<(), WorldError> {
        Err(WorldError::Impossible { what: name.to_owned() })
    }

    /// The last frames of the network as a file, where there are any.
    fn capture(&self) -> Option<Vec<u8>> {
        None
    }

    /// Gives a process a reading to publish; false if it does not run.
    fn publish(&mut self, process: &str, reading: &str) -> bool;

    /// How many bytes of readings the process has not taken yet.
    fn backlog(&self, process: &str) -> usize;

    /// The process id of a process and what it holds; none if it does not run, or where processes
    /// hold nothing.
    fn holdings(&self, process: &str) -> Option<(u32, Holdings)>;

    /// The names of those that run, paused ones included.
    fn living(&self) -> Vec<String>;

    /// How long the human log of each process is just now.
    fn marks(&self) -> Vec<(String, u64)>;

    /// Lets so much time pass, and looks at nothing meanwhile.
    fn pass(&mut self, span: Duration);

    /// Lets a little time pass and appends what was seen.
    ///
    /// # Errors
    /// If the world cannot be observed any more.
    fn turn(&mut self, seen: &mut Vec<Seen>) -> Result<(), WorldError>;

    /// Writes down what was done, as part of the history.
    ///
    /// # Errors
    /// If it cannot be written.
    fn record(&mut self, event: &WorldEvent) -> Result<(), WorldError>;

    /// Ends everything, the gentle way until `hurry` says otherwise, and appends what was seen
    /// until then. Returns who had to be killed.
    ///
    /// # Errors
    /// If it cannot be ended.
    fn end(
        &mut self,
        hurry: &mut dyn FnMut() -> bool,
        seen: &mut Vec<Seen>,
    ) -> Result<Vec<String>, WorldError>;
}
