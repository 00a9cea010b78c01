//! The entries that a life holds, according to its records.

use crate::index::EpochId;

/// The entries of a life, lowest position first: position, epoch, record.
#[derive(Clone, Default)]
pub(crate) struct Held(pub(crate) Vec<(u64, EpochId, usize)>);

impl Held {
    pub(crate) fn add(&mut self, seq: u64, epoch: EpochId, at: usize) {
        self.cut(seq.saturating_sub(1));
        self.0.push((seq, epoch, at));
    }

    /// Drops every entry above that position.
    pub(crate) fn cut(&mut self, seq: u64) {
        if self.0.last().is_some_and(|row| row.0 > seq) {
            self.0.truncate(self.0.partition_point(|row| row.0 <= seq));
        }
    }

    /// The entries at or above that position.
    pub(crate) fn from(&self, seq: u64) -> impl Iterator<Item = (u64, EpochId, usize)> {
        self.0[self.0.partition_point(|row| row.0 < seq)..].iter().copied()
    }

    /// The epoch of the entry at that position, and its record.
    pub(crate) fn at(&self, seq: u64) -> Option<(EpochId, usize)> {
        self.0.binary_search_by_key(&seq, |row| row.0).ok().map(|at| (self.0[at].1, self.0[at].2))
    }

    pub(crate) fn has(&self, seq: u64, epoch: EpochId) -> bool {
        self.at(seq).is_some_and(|(known, _)| known == epoch)
    }
}
