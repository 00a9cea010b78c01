//! A candidate misses its leader: it asks who is better or knows more, waits for somebody else,
//! or claims. This page says what it makes of each message, refusal, question and link.

use std::time::Duration;

use crate::env::Env;
use crate::id::{Incarnation, Member};
use crate::log::lineage::LogEnd;
use crate::report::note::Cause;
use crate::roles::candidate::{Candidate, Stage};
use crate::roles::turn::{Flow, Next, STAY, Turn, go};
use crate::roles::{Heard, ignored};
use crate::wire::message::{
    Added, Coordinator, Election, JoinRequest, Message, Reason, Rejected, SyncRequest,
};

impl Candidate {
    /// What a candidate does with each message.
    pub(crate) fn hears(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        message: Message,
    ) -> Flow<Heard> {
        match message {
            Message::Hello(_) => unreachable!("a HELLO never gets past the links"),
            Message::NewPeerRequest(join) => self.on_join_request(turn, from, join),
            Message::MissingSeqRequest(missing) => turn.serve(from, &missing),
            Message::MissingSeqNotFound(answer) => self.on_not_found(turn, from, answer)?,
            Message::Query { ask, question } => turn.env.on_query(from, ask, question, turn.out),
            Message::Ok { ask } => self.on_ok(turn, from, ask)?,
            Message::Clear { ask } => self.on_clear(turn, from, ask)?,
            Message::SeqSyncResponse(answer) => self.on_sync_answer(turn, from, answer)?,
            Message::Added(added) => self.on_added(turn, from, &added)?,
            Message::Ordered(ordered) if ordered.repair.is_some() => {
                self.on_repair(turn, from, ordered)?
            }
            Message::Election(election) => self.is_asked(turn, from, &election),
            Message::SeqSyncRequest(request) => self.is_claimed_from(turn, from, &request)?,
            Message::SeqSyncFinal(last) => self.on_cut(turn, from, last)?,
            Message::Coordinator(word) => self.on_coordinator(turn, from, word)?,
            Message::ViewSyncRequest { ask } => self.is_probed(turn, from, ask),
            Message::Rejected(rejected) => self.is_refused(turn, from, &rejected)?,
            Message::HeartbeatAck(_)
            | Message::OrderedAck { .. }
            | Message::SequencerRequest(_)
            | Message::Leave => return ignored("leads nobody"),
            Message::Heartbeat(_)
            | Message::Ordered(_)
            | Message::Answer { .. }
            | Message::Handover { .. } => return ignored("follows nobody"),
        }
        Flow::Continue(Heard::Taken)
    }

    /// Somebody asks it to be let in. In mode `primary` one blocked peer introduces another one.
    fn on_join_request(&mut self, turn: &mut Turn<'_>, from: &Member, join: JoinRequest) {
        if join.from.member == *from {
            turn.env.refuse(turn.now, from, Some(join.ask), Reason::Busy, turn.out);
        } else if turn.is_introduced(&join) {
            self.on_caller(turn.now, turn.env, join.from);
        } else {
            turn.drop_passed(from, &join);
        }
    }

    /// A group has gone on, and takes a blocked candidate in: it asks as one that joins.
    fn on_added(&self, turn: &mut Turn<'_>, from: &Member, added: &Added) -> Flow {
        let env = &turn.env;
        if env.blocked.is_some() && self.only_asks() && added.epoch >= env.promised {
            return go(Next::Join { target: env.links.contact(from).cloned() });
        }
        STAY
    }

    /// Somebody says who leads: an announcement, or the answer to what this candidate has asked.
    fn on_coordinator(&mut self, turn: &mut Turn<'_>, from: &Member, word: Coordinator) -> Flow {
        if word.ask.is_some() {
            return self.on_answer(turn, from, word);
        }
        if word.leader.member != *from {
            // Hearsay is for those who look for a leader.
            return STAY;
        }
        turn.env.hear_announcement(from, &word, turn.out);
        // Over a link, and in that order: whoever is not in the list is told so instead of getting
        // the cut.
        let left_out = !word.names_you && word.epoch >= turn.env.promised;
        if left_out && self.is_waiting_on(&from.id) {
            return go(Next::Join { target: Some(word.leader) });
        }
        self.on_beacon(turn, from, &word);
        STAY
    }

    /// A leader says that it leads. Everyone it could ask may be gone from a group that has gone on
    /// without it.
    pub(crate) fn on_beacon(&mut self, turn: &mut Turn<'_>, from: &Member, word: &Coordinator) {
        if self.is_blocked() && word.leader.member == *from {
            self.on_veto(turn, from, word.leader.clone());
        }
    }

    /// "Do you lead?" A leader that only moves to a higher epoch does.
    fn is_probed(&self, turn: &mut Turn<'_>, from: &Member, ask: u64) {
        if self.is_standing() {
            turn.env.say_that_it_leads(turn.now, from, ask, turn.out);
        } else {
            turn.does_not_lead(from, ask);
        }
    }

