//! Bully election: the best living peer asks to lead; the claim decides where its log continues.
//!
//! Intuition: ask around, and wait for whoever is better; if nobody better answers in time, nobody
//! better is alive (Garcia-Molina 1982). A few of the better ones are asked first, and everybody
//! before the asker claims (see `asking`). Bully needs bounded delays to be safe, so here it only
//! chooses who *asks*: a claim is fenced by its epoch, and a leader that works is protected by a
//! question that only itself can answer (a veto never rests on memory; etcd's PreVote is a cousin).
//! What a claimant may adopt is in `claim`.

use std::collections::{BTreeMap, BTreeSet};

use crate::env::Env;
use crate::id::{Contact, Epoch, Member, PeerId};
use crate::io::Output;
use crate::log::lineage::LogEnd;
use crate::node::Node;
use crate::report::note::{Cause, Note};
use crate::roles::{Candidate, Role, Stage};
use crate::time::Time;
use crate::wire::message::{Added, Coordinator, Election, Message, Reason, SyncRequest};

impl Node {
    /// Somebody says to a candidate who leads.
    pub(crate) fn candidate_hears_who_leads(
        &mut self,
        now: Time,
        from: &Member,
        word: Coordinator,
        out: &mut Vec<Output>,
    ) {
        let announcement = word.leader.member == *from;
        if word.ask.is_none() && announcement {
            self.env.hear_announcement(from, &word, out);
            let Role::Candidate(candidate) = &self.role else { return };
            // Over a link, and in that order: whoever is not in the list is told so instead of
            // getting the cut.
            let left_out = !word.names_you && word.epoch >= self.env.promised;
            let waits = candidate.is_waiting_on(&from.id);
            if candidate.is_blocked() {
                // Everyone it could ask may be gone from a group that has gone on without it.
                self.on_veto(now, from, word.leader.clone(), out);
            }
            if left_out && waits {
                self.become_joining(now, Some(word.leader), out);
            }
            return;
        }
        let Role::Candidate(candidate) = &self.role else { return };
        if candidate.is_asking(word.ask) && candidate.has_asked(from) && !candidate.is_standing() {
            if announcement {
                self.end_candidacy(now, word, out);
            } else {
                self.on_veto(now, from, word.leader, out);
            }
        }
    }

    /// Another leader speaks, or a member passes on what it has heard of one.
    pub(crate) fn leader_hears_who_leads(
        &mut self,
        now: Time,
        from: &Member,
        word: &Coordinator,
        out: &mut Vec<Output>,
    ) {
        let Role::Leader(leader) = &self.role else { return };
        let announcement = word.leader.member == *from;
        if word.ask.is_none() && announcement {
            self.env.hear_announcement(from, word, out);
            self.court(now, word, out);
        } else if word.ask.is_none() {
            if leader.follows(from) && word.leader.birth != self.env.me.birth {
                self.meet(now, word, out);
            }
        } else if leader
            .merge_request
            .as_ref()
            .is_some_and(|merge_request| announcement && word.ask == Some(merge_request.ask))
        {
            self.dissolve(now, out);
        }
    }

    /// A group has gone on, and takes a blocked candidate in: it asks as one that joins.
    pub(crate) fn candidate_is_added(
        &mut self,
        now: Time,
        from: &Member,
        added: &Added,
        out: &mut Vec<Output>,
    ) {
        let Role::Candidate(candidate) = &self.role else { return };
        if self.env.blocked.is_some() && candidate.only_asks() && added.epoch >= self.env.promised {
            let leader = self.env.links.contact(from).cloned();
            self.become_joining(now, leader, out);
        }
    }

    /// Misses its leader from now on, and asks around; after a hand-over there is nobody to ask.
    pub(crate) fn become_candidate(
        &mut self,
        now: Time,
        cause: Cause,
        missed: Option<PeerId>,
        out: &mut Vec<Output>,
    ) {
        let mut candidate = self.candidate(now, missed);
        if cause == Cause::OwnWord {
            // It lives and does not lead: nothing to wait for when asking, but it keeps its place
            // if it promises.
            candidate.revived.extend(candidate.missed.clone());
        }
        candidate.only_silent = matches!(cause, Cause::Silence | Cause::Witnessed);
        self.role = Role::Candidate(candidate);
        self.env.install = None;
        self.env.wants_changed = true;
        if cause == Cause::Handover {
            self.tell_election(cause, out);
            self.claim_next(now, out);
        } else {
            self.ask(now, cause, out);
        }
        self.answer_witnessed(now, out);
    }

