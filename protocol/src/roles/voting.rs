//! What each role answers to a candidate that asks around, and to one that claims. A promise binds:
//! nothing below the promised epoch is accepted any more.

use crate::env::Env;
use crate::id::{Contact, Epoch, Member, PeerId};
use crate::io::Output;
use crate::log::lineage::LogEnd;
use crate::log::view::View;
use crate::node::Node;
use crate::report::note::Note;
use crate::roles::Role;
use crate::time::Time;
use crate::wire::message::{Coordinator, Election, Message, Reason, SyncAnswer, SyncRequest};

pub(crate) fn hearsay(leader: Contact, epoch: Epoch, size: u64, ask: u64) -> Coordinator {
    Coordinator { leader, epoch, size, ask: Some(ask), names_you: false }
}

impl Node {
    /// Somebody asks around who leads; see the page of each role.
    pub(crate) fn on_election(
        &mut self,
        now: Time,
        from: &Member,
        election: Election,
        out: &mut Vec<Output>,
    ) {
        if election.candidate.member != *from {
            self.env.reject(Some(&from.id), "ELECTION", "for another peer", out);
            return;
        }
        match &self.role {
            Role::Leader(_) => self.leader_is_asked(now, from, election.ask, out),
            Role::Candidate(_) => self.candidate_is_asked(now, from, &election, out),
            Role::Joining(_) => self.joiner_is_asked(now, from, &election, out),
            Role::Follower(_) => self.follower_is_asked(now, from, election, out),
        }
    }

    /// OK if this peer outranks the candidate, else CLEAR.
    pub(crate) fn answer(
        &mut self,
        now: Time,
        to: &Member,
        candidate: &Contact,
        ask: u64,
        out: &mut Vec<Output>,
    ) {
        // Who is leaving does not stand in anybody's way.
        let message =
            if self.env.me.outranks(candidate) && self.env.leaving.is_none() && self.env.may_lead()
            {
                if let Role::Candidate(candidate) = &mut self.role
                    && candidate.has_asked(to)
                {
                    candidate.told_ok.insert(to.clone(), ask);
                }
                Message::Ok { ask }
            } else {
                Message::Clear { ask }
            };
        self.env.send(now, to, message, out);
    }
}

impl Env {
    /// Whether somebody belongs to this group: the newest view held names it, or it is further in
    /// the same log, where it may be named by a view that is still to come.
    pub(crate) fn knows(&self, member: &Member, end: &LogEnd) -> bool {
        let own = self.log.end();
        // In mode `primary` there is one log, and whoever is further in it may know of views that
        // this peer lacks.
        let further = self.config.is_primary() && end.log_id == own.log_id && end.epoch > own.epoch;
        let ahead = further || self.log.is_in(&end.epoch) && end.contiguous > own.contiguous;
        // Whoever has its promise was known when it got it.
        ahead || self.counts(member) || self.promised.owner == *member
    }
}

impl Node {
    /// A claimant asks for this peer's promise.
    pub(crate) fn on_sync_request(
        &mut self,
        now: Time,
        from: &Member,
        request: SyncRequest,
        out: &mut Vec<Output>,
    ) {
        let round = request.epoch.round;
        if request.claimant.member != *from || request.epoch.owner != *from {
            self.env.reject(Some(&from.id), "SEQ_SYNC_REQUEST", "for another peer", out);
            return;
        }
        // A peer that would not promise a higher epoch either says so: to claim again is in vain.
        let reason = match &self.role {
            Role::Leader(_) => None,
            Role::Candidate(_) => self.candidate_turns_away(from, &request),
            Role::Joining(_) => self.joiner_turns_away(now, from, &request),
            Role::Follower(_) => self.follower_turns_away(from, &request),
        };
        if let Some(reason) = reason {
            self.env.refuse(now, from, Some(round), reason, out);
            return;
        }
        if request.epoch < self.env.promised {
            let promised = self.env.promised.clone();
            self.env.refuse(now, from, Some(round), Reason::Stale { promised }, out);
            return;
        }
        match &self.role {
            Role::Leader(_) => self.env.say_that_it_leads(now, from, round, out),
            Role::Candidate(candidate) if candidate.is_standing() => {
                self.env.say_that_it_leads(now, from, round, out);
            }
            Role::Candidate(_) => self.promise(now, from, &request.epoch, out),
            Role::Joining(_) => self.joiner_is_claimed_from(now, from, &request, out),
            Role::Follower(_) => self.follower_is_claimed_from(now, from, request, out),
        }
    }

    /// Promises, tells where the log ends, and waits for the outcome.
    pub(crate) fn promise(&mut self, now: Time, to: &Member, epoch: &Epoch, out: &mut Vec<Output>) {
        self.env.promise_to(epoch, &to.id, out);
        self.become_waiting(now, &to.id, out);
        self.env.answer_sync(now, to, epoch.clone(), out);
    }
}

impl Env {
    /// The answer of a leader that works to whoever asks for something that would replace it.
    pub(crate) fn say_that_it_leads(
        &mut self,
        now: Time,
        to: &Member,
        ask: u64,
        out: &mut Vec<Output>,
    ) {
        let word = self.announcement(Some(ask), Some(to));
        self.send(now, to, Message::Coordinator(word), out);
    }

    /// Whether a claimant and this peer are in one view: the newest held here, or a newer one of
    /// the same log. In mode `primary` there is no other log, so that the view may be of an epoch
    /// that this peer has not got to yet; and those are asked, too, who are in the view before that
    /// one only, because it may need their quorum.
    pub(crate) fn shares_view(&self, claimant: &Member, theirs: Option<&View>) -> bool {
        let primary = self.config.is_primary();
        let newer = |own: &View| {
            let follows = |view: &View| {
                primary && view.epoch > own.epoch
                    || view.view_id > own.view_id && self.log.is_in(&view.epoch)
            };
            theirs.is_some_and(|view| (primary || view.names(&self.me.member)) && follows(view))
        };
        self.counts(claimant)
            || self.log.view().is_some_and(newer)
            || self.promised.owner == *claimant
    }

    /// Notes that a promise was made, if it is news.
    pub(crate) fn promise_to(&mut self, epoch: &Epoch, to: &PeerId, out: &mut Vec<Output>) {
        if *epoch > self.promised {
            self.promised = epoch.clone();
            out.push(Output::Note(Note::Promised {
                log: self.log.name(),
                epoch: epoch.clone(),
                to: to.clone(),
            }));
        }
        // A promise above what is being built for discards it: nothing may be acknowledged in a
        // lower epoch any more.
        if self.install.as_ref().is_some_and(|install| install.epoch < self.promised) {
            self.install = None;
            self.wants_changed = true;
        }
    }

    /// Says where the log of this peer ends, which has promised that epoch.
    pub(crate) fn answer_sync(
        &mut self,
        now: Time,
        to: &Member,
        epoch: Epoch,
        out: &mut Vec<Output>,
    ) {
        let answer = SyncAnswer {
            epoch,
            contiguous: self.log.contiguous(),
            lineage: self.log.lineage().to_vec(),
            stable: self.log.stable(),
            views: self.log.last_views(),
        };
        self.send(now, to, Message::SeqSyncResponse(answer), out);
    }
}
