//! The retained part of a log: consecutive entries, found by their positions.
//!
//! An entry of readings takes up as many positions as it has readings, and may begin and end
//! anywhere; what is asked for is cut out of it, and what is given up is cut off, without a copy.
//! So whoever asks sees positions, and never how they came together.
//!
//! Knows nothing of views, epochs or tables (see `log`).

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use crate::id::Seq;
use crate::log::entry::Entry;

/// Consecutive entries behind a position.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    /// The last position that is not in it.
    base: Seq,
    /// Each with its first position.
    entries: VecDeque<(Seq, Entry)>,
    end: Seq,
    weight: u64,
}

impl Tail {
    /// Of nothing, behind that position.
    pub(crate) fn new(base: Seq) -> Self {
        Self { base, entries: VecDeque::new(), end: base, weight: 0 }
    }

    /// The last position that is not in it.
    pub(crate) fn base(&self) -> Seq {
        self.base
    }

    /// The last position that is in it; the base where there is none.
    pub(crate) fn end(&self) -> Seq {
        self.end
    }

    /// How many bytes its entries weigh; no matter how they came together.
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    /// Adds an entry; gives its first position.
    pub(crate) fn push(&mut self, entry: Entry) -> Seq {
        let first = self.end.next();
        self.end = self.end.plus(entry.positions());
        self.weight += entry.weight();
        self.entries.push_back((first, entry));
        first
    }

    /// Whatever stands from `first` on, cut where that is in the middle of an entry.
    pub(crate) fn from(&self, first: Seq) -> impl Iterator<Item = (Seq, Entry)> {
        self.between(first, self.end)
    }

    /// Whatever stands there, cut where that begins or ends in the middle of an entry.
    pub(crate) fn between(&self, first: Seq, last: Seq) -> impl Iterator<Item = (Seq, Entry)> {
        let first = first.max(self.base.next());
        let place = self.entries.partition_point(|(at, entry)| at.plus(entry.positions()) <= first);
        self.entries.range(place..).take_while(move |(at, _)| first.max(*at) <= last).map(
            move |(at, entry)| {
                let from = first.max(*at);
                let end = last.min(at.plus(entry.positions()).previous());
                (from, entry.part(from.above(*at)..end.next().above(*at)))
            },
        )
    }

    /// Gives up its first entries, up to that position.
    pub(crate) fn forget(&mut self, to: Seq) -> Vec<Entry> {
        let mut gone = Vec::new();
        while self.base < to.min(self.end) {
            let Some((at, entry)) = self.entries.pop_front() else { break };
            let last = at.plus(entry.positions()).previous();
            let entry = if last > to {
                let kept = to.next().above(at);
                self.entries.push_front((to.next(), entry.part(kept..entry.positions())));
                entry.part(0..kept)
            } else {
                entry
            };
            self.base = last.min(to);
            self.weight -= entry.weight();
            gone.push(entry);
        }
        gone
    }

    /// How far it has to be given up from the front, at least, to weigh no more than that.
    pub(crate) fn heavier_than(&self, weight: u64) -> Seq {
        let (mut to, mut left) = (self.base, self.weight);
        for (at, entry) in &self.entries {
            if left <= weight {
                break;
            }
            let over = left - weight;
            if entry.weight() <= over {
                to = at.plus(entry.positions()).previous();
                left -= entry.weight();
            } else {
                // The last ones of it may stay that weigh no more than what is left to them.
                to = at.plus(entry.least_weighing(over)).previous();
                break;
            }
        }
        to
    }

    /// Drops what stands behind that position.
    pub(crate) fn truncate(&mut self, to: Seq) {
        while let Some((at, entry)) =
            self.entries.pop_back_if(|(at, entry)| at.plus(entry.positions()) > to.next())
        {
            self.weight -= entry.weight();
            if at <= to {
                let entry = entry.part(0..to.next().above(at));
                self.weight += entry.weight();
                self.entries.push_back((at, entry));
            }
        }
        self.end = self.end.min(to.max(self.base));
    }
}

