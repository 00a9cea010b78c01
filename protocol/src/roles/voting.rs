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
use crate::roles::turn::{Flow, STAY, Turn};
use crate::roles::witness::Witness;
use crate::time::Time;
use crate::wire::message::{Coordinator, Election, Message, SyncAnswer, SyncRequest};

pub(crate) fn hearsay(leader: Contact, epoch: Epoch, size: u64, ask: u64) -> Coordinator {
    Coordinator { leader, epoch, size, ask: Some(ask), names_you: false }
}

impl Role {
    /// Somebody asks around who leads; see the page of each role.
    pub(crate) fn is_asked(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        election: Election,
    ) -> Flow {
        match self {
            Self::Leader(leader) => leader.is_asked(turn, from, election.ask),
            Self::Candidate(candidate) => candidate.is_asked(turn, from, &election),
            Self::Joining(joining) => return joining.is_asked(turn, from, election),
            Self::Follower(follower) => return follower.is_asked(turn, from, election),
        }
        STAY
    }

    /// A claimant asks for this peer's promise; see the page of each role.
    pub(crate) fn is_claimed_from(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        request: SyncRequest,
    ) -> Flow {
        match self {
            Self::Leader(leader) => leader.is_claimed_from(turn, from, &request),
            Self::Candidate(candidate) => return candidate.is_claimed_from(turn, from, &request),
            Self::Joining(joining) => return joining.is_claimed_from(turn, from, &request),
            Self::Follower(follower) => return follower.is_claimed_from(turn, from, request),
        }
        STAY
    }
}

impl Node {
    /// OK if this peer outranks the candidate, else CLEAR.
    pub(crate) fn answer(
        &mut self,
        now: Time,
        candidate: &Contact,
        ask: u64,
        out: &mut Vec<Output>,
    ) {
        match self.turn(now, out) {
            (Role::Candidate(own), mut turn) => own.answer(&mut turn, candidate, ask),
            (Role::Joining(_) | Role::Follower(_) | Role::Leader(_), turn) => {
                turn.env.answer_election(now, candidate, ask, turn.out);
            }
        }
    }

    /// This peer misses the leader now. It answers each waiting question as if the question came
    /// now: a view may have put the asker out meanwhile.
    pub(crate) fn answer_witnessed(&mut self, now: Time, witness: Witness, out: &mut Vec<Output>) {
        for election in witness.electors.into_values() {
            let candidate = election.candidate.member.clone();
            let (role, mut turn) = self.turn(now, out);
            let flow = role.is_asked(&mut turn, &candidate, election);
            self.go(now, flow, out);
        }
        // The highest has the promise, and the others hear so.
        let mut claims: Vec<SyncRequest> = witness.claims.into_values().collect();
        claims.sort_by(|one, other| other.epoch.cmp(&one.epoch));
        for request in claims {
            let claimant = request.claimant.member.clone();
            let (role, mut turn) = self.turn(now, out);
            let flow = role.is_claimed_from(&mut turn, &claimant, request);
            self.go(now, flow, out);
        }
    }
}

impl Env {
    /// OK if this peer outranks the candidate, else CLEAR. True if it was OK. Who is leaving does
    /// not stand in anybody's way.
    pub(crate) fn answer_election(
        &mut self,
        now: Time,
        candidate: &Contact,
        ask: u64,
        out: &mut Vec<Output>,
    ) -> bool {
        let outranks = self.me.outranks(candidate) && self.leaving.is_none() && self.may_lead();
        let message = if outranks { Message::Ok { ask } } else { Message::Clear { ask } };
        self.send(now, &candidate.member, message, out);
        outranks
    }

    /// Whether somebody belongs to this group: the newest view held names it, or it is further in
    /// the same log, where it may be named by a view that is still to come.
    pub(crate) fn knows(&self, member: &Member, end: &LogEnd) -> bool {
        let own = self.log.end();
        let further =
            self.policy().has_one_log() && end.log_id == own.log_id && end.epoch > own.epoch;
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
        let one_log = self.policy().has_one_log();
        let newer = |own: &View| {
            let follows = |view: &View| {
                one_log && view.epoch > own.epoch
                    || view.view_id > own.view_id && self.log.is_in(&view.epoch)
            };
            theirs.is_some_and(|view| (one_log || view.names(&self.me.member)) && follows(view))
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
