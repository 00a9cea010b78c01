//! How views follow upon one another in a log.

use protocol::id::Seq;
use protocol::node::Node;
use protocol::time::Time;

use super::{Law, Truth};

impl Truth {
    /// Looks at the newest view of a leader's log, where it is a new one.
    pub(super) fn judge_views(&mut self, now: Time, number: usize, node: &Node) {
        if !node.leads() {
            return;
        }
        let views = node.last_views();
        let Some((at, newest)) = views.first() else { return };
        let before_at = std::mem::replace(&mut self.known[number].view_at, *at);
        if before_at == *at {
            return;
        }
        let me = &node.contact().member;
        let Some((below, before)) = views.get(1) else { return };
        let follows = newest.view_id.0 == before.view_id.0 + 1;
        self.notes.judge(Law::ViewsUnbroken, now, follows, || {
            format!("{me} leads view {} at #{at}, and view {} stands before it", newest.view_id, before.view_id)
        });
        // Whoever takes an epoch over takes over a view that may not be settled; what it numbers itself is its own doing.
        if self.is_primary() && newest.epoch == node.epoch() && *below > Seq::ZERO {
            let settled = self.holders.is_quorum(before, node, *below);
            self.notes.judge(Law::ViewsSettled, now, settled, || {
                format!("{me} numbers view {} at #{at}, and no quorum holds the one before it, at #{below}", newest.view_id)
            });
        }
    }
}
