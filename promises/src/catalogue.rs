//! The catalogue: every promise with its stable id, the invariants of the protocol it stands for, and its check.

use crate::check::{delivery, leadership, membership, order, process, quorum, reuse, stability, succession, views};
use crate::judge::{Case, Sheet};

/// One promise.
pub struct Promise {
    /// Its id, as reports and scenarios name it.
    pub id: &'static str,
    /// The invariants of the protocol that it stands for, by number.
    pub invariants: &'static [&'static str],
    /// What it says.
    pub statement: &'static str,
    /// Whether it holds at every moment; else it is about progress.
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
    Promise {
        id: "no-duplicate-seq",
        invariants: &["I2", "I5"],
        statement: "one position of one epoch holds one entry, everywhere",
        safety: true,
        check: order::no_duplicate_seq,
    },
    Promise {
        id: "no-reuse",
        invariants: &["I2", "I7"],
        statement: "no name of a position, nor of a reading, ever means two things, over all lives and files",
        safety: true,
        check: reuse::no_reuse,
    },
    Promise {
        id: "total-order",
        invariants: &["I5"],
        statement: "two peers that have an entry have the same entries before it, and an epoch starts where its owner says",
        safety: true,
        check: order::total_order,
    },
    Promise {
        id: "gap-free",
        invariants: &["I6"],
        statement: "from where a peer joins, no reading is passed over in silence and no position comes twice",
        safety: true,
        check: order::gap_free,
    },
    Promise {
        id: "integrity",
        invariants: &["I7", "I8"],
        statement: "what is delivered was published by the origin it names, and comes at most once to each peer",
        safety: true,
        check: delivery::integrity,
    },
    Promise {
        id: "fifo",
        invariants: &["I9"],
        statement: "readings of one origin are delivered in the order in which it published them",
        safety: true,
        check: delivery::fifo,
    },
    Promise {
        id: "view-legal",
        invariants: &["I3", "I4"],
        statement: "views rise, name their holder and their leader, and are the same list for everybody",
        safety: true,
        check: views::view_legal,
    },
    Promise {
        id: "view-synchrony",
        invariants: &["I10", "I11"],
        statement: "peers that go from one view to the next together have delivered the same readings in it",
        safety: true,
        check: views::view_synchrony,
    },
    Promise {
        id: "no-false-death",
        invariants: &["I18"],
        statement: "a removed peer was dead, leaving, out of reach or in another group",
        safety: true,
        check: membership::no_false_death,
    },
    Promise {
        id: "disk-matches",
        invariants: &["I6", "I7", "I8"],
        statement: "a peer's files hold what the peer delivered, in that order",
        safety: true,
        check: process::disk_matches,
    },
    Promise {
        id: "no-crash",
        invariants: &[],
        statement: "processes end when they are told to, and as they should",
        safety: true,
        check: process::no_crash,
    },
    Promise {
        id: "stable-agreement",
        invariants: &["I2"],
        statement: "one position of one log has one stable entry, and no cut goes below it; in mode primary there is one log",
        safety: true,
        check: stability::stable_agreement,
    },
    Promise {
        id: "steps-down",
        invariants: &["I2"],
        statement: "mode primary: a leader that is cut off from every quorum does not lead any more when the others give it up",
        safety: true,
        check: quorum::steps_down,
    },
    Promise {
        id: "safe-kept",
        invariants: &["I13", "I22"],
        statement: "what is stable, or acknowledged as safe, is never taken back",
        safety: true,
        check: stability::safe_kept,
    },
    Promise {
        id: "accounted",
        invariants: &["I12", "I20"],
        statement: "every reading of a living peer stands once in the log that is left, or is declared lost there",
        safety: true,
        check: delivery::accounted,
    },
    Promise {
        id: "confirmed",
        invariants: &["I13"],
        statement: "a safe reading is acknowledged to its publisher with its place, once for each place; at rest none is missing",
        safety: true,
        check: delivery::confirmed,
    },
    Promise {
        id: "contained",
        invariants: &["I16", "I18", "I21"],
        statement: "a leader that is well is not unseated, whoever joins or dies",
        safety: true,
        check: succession::contained,
    },
    Promise {
        id: "bounded",
        invariants: &["I17"],
        statement: "a peer's unordered readings stay within its window, and a group within the number that it admits",
        safety: true,
        check: delivery::bounded,
    },
    Promise {
        id: "recovers",
        invariants: &["I19"],
        statement: "a group whose leader is gone has another one within the bound",
        safety: true,
        check: succession::recovers,
    },
    Promise {
        id: "hygiene",
        invariants: &["I17", "I21"],
        statement: "what is turned away is counted; descriptors and memory stay flat",
        safety: true,
        check: process::hygiene,
    },
    Promise {
        id: "elects",
        invariants: &["I15"],
        statement: "at rest there is exactly one leader, and everybody knows it",
        safety: false,
        check: succession::elects,
    },
    Promise {
        id: "bully-order",
        invariants: &["I15"],
        statement: "when only the leader is gone, the highest of the rest that is not blocked takes its place; with preempt, the highest leads",
        safety: false,
        check: succession::bully_order,
    },
    Promise {
        id: "converges",
        invariants: &["I15"],
        statement: "at rest everybody has one view, and it names exactly those that are there",
        safety: false,
        check: membership::converges,
    },
    Promise {
        id: "delivers",
        invariants: &["I12"],
        statement: "what is published in the quiet window reaches everybody",
        safety: false,
        check: delivery::delivers,
    },
    Promise {
        id: "late-join",
        invariants: &["I15"],
        statement: "a peer that starts undisturbed is in a view within the bound, and gets as much of the past as `late_join` says",
        safety: false,
        check: membership::late_join,
    },
    Promise { id: "no-churn", invariants: &["I16"], statement: "at rest nobody elects", safety: false, check: succession::no_churn },
    Promise {
        id: "rejoins",
        invariants: &["I4", "I15"],
        statement: "a restarted peer comes back with a higher incarnation, and nobody goes back to the old one in the same log",
        safety: false,
        check: membership::rejoins,
    },
];

#[cfg(test)]
mod tests {
    use super::CATALOGUE;

    #[test]
    fn ids_are_stable_names_and_every_invariant_has_a_promise() {
        let mut ids: Vec<&str> = CATALOGUE.iter().map(|promise| promise.id).collect();
        assert!(ids.iter().all(|id| id.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), CATALOGUE.len());
        for number in 1..=22 {
            let invariant = format!("I{number}");
            assert!(CATALOGUE.iter().any(|promise| promise.invariants.contains(&invariant.as_str())), "{invariant}");
        }
    }
}
