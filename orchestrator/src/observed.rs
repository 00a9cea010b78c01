//! All observations of a run so far: the history, the logs, the state of the group, what was
//! published and delivered, and when each step was done.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use promises::Bindings;
use promises::history::Record;
use promises::standing::{Stand, Standing};
use promises::world::{GroundTruth, WorldEvent};
use protocol::id::{Incarnation, Oseq, PeerId, Seq};
use protocol::note::{Event, Note, Refusal};
use protocol::time::Time;

use crate::world::Seen;

/// All observations of a run so far.
#[derive(Debug, Default)]
pub struct Observed {
    /// Every event, with the name of its process; `_` for the test bench itself.
    pub events: Vec<(String, Record)>,
    /// Every line of every human log.
    pub logs: BTreeMap<String, Vec<LogLine>>,
    /// The state of the group.
    pub standing: Standing,
    /// Readings and their deliveries.
    pub ledger: Ledger,
    /// Each time a step was performed.
    pub occurrences: Vec<Occurrence>,
    /// The last time a peer asked for another leader.
    pub last_election: Option<Time>,
    /// Unreadable lines of event files.
    pub unreadable: Vec<String>,
    /// Starving processes, which have to keep up all the same.
    pub starving: BTreeSet<String>,
}

/// A line of a human log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Its offset in the file.
    pub offset: u64,
    /// When it was written.
    pub time: Time,
    /// Its text.
    pub text: String,
}

/// One performance of a step.
#[derive(Clone, Debug)]
pub struct Occurrence {
    /// The step's id.
    pub step: String,
    /// When it began.
    pub start: Time,
    /// When it was done; a lasting pause is done when it is over.
    pub end: Option<Time>,
    /// The length of each log when it began.
    pub start_marks: BTreeMap<String, u64>,
    /// The length of each log when it was done.
    pub end_marks: BTreeMap<String, u64>,
    /// The processes that each name was bound to when it was done.
    pub bindings: Bindings,
    /// The processes that ran (not paused) when it was done.
    pub moving: Vec<String>,
}

impl Observed {
    /// Takes an observation. [`Self::witness`] takes the end of a process, since only the engine
    /// knows whether the end was expected.
    pub fn take(&mut self, seen: Seen) {
        match seen {
            Seen::Event { process, record } => {
                if let Record::Peer(event) = &record {
                    self.standing.observe(&process, event);
                    self.ledger.observe(&process, event);
                    if let Note::ElectionStarted { .. } = &event.note {
                        self.last_election =
                            Some(self.last_election.map_or(event.t, |last| last.max(event.t)));
                    }
                }
                self.events.push((process, record));
            }
            Seen::Line { process, offset, time, text } => {
                self.logs.entry(process).or_default().push(LogLine { offset, time, text })
            }
            Seen::Unreadable { process, why } => self.unreadable.push(format!("{process}: {why}")),
            Seen::Ended { .. } => {}
        }
    }

    /// Takes an event recorded by the test bench.
    pub fn witness(&mut self, event: WorldEvent) {
        self.standing.witness(&event);
        if let GroundTruth::Exit { process, .. } = &event.what {
            self.ledger.forget(process);
        }
        self.events.push((event.p.clone(), Record::World(event)));
    }

    /// The processes that run and are not paused for good.
    #[must_use]
    pub fn moving(&self) -> Vec<String> {
        let moves = |stand: &&&Stand| !stand.paused || self.starving.contains(&stand.process);
        self.standing.live().iter().filter(moves).map(|stand| stand.process.clone()).collect()
    }

    /// All performances of a step.
    pub fn of_step(&self, step: &str) -> impl Iterator<Item = &Occurrence> {
        self.occurrences.iter().filter(move |occurrence| occurrence.step == step)
    }
}

type Key = (PeerId, Incarnation, Oseq);

