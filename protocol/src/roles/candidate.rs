//! A peer that misses its leader: it asks around, waits for somebody else's outcome, or claims.

mod adopting;
pub(crate) mod asking;
pub(crate) mod blocked;
pub(crate) mod claim;
pub(crate) mod election;
mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::{Contact, Epoch, Member, PeerId, Seq};
use crate::roles::leader::Leader;
use crate::time::Time;
use crate::wire::message::{Reason, SyncAnswer};

/// The facts of a candidate.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Candidate {
    /// The leader it misses.
    pub(crate) missed: Option<PeerId>,
    /// Whether there is no view to follow: the asked are the joiners heard.
    pub(crate) first_view: bool,
    /// The present question; a new one for each round of asking.
    pub(crate) ask: u64,
    pub(crate) asked_at: Time,
    pub(crate) asked: BTreeMap<PeerId, Contact>,
    /// Those of them to whom the question has been put so far; nothing where it has been put to
    /// all.
    pub(crate) first_wave: Option<BTreeSet<PeerId>>,
    pub(crate) answered: BTreeSet<PeerId>,
    /// Not waited for in this election: the missed leader, those that let it down.
    pub(crate) suspects: BTreeSet<PeerId>,
    /// Those of the suspects that have spoken since: not waited for when asking, but when claiming.
    pub(crate) revived: BTreeSet<PeerId>,
    /// Those between two groups: nothing to wait for when asking, but they may have arrived by the
    /// time of the claim.
    pub(crate) busy: BTreeSet<PeerId>,
    /// Proven gone, or not of the group; in a claim also who is busy, until everybody is asked
    /// again.
    pub(crate) dropped: BTreeSet<PeerId>,
    /// Those of them that are gone because a connection was refused, and when.
    pub(crate) refused: BTreeMap<PeerId, Time>,
    /// Mode `primary`: who was heard while this peer is blocked. They are linked, because they may
    /// have been let into a view of which it does not know, and may not be able to dial it.
    pub(crate) callers: BTreeMap<PeerId, Contact>,
    /// Whether the missed leader was only silent: if there is nobody else to ask, it is given the
    /// time to answer.
    pub(crate) only_silent: bool,
    /// Whether it has asked before. What it or a peer that answers holds against the missed leader
    /// may be over by then.
    pub(crate) asks_again: bool,
    /// Whether somebody asked follows a view that this peer is not in.
    pub(crate) not_in_view: bool,
    /// The leader that a veto has named, which it asks itself.
    pub(crate) vetoed_by: Option<Contact>,
    /// The highest epoch that a refusal has named.
    pub(crate) floor: Epoch,
    /// Those that wait for it, because it has said `OK`, and the question that each of them had.
    pub(crate) told_ok: BTreeMap<Member, u64>,
    /// Who promised when that was not enough, and until when it does not claim again unless
    /// somebody else answers as well.
    pub(crate) failed_claim: Option<(BTreeSet<PeerId>, Time)>,
    /// The last position that it might hand over when it became one. What comes after it may be
    /// nobody's order yet.
    pub(crate) seen: Seq,
    /// Whether it led, and has handed over to the one that it waits for.
    pub(crate) handed_over: bool,
    pub(crate) stage: Stage,
}

/// What a candidate is doing.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Stage {
    /// Asks a few, then everybody.
    Asking { until: Time, first_wave_until: Time },
    /// Somebody knows a working leader.
    Vetoed { until: Time },
    /// Mode `primary`: too few answer; asks again then, and whoever comes back before.
    Blocked { until: Time },
    /// Somebody better asks, or has its promise.
    Waiting { on: PeerId, until: Time },
    /// Collects promises.
    Syncing(Claim),
    /// Fetches the log to be adopted; promises are closed.
    Adopting { claim: Claim, cut: Seq, until: Time },
}

/// A claim.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Claim {
    pub(crate) epoch: Epoch,
    pub(crate) until: Time,
    pub(crate) answers: BTreeMap<PeerId, (Member, SyncAnswer)>,
    /// Those whose promise came, but whose log would take back what is stable: they rejoin instead.
    pub(crate) outdone: BTreeSet<PeerId>,
    /// How long this peer has stood still in the middle of it.
    pub(crate) slept: Duration,
    /// Set where a working leader only moves to a higher epoch: what it keeps.
    pub(crate) standing: Option<Box<Leader>>,
    /// The last position of the adopted log that is known to be stable (mode `primary`).
    pub(crate) stable: Seq,
}

