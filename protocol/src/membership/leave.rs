//! Leaving on request: a member waits for its readings to be numbered and for the view without it,
//! a leader hands over first.
//!
//! When everyone leaves at once nobody should inherit the group just to pass it on: a leader
//! lingers for the others' `LEAVE`s, skips those that are leaving, and goes without a successor
//! where nobody stays.

use std::time::Duration;

use crate::env::Env;
use crate::id::Oseq;
use crate::io::{Output, StopReason};
use crate::node::Node;
use crate::report::note::Note;
use crate::roles::follower::Follower;
use crate::roles::leader::{Leader, Retiring, Successor};
use crate::roles::turn::{Flow, Next, STAY, Turn, go};
use crate::roles::{Leaving, Role};
use crate::time::Time;
use crate::wire::message::{Message, Reason};

impl Node {
    pub(crate) fn on_leave(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.env.leaving.is_some() {
            return;
        }
        out.push(Output::Note(Note::Leave));
        let knobs = self.env.config.knobs();
        let linger = (knobs.join_batch * 3).max(LINGER_LEAST);
        let until = now + linger + self.env.config.outcome_timeout() + knobs.heartbeat_interval;
        self.env.leaving = Some(Leaving { linger_until: now + linger, until });
        match &self.role {
            // Between two groups it has readings that the one it comes from has numbered and the
            // other one has not: it goes in first.
            Role::Joining(_) if self.env.been_member && self.env.outbox.last() > Oseq::ZERO => {}
            // Nobody counts on a peer that is in no view, and nobody is there to be told by a
            // candidate that is alone.
            Role::Joining(_) => self.stop(StopReason::Left, out),
            Role::Candidate(candidate) if candidate.awaited().next().is_none() => {
                self.stop(StopReason::Left, out)
            }
            Role::Follower(follower) => follower.say_leave(now, &mut self.env, out),
            Role::Candidate(_) | Role::Leader(_) => {}
        }
    }

    pub(crate) fn leave_in_time(&mut self, now: Time, out: &mut Vec<Output>) {
        let Some(leaving) = self.env.leaving else { return };
        if leaving.until <= now {
            self.stop(StopReason::LeftUnconfirmed, out);
            return;
        }
        match self.turn(now, out) {
            (Role::Leader(leader), mut turn) => {
                let flow = leader.appoint_successor(&mut turn, leaving);
                self.go(now, flow, out);
            }
            (Role::Joining(_) | Role::Follower(_) | Role::Candidate(_), _) => {}
        }
    }
}

impl Follower {
    /// Tells the leader, once all of its readings stand in the log: a leader that takes none for a
    /// while would let it go without them. Said again on each new link and after each change of
    /// leader.
    pub(crate) fn say_leave(&self, now: Time, env: &mut Env, out: &mut Vec<Output>) {
        if env.leaving.is_some() && !env.outbox.waits() {
            env.send(now, &self.leader.member, Message::Leave, out);
        }
    }
}

impl Leader {
    /// Has lingered for the others that leave: hands over to the best of those who stay.
    fn appoint_successor(&mut self, turn: &mut Turn<'_>, leaving: Leaving) -> Flow {
        if self.is_retiring() || leaving.linger_until > turn.now {
            return STAY;
        }
        let staying = self
            .progress
            .values()
            .filter(|progress| progress.adopted && !self.leavers.contains(progress.contact.id()));
        match staying.max_by_key(|progress| progress.contact.priority()) {
            Some(progress) => {
                let into = Successor::Member(progress.contact.member.clone());
                let until = turn.now + turn.env.config.knobs().sync_timeout;
                self.retiring = Some(Retiring { until, into });
            }
            None if self.progress.is_empty() => return go(Next::Stop(StopReason::Left)),
            // The others leave too: the view without them is on its way, and after it this peer is
            // alone.
            None => {
                let linger_until = turn.now + LINGER_LEAST;
                turn.env.leaving = Some(Leaving { linger_until, ..leaving });
            }
        }
        STAY
    }

    /// A retiring leader goes as soon as everyone has everything.
    pub(crate) fn retire(&mut self, turn: &mut Turn<'_>) -> Flow {
        let contiguous = turn.env.log.contiguous();
        let Some(retiring) = &self.retiring else { return STAY };
        let waits = !self.is_level(contiguous) && retiring.until > turn.now;
        match retiring.into.clone() {
            Successor::Better(successor) => self.yield_when_level(turn, &successor),
            Successor::Member(_) | Successor::Group(_) if waits => STAY,
            Successor::Member(successor) => {
                let why = format!("it leaves and hands over to {}", successor.id);
                self.note_step_down(turn, why);
                self.hand_over(turn, &successor)
            }
            Successor::Group(into) => {
                let why = format!("the group becomes part of that of {}", into.id());
                self.note_step_down(turn, why);
                let round = Some(self.epoch.round);
                for progress in self.progress.values() {
                    let member = &progress.contact.member;
                    turn.env.refuse(turn.now, member, round, Reason::NotLeader, turn.out);
                }
                turn.env.merging = true;
                go(Next::Join { target: Some(into) })
            }
        }
    }
}

/// How long a leader that leaves waits for others that leave as well.
const LINGER_LEAST: Duration = Duration::from_millis(60);
