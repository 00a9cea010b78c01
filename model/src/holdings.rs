//! The entries that each peer has held along one path, and the laws about them.
//!
//! The laws are those of the simulator. The simulator records what each process has held while it
//! runs; the search keeps it as a part of each situation. So there are two implementations, and
//! neither uses the protocol's own rule for a quorum.
//!
//! A position of an epoch has one entry, and one history below it. So a peer that has held the last
//! position of an epoch has held everything below, and one number per epoch suffices.

use std::collections::BTreeMap;

use protocol::id::{Epoch, Member, Seq};
use protocol::node::Node;
use protocol::view::View;

use crate::fact::Breach;

/// The entries that each peer has held, and those that leaders have rightly found to be stable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Holdings {
    held: BTreeMap<Member, BTreeMap<Epoch, Seq>>,
    stable: BTreeMap<Epoch, Seq>,
}

impl Holdings {
    /// Records the entries that a peer holds, and checks its stable position, its beliefs about
    /// others and its numbers against the laws.
    pub(crate) fn look(&mut self, node: &Node, is_primary: bool) -> Result<(), Breach> {
        let held = self.held.entry(node.contact().member.clone()).or_default();
        for (epoch, _, last) in node.covers().filter(|(epoch, ..)| !epoch.is_none()) {
            raise(held, epoch, last);
        }
        self.judge_beliefs(node)?;
        self.judge_views(node, is_primary)?;
        self.judge_stable(node, is_primary)
    }

    /// No entry is delivered before a second member has held it, in a view with a second member.
    /// While an epoch has no view of its own, every peer that has adopted the epoch counts as a
    /// member.
    pub(crate) fn judge_handed(&self, node: &Node, epoch: &Epoch, seq: Seq) -> Result<(), Breach> {
        let views = node.last_views();
        let Some((_, newest)) = views.first().filter(|(_, view)| view.size() > 1) else {
            return Ok(());
        };
        let me = &node.contact().member;
        let goes_on_in = node.epoch();
        let takes_part = |(member, held): (&Member, &BTreeMap<Epoch, Seq>)| {
            newest.names(member) || newest.epoch != goes_on_in && held.contains_key(&goes_on_in)
        };
        let mut others =
            self.held.iter().filter(|(member, held)| *member != me && takes_part((member, held)));
        if others.any(|(member, _)| self.has_held(member, node, epoch, seq)) {
            return Ok(());
        }
        let words = format!(
            "{me} hands over #{seq} of epoch {epoch}, which nobody else in its {newest} has held"
        );
        Err(Breach::new("second-holder", words))
    }

    fn judge_beliefs(&self, node: &Node) -> Result<(), Breach> {
        for (member, believed) in node.believes().filter(|(_, believed)| *believed > Seq::ZERO) {
            let reach = self.reach(member, node);
            if believed > reach {
                let me = &node.contact().member;
                let words = format!(
                    "{me} believes that {member} holds #{believed}, and it has held #{reach} at \
                     most"
                );
                return Err(Breach::new("believes-no-more", words));
            }
        }
        Ok(())
    }

    fn judge_views(&self, node: &Node, is_primary: bool) -> Result<(), Breach> {
        let views = node.last_views();
        let ([(at, newest), (below, before)], true) = (&views[..], node.leads()) else {
            return Ok(());
        };
        let me = &node.contact().member;
        if newest.view_id.0 != before.view_id.0 + 1 {
            let words = format!(
                "{me} leads view {} at #{at}, and view {} stands before it",
                newest.view_id, before.view_id
            );
            return Err(Breach::new("views-unbroken", words));
        }
        // A claimant may take over an unsettled view; it is responsible only for the views that it
        // numbers itself.
        let is_its_own = is_primary && newest.epoch == node.epoch() && *below > Seq::ZERO;
        if is_its_own && !self.is_quorum(before, node, *below) {
            let words = format!(
                "{me} numbers view {} at #{at}, and no quorum holds the one before it, at #{below}",
                newest.view_id
            );
            return Err(Breach::new("views-settled", words));
        }
        Ok(())
    }

    fn judge_stable(&mut self, node: &Node, is_primary: bool) -> Result<(), Breach> {
        let stable = node.stable();
        let known = self.known_stable(node);
        if stable <= known {
            return Ok(());
        }
        // The owner of the epoch determines stability by itself, even if it has just stopped
        // leading; the others rely on its result.
        let counts_itself = node.epoch().owner == node.contact().member;
        if !counts_itself || !self.is_held(node, stable, is_primary) {
            let me = &node.contact().member;
            let words = format!(
                "{me} takes #{stable} for stable, which was found to be so of #{known} only, and \
                 is not held as it has to be"
            );
            return Err(Breach::new("truly-stable", words));
        }
        for (epoch, first, last) in node.covers().filter(|(epoch, ..)| !epoch.is_none()) {
            if first <= stable {
                raise(&mut self.stable, epoch, last.min(stable));
            }
        }
        Ok(())
    }

