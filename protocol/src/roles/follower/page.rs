//! A follower sends its readings to the leader of its view, holds what the leader numbers, and
//! watches it. This page says what it makes of each message, refusal, question and link.

use crate::discovery::Via;
use crate::env::Env;
use crate::id::{Epoch, Incarnation, Member, PeerId};
use crate::report::note::{Cause, Evidence};
use crate::roles::follower::Follower;
use crate::roles::refusals::refusal;
use crate::roles::turn::{Flow, Next, STAY, Turn, go};
use crate::roles::{Heard, ignored};
use crate::wire::message::{
    Added, Coordinator, Election, JoinRequest, Message, Reason, Rejected, SyncRequest,
};

impl Follower {
    /// What a follower does with each message.
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
            Message::SeqSyncFinal(last) => self.on_cut(turn, from, last)?,
            Message::Query { ask, question } => turn.env.on_query(from, ask, question, turn.out),
            Message::Heartbeat(beat) => self.on_heartbeat(turn, from, &beat),
            Message::Ordered(ordered) if ordered.repair.is_some() => {
                self.on_repair(turn, from, ordered)?
            }
            Message::Ordered(ordered) => self.on_ordered(turn, from, ordered)?,
            Message::Handover { successor, epoch } => {
                self.on_handover(turn, from, &successor, &epoch)?
            }
            Message::Answer { ask, answer } => self.on_answer(turn, from, ask, answer),
            Message::Added(added) => self.on_added(turn, from, &added),
            Message::Election(election) => self.is_asked(turn, from, election)?,
            Message::SeqSyncRequest(request) => self.is_claimed_from(turn, from, request)?,
            Message::Coordinator(word) => self.on_coordinator(turn, from, word)?,
            Message::ViewSyncRequest { ask } => turn.does_not_lead(from, ask),
            Message::Rejected(rejected) => self.is_refused(turn, from, &rejected)?,
            Message::HeartbeatAck(_)
            | Message::OrderedAck { .. }
            | Message::SequencerRequest(_)
            | Message::Leave => return ignored("leads nobody"),
            Message::Ok { .. } | Message::Clear { .. } => {
                return ignored("asks nobody whether it may lead");
            }
            Message::SeqSyncResponse(_) => return ignored("claims nothing"),
        }
        Flow::Continue(Heard::Taken)
    }

    /// Somebody wants to be let in: it is told whom to ask.
    fn on_join_request(&self, turn: &mut Turn<'_>, from: &Member, join: JoinRequest) {
        if join.from.member == *from {
            self.advise(turn, Via::Link(from), &join);
        } else {
            turn.drop_passed(from, &join);
        }
    }

    /// Says to a joining peer who leads; it finds out for itself whether that is true.
    pub(crate) fn advise(&self, turn: &mut Turn<'_>, via: Via<'_>, join: &JoinRequest) {
        if matches!(via, Via::Datagram(_)) && !turn.env.is_one_of_few() {
            // Everybody has heard it, the leader too, most likely; a few hints are enough, and it
            // asks again.
            return;
        }
        let word = self.announcement(turn.env, Some(join.ask));
        turn.env.reply(turn.now, via, Message::Coordinator(word), turn.out);
    }

    /// Two leaders may have let it in: it declines one of them, or nothing would become stable in
    /// the group of that one until it misses this peer. To what is of an older epoch than its own
    /// it says `STALE` anyway.
    fn on_added(&self, turn: &mut Turn<'_>, from: &Member, added: &Added) {
        if self.leader.member != *from && added.epoch >= turn.env.promised {
            turn.env.refuse(turn.now, from, Some(added.ask), Reason::NotMember, turn.out);
        }
    }

    /// Somebody says who leads.
    fn on_coordinator(&mut self, turn: &mut Turn<'_>, from: &Member, word: Coordinator) -> Flow {
        if word.leader.member != *from {
            // Hearsay is for those who look for a leader.
            return STAY;
        }
        if word.ask.is_none() {
            turn.env.hear_announcement(from, &word, turn.out);
            self.pass_on(turn, &word);
            // It was building its log when its leader asked, and has arrived in an epoch that is
            // over: whoever is not on the list is told so instead of getting the cut.
            let left_out = !word.names_you && word.epoch >= turn.env.promised;
            if left_out && self.leader.member == *from && self.epoch < word.epoch {
                return go(Next::Join { target: Some(word.leader) });
            }
        } else if self.witness.as_ref().is_some_and(|witness| word.ask == Some(witness.ask)) {
            self.veto_witnessed(turn, &word);
        }
        STAY
    }

    /// What a follower makes of a refusal; only its leader can say something about it.
    pub(crate) fn is_refused(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        Rejected { ask, reason }: &Rejected,
    ) -> Flow {
        let ask = *ask;
        if self.leader.member != *from {
            return STAY;
        }
        match reason {
            // Links of one pair may overtake each other, so a leader's own word counts only with a
            // date: it answers the open question, names the epoch followed, or a later one.
            Reason::Stale { promised } => {
                if *promised > self.epoch {
                    self.miss(turn, Cause::OwnWord, &refusal(reason), None)?;
                }
            }
            Reason::NotLeader => {
                let answers = self.witness.as_ref().is_some_and(|witness| ask == Some(witness.ask));
                // The last view of a group that becomes part of another one names whom to join. The
                // leader's word that everybody holds that view may still be on its way.
                if answers || ask == Some(self.epoch.round) {
                    self.join_successor(turn)?;
                    self.miss(turn, Cause::OwnWord, &refusal(reason), None)?;
                }
            }
            Reason::NotMember => return go(Next::Join { target: Some(self.leader.clone()) }),
            // It had no room, or did not know whether it still leads: what it did not take is sent
            // again.
            Reason::Busy if ask.is_none() => {
                turn.env.outbox.on_turned_away(turn.env.log.last_oseq(&turn.env.me.member));
            }
            // Answers to questions that a follower does not ask, or that are answered.
            Reason::DuplicateId { .. }
            | Reason::OldIncarnation { .. }
            | Reason::NoQuorum
            | Reason::Version { .. }
            | Reason::Busy => {}
        }
        STAY
    }

    /// A peer misses the leader that this one follows, or is that leader and leads no more.
    pub(crate) fn is_asked(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        election: Election,
    ) -> Flow {
        if !turn.env.knows(from, &election.end) {
            turn.env.refuse(turn.now, from, Some(election.ask), Reason::NotMember, turn.out);
        } else if self.leader.member != *from {
            self.witness_for(turn, |witness| {
                witness.electors.insert(from.id.clone(), election);
            });
            self.ask_as_witness(turn);
        } else if election.end.epoch >= self.epoch {
            let evidence = Evidence::OwnWord { verb: "ELECTION".to_owned() };
            return self.miss(turn, Cause::OwnWord, &evidence, Some(election));
        }
        // Otherwise its leader said it before it led, and was overtaken on another link.
        STAY
    }

    /// A claimant asks for a follower's promise: its leader, which moves to a higher epoch, or
    /// somebody else, and then the leader is asked first.
    pub(crate) fn is_claimed_from(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        request: SyncRequest,
    ) -> Flow {
        let is_leader = self.leader.member == *from;
        let turned_away = self.turns_away(turn.env, from, &request);
        if turn.refuses_claim(from, &request, turned_away) {
            return STAY;
        }
        if !is_leader {
            self.witness_for(turn, |witness| {
                // Said again, it may show a newer view.
                let before = witness.claims.get(&from.id);
                if before.is_none_or(|before| before.epoch <= request.epoch) {
                    witness.claims.insert(from.id.clone(), request);
                }
            });
            self.ask_as_witness(turn);
        } else if request.epoch > self.epoch {
            // Its first view may still be on its way.
            return go(Next::Promise { to: from.clone(), epoch: request.epoch });
        }
        STAY
    }

    /// Why a follower promises nothing to a claimant, whatever the epoch: they are in different
    /// groups.
    fn turns_away(&self, env: &Env, from: &Member, request: &SyncRequest) -> Option<Reason> {
        let is_known = self.leader.member == *from || env.shares_view(from, request.view.as_ref());
        (!is_known).then_some(Reason::NotMember)
    }

    /// The leader hands over: the successor claims at once, there is nobody to ask; everybody else
    /// waits for its claim.
    fn on_handover(
        &self,
        turn: &mut Turn<'_>,
        from: &Member,
        successor: &PeerId,
        epoch: &Epoch,
    ) -> Flow {
        let meant = self.leader.member == *from && self.epoch == *epoch;
        if !meant || turn.env.install.is_some() {
            return STAY;
        }
        // The old leader is alive, missed by nobody, and gives its promise like everybody else.
        if *successor == turn.env.me.member.id {
            go(Next::Elect { cause: Cause::Handover, missed: None, asker: None })
        } else {
            go(Next::AwaitHeir { heir: successor.clone() })
        }
    }

    /// A link stands, or one of several is gone: what the leader may not have got is said again.
    pub(crate) fn is_linked(&mut self, turn: &mut Turn<'_>, member: &Member) {
        if self.leader.member == *member {
            self.speak_again(turn);
        }
    }

    /// A process is proven gone.
    pub(crate) fn loses(
        &mut self,
        turn: &mut Turn<'_>,
        member: &Member,
        replaced_by: Option<Incarnation>,
    ) -> Flow {
        if self.leader.member != *member {
            return STAY;
        }
        let evidence =
            replaced_by.map_or(Evidence::Refused, |incarnation| Evidence::Replaced { incarnation });
        self.miss(turn, Cause::Connection, &evidence, None)
    }
}
