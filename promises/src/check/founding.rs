//! How epochs begin: what a founder had, and what it keeps.

use crate::check::held::Held;
use crate::index::{EpochId, Index, LifeId, What};

/// How an epoch began, by its owner's word.
pub(crate) struct Founding {
    pub(crate) owner: LifeId,
    pub(crate) at: usize,
    pub(crate) t: u64,
    /// The last position before it.
    pub(crate) cut: u64,
    /// Up to where its owner kept what it had handed over: further down, if the log that it goes on
    /// in is another part's.
    pub(crate) keeps: u64,
    /// In which epoch its owner was before, if in any.
    pub(crate) before: Option<EpochId>,
    /// What the owner had delivered and kept.
    pub(crate) kept: Held,
    /// What it had delivered and did not keep.
    pub(crate) dropped: Vec<(u64, EpochId, usize)>,
}

/// How each epoch began, where its owner has told it.
pub(crate) fn foundings(index: &Index<'_>) -> Vec<Option<Founding>> {
    let mut foundings: Vec<Option<Founding>> = (0..index.epochs.len()).map(|_| None).collect();
    for (owner, life) in index.lives.iter().enumerate().filter(|(_, life)| !life.holed) {
        let (mut log, mut held, mut before) = (&index.none, Held::default(), None);
        for (turn, fact) in life.facts.iter().enumerate() {
            match fact.what {
                What::Entry(entry) => held.add(entry.seq, entry.epoch, fact.at),
                What::Diverged { from, .. } => held.cut(from.saturating_sub(1)),
                What::Cut { epoch, seq, log: cut_log } => {
                    let name = &index.epochs[epoch].owner;
                    if std::mem::replace(&mut log, cut_log) != cut_log {
                        // The log of a group that was founded apart: nothing of the old one is in
                        // it.
                        held.cut(0);
                        before = None;
                    }
                    if name.inc == life.inc && name.id == *life.peer && foundings[epoch].is_none() {
                        // What it takes back with the cut, it does not keep.
                        let taken_back =
                            life.facts.get(turn + 1).and_then(|next| match next.what {
                                What::Diverged { from, .. } => Some(from.saturating_sub(1)),
                                _ => None,
                            });
                        let keeps = taken_back.map_or(seq, |above| above.min(seq));
                        let dropped = held.from(keeps + 1).collect();
                        let mut kept = held.clone();
                        kept.cut(keeps);
                        foundings[epoch] = Some(Founding {
                            owner,
                            at: fact.at,
                            t: fact.t,
                            cut: seq,
                            keeps,
                            before,
                            kept,
                            dropped,
                        });
                    }
                    before = Some(epoch);
                }
                _ => {}
            }
        }
    }
    foundings
}
