//! The succession of views in a log.

use protocol::id::{Contact, Member, Seq};
use protocol::node::Node;
use protocol::time::Time;

use super::holders::is_quorum;
use super::{Law, Truth};

impl Truth {
    /// Judges the newest view of a leader's log, if it is new.
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
            format!(
                "{me} leads view {} at #{at}, and view {} stands before it",
                newest.view_id, before.view_id
            )
        });
        if self.is_primary() && newest.epoch == node.epoch() {
            let stay = is_quorum(before, |member| newest.names(member));
            self.notes.judge(Law::ViewsSettled, now, stay, || {
                format!(
                    "{me} numbers view {} at #{at}, and those who stay are no quorum of the \
                         one before it",
                    newest.view_id
                )
            });
            // A claim admits no peer.
            let is_new =
                |contact: &Contact| before.epoch == newest.epoch && !before.names(&contact.member);
            let has_followed =
                |member: &Member| member == me || self.holders.has_begun(member, &newest.epoch);
            let is_borne = !newest.members.iter().any(is_new) || is_quorum(newest, has_followed);
            self.notes.judge(Law::ViewsSettled, now, is_borne, || {
                format!(
                    "{me} lets so many into view {} at #{at} that those who have followed it \
                         are no quorum of it",
                    newest.view_id
                )
            });
        }
        // A claimant may take over an unsettled view; it is responsible only for the views that it
        // numbers itself.
        if self.is_primary() && newest.epoch == node.epoch() && *below > Seq::ZERO {
            let settled = self.holders.is_quorum(before, node, *below);
            self.notes.judge(Law::ViewsSettled, now, settled, || {
                format!(
                    "{me} numbers view {} at #{at}, and no quorum holds the one before it, at \
                         #{below}",
                    newest.view_id
                )
            });
        }
    }
}
