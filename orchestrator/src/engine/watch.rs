//! Keeps an eye on the bench itself, which may run late, and on what the peers hold.
//!
//! A lag of more than a quarter of a heartbeat is written into the history and puts nothing in
//! doubt by itself: peers write down their own times, a fault is written down with the moment
//! before it and counts only once it was seen to work, so a late look at them sees the same. With
//! the short deadlines of tests a quarter is 25 ms, and on two busy cores a third of the runs that
//! are sound in all respects have a longer one; to call those unknown would teach people to run
//! things again until they pass. What a lag does tell is that the machine may have starved the
//! peers, too: where a run fails and the worst lag was long, the verdict says `machine`.

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

    /// Writes down what every peer holds, now and then: whether that stays flat is one of the
    /// promises.
    pub(super) fn sample(&mut self, now: Time) -> Result<(), WorldError> {
        // By the pace of the group, so that a run of a few seconds has enough of them for a trend.
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

/// The longest time between two looks at what the peers hold.
const SAMPLE_INTERVAL_MAX: Duration = Duration::from_secs(1);
