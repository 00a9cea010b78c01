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
        // With a snapshot comes another base, above all that was held.
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
        // Who has come in and has nothing of this log since is given a snapshot.
        let is_in = |member: &Member, reach: Seq| {
            reach > Seq::ZERO && node.came_in(member).is_none_or(|at| reach >= at)
        };
        let lacking = reaches
            .filter(|(member, reach)| *reach < base && is_in(member, *reach))
            .min_by_key(|(_, reach)| *reach);
        let lacking = lacking.filter(|(member, _)| self.holders.is_there(member));
        // Whoever holds far too much goes by what is stable.
        let weight = self.known[number].weight.max(node.weight());
        let lacking = lacking.filter(|_| weight <= 2 * self.knobs.retain_bytes);
        self.notes.judge(Law::Retains, now, lacking.is_none(), || {
            let (member, reach) = lacking.expect("somebody lacks something");
            format!(
                "{me} discards its log up to #{base}, and {member} of its view has #{reach} only"
            )
        });
    }

    /// What both its log of before and its present one have is kept as long as `retain_*` covers
    /// it: others may ask for it.
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

    /// At rest nobody keeps more of the log than it is to retain.
    pub(crate) fn judge_rest<'a>(&mut self, now: Time, nodes: impl Iterator<Item = &'a Node>) {
        let (entries, bytes) = (self.knobs.retain_entries, self.knobs.retain_bytes);
        let nodes: Vec<&Node> = nodes.collect();
        let core: Vec<Member> = nodes.iter().map(|node| node.contact().member.clone()).collect();
        for node in nodes {
            let me = &node.contact().member;
            let (end, stable, delivered) = (node.contiguous(), node.stable(), node.delivered());
            let Some(number) = self.holders.number(me) else { continue };
            let stood = self.known[number].stood(now, self.knobs.heartbeat_interval);
            // A peer outside of the core may be let in and put out in turn. Its leader may never
            // hear what it has.
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

/// What came with the last view and the last readings, which everybody has had for too short a time
/// to forget what it pushed out.
const SLACK: u64 = 16;
