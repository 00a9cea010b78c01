//! A peer doubts itself first: whoever was called late could hear nobody meanwhile, and accuses
//! nobody for it.
//!
//! The core reads no clock. It knows when it wanted to be called and when it was, and that tells a
//! pause of the process, a busy machine, or a jump of the clock from silence of the others.

use crate::node::Node;
use crate::roles::Role;
use crate::time::Time;

impl Node {
    /// If it has been called too late, nobody could have been heard meanwhile, so every deadline
    /// moves by the lag and nobody is accused for it.
    pub(crate) fn doubt_self(&mut self, now: Time) {
        // A deadline stays overdue until the next wake-up, which comes after everything that waits
        // has been read. There may be several calls before it, with a pause before each or with one
        // that drags on; each moment is allowed for once.
        let Some(deadline) = self.deadline().filter(|deadline| *deadline < now) else {
            // This call was not late. An earlier deadline may show itself in a later call, because
            // what stood before it is gone; that one made nobody late.
            self.env.excused_until = now;
            return;
        };
        let (overdue, lag) = (now.since(deadline), now.since(deadline.max(self.env.excused_until)));
        self.env.lag = self.env.lag.max(lag);
        if lag <= self.env.config.tick() {
            return;
        }
        let interval = self.env.config.knobs().heartbeat_interval;
        self.env.excused_until = now;
        self.env.links.excuse(now, lag);
        match &mut self.role {
            Role::Joining(joining) => joining.excuse(lag),
            Role::Follower(follower) => follower.liveness.excuse(now, lag),
            // The others go on without a claimant that stands still for longer than they give a
            // question.
            Role::Candidate(candidate) => {
                candidate.excuse(lag, interval.min(self.env.config.witness_timeout()))
            }
            Role::Leader(leader) => {
                leader.excuse(now, lag);
                // For less than that nobody elects another one.
                if overdue > interval {
                    leader.doubt_lead(now);
                }
            }
        }
        if let Some(witness) = &mut self.env.witness {
            witness.until += lag;
        }
    }

    /// Sees to it that it is called often while it waits for answers.
    pub(crate) fn expect_a_tick(&mut self, now: Time) {
        let next = self.env.tick_at.unwrap_or(now + self.env.config.tick());
        self.env.tick_at = self.waits().then_some(next);
    }

    /// Whether it waits for answers that decide who leads.
    fn waits(&self) -> bool {
        self.env.witness.is_some() || matches!(self.role, Role::Candidate(_) | Role::Joining(_))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Knobs};
    use crate::harness::{Harness, peer};
    use crate::id::{Contact, Incarnation, Member, PeerId};
    use crate::io::{Input, Output, Publication};
    use crate::node::Node;
    use crate::report::note::Note;
    use crate::time::Time;
    use std::time::Duration;

    #[test]
    fn a_leader_that_is_late_by_less_than_a_beat_accuses_nobody_for_that_time() {
        let mut harness = Harness::leader(Knobs::fast());
        harness.admit(&peer(2));
        harness.acknowledge(&peer(2), harness.node.env.log.contiguous());
        harness.out.clear();
        let beat = harness.node.env.config.knobs().heartbeat_interval;
        let began = harness.now;
        let suspects = |harness: &Harness| {
            harness.out.iter().any(|output| matches!(output, Output::Note(Note::Suspect { .. })))
        };
        while harness.now < began + harness.node.env.config.knobs().heartbeat_timeout * 3 / 2 {
            harness.now = harness.node.deadline().expect("it leads") + beat * 9 / 10;
            harness.give(Input::Wake);
        }
        assert!(!suspects(&harness), "half of the time it was not there");
        harness.rest(harness.node.env.config.knobs().heartbeat_timeout);
        assert!(suspects(&harness));
    }

    fn at(milli: u64) -> Time {
        Time::from_micros(milli * 1_000)
    }

    #[test]
    fn what_turns_out_to_have_been_due_long_ago_has_called_nobody_late() {
        let mut harness = Harness::member(Knobs::fast());
        harness.give(Input::Wake);
        let now = harness.now;
        harness.node.doubt_self(now);
        // The earlier deadline that shows itself.
        harness.node.env.more_at = Some(Time::ZERO);
        harness.node.doubt_self(now + Duration::from_millis(1));
        assert_eq!(harness.node.env.lag, Duration::from_millis(1));
    }

    /// Calls a lone newcomer with that at these moments, and wakes it at last; whether it has
    /// claimed by then.
    #[track_caller]
    fn check_claims(
        call: &Input,
        at_millis: impl IntoIterator<Item = u64>,
        last: u64,
        claims: bool,
    ) {
        let me = Contact {
            member: Member { id: PeerId::new("p1").expect("a valid name"), inc: Incarnation(1) },
            birth: 1,
            address: "127.0.0.1:5001".parse().expect("an address"),
            explicit: 0,
        };
        let mut node = Node::new(me, Config::try_from(Knobs::fast()).expect("sound"), 1, at(0));
        let mut out = Vec::new();
        for milli in at_millis {
            node.handle(at(milli), call.clone(), &mut out);
        }
        node.handle(at(last), Input::Wake, &mut out);
        let claimed = out.iter().any(|output| matches!(output, Output::Note(Note::Claim { .. })));
        assert_eq!(claimed, claims);
    }

    #[test]
    fn a_late_call_excuses_itself_once_for_each_moment() {
        // Woken in time, it founds its group after `join_timeout`, which is 200 ms.
        check_claims(&Input::Wake, (0..10).map(|n| n * 60), 600, true);
        // One long pause, two in a row, and one that is made of many short ones: nobody could have
        // been heard.
        let publish = Input::Publish { publications: vec![Publication::one("x".into(), 0, None)] };
        check_claims(&publish, [], 600, false);
        check_claims(&publish, [300], 600, false);
        check_claims(&publish, (0..10).map(|n| n * 60), 600, false);
        // A drip: each gap alone is borne, and all of them together are a pause.
        check_claims(&publish, (0..30).map(|n| n * 20), 600, false);
        check_claims(&Input::Wake, (0..30).map(|n| n * 20), 600, true);
    }
}
