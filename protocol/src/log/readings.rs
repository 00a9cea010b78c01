//! Consecutive readings of one origin: one piece of memory, and where each of them ends in it.
//!
//! Readings come in bursts, and a burst that is taken apart into single readings costs more than
//! everything else that is done for it. So what was measured together stays together, from the
//! sensor to the sinks: it is written into a frame, read out of one, numbered, kept and handed over
//! as a whole, and shares its memory with the frame that it came in. It is cut, where a frame or a
//! view has to end, without a copy.
//!
//! Says nothing of whose readings they are, or of their numbers: see
//! [`crate::wire::message::Entry`].

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Consecutive readings of one origin, at least one. Two are equal if they hold the same readings,
/// whatever they were cut from.
#[derive(Clone)]
pub struct Readings {
    /// What the marks count time from, in microseconds since 1970 (UTC).
    time: u64,
    /// Where the first one begins, as the marks count bytes.
    begin: u32,
    marks: Bytes,
    payloads: Bytes,
}

/// Where a reading ends, and how much later than the first one of all it was published, in
/// microseconds.
#[derive(Clone, Copy)]
struct Mark {
    end: u32,
    later: u32,
}

impl Mark {
    fn read(bytes: &[u8]) -> Self {
        let [e0, e1, e2, e3, l0, l1, l2, l3] =
            *bytes.first_chunk::<MARK>().expect("marks are cut at their ends");
        Self {
            end: u32::from_le_bytes([e0, e1, e2, e3]),
            later: u32::from_le_bytes([l0, l1, l2, l3]),
        }
    }

    fn write(self, out: &mut impl bytes::BufMut) {
        out.put_u32_le(self.end);
        out.put_u32_le(self.later);
    }
}

impl Readings {
    /// A single one; `time` is in microseconds since 1970 (UTC).
    #[must_use]
    pub fn one(payload: Bytes, time: u64) -> Self {
        let mut marks = BytesMut::with_capacity(MARK);
        let end =
            u32::try_from(payload.len()).expect("larger frames are refused below four gigabytes");
        Mark { end, later: 0 }.write(&mut marks);
        Self { time, begin: 0, marks: marks.freeze(), payloads: payload }
    }

    /// How many there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> u64 {
        (self.marks.len() / MARK) as u64
    }

    /// How many bytes of payload there are.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.payloads.len() as u64
    }

    /// All payloads, one right behind the other.
    #[must_use]
    pub fn payloads(&self) -> &Bytes {
        &self.payloads
    }

    /// How many bytes the first `count` have.
    #[must_use]
    pub fn bytes_of_first(&self, count: u64) -> u64 {
        match count {
            0 => 0,
            _ => u64::from(self.mark(count - 1).end - self.begin),
        }
    }

    /// Payload and time of each, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], u64)> {
        let mut at = 0;
        self.marks.chunks_exact(MARK).map(move |mark| {
            let mark = Mark::read(mark);
            let end = (mark.end - self.begin) as usize;
            let payload = &self.payloads[at..end];
            at = end;
            (payload, self.time.saturating_add(mark.later.into()))
        })
    }

    /// Payload and time of the one at that place, from 0.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn at(&self, place: u64) -> (&[u8], u64) {
        let mark = self.mark(place);
        let begin = usize::try_from(self.bytes_of_first(place)).expect("they are in memory");
        (
            &self.payloads[begin..(mark.end - self.begin) as usize],
            self.time.saturating_add(mark.later.into()),
        )
    }

    /// Each by itself, in order.
    pub fn singly(&self) -> impl ExactSizeIterator<Item = Self> {
        let ones = usize::try_from(self.len()).expect("they are in memory");
        (0..ones).map(|at| self.slice(at as u64..at as u64 + 1))
    }

    /// Some of them, sharing the memory of all.
    ///
    /// # Panics
    /// If the range is empty, or not a part of what there is.
    #[must_use]
    pub fn slice(&self, range: Range<u64>) -> Self {
        assert!(
            range.start < range.end && range.end <= self.len(),
            "{range:?} of {} readings",
            self.len()
        );
        if range == (0..self.len()) {
            return self.clone();
        }
        let place = |count: u64| usize::try_from(count).expect("they are in memory");
        let (from, to) =
            (place(self.bytes_of_first(range.start)), place(self.bytes_of_first(range.end)));
        Self {
            time: self.time,
            begin: self.begin + u32::try_from(from).expect("marks count no further"),
            marks: self.marks.slice(place(range.start) * MARK..place(range.end) * MARK),
            payloads: self.payloads.slice(from..to),
        }
    }

    /// The same in memory of their own, without whatever else is kept there for the sake of them.
    #[must_use]
    pub fn alone(&self) -> Self {
        Self {
            marks: Bytes::copy_from_slice(&self.marks),
            payloads: Bytes::copy_from_slice(&self.payloads),
            ..*self
        }
    }

    /// How many of the first ones weigh at most `limit`, where each weighs `each` on top of its
    /// payload.
    #[must_use]
    pub fn fitting(&self, limit: u64, each: u64) -> u64 {
        let (mut fits, mut beyond) = (0, self.len() + 1);
        if self.bytes() + each * self.len() <= limit {
            return self.len();
        }
        while fits + 1 < beyond {
            let middle = fits.midpoint(beyond);
            if self.bytes_of_first(middle) + each * middle <= limit {
                fits = middle
            } else {
                beyond = middle
            }
        }
        fits
    }

    /// When the first one was published, in microseconds since 1970 (UTC).
    #[must_use]
    pub fn first_time(&self) -> u64 {
        self.time.saturating_add(self.mark(0).later.into())
    }

    /// Appends the marks as they stand on the wire: counted from the first reading.
    pub(crate) fn write_marks(&self, out: &mut Vec<u8>) {
        let first = self.mark(0).later;
        if self.begin == 0 && first == 0 {
            out.extend_from_slice(&self.marks);
            return;
        }
        for mark in self.marks.chunks_exact(MARK).map(Mark::read) {
            Mark { end: mark.end - self.begin, later: mark.later - first }.write(out);
        }
    }

    /// How many bytes of payload the marks of a frame speak of, or what is wrong with them.
    pub(crate) fn check_marks(marks: &[u8]) -> Result<usize, &'static str> {
        let mut before = Mark { end: 0, later: 0 };
        if marks.is_empty() {
            return Err("readings without a reading");
        }
        // Nothing is decided inside, so that many are looked at in one step.
        let mut falls = Mark::read(marks).later != 0;
        for mark in marks.chunks_exact(MARK).map(Mark::read) {
            falls |= (mark.end < before.end) | (mark.later < before.later);
            before = mark;
        }
        if falls {
            Err("readings that end before they begin, or are not told in the order of their times")
        } else {
            Ok(before.end as usize)
        }
    }

    /// What a frame holds, once its marks have been checked.
    ///
    /// # Panics
    /// If the marks do not end where the payloads do.
    pub(crate) fn from_frame(time: u64, marks: Bytes, payloads: Bytes) -> Self {
        let readings = Self { time, begin: 0, marks, payloads };
        assert!(
            readings.bytes_of_first(readings.len()) == readings.bytes(),
            "the reader has checked the marks"
        );
        readings
    }

    fn mark(&self, place: u64) -> Mark {
        let at = usize::try_from(place).expect("they are in memory") * MARK;
        Mark::read(&self.marks[at..])
    }
}