    /// A claimant asks for a candidate's promise.
    pub(crate) fn is_claimed_from(
        &self,
        turn: &mut Turn<'_>,
        from: &Member,
        request: &SyncRequest,
    ) -> Flow {
        let turned_away = self.turns_away(turn.env, from, request);
        if turn.refuses_claim(from, request, turned_away) {
            return STAY;
        }
        if self.is_standing() {
            turn.env.say_that_it_leads(turn.now, from, request.epoch.round, turn.out);
            return STAY;
        }
        go(Next::Promise { to: from.clone(), epoch: request.epoch.clone() })
    }

    /// What a candidate makes of a refusal.
    pub(crate) fn is_refused(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        Rejected { ask, reason }: &Rejected,
    ) -> Flow {
        let ask = *ask;
        match reason {
            Reason::Stale { promised } => {
                let overtaken = self.has_asked(from)
                    && matches!(&self.stage, Stage::Syncing(claim) if Some(claim.epoch.round) == ask && *promised > claim.epoch);
                if overtaken {
                    self.floor = self.floor.clone().max(promised.clone());
                    self.ask(turn, Cause::Again)?;
                }
            }
            Reason::NotLeader => {
                if self.vetoed_by.as_ref().is_some_and(|named| named.member == *from) {
                    self.ask_again_soon(turn);
                }
            }
            // It is between two groups itself, and says nothing about this one.
            Reason::Busy if self.is_asking(ask) && self.has_asked(from) => {
                self.busy.insert(from.id.clone());
                if matches!(self.stage, Stage::Syncing(_)) {
                    self.on_asked_gone(turn, from)?;
                } else {
                    self.claim_if_clear(turn)?;
                }
            }
            Reason::NotMember if self.is_asking(ask) && self.has_asked(from) => {
                self.not_in_view = true;
                let blocked = self.is_blocked();
                self.on_asked_gone(turn, from)?;
                // It may hear no leader, so nobody else tells it that the views have gone on.
                if blocked && self.lacks_to_claim(turn.now, turn.env).is_some() {
                    return go(Next::GiveWay { lacks: None });
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
        STAY
    }

    /// Another candidate, or a peer that founds a group, asks whether this one is better. A leader
    /// that only moves to a higher epoch still works.
    pub(crate) fn is_asked(&mut self, turn: &mut Turn<'_>, from: &Member, election: &Election) {
        let Turn { now, env, out } = turn;
        let (ask, first_view) = (election.ask, election.end.epoch.is_none());
        self.revive(&from.id);
        if self.is_standing() {
            env.say_that_it_leads(*now, from, ask, out);
        } else if self.first_view != first_view {
            env.refuse(*now, from, Some(ask), self.stranger(), out);
        } else if first_view || env.knows(from, &election.end) {
            self.answer(turn, &election.candidate, ask);
        } else {
            env.refuse(*now, from, Some(ask), Reason::NotMember, out);
        }
    }

    /// A claim counts what it has slept; how much the others bear is asked where it goes on.
    pub(crate) fn on_pause(&mut self, lag: Duration) {
        if let Stage::Syncing(claim) | Stage::Adopting { claim, .. } = &mut self.stage {
            claim.slept += lag;
        }
    }

    /// Whether it has slept since it claimed for longer than the others bear, so that whoever has
    /// promised may have gone on without it.
    pub(crate) fn has_overslept(&self, borne: Duration) -> bool {
        matches!(&self.stage, Stage::Syncing(claim) | Stage::Adopting { claim, .. } if claim.slept > borne)
    }

    /// A link stands.
    pub(crate) fn is_linked(&mut self, turn: &mut Turn<'_>, member: &Member, end: &LogEnd) {
        self.ask_further(turn.env, member, end);
        self.put_question(turn, member);
    }

    /// A process is proven gone.
    pub(crate) fn loses(
        &mut self,
        turn: &mut Turn<'_>,
        member: &Member,
        replaced_by: Option<Incarnation>,
    ) -> Flow {
        if replaced_by.is_none() {
            self.refused.insert(member.id.clone(), turn.now);
        }
        self.on_asked_gone(turn, member)
    }

    /// Why a candidate promises nothing to a claimant, whatever the epoch.
    pub(crate) fn turns_away(
        &self,
        env: &Env,
        from: &Member,
        request: &SyncRequest,
    ) -> Option<Reason> {
        // Asked again, because the answer was lost with a link.
        let repeats = request.epoch == env.promised && self.is_waiting_on(&from.id);
        if self.is_standing() || repeats {
            None
        } else if self.first_view != request.view.is_none() {
            Some(self.stranger())
        } else {
            let is_known = self.first_view || env.shares_view(from, request.view.as_ref());
            (!is_known).then_some(Reason::NotMember)
        }
    }
}
