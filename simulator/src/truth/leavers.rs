//! Leaving: no reading is left behind unheld or unreported, and a group that is whole lets a member
//! go.

use protocol::id::{Member, Oseq, Seq};
use protocol::message::Entry;
use protocol::node::Node;
use protocol::time::Time;

use super::{Law, Truth};

impl Truth {
    /// A peer that has left and knows it leaves no reading behind that no other peer has.
    pub(super) fn judge_leaver(&mut self, now: Time, number: usize, node: &Node, others: &[&Node]) {
        let me = &node.contact().member;
        let leader = others.iter().find(|other| other.leads() && other.epoch() == node.epoch());
        if let Some(leader) = leader.filter(|_| self.known[number].follows) {
            let names = leader.last_views().first().is_some_and(|(_, view)| view.names(me));
            self.notes.judge(Law::LeftClean, now, !names, || {
                format!(
                    "{me} leaves, and {}, which it follows, has it in its newest view",
                    leader.contact().member
                )
            });
        }
        let accepted = self.accepted(number, me);
        if node.joins() && self.known[number].was_member {
            // Readings numbered by the group that it comes from are unknown to the next group; they
            // would have to be admitted there first, or stay unconfirmed.
            self.notes.judge(Law::LeftClean, now, accepted == 0, || {
                format!(
                    "{me} stops as having left with {accepted} accepted readings, between two \
                         groups"
                )
            });
        }
        let views = node.last_views();
        let is_left = |member: &Member| member != me && self.holders.is_there(member);
        // The last member of a group takes the log with it.
        let is_last = views
            .first()
            .is_none_or(|(_, view)| !view.members.iter().any(|contact| is_left(&contact.member)));
        let own = Some(node.last_oseq(me)).filter(|_| is_last);
        // A peer that has delivered it and moved to another group has it, too: only its origin
        // could publish it there again.
        let had = self
            .current
            .iter()
            .flatten()
            .filter(|other| **other != number)
            .map(|other| self.sinks[*other].highest(me));
        // A stable entry may be gone since, together with all its holders.
        let unstable = node.between(node.stable().next(), node.contiguous()).find_map(
            |(_, entry)| match entry {
                Entry::Readings { origin, first, .. } if origin == *me => Some(first),
                Entry::Readings { .. } | Entry::Lost { .. } | Entry::View(_) | Entry::Change(_) => {
                    None
                }
            },
        );
        let stable = unstable.map_or(node.last_oseq(me), Oseq::previous);
        let held = others.iter().map(|other| other.last_oseq(me)).chain(own).chain(had);
        let stands = held.chain([stable]).max().unwrap_or(Oseq::ZERO);
        let told_of = self.sinks[number].told_of;
        if accepted > 0 {
            let told = told_of.is_some_and(|from| from <= stands.next());
            self.notes.judge(Law::LeftClean, now, stands.0 >= accepted || told, || {
                format!(
                    "{me} leaves with {accepted} accepted readings, and nobody who lives has \
                         more than {stands} of them in its log"
                )
            });
        }
        if self.is_farewell {
            let handed_over = self.sinks[number].past.end();
            let (end, is_all) = (node.contiguous(), stands.0 >= accepted && told_of.is_none());
            self.notes.judge(Law::LetGo, now, is_all && handed_over == end, || {
                format!(
                    "{me} leaves a whole group with {stands} of {accepted} readings in its log, \
                     and hands over #{handed_over} of #{end}"
                )
            });
        }
    }

    /// A peer that leaves without knowing the fate of the rest of its readings reports which these
    /// are.
    pub(super) fn judge_unconfirmed(&mut self, now: Time, number: usize, node: &Node) {
        let me = &node.contact().member;
        let (accepted, stands) = (self.accepted(number, me), node.last_oseq(me));
        let told_of = self.sinks[number].told_of;
        let is_told = stands.0 >= accepted || told_of.is_some_and(|from| from <= stands.next());
        self.notes.judge(Law::LeftClean, now, is_told, || {
            let told = told_of.map_or_else(
                || "none".to_owned(),
                |from| {
                    format!(
                        "those from number \
                {from} on"
                    )
                },
            );
            format!(
                "{me} stops with {stands} of {accepted} readings in its own log, and tells \
                     {told} as left behind"
            )
        });
        self.notes.judge(Law::LetGo, now, !self.is_farewell, || {
            format!("{me} leaves a whole group, and nobody lets it go in time")
        });
    }

    fn accepted(&self, number: usize, me: &Member) -> u64 {
        self.sinks[number]
            .accepted_as()
            .filter(|(as_whom, _)| *as_whom == me)
            .map_or(0, |(_, accepted)| accepted)
    }

    /// Every leaver had enough time.
    pub(crate) fn judge_farewell(&mut self, now: Time, stays: Option<&Node>) {
        self.notes.judge(Law::LetGo, now, stays.is_none(), || {
            let (who, at) = stays.map_or((String::new(), Seq::ZERO), |node| {
                (node.contact().member.to_string(), node.contiguous())
            });
            format!("{who} was asked to leave a whole group, and is there still, with #{at}")
        });
    }
}
