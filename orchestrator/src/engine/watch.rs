//! Observes the test bench itself, whose loop may run late, and the resources of the peers.
//!
//! A lag of more than a quarter of a heartbeat is recorded in the history. It puts nothing in doubt
//! by itself: peers record their own times, and a fault is recorded with the moment before it and
//! counts only once its effect was confirmed, so a late look sees the same. With the short
//! deadlines of tests a quarter of a heartbeat is 25 ms, and on two busy cores a third of all sound
//! runs have a longer lag. Calling those runs unknown would teach people to repeat runs until they
//! pass. A lag does suggest that the machine starved the peers, too: if a run fails and its worst
//! lag was long, the verdict says `machine`.

use std::time::Duration;

use promises::world::GroundTruth;
use protocol::time::Time;

use super::Engine;
use crate::holdings::Holdings;
use crate::world::WorldError;

impl Engine<'_> {
    pub(super) fn note_lag(&mut self, now: Time) -> Result<(), WorldError> {
        let late = now.since(self.last_turn);
        self.last_turn = now;
        self.worst_lag = self.worst_lag.max(late);
        if late > self.scenario.cluster.knobs.heartbeat_interval / 4 {
            self.record_at(
                now,
                GroundTruth::Lag { us: u64::try_from(late.as_micros()).unwrap_or(u64::MAX) },
            )?;
        }
        Ok(())
    }

    /// Records the resources of every peer from time to time: one of the promises demands that they
    /// stay flat.
    pub(super) fn sample(&mut self, now: Time) -> Result<(), WorldError> {
        // At the pace of the group, so that a run of a few seconds has enough samples for a trend.
        let interval = SAMPLE_INTERVAL_MAX.min(2 * self.scenario.cluster.knobs.heartbeat_interval);
        if now.since(self.last_sample) < interval {
            return Ok(());
        }
        self.last_sample = now;
        for process in self.world.living() {
            if let Some((pid, Holdings { descriptors, memory })) = self.world.holdings(&process) {
                self.record_at(now, GroundTruth::Sample { process, pid, descriptors, memory })?;
            }
        }
        Ok(())
    }
}

/// The longest time between two samples of the peers' resources.
const SAMPLE_INTERVAL_MAX: Duration = Duration::from_secs(1);
