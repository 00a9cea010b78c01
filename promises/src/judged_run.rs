//! The input of a check: a history, its index, and further facts about the run.

use protocol::config::{Knobs, Mode};

use crate::disk::Disk;
use crate::history::History;
use crate::index::Index;

/// Facts about a run that its history does not hold.
#[derive(Clone, Debug)]
pub struct Options {
    /// The knobs of the run: its mode decides what is promised, and bounds on time depend on them.
    pub knobs: Knobs,
    /// Promises that must have had something to check, by id.
    pub required: Vec<String>,
    /// Whether the peers wrote `publish` events.
    pub publish_known: bool,
    /// Whether the run ended at rest: no fault in force, the workload over, everything drained.
    /// Progress is demanded only then.
    pub settled: bool,
    /// The files of the peers' sinks, if known.
    pub disks: Vec<Disk>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            knobs: Knobs::default(),
            required: vec![],
            publish_known: true,
            settled: false,
            disks: vec![],
        }
    }
}

/// The input of a check.
pub(crate) struct JudgedRun<'a> {
    pub(crate) history: &'a History,
    pub(crate) index: &'a Index<'a>,
    pub(crate) options: &'a Options,
}

impl JudgedRun<'_> {
    /// Whether only a side with a quorum may continue: by the knobs, or, if they are unknown, by
    /// the reports of the peers.
    pub(crate) fn is_primary(&self) -> bool {
        self.options.knobs.mode == Mode::Primary || self.index.primary
    }

    /// The greatest size of a log entry. A history does not hold the sizes of readings.
    pub(crate) fn heaviest_entry(&self) -> u64 {
        let largest =
            self.index.views.iter().map(|view| view.members.len() as u64).max().unwrap_or(0);
        self.options.knobs.payload_max.saturating_add(64).max(64 + 160 * largest)
    }
}
