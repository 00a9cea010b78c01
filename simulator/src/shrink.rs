//! Shrinks a failing plan: removes everything that the failure does not need, and simplifies the
//! rest.
//!
//! Every decision of a run is keyed, so the rest of the plan keeps its meaning without the removed
//! part. A smaller plan is accepted only if it breaks the *same* promise with the same kind of
//! evidence; another failure is another matter.

mod cut;

use protocol::config::Knobs;

use crate::breach::Breach;
use crate::director::BadPlan;
use crate::hearing::Hearing;
use crate::plan::{Act, Fate, Plan};
use crate::run::{losses, run};
use crate::watch::Unwatched;
use crate::weather::Weather;

/// The smallest plan found that breaks the first promise that `plan` breaks, with the breach and
/// the number of runs needed; none if `plan` breaks no promise.
///
/// # Errors
/// [`BadPlan`], if the plan was edited and is invalid.
pub fn shrink(plan: &Plan) -> Result<Option<(Plan, Breach, u64)>, BadPlan> {
    let Some(breach) = run(plan, Unwatched)?.0.breaches.into_iter().next() else { return Ok(None) };
    let mut search = Search { best: plan.clone(), kind: breach.kind(), breach, runs: 1 };
    loop {
        let before = search.best.clone();
        search.fewer_peers();
        search.fewer(|plan| &mut plan.faults);
        search.fewer(|plan| &mut plan.outside);
        search.better_hearing();
        search.fewer_loads();
        search.simpler();
        search.shorter();
        search.rounder();
        search.exact_losses();
        search.simpler_shapes();
        if search.best == before || search.is_spent() {
            return Ok(Some((search.best, search.breach, search.runs)));
        }
    }
}

struct Search {
    best: Plan,
    breach: Breach,
    kind: String,
    runs: u64,
}

impl Search {
    /// Accepts the plan if it still fails in the same way.
    fn offer(&mut self, plan: Plan) -> bool {
        if plan == self.best || self.is_spent() || !owes_a_group(&plan) {
            return false;
        }
        self.runs += 1;
        let Ok((verdict, _)) = run(&plan, Unwatched) else { return false };
        let Some(breach) = verdict.breaches.into_iter().find(|breach| breach.kind() == self.kind)
        else {
            return false;
        };
        self.breach = breach;
        self.best = plan;
        true
    }

    /// Tries a change of the best plan.
    fn offer_with(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        let mut plan = self.best.clone();
        change(&mut plan);
        self.offer(plan)
    }

    fn is_spent(&self) -> bool {
        self.runs > RUNS_MAX
    }

    fn fewer_peers(&mut self) {
        for peer in (0..self.best.peers.len()).rev() {
            if self.best.peers.len() > 1 {
                self.offer(cut::without(&self.best, peer));
            }
        }
    }

    /// Removes whole ranges of a list first, halving their length: most of a plan is usually
    /// irrelevant.
    fn fewer<T>(&mut self, list: fn(&mut Plan) -> &mut Vec<T>) {
        let mut size = list(&mut self.best).len().max(1);
        loop {
            let mut at = 0;
            while at < list(&mut self.best).len() && !self.is_spent() {
                let taken = self.offer_with(|plan| {
                    let list = list(plan);
                    list.drain(at..(at + size).min(list.len()));
                });
                if !taken {
                    at += size;
                }
            }
            if size == 1 {
                return;
            }
            size = size.div_ceil(2);
        }
    }

    /// Tries a network with fewer obstacles; a network whose hearing does not connect the peers
    /// demands no group.
    fn better_hearing(&mut self) {
        self.offer_with(|plan| plan.hearing = Hearing::default());
        self.fewer(|plan| &mut plan.hearing.no_dial);
        self.fewer(|plan| &mut plan.hearing.no_unicast);
        self.fewer(|plan| &mut plan.hearing.no_broadcast);
        self.fewer(|plan| &mut plan.hearing.seeds);
    }

    fn fewer_loads(&mut self) {
        self.fewer(|plan| &mut plan.loads);
        for at in 0..self.best.loads.len() {
            for shrunk in [|n: u64| n.min(1), |n: u64| n / 2] {
                self.offer_with(|plan| plan.loads[at].bursts = shrunk(plan.loads[at].bursts));
                self.offer_with(|plan| plan.loads[at].burst = shrunk(plan.loads[at].burst));
            }
            self.offer_with(|plan| plan.loads[at].bytes = plan.loads[at].bytes.min(8));
            self.offer_with(|plan| plan.loads[at].otherwise.0 = 0);
            self.offer_with(|plan| plan.loads[at].uneven.0 = 0);
            self.offer_with(|plan| plan.loads[at].on = false);
        }
    }

