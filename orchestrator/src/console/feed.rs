//! What the group hands over, one row a reading however many peers deliver it, and how many of them
//! have it.
//!
//! A row is due as soon as everybody has the reading, and after a moment in any case: a peer that
//! stands still must not hide what the others do. Rows come by their numbers.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::Duration;

/// Readings that were seen at somebody's and are not told yet.
#[derive(Debug, Default)]
pub(super) struct Feed {
    waiting: BTreeMap<Key, Waiting>,
    /// What was told already: whoever delivers it late adds nothing.
    told: HashSet<Key>,
    oldest: VecDeque<Key>,
}

/// The number alone would not do: while a group is parted, both sides hand it out.
type Key = (u64, String);

#[derive(Debug)]
struct Waiting {
    first: Duration,
    holders: BTreeSet<String>,
}

/// A reading to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadingLine {
    /// When the first peer delivered it.
    pub(super) at: Duration,
    /// Its number.
    pub(super) seq: u64,
    /// Its text.
    pub(super) text: String,
    /// How many of those that live have it.
    pub(super) have: usize,
    /// How many live.
    pub(super) live: usize,
}

impl Feed {
    /// A line of a process's log was read; anything but a delivery is left alone.
    pub(super) fn saw(&mut self, process: &str, line: &str, at: Duration) {
        let Some(key) = delivery(line).filter(|key| !self.told.contains(key)) else { return };
        let waiting = self
            .waiting
            .entry(key)
            .or_insert_with(|| Waiting { first: at, holders: BTreeSet::new() });
        waiting.holders.insert(process.to_owned());
    }

    /// What is to be told now, to whom `live` is everybody.
    pub(super) fn due(&mut self, now: Duration, live: &[String]) -> Vec<ReadingLine> {
        let mut rows = Vec::new();
        while let Some(first) = self.waiting.first_entry() {
            let complete = live.iter().all(|process| first.get().holders.contains(process));
            if !complete && now < first.get().first + PATIENCE {
                break;
            }
            let (key, waiting) = first.remove_entry();
            rows.push(self.tell(key, &waiting, live));
        }
        rows
    }

    /// Everything that is left, because there will be no more.
    pub(super) fn rest(&mut self, live: &[String]) -> Vec<ReadingLine> {
        std::mem::take(&mut self.waiting)
            .into_iter()
            .map(|(key, waiting)| self.tell(key, &waiting, live))
            .collect()
    }

    fn tell(&mut self, key: Key, waiting: &Waiting, live: &[String]) -> ReadingLine {
        let (seq, text) = key.clone();
        if self.oldest.len() == TOLD_MAX {
            self.oldest.pop_front().map(|oldest| self.told.remove(&oldest));
        }
        self.oldest.push_back(key.clone());
        self.told.insert(key);
        let have = live.iter().filter(|process| waiting.holders.contains(*process)).count();
        ReadingLine { at: waiting.first, seq, text, have, live: live.len() }
    }
}

/// `<time> <level> Delivered #<number>: <text>`
fn delivery(line: &str) -> Option<Key> {
    let (_time, line) = line.split_once(' ')?;
    let (_level, line) = line.split_once(' ')?;
    let (number, text) = line.strip_prefix("Delivered #")?.split_once(": ")?;
    Some((number.parse().ok()?, text.to_owned()))
}

/// How long a reading waits for the last peer to have it.
const PATIENCE: Duration = Duration::from_millis(250);
/// How many told readings are remembered: more than a peer that stood still for minutes has to
/// catch up with.
const TOLD_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Feed, ReadingLine, TOLD_MAX};

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn line(seq: u64, text: &str) -> String {
        format!("2026-11-23T08:41:56.016513Z INFO Delivered #{seq}: {text}")
    }

    fn row(at: u64, seq: u64, text: &str, have: usize, live: usize) -> ReadingLine {
        ReadingLine { at: ms(at), seq, text: text.to_owned(), have, live }
    }

    fn live(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_reading_is_told_once_when_everybody_has_it() {
        let (mut feed, all) = (Feed::default(), live(&["p1", "p2"]));
        feed.saw("p1", &line(2, "b"), ms(5));
        feed.saw("p1", &line(1, "a"), ms(6));
        feed.saw("p2", &line(1, "a"), ms(7));
        assert_eq!(feed.due(ms(8), &all), [row(6, 1, "a", 2, 2)]);
        feed.saw("p2", &line(2, "b"), ms(9));
        assert_eq!(feed.due(ms(9), &all), [row(5, 2, "b", 2, 2)]);
        assert_eq!(feed.due(ms(9_000), &all), []);
    }

    #[test]
    fn whoever_stands_still_hides_nothing_and_repeats_nothing() {
        let (mut feed, all) = (Feed::default(), live(&["p1", "p2"]));
        feed.saw("p1", &line(1, "a"), ms(0));
        assert_eq!(feed.due(ms(249), &all), []);
        assert_eq!(feed.due(ms(250), &all), [row(0, 1, "a", 1, 2)]);
        feed.saw("p2", &line(1, "a"), ms(900));
        assert_eq!(feed.due(ms(9_000), &all), []);
        // Another reading under the same number is another reading.
        feed.saw("p2", &line(1, "other"), ms(900));
        assert_eq!(feed.rest(&all), [row(900, 1, "other", 1, 2)]);
    }

    #[test]
    fn the_dead_are_not_waited_for() {
        let mut feed = Feed::default();
        feed.saw("p1", &line(1, "a"), ms(0));
        feed.saw("p3", &line(1, "a"), ms(0));
        assert_eq!(feed.due(ms(1), &live(&["p1"])), [row(0, 1, "a", 1, 1)]);
    }

    #[test]
    fn other_lines_are_left_alone_and_memory_is_bounded() {
        let mut feed = Feed::default();
        for text in [
            "",
            "Delivered #1: a",
            "2026 INFO Delivered #x: a",
            "2026 INFO A reading says Delivered #1: a",
        ] {
            feed.saw("p1", text, ms(0));
        }
        assert_eq!(feed.rest(&[]), []);
        for seq in 0..TOLD_MAX as u64 + 10 {
            feed.saw("p1", &line(seq, "a"), ms(0));
        }
        feed.rest(&[]);
        assert_eq!((feed.told.len(), feed.oldest.len()), (TOLD_MAX, TOLD_MAX));
    }
}
