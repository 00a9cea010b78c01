//! A follower asks its leader on behalf of those who miss it, and says what the leader answers: a
//! leader that works is its own veto.

use std::collections::BTreeMap;

use crate::id::PeerId;
use crate::report::note::{Cause, Evidence};
use crate::roles::follower::{Follower, millis};
use crate::roles::turn::{Flow, STAY, Turn};
use crate::roles::voting::hearsay;
use crate::time::Time;
use crate::wire::message::{Coordinator, Election, Message, SyncRequest};

/// Asks the leader on behalf of those who miss it.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Witness {
    pub(crate) ask: u64,
    pub(crate) asked_at: Time,
    pub(crate) until: Time,
    /// Whether the question is on its way.
    pub(crate) asked: bool,
    /// The questions of candidates that wait for the verdict.
    pub(crate) electors: BTreeMap<PeerId, Election>,
    /// The claims that wait for the verdict, the last one of each claimant.
    pub(crate) claims: BTreeMap<PeerId, SyncRequest>,
}

impl Follower {
    /// Asks the leader, unless the question is on its way; a new link asks again.
    pub(crate) fn ask_as_witness(&mut self, turn: &mut Turn<'_>) {
        let Some((ask, false)) = self.witness.as_ref().map(|witness| (witness.ask, witness.asked))
        else {
            return;
        };
        let question = Message::ViewSyncRequest { ask };
        let sent = turn.env.send(turn.now, &self.leader.member, question, turn.out);
        if let Some(witness) = &mut self.witness {
            witness.asked = sent;
        }
    }

    /// The leader has not answered in time: it is missed here, too.
    pub(crate) fn witness_in_time(&self, turn: &mut Turn<'_>) -> Flow {
        let late = self.witness.as_ref().filter(|witness| witness.until <= turn.now);
        let Some(asked_at) = late.map(|witness| witness.asked_at) else { return STAY };
        let evidence = Evidence::NoAnswer { waited_ms: millis(turn.now.since(asked_at)) };
        self.miss(turn, Cause::Witnessed, &evidence, None)
    }

    /// Notes on whose behalf the leader is asked.
    pub(crate) fn witness_for(&mut self, turn: &mut Turn<'_>, note: impl FnOnce(&mut Witness)) {
        let witness = self.witness.get_or_insert_with(|| Witness {
            ask: turn.env.fresh_ask(),
            asked_at: turn.now,
            until: turn.now + turn.env.config.witness_timeout(),
            asked: false,
            electors: BTreeMap::new(),
            claims: BTreeMap::new(),
        });
        note(witness);
    }

    /// The leader has answered: whoever misses it hears so.
    pub(crate) fn veto_witnessed(&mut self, turn: &mut Turn<'_>, word: &Coordinator) {
        let Some(witness) = self.witness.take() else { return };
        let electors = witness.electors.into_values();
        let electors = electors.map(|Election { candidate, ask, .. }| (candidate.member, ask));
        let claimants = witness.claims.into_values();
        let claimants = claimants.map(|claim| (claim.claimant.member, claim.epoch.round));
        for (asker, ask) in electors.chain(claimants) {
            let veto = hearsay(word.leader.clone(), word.epoch.clone(), word.size, ask);
            turn.env.send(turn.now, &asker, Message::Coordinator(veto), turn.out);
        }
    }
}
