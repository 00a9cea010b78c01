//! What a node is at the moment. Each role owns exactly its facts, in its folder: a fact that must
//! be forgotten with the role dies with it, one that must survive lives in `Env`.

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
pub(crate) mod witness;

use std::time::Duration;

use crate::id::Member;
use crate::io::Output;
use crate::node::Node;
use crate::roles::candidate::Candidate;
use crate::roles::follower::Follower;
use crate::roles::joining::Joining;
use crate::roles::leader::Leader;
use crate::roles::turn::Flow;
use crate::time::Time;
use crate::wire::message::Message;

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

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The role has looked at it.
    Taken,
    /// It means nothing to the role, for that reason.
    Ignored(&'static str),
}

/// It means nothing to the role, for that reason.
pub(crate) fn ignored(why: &'static str) -> Flow<Heard> {
    Flow::Continue(Heard::Ignored(why))
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

/// The wish to leave.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Leaving {
    /// A leader waits until then for others that leave as well, before it hands over.
    pub(crate) linger_until: Time,
    /// Gone then, confirmed or not.
    pub(crate) until: Time,
}
