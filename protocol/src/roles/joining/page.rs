//! A joining peer is in no view: it announces itself, listens, and asks a leader to admit it.
//! This page says what it makes of each message, refusal, question and link.

use crate::id::{Epoch, Member};
use crate::io::{Output, StopReason};
use crate::node::Node;
use crate::report::note::Cause;
use crate::roles::refusals::ASKS_AGAIN;
use crate::roles::voting::hearsay;
use crate::roles::{Heard, Joining, Role};
use crate::time::Time;
use crate::wire::message::{Election, Message, Reason, Rejected, SyncRequest};

impl Node {
    /// What a joining peer does with each message.
    pub(crate) fn joiner_hears(
        &mut self,
        now: Time,
        from: &Member,
        message: Message,
        out: &mut Vec<Output>,
    ) -> Heard {
        match message {
            Message::Hello(_) => unreachable!("a HELLO never gets past the links"),
            message @ (Message::NewPeerRequest(_)
            | Message::MissingSeqRequest(_)
            | Message::MissingSeqNotFound(_)
            | Message::Query { .. }) => return self.serve(now, from, message, out),
            Message::Added(added) => self.on_added(now, from, added, out),
            // It acknowledges the heartbeats of the leader whose log it installs.
            Message::Heartbeat(beat) => self.on_heartbeat(now, from, &beat, out),
            Message::Ordered(ordered) => self.on_ordered(now, from, ordered, out),
            Message::Election(election) => self.on_election(now, from, election, out),
            Message::SeqSyncRequest(request) => self.on_sync_request(now, from, request, out),
            Message::Coordinator(word) => self.on_coordinator(now, from, word, out),
            Message::ViewSyncRequest { ask } => self.on_probe(now, from, ask, out),
            Message::SeqSyncFinal(last) => self.on_final(now, from, last, out),
            Message::Rejected(rejected) => self.on_rejected(now, from, &rejected, out),
            Message::HeartbeatAck(_)
            | Message::OrderedAck { .. }
            | Message::SequencerRequest(_)
            | Message::Leave => return Heard::Ignored("leads nobody"),
            Message::Ok { .. } | Message::Clear { .. } => {
                return Heard::Ignored("asks nobody whether it may lead");
            }
            Message::SeqSyncResponse(_) => return Heard::Ignored("claims nothing"),
            Message::Answer { .. } | Message::Handover { .. } => {
                return Heard::Ignored("follows nobody");
            }
        }
        Heard::Taken
    }

    /// What a joining peer makes of a refusal.
    pub(crate) fn joiner_is_refused(
        &mut self,
        now: Time,
        from: &Member,
        Rejected { ask, reason }: &Rejected,
        out: &mut Vec<Output>,
    ) {
        let ask = *ask;
        let joining = self.role.joining();
        match reason {
            // The group was full, and its leader answers; datagrams that say so may all be lost.
            Reason::Busy if Some(joining.ask) == ask && joining.full.is_some() => {
                if joining.target.as_ref().is_some_and(|(leader, _)| leader.member == *from) {
                    joining.full = Some(now);
                }
            }
            Reason::DuplicateId { holder } if Some(joining.ask) == ask => {
                let (holder, own) = (*holder, self.env.me.address);
                // Once a member of its own group has said that this peer is no member any more,
                // only the leader that it asks can tell it that its name is taken; otherwise it
                // would ask for ever.
                let is_asked =
                    joining.target.as_ref().is_some_and(|(leader, _)| leader.member == *from);
                let is_left_to_it = is_asked && joining.gives_way_until.is_some();
                if self.env.been_member && !is_left_to_it && !self.is_own(from) {
                    self.env.reject(Some(&from.id), "REJECTED", "DUPLICATE_ID by a stranger", out);
                } else if matches!(&self.role, Role::Joining(joining) if joining.accused_by.as_ref() == Some(from))
                {
                    self.stop(StopReason::DuplicateId { holder, own }, out);
                } else if let Some(contact) = self.env.links.contact(from).cloned() {
                    self.doubt_own_name(now, contact, out);
                }
            }
            // A number below its own is an answer to an earlier one of its names.
            Reason::OldIncarnation { known }
                if Some(joining.ask) == ask && *known >= self.env.me.member.inc =>
            {
                if *known <= self.env.first_inc.reach() {
                    // Not at once: two that answer each other without a pause would do nothing
                    // else.
                    joining.ask_at = joining.ask_at.min(now + ASKS_AGAIN);
                    self.env.renumber(known.later(self.env.me.birth), out);
                } else {
                    self.env.reject(
                        Some(&from.id),
                        "REJECTED",
                        "OLD_INCARNATION of no possible number",
                        out,
                    );
                }
            }
            // Answers to questions that are no longer open.
            Reason::Stale { .. }
            | Reason::NotLeader
            | Reason::NotMember
            | Reason::DuplicateId { .. }
            | Reason::OldIncarnation { .. }
            | Reason::NoQuorum
            | Reason::Version { .. }
            | Reason::Busy => {}
        }
    }

