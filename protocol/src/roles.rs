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
pub(crate) mod turn;
mod voting;
mod witness;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::detector::{Liveness, Started};
use crate::id::{Contact, Epoch, Member, PeerId, Seq};
use crate::io::Output;
use crate::node::Node;
use crate::roles::candidate::Candidate;
use crate::roles::leader::Leader;
use crate::roles::turn::Flow;
use crate::time::Time;
use crate::wire::message::{Election, Message, SyncRequest};

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
    /// An open question to the leader, on behalf of others.
    pub(crate) witness: Option<Witness>,
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
