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
use crate::log::entry::Entry;
use crate::log::view::View;
use crate::membership::NO_VIEW;
use crate::roles::leader::{Leader, MergeRequest, Retiring, Successor};
use crate::roles::turn::Turn;
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

impl Leader {
    /// Asks no more, if it is so with the leader that is being asked, and that one not again for a
    /// while.
    pub(crate) fn stop_merge_request(
        &mut self,
        turn: &mut Turn<'_>,
        so: impl FnOnce(&mut MergeRequest) -> bool,
    ) {
        let first = turn.env.config.knobs().heartbeat_interval;
        let Some(merge_request) = self.merge_request.take_if(so) else { return };
        // By no fixed measure: everything else has the beat of the heartbeats, and two that ask
        // always find each other busy.
        let most = turn.env.jitter(2 * turn.env.patience());
        turn.env.merge_backoffs.put_off(turn.now, merge_request.leader.id(), first, most);
        turn.env.wants_changed = true;
    }

    /// Another leader is heard whose group is the lesser one: it may not hear this one, or not be
    /// able to dial it. So a link is made from here, and what is said on it has the other one ask.
    pub(crate) fn invite(&mut self, turn: &mut Turn<'_>, word: &Coordinator) {
        let (first, until) = (
            turn.env.config.knobs().heartbeat_interval,
            turn.now + turn.env.config.knobs().election_timeout,
        );
        let size = turn.env.log.view().map_or(1, |view| view.size() as u64);
        let outranks = (size, &self.epoch) > (word.size, &word.epoch);
        let is_free = self.inviting.is_none()
            && self.is_numbering()
            && turn.env.leaving.is_none()
            && turn.env.policy().merges();
        let id = word.leader.id();
        if !outranks
            || !is_free
            || turn.env.log.view().is_some_and(|view| view.names(&word.leader.member))
            || turn.env.merge_backoffs.invited.get(id).is_some_and(|pause| !pause.is_over(turn.now))
        {
            return;
        }
        let most = turn.env.jitter(2 * turn.env.patience());
        begin(&mut turn.env.merge_backoffs.invited, turn.now, id, first, most);
        self.inviting = Some((word.leader.clone(), until));
        turn.env.wants_changed = true;
        self.say_invitation(turn, &word.leader.member);
    }

    /// A member of another group speaks of its leader, which may be out of reach: the member is
    /// dialled, and passes on who leads here.
    pub(crate) fn invite_through(&mut self, turn: &mut Turn<'_>, speaker: &Contact) {
        let until = turn.now + turn.env.config.knobs().election_timeout;
        let is_own = turn.env.log.view().is_some_and(|view| view.names(&speaker.member));
        if self.inviting.is_none() && self.is_numbering() && !is_own && turn.env.policy().merges() {
            self.inviting = Some((speaker.clone(), until));
            turn.env.wants_changed = true;
            self.say_invitation(turn, &speaker.member);
        }
    }

    /// Says who leads to the leader that it invites, if a link to it stands.
    pub(crate) fn say_invitation(&mut self, turn: &mut Turn<'_>, to: &Member) {
        if self.inviting.as_ref().is_none_or(|(invited, _)| invited.member != *to) {
            return;
        }
        let word = turn.env.announcement(None, Some(to));
        if turn.env.send(turn.now, to, Message::Coordinator(word), turn.out) {
            self.forget_invited(turn, to);
        }
    }

    /// That leader has been told, or is gone.
    pub(crate) fn forget_invited(&mut self, turn: &mut Turn<'_>, member: &Member) {
        if self.inviting.take_if(|(invited, _)| invited.member == *member).is_some() {
            turn.env.wants_changed = true;
        }
    }