/// By what stands at each position.
impl Hash for Tail {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.base, self.end).hash(state);
        for (_, entry) in &self.entries {
            entry.singly().for_each(|entry| entry.hash(state));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tail;
    use crate::guarantee::Guarantee;
    use crate::id::{Incarnation, Member, Oseq, PeerId, Seq};
    use crate::log::entry::Entry;
    use crate::log::readings::Collector;
    use crate::report::inspect::identity;

    fn readings(first: u64, count: u64) -> Entry {
        let origin = Member { id: PeerId::new("p2").expect("a valid name"), inc: Incarnation(1) };
        let mut collector = Collector::default();
        // Each weighs by its number, so that no two places can be mistaken.
        (first..first + count).for_each(|n| collector.push(&vec![b'x'; n as usize], 0));
        Entry::Readings {
            origin,
            first: Oseq(first),
            guarantee: Guarantee::Agreed,
            ordered: None,
            readings: collector.finish().expect("some"),
        }
    }

    /// Nine readings behind position 10, put together in entries of these sizes.
    fn tail(sizes: &[u64]) -> Tail {
        let mut tail = Tail::new(Seq(10));
        let mut next = 1;
        for size in sizes {
            assert_eq!(tail.push(readings(next, *size)), Seq(10 + next));
            next += size;
        }
        tail
    }

    /// The positions that stand there, each by itself, as their numbers.
    fn numbers(entries: impl Iterator<Item = (Seq, Entry)>) -> Vec<(u64, u64)> {
        let mut numbers = Vec::new();
        for (at, entry) in entries {
            for (place, single) in entry.singly().enumerate() {
                let Entry::Readings { first, .. } = single else {
                    unreachable!("there is nothing else")
                };
                numbers.push((at.0 + place as u64, first.0));
            }
        }
        numbers
    }

    const TOGETHER: [&[u64]; 5] =
        [&[9], &[1, 1, 1, 1, 1, 1, 1, 1, 1], &[4, 5], &[2, 3, 4], &[8, 1]];

    #[test]
    fn whatever_is_asked_for_is_there_however_it_came_together() {
        for sizes in TOGETHER {
            let tail = tail(sizes);
            assert_eq!((tail.base(), tail.end(), tail.weight()), (Seq(10), Seq(19), 45 + 9 * 48));
            assert_eq!(identity(&tail), identity(&self::tail(&[9])));
            for first in 9..=21 {
                for last in 10..=20 {
                    let expected: Vec<(u64, u64)> =
                        (first.max(11)..=last.min(19)).map(|at| (at, at - 10)).collect();
                    assert_eq!(
                        numbers(tail.between(Seq(first), Seq(last))),
                        expected,
                        "{sizes:?}, {first} to {last}"
                    );
                }
            }
            assert_eq!(numbers(tail.from(Seq(17))), [(17, 7), (18, 8), (19, 9)]);
        }
    }

    #[test]
    fn either_end_is_cut_anywhere() {
        for sizes in TOGETHER {
            for cut in 9..=20 {
                let mut front = tail(sizes);
                let gone = front.forget(Seq(cut));
                let to = cut.clamp(10, 19);
                let count: u64 = gone.iter().map(Entry::positions).sum();
                assert_eq!(
                    (count, front.base(), front.end()),
                    (to - 10, Seq(to), Seq(19)),
                    "{sizes:?}, {cut}"
                );
                assert_eq!(
                    numbers(front.from(Seq(1))),
                    (to + 1..=19).map(|at| (at, at - 10)).collect::<Vec<_>>()
                );
                let mut back = tail(sizes);
                back.truncate(Seq(cut));
                assert_eq!((back.base(), back.end()), (Seq(10), Seq(to)), "{sizes:?}, {cut}");
                assert_eq!(
                    numbers(back.from(Seq(1))),
                    (11..=to).map(|at| (at, at - 10)).collect::<Vec<_>>()
                );
                let weight =
                    |numbers: std::ops::RangeInclusive<u64>| numbers.map(|n| n + 48).sum::<u64>();
                assert_eq!(
                    (front.weight(), back.weight()),
                    (weight(to - 9..=9), weight(1..=to - 10))
                );
            }
        }
    }

    #[test]
    fn what_is_too_heavy_goes_from_the_front_and_no_more_than_has_to() {
        let all = 45 + 9 * 48;
        for sizes in TOGETHER {
            let tail = tail(sizes);
            for (weight, to) in [
                (all + 1, 10),
                (all, 10),
                (all - 1, 11),
                (all - 49, 11),
                (all - 50, 12),
                (57, 18),
                (56, 19),
                (0, 19),
            ] {
                assert_eq!(tail.heavier_than(weight), Seq(to), "{sizes:?}, {weight}");
            }
        }
    }
}
