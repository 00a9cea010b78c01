//! How epochs begin: the log of the founder, and what it keeps of it.

use crate::check::held::Held;
use crate::index::{EpochId, Index, LifeId, What};

/// The start of an epoch, as its owner reports it.
pub(crate) struct Founding {
    pub(crate) owner: LifeId,
    pub(crate) at: usize,
    pub(crate) t: u64,
    /// The last position before it.
    pub(crate) cut: u64,
    /// The last delivered position that its owner kept. It is lower if the owner continues in the
    /// log of another part.
    pub(crate) keeps: u64,
    /// The owner's previous epoch, if any.
    pub(crate) before: Option<EpochId>,
    /// The entries that the owner had delivered and kept.
    pub(crate) kept: Held,
    /// The entries that it had delivered and did not keep.
    pub(crate) dropped: Vec<(u64, EpochId, usize)>,
}

/// The start of each epoch, if its owner reported it.
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
                        // The log of a separately founded group: it shares no entry with the old
                        // one.
                        held.cut(0);
                        before = None;
                    }
                    if name.inc == life.inc && name.id == *life.peer && foundings[epoch].is_none() {
                        // Entries taken back with the cut are not kept.
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