impl PartialEq for Readings {
    fn eq(&self, other: &Self) -> bool {
        self.payloads == other.payloads && self.iter().eq(other.iter())
    }
}

impl Eq for Readings {}

impl Hash for Readings {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.iter().for_each(|reading| reading.hash(state));
    }
}

impl fmt::Debug for Readings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Text<'a>(&'a [u8], u64);
        impl fmt::Debug for Text<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "b\"{}\" at {}", self.0.escape_ascii(), self.1)
            }
        }
        f.debug_list().entries(self.iter().map(|(payload, time)| Text(payload, time))).finish()
    }
}

impl Serialize for Readings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut marks = Vec::with_capacity(self.marks.len());
        self.write_marks(&mut marks);
        (self.first_time(), Bytes::from(marks), &self.payloads).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Readings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (time, marks, payloads): (u64, Bytes, Bytes) = Deserialize::deserialize(deserializer)?;
        let whole = marks.len().is_multiple_of(MARK).then_some(()).ok_or("marks that are cut off");
        match whole.and_then(|()| Self::check_marks(&marks)) {
            Ok(length) if length == payloads.len() => Ok(Self::from_frame(time, marks, payloads)),
            Ok(_) => Err(de::Error::custom("readings that do not end where their payloads do")),
            Err(why) => Err(de::Error::custom(why)),
        }
    }
}

/// Readings that are being put together.
#[derive(Debug, Default)]
pub struct Collector {
    /// Of the first reading, and of the last.
    times: Option<(u64, u64)>,
    marks: BytesMut,
    payloads: BytesMut,
}

impl Collector {
    /// With room for so many readings of so many bytes in all.
    #[must_use]
    pub fn with_capacity(readings: usize, bytes: usize) -> Self {
        Self {
            times: None,
            marks: BytesMut::with_capacity(readings * MARK),
            payloads: BytesMut::with_capacity(bytes),
        }
    }

    /// Whether a reading of that time can stand behind those that are there: they are told in the
    /// order of their times, and all within an hour.
    #[must_use]
    pub fn takes(&self, bytes: usize, time: u64) -> bool {
        let in_time = self
            .times
            .is_none_or(|(first, last)| last <= time && u32::try_from(time - first).is_ok());
        in_time && u32::try_from(self.payloads.len() + bytes).is_ok()
    }

    /// Adds a reading; `time` is in microseconds since 1970 (UTC).
    ///
    /// # Panics
    /// If it cannot stand there ([`Collector::takes`]).
    pub fn push(&mut self, payload: &[u8], time: u64) {
        assert!(self.takes(payload.len(), time), "readings are told in the order of their times");
        let first = self.times.map_or(time, |(first, _)| first);
        self.times = Some((first, time));
        self.payloads.put_slice(payload);
        let count = |length: u64| u32::try_from(length).expect("it has just been compared");
        Mark { end: count(self.payloads.len() as u64), later: count(time - first) }
            .write(&mut self.marks);
    }

