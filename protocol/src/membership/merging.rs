//! How often a group asks another one to take it in.
//!
//! Two groups that hear each other's beacons are not yet two that can become one: a link may carry
//! one way only, or break as soon as the merge has begun. A leader that asks in vain asks less and
//! less often, and is free meanwhile to take in others that ask it; a group that has dissolved, and
//! stands alone again soon afterwards, waits longer before it dissolves into the same one again. So
//! nothing flaps faster than ever more slowly. Each other leader is remembered by itself: one that
//! cannot be reached does not stand in the way of one that can.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::env::Env;
use crate::id::{Contact, Member, PeerId};
use crate::io::Output;
use crate::log::entry::Entry;
use crate::log::view::View;
use crate::node::Node;
use crate::roles::Role;
use crate::roles::leader::{MergeRequest, Retiring, Successor};
use crate::time::Time;
use crate::wire::message::{Coordinator, JoinRequest, LINEAGE_SENT, Leading, Message, Reason};

/// The other leaders that were asked lately.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct MergeBackoffs {
    asked: BTreeMap<PeerId, Backoff>,
    dissolved: BTreeMap<PeerId, Backoff>,
    invited: BTreeMap<PeerId, Backoff>,
}

impl MergeBackoffs {
    /// Whether that leader may be asked (again).
    pub(crate) fn may_ask(&self, now: Time, leader: &PeerId) -> bool {
        let is_over = |pauses: &BTreeMap<PeerId, Backoff>| {
            pauses.get(leader).is_none_or(|backoff| backoff.is_over(now))
        };
        is_over(&self.asked) && is_over(&self.dissolved)
    }

    /// That leader has invited this one over a link: whether it could be reached before does not
    /// matter any more.
    pub(crate) fn on_invitation(&mut self, leader: &PeerId) {
        self.asked.remove(leader);
    }

    fn put_off(&mut self, now: Time, leader: &PeerId, first: Duration, most: Duration) {
        begin(&mut self.asked, now, leader, first, most);
    }
}

fn begin(
    pauses: &mut BTreeMap<PeerId, Backoff>,
    now: Time,
    leader: &PeerId,
    first: Duration,
    most: Duration,
) {
    pauses.retain(|_, backoff| !backoff.is_forgotten(now));
    if pauses.len() < ASKED_MOST || pauses.contains_key(leader) {
        pauses.entry(leader.clone()).or_default().begin(now, first, most);
    }
}

impl Node {
    /// Asks no more, if it is so with the leader that is being asked, and that one not again for a
    /// while.
    pub(crate) fn stop_merge_request(
        &mut self,
        now: Time,
        so: impl FnOnce(&mut MergeRequest) -> bool,
    ) {
        let first = self.env.config.knobs().heartbeat_interval;
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(merge_request) = leader.merge_request.take_if(so) else { return };
        // By no fixed measure: everything else has the beat of the heartbeats, and two that ask
        // always find each other busy.
        let most = self.env.jitter(2 * self.env.patience());
        self.env.merge_backoffs.put_off(now, merge_request.leader.id(), first, most);
        self.env.wants_changed = true;
    }

    /// Another leader is heard whose group is the lesser one: it may not hear this one, or not be
    /// able to dial it. So a link is made from here, and what is said on it has the other one ask.
    pub(crate) fn invite(&mut self, now: Time, word: &Coordinator, out: &mut Vec<Output>) {
        let (first, until) = (
            self.env.config.knobs().heartbeat_interval,
            now + self.env.config.knobs().election_timeout,
        );
        let size = self.env.log.view().map_or(1, |view| view.size() as u64);
        let Role::Leader(leader) = &self.role else { return };
        let outranks = (size, &leader.epoch) > (word.size, &word.epoch);
        let is_free = leader.inviting.is_none()
            && leader.is_numbering()
            && self.env.leaving.is_none()
            && !self.env.config.is_primary();
        let id = word.leader.id();
        if !outranks
            || !is_free
            || self.env.log.view().is_some_and(|view| view.names(&word.leader.member))
            || self.env.merge_backoffs.invited.get(id).is_some_and(|pause| !pause.is_over(now))
        {
            return;
        }
        let most = self.env.jitter(2 * self.env.patience());
        begin(&mut self.env.merge_backoffs.invited, now, id, first, most);
        if let Role::Leader(leader) = &mut self.role {
            leader.inviting = Some((word.leader.clone(), until));
        }
        self.env.wants_changed = true;
        self.say_invitation(now, &word.leader.member, out);
    }

