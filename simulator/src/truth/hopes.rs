//! Whether some of the group could go on, by what they hold: mode `primary` takes a quorum.

use protocol::id::Member;
use protocol::node::Node;

use super::Truth;
use super::holders::is_quorum;

impl Truth {
    /// Whether these, who can all talk to one another, could go on from the newest log that one of
    /// them holds, or found a group where none does. Mode `available` asks for nothing.
    pub(crate) fn may_go_on(&self, nodes: &[&Node]) -> bool {
        if !self.is_primary() {
            return true;
        }
        // Who has been in a view and lost its log has no vote: it cannot tell what it knew.
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
        // The view before counts until somebody there knows that the newest one is stable.
        let knows = |node: &&Node| {
            node.stable().min(self.holders.reach(&node.contact().member, newest)) >= *at
        };
        let required = if nodes.iter().any(knows) { 1 } else { 2 };
        views.iter().take(required).all(|(_, view)| is_quorum(view, is_there))
    }
}
