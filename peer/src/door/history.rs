//! The recent deliveries, for subscriptions that begin in the past.
//!
//! It keeps as much as the log retains in memory (`retain_entries`, `retain_bytes`), in the order
//! of delivery, which is the order of the log as long as this peer stays in one log. After a merge
//! a position may appear twice; the records `diverged` and `merged` are between the two, as in
//! `ordered.jsonl`.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{BTreeSet, VecDeque};

use protocol::id::{Epoch, Seq};
use protocol::io::Delivery;
use protocol::log_id::LogId;
use protocol::readings::Readings;

use crate::sensors::split;

/// Deliveries, oldest first.
#[derive(Debug)]
pub(super) struct History {
    items: VecDeque<Item>,
    /// The number of the oldest item; numbers rise by one with each delivery and are never reused.
    first: u64,
    bounds: Bounds,
    /// How many records there have been in total.
    records: u64,
    /// How many bytes they had in total.
    bytes: u64,
}

/// The limits of the history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// One delivery.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) delivery: Delivery,
    /// When it was delivered, in microseconds since 1970.
    pub(super) at: u64,
    /// The number and the bytes of all records before it.
    records_before: u64,
    bytes_before: u64,
    sensors: OnceCell<Sensors>,
}

/// The sensors in a run of readings.
#[derive(Debug)]
pub(super) enum Sensors {
    /// Only these; a reading without a sensor name counts as one of the empty name.
    Few(BTreeSet<String>),
    /// Too many to list, so each reading has to be examined.
    Many,
}

/// A place between two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cursor {
    /// The number of the next item.
    pub(super) item: u64,
    /// How many records of that item are before the place.
    pub(super) within: u64,
}

/// A position in a client's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) log: LogId,
    pub(super) seq: Seq,
    /// The epoch of the entry just before it, if the client knows it.
    pub(super) epoch: Option<Epoch>,
}

/// The result of finding a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Exactly here.
    At(Cursor),
    /// It is not retained any more, or was never delivered here: the first retained position after
    /// it is here.
    After(Cursor),
    /// It is still to come.
    Ahead,
    /// No entry of that log is retained, and new deliveries are of another log.
    Nowhere,
}

