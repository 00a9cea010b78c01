//! A joining peer is in no view: it announces itself, listens, and asks a leader to admit it.
//! This page says what it makes of each message, refusal, question and link.

use crate::env::Env;
use crate::id::{Epoch, Member};
use crate::io::StopReason;
use crate::report::note::Cause;
use crate::roles::joining::Joining;
use crate::roles::refusals::ASKS_AGAIN;
use crate::roles::turn::{Flow, Next, STAY, Turn, elect, go};
use crate::roles::voting::hearsay;
use crate::roles::{Heard, ignored};
use crate::time::Time;
use crate::wire::message::{
    Coordinator, Election, Heartbeat, JoinRequest, Message, Reason, Rejected, SyncRequest,
};

impl Joining {
    /// What a joining peer does with each message.
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
            Message::SeqSyncFinal(last) => self.on_cut(turn, from, last)?,
            Message::Query { ask, question } => turn.env.on_query(from, ask, question, turn.out),
            Message::Added(added) => self.on_added(turn, from, added)?,
            Message::Ordered(ordered) if turn.env.is_admission(from, &ordered) => {
                self.extend_admission(turn, ordered)?
            }
            Message::Heartbeat(beat) => self.on_heartbeat(turn, from, &beat),
            Message::Election(election) => self.is_asked(turn, from, election)?,
            Message::SeqSyncRequest(request) => self.is_claimed_from(turn, from, &request)?,
            Message::Coordinator(word) => self.on_coordinator(turn, from, &word),
            Message::ViewSyncRequest { ask } => turn.does_not_lead(from, ask),
            Message::Rejected(rejected) => self.is_refused(turn, from, &rejected)?,
            Message::HeartbeatAck(_)
            | Message::OrderedAck { .. }
            | Message::SequencerRequest(_)
            | Message::Leave => return ignored("leads nobody"),
            Message::Ok { .. } | Message::Clear { .. } => {
                return ignored("asks nobody whether it may lead");
            }
            Message::MissingSeqNotFound(_) => return ignored("asks for no entries"),
            Message::SeqSyncResponse(_) => return ignored("claims nothing"),
            Message::Ordered(_) | Message::Answer { .. } | Message::Handover { .. } => {
                return ignored("follows nobody");
            }
        }
        Flow::Continue(Heard::Taken)
    }

    /// Somebody asks it to be let in. In mode `primary` one blocked peer introduces another one.
    fn on_join_request(&mut self, turn: &mut Turn<'_>, from: &Member, join: JoinRequest) {
        if join.from.member == *from {
            turn.env.refuse(turn.now, from, Some(join.ask), Reason::Busy, turn.out);
        } else if turn.is_introduced(&join) {
            self.on_fellow_joiner(turn, join.from, join.has_history);
        } else {
            turn.drop_passed(from, &join);
        }
    }

    /// It acknowledges the heartbeats of the leader whose log it installs.
    fn on_heartbeat(&mut self, turn: &mut Turn<'_>, from: &Member, beat: &Heartbeat) {
        if turn.env.is_building_from(from, &beat.epoch) {
            let ack = turn.env.acknowledge(from, &beat.epoch, beat.beat);
            turn.env.answer_beat(turn.now, from, ack, turn.out);
        }
    }

    /// Somebody says who leads.
    fn on_coordinator(&mut self, turn: &mut Turn<'_>, from: &Member, word: &Coordinator) {
        if word.ask.is_none() && word.leader.member == *from {
            turn.env.hear_announcement(from, word, turn.out);
            self.on_beacon(turn, from, word);
        } else if word.ask == Some(self.ask) {
            self.on_beacon(turn, from, word);
        }
    }

    /// What a joining peer makes of a refusal.
    pub(crate) fn is_refused(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        Rejected { ask, reason }: &Rejected,
    ) -> Flow {
        let ask = *ask;
        match reason {
            // The group was full, and its leader answers; datagrams that say so may all be lost.
            Reason::Busy if Some(self.ask) == ask && self.full.is_some() => {
                if self.asks(from) {
                    self.full = Some(turn.now);
                }
            }
            Reason::DuplicateId { holder } if Some(self.ask) == ask => {
                let (holder, own) = (*holder, turn.env.me.address);
                // Once a member of its own group has said that this peer is no member any more,
                // only the leader that it asks can tell it that its name is taken; otherwise it
                // would ask for ever.
                let is_left_to_it = self.asks(from) && self.gives_way_until.is_some();
                if turn.env.been_member && !is_left_to_it && !turn.env.is_own(None, from) {
                    let why = "DUPLICATE_ID by a stranger";
                    turn.env.reject(Some(&from.id), "REJECTED", why, turn.out);
                } else if self.accused_by.as_ref() == Some(from) {
                    return go(Next::Stop(StopReason::DuplicateId { holder, own }));
                } else if let Some(contact) = turn.env.links.contact(from).cloned() {
                    self.doubt_own_name(turn, contact);
                }
            }
            // A number below its own is an answer to an earlier one of its names.
            Reason::OldIncarnation { known }
                if Some(self.ask) == ask && *known >= turn.env.me.member.inc =>
            {
                if *known <= turn.env.first_inc.reach() {
                    // Not at once: two that answer each other without a pause would do nothing
                    // else.
                    self.ask_at = self.ask_at.min(turn.now + ASKS_AGAIN);
                    turn.env.renumber(known.later(turn.env.me.birth), turn.out);
                } else {
                    let why = "OLD_INCARNATION of no possible number";
                    turn.env.reject(Some(&from.id), "REJECTED", why, turn.out);
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
        STAY
    }

    /// A peer that founds a group asks whether this one is better, or one whose group misses its
    /// leader asks for its vote.
    pub(crate) fn is_asked(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        election: Election,
    ) -> Flow {
        if election.end.epoch.is_none() {
            self.is_asked_by_founder(turn, from, &election)
        } else {
            self.is_asked_to_vote(turn, from, election)
        }
    }

    fn is_asked_by_founder(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        election: &Election,
    ) -> Flow {
        let ask = election.ask;
        let Turn { now, env, out } = turn;
        if env.founds_nothing() {
            env.refuse(*now, from, Some(ask), Reason::NotMember, out);
        } else if let Some(target) = self.vouched_for(*now, env) {
            let word = hearsay(target.clone(), Epoch::none(), 0, ask);
            env.send(*now, from, Message::Coordinator(word), out);
        } else if self.lacks_founders(env) {
            // Who lacks a founder that the asker has heard stands in nobody's way.
            env.send(*now, from, Message::Clear { ask }, out);
        } else if env.answer_election(*now, &election.candidate, ask, out) {
            return elect(Cause::FirstView, None);
        }
        STAY
    }

    fn is_asked_to_vote(&mut self, turn: &mut Turn<'_>, from: &Member, election: Election) -> Flow {
        let ask = election.ask;
        let Turn { now, env, out } = turn;
        let is_free = self.vouched_for(*now, env).is_none();
        if is_free && env.is_elector() && env.knows(from, &election.end) {
            if !self.gives_way(*now) {
                // Its log may be needed for a quorum; and with nobody to admit it, it misses a
                // leader like everybody else.
                return elect(Cause::Again, Some(election));
            }
            env.send(*now, from, Message::Clear { ask }, out);
        } else if is_free && env.votes_empty() {
            // A view may name it that it has not got yet; it stands in nobody's way.
            env.send(*now, from, Message::Clear { ask }, out);
        } else {
            // It follows no view, so it can speak neither for the leader nor against it.
            env.refuse(*now, from, Some(ask), Reason::Busy, out);
        }
        STAY
    }

    /// A link stands.
    pub(crate) fn is_linked(&mut self, turn: &mut Turn<'_>, member: &Member) {
        self.on_founder_linked(turn, member);
        self.ask_to_join(turn, member);
    }

    /// A claimant asks for a joining peer's promise.
    pub(crate) fn is_claimed_from(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        request: &SyncRequest,
    ) -> Flow {
        let turned_away = self.turns_away(turn.now, turn.env, from, request);
        if turn.refuses_claim(from, request, turned_away) {
            return STAY;
        }
        if request.view.is_none()
            && let Some(leader) = self.vouched_for(turn.now, turn.env)
        {
            let word = hearsay(leader.clone(), Epoch::none(), 0, request.epoch.round);
            turn.env.send(turn.now, from, Message::Coordinator(word), turn.out);
            return STAY;
        }
        go(Next::Promise { to: from.clone(), epoch: request.epoch.clone() })
    }

    /// Why a joining peer promises nothing to a claimant, whatever the epoch.
    fn turns_away(
        &self,
        now: Time,
        env: &Env,
        from: &Member,
        request: &SyncRequest,
    ) -> Option<Reason> {
        let Some(view) = &request.view else {
            return env.founds_nothing().then_some(Reason::NotMember);
        };
        // The leader that it asks to admit it moves above what it promised. Its log counts where it
        // is that leader's.
        if self.asks(from) && env.log.is_in(&view.epoch) {
            return None;
        }
        let is_elector = env.is_elector() && env.shares_view(from, Some(view));
        // The view that names this peer got lost on its way. It has acknowledged nothing, and says
        // so. The newest view may have removed it already; the claimant needs the one before, too.
        let votes = self.vouched_for(now, env).is_none() && (is_elector || env.votes_empty());
        (!votes).then_some(Reason::Busy)
    }
}
