//! The end of a run: waits for open expectations, then for the group to come to rest.

use std::time::Duration;

use promises::world::GroundTruth;

use super::{Engine, Halt};
use crate::expect::{Outcome, shown};

impl Engine<'_> {
    /// Heals everything; then the group has to become one, and new readings have to reach every
    /// peer.
    pub(super) fn settle(&mut self) -> Result<bool, Halt> {
        if self.observed.moving().is_empty() {
            return Ok(false);
        }
        self.console.phase("comes to rest");
        let from = self.world.now();
        let rest = self.settle_within(self.default_limit());
        let to = self.world.now();
        let core = self.observed.moving();
        self.record_at(to, GroundTruth::Quiet { from, to, core })?;
        rest.map(|()| true)
    }

    pub(super) fn settle_within(&mut self, limit: Duration) -> Result<(), Halt> {
        let unrest = |words| Halt::Unrest { limit: shown(limit), words };
        self.wait_until(limit, "one leader and one view everywhere", Self::stable)
            .and_then(|rest| rest.map_err(unrest))?;
        self.flowing = false;
        for process in self.observed.moving() {
            self.publish(&process, 0);
        }
        self.wait_until(limit, "everything published to be delivered everywhere", Self::drained)
            .and_then(|rest| rest.map_err(unrest))
    }

    pub(super) fn await_expectations(&mut self) -> Result<(), Halt> {
        self.console.phase("waits for expectations");
        loop {
            let now = self.world.now();
            let waits = |outcome: &Outcome| matches!(outcome, Outcome::Pending(Some(_)));
            let pending = self.examine(now, false).iter().filter(|outcome| waits(outcome)).count();
            if pending == 0 {
                return Ok(());
            }
            // A search through the whole history is expensive; a few dozen per second are enough.
            self.wait_until(EXAMINE_INTERVAL, &format!("{pending} expectations"), |_| {
                Err(String::new())
            })?
            .unwrap_or_default();
        }
    }
}

/// How often open expectations are examined.
const EXAMINE_INTERVAL: Duration = Duration::from_millis(30);