impl History {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { items: VecDeque::new(), first: 0, bounds, records: 0, bytes: 0 }
    }

    /// Adds a delivery, and drops old ones beyond the limits.
    pub(super) fn add(&mut self, delivery: Delivery, at: u64) {
        let (records, bytes) = (records_of(&delivery), weight(&delivery));
        let (records_before, bytes_before) = (self.records, self.bytes);
        self.items.push_back(Item {
            delivery,
            at,
            records_before,
            bytes_before,
            sensors: OnceCell::new(),
        });
        self.records += records;
        self.bytes += bytes;
        // The newest stays, however large it is.
        while self.items.len() > 1
            && self.items.front().is_some_and(|oldest| {
                self.records - oldest.records_before > self.bounds.records
                    || self.bytes - oldest.bytes_before > self.bounds.bytes
            })
        {
            self.items.pop_front();
            self.first += 1;
        }
    }

    /// The number and the bytes of all records so far.
    pub(super) fn amount(&self) -> (u64, u64) {
        (self.records, self.bytes)
    }

    /// Whether the records since then may be half of the retained ones.
    pub(super) fn is_half_new(&self, (records, bytes): (u64, u64)) -> bool {
        (self.records - records) * 2 > self.bounds.records
            || (self.bytes - bytes) * 2 > self.bounds.bytes
    }

    /// Before the oldest retained record.
    pub(super) fn start(&self) -> Cursor {
        Cursor { item: self.first, within: 0 }
    }

    /// After the newest record.
    pub(super) fn end(&self) -> Cursor {
        Cursor { item: self.first + self.items.len() as u64, within: 0 }
    }

    /// The item of that number; none if it is still to come or was dropped.
    pub(super) fn item(&self, number: u64) -> Option<&Item> {
        self.items.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Whether the next item there was dropped.
    pub(super) fn has_lost(&self, cursor: Cursor) -> bool {
        cursor.item < self.first
    }

    /// The number and the approximate bytes of the records after the cursor.
    pub(super) fn behind(&self, cursor: Cursor) -> (u64, u64) {
        self.item(cursor.item).map_or((0, 0), |item| {
            (self.records - item.records_before - cursor.within, self.bytes - item.bytes_before)
        })
    }

    /// The log of the newest delivery, and the next position there.
    pub(super) fn next_position(&self) -> Option<(LogId, Seq)> {
        self.items.iter().rev().find_map(|item| match &item.delivery {
            // The next item after a merge names its own position.
            Delivery::Merged { .. } => None,
            Delivery::Diverged { log, from, .. } => Some((log.clone(), *from)),
            delivery => Some((delivery.log().clone(), delivery.range().1.next())),
        })
    }

    /// The oldest retained position, and its log.
    pub(super) fn oldest_position(&self) -> Option<(LogId, Seq)> {
        self.items.front().map(|item| (item.delivery.log().clone(), item.delivery.range().0))
    }

    /// The position of the next record at the cursor.
    pub(super) fn position(&self, cursor: Cursor) -> Option<(LogId, Seq)> {
        match self.item(cursor.item) {
            Some(item) => {
                Some((item.delivery.log().clone(), item.delivery.range().0.plus(cursor.within)))
            }
            None => self.next_position(),
        }
    }

    /// Whether the record at the cursor, or just before it, reports the fate of positions and has
    /// no position itself.
    pub(super) fn is_between(&self, cursor: Cursor) -> bool {
        let is_aside = |number: Option<u64>| {
            number.and_then(|number| self.item(number)).is_some_and(|item| !item.is_content())
        };
        cursor.within == 0 && (is_aside(Some(cursor.item)) || is_aside(cursor.item.checked_sub(1)))
    }

    /// The first record delivered at that time or later.
    pub(super) fn since(&self, at: u64) -> Cursor {
        let before = self.items.partition_point(|item| item.at < at);
        Cursor { item: self.first + before as u64, within: 0 }
    }

    /// The place before the last `count` wanted readings.
    pub(super) fn before_last(
        &self,
        count: u64,
        may_want: impl Fn(&Item) -> bool,
        wants: impl Fn(&[u8]) -> bool,
    ) -> Cursor {
        if count == 0 {
            return self.end();
        }
        let mut left = count;
        for (place, item) in self.items.iter().enumerate().rev() {
            let Delivery::Run(run) = &item.delivery else { continue };
            if !may_want(item) {
                continue;
            }
            for within in (0..item.records()).rev() {
                if left == 0 {
                    return Cursor { item: self.first + place as u64, within: within + 1 };
                }
                left -= u64::from(wants(run.readings.at(within).0));
            }
            if left == 0 {
                return Cursor { item: self.first + place as u64, within: 0 };
            }
        }
        self.start()
    }

    /// Finds a position. If the position appears twice, the one after the client's last record, if
    /// the client names its epoch; otherwise the first, so that the client is told what became of
    /// it.
    pub(super) fn find(&self, place: &Place) -> Found {
        let Place { log, seq, epoch } = place;
        if let Some(epoch) = epoch {
            let behind = self
                .numbered()
                .rev()
                .find_map(|(number, item)| item.ends_before(log, *seq, epoch, number));
            if let Some(cursor) = behind {
                return Found::At(cursor);
            }
        }
        let mut of_log =
            self.numbered().filter(|(_, item)| item.is_content() && item.delivery.log() == log);
        match of_log.find(|(_, item)| item.delivery.range().1 >= *seq) {
            Some((number, item)) if item.delivery.range().0 <= *seq => {
                Found::At(Cursor { item: number, within: item.within(*seq) })
            }
            Some((number, _)) => Found::After(Cursor { item: number, within: 0 }),
            None if self.next_position().is_none_or(|(newest, _)| newest == *log) => Found::Ahead,
            None => Found::Nowhere,
        }
    }

    fn numbered(&self) -> impl DoubleEndedIterator<Item = (u64, &Item)> {
        self.items.iter().enumerate().map(|(place, item)| (self.first + place as u64, item))
    }
}

impl Item {
    /// The number of its records.
    pub(super) fn records(&self) -> u64 {
        records_of(&self.delivery)
    }

    /// The sensors named in its readings.
    pub(super) fn sensors(&self) -> &Sensors {
        self.sensors.get_or_init(|| {
            let Delivery::Run(run) = &self.delivery else { return Sensors::Few(BTreeSet::new()) };
            sensors_of(&run.readings).map_or(Sensors::Many, Sensors::Few)
        })
    }

    /// The same, if they are needed at all.
    pub(super) fn sensors_if(&self, needed: bool) -> Option<&Sensors> {
        needed.then(|| self.sensors())
    }

    /// Whether it has the content of its positions, and not their fate.
    pub(super) fn is_content(&self) -> bool {
        !matches!(self.delivery, Delivery::Diverged { .. } | Delivery::Merged { .. })
    }

    /// How many of its records are before that position.
    fn within(&self, seq: Seq) -> u64 {
        if let Delivery::Run(run) = &self.delivery { seq.above(run.first) } else { 0 }
    }

