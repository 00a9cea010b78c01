//! A candidate misses its leader: it asks who is better or knows more, waits for somebody else,
//! or claims. This page says what it makes of each message, refusal, question and link.

use crate::id::{Incarnation, Member};
use crate::io::Output;
use crate::log::lineage::LogEnd;
use crate::node::Node;
use crate::report::note::Cause;
use crate::roles::{Heard, Role, Stage};
use crate::time::Time;
use crate::wire::message::{Election, Message, Reason, Rejected, SyncRequest};

impl Node {
    /// What a candidate does with each message.
    pub(crate) fn candidate_hears(
        &mut self,
        now: Time,
        from: &Member,
        message: Message,
        out: &mut Vec<Output>,
    ) -> Heard {
        match message {
            Message::Hello(_) => unreachable!("a HELLO never gets past the links"),
            Message::NewPeerRequest(join) => self.on_join_request(now, from, join, out),
            Message::MissingSeqRequest(missing) => self.env.on_missing(now, from, &missing, out),
            Message::Query { ask, question } => self.env.on_query(from, ask, question, out),
            Message::MissingSeqNotFound(_) | Message::SeqSyncFinal(_) => {
                unreachable!("the node takes what builds a log")
            }
            Message::Ok { ask } => self.on_ok(now, from, ask, out),
            Message::Clear { ask } => self.on_clear(now, from, ask, out),
            Message::SeqSyncResponse(answer) => self.on_sync_answer(now, from, answer, out),
            // A blocked one that a group takes in joins it.
            Message::Added(added) => self.candidate_is_added(now, from, &added, out),
            Message::Election(election) => self.on_election(now, from, election, out),
            Message::SeqSyncRequest(request) => self.on_sync_request(now, from, request, out),
            Message::Coordinator(word) => self.candidate_hears_who_leads(now, from, word, out),
            Message::ViewSyncRequest { ask } => self.candidate_is_probed(now, from, ask, out),
            Message::Rejected(rejected) => self.candidate_is_refused(now, from, &rejected, out),
            Message::HeartbeatAck(_)
            | Message::OrderedAck { .. }
            | Message::SequencerRequest(_)
            | Message::Leave => return Heard::Ignored("leads nobody"),
            Message::Heartbeat(_)
            | Message::Ordered(_)
            | Message::Answer { .. }
            | Message::Handover { .. } => {
                return Heard::Ignored("follows nobody");
            }
        }
        Heard::Taken
    }

    /// "Do you lead?"
    fn candidate_is_probed(&mut self, now: Time, from: &Member, ask: u64, out: &mut Vec<Output>) {
        let candidate = self.role.candidate();
        if candidate.is_standing() {
            self.env.say_that_it_leads(now, from, ask, out);
        } else {
            self.env.refuse(now, from, Some(ask), Reason::NotLeader, out);
        }
    }

    /// What a candidate makes of a refusal.
    pub(crate) fn candidate_is_refused(
        &mut self,
        now: Time,
        from: &Member,
        Rejected { ask, reason }: &Rejected,
        out: &mut Vec<Output>,
    ) {
        let ask = *ask;
        let candidate = self.role.candidate();
        match reason {
            Reason::Stale { promised } => {
                let overtaken = candidate.has_asked(from)
                    && matches!(&candidate.stage, Stage::Syncing(claim) if Some(claim.epoch.round) == ask && *promised > claim.epoch);
                if overtaken {
                    candidate.floor = candidate.floor.clone().max(promised.clone());
                    self.ask(now, Cause::Again, out);
                }
            }
            Reason::NotLeader => {
                if candidate.vetoed_by.as_ref().is_some_and(|named| named.member == *from) {
                    self.ask_again_soon(now);
                }
            }
            // It is between two groups itself, and says nothing about this one.
            Reason::Busy if candidate.is_asking(ask) && candidate.has_asked(from) => {
                let syncing = matches!(candidate.stage, Stage::Syncing(_));
                candidate.busy.insert(from.id.clone());
                if syncing {
                    self.on_asked_gone(now, from, out);
                } else {
                    self.claim_if_clear(now, out);
                }
            }
            Reason::NotMember if candidate.is_asking(ask) && candidate.has_asked(from) => {
                candidate.not_in_view = true;
                let blocked = candidate.is_blocked();
                self.on_asked_gone(now, from, out);
                // It may hear no leader, so nobody else tells it that the views have gone on.
                if blocked && self.lacks_to_claim(now).is_some() {
                    self.give_way(now, out);
                }
            }
            // Answers to questions that are no longer open.
            Reason::NotMember
            | Reason::DuplicateId { .. }
            | Reason::OldIncarnation { .. }
            | Reason::NoQuorum
            | Reason::Version { .. }
            | Reason::Busy => {}
        }
    }

    /// Another candidate, or a peer that founds a group, asks whether this one is better. A leader
    /// that only moves to a higher epoch still works.
    pub(crate) fn candidate_is_asked(
        &mut self,
        now: Time,
        from: &Member,
        election: &Election,
        out: &mut Vec<Output>,
    ) {
        let (ask, first_view) = (election.ask, election.end.epoch.is_none());
        let candidate = self.role.candidate();
        candidate.revive(&from.id);
        if candidate.is_standing() {
            self.env.say_that_it_leads(now, from, ask, out);
        } else if candidate.first_view != first_view {
            let reason = candidate.stranger();
            self.env.refuse(now, from, Some(ask), reason, out);
        } else if first_view || self.env.knows(from, &election.end) {
            self.answer(now, from, &election.candidate, ask, out);
        } else {
            self.env.refuse(now, from, Some(ask), Reason::NotMember, out);
        }
    }

    /// A link stands.
    pub(crate) fn candidate_is_linked(
        &mut self,
        now: Time,
        member: &Member,
        end: &LogEnd,
        out: &mut Vec<Output>,
    ) {
        self.ask_further(member, end);
        self.put_question(now, member, out);
    }

    /// A process is proven gone.
    pub(crate) fn candidate_loses(
        &mut self,
        now: Time,
        member: &Member,
        replaced_by: Option<Incarnation>,
        out: &mut Vec<Output>,
    ) {
        if replaced_by.is_none() {
            self.role.candidate().refused.insert(member.id.clone(), now);
        }
        self.on_asked_gone(now, member, out);
    }

    /// Why a candidate promises nothing to a claimant, whatever the epoch.
    pub(crate) fn candidate_turns_away(
        &self,
        from: &Member,
        request: &SyncRequest,
    ) -> Option<Reason> {
        let Role::Candidate(candidate) = &self.role else { return None };
        // Asked again, because the answer was lost with a link.
        let repeats = request.epoch == self.env.promised && candidate.is_waiting_on(&from.id);
        if candidate.is_standing() || repeats {
            None
        } else if candidate.first_view != request.view.is_none() {
            Some(candidate.stranger())
        } else {
            let is_known =
                candidate.first_view || self.env.shares_view(from, request.view.as_ref());
            (!is_known).then_some(Reason::NotMember)
        }
    }
}