    /// Waits for somebody else to lead.
    pub(crate) fn become_waiting(&mut self, now: Time, on: &PeerId, out: &mut Vec<Output>) {
        let until = now + self.env.config.outcome_timeout();
        let stage = Stage::Waiting { on: on.clone(), until };
        match &mut self.role {
            Role::Candidate(candidate) => {
                candidate.stage = stage;
                candidate.ask_too(on);
                candidate.handed_over = false;
            }
            Role::Follower(_) | Role::Joining(_) | Role::Leader(_) => {
                // A member promises to nobody but the leader that it follows, so nobody is missed
                // here.
                let mut candidate = self.candidate(now, None);
                candidate.stage = stage;
                if !matches!(self.role, Role::Leader(_)) {
                    // It has asked nobody, and needs a link to nobody else. Who led hands over to
                    // everybody.
                    candidate.first_wave = Some(BTreeSet::from([on.clone()]));
                }
                self.role = Role::Candidate(candidate);
            }
        }
        self.env.wants_changed = true;
        self.answer_witnessed(now, out);
    }

    /// The facts of a candidate: it asks the members of its newest view, or, without one, the
    /// joiners it has heard.
    pub(crate) fn candidate(&mut self, now: Time, missed: Option<PeerId>) -> Box<Candidate> {
        let (first_view, mut asked): (bool, BTreeMap<PeerId, Contact>) = match &self.role {
            Role::Joining(_) if self.env.is_elector() => (false, self.env.electorate()),
            Role::Joining(joining) => {
                // A group that has dissolved into one that is silent comes together again: its
                // members know each other.
                let own = if self.env.merging { self.env.electorate() } else { BTreeMap::new() };
                let heard =
                    joining.heard.iter().map(|(id, (contact, _))| (id.clone(), contact.clone()));
                (true, heard.chain(own).collect())
            }
            Role::Candidate(before) => (before.first_view, before.asked.clone()),
            Role::Follower(_) | Role::Leader(_) => {
                (self.env.log.view().is_none(), self.env.electorate())
            }
        };
        let seen = self.deliverable();
        let ask = self.env.fresh_ask();
        asked.remove(&self.env.me.member.id);
        Box::new(Candidate {
            first_view,
            ask,
            asked_at: now,
            asked,
            first_wave: None,
            answered: BTreeSet::new(),
            suspects: missed.iter().cloned().collect(),
            missed,
            revived: BTreeSet::new(),
            busy: BTreeSet::new(),
            dropped: BTreeSet::new(),
            refused: BTreeMap::new(),
            callers: BTreeMap::new(),
            only_silent: false,
            asks_again: false,
            not_in_view: false,
            vetoed_by: None,
            floor: Epoch::none(),
            failed_claim: None,
            told_ok: BTreeMap::new(),
            seen,
            handed_over: false,
            stage: self.env.asking(now),
        })
    }

    /// Asks around (again).
    pub(crate) fn ask(&mut self, now: Time, cause: Cause, out: &mut Vec<Output>) {
        let ask = self.env.fresh_ask();
        let (asking, round) = (self.env.asking(now), self.env.config.round());
        let Role::Candidate(candidate) = &mut self.role else { return };
        candidate.doubt_refusals(now, round);
        candidate.ask = ask;
        candidate.asked_at = now;
        candidate.answered.clear();
        // Who was only between two groups may have arrived since.
        let arriving = std::mem::take(&mut candidate.busy);
        if self.env.blocked.is_some() {
            // It cannot go on without them, and a refusal may have been the word of a firewall.
            candidate.dropped.clear();
        } else {
            candidate.dropped.retain(|id| !arriving.contains(id));
        }
        candidate.not_in_view = false;
        candidate.vetoed_by = None;
        candidate.asks_again = cause == Cause::Again;
        candidate.stage = asking;
        self.choose_first_wave();
        self.env.install = None;
        self.env.wants_changed = true;
        // Who is blocked asks for as long as it takes, and says so once.
        if cause != Cause::Again || self.env.blocked.is_none() {
            self.tell_election(cause, out);
        }
        self.put_question_to_all(now, out);
        self.claim_if_clear(now, out);
    }

