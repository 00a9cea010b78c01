//! The clock of the events: CLOCK_MONOTONIC, which all processes of a machine share.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use protocol::time::Time;

/// The current time, on the clock of the events.
#[must_use]
pub fn now() -> Time {
    let spec = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux always has a monotonic clock");
    Time::from_micros(u64::try_from(Duration::from(spec).as_micros()).unwrap_or(u64::MAX))
}
