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
use crate::io::Output;
use crate::node::Node;
use crate::report::note::Note;
use crate::roles::Role;
use crate::roles::leader::progress::Progress;
use crate::roles::leader::{Leader, Retiring, Successor};
use crate::time::Time;
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

impl Node {
    /// Begins to hand over, if somebody is there to take over.
    pub(crate) fn yield_to_better(&mut self, now: Time) {
        let knobs = self.env.config.knobs();
        if !knobs.preempt && !self.env.demoted
            || self.env.leaving.is_some()
            || !self.env.preempted.is_over(now)
        {
            return;
        }
        let until = now + knobs.sync_timeout;
        let (first, most) = (2 * self.env.patience(), 4 * self.env.patience());
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(heir) =
            leader.heir().filter(|heir| leader.is_settled() && heir.contact.outranks(&self.env.me))
        else {
            return;
        };
        let into = Successor::Better(heir.contact.member.clone());
        leader.retiring = Some(Retiring { until, into });
        self.env.preempted.begin(now, first, most);
    }

    /// Hands over as soon as everybody has everything; goes on leading if that cannot be.
    pub(crate) fn yield_when_level(
        &mut self,
        now: Time,
        successor: &Member,
        out: &mut Vec<Output>,
    ) {
        let contiguous = self.env.log.contiguous();
        let Role::Leader(leader) = &mut self.role else { return };
        let is_there = leader
            .progress
            .get(&successor.id)
            .is_some_and(|progress| progress.contact.member == *successor);
        let is_late = leader.retiring.as_ref().is_none_or(|retiring| retiring.until <= now);
        if !is_there || !leader.failed.is_empty() || is_late && !leader.is_level(contiguous) {
            leader.retiring = None;
            return;
        }
        if leader.is_level(contiguous) {
            let epoch = leader.epoch.clone();
            let why = format!("it hands over to {}, which outranks it", successor.id);
            out.push(Output::Note(Note::StepDown { log: self.env.log.name(), epoch, why }));
            self.hand_over(now, successor, out);
        }
    }

    /// Tells everybody who leads next, and waits for its claim like everybody.
    pub(crate) fn hand_over(&mut self, now: Time, successor: &Member, out: &mut Vec<Output>) {
        let Role::Leader(leader) = &self.role else { return };
        let epoch = leader.epoch.clone();
        let members: Vec<Member> =
            leader.progress.values().map(|progress| progress.contact.member.clone()).collect();
        for member in members {
            self.env.send(
                now,
                &member,
                Message::Handover { successor: successor.id.clone(), epoch: epoch.clone() },
                out,
            );
        }
        self.become_waiting(now, &successor.id, out);
        if let Role::Candidate(candidate) = &mut self.role {
            candidate.handed_over = true;
        }
    }
}

/// Heartbeats in a row with which a member has to keep up to be steady.
const STEADY_BEATS: u32 = 2;
