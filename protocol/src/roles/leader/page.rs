//! A leader numbers what members send, streams it, and watches everybody else. This page says
//! what it makes of each message, refusal, question and link.

use crate::id::{Member, Seq};
use crate::io::Output;
use crate::log::lineage::LogEnd;
use crate::node::Node;
use crate::roles::Heard;
use crate::roles::refusals::refusal;
use crate::time::Time;
use crate::wire::message::{Message, Reason, Rejected};

impl Node {
    /// What a leader does with each message.
    pub(crate) fn leader_hears(
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
            Message::SequencerRequest(requests) => self.on_requests(now, from, requests, out),
            Message::OrderedAck { epoch, contiguous } => {
                self.on_ordered_ack(now, from, &epoch, contiguous)
            }
            Message::HeartbeatAck(ack) => self.on_heartbeat_ack(now, from, &ack, out),
            Message::Leave => self.on_member_leaves(now, from),
            Message::Added(_) => return Heard::Ignored("leads a group of its own"),
            Message::Election(election) => self.on_election(now, from, election, out),
            Message::SeqSyncRequest(request) => self.on_sync_request(now, from, request, out),
            Message::Coordinator(word) => self.leader_hears_who_leads(now, from, &word, out),
            Message::ViewSyncRequest { ask } => self.leader_is_probed(now, from, ask, out),
            Message::Rejected(rejected) => self.leader_is_refused(now, from, &rejected, out),
            Message::Ok { .. } | Message::Clear { .. } => {
                return Heard::Ignored("asks nobody whether it may lead");
            }
            Message::SeqSyncResponse(_) => return Heard::Ignored("claims nothing"),
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
    fn leader_is_probed(&mut self, now: Time, from: &Member, ask: u64, out: &mut Vec<Output>) {
        let leader = self.role.leader();
        if !leader.is_retiring() {
            self.env.say_that_it_leads(now, from, ask, out);
        } else {
            self.env.refuse(now, from, Some(ask), Reason::NotLeader, out);
        }
    }

    /// What a leader makes of a refusal.
    pub(crate) fn leader_is_refused(
        &mut self,
        now: Time,
        from: &Member,
        Rejected { ask, reason }: &Rejected,
        out: &mut Vec<Output>,
    ) {
        let ask = *ask;
        let leader = self.role.leader();
        match reason {
            Reason::Stale { promised } => {
                // Only a member of the present view can unseat its leader; an outsider belongs to
                // another group. An entrant that has acknowledged nothing yet does not count: it
                // has gone on elsewhere since it asked.
                let progress = leader
                    .progress
                    .get(&from.id)
                    .filter(|progress| progress.contact.member == *from);
                let Some(progress) = progress.filter(|_| *promised > leader.epoch) else { return };
                if progress.ask.is_none() || progress.acked > Seq::ZERO {
                    let why = format!("{} has promised epoch {promised}", from.id);
                    self.step_down(now, why, out);
                } else {
                    let contact = progress.contact.clone();
                    self.evict(&contact, &refusal(reason), out);
                }
            }
            // It follows somebody else, and does not answer the admission that this names.
            Reason::NotMember => {
                let progress = leader
                    .progress
                    .get(&from.id)
                    .filter(|progress| progress.contact.member == *from);
                let Some(progress) =
                    progress.filter(|progress| ask.is_some() && progress.ask == ask)
                else {
                    return;
                };
                if !progress.has_answered() {
                    let contact = progress.contact.clone();
                    self.evict(&contact, &refusal(reason), out);
                }
            }
            Reason::Busy => {
                self.stop_merge_request(now, |merge_request| Some(merge_request.ask) == ask)
            }
            // Answers to questions that a leader does not ask.
            Reason::NotLeader
            | Reason::DuplicateId { .. }
            | Reason::OldIncarnation { .. }
            | Reason::NoQuorum
            | Reason::Version { .. } => {}
        }
    }

    /// Somebody asks who leads: a working leader is its own veto. It says whether its view names
    /// the asker, which may have to rejoin.
    pub(crate) fn leader_is_asked(
        &mut self,
        now: Time,
        from: &Member,
        ask: u64,
        out: &mut Vec<Output>,
    ) {
        self.env.say_that_it_leads(now, from, ask, out);
        // A candidate lets a heartbeat go unanswered; the next one may come only when its silence
        // is too long.
        self.greet(now, from, out);
    }

    /// A link stands.
    pub(crate) fn leader_is_linked(
        &mut self,
        now: Time,
        member: &Member,
        end: &LogEnd,
        out: &mut Vec<Output>,
    ) {
        let leader = self.role.leader();
        let follows = leader
            .progress
            .get(&member.id)
            .is_some_and(|progress| progress.contact.member == *member);
        if follows && end.epoch > leader.epoch {
            let why = format!("{} is in epoch {}", member.id, end.epoch);
            self.step_down(now, why, out);
            return;
        }
        if !follows && !end.epoch.is_none() {
            // It may have been evicted while it was away, and not know.
            self.env.refuse(now, member, None, Reason::NotMember, out);
        }
        self.relink(now, member, end, out);
        self.on_entrant_linked(now, member, out);
        self.ask_to_merge(now, member, out);
        self.say_invitation(now, member, out);
    }
}
