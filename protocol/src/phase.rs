//! What a node is in the middle of, for those who watch it: finer than its role, and as short as a
//! word.
//!
//! Whoever tests a group wants faults to fall where they hurt, and to know that they did. Nothing
//! in the protocol depends on this.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::node::Node;
use crate::role::{Phase as Turn, Role};

/// What a node is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// In no view.
    Joining,
    /// Follows a leader.
    Member,
    /// A candidate that asks who else misses the leader, or has been told that nobody does.
    Asking,
    /// A candidate that reaches no quorum (mode `primary`).
    Blocked,
    /// A candidate that waits for somebody else's outcome.
    Waiting,
    /// A candidate that collects promises.
    Syncing,
    /// Whatever its role, it builds a log beside its own.
    Building,
    /// Leads.
    Leader,
}

impl Phase {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 8] = [
        Self::Joining,
        Self::Member,
        Self::Asking,
        Self::Blocked,
        Self::Waiting,
        Self::Syncing,
        Self::Building,
        Self::Leader,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Member => "member",
            Self::Asking => "asking",
            Self::Blocked => "blocked",
            Self::Waiting => "waiting",
            Self::Syncing => "syncing",
            Self::Building => "building",
            Self::Leader => "leader",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Node {
    /// What it is in the middle of.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.role {
            _ if self.building.is_some() => Phase::Building,
            Role::Joining(_) => Phase::Joining,
            Role::Member(_) => Phase::Member,
            Role::Leader(_) => Phase::Leader,
            Role::Candidate(candidate) => match candidate.phase {
                Turn::Asking { .. } | Turn::Vetoed { .. } => Phase::Asking,
                Turn::Blocked { .. } => Phase::Blocked,
                Turn::Waiting { .. } => Phase::Waiting,
                Turn::Syncing(_) => Phase::Syncing,
                Turn::Adopting { .. } => Phase::Building,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Phase;

    #[test]
    fn each_has_its_place_and_its_own_name() {
        for (at, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, at);
            assert_eq!(serde_json::to_string(&phase).unwrap(), format!("\"{phase}\""));
        }
    }
}
