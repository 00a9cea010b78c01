//! A follower asks its leader on behalf of those who miss it, and says what the leader answers: a
//! leader that works is its own veto.

use std::collections::BTreeMap;

use crate::env::Env;
use crate::id::Member;
use crate::io::Output;
use crate::node::Node;
use crate::report::note::{Cause, Evidence};
use crate::roles::follower::millis;
use crate::roles::voting::hearsay;
use crate::roles::{Role, Witness};
use crate::time::Time;
use crate::wire::message::{Coordinator, Election, Message, Reason, SyncRequest};

impl Node {
    /// "Do you lead?"
    pub(crate) fn on_probe(&mut self, now: Time, from: &Member, ask: u64, out: &mut Vec<Output>) {
        let leads = match &self.role {
            Role::Leader(leader) => !leader.is_retiring(),
            Role::Candidate(candidate) => candidate.is_standing(),
            Role::Joining(_) | Role::Follower(_) => false,
        };
        if leads {
            self.env.say_that_it_leads(now, from, ask, out);
        } else {
            self.env.refuse(now, from, Some(ask), Reason::NotLeader, out);
        }
    }

    /// Asks the leader, unless the question is on its way; a new link asks again.
    pub(crate) fn ask_as_witness(&mut self, now: Time, out: &mut Vec<Output>) {
        let Role::Follower(follower) = &self.role else { return };
        let leader = follower.leader.member.clone();
        let Some((ask, false)) =
            self.env.witness.as_ref().map(|witness| (witness.ask, witness.asked))
        else {
            return;
        };
        let sent = self.env.send(now, &leader, Message::ViewSyncRequest { ask }, out);
        if let Some(witness) = &mut self.env.witness {
            witness.asked = sent;
        }
    }

    /// The leader has not answered in time: it is missed here, too.
    pub(crate) fn witness_in_time(&mut self, now: Time, out: &mut Vec<Output>) {
        let Some(witness) = self.env.witness.as_ref().filter(|witness| witness.until <= now) else {
            return;
        };
        let evidence = Evidence::NoAnswer { waited_ms: millis(now.since(witness.asked_at)) };
        if matches!(self.role, Role::Follower(_)) {
            self.miss(now, Cause::Witnessed, &evidence, out);
        } else {
            self.env.witness = None;
        }
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
    /// Notes on whose behalf the leader is asked.
    pub(crate) fn witness(&mut self, now: Time, note: impl FnOnce(&mut Witness)) {
        if self.witness.is_none() {
            let until = now + self.config.witness_timeout();
            let ask = self.fresh_ask();
            self.witness = Some(Witness {
                ask,
                asked_at: now,
                until,
                asked: false,
                electors: BTreeMap::new(),
                claims: BTreeMap::new(),
            });
        }
        if let Some(witness) = &mut self.witness {
            note(witness);
        }
    }

    /// The leader has answered: whoever misses it hears so.
    pub(crate) fn veto_witnessed(&mut self, now: Time, word: &Coordinator, out: &mut Vec<Output>) {
        let Some(witness) = self.witness.take() else { return };
        for Election { candidate, ask, .. } in witness.electors.into_values() {
            let veto = hearsay(word.leader.clone(), word.epoch.clone(), word.size, ask);
            self.send(now, &candidate.member, Message::Coordinator(veto), out);
        }
        for request in witness.claims.into_values() {
            let veto =
                hearsay(word.leader.clone(), word.epoch.clone(), word.size, request.epoch.round);
            self.send(now, &request.claimant.member, Message::Coordinator(veto), out);
        }
    }
}
