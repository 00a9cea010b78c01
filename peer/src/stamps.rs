//! Unique times for this peer's own readings, in microseconds.
//!
//! Readings that come together would share a time, and a database keyed by time would keep only the
//! last of them. So each gets the next microsecond, which may be slightly in the future; at most by
//! one batch, because a source with more lines per second than microseconds has to wait. A clock
//! that is set back is followed.

/// The last assigned time.
#[derive(Debug, Default)]
pub struct Stamps {
    last: u64,
}

impl Stamps {
    /// A time for a reading of this moment, later than every one before.
    pub fn next(&mut self, now: u64) -> u64 {
        self.last = if self.is_set_back(now) { now } else { now.max(self.last.saturating_add(1)) };
        self.last
    }

    /// How many readings of this moment can get times.
    #[must_use]
    pub fn room(&self, now: u64) -> usize {
        let ahead = if self.is_set_back(now) { 0 } else { self.last.saturating_sub(now) };
        usize::try_from(AHEAD_MAX.saturating_sub(ahead)).unwrap_or(usize::MAX)
    }

    /// Whether the clock has been set back; readings alone never advance the last time this far.
    fn is_set_back(&self, now: u64) -> bool {
        self.last > now.saturating_add(AHEAD_MAX + 1)
    }
}

/// How far a time may be ahead of the clock, in microseconds.
pub const AHEAD_MAX: u64 = 1_024;

#[cfg(test)]
mod tests {
    use super::{AHEAD_MAX, Stamps};

    #[test]
    fn times_rise_strictly_and_stay_near_the_clock() {
        let (mut stamps, mut times) = (Stamps::default(), vec![]);
        for now in [1_000, 1_000, 1_001, 1_900, 1_000_000, 1_000_001] {
            let room = stamps.room(now);
            assert!(room <= 1_024);
            times.extend((0..room).map(|_| stamps.next(now)));
            assert!(times.last().is_none_or(|last| *last <= now + AHEAD_MAX), "{times:?}");
        }
        assert!(times.is_sorted_by(|one, next| one < next), "{times:?}");
        assert_eq!(
            times.iter().filter(|time| **time < 1_000_000).count(),
            1_026 + 899,
            "each microsecond is used"
        );
    }

    #[test]
    fn a_clock_that_is_set_back_is_followed() {
        let mut stamps = Stamps::default();
        assert_eq!(stamps.next(10_000_000), 10_000_000);
        assert_eq!(stamps.next(9_999_990), 10_000_001, "a little is not followed");
        assert_eq!((stamps.room(5_000_000), stamps.next(5_000_000)), (1_024, 5_000_000));
    }
}
