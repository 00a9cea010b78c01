//! The only place where the role changes.

use std::ops::ControlFlow;

use crate::io::Output;
use crate::node::Node;
use crate::roles::Role;
use crate::time::Time;
use crate::turn::{Flow, Next, Turn};

impl Node {
    /// Does what the role says that it becomes.
    pub(crate) fn go(&mut self, now: Time, flow: Flow, out: &mut Vec<Output>) {
        let ControlFlow::Break(next) = flow else { return };
        match next {
            Next::Join { target } => self.become_joining(now, target, out),
            Next::Elect { cause, missed } => self.become_candidate(now, cause, missed, out),
            Next::Wait { on } => self.become_waiting(now, &on, out),
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

    /// One call, as a role sees it.
    pub(crate) fn turn<'a>(
        &'a mut self,
        now: Time,
        out: &'a mut Vec<Output>,
    ) -> (&'a mut Role, Turn<'a>) {
        (&mut self.role, Turn { now, env: &mut self.env, out })
    }
}
