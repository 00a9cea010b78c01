//! A follower asks its leader on behalf of those who miss it, and says what the leader answers: a
//! leader that works is its own veto.

use std::collections::BTreeMap;

use crate::env::Env;
use crate::io::Output;
use crate::report::note::{Cause, Evidence};
use crate::roles::follower::millis;
use crate::roles::voting::hearsay;
use crate::roles::{Follower, Witness};
use crate::time::Time;
use crate::turn::{Flow, STAY, Turn};
use crate::wire::message::{Coordinator, Election, Message};

impl Follower {
    /// Asks the leader, unless the question is on its way; a new link asks again.
    pub(crate) fn ask_as_witness(&self, turn: &mut Turn<'_>) {
        let Some((ask, false)) =
            turn.env.witness.as_ref().map(|witness| (witness.ask, witness.asked))
        else {
            return;
        };
        let question = Message::ViewSyncRequest { ask };
        let sent = turn.env.send(turn.now, &self.leader.member, question, turn.out);
        if let Some(witness) = &mut turn.env.witness {
            witness.asked = sent;
        }
    }

    /// The leader has not answered in time: it is missed here, too.
    pub(crate) fn witness_in_time(&self, turn: &mut Turn<'_>) -> Flow {
        let late = turn.env.witness.as_ref().filter(|witness| witness.until <= turn.now);
        let Some(asked_at) = late.map(|witness| witness.asked_at) else { return STAY };
        let evidence = Evidence::NoAnswer { waited_ms: millis(turn.now.since(asked_at)) };
        self.miss(turn, Cause::Witnessed, &evidence, None)
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
