//! What a node is in the middle of, for those who watch it: finer than its role, and as short as a
//! word.
//!
//! Whoever tests a group wants faults to fall where they hurt, and to know that they did. Nothing
//! in the protocol depends on this.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::node::Node;
use crate::roles::Role;
use crate::roles::candidate::Stage;

/// What a node is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
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

impl Activity {
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

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Node {
    /// What it is in the middle of.
    #[must_use]
    pub fn activity(&self) -> Activity {
        match &self.role {
            _ if self.env.install.is_some() => Activity::Building,
            Role::Joining(_) => Activity::Joining,
            Role::Follower(_) => Activity::Member,
            Role::Leader(_) => Activity::Leader,
            Role::Candidate(candidate) => match candidate.stage {
                Stage::Asking { .. } | Stage::Vetoed { .. } => Activity::Asking,
                Stage::Blocked { .. } => Activity::Blocked,
                Stage::Waiting { .. } => Activity::Waiting,
                Stage::Syncing(_) => Activity::Syncing,
                Stage::Adopting { .. } => Activity::Building,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Activity;

    #[test]
    fn each_has_its_place_and_its_own_name() {
        for (at, phase) in Activity::ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, at);
            assert_eq!(serde_json::to_string(&phase).unwrap(), format!("\"{phase}\""));
        }
    }
}
