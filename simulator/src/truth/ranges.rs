//! Sets of an origin's numbers, as ranges.

use std::collections::BTreeMap;

use protocol::id::Oseq;

/// A set of numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges {
    /// The last number of each range, by its first one. No two ranges touch.
    last: BTreeMap<Oseq, Oseq>,
}

impl Ranges {
    pub(super) fn add(&mut self, mut from: Oseq, mut to: Oseq) {
        while let Some((first, last)) =
            self.last.range(..=to.next()).next_back().map(|(first, last)| (*first, *last))
        {
            if last.next() < from {
                break;
            }
            self.last.remove(&first);
            (from, to) = (from.min(first), to.max(last));
        }
        self.last.insert(from, to);
    }

    /// Whether it contains all of these.
    pub(super) fn has(&self, from: Oseq, to: Oseq) -> bool {
        self.last.range(..=from).next_back().is_some_and(|(_, last)| *last >= to)
    }

    /// The first number from 1 on in neither of the two sets.
    pub(super) fn first_missing_of(&self, other: &Self) -> Oseq {
        let mut missing = Oseq(1);
        while let Some(last) = self.end_at(missing).max(other.end_at(missing)) {
            missing = last.next();
        }
        missing
    }

    /// The last number of the range that a number is in.
    fn end_at(&self, oseq: Oseq) -> Option<Oseq> {
        self.last.range(..=oseq).next_back().map(|(_, last)| *last).filter(|last| *last >= oseq)
    }

    /// The highest number in it.
    pub(super) fn highest(&self) -> Oseq {
        self.last.last_key_value().map_or(Oseq::ZERO, |(_, last)| *last)
    }
}

#[cfg(test)]
mod tests {
    use super::Ranges;
    use protocol::id::Oseq;

    #[test]
    fn ranges_that_touch_become_one() {
        let mut set = Ranges::default();
        for (from, to) in [(1, 2), (6, 7), (3, 4)] {
            set.add(Oseq(from), Oseq(to));
        }
        assert!(set.has(Oseq(1), Oseq(4)) && !set.has(Oseq(4), Oseq(6)));
        let mut other = Ranges::default();
        assert_eq!((set.first_missing_of(&other), set.highest()), (Oseq(5), Oseq(7)));
        other.add(Oseq(5), Oseq(5));
        assert_eq!(set.first_missing_of(&other), Oseq(8));
        set.add(Oseq(2), Oseq(6));
        assert!(set.has(Oseq(1), Oseq(7)));
        assert_eq!(Ranges::default().first_missing_of(&Ranges::default()), Oseq(1));
    }
}
