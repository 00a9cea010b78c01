//! Stability: which entries are stable, what a leader believes of others, and what is delivered
//! before others hold it.

use protocol::id::{Epoch, Member, Seq};
use protocol::message::SyncAnswer;
use protocol::node::Node;
use protocol::time::Time;
use protocol::view::View;

use super::{Law, Truth};

impl Truth {
    /// The members required by the mode have held every entry that a node takes for stable; others
    /// may rely on what a leader finds stable.
    pub(super) fn judge_stable(&mut self, now: Time, number: usize, node: &Node) {
        let stable = node.stable();
        let before = std::mem::replace(&mut self.known[number].stable, stable);
        if stable == before || stable == Seq::ZERO {
            return;
        }
        // A log that was cut takes less for stable, and that may be of another epoch than before.
        let (bound, why) = self.stable_bound(node);
        let is_held = stable <= bound;
        self.notes.judge(Law::TrulyStable, now, is_held, || {
            format!("{} takes #{stable} for stable, and {why} #{bound}", node.contact().member)
        });
        if stable == bound {
            self.notes.near(Law::TrulyStable);
        }
        if is_held && counts_itself(node) {
            self.note_stable(node, stable);
        }
    }

    fn note_stable(&mut self, node: &Node, stable: Seq) {
        for (epoch, _, last) in
            node.covers().filter(|(epoch, first, _)| *first <= stable && !epoch.is_none())
        {
            let last = last.min(stable);
            match self.stable.get_mut(epoch) {
                Some(known) => *known = last.max(*known),
                None => drop(self.stable.insert(epoch.clone(), last)),
            }
        }
    }

    /// How much of a node's log is stable, and the holders that make it so.
    fn stable_bound(&self, node: &Node) -> (Seq, &'static str) {
        let known = self.known_stable(node);
        if !counts_itself(node) {
            return (known, "leaders have found out only");
        }
        let held = self.held_by_views(node);
        if held > known {
            (held, "those who have to hold only")
        } else {
            (known, "leaders have found out only")
        }
    }

    /// How much of a node's log leaders have found to be stable.
    fn known_stable(&self, node: &Node) -> Seq {
        let row = |(epoch, first, last): (&Epoch, Seq, Seq)| {
            self.stable.get(epoch).filter(|known| **known >= first).map(|known| last.min(*known))
        };
        node.covers().rev().find_map(row).unwrap_or(Seq::ZERO)
    }

    /// The last position of a leader's log that every member of its newest view has held (mode
    /// `available`), or quorums (`primary`).
    fn held_by_views(&self, node: &Node) -> Seq {
        let views = node.last_views();
        let Some((at, newest)) = views.first() else { return Seq::ZERO };
        if !self.is_primary() {
            let all = self.least_reach(newest, node);
            return if all >= *at { all } else { Seq::ZERO };
        }
        let mut last = node.contiguous();
        // Simulated logs are short, and the wanted position is nearly always among the last.
        while last > Seq::ZERO && !self.is_stable_by_quorum(node, &views, *at, last) {
            last = last.previous();
        }
        last
    }

    /// Below the entry of an unstable view the previous view decides; the entry and later ones need
    /// quorums of both views.
    fn is_stable_by_quorum(&self, node: &Node, views: &[(Seq, View)], at: Seq, seq: Seq) -> bool {
        let newest = &views[0].1;
        if at <= self.known_stable(node) {
            return self.holders.is_quorum(newest, node, seq);
        }
        let by_newest = self.holders.is_quorum(newest, node, seq);
        let Some((_, before)) = views.get(1) else { return by_newest };
        if seq < at {
            return self.holders.is_quorum(before, node, seq);
        }
        self.holders.is_quorum(before, node, at) && by_newest
    }

    fn least_reach(&self, view: &View, node: &Node) -> Seq {
        let reach = |member: &Member| {
            if *member == node.contact().member {
                node.contiguous()
            } else {
                self.holders.reach(member, node)
            }
        };
        view.members.iter().map(|contact| reach(&contact.member)).min().unwrap_or(Seq::ZERO)
    }

    /// A leader never believes that a member holds more than it has held.
    pub(super) fn judge_beliefs(&mut self, now: Time, number: usize, node: &Node) {
        // Usually no acknowledgement has come since.
        let sum = node
            .believes()
            .fold((0, 0), |(count, sum), (_, believed)| (count + 1, sum + believed.0));
        if std::mem::replace(&mut self.known[number].believed, sum) == sum {
            return;
        }
        for (member, believed) in node.believes().filter(|(_, believed)| *believed > Seq::ZERO) {
            let reach = self.holders.reach(member, node);
            if believed > reach && self.holders.is_stranger(member) {
                continue;
            }
            self.notes.judge(Law::BelievesNoMore, now, believed <= reach, || {
                format!(
                    "{} believes that {member} holds #{believed}, and it has held #{reach} at most",
                    node.contact().member
                )
            });
        }
    }

    /// A promise reports the true end of the log, and its true stable position.
    pub(super) fn judge_promise(&mut self, now: Time, node: &Node, answer: &SyncAnswer) {
        let holds = answer.contiguous <= node.contiguous()
            && answer.stable <= self.stable_bound(node).0.max(node.stable());
        self.notes.judge(Law::SaysTruly, now, holds, || {
            format!(
                "{} promises with #{} held and #{} stable, and holds #{} with #{} stable",
                node.contact().member,
                answer.contiguous,
                answer.stable,
                node.contiguous(),
                node.stable()
            )
        });
    }

    /// An entry delivered or acknowledged as safe is stable.
    pub(super) fn judge_safe(
        &mut self,
        now: Time,
        node: &Node,
        (epoch, seq): (&Epoch, Seq),
        what: &str,
    ) {
        // Judged by its epoch: the log may have been replaced in the same call.
        let known = self.stable.get(epoch).copied().unwrap_or(Seq::ZERO);
        let above = || {
            node.covers().skip_while(|(covering, ..)| *covering != epoch).skip(1).any(
                |(later, first, _)| self.stable.get(later).is_some_and(|known| *known >= first),
            )
        };
        let holds = known >= seq || above() || self.stable_bound(node).0 >= seq;
        self.notes.judge(Law::TrulyStable, now, holds, || {
            format!(
                "{} {what} #{seq} of epoch {epoch}, and only #{known} of that was found to be \
                     stable",
                node.contact().member
            )
        });
    }

    /// No entry is delivered before a second member holds it, in a view with a second member.
    /// Before an epoch has a view of its own, the peers on its list count as its members.
    pub(super) fn judge_second(&mut self, now: Time, node: &Node, epoch: &Epoch, seq: Seq) {
        let views = node.last_views();
        let Some((_, newest)) = views.first().filter(|(_, view)| view.size() > 1) else { return };
        let me = &node.contact().member;
        let goes_on_in = node.epoch();
        let listed = self.claims.list(&goes_on_in).iter().filter(|_| newest.epoch != goes_on_in);
        let mut others = newest
            .members
            .iter()
            .map(|contact| &contact.member)
            .chain(listed)
            .filter(|member| *member != me);
        let holds = others.any(|member| self.holders.has_held(member, node, epoch, seq));
        self.notes.judge(Law::SecondHolder, now, holds, || {
            format!(
                "{me} hands over #{seq} of epoch {epoch}, which nobody else in its {newest} \
                     has held"
            )
        });
    }
}

/// Whether it determines stability by itself: the owner of the epoch, even if it has just stopped
/// leading.
fn counts_itself(node: &Node) -> bool {
    node.epoch().owner == node.contact().member
}
