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
use crate::turn::{Next, STAY, go};
use crate::wire::message::{Coordinator, Election, Message, SyncAnswer, SyncRequest};

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
        let flow = match self.turn(now, out) {
            (Role::Leader(_), _) => return self.leader_is_asked(now, from, election.ask, out),
            (Role::Candidate(_), _) => return self.candidate_is_asked(now, from, &election, out),
            (Role::Joining(joining), mut turn) => joining.is_asked(&mut turn, from, election),
            (Role::Follower(follower), mut turn) => follower.is_asked(&mut turn, from, election),
        };
        self.go(now, flow, out);
    }

    /// A claimant asks for this peer's promise; see the page of each role.
    pub(crate) fn on_sync_request(
        &mut self,
        now: Time,
        from: &Member,
        request: SyncRequest,
        out: &mut Vec<Output>,
    ) {
        let flow = match self.turn(now, out) {
            (Role::Leader(_), mut turn) => {
                if !turn.refuses_claim(from, &request, None) {
                    turn.env.say_that_it_leads(now, from, request.epoch.round, turn.out);
                }
                STAY
            }
            (Role::Candidate(_), _) => {
                let reason = self.candidate_turns_away(from, &request);
                let (role, mut turn) = self.turn(now, out);
                match role {
                    _ if turn.refuses_claim(from, &request, reason) => STAY,
                    Role::Candidate(candidate) if candidate.is_standing() => {
                        turn.env.say_that_it_leads(now, from, request.epoch.round, turn.out);
                        STAY
                    }
                    _ => go(Next::Promise { to: from.clone(), epoch: request.epoch }),
                }
            }
            (Role::Joining(joining), mut turn) => {
                joining.is_claimed_from(&mut turn, from, &request)
            }
            (Role::Follower(follower), mut turn) => {
                follower.is_claimed_from(&mut turn, from, request)
            }
        };
        self.go(now, flow, out);
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
        let message = if self.env.stands_in_the_way_of(candidate) {
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

impl Node {
    /// Promises, tells where the log ends, and waits for the outcome.
    pub(crate) fn promise(&mut self, now: Time, to: &Member, epoch: &Epoch, out: &mut Vec<Output>) {
        self.env.promise_to(epoch, &to.id, out);
        self.become_waiting(now, &to.id, out);
        self.env.answer_sync(now, to, epoch.clone(), out);
    }

    /// This peer misses the leader now. It answers each waiting question as if the question came
    /// now: a view may have put the asker out meanwhile.
    pub(crate) fn answer_witnessed(&mut self, now: Time, out: &mut Vec<Output>) {
        let Some(witness) = self.env.witness.take() else { return };
        for election in witness.electors.into_values() {
            let candidate = election.candidate.member.clone();
            self.on_election(now, &candidate, election, out);
        }
        // The highest has the promise, and the others hear so.
        let mut claims: Vec<SyncRequest> = witness.claims.into_values().collect();
        claims.sort_by(|one, other| other.epoch.cmp(&one.epoch));
        for request in claims {
            let claimant = request.claimant.member.clone();
            self.on_sync_request(now, &claimant, request, out);
        }
    }
}

impl Env {
    /// Whether this peer would lead rather than that candidate. Who is leaving does not stand in
    /// anybody's way.
    pub(crate) fn stands_in_the_way_of(&self, candidate: &Contact) -> bool {
        self.me.outranks(candidate) && self.leaving.is_none() && self.may_lead()
    }

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
