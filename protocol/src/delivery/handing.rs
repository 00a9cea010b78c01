//! When what the log holds is handed over: a bounded part of it in each call.

use crate::env::Env;
use crate::id::{Member, Seq};
use crate::io::Output;
use crate::node::Node;
use crate::roles::Role;
use crate::time::Time;

/// Positions handed over in one call at most.
pub(crate) const DELIVERED_AT_ONCE: u64 = 4_096;

impl Node {
    /// The last position that may be handed over.
    pub(crate) fn deliverable(&self) -> Seq {
        match &self.role {
            // Amoeba's resilience of one: what only the leader has seen is nobody's order yet.
            Role::Leader(leader) => leader.seen_elsewhere(self.env.log.contiguous()),
            Role::Candidate(candidate) => candidate.seen,
            // What its leader has sent it, others have had.
            Role::Follower(follower) if self.env.log.is_in(&follower.epoch) => {
                self.env.log.contiguous()
            }
            // Whatever it has beyond that it had for itself; the log that it takes up next says
            // what becomes of it.
            Role::Follower(_) | Role::Joining(_) => self.env.sinks.delivered(),
        }
    }

    /// Hands over what may be, a bounded part of it per call: a burst must not keep a shell from
    /// its heartbeats.
    pub(crate) fn deliver(&mut self, now: Time, out: &mut Vec<Output>) {
        let limit = self.env.log.safe_up_to(self.deliverable());
        let part = limit.min(self.env.sinks.delivered().plus(DELIVERED_AT_ONCE));
        if part < limit {
            self.env.more_at = Some(now);
        }
        self.env.deliver_up_to(part, out);
        if let (Role::Follower(follower), mut turn) = self.turn(now, out) {
            let flow = follower.follow_view(&mut turn);
            self.go(now, flow, out);
        }
    }

    /// Hands over what may be in the role that it is about to give up.
    pub(crate) fn deliver_last(&mut self, out: &mut Vec<Output>) {
        let limit = self.env.log.safe_up_to(self.deliverable());
        self.env.deliver_up_to(limit.min(self.env.sinks.delivered().plus(DELIVERED_AT_ONCE)), out);
    }
}

impl Env {
    pub(crate) fn deliver_up_to(&mut self, limit: Seq, out: &mut Vec<Output>) {
        let Member { id, inc } = &self.me.member;
        self.sinks.deliver(&self.log, limit, (id, *inc), out);
    }
}