    fn tell_election(&self, cause: Cause, out: &mut Vec<Output>) {
        let Role::Candidate(candidate) = &self.role else { return };
        let higher = candidate
            .awaited()
            .filter(|contact| contact.outranks(&self.env.me))
            .map(|contact| contact.id().clone())
            .collect();
        out.push(Output::Note(Note::ElectionStarted {
            cause,
            higher,
            missed: candidate.missed.clone(),
        }));
    }

    /// Repeats the open question to everybody who is asked.
    pub(crate) fn put_question_to_all(&mut self, now: Time, out: &mut Vec<Output>) {
        let Role::Candidate(candidate) = &self.role else { return };
        let members: Vec<Member> =
            candidate.asked.values().map(|contact| contact.member.clone()).collect();
        for member in members {
            self.put_question(now, &member, out);
        }
    }

    /// Repeats to one member whatever question is open to it; called whenever a link to it is new.
    pub(crate) fn put_question(&mut self, now: Time, member: &Member, out: &mut Vec<Output>) {
        let Role::Candidate(candidate) = &self.role else { return };
        let asked =
            candidate.asked.get(&member.id).is_some_and(|contact| contact.member == *member)
                && candidate.asks(&member.id);
        let (ask, first_view) = (candidate.ask, candidate.first_view);
        match &candidate.stage {
            Stage::Asking { .. } | Stage::Blocked { .. } if asked => {
                // In a claim on a first view the log does not matter, and saying none says that it
                // is one.
                let none = LogEnd {
                    epoch: Epoch::none(),
                    contiguous: crate::id::Seq::ZERO,
                    log_id: Epoch::none(),
                };
                let end = if first_view { none } else { self.env.log.end() };
                let election = Election { ask, candidate: self.env.me.clone(), end };
                self.env.send(now, member, Message::Election(election), out);
            }
            Stage::Vetoed { .. }
                if candidate.vetoed_by.as_ref().is_some_and(|named| named.member == *member) =>
            {
                self.env.send(now, member, Message::ViewSyncRequest { ask }, out);
            }
            Stage::Syncing(claim) if asked => {
                // An answer may have shown a newer view: whoever only that one names knows by it
                // that it is asked rightly.
                let newest = self.adopted_views().0.into_iter().next().map(|(_, view)| view);
                let view = newest.filter(|_| !first_view);
                let request =
                    SyncRequest { epoch: claim.epoch.clone(), claimant: self.env.me.clone(), view };
                self.env.send(now, member, Message::SeqSyncRequest(request), out);
            }
            Stage::Waiting { on, .. } if asked => {
                if candidate.handed_over {
                    let (successor, epoch) = (on.clone(), self.env.log.epoch());
                    self.env.send(now, member, Message::Handover { successor, epoch }, out);
                } else if *on == member.id && self.env.promised.owner == *member {
                    // The promise may have gone with the other link.
                    let epoch = self.env.promised.clone();
                    self.env.answer_sync(now, member, epoch, out);
                }
            }
            Stage::Adopting { .. } => self.env.ask_missing(now, out),
            Stage::Asking { .. }
            | Stage::Blocked { .. }
            | Stage::Vetoed { .. }
            | Stage::Waiting { .. }
            | Stage::Syncing(_) => {}
        }
    }

