//! The leader's stream: every member gets what it lacks, in order, as fast as its link takes it.
//!
//! Each follower has a cursor; what lies between it and the end of the log is sent as runs, one
//! frame for all that stand at the same position, and starts again at what the follower says it
//! holds whenever its link is new. So there is no resend timer here; what a link swallowed without
//! breaking is noticed at the heartbeats (see `sequencer`).

use std::collections::BTreeMap;

use crate::env::Env;
use crate::id::{LinkId, Member, PeerId, Seq};
use crate::log::entry::Ordered;
use crate::log::lineage::LogEnd;
use crate::roles::follower::RUN_BYTES;
use crate::roles::leader::Leader;
use crate::roles::turn::Turn;
use crate::time::Time;
use crate::wire::message::{Message, Reason};

/// A member that is out.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Parting {
    pub(crate) member: Member,
    pub(crate) cursor: Seq,
    /// The entry that removes it.
    pub(crate) until: Seq,
    /// The last reading before it that has to be safe, and has not been told to be.
    pub(crate) awaits: Option<Seq>,
    pub(crate) forget_at: Time,
    /// The links that are closed when everything has been said on them.
    pub(crate) old_links: Vec<LinkId>,
}

impl Leader {
    /// Sends every follower what it lacks, one frame for all that stand at the same position.
    pub(crate) fn stream(&mut self, turn: &mut Turn<'_>) {
        let contiguous = turn.env.log.contiguous();
        let stable = turn.env.log.stable();
        for round in 0.. {
            let behind = self.behind(turn.env);
            if behind.is_empty() {
                break;
            }
            if round == STREAMED_AT_ONCE {
                // Between two calls the shell can say that a link is full, and heartbeats can go
                // out.
                turn.env.more_at = Some(turn.now);
                break;
            }
            for (cursor, group) in behind {
                let run = turn.env.log.run(cursor.next(), contiguous, RUN_BYTES);
                if run.is_empty() {
                    self.cannot_stream(turn, &group);
                    continue;
                }
                let ordered = Ordered {
                    epoch: self.epoch.clone(),
                    first: cursor.next(),
                    run,
                    stable,
                    repair: None,
                };
                let end = cursor.plus(ordered.positions());
                for (_, id) in &group {
                    if let Some(progress) = self.progress.get_mut(id) {
                        progress.cursor = end;
                    }
                }
                let links = group.into_iter().map(|(link, _)| link).collect();
                turn.env.links.fan(links, Message::Ordered(ordered), turn.out);
            }
        }
        self.stream_parting(turn);
    }

    /// Who lacks entries and can take some, by the last position that it has been sent.
    fn behind(&self, env: &Env) -> BTreeMap<Seq, Vec<(LinkId, PeerId)>> {
        let contiguous = env.log.contiguous();
        let mut behind: BTreeMap<Seq, Vec<(LinkId, PeerId)>> = BTreeMap::new();
        let followers = self.progress.values();
        for progress in
            followers.filter(|progress| progress.adopted && progress.cursor < contiguous)
        {
            if let Some(link) = env.links.to(&progress.contact.member)
                && !env.links.is_full(link)
            {
                let id = progress.contact.id().clone();
                behind.entry(progress.cursor).or_default().push((link, id));
            }
        }
        behind
    }

    /// What they lack has been discarded; only a snapshot helps, and they get one when they ask to
    /// join.
    fn cannot_stream(&mut self, turn: &mut Turn<'_>, group: &[(LinkId, PeerId)]) {
        let mut behind_the_tail = Vec::with_capacity(group.len());
        for (_, id) in group {
            if let Some(progress) = self.progress.get_mut(id) {
                progress.adopted = false;
                behind_the_tail.push(progress.contact.member.clone());
            }
        }
        for member in behind_the_tail {
            turn.env.refuse(turn.now, &member, None, Reason::NotMember, turn.out);
        }
    }

