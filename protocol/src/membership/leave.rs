//! Leaving on request: a member waits for its readings to be numbered and for the view without it,
//! a leader hands over first.
//!
//! When everyone leaves at once nobody should inherit the group just to pass it on: a leader
//! lingers for the others' `LEAVE`s, skips those that are leaving, and goes without a successor
//! where nobody stays.

use std::time::Duration;

use crate::env::Env;
use crate::id::{Member, Oseq};
use crate::io::{Output, StopReason};
use crate::node::Node;
use crate::report::note::Note;
use crate::roles::leader::{Retiring, Successor};
use crate::roles::{Follower, Leaving, Role};
use crate::time::Time;
use crate::turn::Turn;
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

    /// See [`Follower::say_leave`].
    pub(crate) fn say_leave(&mut self, now: Time, out: &mut Vec<Output>) {
        if let Role::Follower(follower) = &self.role {
            follower.say_leave(now, &mut self.env, out);
        }
    }

    pub(crate) fn leave_in_time(&mut self, now: Time, out: &mut Vec<Output>) {
        let Some(leaving) = self.env.leaving else { return };
        if leaving.until <= now {
            self.stop(StopReason::LeftUnconfirmed, out);
            return;
        }
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.is_retiring() || leaving.linger_until > now {
            return;
        }
        let staying = leader
            .progress
            .values()
            .filter(|progress| progress.adopted && !leader.leavers.contains(progress.contact.id()));
        match staying.max_by_key(|progress| progress.contact.priority()) {
            Some(progress) => {
                let into = Successor::Member(progress.contact.member.clone());
                leader.retiring =
                    Some(Retiring { until: now + self.env.config.knobs().sync_timeout, into });
            }
            None if leader.progress.is_empty() => self.stop(StopReason::Left, out),
            // The others leave too: the view without them is on its way, and after it this peer is
            // alone.
            None => {
                self.env.leaving = Some(Leaving { linger_until: now + LINGER_LEAST, ..leaving });
            }
        }
    }

    /// A retiring leader goes as soon as everyone has everything.
    pub(crate) fn retire(&mut self, now: Time, out: &mut Vec<Output>) {
        let contiguous = self.env.log.contiguous();
        let Role::Leader(leader) = &self.role else { return };
        let Some(retiring) = &leader.retiring else { return };
        let waits = !leader.is_level(contiguous) && retiring.until > now;
        let epoch = leader.epoch.clone();
        let progress: Vec<Member> =
            leader.progress.values().map(|progress| progress.contact.member.clone()).collect();
        match retiring.into.clone() {
            Successor::Better(successor) => self.yield_when_level(now, &successor, out),
            Successor::Member(_) | Successor::Group(_) if waits => {}
            Successor::Member(successor) => {
                let why = format!("it leaves and hands over to {}", successor.id);
                out.push(Output::Note(Note::StepDown { log: self.env.log.name(), epoch, why }));
                self.hand_over(now, &successor, out);
            }
            Successor::Group(leader) => {
                let why = format!("the group becomes part of that of {}", leader.id());
                out.push(Output::Note(Note::StepDown {
                    log: self.env.log.name(),
                    epoch: epoch.clone(),
                    why,
                }));
                for member in progress {
                    self.env.refuse(now, &member, Some(epoch.round), Reason::NotLeader, out);
                }
                self.env.merging = true;
                self.become_joining(now, Some(leader), out);
            }
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

/// How long a leader that leaves waits for others that leave as well.
const LINGER_LEAST: Duration = Duration::from_millis(60);
