//! What a check looks at: a history, its index, and what has to be known of the run besides.

use protocol::config::{Knobs, Mode};

use crate::disk::Disk;
use crate::history::History;
use crate::index::Index;

/// What has to be known of a run besides its history.
#[derive(Clone, Debug)]
pub struct Options {
    /// The knobs it ran with: what is promised depends on the mode among them, and bounds on time
    /// are reckoned from them.
    pub knobs: Knobs,
    /// Promises that must have had something to look at, by id.
    pub required: Vec<String>,
    /// Whether the peers wrote `publish` events.
    pub publish_known: bool,
    /// Whether the run ended at rest: nothing done to anybody any more, the workload over,
    /// everything drained. Progress is demanded only then.
    pub settled: bool,
    /// What the peers' sinks have written, where it is known.
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

/// All that a check may look at.
pub(crate) struct JudgedRun<'a> {
    pub(crate) history: &'a History,
    pub(crate) index: &'a Index<'a>,
    pub(crate) options: &'a Options,
}

impl JudgedRun<'_> {
    /// Whether only a side with a quorum may go on: by the knobs, or, where nobody knows them, by
    /// what the peers say.
    pub(crate) fn is_primary(&self) -> bool {
        self.options.knobs.mode == Mode::Primary || self.index.primary
    }

    /// What an entry of a log weighs at most. A history does not tell how long readings are.
    pub(crate) fn heaviest_entry(&self) -> u64 {
        let largest =
            self.index.views.iter().map(|view| view.members.len() as u64).max().unwrap_or(0);
        self.options.knobs.payload_max.saturating_add(64).max(64 + 160 * largest)
    }
}
