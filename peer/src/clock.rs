//! The only module that reads clocks.
//!
//! Deadlines and events use CLOCK_MONOTONIC, which is the same for the whole machine: the timelines
//! of several peers merge without any synchronisation. Wall-clock time is for people only; no
//! decision depends on it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use protocol::time::Time;
use time::OffsetDateTime;

/// CLOCK_MONOTONIC.
#[must_use]
pub fn now() -> Time {
    let spec = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux always has CLOCK_MONOTONIC");
    let micros = Duration::from(spec).as_micros();
    Time::from_micros(
        u64::try_from(micros).expect("the machine has been up for less than half a million years"),
    )
}

/// Microseconds since 1970 (UTC); 0 if the clock is before 1970.
#[must_use]
pub fn utc_micros() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// A duration in its largest unit, for people.
#[must_use]
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A time in microseconds since 1970, displayed like `2026-11-23T08:15:02.345678Z` (RFC 3339).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(pub u64);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The number may come from another peer; a time beyond the four-digit years is shown as the
        // last one within.
        let micros = self.0.min(LAST_MICROS);
        let seconds = i64::try_from(micros / 1_000_000).expect("clamped to the year 9999");
        let at = OffsetDateTime::from_unix_timestamp(seconds).expect("clamped to the year 9999");
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            micros % 1_000_000
        )
    }
}

/// 9999-12-31T23:59:59.999999Z.
const LAST_MICROS: u64 = 253_402_300_799_999_999;

#[cfg(test)]
mod tests {
    use super::{Stamp, now, utc_micros};

    #[test]
    fn stamps_are_rfc_3339() {
        assert_eq!(Stamp(0).to_string(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(Stamp(1_795_421_702_345_678).to_string(), "2026-11-23T08:15:02.345678Z");
        assert_eq!(Stamp(u64::MAX).to_string(), "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn the_clocks_go_forward() {
        let first = now();
        assert!(now() >= first);
        assert!(
            utc_micros() > 1_700_000_000_000_000,
            "the wall clock stands before this was written"
        );
    }
}