    /// A member of another group speaks of its leader, which may be out of reach: the member is
    /// dialled, and passes on who leads here.
    pub(crate) fn invite_through(&mut self, now: Time, speaker: &Contact, out: &mut Vec<Output>) {
        let until = now + self.env.config.knobs().election_timeout;
        let is_own = self.env.log.view().is_some_and(|view| view.names(&speaker.member));
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.inviting.is_none()
            && leader.is_numbering()
            && !is_own
            && !self.env.config.is_primary()
        {
            leader.inviting = Some((speaker.clone(), until));
            self.env.wants_changed = true;
            self.say_invitation(now, &speaker.member, out);
        }
    }

    /// Says who leads to the leader that it invites, if a link to it stands.
    pub(crate) fn say_invitation(&mut self, now: Time, to: &Member, out: &mut Vec<Output>) {
        let Role::Leader(leader) = &self.role else { return };
        if leader.inviting.as_ref().is_none_or(|(invited, _)| invited.member != *to) {
            return;
        }
        let word = self.env.announcement(None, Some(to));
        if self.env.send(now, to, Message::Coordinator(word), out) {
            self.forget_invited(to);
        }
    }

    /// That leader has been told, or is gone.
    pub(crate) fn forget_invited(&mut self, member: &Member) {
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.inviting.take_if(|(invited, _)| invited.member == *member).is_some() {
            self.env.wants_changed = true;
        }
    }

    /// Nobody waits for ever for a link to a leader that it invites.
    pub(crate) fn stop_inviting(&mut self, now: Time) {
        let Role::Leader(leader) = &mut self.role else { return };
        self.env.wants_changed |= leader.inviting.take_if(|(_, until)| *until <= now).is_some();
    }
}

impl Env {
    /// The group of this peer dissolves into that leader's: should that come to nothing, the next
    /// time is not soon.
    pub(crate) fn put_off_dissolving(&mut self, now: Time, leader: &PeerId) {
        let (first, most) = (self.patience(), 4 * self.patience());
        begin(&mut self.merge_backoffs.dissolved, now, leader, first, most);
    }
}

/// Leaders remembered.
const ASKED_MOST: usize = 256;

impl Node {
    /// Another leader beacons: of two groups, the outranked one asks to become part of the other.
    pub(crate) fn court(&mut self, now: Time, word: &Coordinator, out: &mut Vec<Output>) {
        let size = self.env.log.view().map_or(1, |view| view.size() as u64);
        let until = now + self.env.config.knobs().election_timeout;
        let Role::Leader(leader) = &self.role else { return };
        let outranked = (word.size, &word.epoch) > (size, &leader.epoch);
        // In mode `primary` there is one group, and whoever is not in it is not a leader for long.
        if self.env.config.is_primary()
            || !outranked
            || leader.merge_request.is_some()
            || !leader.is_numbering()
            || self.env.leaving.is_some()
        {
            return;
        }
        if !self.env.merge_backoffs.may_ask(now, word.leader.id()) {
            return;
        }
        let ask = self.env.fresh_ask();
        if let Role::Leader(leader) = &mut self.role {
            leader.merge_request = Some(MergeRequest { leader: word.leader.clone(), ask, until });
        }
        self.env.wants_changed = true;
        self.ask_to_merge(now, &word.leader.member, out);
    }

    /// Asks the courted leader, if a link to it stands.
    pub(crate) fn ask_to_merge(&mut self, now: Time, to: &Member, out: &mut Vec<Output>) {
        let Role::Leader(leader) = &self.role else { return };
        let Some(merge_request) = leader
            .merge_request
            .as_ref()
            .filter(|merge_request| merge_request.leader.member == *to)
        else {
            return;
        };
        let leading = Leading {
            epoch: leader.epoch.clone(),
            size: self.env.log.view().map_or(1, |view| view.size() as u64),
        };
        let ask = merge_request.ask;
        let request = self.env.join_request(ask, Some(leading));
        self.env.send(now, to, Message::NewPeerRequest(request), out);
    }

