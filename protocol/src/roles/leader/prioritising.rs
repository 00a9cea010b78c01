//! A peer that is given another priority while it runs.
//!
//! The priority is part of what a view says of a member, so it becomes known as a new address does
//! (see `moving`): the peer closes its links and says it in the `HELLO` of the next ones, and the
//! leader numbers a view that has it. A leader whose own priority has fallen hands over to the best
//! of those who outrank it, once that one keeps up, as with the knob `preempt`; no election comes
//! between.
//!
//! Example: p3 leads p1 and p2, and is given the lowest priority. It numbers a view in which it
//! comes first; two heartbeats later it hands over to p2.

use crate::io::Output;
use crate::node::Node;
use crate::roles::Role;
use crate::time::Time;

impl Node {
    /// This peer has another explicit priority from now on.
    pub(crate) fn on_prioritised(&mut self, now: Time, explicit: i64, out: &mut Vec<Output>) {
        let was = std::mem::replace(&mut self.env.me.explicit, explicit);
        self.env.demoted = explicit < was || self.env.demoted && explicit == was;
        if was == explicit {
            return;
        }
        // Links that stand were introduced with the old one. Whoever leads next would take that for
        // the newer word.
        self.env.links.rename(self.env.me.clone(), out);
        match self.turn(now, out) {
            (Role::Leader(leader), turn) => leader.notice_moves(&turn),
            (Role::Joining(_) | Role::Follower(_) | Role::Candidate(_), _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Knobs;
    use crate::harness::{Harness, peer};
    use crate::id::Seq;
    use crate::io::Input;
    use crate::wire::message::{Heartbeat, HeartbeatAck, Message};
    use std::time::Duration;

    #[test]
    fn a_leader_that_is_outranked_hands_over_once_the_better_one_keeps_up() {
        let mut harness = Harness::leader(Knobs::fast());
        harness.admit(&peer(2));
        harness.acknowledge(&peer(2), Seq(2));
        harness.give(Input::Prioritised { explicit: i64::MIN });
        let held = harness.node.env.log.end();
        harness.greet(&peer(2), held);
        harness.rest(Duration::from_millis(20));
        let view = harness.node.env.log.view().expect("a view");
        assert_eq!((view.members[0].id(), view.members[0].explicit), (peer(1).id(), i64::MIN));
        harness.out.clear();
        let mut hands_over = false;
        for _ in 0..6 {
            harness.rest(harness.node.env.config.knobs().heartbeat_interval);
            let contiguous = harness.node.env.log.contiguous();
            harness.acknowledge(&peer(2), contiguous);
            for message in harness.told(&peer(2)) {
                hands_over |= matches!(&message, Message::Handover { successor, .. } if successor == peer(2).id());
                if let Message::Heartbeat(Heartbeat { beat, epoch, .. }) = message {
                    harness.say(
                        &peer(2),
                        Message::HeartbeatAck(HeartbeatAck { epoch, beat, contiguous, lag: 0 }),
                    );
                }
            }
        }
        assert!(hands_over, "it is {} still", harness.node.status().role);
    }
}
