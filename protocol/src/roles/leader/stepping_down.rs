//! A leader that gives up: a later epoch has been met, or no quorum answers.
//!
//! Mode `primary`: a leader that no quorum has answered for four fifths of `heartbeat_timeout`
//! steps down before its members' own deadlines pass.

use std::time::Duration;

use crate::env::Env;
use crate::id::Member;
use crate::io::Output;
use crate::report::note::{Cause, Note};
use crate::roles::candidate::blocked::shortfall;
use crate::roles::leader::Leader;
use crate::roles::turn::{Flow, STAY, Turn, elect};
use crate::time::Time;
use crate::wire::message::{Message, Reason, Rejected};

impl Leader {
    /// Leads no longer, because a later epoch has been met; says so, and asks around.
    pub(crate) fn step_down(&self, turn: &mut Turn<'_>, why: String) -> Flow {
        self.note_step_down(turn, why);
        let promised = turn.env.promised.clone();
        for progress in self.progress.values() {
            let stale = Reason::Stale { promised: promised.clone() };
            turn.env.refuse(turn.now, &progress.contact.member, None, stale, turn.out);
        }
        elect(Cause::SteppedDown, None)
    }

    /// Says in the log that it leads no longer, and why.
    pub(crate) fn note_step_down(&self, turn: &mut Turn<'_>, why: String) {
        let (log, epoch) = (turn.env.log.name(), self.epoch.clone());
        turn.out.push(Output::Note(Note::StepDown { log, epoch, why }));
    }

    /// Leads no longer, because no quorum answers; says so, and asks around.
    fn yield_lead(&self, turn: &mut Turn<'_>, why: String) -> Flow {
        turn.env.tell_stepped_down(turn.now, self, why, turn.out);
        elect(Cause::SteppedDown, None)
    }

    /// Mode `primary`: steps down as soon as no quorum can be counted on.
    pub(crate) fn doubt_quorum(&self, turn: &mut Turn<'_>) -> Flow {
        match self.lacks_without(turn, None) {
            Some(why) => self.yield_lead(turn, why),
            None => STAY,
        }
    }

    /// Mode `primary`: what this leader would lack to go on, without a member if one is named.
    pub(crate) fn lacks_without(&self, turn: &Turn<'_>, gone: Option<&Member>) -> Option<String> {
        let patience = turn.env.config.quorum_timeout();
        if !turn.env.policy().needs_quorum() {
            return None;
        }
        let view_at = turn.env.log.view_at();
        let counted_on = |member: &Member| {
            let answers = || {
                self.is_answering(member, turn.now, patience)
                    || self.departed_with(member) >= Some(view_at)
            };
            Some(member) != gone && (*member == turn.env.me.member || answers())
        };
        shortfall(&turn.env.log.last_views(), turn.env.log.stable(), counted_on)
    }

    /// Whether a member has completed a round trip lately, and is not about to be removed.
    fn is_answering(&self, member: &Member, now: Time, patience: Duration) -> bool {
        let failed = self.failed.iter().any(|(contact, _)| contact.member == *member);
        self.progress_of(member).is_some_and(|progress| progress.lost_at(patience) > now) && !failed
    }
}

impl Env {
    pub(crate) fn tell_stepped_down(
        &mut self,
        now: Time,
        leader: &Leader,
        why: String,
        out: &mut Vec<Output>,
    ) {
        out.push(Output::Note(Note::StepDown {
            log: self.log.name(),
            epoch: leader.epoch.clone(),
            why,
        }));
        for progress in leader.progress.values() {
            // Dated by the epoch, like every word of a leader's own.
            let word = Message::Rejected(Rejected {
                ask: Some(leader.epoch.round),
                reason: Reason::NotLeader,
            });
            self.send(now, &progress.contact.member, word, out);
        }
    }
}