    /// Nobody waits for ever for a link to a leader that it invites.
    pub(crate) fn stop_inviting(&mut self, turn: &mut Turn<'_>) {
        turn.env.wants_changed |= self.inviting.take_if(|(_, until)| *until <= turn.now).is_some();
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

impl Leader {
    /// Somebody speaks of another leader, which is not of this group: it is asked, or invited.
    pub(crate) fn meet(&mut self, turn: &mut Turn<'_>, word: &Coordinator) {
        if !turn.env.log.view().is_some_and(|view| view.names(&word.leader.member)) {
            self.court(turn, word);
            self.invite(turn, word);
        }
    }

    /// Another leader beacons: of two groups, the outranked one asks to become part of the other.
    pub(crate) fn court(&mut self, turn: &mut Turn<'_>, word: &Coordinator) {
        let size = turn.env.log.view().map_or(1, |view| view.size() as u64);
        let until = turn.now + turn.env.config.knobs().election_timeout;
        let outranked = (word.size, &word.epoch) > (size, &self.epoch);
        if !turn.env.policy().merges()
            || !outranked
            || self.merge_request.is_some()
            || !self.is_numbering()
            || turn.env.leaving.is_some()
        {
            return;
        }
        if !turn.env.merge_backoffs.may_ask(turn.now, word.leader.id()) {
            return;
        }
        let ask = turn.env.fresh_ask();
        self.merge_request = Some(MergeRequest { leader: word.leader.clone(), ask, until });
        turn.env.wants_changed = true;
        self.ask_to_merge(turn, &word.leader.member);
    }

    /// Asks the courted leader, if a link to it stands.
    pub(crate) fn ask_to_merge(&self, turn: &mut Turn<'_>, to: &Member) {
        let Some(merge_request) =
            self.merge_request.as_ref().filter(|merge_request| merge_request.leader.member == *to)
        else {
            return;
        };
        let leading = Leading {
            epoch: self.epoch.clone(),
            size: turn.env.log.view().map_or(1, |view| view.size() as u64),
        };
        let ask = merge_request.ask;
        let request = turn.env.join_request(ask, Some(leading));
        turn.env.send(turn.now, to, Message::NewPeerRequest(request), turn.out);
    }

    /// Another leader asks whether its group may become part of this one.
    pub(crate) fn on_merge_request(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        ask: u64,
        theirs: &Leading,
    ) {
        let size = turn.env.log.view().map_or(1, |view| view.size() as u64);
        let outranks = (size, &self.epoch) > (theirs.size, &theirs.epoch);
        // One that it would like to ask, and cannot reach, is nobody to wait for.
        let asks = self
            .merge_request
            .as_ref()
            .is_some_and(|merge_request| turn.env.links.is_linked(&merge_request.leader.member));
        if outranks
            && turn.env.policy().merges()
            && !asks
            && self.is_numbering()
            && turn.env.leaving.is_none()
        {
            self.stop_merge_request(turn, |_| true);
            let word = turn.env.announcement(Some(ask), Some(from));
            turn.env.send(turn.now, from, Message::Coordinator(word), turn.out);
        } else {
            turn.env.refuse(turn.now, from, Some(ask), Reason::Busy, turn.out);
        }
    }

    /// The other leader has said yes, which proves both directions: the group's last view names
    /// whom to join.
    pub(crate) fn dissolve(&mut self, turn: &mut Turn<'_>) {
        let until = turn.now + turn.env.config.knobs().sync_timeout;
        if !self.is_numbering() {
            return;
        }
        let Some(view) = turn.env.log.view().cloned() else { unreachable!("{NO_VIEW}") };
        let Some(merge_request) = self.merge_request.take() else {
            unreachable!("nobody says yes to a group that asks nobody")
        };
        // Where it is, it has said on the link.
        let into = turn
            .env
            .links
            .contact(&merge_request.leader.member)
            .cloned()
            .unwrap_or(merge_request.leader);
        let id = into.id().clone();
        self.retiring = Some(Retiring { until, into: Successor::Group(into.clone()) });
        let mut last = View { view_id: view.view_id.next(), ..view };
        last.successor = Some(into);
        turn.env.append(Entry::View(last), turn.out);
        turn.env.put_off_dissolving(turn.now, &id);
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
