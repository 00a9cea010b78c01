//! After the quiet phase, some members leave a group that is whole and at rest.
//!
//! During the chaos a leave may fail for many reasons. Here there is none, so every promise about
//! leaving is demanded. Only the laws judge it: the histories end with the quiet phase, which must
//! stay undisturbed.

use std::time::Duration;

use protocol::config::Config;
use protocol::draw::draw_below;

use super::Director;
use crate::plan::Fate;
use crate::watch::Watch;
use crate::weather::OneIn;

impl<W: Watch> Director<'_, W> {
    /// One or two members leave while the others publish.
    pub(super) fn bid_farewell(&mut self) {
        let living = self.living();
        let is_apart =
            self.plan.outside.iter().any(|outside| matches!(outside.fate, Fate::Apart { .. }));
        if living.len() < 2 || is_apart || !self.plan.hearing.is_whole() || self.plan.lies.is_some()
        {
            return;
        }
        let draw = |purpose: &str, bound: usize| {
            usize::try_from(draw_below(self.plan.seed, purpose, 0, bound as u64))
                .expect("below a number of peers")
        };
        let leader = living.iter().copied().find(|peer| {
            self.simulation.status(*peer).is_some_and(|status| status.role == "leader")
        });
        let one = leader
            .filter(|_| draw("whether the leader leaves last", 2) == 0)
            .unwrap_or(living[draw("who leaves last", living.len())]);
        let rest: Vec<usize> = living.into_iter().filter(|peer| *peer != one).collect();
        let other = (rest.len() > 1 && draw("how many leave last", 2) == 0)
            .then(|| rest[draw("who else leaves last", rest.len())]);
        let beat = self.plan.knobs.heartbeat_interval;
        let pause = beat / 8;
        let lateness =
            u32::try_from(draw("when the other leaves last", 24)).expect("a small number");

        let records = self.simulation.begin_farewell();
        self.publish_last(one);
        self.simulation.leave(one);
        let Ok(config) = Config::try_from(self.plan.knobs.clone()) else { return };
        let linger = (self.plan.knobs.join_batch * 3).max(Duration::from_millis(60));
        let most = 2 * (linger + config.outcome_timeout() + beat) + lateness * pause;
        let give_up = self.simulation.now() + most;
        let (mut turn, mut leavers) = (0, vec![one]);
        while self.simulation.now() < give_up
            && leavers.iter().any(|peer| self.simulation.is_live(*peer))
        {
            let next = (self.simulation.now() + pause).min(give_up);
            self.run_until(next);
            for peer in rest
                .iter()
                .copied()
                .filter(|peer| !leavers.contains(peer) && self.simulation.is_live(*peer))
                .collect::<Vec<_>>()
            {
                self.publish_last(peer);
            }
            if let Some(other) = other.filter(|_| turn == lateness) {
                self.simulation.leave(other);
                leavers.push(other);
            }
            turn += 1;
        }
        self.simulation.end_farewell(&leavers, records);
    }

    fn publish_last(&mut self, peer: usize) {
        let (payload, guarantee) = self.reading(16, OneIn(3));
        self.simulation.publish(peer, payload, guarantee);
    }
}
