//! After the chaos: what is to be whole is healed, what is to stay broken is broken for good, and
//! the core owes progress.

use std::collections::BTreeSet;
use std::time::Duration;

use promises::fault::Identity;
use protocol::config::Knobs;
use protocol::draw::draw;
use protocol::id::PeerId;
use protocol::status::Status;
use protocol::time::Time;

use super::Director;
use crate::plan::Fate;
use crate::truth::returned_within;
use crate::watch::Watch;
use crate::weather::OneIn;

/// How a run ended, as far as progress goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// One leader, one view of all who live, and everything published delivered everywhere.
    Settled,
    /// The group did not become one within the bound.
    Divided {
        /// The bound.
        within: Duration,
        /// Where each peer stood at its end.
        stands: Vec<Status>,
    },
    /// It became one, but what was published after that was not delivered everywhere within the
    /// bound.
    Undelivered {
        /// The bound.
        within: Duration,
        /// Where each peer stood at its end.
        stands: Vec<Status>,
    },
    /// It did not become or stay one, and could not: what is left of it is no quorum (mode
    /// `primary`).
    Hopeless,
}

impl<W: Watch> Director<'_, W> {
    /// Ends every fault: what was cut is whole, who was stopped goes on, and of the dead in the
    /// core all or none come back. Whoever is outside of the core dies, or is cut off, for good.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.simulation.end_active_faults();
        self.simulation.mend_all();
        self.simulation.calm();
        (0..self.simulation.hosts()).for_each(|peer| self.simulation.resume(peer));
        self.leave_outside();
        if self.plan.revive || self.is_deserted() {
            self.revive_all();
        }
    }

    fn leave_outside(&mut self) {
        let core = self.core();
        for outside in &self.plan.outside {
            let peer = outside.peer;
            match &outside.fate {
                Fate::Dead => self.simulation.kill(peer),
                Fate::Apart { hears, heard_by } => {
                    let from_core =
                        core.iter().filter(|one| !hears.contains(one)).map(|&one| (one, peer));
                    let to_core =
                        core.iter().filter(|one| !heard_by.contains(one)).map(|&one| (peer, one));
                    let pairs: Vec<(usize, usize)> = from_core.chain(to_core).collect();
                    self.simulation.cut_off(&[peer], &pairs);
                }
            }
        }
    }

    /// The hosts that can all reach one another from now on.
    pub(super) fn core(&self) -> Vec<usize> {
        (0..self.simulation.hosts())
            .filter(|peer| !self.plan.outside.iter().any(|outside| outside.peer == *peer))
            .collect()
    }

    pub(super) fn living(&self) -> Vec<usize> {
        self.core().into_iter().filter(|&peer| self.simulation.is_live(peer)).collect()
    }

    fn is_deserted(&self) -> bool {
        self.living().is_empty()
    }

    fn revive_all(&mut self) {
        for peer in self.core() {
            // A twin has had its say; two living holders of one name are no group that could
            // settle.
            if !self.plan.peers[..peer].iter().any(|other| other.name == self.plan.peers[peer].name)
            {
                let identity = if draw(self.plan.seed, "revived as", peer as u64) & 1 == 0 {
                    Identity::Same
                } else {
                    Identity::Fresh
                };
                self.simulation.restart(peer, identity);
            }
        }
    }

    /// After the healing: the group becomes one, then everything published reaches everybody.
    pub(super) fn await_progress(&mut self) -> Progress {
        let within = self.bound();
        if !self.await_that(within, Self::is_one) {
            return self.unless_hopeless(Progress::Divided { within, stands: self.stands() });
        }
        self.simulation.is_whole();
        self.is_whole = true;
        for peer in self.living() {
            let (payload, guarantee) = self.reading(16, OneIn(0));
            self.simulation.publish(peer, payload, guarantee);
        }
        // What was under way when the last links were cut may change the group once more: somebody
        // outside may be let in, or say yes to a merge. Were it one too many to lose, nothing more
        // could be asked for.
        let calm = self.stays_one(within);
        if calm != Some(true) && (calm.is_none() || self.stays_one(within) != Some(true)) {
            let (stands, is_one) = (self.stands(), self.is_one());
            let failed = if is_one {
                Progress::Undelivered { within, stands }
            } else {
                Progress::Divided { within, stands }
            };
            return self.unless_hopeless(failed);
        }
        self.simulation.is_at_rest(&self.living());
        Progress::Settled
    }

    /// Waits until the group is one and has delivered everything, and for a while longer: whether
    /// it is one still. Nothing when it does not come to that within the bound.
    fn stays_one(&mut self, within: Duration) -> Option<bool> {
        if !self.await_that(within, |director| director.is_one() && director.is_drained()) {
            return None;
        }
        // Calm has to last: two more time-outs, in which anything late shows itself, and at least
        // half as long as it took to come, so that the last third of the whole has nothing to do
        // with what was before.
        let took = self.simulation.now().since(Time::from_micros(self.plan.chaos_us));
        let rest = self.simulation.now() + (2 * self.plan.knobs.heartbeat_timeout).max(took / 2);
        self.run_until(rest);
        // Somebody outside may be let in or put out at that very moment: what is under way arrives
        // first.
        let moment = self.plan.knobs.heartbeat_interval / 7;
        for _ in 0..MOMENTS {
            if !self.is_one() || self.is_drained() {
                break;
            }
            self.run_until(self.simulation.now() + moment);
        }
        Some(self.is_one())
    }

    fn unless_hopeless(&self, failed: Progress) -> Progress {
        if self.is_hopeful() { failed } else { Progress::Hopeless }
    }

    fn await_that(&mut self, within: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let give_up = self.simulation.now() + within;
        while !holds(self) {
            if self.simulation.now() >= give_up {
                return false;
            }
            let next = self.simulation.now() + self.plan.knobs.heartbeat_interval;
            self.run_until(next.min(give_up));
            // Those who were leaving when the chaos ended may have been the last, or those by whom
            // the others hear of each other.
            if self.is_deserted() || !self.plan.hearing.is_whole() {
                self.revive_all();
            }
        }
        true
    }

    /// How long the group may take: one return for each part that it has fallen into, and one more
    /// for what happened just before the healing.
    fn bound(&self) -> Duration {
        let knobs = &self.plan.knobs;
        let stands = self.stands();
        // Whoever follows nobody is a part of its own.
        let leaders: BTreeSet<&PeerId> =
            stands.iter().filter_map(|status| status.leader.as_ref()).collect();
        let alone = stands.iter().filter(|status| status.leader.is_none()).count();
        let parts =
            u32::try_from(leaders.len() + alone).expect("a plan has at most {PEERS_MAX} peers");
        let hearing =
            if self.plan.hearing.is_whole() { Duration::ZERO } else { heard_one_way(knobs) };
        (returned_within(knobs) + hearing) * (1 + parts) + BACK_OFF_MAX * 2
    }

    fn stands(&self) -> Vec<Status> {
        self.living().into_iter().filter_map(|peer| self.simulation.status(peer)).collect()
    }

    /// Whether the mode lets what is left of the core go on, by what they hold.
    fn is_hopeful(&self) -> bool {
        self.simulation.may_go_on(&self.living())
    }

    /// One leader, followed by all who live, in one view of exactly them; and nobody is about to
    /// go, or to take over.
    fn is_one(&self) -> bool {
        let stands = self.stands();
        let Some(first) = stands.first() else { return false };
        let mut living: Vec<&PeerId> = stands.iter().map(|status| &status.peer_id).collect();
        living.sort();
        let mut members: Vec<&PeerId> = first.members.iter().collect();
        members.sort();
        // Views list their members lowest priority first.
        let is_settled = !self.plan.knobs.preempt || first.leader.as_ref() == first.members.last();
        living == members
            && is_settled
            && stands.iter().filter(|status| status.role == "leader").count() == 1
            && stands.iter().all(|status| {
                matches!(status.role.as_str(), "leader" | "member")
                    && !status.leaving
                    && status.leader == first.leader
                    && status.epoch == first.epoch
                    && status.view_id == first.view_id
                    && status.members == first.members
            })
    }

    /// Everything published stands in the log and was handed over everywhere.
    fn is_drained(&self) -> bool {
        let stands = self.stands();
        stands.iter().all(|status| {
            status.ordered == status.published && status.delivered == stands[0].delivered
        })
    }
}

/// How long a leader dials nobody that it has dialled in vain.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// How much longer each return takes where hearing is not the same both ways (`docs/GUARANTEES.md`
/// says the same).
fn heard_one_way(knobs: &Knobs) -> Duration {
    // A leader forgets whoever it has dialled in vain; where that one hears nobody or cannot dial
    // either, it has to wait for the next try.
    FORGOTTEN + 8 * (knobs.heartbeat_timeout + knobs.heartbeat_interval)
}

/// The longest pause between two announcements of a joining peer.
const BACK_OFF_MAX: Duration = Duration::from_secs(2);

/// For how many sevenths of a heartbeat what is under way in the end is waited for, at most.
const MOMENTS: u32 = 14;