    /// Claims as soon as everybody that is waited for has answered, and nobody better has.
    pub(crate) fn claim_if_clear(&mut self, now: Time, out: &mut Vec<Output>) {
        let (witness_timeout, round) = (self.env.config.witness_timeout(), self.env.config.round());
        let Role::Candidate(candidate) = &self.role else { return };
        if candidate.is_blocked() {
            if self.lacks_to_claim(now).is_none() {
                self.claim(now, out);
            }
            return;
        }
        if !matches!(candidate.stage, Stage::Asking { .. }) || self.ask_on(now, out) {
            return;
        }
        let Role::Candidate(candidate) = &mut self.role else { return };
        // Each answer brings this question up again, so who still has many to wait for does not
        // look at each of them.
        let clear = candidate.heard_enough(candidate.answered.len() + candidate.busy.len())
            && candidate.awaited().all(|contact| candidate.has_spoken(contact.id()));
        let only_silent = |id: &PeerId| candidate.is_silent(id) && !candidate.revived.contains(id);
        let suspects = candidate
            .suspects
            .iter()
            .filter(|id| only_silent(id))
            .filter_map(|id| candidate.asked.get(id));
        let may_answer =
            suspects.into_iter().any(|suspect| self.env.links.is_linked(&suspect.member));
        if clear && (candidate.answered.is_empty() || candidate.asks_again) && may_answer {
            // Nobody else can say whether they live, or what is said is of before. They have been
            // asked, and whoever works answers at once, or when it has asked the leader itself.
            let soon = candidate.asked_at + witness_timeout + round;
            if let Stage::Asking { until, .. } = &mut candidate.stage {
                *until = (*until).min(soon);
            }
        } else if clear {
            self.claim(now, out);
        }
    }

    pub(crate) fn on_ok(&mut self, now: Time, from: &Member, ask: u64, out: &mut Vec<Output>) {
        let until = now + self.env.config.outcome_timeout();
        let candidate = self.role.candidate();
        candidate.revive(&from.id);
        if candidate.ask != ask
            || !candidate.has_asked(from)
            || !matches!(candidate.stage, Stage::Asking { .. } | Stage::Blocked { .. })
        {
            return;
        }
        if candidate.suspects.contains(&from.id) {
            // It has let this candidate down before and is not waited for; but it answers, and
            // counts for a quorum.
            if self.env.config.is_primary() {
                candidate.answered.insert(from.id.clone());
                self.claim_if_clear(now, out);
            }
            return;
        }
        candidate.stage = Stage::Waiting { on: from.id.clone(), until };
        out.push(Output::Note(Note::ElectionOk { from: from.id.clone() }));
    }

    pub(crate) fn on_clear(&mut self, now: Time, from: &Member, ask: u64, out: &mut Vec<Output>) {
        let candidate = self.role.candidate();
        candidate.revive(&from.id);
        if candidate.ask != ask || !candidate.has_asked(from) {
            return;
        }
        if candidate.is_waiting_on(&from.id) && !candidate.first_view {
            // It has said OK, and cannot claim.
            candidate.suspects.insert(from.id.clone());
            self.ask(now, Cause::Again, out);
            return;
        }
        candidate.answered.insert(from.id.clone());
        self.claim_if_clear(now, out);
    }

    /// Somebody has just had an answer from the leader: this peer asks it itself, and claims
    /// nothing in this round.
    pub(crate) fn on_veto(
        &mut self,
        now: Time,
        by: &Member,
        leader: Contact,
        out: &mut Vec<Output>,
    ) {
        let until = now + self.env.config.knobs().election_timeout;
        let me = self.env.me.member.clone();
        let Role::Candidate(candidate) = &mut self.role else { return };
        if leader.member == me
            || matches!(candidate.stage, Stage::Waiting { .. } | Stage::Adopting { .. })
        {
            return;
        }
        out.push(Output::Note(Note::Vetoed { by: by.id.clone(), leader: leader.id().clone() }));
        let member = leader.member.clone();
        candidate.stage = Stage::Vetoed { until };
        candidate.vetoed_by = Some(leader);
        self.env.wants_changed = true;
        self.put_question(now, &member, out);
    }