impl Candidate {
    /// Whether it is a working leader that only moves to a higher epoch.
    pub(crate) fn is_standing(&self) -> bool {
        matches!(&self.stage, Stage::Syncing(claim) | Stage::Adopting { claim, .. } if claim.standing.is_some())
    }

    /// Whether it has neither claimed nor promised anything to anybody.
    pub(crate) fn only_asks(&self) -> bool {
        matches!(self.stage, Stage::Asking { .. } | Stage::Vetoed { .. } | Stage::Blocked { .. })
    }

    /// What to say to a candidate of the other kind: who has a group says that the other is not in
    /// it, who has none says nothing.
    pub(crate) fn stranger(&self) -> Reason {
        if self.first_view { Reason::Busy } else { Reason::NotMember }
    }

    pub(crate) fn is_waiting_on(&self, id: &PeerId) -> bool {
        matches!(&self.stage, Stage::Waiting { on, .. } if on == id)
    }

    pub(crate) fn deadline(&self) -> Time {
        match &self.stage {
            Stage::Asking { until, first_wave_until } if self.first_wave.is_some() => {
                *until.min(first_wave_until)
            }
            Stage::Asking { until, .. }
            | Stage::Vetoed { until }
            | Stage::Blocked { until }
            | Stage::Waiting { until, .. }
            | Stage::Adopting { until, .. } => *until,
            Stage::Syncing(claim) => claim.until,
        }
    }

    /// Somebody has spoken, so it is alive, whatever it was suspected of.
    pub(crate) fn revive(&mut self, id: &PeerId) {
        if self.suspects.contains(id) {
            self.revived.insert(id.clone());
        }
    }

    /// A refusal of so long ago may have been the word of a firewall, or of a machine whose network
    /// has come back since.
    pub(crate) fn doubt_refusals(&mut self, now: Time, patience: Duration) {
        let old = self.refused.iter().filter(|(_, at)| now.since(**at) >= patience);
        for id in old.map(|(id, _)| id.clone()).collect::<Vec<PeerId>>() {
            if self.dropped.remove(&id) {
                self.refused.remove(&id);
                // It is asked, and waited for, like anybody of whom nothing is known.
                self.suspects.remove(&id);
            }
        }
    }

    /// Whether the others have gone on without it, as far as anybody answers.
    pub(crate) fn is_disowned(&self) -> bool {
        self.not_in_view && self.answered.is_empty()
    }

    /// Whether nothing is known of somebody but its silence.
    pub(crate) fn is_silent(&self, id: &PeerId) -> bool {
        !self.dropped.contains(id) && (self.only_silent || self.missed.as_ref() != Some(id))
    }

    /// Whether so many answers can be all that are waited for.
    pub(crate) fn heard_enough(&self, answers: usize) -> bool {
        answers + self.suspects.len() + self.dropped.len() >= self.asked.len()
    }

    /// Those whose promise is waited for.
    pub(crate) fn awaited_to_promise(&self) -> impl Iterator<Item = &Contact> {
        let revived = self
            .revived
            .iter()
            .filter(|id| !self.dropped.contains(*id))
            .filter_map(|id| self.asked.get(id));
        self.awaited().chain(revived)
    }

    /// Whether a question was put to that very peer, so that its word can be an answer.
    pub(crate) fn has_asked(&self, member: &Member) -> bool {
        let named = self.vetoed_by.iter().chain(self.asked.get(&member.id));
        named.into_iter().any(|contact| contact.member == *member)
    }

    /// The question that an answer may name: the present one, or the round claimed.
    pub(crate) fn is_asking(&self, ask: Option<u64>) -> bool {
        let round = match &self.stage {
            Stage::Syncing(claim) => Some(claim.epoch.round),
            Stage::Asking { .. }
            | Stage::Vetoed { .. }
            | Stage::Blocked { .. }
            | Stage::Waiting { .. }
            | Stage::Adopting { .. } => None,
        };
        ask.is_some() && (ask == Some(self.ask) || ask == round)
    }

    /// Those whose answer is waited for.
    pub(crate) fn awaited(&self) -> impl Iterator<Item = &Contact> {
        self.asked.values().filter(|contact| {
            !self.suspects.contains(contact.id()) && !self.dropped.contains(contact.id())
        })
    }
}