    pub(crate) fn on_merge_request(
        &mut self,
        now: Time,
        from: &Member,
        join: &JoinRequest,
        out: &mut Vec<Output>,
    ) {
        let Some(theirs) = &join.leading else { return };
        let size = self.env.log.view().map_or(1, |view| view.size() as u64);
        let Role::Leader(leader) = &self.role else { return };
        let outranks = (size, &leader.epoch) > (theirs.size, &theirs.epoch);
        // One that it would like to ask, and cannot reach, is nobody to wait for.
        let asks = leader
            .merge_request
            .as_ref()
            .is_some_and(|merge_request| self.env.links.is_linked(&merge_request.leader.member));
        if outranks
            && !self.env.config.is_primary()
            && !asks
            && leader.is_numbering()
            && self.env.leaving.is_none()
        {
            self.stop_merge_request(now, |_| true);
            let word = self.env.announcement(Some(join.ask), Some(from));
            self.env.send(now, from, Message::Coordinator(word), out);
        } else {
            self.env.refuse(now, from, Some(join.ask), Reason::Busy, out);
        }
    }

    /// The other leader has said yes, which proves both directions: the group's last view names
    /// whom to join.
    pub(crate) fn dissolve(&mut self, now: Time, out: &mut Vec<Output>) {
        let until = now + self.env.config.knobs().sync_timeout;
        let Some(view) = self.env.log.view().cloned() else { return };
        let Role::Leader(leader) = &mut self.role else { return };
        if !leader.is_numbering() {
            return;
        }
        let Some(merge_request) = leader.merge_request.take() else { return };
        // Where it is, it has said on the link.
        let into = self
            .env
            .links
            .contact(&merge_request.leader.member)
            .cloned()
            .unwrap_or(merge_request.leader);
        let id = into.id().clone();
        leader.retiring = Some(Retiring { until, into: Successor::Group(into.clone()) });
        let mut last = View { view_id: view.view_id.next(), ..view };
        last.successor = Some(into);
        self.env.append(Entry::View(last), out);
        self.env.put_off_dissolving(now, &id);
    }
}

impl Env {
    pub(crate) fn join_request(&self, ask: u64, leading: Option<Leading>) -> JoinRequest {
        let lineage = self.log.shortened(LINEAGE_SENT);
        // What it holds and has not handed over (`safe`) comes again: no more than this is its
        // past.
        let contiguous = self.log.contiguous().min(self.sinks.delivered());
        let recent = self.config.knobs().late_join.entries();
        JoinRequest {
            ask,
            from: self.me.clone(),
            promised: self.promised.clone(),
            contiguous,
            lineage,
            leading,
            has_history: self.has_history,
            recent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ASKED_MOST, MergeBackoffs};
    use crate::id::PeerId;
    use crate::time::Time;
    use std::time::Duration;

    #[test]
    fn one_that_does_not_answer_is_asked_less_often_and_bars_nobody_else() {
        let id = |n: usize| PeerId::new(&format!("p{n}")).expect("a valid name");
        let at = |second: u64| Time::from_micros(second * 1_000_000);
        let (first, most) = (Duration::from_secs(1), Duration::from_secs(60));
        let mut merge_backoffs = MergeBackoffs::default();
        merge_backoffs.put_off(at(10), &id(1), first, most);
        assert!(!merge_backoffs.may_ask(at(10), &id(1)) && merge_backoffs.may_ask(at(10), &id(2)));
        merge_backoffs.put_off(at(11), &id(1), first, most);
        assert!(!merge_backoffs.may_ask(at(12), &id(1)) && merge_backoffs.may_ask(at(13), &id(1)));
        for n in 2..2 * ASKED_MOST {
            merge_backoffs.put_off(at(13), &id(n), first, most);
        }
        assert_eq!(merge_backoffs.asked.len(), ASKED_MOST);
        merge_backoffs.put_off(at(1_000), &id(1), first, most);
        assert_eq!(merge_backoffs.asked.len(), 1, "what is long ago is forgotten");
    }
}
