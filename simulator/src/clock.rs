//! A machine's clock: it may run fast or slow, and it may jump ahead.
//!
//! A node sees only its own clock; records carry the simulation's time, so that the ground truth
//! stays true. A clock never runs backwards, because CLOCK_MONOTONIC does not.

use std::time::Duration;

use protocol::time::Time;

/// A clock, relative to the simulation's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// At this moment of the simulation…
    since: Time,
    /// … it showed this.
    shown: Time,
    /// How much faster it runs, in parts per million.
    drift_ppm: i32,
}

impl Clock {
    /// A clock that starts with the simulation's and runs this much faster, in parts per million.
    pub(crate) fn new(drift_ppm: i32) -> Self {
        Self {
            since: Time::ZERO,
            shown: Time::ZERO,
            drift_ppm: drift_ppm.clamp(-DRIFT_MAX, DRIFT_MAX),
        }
    }

    /// What it shows.
    pub(crate) fn read(&self, now: Time) -> Time {
        let passed = u64::try_from(now.since(self.since).as_micros()).unwrap_or(u64::MAX);
        self.shown
            + Duration::from_micros(if self.drift_ppm == 0 {
                passed
            } else {
                scale(passed, self.rate(), MILLION)
            })
    }

    /// The first moment of the simulation at which it shows at least this time.
    pub(crate) fn when(&self, shown: Time) -> Time {
        let ahead = u64::try_from(shown.since(self.shown).as_micros()).unwrap_or(u64::MAX);
        if self.drift_ppm == 0 {
            return self.since + Duration::from_micros(ahead);
        }
        let mut at = self.since + Duration::from_micros(scale(ahead, MILLION, self.rate()));
        // Rounded down twice; a step or two corrects that.
        while self.read(at) < shown {
            at += Duration::from_micros(1);
        }
        at
    }

    /// Lets it jump ahead.
    pub(crate) fn jump(&mut self, now: Time, by: Duration) {
        self.shown = self.read(now) + by;
        self.since = now;
    }

    fn rate(&self) -> u64 {
        MILLION.saturating_add_signed(i64::from(self.drift_ppm))
    }
}

fn scale(micros: u64, by: u64, per: u64) -> u64 {
    u64::try_from(u128::from(micros) * u128::from(by) / u128::from(per)).unwrap_or(u64::MAX)
}

const MILLION: u64 = 1_000_000;
/// No real clock drifts more; a hand-written plan may say any number.
const DRIFT_MAX: i32 = 500_000;

#[cfg(test)]
mod tests {
    use super::Clock;
    use protocol::time::Time;
    use std::time::Duration;

    #[test]
    fn a_deadline_is_met_at_the_first_moment_that_shows_it() {
        for drift in [0, 1, -1, 200, -50_000, 50_000, i32::MIN, i32::MAX] {
            let mut clock = Clock::new(drift);
            clock.jump(Time::from_micros(1_000), Duration::from_millis(7));
            for deadline in [1_234_u64, 9_999, 1_000_003, 77_777_777].map(Time::from_micros) {
                let at = clock.when(deadline);
                assert!(clock.read(at) >= deadline, "drift {drift}");
                let before = Time::from_micros(at.as_micros() - 1);
                assert!(
                    at == Time::from_micros(1_000) || clock.read(before) < deadline,
                    "drift {drift}: {at} is late for {deadline}"
                );
            }
        }
    }

    #[test]
    fn it_drifts_and_jumps_and_never_goes_back() {
        let mut clock = Clock::new(10_000);
        assert_eq!(clock.read(Time::from_micros(1_000_000)), Time::from_micros(1_010_000));
        clock.jump(Time::from_micros(1_000_000), Duration::from_secs(5));
        assert_eq!(clock.read(Time::from_micros(1_000_000)), Time::from_micros(6_010_000));
        assert_eq!(clock.read(Time::from_micros(2_000_000)), Time::from_micros(7_020_000));
    }
}