    /// The place after its record at the position before `seq`, if it has that record, of that
    /// epoch.
    fn ends_before(&self, log: &LogId, seq: Seq, epoch: &Epoch, number: u64) -> Option<Cursor> {
        let (from, to) = self.delivery.range();
        let is_it = self.is_content()
            && self.delivery.log() == log
            && epoch_of(&self.delivery) == Some(epoch);
        if !is_it || seq.previous() < from || seq.previous() > to {
            return None;
        }
        let within = self.within(seq);
        let ends = within >= self.records() || seq.previous() == to;
        Some(if ends {
            Cursor { item: number + 1, within: 0 }
        } else {
            Cursor { item: number, within }
        })
    }
}

/// The possible sensors of these readings, the empty name among them; none if there are too many.
///
/// This thread has not read the payloads before, so each of them is a cache miss. The loop reads
/// the first bytes of several payloads before it decides anything, so that these misses overlap.
fn sensors_of(readings: &Readings) -> Option<BTreeSet<String>> {
    let mut few = BTreeSet::from([String::new()]);
    let mut last = Cow::Borrowed("");
    let mut payloads = readings.iter().map(|(payload, _)| payload);
    loop {
        let mut some = [&b""[..]; AT_ONCE];
        let count =
            some.iter_mut().zip(&mut payloads).map(|(place, payload)| *place = payload).count();
        if count == 0 {
            return Some(few);
        }
        // Without a branch for each.
        if !some.iter().fold(false, |has, payload| has | split::may_have_sensor(payload)) {
            continue;
        }
        for payload in some {
            let sensor = split::sensor_at_most(payload);
            if sensor != last && !few.contains(sensor.as_ref()) {
                if few.len() > SENSORS_FEW || sensor.len() > SENSOR_BYTES {
                    return None;
                }
                few.insert(sensor.clone().into_owned());
            }
            last = sensor;
        }
    }
}

/// The epoch of the entry.
pub(super) fn epoch_of(delivery: &Delivery) -> Option<&Epoch> {
    match delivery {
        Delivery::Run(run) => Some(&run.epoch),
        Delivery::View(standing) => Some(&standing.view.epoch),
        Delivery::Repeat { epoch, .. } | Delivery::Lost { epoch, .. } => Some(epoch),
        Delivery::Gap { .. } | Delivery::Diverged { .. } | Delivery::Merged { .. } => None,
    }
}

fn records_of(delivery: &Delivery) -> u64 {
    if let Delivery::Run(run) = delivery { run.readings.len() } else { 1 }
}

/// Its approximate memory.
fn weight(delivery: &Delivery) -> u64 {
    match delivery {
        Delivery::Run(run) => RECORD_BYTES + run.readings.bytes() + run.readings.len() * MARK_BYTES,
        Delivery::View(standing) => (standing.view.size() as u64 + 1) * RECORD_BYTES,
        Delivery::Gap { .. }
        | Delivery::Diverged { .. }
        | Delivery::Merged { .. }
        | Delivery::Repeat { .. }
        | Delivery::Lost { .. } => RECORD_BYTES,
    }
}

