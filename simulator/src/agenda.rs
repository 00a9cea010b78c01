//! The agenda of future events: one binary heap ordered by time, then by a drawn tie-break, then by
//! insertion.
//!
//! Two events in the same microsecond have no order in the simulation, so the seed draws one. No
//! event is ever removed early: an obsolete event (a dead process's timer) is recognised when its
//! time comes.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use protocol::draw::draw;
use protocol::time::Time;

/// The future events, soonest first.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    heap: BinaryHeap<Reverse<Item<T>>>,
    seed: u64,
    count: u64,
}

impl<T> Agenda<T> {
    pub(crate) fn new(seed: u64) -> Self {
        Self { heap: BinaryHeap::new(), seed, count: 0 }
    }

    pub(crate) fn add(&mut self, at: Time, what: T) {
        self.count += 1;
        let tie = draw(self.seed, "tie", self.count);
        self.heap.push(Reverse(Item { at, tie, count: self.count, what }));
    }

    /// The time of the next event.
    pub(crate) fn next_at(&self) -> Option<Time> {
        self.heap.peek().map(|item| item.0.at)
    }

    pub(crate) fn take(&mut self) -> Option<(Time, T)> {
        self.heap.pop().map(|item| (item.0.at, item.0.what))
    }
}

#[derive(Debug)]
struct Item<T> {
    at: Time,
    tie: u64,
    count: u64,
    what: T,
}

impl<T> Ord for Item<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.tie, self.count).cmp(&(other.at, other.tie, other.count))
    }
}

impl<T> PartialOrd for Item<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Item<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Item<T> {}

#[cfg(test)]
mod tests {
    use super::Agenda;
    use protocol::time::Time;

    fn order(seed: u64) -> Vec<u32> {
        let mut agenda = Agenda::new(seed);
        agenda.add(Time::from_micros(9), 100);
        (0..20).for_each(|n| agenda.add(Time::from_micros(5), n));
        std::iter::from_fn(|| agenda.take().map(|(_, n)| n)).collect()
    }

    #[test]
    fn time_decides_then_the_seed() {
        assert_eq!(order(1).last(), Some(&100), "later is later");
        assert_eq!(order(1), order(1), "one seed, one order");
        assert_ne!(order(1), order(2), "another seed, another order among equals");
    }
}
