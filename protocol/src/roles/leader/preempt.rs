//! `preempt`: a leader hands over to a member that outranks it, without a gap and without an
//! election.
//!
//! Off by default, because a leader that works is worth more than one of a higher name. Where it is
//! on, the highest member takes over once it is *steady*: it has answered the last two heartbeats
//! before the next one was due, and by then held everything that stood in the log when they were
//! sent; and everybody else has answered the last one so, because whoever lags would keep the
//! others waiting. The leader then stops numbering, waits until everybody has everything, and says
//! `HANDOVER` to all: the one named claims, the others wait for it. What members send meanwhile
//! stays in their outboxes.
//!
//! A hand-over that comes to nothing costs no leader: before `HANDOVER` the old one just goes on,
//! after it everybody waits for the claim for as long as for any other, and then elects. The next
//! attempt hesitates, for a member may come back only to die again: at first for two, then for four
//! times as long as a silent leader is given.

use crate::id::Member;
use crate::roles::leader::progress::Progress;
use crate::roles::leader::{Leader, Retiring, Successor};
use crate::roles::turn::{Flow, Next, STAY, Turn, go};
use crate::wire::message::Message;

impl Leader {
    /// Notes who has kept up with the last heartbeat, just before the next one.
    pub(crate) fn note_steadiness(&mut self) {
        let Some((beat, high)) = self.last_beat else { return };
        for progress in self.progress.values_mut() {
            let keeps_up = progress.echo >= Some(beat) && progress.acked >= high;
            progress.steady = if keeps_up { (progress.steady + 1).min(STEADY_BEATS) } else { 0 };
        }
    }

    /// The one to hand over to, if it and everybody else is steady.
    fn heir(&self) -> Option<&Progress> {
        let others =
            self.progress.values().filter(|progress| !self.leavers.contains(progress.contact.id()));
        let heir = others.max_by_key(|progress| progress.contact.priority())?;
        (heir.steady >= STEADY_BEATS && self.progress.values().all(|progress| progress.steady > 0))
            .then_some(heir)
    }

    /// Whether nothing else is going on that a hand-over would disturb.
    fn is_settled(&self) -> bool {
        self.is_numbering()
            && !self.under_pressure
            && self.failed.is_empty()
            && self.batch_at.is_none()
            && self.merge_request.is_none()
    }
}

impl Leader {
    /// Begins to hand over, if somebody is there to take over.
    pub(crate) fn yield_to_better(&mut self, turn: &mut Turn<'_>) {
        let knobs = turn.env.config.knobs();
        if !knobs.preempt && !turn.env.demoted
            || turn.env.leaving.is_some()
            || !turn.env.preempted.is_over(turn.now)
        {
            return;
        }
        let until = turn.now + knobs.sync_timeout;
        let (first, most) = (2 * turn.env.patience(), 4 * turn.env.patience());
        let Some(heir) =
            self.heir().filter(|heir| self.is_settled() && heir.contact.outranks(&turn.env.me))
        else {
            return;
        };
        let into = Successor::Better(heir.contact.member.clone());
        self.retiring = Some(Retiring { until, into });
        turn.env.preempted.begin(turn.now, first, most);
    }

    /// Hands over as soon as everybody has everything; goes on leading if that cannot be.
    pub(crate) fn yield_when_level(&mut self, turn: &mut Turn<'_>, successor: &Member) -> Flow {
        let contiguous = turn.env.log.contiguous();
        let is_there = self.follows(successor);
        let is_late = self.retiring.as_ref().is_none_or(|retiring| retiring.until <= turn.now);
        if !is_there || !self.failed.is_empty() || is_late && !self.is_level(contiguous) {
            self.retiring = None;
            return STAY;
        }
        if !self.is_level(contiguous) {
            return STAY;
        }
        self.note_step_down(turn, format!("it hands over to {}, which outranks it", successor.id));
        self.hand_over(turn, successor)
    }

    /// Tells everybody who leads next, and waits for its claim like everybody.
    pub(crate) fn hand_over(&self, turn: &mut Turn<'_>, successor: &Member) -> Flow {
        for progress in self.progress.values() {
            let word =
                Message::Handover { successor: successor.id.clone(), epoch: self.epoch.clone() };
            turn.env.send(turn.now, &progress.contact.member, word, turn.out);
        }
        go(Next::AwaitHeir { heir: successor.id.clone() })
    }
}

/// Heartbeats in a row with which a member has to keep up to be steady.
const STEADY_BEATS: u32 = 2;