    /// Whoever is out gets everything up to the view that says so, and is told when the readings
    /// before it are safe: it hands over neither before, and would wait for good.
    pub(crate) fn stream_parting(&mut self, turn: &mut Turn<'_>) {
        let epoch = self.epoch.clone();
        let left = std::mem::take(&mut self.parting);
        let mut kept = Vec::new();
        let stable = turn.env.log.stable();
        for mut parting in left {
            for _ in 0..STREAMED_AT_ONCE {
                let link = turn.env.links.to(&parting.member);
                let settled = parting.awaits.is_some_and(|at| at <= stable);
                if !(parting.cursor < parting.until || settled)
                    || link.is_none_or(|link| turn.env.links.is_full(link))
                {
                    break;
                }
                let run = turn.env.log.run(parting.cursor.next(), parting.until, RUN_BYTES);
                let ordered = Ordered {
                    epoch: epoch.clone(),
                    first: parting.cursor.next(),
                    run,
                    stable,
                    repair: None,
                };
                let end = parting.cursor.plus(ordered.positions());
                let gone = end == parting.cursor && parting.cursor < parting.until;
                let word = Message::Ordered(ordered);
                if gone || !turn.env.send(turn.now, &parting.member, word, turn.out) {
                    break;
                }
                parting.cursor = end;
                parting.awaits = parting.awaits.filter(|_| !settled);
            }
            if parting.cursor < parting.until || parting.awaits.is_some() {
                kept.push(parting);
            } else {
                for link in parting.old_links {
                    turn.env.links.hang_up(link, turn.out);
                }
            }
        }
        self.parting = kept;
    }

    /// Forgets the evicted members whose time to be told is over, and closes the old links to them.
    pub(crate) fn forget_parting(&mut self, turn: &mut Turn<'_>) {
        let (kept, late): (Vec<Parting>, Vec<Parting>) = std::mem::take(&mut self.parting)
            .into_iter()
            .partition(|parting| parting.forget_at > turn.now);
        self.parting = kept;
        // It may be in again, and go on with one of them.
        let out_still = late.into_iter().filter(|parting| !self.follows(&parting.member));
        for link in out_still.flat_map(|parting| parting.old_links) {
            turn.env.links.hang_up(link, turn.out);
        }
    }

    /// Somebody waits for what has just become stable: it is said at once, not with whatever is
    /// streamed next.
    pub(crate) fn spread_stable(&self, turn: &mut Turn<'_>) {
        let (contiguous, stable) = (turn.env.log.contiguous(), turn.env.log.stable());
        let level = self
            .progress
            .values()
            .filter(|progress| progress.adopted && progress.cursor == contiguous);
        let links: Vec<LinkId> =
            level.filter_map(|progress| turn.env.links.to(&progress.contact.member)).collect();
        if !links.is_empty() {
            let word = Ordered {
                epoch: self.epoch.clone(),
                first: contiguous.next(),
                run: Vec::new(),
                stable,
                repair: None,
            };
            turn.env.links.fan(links, Message::Ordered(word), turn.out);
        }
    }

    /// A follower's link is new: it goes on where it says that it is, in this epoch; otherwise it
    /// hears the cut again.
    pub(crate) fn relink(&mut self, turn: &mut Turn<'_>, member: &Member, end: &LogEnd) {
        let Some(progress) =
            self.progress.get_mut(&member.id).filter(|progress| progress.contact.member == *member)
        else {
            return;
        };
        if end.epoch == self.epoch && end.contiguous <= turn.env.log.contiguous() {
            progress.begin_at(end.contiguous);
            progress.acknowledge(end.contiguous);
            self.let_go(&member.id, turn.now);
        } else if !progress.adopted
            && self.announced.list.contains(member)
            && end.epoch < self.epoch
        {
            let announced = self.announced.clone();
            turn.env.send(turn.now, member, Message::SeqSyncFinal(announced), turn.out);
        }
        self.greet(turn, member);
    }

    /// One of a follower's links is gone: what has not been acknowledged may have gone with it.
    pub(crate) fn resume_at_acked(&mut self, turn: &mut Turn<'_>, member: &Member) {
        let Some(progress) =
            self.progress.get_mut(&member.id).filter(|progress| progress.contact.member == *member)
        else {
            return;
        };
        if progress.adopted {
            progress.resume();
        } else if self.announced.list.contains(member) {
            let announced = self.announced.clone();
            turn.env.send(turn.now, member, Message::SeqSyncFinal(announced), turn.out);
        }
        self.greet(turn, member);
    }
}

/// Frames streamed to one follower in one call at most.
const STREAMED_AT_ONCE: u32 = 16;

#[cfg(test)]
mod tests {
    use crate::config::Knobs;
    use crate::harness::{Harness, nothing, peer};
    use crate::id::Seq;
    use crate::io::{Input, Output};
    use crate::log::lineage::LogEnd;
    use crate::wire::message::{Message, Reason};

