//! The clocks: the monotonic clock of the events (from `chaos`), and the wall clock, for folder
//! names and for the times of log lines.

pub use chaos::clock::now;
use protocol::time::Time;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// The wall clock in the form of folder names: `20261123T081502Z`, with milliseconds so that two
/// runs never share a name.
#[must_use]
pub fn stamp() -> String {
    let format =
        format_description!("[year][month][day]T[hour][minute][second].[subsecond digits:3]Z");
    OffsetDateTime::now_utc().format(format).expect("the format has only numbers")
}

/// The wall clock in the form of readings (RFC 3339).
#[must_use]
pub fn rfc3339() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).expect("the year has four digits")
}

/// Converts the times of log lines into times of events.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    /// The difference between the wall clock and the monotonic clock, in microseconds.
    ahead: i128,
}

impl WallClock {
    /// Compares the two clocks.
    #[must_use]
    pub fn measure() -> Self {
        Self {
            ahead: OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000
                - i128::from(now().as_micros()),
        }
    }

    /// When a log line was written, if it begins with a time.
    #[must_use]
    pub fn time_of(&self, line: &str) -> Option<Time> {
        let stamp = line.split(' ').next()?;
        let wall = OffsetDateTime::parse(stamp, &Rfc3339).ok()?;
        u64::try_from(wall.unix_timestamp_nanos() / 1_000 - self.ahead).ok().map(Time::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use super::{WallClock, now, rfc3339, stamp};
    use std::time::Duration;

    #[test]
    fn a_line_written_now_has_the_time_of_now() {
        let clock = WallClock::measure();
        let line = format!("{} INFO Peer peer1 is ready", rfc3339());
        let told = clock.time_of(&line).unwrap();
        assert!(
            now().since(told) < Duration::from_secs(1)
                && told.since(now()) < Duration::from_secs(1)
        );
        assert_eq!(clock.time_of("no time here"), None);
    }

    #[test]
    fn stamps_sort_like_time_and_fit_a_file_name() {
        let stamp = stamp();
        assert_eq!(stamp.len(), "20261123T081502.123Z".len());
        assert!(stamp.chars().all(|c| c.is_ascii_alphanumeric() || c == '.'));
    }
}
