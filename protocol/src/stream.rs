//! The leader's stream: every member gets what it lacks, in order, as fast as its link takes it.
//!
//! Each follower has a cursor; what lies between it and the end of the log is sent as runs, one frame for all that stand at
//! the same position, and starts again at what the follower says it holds whenever its link is new. So there is no resend
//! timer here; what a link swallowed without breaking is noticed at the heartbeats (see `sequencer`).

use std::collections::BTreeMap;

use crate::id::{LinkId, Member, PeerId, Seq};
use crate::member::RUN_BYTES;
use crate::message::{LogEnd, Message, Ordered};
use crate::node::Node;
use crate::role::Role;
use crate::seam::Output;
use crate::time::Time;

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
}

impl Node {
    /// Sends every follower what it lacks, one frame for all that stand at the same position.
    pub(crate) fn stream(&mut self, now: Time, out: &mut Vec<Output>) {
        let contiguous = self.log.contiguous();
        let stable = self.log.stable();
        for round in 0.. {
            let Role::Leader(leader) = &mut self.role else { return };
            let mut behind: BTreeMap<Seq, Vec<(LinkId, PeerId)>> = BTreeMap::new();
            for follower in leader.followers.values().filter(|follower| follower.adopted && follower.cursor < contiguous) {
                if let Some(link) = self.links.to(&follower.contact.member)
                    && !self.links.is_full(link)
                {
                    behind.entry(follower.cursor).or_default().push((link, follower.contact.id().clone()));
                }
            }
            if behind.is_empty() {
                break;
            }
            if round == STREAMED_AT_ONCE {
                // Between two calls the shell can say that a link is full, and heartbeats can go out.
                self.more_at = Some(now);
                break;
            }
            for (cursor, group) in behind {
                let run = self.log.run(cursor.next(), contiguous, RUN_BYTES as usize);
                let Role::Leader(leader) = &mut self.role else { return };
                if run.is_empty() {
                    // What it lacks has been discarded; only a snapshot helps, and it gets one when it asks to join.
                    for (_, id) in &group {
                        if let Some(follower) = leader.followers.get_mut(id) {
                            follower.adopted = false;
                        }
                    }
                    continue;
                }
                let end = cursor.plus(run.len() as u64);
                for (_, id) in &group {
                    if let Some(follower) = leader.followers.get_mut(id) {
                        follower.cursor = end;
                    }
                }
                let epoch = leader.epoch.clone();
                let links = group.into_iter().map(|(link, _)| link).collect();
                let message = Message::Ordered(Ordered { epoch, first: cursor.next(), run, stable, repair: None });
                self.links.fan(links, message, out);
            }
        }
        self.stream_parting(now, out);
    }

    /// Whoever is out gets everything up to the view that says so, and is told when the readings before it are safe: it
    /// hands over neither before, and would wait for good.
    pub(crate) fn stream_parting(&mut self, now: Time, out: &mut Vec<Output>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let epoch = leader.epoch.clone();
        let left = std::mem::take(&mut leader.parting);
        let mut kept = Vec::new();
        let stable = self.log.stable();
        for mut parting in left {
            for _ in 0..STREAMED_AT_ONCE {
                let link = self.links.to(&parting.member);
                let settled = parting.awaits.is_some_and(|at| at <= stable);
                if !(parting.cursor < parting.until || settled) || link.is_none_or(|link| self.links.is_full(link)) {
                    break;
                }
                let run = self.log.run(parting.cursor.next(), parting.until, RUN_BYTES as usize);
                let end = parting.cursor.plus(run.len() as u64);
                let message = Message::Ordered(Ordered { epoch: epoch.clone(), first: parting.cursor.next(), run, stable, repair: None });
                let gone = end == parting.cursor && parting.cursor < parting.until;
                if gone || !self.send(now, &parting.member, message, out) {
                    break;
                }
                parting.cursor = end;
                parting.awaits = parting.awaits.filter(|_| !settled);
            }
            if parting.cursor < parting.until || parting.awaits.is_some() {
                kept.push(parting);
            }
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.parting = kept;
        }
    }

    /// Somebody waits for what has just become stable: it is said at once, not with whatever is streamed next.
    pub(crate) fn spread_stable(&mut self, out: &mut Vec<Output>) {
        let (contiguous, stable) = (self.log.contiguous(), self.log.stable());
        let Role::Leader(leader) = &self.role else { return };
        let level = leader.followers.values().filter(|follower| follower.adopted && follower.cursor == contiguous);
        let links: Vec<LinkId> = level.filter_map(|follower| self.links.to(&follower.contact.member)).collect();
        if !links.is_empty() {
            let word = Ordered { epoch: leader.epoch.clone(), first: contiguous.next(), run: Vec::new(), stable, repair: None };
            self.links.fan(links, Message::Ordered(word), out);
        }
    }

    /// A follower's link is new: it goes on where it says that it is, in this epoch; otherwise it hears the cut again.
    pub(crate) fn relink(&mut self, now: Time, member: &Member, end: &LogEnd, out: &mut Vec<Output>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(follower) = leader.followers.get_mut(&member.id).filter(|follower| follower.contact.member == *member) else { return };
        if end.epoch == leader.epoch && end.contiguous <= self.log.contiguous() {
            follower.begin_at(end.contiguous);
            follower.acknowledge(end.contiguous);
        } else if !follower.adopted && leader.announced.list.contains(member) && end.epoch < leader.epoch {
            let announced = leader.announced.clone();
            self.send(now, member, Message::SeqSyncFinal(announced), out);
        }
        self.greet(now, member, out);
    }

    /// One of a follower's links is gone: what has not been acknowledged may have gone with it.
    pub(crate) fn resume_at_acked(&mut self, now: Time, member: &Member, out: &mut Vec<Output>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(follower) = leader.followers.get_mut(&member.id).filter(|follower| follower.contact.member == *member) else { return };
        if follower.adopted {
            follower.resume();
        } else if leader.announced.list.contains(member) {
            let announced = leader.announced.clone();
            self.send(now, member, Message::SeqSyncFinal(announced), out);
        }
        self.greet(now, member, out);
    }
}

/// Frames streamed to one follower in one call at most.
const STREAMED_AT_ONCE: u32 = 16;
