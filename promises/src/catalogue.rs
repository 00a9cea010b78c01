//! The catalogue: every promise with its stable id, the invariants of the protocol it stands for, and its check.

use crate::check::leadership;
use crate::judge::{Case, Sheet};

/// One promise.
pub struct Promise {
    /// Its id, as reports and scenarios name it.
    pub id: &'static str,
    /// The invariants of the protocol that it stands for, by number.
    pub invariants: &'static [&'static str],
    /// What it says.
    pub statement: &'static str,
    /// Whether it holds at every moment; else it is about progress, and judged only over a history that ended at rest.
    pub safety: bool,
    pub(crate) check: fn(&Case<'_>, &mut Sheet),
}

/// Every promise, safety first.
pub static CATALOGUE: &[Promise] = &[
    Promise {
        id: "one-leader-per-epoch",
        invariants: &["I1"],
        statement: "no two peers lead one epoch",
        safety: true,
        check: leadership::one_leader_per_epoch,
    },
    Promise {
        id: "epoch-monotonic",
        invariants: &["I1", "I14"],
        statement: "what a peer promises, adopts and leads only rises",
        safety: true,
        check: leadership::epoch_monotonic,
    },
    Promise {
        id: "fenced-sequencer",
        invariants: &["I14"],
        statement: "a peer that has promised an epoch takes part in no older one",
        safety: true,
        check: leadership::fenced_sequencer,
    },
];
