//! What a node keeps, by its own account: for those who want to see that it has a bound.
//!
//! Changes nothing and decides nothing; the protocol does without it.

use crate::node::Node;
use crate::roles::Role;
use crate::roles::candidate::Stage;

/// What a node keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// What its entries weigh and those of a log that it builds, and its own readings, in bytes.
    pub bytes: u64,
    /// How many bytes that may be at most, as its knobs have it.
    pub bytes_most: u64,
    /// How many rows its tables and lists have in all.
    pub rows: usize,
}

impl Node {
    /// What it keeps.
    #[must_use]
    pub fn holding(&self) -> Holding {
        let built = self.env.install.as_ref().map_or(0, |install| install.entries.weight());
        let knobs = self.env.config.knobs();
        let own = knobs.merge_retain_bytes.max(knobs.window_bytes)
            + knobs.window_bytes
            + knobs.payload_max;
        let roles = match &self.role {
            Role::Joining(joining) => {
                joining.heard.len() + joining.let_down.len() + joining.with_history.len()
            }
            Role::Follower(follower) => {
                let asking = follower.witness.as_ref();
                asking.map_or(0, |witness| witness.electors.len() + witness.claims.len())
            }
            Role::Candidate(candidate) => {
                let answers = match &candidate.stage {
                    Stage::Syncing(claim) | Stage::Adopting { claim, .. } => {
                        claim.answers.len() + claim.outdone.len()
                    }
                    Stage::Asking { .. }
                    | Stage::Vetoed { .. }
                    | Stage::Blocked { .. }
                    | Stage::Waiting { .. } => 0,
                };
                let sets = [
                    &candidate.answered,
                    &candidate.suspects,
                    &candidate.revived,
                    &candidate.busy,
                    &candidate.dropped,
                ];
                candidate.asked.len()
                    + candidate.callers.len()
                    + candidate.refused.len()
                    + candidate.told_ok.len()
                    + answers
                    + sets.into_iter().map(std::collections::BTreeSet::len).sum::<usize>()
            }
            Role::Leader(leader) => leader.rows(),
        };
        Holding {
            bytes: self.env.log.weight() + built + self.env.outbox.bytes(),
            bytes_most: self.env.kept_most() + own,
            rows: self.env.log.rows()
                + self.env.sinks.rows()
                + self.env.outbox.rows()
                + self.env.links.rows()
                + roles,
        }
    }
}
