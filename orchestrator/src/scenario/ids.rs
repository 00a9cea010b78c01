//! Default names of peers, and the order in which peers start.

use protocol::draw::draw_below;
use protocol::id::PeerId;

use super::Ids;

impl Ids {
    /// All ids, in the order in which the peers start.
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

    /// All ids, regardless of the order of starts.
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

/// The default name of the k-th peer.
pub(super) fn numbered(k: u64) -> String {
    format!("peer{k}")
}

/// More processes than this do not fit on one machine's loopback in a scenario's time.
pub(super) const PEERS_MAX: u64 = 200;
