//! Shrinking: taking away from a failing plan whatever it does not need to fail.
//!
//! Every decision of a run is keyed, so the rest of the plan means the same without the part. A smaller plan is taken
//! only if it breaks the *same* promise; another failure is another matter.

use crate::director::BadPlan;
use crate::plan::Plan;
use crate::run::{Breach, run};
use crate::watch::Unwatched;
use crate::weather::Weather;

/// The smallest plan found that breaks the promise that `plan` breaks first, with the breach and how many runs that
/// took; nothing if `plan` breaks none.
///
/// # Errors
/// [`BadPlan`], if it was edited into one.
pub fn shrink(plan: &Plan) -> Result<Option<(Plan, Breach, u64)>, BadPlan> {
    let Some(breach) = run(plan, Unwatched)?.0.breaches.into_iter().next() else { return Ok(None) };
    let mut search = Search { best: plan.clone(), breach, runs: 1 };
    loop {
        let before = search.best.clone();
        search.fewer_faults();
        search.fewer_loads();
        search.fewer_peers();
        search.simpler();
        search.shorter();
        if search.best == before || search.runs > RUNS_MAX {
            return Ok(Some((search.best, search.breach, search.runs)));
        }
    }
}

struct Search {
    best: Plan,
    breach: Breach,
    runs: u64,
}

impl Search {
    /// Takes the plan if it still fails in the same way.
    fn offer(&mut self, plan: Plan) -> bool {
        if plan == self.best || self.runs > RUNS_MAX {
            return false;
        }
        self.runs += 1;
        let Ok((verdict, _)) = run(&plan, Unwatched) else { return false };
        let Some(breach) = verdict.breaches.into_iter().find(|breach| breach.promise == self.breach.promise) else { return false };
        self.breach = breach;
        self.best = plan;
        true
    }

    fn fewer_faults(&mut self) {
        // Runs of faults first, halving: most of a plan is usually beside the point.
        let mut run = self.best.faults.len().max(1);
        loop {
            let mut at = 0;
            while at < self.best.faults.len() {
                let mut plan = self.best.clone();
                plan.faults.drain(at..(at + run).min(plan.faults.len()));
                if !self.offer(plan) {
                    at += run;
                }
            }
            if run == 1 {
                return;
            }
            run = run.div_ceil(2);
        }
    }

    fn fewer_loads(&mut self) {
        for at in (0..self.best.loads.len()).rev() {
            let mut plan = self.best.clone();
            plan.loads.remove(at);
            self.offer(plan);
        }
        for at in 0..self.best.loads.len() {
            for shrunk in [|n: u64| n.min(1), |n: u64| n / 2] {
                let mut plan = self.best.clone();
                plan.loads[at].bursts = shrunk(plan.loads[at].bursts);
                self.offer(plan);
                let mut plan = self.best.clone();
                plan.loads[at].burst = shrunk(plan.loads[at].burst);
                self.offer(plan);
            }
        }
    }

    /// The last peer goes, with its readings; faults that name it find nobody.
    fn fewer_peers(&mut self) {
        while self.best.peers.len() > 1 {
            let mut plan = self.best.clone();
            plan.peers.pop();
            let peers = plan.peers.len();
            plan.loads.retain(|load| load.peer < peers);
            if !self.offer(plan) {
                return;
            }
        }
    }

    fn simpler(&mut self) {
        let simplifications: [fn(&mut Plan); 8] = [
            |plan| plan.weather = Weather::calm(),
            |plan| plan.bytes = false,
            |plan| plan.capacity = 1 << 20,
            |plan| plan.rude.0 = 0,
            |plan| plan.timer_late_us = 0,
            |plan| plan.turn_us = 0,
            |plan| plan.revive = false,
            |plan| plan.peers.iter_mut().for_each(|peer| peer.priority = 0),
        ];
        for simplify in simplifications {
            let mut plan = self.best.clone();
            simplify(&mut plan);
            self.offer(plan);
        }
    }

    fn shorter(&mut self) {
        let last = self.best.faults.iter().map(|fault| fault.at_us).max().unwrap_or(0);
        for chaos_us in [last + 1_000_000, self.best.chaos_us / 2 + last / 2] {
            let mut plan = self.best.clone();
            plan.chaos_us = chaos_us.min(plan.chaos_us);
            self.offer(plan);
        }
    }
}

/// Enough for any plan that is drawn, and an end for any other.
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
