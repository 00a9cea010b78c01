//! After the chaos: the core is healed, the peers outside of it are cut off or killed for good, and
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

/// The result of a run, as far as progress goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// One leader, one view of all live peers, and every published reading delivered everywhere.
    Settled,
    /// The group did not become one within the bound.
    Divided {
        /// The bound.
        within: Duration,
        /// The status of each peer at the end.
        stands: Vec<Status>,
    },
    /// It became one, but readings published after that were not delivered everywhere within the
    /// bound.
    Undelivered {
        /// The bound.
        within: Duration,
        /// The status of each peer at the end.
        stands: Vec<Status>,
    },
    /// It did not become or stay one, and could not: the remaining peers are no quorum (mode
    /// `primary`).
    Hopeless,
}

impl<W: Watch> Director<'_, W> {
    /// Ends every fault: cuts are mended, paused processes resume, and of the dead core peers all
    /// or none restart. Every peer outside of the core dies or is cut off for good.
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
            // A twin stays dead; two live holders of one name are no group that could settle.
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

    /// After the healing: the group becomes one, then every published reading reaches every core
    /// peer.
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
        // Messages in flight when the last links were cut may change the group once more: a peer
        // outside may be admitted, or accept a merge. If the group could not lose that peer,
        // progress could not be demanded.
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

    /// Waits until the group is one and has delivered everything, and then for a while longer;
    /// returns whether it still is one. None if it does not get there within the bound.
    fn stays_one(&mut self, within: Duration) -> Option<bool> {
        if !self.await_that(within, |director| director.is_one() && director.is_drained()) {
            return None;
        }
        // Calm has to last: two more time-outs, in which late effects appear, and at least half as
        // long as it took to come, so that the last third of the whole window is unaffected by
        // earlier events.
        let took = self.simulation.now().since(Time::from_micros(self.plan.chaos_us));
        let rest = self.simulation.now() + (2 * self.plan.knobs.heartbeat_timeout).max(took / 2);
        self.run_until(rest);
        // A peer outside may be admitted or removed at that very moment: messages in flight arrive
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
            // Peers that were leaving when the chaos ended may have been the last, or the ones
            // through which the others discover each other.
            if self.is_deserted() || !self.plan.hearing.is_whole() {
                self.revive_all();
            }
        }
        true
    }

    /// How long the group may take: one return for each part that it has split into, and one more
    /// for the last events before the healing.
    fn bound(&self) -> Duration {
        let knobs = &self.plan.knobs;
        let stands = self.stands();
        // A peer that follows no leader is a part of its own.
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

    /// Whether the mode permits the remaining core to continue, by the logs that it holds.
    fn is_hopeful(&self) -> bool {
        self.simulation.may_go_on(&self.living())
    }

    /// One leader, followed by all live peers, in one view of exactly them; and no peer is about to
    /// leave or to take over.
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

    /// Every published reading is in the log and was delivered everywhere.
    fn is_drained(&self) -> bool {
        let stands = self.stands();
        stands.iter().all(|status| {
            status.ordered == status.published && status.delivered == stands[0].delivered
        })
    }
}

/// How long a leader does not dial an address that it has dialled in vain.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// How much longer each return takes if hearing is asymmetric (`docs/GUARANTEES.md` says the same).
fn heard_one_way(knobs: &Knobs) -> Duration {
    // A leader forgets an address that it has dialled in vain; if that peer hears no one or cannot
    // dial either, it has to wait for the next try.
    FORGOTTEN + 8 * (knobs.heartbeat_timeout + knobs.heartbeat_interval)
}

/// The longest pause between two announcements of a joining peer.
const BACK_OFF_MAX: Duration = Duration::from_secs(2);

/// For how many sevenths of a heartbeat messages in flight at the end are waited for, at most.
const MOMENTS: u32 = 14;