/// The approximate memory of a delivery besides its readings.
const RECORD_BYTES: u64 = 256;
/// The memory of a reading besides its payload.
const MARK_BYTES: u64 = 8;
/// How many sensors of one run are listed.
const SENSORS_FEW: usize = 16;
/// How many payloads are prefetched together.
const AT_ONCE: usize = 16;
/// The longest listed name.
const SENSOR_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::{Bounds, Cursor, Found, History, Place, Seq};
    use crate::door::filter::Filter;
    use crate::door::fixtures::{diverged, epoch, gap, history, log, merged, repeat, run};

    fn cursor(item: u64, within: u64) -> Cursor {
        Cursor { item, within }
    }

    #[track_caller]
    fn check(history: &History, seq: u64, of: Option<(u64, &str)>, expected: Found) {
        let epoch = of.map(|(round, owner)| epoch(round, owner));
        assert_eq!(
            history.find(&Place { log: log("a"), seq: Seq(seq), epoch }),
            expected,
            "#{seq} behind {of:?}"
        );
    }

    #[test]
    fn a_position_is_found_where_it_stands() {
        let history = history(100, vec![run("a", 1, 1..=4), gap(5, 7), run("a", 2, 8..=9)]);
        check(&history, 1, None, Found::At(cursor(0, 0)));
        check(&history, 3, None, Found::At(cursor(0, 2)));
        check(&history, 3, Some((1, "a")), Found::At(cursor(0, 2)));
        check(&history, 5, None, Found::At(cursor(1, 0)));
        check(&history, 5, Some((1, "a")), Found::At(cursor(1, 0)));
        check(&history, 6, None, Found::At(cursor(1, 0)));
        check(&history, 8, None, Found::At(cursor(2, 0)));
        check(&history, 10, None, Found::Ahead);
        check(&history, 10, Some((2, "a")), Found::At(cursor(3, 0)));
        check(&history, 99, None, Found::Ahead);
        let other = Place { log: log("z"), seq: Seq(1), epoch: None };
        assert_eq!(history.find(&other), Found::Nowhere);
        assert_eq!(
            History::new(Bounds { records: 1, bytes: 1 }).find(&other),
            Found::Ahead,
            "nobody knows better yet"
        );
    }

    #[test]
    fn of_a_position_that_stands_twice_the_epoch_says_which() {
        // #3 and #4 were ordered by a side that gave way; the group has other entries there.
        let history = history(
            100,
            vec![
                run("a", 1, 1..=2),
                run("a", 1, 3..=4),
                merged(2),
                diverged(3, 4),
                repeat("b", 2, 3, 4),
                run("b", 2, 5..=6),
            ],
        );
        check(&history, 5, Some((1, "a")), Found::At(cursor(2, 0)));
        check(&history, 5, Some((2, "b")), Found::At(cursor(5, 0)));
        check(&history, 6, Some((2, "b")), Found::At(cursor(5, 1)));
        check(&history, 4, Some((1, "a")), Found::At(cursor(1, 1)));
        // A client that names no epoch is told what became of the first.
        check(&history, 4, None, Found::At(cursor(1, 1)));
        check(&history, 5, None, Found::At(cursor(5, 0)));
        // An epoch that never existed here decides nothing.
        check(&history, 4, Some((9, "q")), Found::At(cursor(1, 1)));
    }

    #[test]
    fn what_is_too_much_is_forgotten_oldest_first() {
        let history = history(5, vec![run("a", 1, 1..=3), run("a", 1, 4..=5), run("a", 1, 6..=7)]);
        assert_eq!((history.start(), history.end()), (cursor(1, 0), cursor(3, 0)));
        assert!(
            history.has_lost(cursor(0, 2))
                && !history.has_lost(cursor(1, 0))
                && !history.has_lost(cursor(3, 0))
        );
        check(&history, 2, None, Found::After(cursor(1, 0)));
        check(&history, 4, Some((1, "a")), Found::At(cursor(1, 0)));
        assert_eq!(history.behind(cursor(1, 1)).0, 3);
        assert_eq!(history.behind(cursor(3, 0)), (0, 0));
        assert_eq!(history.oldest_position(), Some((log("a"), Seq(4))));
        assert_eq!(history.next_position(), Some((log("a"), Seq(8))));
        let mut tiny = History::new(Bounds { records: 2, bytes: 1 });
        tiny.add(run("a", 1, 1..=9), 0);
        assert_eq!(tiny.start(), cursor(0, 0), "the newest stays, however large it is");
    }

    #[test]
    fn half_of_it_is_new_before_any_of_that_is_forgotten() {
        let mut history = history(8, vec![run("a", 1, 1..=8)]);
        let begun = history.amount();
        history.add(run("a", 1, 9..=12), 0);
        assert!(!history.is_half_new(begun));
        history.add(run("a", 1, 13..=13), 0);
        assert!(history.is_half_new(begun) && history.start().item == 1);
        let mut tiny = History::new(Bounds { records: 1_000, bytes: 1 });
        tiny.add(run("a", 1, 1..=1), 0);
        assert!(tiny.is_half_new((0, 0)), "bytes count as well");
    }

    #[test]
    fn the_last_ones_are_those_that_are_wanted() {
        let history = history(100, vec![run("a", 1, 1..=4), gap(5, 7), run("a", 2, 8..=10)]);
        let last = |count: u64, sensor: Option<&str>| {
            let filter = Filter::new(None, sensor, None).unwrap();
            history.before_last(
                count,
                |item| filter.may_want(item),
                |payload| filter.wants_reading(payload),
            )
        };
        assert_eq!(last(0, None), cursor(3, 0));
        assert_eq!(last(1, None), cursor(2, 2));
        assert_eq!(last(3, None), cursor(2, 0));
        assert_eq!(last(4, None), cursor(0, 3));
        assert_eq!(last(99, None), cursor(0, 0));
        // s1 has 1, 3 and 9.
        assert_eq!(last(1, Some("s1")), cursor(2, 1));
        assert_eq!(last(2, Some("s1")), cursor(0, 2));
        assert_eq!(last(9, Some("s1")), cursor(0, 0));
        assert_eq!(last(1, Some("nothing")), cursor(0, 0));
        assert_eq!(history.since(0), cursor(0, 0));
        assert_eq!(history.since(1), cursor(1, 0));
        assert_eq!(history.since(u64::MAX), cursor(3, 0));
    }
}
