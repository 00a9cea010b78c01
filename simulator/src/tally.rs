//! The counts of a run: always counted, because a sweep in which an event never happened has not
//! tested it.

use std::ops::AddAssign;

use protocol::note::{Cause, Evidence, Note};
use serde::{Deserialize, Serialize};

/// Counts over one run, or over many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Inputs that nodes handled: the events of "events per second".
    pub inputs: u64,
    /// Readings delivered to sinks.
    pub delivered: u64,
    /// Frames and datagrams lost.
    pub lost: u64,
    /// Frames and datagrams that took the slow path.
    pub delayed: u64,
    /// Datagrams that came twice.
    pub repeated: u64,
    /// Frames cut at a byte.
    pub cut_at_byte: u64,
    /// Datagrams whose bytes were changed on the way, and that were refused.
    pub corrupted: u64,
    /// Frames whose bytes were changed on the way, which ended their connections.
    pub damaged: u64,
    /// Datagrams that were lost for lack of room.
    pub crowded_out: u64,
    /// Messages lost because of their kind.
    pub filtered: u64,
    /// Runs in which progress was not demanded, because the remaining group could make none.
    pub hopeless: u64,
    /// Elections started.
    pub elections: u64,
    /// Leaders elected, first ones and renewals included.
    pub leaders: u64,
    /// Elections ended by a peer that knew a working leader.
    pub vetoes: u64,
    /// Logs that continued in a new epoch.
    pub cuts: u64,
    /// Groups that merged into another one.
    pub merges: u64,
    /// Snapshots taken.
    pub snapshots: u64,
    /// Gaps reported.
    pub gaps: u64,
    /// Members evicted because they lagged too far for too long.
    pub slow: u64,
    /// Successors that were asked to take over.
    pub handovers: u64,
    /// Readings refused, because their window was full or their peer was leaving.
    pub refused: u64,
    /// Repeats of readings that were not delivered again.
    pub repeats: u64,
    /// Processes that stopped because another one has their name.
    pub twins: u64,
}

impl Tally {
    pub(crate) fn note(&mut self, note: &Note) {
        if matches!(note, Note::ElectionStarted { cause: Cause::Handover, .. }) {
            self.handovers += 1;
        }
        let count = match note {
            Note::ElectionStarted { .. } => &mut self.elections,
            Note::LeaderElected { .. } => &mut self.leaders,
            Note::Vetoed { .. } => &mut self.vetoes,
            Note::Cut { .. } => &mut self.cuts,
            Note::Merged { .. } => &mut self.merges,
            Note::StateTransfer { .. } => &mut self.snapshots,
            Note::Gap { .. } => &mut self.gaps,
            Note::Suspect {
                evidence: Evidence::Slow { .. } | Evidence::Unacknowledged { .. },
                ..
            } => &mut self.slow,
            Note::Refused { .. } => &mut self.refused,
            Note::DupSuppressed { .. } => &mut self.repeats,
            _ => return,
        };
        *count += 1;
    }

    /// The counts that a large sweep must have, by name.
    #[must_use]
    pub fn musts(&self) -> [(&'static str, u64); 16] {
        [
            ("frames lost", self.lost),
            ("delayed", self.delayed),
            ("duplicated", self.repeated),
            ("cut at a byte", self.cut_at_byte),
            ("frames damaged", self.damaged),
            ("datagrams crowded out", self.crowded_out),
            ("messages of a kind lost", self.filtered),
            ("elections", self.elections),
            ("vetoes", self.vetoes),
            ("cuts", self.cuts),
            ("merges", self.merges),
            ("gaps", self.gaps),
            ("slow evictions", self.slow),
            ("hand-overs", self.handovers),
            ("repeats refused", self.repeats),
            ("duplicate ids refused", self.twins),
        ]
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.inputs += other.inputs;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.delayed += other.delayed;
        self.repeated += other.repeated;
        self.cut_at_byte += other.cut_at_byte;
        self.corrupted += other.corrupted;
        self.damaged += other.damaged;
        self.crowded_out += other.crowded_out;
        self.filtered += other.filtered;
        self.hopeless += other.hopeless;
        self.elections += other.elections;
        self.leaders += other.leaders;
        self.vetoes += other.vetoes;
        self.cuts += other.cuts;
        self.merges += other.merges;
        self.snapshots += other.snapshots;
        self.gaps += other.gaps;
        self.slow += other.slow;
        self.handovers += other.handovers;
        self.refused += other.refused;
        self.repeats += other.repeats;
        self.twins += other.twins;
    }
}