    /// How much of a node's log leaders have found to be stable.
    fn known_stable(&self, node: &Node) -> Seq {
        let row = |(epoch, first, last): (&Epoch, Seq, Seq)| {
            self.stable.get(epoch).filter(|known| **known >= first).map(|known| last.min(*known))
        };
        node.covers().rev().find_map(row).unwrap_or(Seq::ZERO)
    }

    /// Whether every member of the newest view has held that position (mode `available`), or the
    /// required quorums (`primary`).
    fn is_held(&self, node: &Node, seq: Seq, is_primary: bool) -> bool {
        let views = node.last_views();
        let Some((at, newest)) = views.first() else { return false };
        if !is_primary {
            return seq >= *at
                && newest
                    .members
                    .iter()
                    .all(|contact| self.reach_of(&contact.member, node) >= seq);
        }
        if *at <= self.known_stable(node) {
            return self.is_quorum(newest, node, seq);
        }
        // Below the entry of an unstable view the previous view decides; the entry and later ones
        // need quorums of both views.
        let Some((_, before)) = views.get(1) else { return self.is_quorum(newest, node, seq) };
        if seq < *at {
            return self.is_quorum(before, node, seq);
        }
        self.is_quorum(before, node, *at) && self.is_quorum(newest, node, seq)
    }

    fn is_quorum(&self, view: &View, node: &Node, seq: Seq) -> bool {
        let holds = |member: &Member| self.reach_of(member, node) >= seq;
        let holders = view.members.iter().filter(|contact| holds(&contact.member)).count();
        let leads = || {
            view.members
                .iter()
                .any(|contact| *contact.id() == view.leader && holds(&contact.member))
        };
        2 * holders > view.size() || 2 * holders == view.size() && leads()
    }

    fn reach_of(&self, member: &Member, node: &Node) -> Seq {
        if *member == node.contact().member { node.contiguous() } else { self.reach(member, node) }
    }

    /// How much of that node's log another peer has held: the last position.
    fn reach(&self, member: &Member, of: &Node) -> Seq {
        let Some(held) = self.held.get(member) else { return Seq::ZERO };
        let row = |(epoch, first, last): (&Epoch, Seq, Seq)| {
            held.get(epoch).filter(|held| **held >= first).map(|held| last.min(*held))
        };
        of.covers().rev().find_map(row).unwrap_or(Seq::ZERO)
    }

    fn has_held(&self, member: &Member, of: &Node, epoch: &Epoch, seq: Seq) -> bool {
        let by_epoch = self.held.get(member).and_then(|held| held.get(epoch));
        by_epoch.is_some_and(|held| *held >= seq) || self.reach(member, of) >= seq
    }
}

fn raise(of: &mut BTreeMap<Epoch, Seq>, epoch: &Epoch, last: Seq) {
    match of.get_mut(epoch) {
        Some(known) => *known = last.max(*known),
        None => drop(of.insert(epoch.clone(), last)),
    }
}

#[cfg(test)]
mod tests {
    use super::Holdings;
    use crate::fact::Breach;
    use crate::model::Model;
    use crate::peer::Peer;
    use crate::plan::{Depth, plan};
    use crate::start::Start;
    use protocol::config::{Config, Knobs, Mode};
    use protocol::id::Seq;

    /// A group of three with a leader.
    fn group() -> Vec<Peer> {
        let bounds = plan(Depth::Usual, Mode::Available)[0].bounds;
        let config = Config::try_from(Knobs::default()).unwrap();
        let mut model = Model::new(&config, bounds);
        let group = Start::Formed.reach(&mut model, &config, bounds).expect("a lawful beginning");
        group.peers.iter().flatten().map(|peer| model.peers.get(*peer).clone()).collect()
    }

    #[track_caller]
    fn check(found: Result<(), Breach>, law: &str) {
        assert_eq!(found.expect_err("a breach").promise, law);
    }

    #[test]
    fn what_nobody_has_held_is_neither_believed_nor_stable_nor_handed_over() {
        let peers = group();
        let (leaders, members): (Vec<&Peer>, Vec<&Peer>) =
            peers.iter().partition(|peer| peer.node.leads());
        let (leader, member) = (&leaders[0].node, &members[0].node);
        let mut all = Holdings::default();
        for peer in members.iter().chain(&leaders) {
            let mut alone = Holdings::default();
            let law = if peer.node.leads() { "believes-no-more" } else { "truly-stable" };
            check(alone.look(&peer.node, false), law);
            // The entries that it holds are recorded nevertheless.
            let _found = all.look(&peer.node, false);
        }
        assert_eq!((all.look(leader, false), all.look(member, false)), (Ok(()), Ok(())));
        let last = leader.contiguous();
        assert_eq!(all.judge_handed(leader, &leader.epoch(), last), Ok(()));
        check(Holdings::default().judge_handed(leader, &leader.epoch(), last), "second-holder");
        check(all.judge_handed(leader, &leader.epoch(), Seq(last.0 + 1)), "second-holder");
    }
}
