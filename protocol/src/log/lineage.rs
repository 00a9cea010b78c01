//! Which epochs a log has gone through, and where it ends: what two peers have to know of each
//! other's logs to tell which is ahead and where they part; and the state of a log at one position.

use serde::{Deserialize, Serialize};

use crate::bounded::{self, ROWS_MOST};
use crate::id::{Epoch, Seq};
use crate::log::dedup::Dedup;
use crate::log::view::View;

/// Where a log ends: enough to tell which of two is ahead, and where they part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogEnd {
    /// Epoch of the last lineage row; none where there is no log.
    pub epoch: Epoch,
    /// The last contiguous position held.
    pub contiguous: Seq,
    /// Epoch of the first lineage row: the name of the log in the world.
    pub log_id: Epoch,
}

/// A row of a lineage: from `first` on, entries belong to `epoch`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EpochStart {
    /// Whose entries.
    pub epoch: Epoch,
    /// From which position on.
    pub first: Seq,
}

/// The state of a log at one position: what a peer needs to go on from there without the entries
/// before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Snapshot {
    /// The position; entries above it follow.
    pub seq: Seq,
    /// The view in force there, if the log has had one by then.
    pub view: Option<View>,
    /// The dedupe table there.
    pub table: Dedup,
    /// The rows of the lineage, all of them.
    #[serde(deserialize_with = "bounded::list::<_, _, ROWS_MOST>")]
    pub lineage: Vec<EpochStart>,
}
