//! The readings that the group delivers: one row per reading, with the number of peers that
//! delivered it.
//!
//! A row is shown as soon as every live process has the reading, or after a short time: a paused
//! peer must not hide the deliveries of the others. Rows appear in the order of their sequence
//! numbers.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::Duration;

/// Readings that some process delivered and that are not shown yet.
#[derive(Debug, Default)]
pub(super) struct Feed {
    waiting: BTreeMap<Key, Waiting>,
    /// Readings already shown; a late delivery adds no row.
    told: HashSet<Key>,
    oldest: VecDeque<Key>,
}

/// The sequence number alone is ambiguous: during a partition both sides assign it.
type Key = (u64, String);

#[derive(Debug)]
struct Waiting {
    first: Duration,
    holders: BTreeSet<String>,
}

/// A reading to show.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadingLine {
    /// When the first peer delivered it.
    pub(super) at: Duration,
    /// Its number.
    pub(super) seq: u64,
    /// Its text.
    pub(super) text: String,
    /// How many of the live processes have it.
    pub(super) have: usize,
    /// How many processes are live.
    pub(super) live: usize,
}

impl Feed {
    /// Takes a line of a process's log; ignores lines that are no delivery.
    pub(super) fn saw(&mut self, process: &str, line: &str, at: Duration) {
        let Some(key) = delivery(line).filter(|key| !self.told.contains(key)) else { return };
        let waiting = self
            .waiting
            .entry(key)
            .or_insert_with(|| Waiting { first: at, holders: BTreeSet::new() });
        waiting.holders.insert(process.to_owned());
    }

    /// The rows to show now, where `live` are the processes that count.
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

    /// All rows left, because no more deliveries come.
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

/// How long a reading waits for the last process to have it.
const PATIENCE: Duration = Duration::from_millis(250);
/// How many shown readings are remembered: more than a peer has to catch up with after a pause of
/// minutes.
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
        // A different reading with the same number is another row.
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
