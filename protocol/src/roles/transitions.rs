//! The only place where the role changes.

use std::ops::ControlFlow;

use crate::id::{Contact, Epoch};
use crate::io::Output;
use crate::log::Log;
use crate::node::Node;
use crate::roles::{Follower, Joining, Role};
use crate::time::Time;
use crate::turn::{Flow, Next, Turn};
use crate::wire::message::Election;

impl Node {
    /// Does what the role says that it becomes.
    pub(crate) fn go(&mut self, now: Time, flow: Flow, out: &mut Vec<Output>) {
        let ControlFlow::Break(next) = flow else { return };
        match next {
            Next::Join { target } => self.become_joining(now, target, out),
            Next::Elect { cause, missed, asker } => {
                self.become_candidate(now, cause, missed, out);
                if let Some(Election { candidate, ask, .. }) = asker {
                    self.answer(now, &candidate.member, &candidate, ask, out);
                }
            }
            Next::Promise { to, epoch } => self.promise(now, &to, &epoch, out),
            Next::AwaitHeir { heir } => {
                let led = matches!(self.role, Role::Leader(_));
                self.wait_for_heir(now, &heir, out);
                if let Role::Candidate(candidate) = &mut self.role {
                    candidate.handed_over = led;
                }
            }
            Next::Follow { leader, epoch, proven_at } => {
                self.become_member(now, proven_at, leader, epoch, out);
                self.say_leave(now, out);
            }
            Next::Renew { above } => self.renew(now, &above, out),
            Next::Stop(reason) => self.stop(reason, out),
        }
    }

    /// In no view from now on; asks `target`, where there is one. The log stays, until a better one
    /// replaces it.
    pub(crate) fn become_joining(
        &mut self,
        now: Time,
        target: Option<Contact>,
        out: &mut Vec<Output>,
    ) {
        self.deliver_last(out);
        self.env.install = None;
        self.env.witness = None;
        if self.env.log.view().is_none() {
            // A cut that never got its first view is nobody's log; two that went on from it would
            // fork it in silence.
            self.env.log = Log::empty();
        }
        let ask = self.env.fresh_ask();
        let target = target.filter(|contact| contact.member != self.env.me.member);
        let joining = Joining::asking(now, ask, target);
        self.env.wants_changed = true;
        let mut turn = Turn { now, env: &mut self.env, out };
        if let Some((leader, _)) = &joining.target {
            joining.ask_to_join(&mut turn, &leader.member);
        }
        self.role = Role::Joining(joining);
    }

    /// Follows a leader from now on.
    pub(crate) fn become_member(
        &mut self,
        now: Time,
        proven_at: Time,
        leader: Contact,
        epoch: Epoch,
        out: &mut Vec<Output>,
    ) {
        let mut turn = Turn { now, env: &mut self.env, out };
        self.role = Role::Follower(Follower::new(&mut turn, proven_at, leader, epoch));
    }

    /// One call, as a role sees it.
    pub(crate) fn turn<'a>(
        &'a mut self,
        now: Time,
        out: &'a mut Vec<Output>,
    ) -> (&'a mut Role, Turn<'a>) {
        (&mut self.role, Turn { now, env: &mut self.env, out })
    }
}