    /// What has been put together, if anything.
    #[must_use]
    pub fn finish(self) -> Option<Readings> {
        let (time, _) = self.times?;
        Some(Readings {
            time,
            begin: 0,
            marks: self.marks.freeze(),
            payloads: self.payloads.freeze(),
        })
    }
}

/// Bytes of a mark, in memory and on the wire: two integers of 32 bits, the lowest byte first.
pub(crate) const MARK: usize = 8;

#[cfg(test)]
mod tests {
    use super::{Collector, MARK, Readings};
    use bytes::Bytes;

    fn readings(texts: &[(&str, u64)]) -> Readings {
        let mut collector = Collector::default();
        texts.iter().for_each(|(text, time)| collector.push(text.as_bytes(), *time));
        collector.finish().expect("some")
    }

    fn said(readings: &Readings) -> Vec<(String, u64)> {
        readings
            .iter()
            .map(|(payload, time)| (String::from_utf8_lossy(payload).into_owned(), time))
            .collect()
    }

    #[test]
    fn any_part_is_what_it_was_cut_from() {
        let texts = [("one", 5), ("", 5), ("three", 9), ("4", 1_000_000)];
        let all = readings(&texts);
        assert_eq!((all.len(), all.bytes()), (4, 9));
        for from in 0..4 {
            for to in from + 1..=4 {
                let (part, fresh) =
                    (all.slice(from..to), readings(&texts[from as usize..to as usize]));
                assert_eq!(part, fresh);
                assert_eq!(
                    said(&part),
                    texts[from as usize..to as usize]
                        .iter()
                        .map(|(text, time)| ((*text).to_owned(), *time))
                        .collect::<Vec<_>>()
                );
                assert_eq!(part.first_time(), texts[from as usize].1);
                let written = |readings: &Readings| {
                    let mut marks = Vec::new();
                    readings.write_marks(&mut marks);
                    marks
                };
                assert_eq!(written(&part), written(&fresh), "whatever they were cut from");
                assert_eq!(Readings::check_marks(&written(&part)), Ok(part.payloads().len()));
                assert_eq!(part.alone(), fresh);
                let singles: Vec<Readings> = part.singly().collect();
                assert_eq!(
                    singles,
                    texts[from as usize..to as usize]
                        .iter()
                        .map(|one| readings(&[*one]))
                        .collect::<Vec<_>>()
                );
            }
        }
        assert_ne!(readings(&[("ab", 1), ("c", 1)]), readings(&[("a", 1), ("bc", 1)]));
        assert_ne!(readings(&[("ab", 1)]), readings(&[("ab", 2)]));
    }

    #[test]
    fn what_fits_is_counted_to_the_byte() {
        let all = readings(&[("123", 1), ("", 1), ("45", 1)]);
        let fitting = |limit| all.fitting(limit, 10);
        assert_eq!([0, 12, 13, 22, 23, 34, 35, 99].map(fitting), [0, 0, 1, 1, 2, 2, 3, 3]);
        assert_eq!(Readings::one(Bytes::new(), 7).fitting(0, 0), 1);
    }

    #[test]
    fn what_is_not_told_in_order_stands_apart() {
        let mut collector = Collector::default();
        assert!(collector.takes(1, 0));
        collector.push(b"x", 50);
        assert!(collector.takes(1, 50) && !collector.takes(1, 49));
        assert!(
            collector.takes(1, 50 + u64::from(u32::MAX))
                && !collector.takes(1, 51 + u64::from(u32::MAX))
        );
        assert!(Collector::default().finish().is_none());
    }

    #[test]
    fn marks_that_no_readings_have_are_refused() {
        let marks = |ends: &[(u32, u32)]| -> Vec<u8> {
            ends.iter()
                .flat_map(|(end, later)| [end.to_le_bytes(), later.to_le_bytes()].concat())
                .collect()
        };
        assert_eq!(Readings::check_marks(&marks(&[(3, 0), (3, 7), (9, 7)])), Ok(9));
        for wrong in [&[][..], &[(3, 0), (2, 0)], &[(3, 0), (4, 2), (5, 1)], &[(3, 1)]] {
            assert!(Readings::check_marks(&marks(wrong)).is_err(), "{wrong:?}");
        }
        assert_eq!(marks(&[(1, 2)]).len(), MARK);
    }

    #[test]
    fn they_are_read_as_they_are_written() {
        let all = readings(&[("one", 5), ("two", 6), ("three", 7)]);
        for part in [all.clone(), all.slice(1..3), all.slice(2..3)] {
            let bytes = postcard::to_stdvec(&part).expect("written");
            assert_eq!(postcard::from_bytes::<Readings>(&bytes).expect("read"), part);
        }
        let lie = postcard::to_stdvec(&(
            5_u64,
            Bytes::from_static(&[9, 0, 0, 0, 0, 0, 0, 0]),
            Bytes::from_static(b"x"),
        ))
        .expect("written");
        assert!(postcard::from_bytes::<Readings>(&lie).is_err());
    }
}
