//! The ground truth: what is done to a group from outside, and what is observed there, beside the
//! peers' own events.
//!
//! Written by the program that acts: the orchestrator (`_`), the `chaos` command (`_chaos.<pid>`),
//! the simulator (`_sim`). A line of this kind has no `inc`, and a peer's line always has one; so a
//! reader tells them apart.
//!
//! `t` is the moment **before** the act began, even if the line is written after its confirmation:
//! the peers may react before the line is on disk, and an effect must not precede its cause in the
//! merged timeline. Only the end of a fault (`heal`) bears the moment after it was undone.

use protocol::id::PeerId;
use protocol::note::EVENT_VERSION;
use protocol::time::Time;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// One line of an event file that is not a peer's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorldEvent {
    /// The schema version.
    pub v: u8,
    /// CLOCK_MONOTONIC in microseconds, the clock of the peers; in the simulator from 0.
    pub t: Time,
    /// The writer: `_`, `_chaos.<pid>` or `_sim`.
    pub p: String,
    /// The writer's own count of its events.
    pub n: u64,
    /// The fact.
    #[serde(flatten)]
    pub what: GroundTruth,
}

impl WorldEvent {
    /// An event of the current schema.
    #[must_use]
    pub fn new(t: Time, p: &str, n: u64, what: GroundTruth) -> Self {
        Self { v: EVENT_VERSION, t, p: p.to_owned(), n, what }
    }
}

/// A fact of the ground truth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ev", rename_all = "snake_case")]
pub enum GroundTruth {
    /// A process was started.
    Spawn {
        /// The peer it is to be.
        peer: PeerId,
        /// The name of the process, which names its files; the peer's id unless a scenario says
        /// otherwise.
        process: String,
        /// Process id; 0 in the simulator.
        pid: u32,
    },
    /// A process ended.
    Exit {
        /// The peer it was.
        peer: PeerId,
        /// The name of the process.
        process: String,
        /// Process id; 0 in the simulator.
        pid: u32,
        /// Its exit status, if it ended by itself.
        status: Option<i32>,
        /// The signal that ended it, if one did.
        signal: Option<i32>,
        /// Whether the scenario intended this.
        expected: bool,
    },
    /// A step of the scenario begins or ends.
    Step {
        /// The step.
        id: String,
        /// Its beginning or its end.
        phase: Phase,
    },
    /// A fault is in force from here on.
    Fault {
        /// The step, or a name chosen by the writer; `heal` refers to it.
        id: String,
        /// The fault.
        #[serde(flatten)]
        fault: Fault,
        /// The affected processes, by name; for faults of links, all processes concerned.
        who: Vec<String>,
        /// Whether its effect was confirmed (the process is gone, or stopped).
        confirmed: bool,
    },
    /// A fault is over.
    Heal {
        /// The fault's id.
        id: String,
    },
    /// From `from` to `to` there was no fault: liveness may be judged there.
    Quiet {
        /// The beginning.
        from: Time,
        /// The end.
        to: Time,
        /// The processes that could all reach each other; empty means all live processes.
        #[serde(default)]
        core: Vec<String>,
    },
    /// The outcome of an expectation.
    Expect {
        /// Its name.
        id: String,
        /// Whether it was met.
        met: bool,
        /// The words of the report.
        words: String,
    },
    /// The writer's own loop ran this late: its observations may be the machine's fault.
    Lag {
        /// How late, in microseconds.
        us: u64,
    },
    /// The resources of a process.
    Sample {
        /// The name of the process.
        process: String,
        /// Process id.
        pid: u32,
        /// Open file descriptors.
        descriptors: u64,
        /// Resident memory in bytes.
        memory: u64,
    },
    /// The end of a run.
    Verdict {
        /// `pass`, `fail`, `unknown` or `interrupted`.
        outcome: String,
    },
}

/// The beginning or the end of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It begins.
    Start,
    /// It is done.
    End,
}

#[cfg(test)]
mod tests {
    use super::{GroundTruth, WorldEvent};
    use crate::fault::{Fault, LinkSet};
    use protocol::time::Time;

    #[test]
    fn a_fault_reads_like_the_documentation_says() {
        let table = LinkSet::split(&[
            vec!["peer1".to_owned(), "peer2".to_owned()],
            vec!["peer3".to_owned()],
        ]);
        let who = vec!["peer1".to_owned(), "peer2".to_owned(), "peer3".to_owned()];
        let event = WorldEvent::new(
            Time::from_micros(820),
            "_",
            77,
            GroundTruth::Fault {
                id: "cut".to_owned(),
                fault: Fault::Partition { table },
                who,
                confirmed: true,
            },
        );
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(
            line,
            r#"{"v":1,"t":820,"p":"_","n":77,"ev":"fault","id":"cut","do":"partition","table":"peer1,peer2|peer3","who":["peer1","peer2","peer3"],"confirmed":true}"#
        );
        assert_eq!(serde_json::from_str::<WorldEvent>(&line).unwrap(), event);
    }

    #[test]
    fn a_quiet_window_without_a_core_means_everybody() {
        let line = r#"{"v":1,"t":9,"p":"_sim","n":1,"ev":"quiet","from":1,"to":9}"#;
        let event: WorldEvent = serde_json::from_str(line).unwrap();
        assert_eq!(
            event.what,
            GroundTruth::Quiet {
                from: Time::from_micros(1),
                to: Time::from_micros(9),
                core: vec![]
            }
        );
    }
}
