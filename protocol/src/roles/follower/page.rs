//! A follower sends its readings to the leader of its view, holds what the leader numbers, and
//! watches it. This page says what it makes of each message, refusal, question and link.

use crate::id::{Incarnation, Member};
use crate::io::Output;
use crate::node::Node;
use crate::report::note::{Cause, Evidence};
use crate::roles::refusals::refusal;
use crate::roles::{Heard, Role};
use crate::time::Time;
use crate::wire::message::{Election, Message, Reason, Rejected, SyncRequest};

impl Node {
    /// What a follower does with each message.
    pub(crate) fn follower_hears(
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
            Message::Heartbeat(beat) => self.on_heartbeat(now, from, &beat, out),
            Message::Ordered(ordered) => self.on_ordered(now, from, ordered, out),
            Message::Handover { successor, epoch } => {
                self.on_handover(now, from, &successor, &epoch, out)
            }
            Message::Answer { ask, answer } => self.on_answer(from, ask, answer, out),
            // Two leaders may have let it in: it declines one of them.
            Message::Added(added) => self.on_added(now, from, added, out),
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
        }
        Heard::Taken
    }

    /// What a follower makes of a refusal; only its leader can say something about it.
    pub(crate) fn follower_is_refused(
        &mut self,
        now: Time,
        from: &Member,
        Rejected { ask, reason }: &Rejected,
        out: &mut Vec<Output>,
    ) {
        let ask = *ask;
        let follower = self.role.follower();
        if follower.leader.member != *from {
            return;
        }
        match reason {
            // Links of one pair may overtake each other, so a leader's own word counts only with a
            // date: it answers the open question, names the epoch followed, or a later one.
            Reason::Stale { promised } => {
                if *promised > follower.epoch {
                    self.miss(now, Cause::OwnWord, &refusal(reason), out);
                }
            }
            Reason::NotLeader => {
                let answers =
                    self.env.witness.as_ref().is_some_and(|witness| ask == Some(witness.ask));
                // The last view of a group that becomes part of another one names whom to join. The
                // leader's word that everybody holds that view may still be on its way.
                if (answers || ask == Some(follower.epoch.round)) && !self.join_successor(now, out)
                {
                    self.miss(now, Cause::OwnWord, &refusal(reason), out);
                }
            }
            Reason::NotMember => {
                let leader = follower.leader.clone();
                self.become_joining(now, Some(leader), out);
            }
            // It had no room, or did not know whether it still leads: what it did not take is sent
            // again.
            Reason::Busy if ask.is_none() => {
                self.env.outbox.on_turned_away(self.env.log.last_oseq(&self.env.me.member));
            }
            // Answers to questions that a follower does not ask, or that are answered.
            Reason::DuplicateId { .. }
            | Reason::OldIncarnation { .. }
            | Reason::NoQuorum
            | Reason::Version { .. }
            | Reason::Busy => {}
        }
    }

    /// A peer misses the leader that this one follows, or is that leader and leads no more.
    pub(crate) fn follower_is_asked(
        &mut self,
        now: Time,
        from: &Member,
        election: Election,
        out: &mut Vec<Output>,
    ) {
        let ask = election.ask;
        if !self.env.knows(from, &election.end) {
            self.env.refuse(now, from, Some(ask), Reason::NotMember, out);
            return;
        }
        let follower = self.role.follower();
        if follower.leader.member != *from {
            self.env.witness(now, |witness| {
                witness.electors.insert(from.id.clone(), election);
            });
            self.ask_as_witness(now, out);
        } else if election.end.epoch >= follower.epoch {
            let evidence = Evidence::OwnWord { verb: "ELECTION".to_owned() };
            self.miss(now, Cause::OwnWord, &evidence, out);
            self.answer(now, from, &election.candidate, ask, out);
        }
        // Otherwise its leader said it before it led, and was overtaken on another link.
    }

    /// A link stands: what the leader may not have got is said again.
    pub(crate) fn follower_is_linked(&mut self, now: Time, member: &Member, out: &mut Vec<Output>) {
        if self.role.follower().leader.member == *member {
            self.speak_again(now, out);
        }
    }

    /// A process is proven gone.
    pub(crate) fn follower_loses(
        &mut self,
        now: Time,
        member: &Member,
        replaced_by: Option<Incarnation>,
        out: &mut Vec<Output>,
    ) {
        if self.role.follower().leader.member == *member {
            let evidence = replaced_by
                .map_or(Evidence::Refused, |incarnation| Evidence::Replaced { incarnation });
            self.miss(now, Cause::Connection, &evidence, out);
        }
    }

    /// Why a follower promises nothing to a claimant, whatever the epoch: they are in different
    /// groups.
    pub(crate) fn follower_turns_away(
        &self,
        from: &Member,
        request: &SyncRequest,
    ) -> Option<Reason> {
        let is_leader =
            matches!(&self.role, Role::Follower(follower) if follower.leader.member == *from);
        let is_known = is_leader || self.env.shares_view(from, request.view.as_ref());
        (!is_known).then_some(Reason::NotMember)
    }

    /// A claimant asks for a follower's promise: its leader, which moves to a higher epoch, or
    /// somebody else, and then the leader is asked first.
    pub(crate) fn follower_is_claimed_from(
        &mut self,
        now: Time,
        from: &Member,
        request: SyncRequest,
        out: &mut Vec<Output>,
    ) {
        let follower = self.role.follower();
        if follower.leader.member != *from {
            self.env.witness(now, |witness| {
                // Said again, it may show a newer view.
                let before = witness.claims.get(&from.id);
                if before.is_none_or(|before| before.epoch <= request.epoch) {
                    witness.claims.insert(from.id.clone(), request);
                }
            });
            self.ask_as_witness(now, out);
        } else if request.epoch > follower.epoch {
            // Its first view may still be on its way.
            self.promise(now, from, &request.epoch, out);
        }
    }
}