/// Readings and their deliveries.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Delivered by any process. Never pruned, because a delivery may be read before the
    /// publisher's own event.
    ordered: HashSet<Key>,
    /// Published, and delivered by no process.
    unordered: HashSet<Key>,
    lives: BTreeMap<String, Life>,
}

/// The readings of one process in its present life.
#[derive(Clone, Debug, Default)]
struct Life {
    delivered: u64,
    settled: u64,
    /// Everything up to this position of the log was delivered or accounted for.
    position: Seq,
    /// The last position of a reading.
    last_reading: Seq,
}

impl Ledger {
    fn observe(&mut self, process: &str, event: &Event) {
        if matches!(event.note, Note::Start { .. }) {
            self.lives.insert(process.to_owned(), Life::default());
        }
        let life = self.lives.entry(process.to_owned()).or_default();
        match &event.note {
            Note::Publish { oseq, .. } => {
                life.settled += 1;
                let key = (event.p.clone(), event.inc, *oseq);
                if !self.ordered.contains(&key) {
                    self.unordered.insert(key);
                }
            }
            // A peer with a full window reports only that; it publishes the line as soon as there
            // is room.
            Note::Refused { why: Refusal::WindowFull, .. } => {}
            Note::Refused { .. } => life.settled += 1,
            Note::Deliver { seq, origin, origin_inc, oseq, .. } => {
                life.delivered += 1;
                life.position = life.position.max(*seq);
                life.last_reading = life.last_reading.max(*seq);
                let key = (origin.clone(), *origin_inc, *oseq);
                self.unordered.remove(&key);
                self.ordered.insert(key);
            }
            Note::DupSuppressed { seq, .. } => life.position = life.position.max(*seq),
            Note::View { seq, .. } => life.position = life.position.max(*seq),
            Note::Gap { to, .. } => life.position = life.position.max(*to),
            Note::StateTransfer { resume, .. } => life.position = life.position.max(*resume),
            Note::Diverged { from, .. } => {
                life.position = from.previous();
                life.last_reading = life.last_reading.min(from.previous());
            }
            Note::Lost { seq, origin, origin_inc, from, to, .. } => {
                life.position = life.position.max(*seq);
                let is_lost = |(peer, inc, oseq): &Key| {
                    peer == origin && inc == origin_inc && from <= oseq && oseq <= to
                };
                self.unordered.retain(|key| !is_lost(key));
            }
            _ => {}
        }
    }

    fn forget(&mut self, process: &str) {
        self.lives.remove(process);
    }

    /// How many readings are published and not delivered anywhere.
    #[must_use]
    pub fn unordered(&self) -> u64 {
        self.unordered.len() as u64
    }

    /// How many readings a process has delivered in its present life.
    #[must_use]
    pub fn delivered(&self, process: &str) -> u64 {
        self.lives.get(process).map_or(0, |life| life.delivered)
    }

    /// How many readings a process has numbered or refused in its present life.
    #[must_use]
    pub fn settled(&self, process: &str) -> u64 {
        self.lives.get(process).map_or(0, |life| life.settled)
    }

    /// What is still in flight among these processes, whose peers are `peers`; none if nothing is.
    #[must_use]
    pub fn under_way(
        &self,
        processes: &[String],
        peers: &BTreeSet<(PeerId, Incarnation)>,
    ) -> Option<String> {
        let waiting = self
            .unordered
            .iter()
            .filter(|(peer, inc, _)| peers.contains(&(peer.clone(), *inc)))
            .count();
        if waiting > 0 {
            return Some(format!("{waiting} readings are published and not ordered"));
        }
        let lives =
            || processes.iter().filter_map(|process| Some((process, self.lives.get(process)?)));
        let last = lives().map(|(_, life)| life.last_reading).max().unwrap_or_default();
        let behind = lives().find(|(_, life)| life.position < last);
        behind.map(|(process, life)| {
            format!("{process} has delivered up to #{}, others up to #{last}", life.position)
        })
    }
}
