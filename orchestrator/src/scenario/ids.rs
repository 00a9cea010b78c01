//! The names of peers where a file gives none, and the order in which peers are started.

use protocol::draw::draw_below;
use protocol::id::PeerId;

use super::Ids;

impl Ids {
    /// All of them, in the order in which they are started.
    #[must_use]
    pub fn in_starting_order(&self, seed: u64) -> Vec<PeerId> {
        let mut left = self.in_order();
        match self {
            Self::Given(_) => left,
            Self::Random(count) => (0..*count)
                .map(|turn| {
                    let at = draw_below(seed, "ids", turn, left.len() as u64);
                    left.remove(usize::try_from(at).expect("an index of a list in memory"))
                })
                .collect(),
        }
    }

    /// All of them, whoever starts first.
    pub(super) fn in_order(&self) -> Vec<PeerId> {
        match self {
            Self::Given(given) => given.clone(),
            Self::Random(count) => (1..=*count).map(numbered_peer).collect(),
        }
    }
}

pub(super) fn numbered_peer(k: u64) -> PeerId {
    PeerId::new(&numbered(k)).expect("letters and digits are a legal id")
}

/// The name of the k-th peer where no ids are given.
pub(super) fn numbered(k: u64) -> String {
    format!("peer{k}")
}

/// More processes than this do not fit on one machine's loopback in a scenario's time.
pub(super) const PEERS_MAX: u64 = 200;
