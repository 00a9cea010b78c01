//! The catalogue: every promise with its stable id, the invariants of the protocol that it covers,
//! and its check.
//!
//! A promise is a law or a service level. A law holds in every run: if a fault permits less, the
//! statement says what it permits. A service level has a budget: a maximum number of breaches in a
//! given number of simulated runs. In a single run of real processes a broken level counts like a
//! broken law, because one run has no share of a budget.

use crate::check::{
    delivery, gaps, leadership, losses, membership, order, process, quorum, reuse, stability,
    succession, views, window,
};
use crate::judged_run::JudgedRun;
use crate::sheet::Sheet;

/// One promise.
pub struct Promise {
    /// Its id in reports and scenarios.
    pub id: &'static str,
    /// The numbers of the protocol's invariants that it covers.
    pub invariants: &'static [&'static str],
    /// Its statement.
    pub statement: &'static str,
    /// Whether it is a law or a service level.
    pub demand: Demand,
    pub(crate) check: fn(&JudgedRun<'_>, &mut Sheet),
}

/// How strictly a promise is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// One breach in any run is a defect.
    Law,
    /// Breaches are counted over a sweep; more than the budget is a defect.
    Level {
        /// How many of [`BUDGET_RUNS`] simulated runs may break it.
        broken_max: u64,
    },
}

impl Demand {
    /// Its name in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Law => "law",
            Self::Level { .. } => "level",
        }
    }

    /// How many runs of a sweep of `runs` runs may break it. A sweep smaller than the budget's may
    /// use the whole budget.
    #[must_use]
    pub fn allows(self, runs: u64) -> u64 {
        match self {
            Self::Law => 0,
            Self::Level { broken_max } => {
                broken_max.saturating_mul(runs.max(BUDGET_RUNS)) / BUDGET_RUNS
            }
        }
    }
}

/// The number of simulated runs that the budgets of service levels refer to.
pub const BUDGET_RUNS: u64 = 20_000;

/// A service level that no run of a sweep may break.
const NEVER: Demand = Demand::Level { broken_max: 0 };

/// The promise with that id.
#[must_use]
pub fn find(id: &str) -> Option<&'static Promise> {
    CATALOGUE.iter().find(|promise| promise.id == id)
}

