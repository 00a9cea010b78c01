//! Whether some peers could continue as a group, by the logs that they hold: mode `primary` needs a
//! quorum.

use protocol::id::Member;
use protocol::node::Node;

use super::Truth;
use super::holders::is_quorum;

impl Truth {
    /// Whether these peers, which can all reach one another, could continue from the newest log
    /// that one of them holds, or found a group if none holds any. Mode `available` demands
    /// nothing.
    pub(crate) fn may_go_on(&self, nodes: &[&Node]) -> bool {
        if !self.is_primary() {
            return true;
        }
        // A peer that has been in a view and lost its log has no vote: it cannot tell what it knew.
        let votes = |node: &&&Node| !node.epoch().is_none() || node.is_fresh();
        let is_there = |member: &Member| {
            nodes.iter().filter(votes).any(|node| node.contact().member == *member)
        };
        let newest = nodes
            .iter()
            .filter(|node| !node.epoch().is_none())
            .max_by_key(|node| (node.epoch(), node.contiguous()));
        let Some(newest) = newest else {
            return self
                .knobs
                .bootstrap
                .iter()
                .all(|id| nodes.iter().any(|node| node.contact().id() == id && node.is_fresh()));
        };
        let views = newest.last_views();
        let Some((at, _)) = views.first() else { return false };
        // The previous view counts until a peer there knows that the newest one is stable.
        let knows = |node: &&Node| {
            node.stable().min(self.holders.reach(&node.contact().member, newest)) >= *at
        };
        let required = if nodes.iter().any(knows) { 1 } else { 2 };
        views.iter().take(required).all(|(_, view)| is_quorum(view, is_there))
    }
}
