//! What is kept: as long as somebody may need it, and no longer.

use protocol::id::{Member, Seq};
use protocol::node::Node;
use protocol::time::Time;

use super::{Law, Truth};

impl Truth {
    /// Nobody discards what a member of its newest view lacks.
    pub(super) fn judge_retention(&mut self, now: Time, number: usize, node: &Node) {
        let base = node.base();
        let before = std::mem::replace(&mut self.known[number].base, base);
        // With another log comes another base.
        if base <= before || before == Seq::ZERO && self.known[number].end < base {
            return;
        }
        let views = node.last_views();
        let Some((_, view)) = views.first() else { return };
        let me = &node.contact().member;
        let others = view.members.iter().map(|contact| &contact.member).filter(|member| *member != me);
        let reaches = others.map(|member| (member, self.holders.reach(member, node)));
        // Who has come in and has nothing of this log since is given a snapshot.
        let is_in = |member: &Member, reach: Seq| reach > Seq::ZERO && node.came_in(member).is_none_or(|at| reach >= at);
        let lacking = reaches.filter(|(member, reach)| *reach < base && is_in(member, *reach)).min_by_key(|(_, reach)| *reach);
        let lacking = lacking.filter(|(member, _)| self.holders.is_there(member));
        self.notes.judge(Law::Retains, now, lacking.is_none(), || {
            let (member, reach) = lacking.expect("somebody lacks something");
            format!("{me} discards its log up to #{base}, and {member} of its view has #{reach} only")
        });
    }

    /// At rest nobody keeps more of the log than it is to retain.
    pub(crate) fn judge_rest<'a>(&mut self, now: Time, nodes: impl Iterator<Item = &'a Node>) {
        let (entries, bytes) = (self.knobs.retain_entries, self.knobs.retain_bytes);
        for node in nodes {
            let (kept, weight) = (node.contiguous().above(node.base()), node.weight());
            let is_bounded = kept <= entries + SLACK && weight <= bytes + self.knobs.payload_max;
            self.notes.judge(Law::Retains, now, is_bounded, || {
                format!("{} keeps {kept} entries of {weight} bytes at rest; it is to retain {entries} and {bytes}", node.contact().member)
            });
            if node.base() > Seq::ZERO && kept + SLACK >= entries {
                self.notes.near(Law::Retains);
            }
        }
    }
}

/// What came with the last view and the last readings, which everybody has had for too short a time to forget what it pushed out.
const SLACK: u64 = 16;