/// Every promise, safety first.
pub static CATALOGUE: &[Promise] = &[
    Promise {
        id: "one-leader-per-epoch",
        invariants: &["I1"],
        statement: "no two peers lead one epoch",
        demand: Demand::Law,
        check: leadership::one_leader_per_epoch,
    },
    Promise {
        id: "epoch-monotonic",
        invariants: &["I1", "I14"],
        statement: "what a peer promises, adopts and leads only rises",
        demand: Demand::Law,
        check: leadership::epoch_monotonic,
    },
    Promise {
        id: "fenced-sequencer",
        invariants: &["I14"],
        statement: "a peer that has promised an epoch takes part in no older one",
        demand: Demand::Law,
        check: leadership::fenced_sequencer,
    },
    Promise {
        id: "no-duplicate-seq",
        invariants: &["I2", "I5"],
        statement: "one position of one epoch holds one entry, everywhere",
        demand: Demand::Law,
        check: order::no_duplicate_seq,
    },
    Promise {
        id: "no-reuse",
        invariants: &["I2", "I7"],
        statement: "no name of a position, nor of a reading, ever means two things, over all lives \
                    and files",
        demand: Demand::Law,
        check: reuse::no_reuse,
    },
    Promise {
        id: "total-order",
        invariants: &["I5"],
        statement: "two peers that have an entry have the same entries before it, and an epoch \
                    starts where its owner says",
        demand: Demand::Law,
        check: order::total_order,
    },
    Promise {
        id: "gap-free",
        invariants: &["I6"],
        statement: "from where a peer joins, no reading is passed over in silence and no position \
                    comes twice",
        demand: Demand::Law,
        check: order::gap_free,
    },
    Promise {
        id: "integrity",
        invariants: &["I7", "I8"],
        statement: "what is delivered was published by the origin it names, and comes at most once \
                    to each peer",
        demand: Demand::Law,
        check: delivery::integrity,
    },
    Promise {
        id: "fifo",
        invariants: &["I9"],
        statement: "readings of one origin are delivered in the order in which it published them",
        demand: Demand::Law,
        check: delivery::fifo,
    },
    Promise {
        id: "view-legal",
        invariants: &["I3", "I4"],
        statement: "views rise, name their holder and their leader, and are the same list for \
                    everybody",
        demand: Demand::Law,
        check: views::view_legal,
    },
    Promise {
        id: "view-synchrony",
        invariants: &["I10", "I11"],
        statement: "peers that go from one view to the next together have delivered the same \
                    readings in it",
        demand: Demand::Law,
        check: views::view_synchrony,
    },
    Promise {
        id: "no-false-death",
        invariants: &["I18"],
        statement: "a removed peer was dead, leaving, out of reach or in another group",
        demand: NEVER,
        check: membership::no_false_death,
    },
    Promise {
        id: "disk-matches",
        invariants: &["I6", "I7", "I8"],
        statement: "a peer's files hold what the peer delivered, in that order",
        demand: Demand::Law,
        check: process::disk_matches,
    },
    Promise {
        id: "no-crash",
        invariants: &[],
        statement: "processes end when they are told to, and as they should",
        demand: Demand::Law,
        check: process::no_crash,
    },
    Promise {
        id: "stable-agreement",
        invariants: &["I2"],
        statement: "one position of one log has one stable entry, and no cut goes below it, except \
                    (available) by a part of the group whose founder the other part had left out; \
                    in mode primary there is one log",
        demand: Demand::Law,
        check: stability::stable_agreement,
    },
    Promise {
        id: "steps-down",
        invariants: &["I2"],
        statement: "mode primary: a leader that is cut off from every quorum does not lead any \
                    more when the others give it up",
        demand: Demand::Law,
        check: quorum::steps_down,
    },
    Promise {
        id: "safe-kept",
        invariants: &["I13", "I22"],
        statement: "what is stable, or acknowledged as safe, is never taken back, except \
                    (available) by who goes over to a part whose founder the other part had left \
                    out",
        demand: Demand::Law,
        check: stability::safe_kept,
    },
    Promise {
        id: "accounted",
        invariants: &["I12", "I20"],
        statement: "every reading of a living peer stands once in the log that is left, or is \
                    declared lost there",
        demand: Demand::Law,
        check: delivery::accounted,
    },
    Promise {
        id: "confirmed",
        invariants: &["I13"],
        statement: "a safe reading is acknowledged to its publisher with its place, once for each \
                    place; at rest none is missing",
        demand: Demand::Law,
        check: delivery::confirmed,
    },
    Promise {
        id: "contained",
        invariants: &["I16", "I18", "I21"],
        statement: "a leader that is well is not unseated, whoever joins or dies",
        demand: NEVER,
        check: succession::contained,
    },
    Promise {
        id: "bounded",
        invariants: &["I17"],
        statement: "a group has no more members than `members_max` admits",
        demand: Demand::Law,
        check: delivery::bounded,
    },
    Promise {
        id: "had-before",
        invariants: &["I6", "I7"],
        statement: "a reading is called a repeat only where the same sinks have had it, or were \
                    told that it is lost",
        demand: Demand::Law,
        check: order::had_before,
    },
    Promise {
        id: "gap-needed",
        invariants: &["I6"],
        statement: "a gap is told only of readings that the leader does not retain, or that come \
                    after later ones of their origin",
        demand: Demand::Law,
        check: gaps::gap_needed,
    },
    Promise {
        id: "refusal-true",
        invariants: &["I12"],
        statement: "a reading is refused only if its window is full, it is too large, or its peer \
                    leaves or is blocked",
        demand: Demand::Law,
        check: window::refusal_true,
    },
    Promise {
        id: "lost-truly",
        invariants: &["I20"],
        statement: "readings are declared lost only if they lie further back than `merge_retain`, \
                    and do not stand in that log",
        demand: Demand::Law,
        check: losses::lost_truly,
    },
    Promise {
        id: "views-unbroken",
        invariants: &["I3", "I4"],
        statement: "the views of one log are numbered without a hole",
        demand: Demand::Law,
        check: views::views_unbroken,
    },
    Promise {
        id: "windowed",
        invariants: &["I17"],
        statement: "no peer has more readings waiting to be ordered than its window takes, in \
                    number and in bytes, or takes one beyond `payload_max`",
        demand: Demand::Law,
        check: window::windowed,
    },
    Promise {
        id: "left-clean",
        invariants: &["I12"],
        statement: "a peer that stops as having left has every accepted reading in the log or the \
                    files of somebody who lives, or knows it to be stable, or has said which not; \
                    between two groups it stops so only if it has accepted none; a leader that let \
                    it go names it no more; without a confirmation it says which are not in its \
                    own log",
        demand: Demand::Law,
        check: losses::left_clean,
    },
    Promise {
        id: "recovers",
        invariants: &["I19"],
        statement: "a group whose leader is gone has another one within the bound",
        demand: NEVER,
        check: succession::recovers,
    },
    Promise {
        id: "hygiene",
        invariants: &["I17", "I21"],
        statement: "what is turned away is counted; descriptors and memory stay flat",
        demand: NEVER,
        check: process::hygiene,
    },
    Promise {
        id: "elects",
        invariants: &["I15"],
        statement: "at rest there is exactly one leader, and everybody knows it",
        demand: NEVER,
        check: succession::elects,
    },
    Promise {
        id: "bully-order",
        invariants: &["I15"],
        statement: "when only the leader is gone, the highest of the rest that is not blocked \
                    takes its place; with preempt, the highest leads",
        demand: NEVER,
        check: succession::bully_order,
    },
    Promise {
        id: "converges",
        invariants: &["I15"],
        statement: "at rest everybody has one view, and it names exactly those that are there",
        demand: NEVER,
        check: membership::converges,
    },
    Promise {
        id: "delivers",
        invariants: &["I12"],
        statement: "what is published in the quiet window reaches everybody, or is declared lost \
                    by an origin that gave up its place in the log and retains it no more",
        demand: NEVER,
        check: delivery::delivers,
    },
    Promise {
        id: "late-join",
        invariants: &["I15"],
        statement: "a peer that starts undisturbed is in a view within the bound, and gets as much \
                    of the past as `late_join` says",
        demand: NEVER,
        check: membership::late_join,
    },
    Promise {
        id: "no-churn",
        invariants: &["I16"],
        statement: "at rest nobody elects",
        demand: NEVER,
        check: succession::no_churn,
    },
    Promise {
        id: "rejoins",
        invariants: &["I4", "I15"],
        statement: "a restarted peer comes back with a higher incarnation, and nobody goes back to \
                    the old one in the same log",
        demand: NEVER,
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
            assert!(
                CATALOGUE.iter().any(|promise| promise.invariants.contains(&invariant.as_str())),
                "{invariant}"
            );
        }
    }
}
