//! Synthetic load, for measuring: readings of one size, at a steady rate or as many as the group takes.
//!
//! Each reading begins with the moment at which it was *due*, not at which there was room for it, so that a peer which
//! delivers it on the same machine knows how long its publisher would have waited (no coordinated omission; Tene 2013). It
//! begins once the view has enough members, so that a measurement does not measure how the group comes together.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use protocol::seam::Publication;
use protocol::time::Time;

/// What load is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadSettings {
    /// Bytes of each reading.
    pub bytes: usize,
    /// Readings a second; as many as the group takes where none is given.
    pub rate: Option<u64>,
    /// How many in all; without end where no number is given.
    pub count: Option<u64>,
    /// It begins when the view has so many members.
    pub members: usize,
}

/// A source of load.
#[derive(Clone, Debug)]
pub struct Load {
    settings: LoadSettings,
    begun: Option<Time>,
    /// How many have been made.
    made: u64,
    /// Whether the last ones found no room.
    stalled: bool,
}

impl Load {
    /// Of this kind, and not begun.
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

    /// Whether it waits for members.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.begun.is_none()
    }

    /// Readings that are due, at most so many, stamped with `time` for people.
    pub fn make(&mut self, now: Time, time: u64, most: usize) -> Vec<Publication> {
        let count = self.due(now).min(most as u64);
        let size = self.settings.bytes;
        // One piece of memory for all of them.
        let mut piece = BytesMut::with_capacity(usize::try_from(count).unwrap_or(0) * size);
        for number in self.made..self.made + count {
            write_stamp(self.due_at(now, number), &mut piece);
            piece.resize(piece.len() + size - STAMP, b'.');
        }
        self.made += count;
        self.stalled = false;
        let mut piece = piece.freeze();
        let reading = |_| Publication { payload: piece.split_to(size), time, guarantee: None };
        (0..count).map(reading).collect()
    }

    /// Takes back the last ones, which found no room.
    pub fn take_back(&mut self, count: usize) {
        self.made -= count as u64;
        self.stalled = true;
    }

    /// Whether the last ones found no room, so that there is nothing to do before some is made.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Whether some are due.
    #[must_use]
    pub fn is_due(&self, now: Time) -> bool {
        self.due(now) > 0
    }

    /// When the next one is due; none where that depends on the room only.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let left = self.settings.count.is_none_or(|count| self.made < count);
        (left && self.settings.rate.is_some()).then(|| self.begun.map(|begun| self.due_at(begun, self.made)))?
    }

    /// How many are due and not made.
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

/// The moment at which a reading of such a load was due; none for any other reading.
#[must_use]
pub fn stamp(payload: &Bytes) -> Option<Time> {
    let digits = payload.get(..STAMP)?;
    let mut micros = 0;
    for digit in digits {
        micros = micros << 4 | u64::from((*digit as char).to_digit(16)?);
    }
    Some(Time::from_micros(micros))
}

fn write_stamp(at: Time, to: &mut BytesMut) {
    let micros = at.as_micros();
    let digit = |place: u32| b"0123456789abcdef"[(micros >> (60 - 4 * place)) as usize & 15];
    to.extend((0..).map_while(|place| (place < 16).then(|| digit(place))));
}

/// How many bytes the moment takes: the least size of a reading.
pub const STAMP: usize = 16;

#[cfg(test)]
mod tests {
    use super::{Load, LoadSettings, stamp};
    use bytes::Bytes;
    use protocol::time::Time;

    fn at(micros: u64) -> Time {
        Time::from_micros(micros)
    }

    #[test]
    fn a_rate_is_kept_whoever_calls_when() {
        let mut load = Load::new(LoadSettings { bytes: 20, rate: Some(1_000), count: Some(100), members: 2 });
        load.begin(at(0), 1);
        assert!(load.waits() && load.make(at(0), 0, 10).is_empty());
        load.begin(at(7), 2);
        assert_eq!(load.make(at(7), 0, 10).len(), 1, "the first is due at once");
        assert_eq!(load.deadline(), Some(at(1_007)));
        assert!(load.make(at(1_006), 0, 10).is_empty());
        let late = load.make(at(50_007), 0, 10);
        let dues: Vec<Option<Time>> = late.iter().map(|reading| stamp(&reading.payload)).collect();
        assert_eq!(dues, (1..=10).map(|n| Some(at(n * 1_000 + 7))).collect::<Vec<_>>(), "due when it was due");
        assert!(late.iter().all(|reading| reading.payload.len() == 20));
        load.take_back(10);
        assert_eq!(load.make(at(1_000_000), 0, 1_000).len(), 99);
        assert_eq!((load.is_due(at(2_000_000)), load.deadline()), (false, None));
    }

    #[test]
    fn without_a_rate_there_is_always_more() {
        let mut load = Load::new(LoadSettings { bytes: 16, rate: None, count: None, members: 0 });
        load.begin(at(1), 1);
        assert_eq!(load.make(at(5), 0, 1_000).len(), 1_000);
        assert_eq!((load.deadline(), load.is_due(at(5))), (None, true));
        assert_eq!(stamp(&load.make(at(6), 0, 1)[0].payload), Some(at(6)));
    }

    #[test]
    fn other_readings_have_no_stamp() {
        for other in ["", "0123", "DATA|p1.host|2026-11-23|cpu=1", "000000000000000g"] {
            assert_eq!(stamp(&Bytes::from_static(other.as_bytes())), None, "{other}");
        }
    }
}
