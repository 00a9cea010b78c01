//! What a life holds of a log, as its records tell it.

use crate::index::EpochId;

/// What a life holds, lowest position first: position, epoch, record.
#[derive(Clone, Default)]
pub(crate) struct Held(pub(crate) Vec<(u64, EpochId, usize)>);

impl Held {
    pub(crate) fn add(&mut self, seq: u64, epoch: EpochId, at: usize) {
        self.cut(seq.saturating_sub(1));
        self.0.push((seq, epoch, at));
    }

    /// Only what stands at or below that position is left.
    pub(crate) fn cut(&mut self, seq: u64) {
        if self.0.last().is_some_and(|row| row.0 > seq) {
            self.0.truncate(self.0.partition_point(|row| row.0 <= seq));
        }
    }

    /// What stands at or above that position.
    pub(crate) fn from(&self, seq: u64) -> impl Iterator<Item = (u64, EpochId, usize)> {
        self.0[self.0.partition_point(|row| row.0 < seq)..].iter().copied()
    }

    /// The epoch of what stands at that position, and its record.
    pub(crate) fn at(&self, seq: u64) -> Option<(EpochId, usize)> {
        self.0.binary_search_by_key(&seq, |row| row.0).ok().map(|at| (self.0[at].1, self.0[at].2))
    }

    pub(crate) fn has(&self, seq: u64, epoch: EpochId) -> bool {
        self.at(seq).is_some_and(|(known, _)| known == epoch)
    }
}
