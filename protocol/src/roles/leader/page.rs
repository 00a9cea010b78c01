//! A leader numbers what members send, streams it, and watches everybody else. This page says
//! what it makes of each message, refusal, question and link.

use crate::id::Member;
use crate::log::lineage::LogEnd;
use crate::report::note::Evidence;
use crate::roles::leader::Leader;
use crate::roles::leader::progress::Progress;
use crate::roles::refusals::refusal;
use crate::roles::turn::{Flow, STAY, Turn};
use crate::roles::{Heard, ignored};
use crate::time::Time;
use crate::wire::message::{Coordinator, Message, Reason, Rejected, SyncRequest};

impl Leader {
    /// What a leader does with each message.
    pub(crate) fn hears(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        message: Message,
    ) -> Flow<Heard> {
        match message {
            Message::Hello(_) => unreachable!("a HELLO never gets past the links"),
            Message::NewPeerRequest(join) => self.on_join_request(turn, from, join)?,
            Message::MissingSeqRequest(missing) => turn.serve(from, &missing),
            Message::SeqSyncFinal(last) => self.on_cut(turn, from, &last),
            Message::MissingSeqNotFound(_) => return ignored("builds nothing"),
            Message::Query { ask, question } => turn.env.on_query(from, ask, question, turn.out),
            Message::SequencerRequest(requests) => self.on_requests(turn, from, requests),
            Message::OrderedAck { epoch, contiguous } => {
                self.on_ordered_ack(turn, from, &epoch, contiguous);
            }
            Message::HeartbeatAck(ack) => self.on_heartbeat_ack(turn, from, &ack),
            Message::Leave => self.on_member_leaves(turn, from),
            Message::Added(_) => return ignored("leads a group of its own"),
            Message::Election(election) => self.is_asked(turn, from, election.ask),
            Message::SeqSyncRequest(request) => self.is_claimed_from(turn, from, &request),
            Message::Coordinator(word) => self.on_coordinator(turn, from, &word),
            Message::ViewSyncRequest { ask } => self.is_probed(turn, from, ask),
            Message::Rejected(rejected) => self.is_refused(turn, from, &rejected)?,
            Message::Ok { .. } | Message::Clear { .. } => {
                return ignored("asks nobody whether it may lead");
            }
            Message::SeqSyncResponse(_) => return ignored("claims nothing"),
            Message::Heartbeat(_)
            | Message::Ordered(_)
            | Message::Answer { .. }
            | Message::Handover { .. } => return ignored("follows nobody"),
        }
        Flow::Continue(Heard::Taken)
    }

    /// "Do you lead?"
    fn is_probed(&self, turn: &mut Turn<'_>, from: &Member, ask: u64) {
        if self.is_retiring() {
            turn.does_not_lead(from, ask);
        } else {
            turn.env.say_that_it_leads(turn.now, from, ask, turn.out);
        }
    }

    /// A claimant asks for its promise: a working leader is its own veto.
    pub(crate) fn is_claimed_from(
        &self,
        turn: &mut Turn<'_>,
        from: &Member,
        request: &SyncRequest,
    ) {
        if !turn.refuses_claim(from, request, None) {
            turn.env.say_that_it_leads(turn.now, from, request.epoch.round, turn.out);
        }
    }

    /// Another leader speaks, or a member passes on what it has heard of one.
    fn on_coordinator(&mut self, turn: &mut Turn<'_>, from: &Member, word: &Coordinator) {
        let announcement = word.leader.member == *from;
        if word.ask.is_none() && announcement {
            turn.env.hear_announcement(from, word, turn.out);
            self.court(turn, word);
        } else if word.ask.is_none() {
            if self.follows(from) && word.leader.birth != turn.env.me.birth {
                self.meet(turn, word);
            }
        } else if self
            .merge_request
            .as_ref()
            .is_some_and(|merge_request| announcement && word.ask == Some(merge_request.ask))
        {
            self.dissolve(turn);
        }
    }

    /// What a leader makes of a refusal.
    pub(crate) fn is_refused(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        Rejected { ask, reason }: &Rejected,
    ) -> Flow {
        let ask = *ask;
        match reason {
            Reason::Stale { promised } => {
                if *promised > self.epoch {
                    let why = format!("{} has promised epoch {promised}", from.id);
                    self.yield_to_later(turn, from, why, &refusal(reason))?;
                }
            }
            // It follows somebody else, and does not answer the admission that this names.
            Reason::NotMember => {
                let declines = |progress: &&Progress| {
                    ask.is_some() && progress.ask == ask && !progress.has_answered()
                };
                if let Some(progress) = self.progress_of(from).filter(declines) {
                    let contact = progress.contact.clone();
                    self.evict(turn, &contact, &refusal(reason));
                }
            }
            Reason::Busy => {
                self.stop_merge_request(turn, |merge_request| Some(merge_request.ask) == ask);
            }
            // Answers to questions that a leader does not ask.
            Reason::NotLeader
            | Reason::DuplicateId { .. }
            | Reason::OldIncarnation { .. }
            | Reason::NoQuorum
            | Reason::Version { .. } => {}
        }
        STAY
    }

    /// Somebody is in a later epoch. Only a member of the present view can unseat its leader; an
    /// outsider belongs to another group. A member that has acknowledged nothing is only put out:
    /// it has gone over to another leader since it promised, or since it asked to be let in, and
    /// the others follow this one.
    fn yield_to_later(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        why: String,
        evidence: &Evidence,
    ) -> Flow {
        let Some(progress) = self.progress_of(from) else { return STAY };
        if progress.has_answered() {
            return self.step_down(turn, why);
        }
        let contact = progress.contact.clone();
        self.evict(turn, &contact, evidence);
        STAY
    }

    /// Somebody asks who leads: a working leader is its own veto. It says whether its view names
    /// the asker, which may have to rejoin.
    pub(crate) fn is_asked(&mut self, turn: &mut Turn<'_>, from: &Member, ask: u64) {
        turn.env.say_that_it_leads(turn.now, from, ask, turn.out);
        // A candidate lets a heartbeat go unanswered; the next one may come only when its silence
        // is too long.
        self.greet(turn, from);
    }

    /// After a pause as long as a beat its members may have elected another leader. It numbers
    /// nothing until each of them has answered a new beat.
    pub(crate) fn on_pause(&mut self, now: Time, is_long: bool) {
        // They have had longer than a beat to answer the last one.
        self.progress.values_mut().for_each(|progress| progress.steady = 0);
        if is_long {
            let beat = self.beat_now(now);
            self.doubt = (!self.progress.is_empty()).then_some(beat);
        }
    }

    /// A link stands.
    pub(crate) fn is_linked(&mut self, turn: &mut Turn<'_>, member: &Member, end: &LogEnd) -> Flow {
        let follows = self.follows(member);
        if follows && end.epoch > self.epoch {
            let why = format!("{} is in epoch {}", member.id, end.epoch);
            let evidence = Evidence::OwnWord { verb: "HELLO".to_owned() };
            return self.yield_to_later(turn, member, why, &evidence);
        }
        if !follows && !end.epoch.is_none() {
            // It may have been evicted while it was away, and not know.
            turn.env.refuse(turn.now, member, None, Reason::NotMember, turn.out);
        }
        self.relink(turn, member, end);
        self.on_entrant_linked(turn, member);
        self.ask_to_merge(turn, member);
        self.say_invitation(turn, member);
        STAY
    }

    /// One of several links is gone.
    pub(crate) fn is_thinned(&mut self, turn: &mut Turn<'_>, member: &Member) {
        self.resume_at_acked(turn, member);
        self.ask_to_merge(turn, member);
    }
}
