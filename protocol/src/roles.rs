//! What a node is at the moment. Each variant owns exactly its facts: a fact that must be forgotten
//! with the role lives here and dies with it, one that must survive lives in the node.

pub(crate) mod candidate;
pub(crate) mod follower;
pub(crate) mod joining;
pub(crate) mod leader;
pub(crate) mod refusals;
mod services;
#[cfg(test)]
mod tests;
mod transitions;
mod voting;
mod witness;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::detector::{Liveness, Started};
use crate::id::{Contact, Epoch, Member, PeerId, Seq};
use crate::io::Output;
use crate::node::Node;
use crate::roles::leader::Leader;
use crate::time::Time;
use crate::turn::Flow;
use crate::wire::message::{Election, Message, Reason, SyncAnswer, SyncRequest};

/// The roles.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Role {
    /// In no view: announces itself, listens, asks a leader to be admitted.
    Joining(Joining),
    /// Follows a leader.
    Follower(Follower),
    /// Misses the leader: asks around, waits for somebody else's outcome, or claims.
    Candidate(Box<Candidate>),
    /// Numbers the entries, beats, watches everyone else.
    Leader(Box<Leader>),
}

/// The facts of a joining peer.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Joining {
    pub(crate) since: Time,
    /// When the last new joiner was heard.
    pub(crate) quiet_since: Time,
    /// The present attempt.
    pub(crate) ask: u64,
    pub(crate) ask_at: Time,
    pub(crate) wait: Duration,
    /// In a crowd of joiners: it is not to announce itself again before.
    pub(crate) silent_until: Option<Time>,
    /// Joiners in no view.
    pub(crate) heard: BTreeMap<PeerId, (Contact, Time)>,
    /// The leader that is being asked, and since when.
    pub(crate) target: Option<(Contact, Time)>,
    /// Since when somebody has reported a live leader.
    pub(crate) reported: Option<Time>,
    /// A better joiner, which is given until then to found the group.
    pub(crate) deferring: Option<(PeerId, Time)>,
    /// Who has said that another living peer has this one's name, and is asked once more over a
    /// link.
    pub(crate) accused_by: Option<Member>,
    /// Better joiners that have not.
    pub(crate) let_down: BTreeSet<PeerId>,
    /// When a group said last that it is full.
    pub(crate) full: Option<Time>,
    /// Joiners that have been in a view and lost its log.
    pub(crate) with_history: BTreeSet<PeerId>,
    /// Set where the views have gone on without it: it votes, but leaves it to the others to claim
    /// until then.
    pub(crate) gives_way_until: Option<Time>,
}

/// The facts of a member.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Follower {
    pub(crate) leader: Contact,
    pub(crate) epoch: Epoch,
    pub(crate) liveness: Liveness,
    /// When which ACK was sent.
    pub(crate) acks: Started,
    /// The last position acknowledged.
    pub(crate) acked: Seq,
    /// Heartbeats since which the leader has not ordered what was sent to it.
    pub(crate) stalled_beats: u32,
    /// What all members have, and where the leader's log ended when it said so.
    pub(crate) all_have: Option<(Seq, Seq)>,
    /// Where the newest view stood when it was last looked at.
    pub(crate) viewed: Option<Seq>,
    /// When it says by datagram who leads: it may be heard where its leader is not, and have seeds
    /// that its leader has not.
    pub(crate) call_at: Time,
    /// Woken then at the latest: only a peer that expects to be called often can tell that it was
    /// not.
    pub(crate) tick_at: Time,
}

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

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The role has looked at it.
    Taken,
    /// It means nothing to the role, for that reason.
    Ignored(&'static str),
}

impl Node {
    /// A message of a peer that has passed the gate goes to the page of the present role. Each page
    /// names every verb.
    pub(crate) fn hear(
        &mut self,
        now: Time,
        from: &Member,
        message: Message,
        out: &mut Vec<Output>,
    ) -> Heard {
        if self.env.is_in_anothers_name(from, &message, out)
            || self.is_below_promise(now, from, &message, out)
            || self.hears_of_later_life(now, from, &message, out)
        {
            return Heard::Taken;
        }
        let flow = match self.turn(now, out) {
            (Role::Joining(joining), mut turn) => joining.hears(&mut turn, from, message),
            (Role::Follower(follower), mut turn) => follower.hears(&mut turn, from, message),
            (Role::Candidate(candidate), mut turn) => candidate.hears(&mut turn, from, message),
            (Role::Leader(leader), mut turn) => leader.hears(&mut turn, from, message),
        };
        match flow {
            Flow::Continue(heard) => heard,
            Flow::Break(next) => {
                self.go(now, Flow::Break(next), out);
                Heard::Taken
            }
        }
    }
}

impl Role {
    /// This peer stood still, which has taken that much off its own time; the pause is long if the
    /// others may have gone on without it. Before the next wake-up there may be several such calls.
    pub(crate) fn on_pause(&mut self, now: Time, lag: Duration, is_long: bool) {
        match self {
            // What they wait for has as much time left as before.
            Self::Joining(_) | Self::Follower(_) => {}
            Self::Candidate(candidate) => candidate.on_pause(lag),
            Self::Leader(leader) => leader.on_pause(now, is_long),
        }
    }
}

impl Joining {
    /// Nobody has been heard yet, and it asks at once, under the name `ask`.
    pub(crate) fn new(now: Time, ask: u64) -> Self {
        Self {
            since: now,
            quiet_since: now,
            ask,
            ask_at: now,
            wait: Duration::ZERO,
            silent_until: None,
            heard: BTreeMap::new(),
            target: None,
            reported: None,
            deferring: None,
            accused_by: None,
            let_down: BTreeSet::new(),
            full: None,
            with_history: BTreeSet::new(),
            gives_way_until: None,
        }
    }
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

/// The wish to leave.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Leaving {
    /// A leader waits until then for others that leave as well, before it hands over.
    pub(crate) linger_until: Time,
    /// Gone then, confirmed or not.
    pub(crate) until: Time,
}