    /// The leader has answered this peer's own question: the candidacy is over.
    fn end_candidacy(&mut self, now: Time, word: Coordinator, out: &mut Vec<Output>) {
        let Role::Candidate(candidate) = &self.role else { return };
        let asked_at = candidate.asked_at;
        if word.names_you && word.epoch >= self.env.promised && self.env.log.is_in(&word.epoch) {
            self.become_member(now, asked_at, word.leader, word.epoch, out);
            self.say_leave(now, out);
        } else {
            self.become_joining(now, Some(word.leader), out);
        }
    }

    pub(crate) fn elect_in_time(&mut self, now: Time, out: &mut Vec<Output>) {
        let Role::Candidate(candidate) = &mut self.role else { return };
        if candidate.deadline() > now {
            return;
        }
        match &candidate.stage {
            Stage::Asking { .. } if candidate.first_wave.is_some() => self.ask_everybody(now, out),
            Stage::Asking { .. } => self.claim(now, out),
            Stage::Vetoed { .. } | Stage::Blocked { .. } => {
                self.ask(now, Cause::Again, out);
                self.call_blocked(now, out);
            }
            Stage::Waiting { .. } if candidate.first_view => self.become_joining(now, None, out),
            Stage::Waiting { on, .. } => {
                // This one deadline cures an OK without a COORDINATOR, and every cascade of deaths.
                let on = on.clone();
                candidate.suspects.insert(on);
                self.ask(now, Cause::Again, out);
            }
            Stage::Syncing(_) => self.close_claim(now, out),
            Stage::Adopting { .. } => self.adoption_failed(now, out),
        }
    }

    /// A peer is proven gone: nobody waits for it any longer.
    pub(crate) fn on_asked_gone(&mut self, now: Time, member: &Member, out: &mut Vec<Output>) {
        let Role::Candidate(candidate) = &mut self.role else { return };
        if candidate.vetoed_by.as_ref().is_some_and(|named| named.member == *member) {
            candidate.vetoed_by = None;
            self.env.wants_changed = true;
            self.ask_again_soon(now);
        }
        let source_gone =
            self.env.install.as_ref().is_some_and(|install| install.source.member == *member);
        let Role::Candidate(candidate) = &mut self.role else { return };
        if candidate.asked.get(&member.id).is_none_or(|contact| contact.member != *member)
            || !candidate.dropped.insert(member.id.clone())
        {
            return;
        }
        self.env.wants_changed = true;
        match &candidate.stage {
            Stage::Asking { .. } => self.claim_if_clear(now, out),
            Stage::Syncing(_) => self.close_if_complete(now, out),
            Stage::Waiting { on, .. } if *on == member.id => self.ask(now, Cause::Again, out),
            Stage::Adopting { .. } if source_gone => self.adoption_failed(now, out),
            Stage::Waiting { .. }
            | Stage::Vetoed { .. }
            | Stage::Blocked { .. }
            | Stage::Adopting { .. } => {}
        }
    }

    /// The leader that a veto has named does not lead: the group is asked again, but not in a
    /// frenzy.
    pub(crate) fn ask_again_soon(&mut self, now: Time) {
        let soon = now + self.env.config.witness_timeout() / 4;
        let Role::Candidate(candidate) = &mut self.role else { return };
        if let Stage::Vetoed { until } = &mut candidate.stage {
            *until = (*until).min(soon);
        }
    }

    /// Leads no longer, because a later epoch has been met; says so, and asks around.
    pub(crate) fn step_down(&mut self, now: Time, why: String, out: &mut Vec<Output>) {
        let Role::Leader(leader) = &self.role else { return };
        let progress: Vec<Member> =
            leader.progress.values().map(|progress| progress.contact.member.clone()).collect();
        out.push(Output::Note(Note::StepDown {
            log: self.env.log.name(),
            epoch: leader.epoch.clone(),
            why,
        }));
        let promised = self.env.promised.clone();
        for member in progress {
            self.env.refuse(now, &member, None, Reason::Stale { promised: promised.clone() }, out);
        }
        self.become_candidate(now, Cause::SteppedDown, None, out);
    }
}

impl Env {
    fn asking(&self, now: Time) -> Stage {
        Stage::Asking {
            until: now + self.config.knobs().election_timeout,
            first_wave_until: now + self.config.first_wave_timeout(),
        }
    }
}
