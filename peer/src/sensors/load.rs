//! Synthetic load for measurements: readings of one size, at a steady rate or as many as the group
//! accepts.
//!
//! Each reading begins with the time at which it was *due*, not with the time at which there was
//! room for it, so that a peer on the same machine that delivers it knows how long its publisher
//! would have waited (no coordinated omission; Tene 2013). The load begins once the view has enough
//! members, so that a measurement does not include the formation of the group.

use std::time::Duration;

use protocol::readings::{Collector, Readings};
use protocol::time::Time;

/// The settings of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadSettings {
    /// Bytes of each reading.
    pub bytes: usize,
    /// Readings per second; as many as the group accepts if not set.
    pub rate: Option<u64>,
    /// The total number; unlimited if not set.
    pub count: Option<u64>,
    /// The number of members in the view at which it begins.
    pub members: usize,
}

/// A source of load.
#[derive(Clone, Debug)]
pub struct Load {
    settings: LoadSettings,
    begun: Option<Time>,
    /// How many readings have been made.
    made: u64,
    /// Whether the last readings found no room.
    stalled: bool,
}

impl Load {
    /// A load with these settings that has not begun.
    #[must_use]
    pub fn new(settings: LoadSettings) -> Self {
        Self { settings, begun: None, made: 0, stalled: false }
    }

    /// Begins, if the view has enough members.
    pub fn begin(&mut self, now: Time, members: usize) {
        if self.begun.is_none() && members >= self.settings.members {
            self.begun = Some(now);
        }
    }

    /// The size of each reading in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.settings.bytes
    }

    /// Whether it waits for members.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.begun.is_none()
    }

    /// Due readings, at most `most`, stamped with `time` for people.
    pub fn make(&mut self, now: Time, time: u64, most: usize) -> Option<Readings> {
        let count = usize::try_from(self.due(now)).unwrap_or(usize::MAX).min(most);
        let size = self.settings.bytes;
        let mut collector = Collector::with_capacity(count, count * size);
        let mut payload = vec![b'.'; size];
        let mut stamped = None;
        for number in (self.made..).take(count) {
            let due = self.due_at(now, number);
            if stamped != Some(due) {
                stamped = Some(due);
                payload[..STAMP].copy_from_slice(&digits(due));
            }
            collector.push(&payload, time);
        }
        self.made += count as u64;
        self.stalled = false;
        collector.finish()
    }

    /// Takes back the last readings, which found no room.
    pub fn take_back(&mut self, count: u64) {
        self.made -= count;
        self.stalled = true;
    }

    /// Whether the last readings found no room, so that it has to wait for room.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Whether readings are due.
    #[must_use]
    pub fn is_due(&self, now: Time) -> bool {
        self.due(now) > 0
    }

    /// When the next one is due; none if that depends on the room only.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let left = self.settings.count.is_none_or(|count| self.made < count);
        (left && self.settings.rate.is_some())
            .then(|| self.begun.map(|begun| self.due_at(begun, self.made)))?
    }

    /// How many readings are due and not made.
    fn due(&self, now: Time) -> u64 {
        let Some(begun) = self.begun else { return 0 };
        let by_now = self.settings.rate.map_or(u64::MAX, |rate| {
            let passed = now.since(begun).as_micros() * u128::from(rate) / 1_000_000;
            u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(1)
        });
        by_now.min(self.settings.count.unwrap_or(u64::MAX)).saturating_sub(self.made)
    }

    fn due_at(&self, now: Time, number: u64) -> Time {
        match (self.begun, self.settings.rate) {
            (Some(begun), Some(rate)) => {
                let micros = (u128::from(number) * 1_000_000).div_ceil(u128::from(rate));
                begun + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
            }
            _ => now,
        }
    }
}

/// The due time in a reading of such a load; none for any other reading.
#[must_use]
pub fn stamp(payload: &[u8]) -> Option<Time> {
    let digits = payload.get(..STAMP)?;
    let mut micros = 0;
    for digit in digits {
        micros = micros << 4 | u64::from((*digit as char).to_digit(16)?);
    }
    Some(Time::from_micros(micros))
}

fn digits(at: Time) -> [u8; STAMP] {
    let micros = at.as_micros();
    std::array::from_fn(|place| b"0123456789abcdef"[(micros >> (60 - 4 * place)) as usize & 15])
}

/// The size of the time stamp in bytes: the least size of a reading.
pub const STAMP: usize = 16;

#[cfg(test)]
mod tests {
    use super::{Load, LoadSettings, stamp};
    use protocol::time::Time;

    fn at(micros: u64) -> Time {
        Time::from_micros(micros)
    }

    #[test]
    fn a_rate_is_kept_whoever_calls_when() {
        let mut load =
            Load::new(LoadSettings { bytes: 20, rate: Some(1_000), count: Some(100), members: 2 });
        load.begin(at(0), 1);
        assert!(load.waits() && load.make(at(0), 0, 10).is_none());
        load.begin(at(7), 2);
        assert_eq!(load.make(at(7), 0, 10).expect("one").len(), 1, "the first is due at once");
        assert_eq!(load.deadline(), Some(at(1_007)));
        assert!(load.make(at(1_006), 0, 10).is_none());
        let late = load.make(at(50_007), 0, 10).expect("ten");
        let dues: Vec<Option<Time>> = late.iter().map(|(payload, _)| stamp(payload)).collect();
        assert_eq!(
            dues,
            (1..=10).map(|n| Some(at(n * 1_000 + 7))).collect::<Vec<_>>(),
            "due when it was due"
        );
        assert!(late.iter().all(|(payload, _)| payload.len() == 20));
        load.take_back(10);
        assert_eq!(load.make(at(1_000_000), 0, 1_000).expect("the rest").len(), 99);
        assert_eq!((load.is_due(at(2_000_000)), load.deadline()), (false, None));
    }

    #[test]
    fn without_a_rate_there_is_always_more() {
        let mut load = Load::new(LoadSettings { bytes: 16, rate: None, count: None, members: 0 });
        load.begin(at(1), 1);
        assert_eq!(load.make(at(5), 0, 1_000).expect("many").len(), 1_000);
        assert_eq!((load.deadline(), load.is_due(at(5))), (None, true));
        assert_eq!(stamp(load.make(at(6), 0, 1).expect("one").payloads()), Some(at(6)));
    }

    #[test]
    fn other_readings_have_no_stamp() {
        for other in ["", "0123", "DATA|p1.host|2026-11-23|cpu=1", "000000000000000g"] {
            assert_eq!(stamp(other.as_bytes()), None, "{other}");
        }
    }
}