    fn simpler(&mut self) {
        let simplifications: [fn(&mut Plan); 15] = [
            |plan| plan.weather = Weather { loss: plan.weather.loss, ..Weather::calm() },
            |plan| plan.weather = Weather::calm(),
            |plan| plan.bytes = false,
            |plan| plan.capacity = 1 << 20,
            |plan| plan.rude.0 = 0,
            |plan| plan.timer_late_us = 0,
            |plan| plan.turn_us = 0,
            |plan| plan.datagrams = 0,
            |plan| plan.revive = false,
            |plan| plan.peers.iter_mut().for_each(|peer| peer.priority = 0),
            |plan| plan.peers.iter_mut().for_each(|peer| peer.drift_ppm = 0),
            |plan| plan.knobs = plain(&plan.knobs),
            |plan| plan.knobs.preempt = false,
            |plan| plan.knobs.late_join = Knobs::default().late_join,
            |plan| plan.knobs.delivery = Knobs::default().delivery,
        ];
        for simplify in simplifications {
            self.offer_with(simplify);
        }
        for at in 0..self.best.outside.len() {
            self.offer_with(|plan| plan.outside[at].fate = Fate::Dead);
            self.offer_with(|plan| {
                plan.outside[at].fate = Fate::Apart { hears: vec![], heard_by: vec![] }
            });
        }
    }

    fn shorter(&mut self) {
        let last = self.best.faults.iter().map(|fault| fault.at_us).max().unwrap_or(0);
        for chaos_us in [last + 1_000_000, self.best.chaos_us / 2 + last / 2] {
            self.offer_with(|plan| plan.chaos_us = chaos_us.min(plan.chaos_us));
        }
        for at in 0..self.best.faults.len() {
            self.offer_with(|plan| plan.faults[at].past = 0);
            self.offer_with(|plan| plan.faults[at].later_us = 0);
            while cut::span(&mut self.best.faults[at].act).is_some_and(|span| *span > 1_000) {
                let halve = |plan: &mut Plan| {
                    cut::span(&mut plan.faults[at].act).into_iter().for_each(|span| *span /= 2)
                };
                if !self.offer_with(halve) {
                    break;
                }
            }
        }
    }

    /// Tries round numbers, as round as the failure permits.
    fn rounder(&mut self) {
        for grid in [1_000_000, 100_000, 10_000, 1_000] {
            self.offer_with(|plan| {
                cut::times(plan).into_iter().for_each(|time| cut::snap(time, grid))
            });
        }
        for nth in 0..cut::times(&mut self.best.clone()).len() {
            for grid in [1_000_000, 100_000, 10_000, 1_000] {
                if self.offer_with(|plan| {
                    cut::times(plan)
                        .into_iter()
                        .skip(nth)
                        .take(1)
                        .for_each(|time| cut::snap(time, grid))
                }) {
                    break;
                }
            }
        }
    }

    /// Replaces a probability of loss by the very datagrams that mattered.
    fn exact_losses(&mut self) {
        let by_chance =
            self.best.weather.loss.0 > 0
                || self.best.faults.iter().any(
                    |fault| matches!(fault.act, Act::Storm { weather, .. } if weather.loss.0 > 0),
                );
        if by_chance {
            self.runs += 1;
            let Ok(lost) = losses(&self.best) else { return };
            let taken = self.offer_with(|plan| {
                plan.lost.extend(lost);
                plan.weather.loss.0 = 0;
                for fault in &mut plan.faults {
                    if let Act::Storm { weather, .. } = &mut fault.act {
                        weather.loss.0 = 0;
                    }
                }
            });
            if !taken {
                return;
            }
        }
        self.fewer(|plan| &mut plan.lost);
    }

    fn simpler_shapes(&mut self) {
        let hosts = self.best.peers.len();
        for at in 0..self.best.faults.len() {
            let Act::Cut { shape, .. } = &self.best.faults[at].act else { continue };
            for simpler in shape.simpler(hosts) {
                let change = |plan: &mut Plan| {
                    if let Act::Cut { shape, .. } = &mut plan.faults[at].act {
                        *shape = simpler;
                    }
                };
                if self.offer_with(change) {
                    break;
                }
            }
        }
    }
}

/// The profile's knobs, keeping those that define the group.
fn plain(knobs: &Knobs) -> Knobs {
    let Knobs { mode, delivery, preempt, late_join, bootstrap, .. } = knobs.clone();
    let base = if knobs.heartbeat_interval == Knobs::fast().heartbeat_interval {
        Knobs::fast()
    } else {
        Knobs::default()
    };
    Knobs { mode, delivery, preempt, late_join, bootstrap, ..base }
}

/// Whether hearing connects the peers that have to form a group: otherwise a run without a group
/// proves nothing.
fn owes_a_group(plan: &Plan) -> bool {
    plan.hearing.is_whole()
        || plan.revive && plan.hearing.connects(&(0..plan.peers.len()).collect::<Vec<_>>())
}

/// Enough for any drawn plan, and an end for any other.
const RUNS_MAX: u64 = 3_000;

#[cfg(test)]
mod tests {
    use super::shrink;
    use crate::plan::Plan;

    #[test]
    fn a_plan_that_cannot_be_run_is_an_error() {
        let mut plan = Plan::drawn(1);
        plan.peers.clear();
        assert!(shrink(&plan).is_err());
    }
}
