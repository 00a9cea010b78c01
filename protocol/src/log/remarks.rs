//! What a view says besides who is in it: when it was numbered, and why those went who are in it no
//! more.
//!
//! Remarks are for people. Nothing is decided by them, they tell no view from another, and a
//! snapshot does without them: two views are equal whatever is remarked on them.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::bounded::{self, MEMBERS_MOST};
use crate::id::PeerId;

/// Remarks on a view.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Remarks {
    /// When the leader numbered it, by the leader's clock, in microseconds since 1970; none where
    /// that clock was not known.
    pub ordered: Option<u64>,
    /// Why each of those went who were in the view before and are not in this one, as far as the
    /// leader knows.
    #[serde(deserialize_with = "bounded::list::<_, _, MEMBERS_MOST>")]
    pub why: Vec<(PeerId, String)>,
}

impl Remarks {
    /// Why that peer went.
    #[must_use]
    pub fn why(&self, peer: &PeerId) -> Option<&str> {
        self.why.iter().find(|(other, _)| other == peer).map(|(_, why)| why.as_str())
    }

    /// Whether there is anything to say.
    pub(crate) fn is_empty(&self) -> bool {
        self.ordered.is_none() && self.why.is_empty()
    }

    /// How many bytes it takes in a frame, roughly.
    pub(crate) fn weight(&self) -> u64 {
        16 + self.why.iter().map(|(_, why)| why.len() as u64 + 80).sum::<u64>()
    }
}

impl PartialEq for Remarks {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Remarks {}

impl Hash for Remarks {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// On what evidence this peer suspects others; the newest of each. It goes into the remarks on the
/// next view that lacks them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Suspicions(BTreeMap<PeerId, String>);

impl Suspicions {
    /// This peer suspects another one.
    pub(crate) fn note(&mut self, peer: &PeerId, evidence: String) {
        if self.0.len() >= SUSPICIONS_MOST {
            self.0.pop_first();
        }
        self.0.insert(peer.clone(), evidence);
    }

    /// Why it suspected that one; it is forgotten.
    pub(crate) fn take(&mut self, peer: &PeerId) -> Option<String> {
        self.0.remove(peer)
    }
}

/// Suspicions that are kept.
const SUSPICIONS_MOST: usize = 1_024;
