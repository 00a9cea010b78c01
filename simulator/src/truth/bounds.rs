//! Retention: entries are kept for as long as a member may need them, and no longer.

use protocol::id::{Member, Seq};
use protocol::node::Node;
use protocol::time::Time;

use super::{Law, Truth};

impl Truth {
    /// No node discards an entry that a member of its newest view lacks.
    pub(super) fn judge_retention(&mut self, now: Time, number: usize, node: &Node) {
        let base = node.base();
        let before = std::mem::replace(&mut self.known[number].base, base);
        // A snapshot brings another base, above all entries held.
        if base <= before || self.known[number].end < base {
            return;
        }
        self.judge_discard(now, number, node, base);
        let views = node.last_views();
        let Some((_, view)) = views.first() else { return };
        let me = &node.contact().member;
        let others =
            view.members.iter().map(|contact| &contact.member).filter(|member| *member != me);
        let reaches = others.map(|member| (member, self.holders.reach(member, node)));
        // A member that was admitted and has nothing of this log since gets a snapshot.
        let is_in = |member: &Member, reach: Seq| {
            reach > Seq::ZERO && node.came_in(member).is_none_or(|at| reach >= at)
        };
        let lacking = reaches
            .filter(|(member, reach)| *reach < base && is_in(member, *reach))
            .min_by_key(|(_, reach)| *reach);
        let lacking = lacking.filter(|(member, _)| self.holders.is_there(member));
        // A node that holds far too much discards up to the stable position.
        let weight = self.known[number].weight.max(node.weight());
        let lacking = lacking.filter(|_| weight <= 2 * self.knobs.retain_bytes);
        self.notes.judge(Law::Retains, now, lacking.is_none(), || {
            let (member, reach) = lacking.expect("somebody lacks something");
            format!(
                "{me} discards its log up to #{base}, and {member} of its view has #{reach} only"
            )
        });
    }

    /// Entries in both its previous and its present log are kept as long as `retain_*` covers them:
    /// other peers may request them.
    fn judge_discard(&mut self, now: Time, number: usize, node: &Node, base: Seq) {
        let known = &self.known[number];
        let (of, end) = &known.tip;
        let common = node
            .covers()
            .find(|(epoch, first, _)| *epoch == of && first <= end)
            .map_or(Seq::ZERO, |(_, _, last)| last.min(*end));
        if common < base {
            return;
        }
        let (kept, weight) = (node.contiguous().above(base), known.weight.max(node.weight()));
        let has_reason =
            kept + SLACK >= self.knobs.retain_entries || 2 * weight >= self.knobs.retain_bytes;
        self.notes.judge(Law::Retains, now, has_reason, || {
            format!(
                "{} discards what it had up to #{base} and keeps {kept} entries; it is to retain \
                 {}",
                node.contact().member,
                self.knobs.retain_entries
            )
        });
    }

    /// At rest no node keeps more of the log than its limit.
    pub(crate) fn judge_rest<'a>(&mut self, now: Time, nodes: impl Iterator<Item = &'a Node>) {
        let (entries, bytes) = (self.knobs.retain_entries, self.knobs.retain_bytes);
        let nodes: Vec<&Node> = nodes.collect();
        let core: Vec<Member> = nodes.iter().map(|node| node.contact().member.clone()).collect();
        for node in nodes {
            let me = &node.contact().member;
            let (end, stable, delivered) = (node.contiguous(), node.stable(), node.delivered());
            let Some(number) = self.holders.number(me) else { continue };
            let stood = self.known[number].stood(now, self.knobs.heartbeat_interval);
            // A peer outside of the core may be admitted and removed in turn. Its leader may never
            // receive its acknowledgements.
            let views = node.last_views();
            let late = views.iter().take_while(|(seq, _)| *seq > stood).count();
            let mut members = views.iter().take(late + 1).flat_map(|(_, view)| view.members.iter());
            if members.all(|contact| core.contains(&contact.member)) {
                self.notes.judge(
                    Law::LevelAtRest,
                    now,
                    stable >= stood && delivered >= stood,
                    || {
                        format!(
                            "{me} holds #{end} at rest, #{stood} for long; it takes #{stable} for \
                             stable and has handed over #{delivered}"
                        )
                    },
                );
            }
            self.judge_told(now, number, node);
            let (kept, weight) = (end.above(node.base()), node.weight());
            let is_bounded = kept <= entries + SLACK && weight <= bytes + self.knobs.payload_max;
            self.notes.judge(Law::Retains, now, is_bounded, || {
                format!(
                    "{} keeps {kept} entries of {weight} bytes at rest; it is to retain \
                         {entries} and {bytes}",
                    node.contact().member
                )
            });
            if node.base() > Seq::ZERO && kept + SLACK >= entries {
                self.notes.near(Law::Retains);
            }
        }
    }
}

/// Entries of the last view and the last readings: the peers had them for too short a time to
/// discard those they replace.
const SLACK: u64 = 16;