    /// A peer that founds a group asks whether this one is better, or one whose group misses its
    /// leader asks for its vote.
    pub(crate) fn joiner_is_asked(
        &mut self,
        now: Time,
        from: &Member,
        election: &Election,
        out: &mut Vec<Output>,
    ) {
        if election.end.epoch.is_none() {
            self.joiner_is_asked_by_founder(now, from, election, out);
        } else {
            self.joiner_is_asked_to_vote(now, from, election, out);
        }
    }

    fn joiner_is_asked_by_founder(
        &mut self,
        now: Time,
        from: &Member,
        election: &Election,
        out: &mut Vec<Output>,
    ) {
        let ask = election.ask;
        if self.env.founds_nothing() {
            self.env.refuse(now, from, Some(ask), Reason::NotMember, out);
        } else if let Some(target) = self.vouched_for(now) {
            let word = hearsay(target, Epoch::none(), 0, ask);
            self.env.send(now, from, Message::Coordinator(word), out);
        } else if self.lacks_founders() {
            // Who lacks a founder that the asker has heard stands in nobody's way.
            self.env.send(now, from, Message::Clear { ask }, out);
        } else {
            let outranks = self.env.me.outranks(&election.candidate)
                && self.env.leaving.is_none()
                && self.env.may_lead();
            self.answer(now, from, &election.candidate, ask, out);
            if outranks {
                self.become_candidate(now, Cause::FirstView, None, out);
            }
        }
    }

    fn joiner_is_asked_to_vote(
        &mut self,
        now: Time,
        from: &Member,
        election: &Election,
        out: &mut Vec<Output>,
    ) {
        let ask = election.ask;
        let is_free = self.vouched_for(now).is_none();
        if is_free && self.env.is_elector() && self.env.knows(from, &election.end) {
            if self.gives_way(now) {
                self.env.send(now, from, Message::Clear { ask }, out);
                return;
            }
            // Its log may be needed for a quorum; and with nobody to admit it, it misses a leader
            // like everybody else.
            self.become_candidate(now, Cause::Again, None, out);
            self.answer(now, from, &election.candidate, ask, out);
        } else if is_free && self.env.votes_empty() {
            // A view may name it that it has not got yet; it stands in nobody's way.
            self.env.send(now, from, Message::Clear { ask }, out);
        } else {
            // It follows no view, so it can speak neither for the leader nor against it.
            self.env.refuse(now, from, Some(ask), Reason::Busy, out);
        }
    }

    /// A link stands.
    pub(crate) fn joiner_is_linked(&mut self, now: Time, member: &Member, out: &mut Vec<Output>) {
        self.on_founder_linked(now, member);
        self.ask_to_join(now, member, out);
    }

    /// Why a joining peer promises nothing to a claimant, whatever the epoch.
    pub(crate) fn joiner_turns_away(
        &self,
        now: Time,
        from: &Member,
        request: &SyncRequest,
    ) -> Option<Reason> {
        let Some(view) = &request.view else {
            return self.env.founds_nothing().then_some(Reason::NotMember);
        };
        // The leader that it asks to admit it moves above what it promised. Its log counts where it
        // is that leader's.
        let asks = matches!(&self.role, Role::Joining(Joining { target: Some((leader, _)), .. }) if leader.member == *from);
        if asks && self.env.log.is_in(&view.epoch) {
            return None;
        }
        let is_elector = self.env.is_elector() && self.env.shares_view(from, Some(view));
        // The view that names this peer got lost on its way. It has acknowledged nothing, and says
        // so. The newest view may have removed it already; the claimant needs the one before, too.
        let votes = self.vouched_for(now).is_none() && (is_elector || self.env.votes_empty());
        (!votes).then_some(Reason::Busy)
    }

    /// A claimant asks for a joining peer's promise.
    pub(crate) fn joiner_is_claimed_from(
        &mut self,
        now: Time,
        from: &Member,
        request: &SyncRequest,
        out: &mut Vec<Output>,
    ) {
        if request.view.is_none()
            && let Some(leader) = self.vouched_for(now)
        {
            let word = hearsay(leader, Epoch::none(), 0, request.epoch.round);
            self.env.send(now, from, Message::Coordinator(word), out);
        } else {
            self.promise(now, from, &request.epoch, out);
        }
    }
}