    #[test]
    fn a_new_link_to_one_that_has_not_adopted_the_cut_brings_it_again_and_counts_for_nothing() {
        let (mut harness, announced) = Harness::heir(Knobs::fast());
        let old = LogEnd {
            epoch: announced.lineage[0].epoch.clone(),
            contiguous: announced.cut,
            log_id: announced.lineage[0].epoch.clone(),
        };
        let state = |harness: &mut Harness| {
            let progress = &harness.leads().progress[peer(2).id()];
            (progress.adopted, progress.acked)
        };
        for _ in 0..2 {
            harness.cut(&peer(2));
            harness.greet(&peer(2), old.clone());
            assert_eq!(harness.finals(&peer(2)), std::slice::from_ref(&announced));
            assert_eq!(state(&mut harness), (false, Seq::ZERO));
        }
        let beyond = LogEnd { epoch: announced.epoch.clone(), contiguous: Seq(99), ..old.clone() };
        harness.greet(&peer(2), beyond);
        assert_eq!(harness.finals(&peer(2)), [], "nonsense");
        assert_eq!(state(&mut harness), (false, Seq::ZERO));
        let adopted =
            LogEnd { epoch: announced.epoch.clone(), contiguous: announced.cut, ..old.clone() };
        harness.greet(&peer(2), adopted);
        assert_eq!(harness.entries(&peer(2)), [(2, 1)], "the view of the new epoch");
        assert_eq!(state(&mut harness), (true, Seq(1)));
        harness.greet(&peer(2), old);
        assert_eq!(harness.finals(&peer(2)), [], "said before it adopted, and overtaken since");
        harness.greet(&peer(4), nothing());
        assert_eq!(harness.finals(&peer(4)), [], "not on the list");
    }

    /// `p1` leads `p2` and `p3`, which hold everything.
    fn three() -> Harness {
        let mut harness = Harness::leader(Knobs::fast());
        for n in [2, 3] {
            harness.admit(&peer(n));
            for n in 2..=n {
                let high = harness.node.env.log.contiguous();
                harness.acknowledge(&peer(n), high);
            }
        }
        harness.out.clear();
        harness
    }

    #[test]
    fn who_is_out_is_told_so_as_soon_as_it_can_be_reached() {
        let mut harness = three();
        harness.fail(&peer(2));
        let out_at = harness.node.env.log.view_at();
        assert_eq!(harness.leads().parting.len(), 1, "it cannot be reached");
        let end = harness.node.env.log.end();
        harness.greet(&peer(2), end);
        assert_eq!(harness.entries(&peer(2)), [(out_at.0, 1)]);
        assert!(harness.leads().parting.is_empty(), "it has been told");
    }

    #[test]
    fn who_is_out_and_cannot_be_told_any_more_is_told_nothing() {
        let mut harness = three();
        harness.fail(&peer(2));
        for text in ["one", "two", "three"] {
            harness.publish(text);
        }
        let high = harness.node.env.log.contiguous();
        harness.acknowledge(&peer(3), high);
        harness.node.env.log.discard(high, 0, 0);
        let end = harness.node.env.log.end();
        harness.greet(&peer(2), end);
        assert_eq!(harness.entries(&peer(2)), []);
        assert_eq!(harness.leads().parting.len(), 1);
    }

    #[test]
    fn who_lacks_what_is_discarded_is_told_that_it_is_no_member() {
        let mut harness = three();
        for text in ["one", "two", "three"] {
            harness.publish(text);
        }
        let high = harness.node.env.log.contiguous();
        harness.acknowledge(&peer(2), high);
        harness.acknowledge(&peer(3), high);
        harness.node.env.log.discard(high, 0, 0);
        harness.out.clear();
        let end = LogEnd { contiguous: Seq(2), ..harness.node.env.log.end() };
        harness.greet(&peer(2), end);
        let refused = |message: &Message| matches!(message, Message::Rejected(no) if no.reason == Reason::NotMember && no.ask.is_none());
        assert_eq!(
            harness.told(&peer(2)).iter().filter(|message| refused(message)).count(),
            1,
            "it asks to be let in, and gets a snapshot"
        );
        assert_eq!(harness.told(&peer(3)).iter().filter(|message| refused(message)).count(), 0);
    }

    #[test]
    fn that_something_is_stable_is_told_to_those_who_hold_it() {
        let mut harness = three();
        let link = harness.link(&peer(2));
        harness.give(Input::Backlog { link, full: true });
        harness.publish("x");
        harness.out.clear();
        harness.lead(harness.now, |leader, turn| leader.spread_stable(turn));
        let links: Vec<_> = harness
            .out
            .iter()
            .filter_map(|output| {
                if let Output::Fan { links, .. } = output { Some(links.clone()) } else { None }
            })
            .collect();
        assert_eq!(links, [[harness.link(&peer(3))]], "the other one has still to be sent it");
    }
}
