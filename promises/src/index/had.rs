//! The readings that a life has received so far: ranges of numbers for each origin, maintained
//! while the index is built.
//!
//! A life that calls an entry a repeat is believed only if it has received that very reading, or
//! was told that its origin lost it.

use std::collections::BTreeMap;

use super::LifeId;

/// The readings of one life, by origin: ranges of numbers, lowest first, that neither overlap nor
/// touch.
#[derive(Default)]
pub(super) struct Had {
    of: BTreeMap<LifeId, Vec<(u64, u64)>>,
}

impl Had {
    /// Adds readings that it has received now, or that it was told are lost.
    pub(super) fn add(&mut self, origin: LifeId, from: u64, to: u64) {
        if to < from {
            return;
        }
        let ranges = self.of.entry(origin).or_default();
        // Ranges that overlap or touch the new one are joined with it.
        let first = ranges.partition_point(|(_, end)| end.saturating_add(1) < from);
        let end = ranges.partition_point(|(begin, _)| *begin <= to.saturating_add(1));
        let joined = ranges[first..end]
            .iter()
            .fold((from, to), |(low, high), (begin, end)| (low.min(*begin), high.max(*end)));
        ranges.splice(first..end, [joined]);
    }

    /// Whether it has received that reading.
    pub(super) fn has(&self, origin: LifeId, oseq: u64) -> bool {
        let Some(ranges) = self.of.get(&origin) else { return false };
        ranges
            .get(ranges.partition_point(|(_, end)| *end < oseq))
            .is_some_and(|(begin, _)| *begin <= oseq)
    }
}

#[cfg(test)]
mod tests {
    use super::Had;

    #[test]
    fn exactly_what_was_added_was_had() {
        let mut had = Had::default();
        for (from, to) in [(10, 12), (3, 3), (14, 20), (4, 5), (13, 13), (1, 1), (11, 15), (30, 29)]
        {
            had.add(7, from, to);
        }
        let numbers: Vec<u64> = (0..=32).filter(|oseq| had.has(7, *oseq)).collect();
        assert_eq!(numbers, [1, 3, 4, 5].into_iter().chain(10..=20).collect::<Vec<u64>>());
        assert!(!had.has(8, 3));
    }
}
