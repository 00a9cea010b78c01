//! Which entries are stable, and which life knew it first.

use std::collections::BTreeMap;

use protocol::log_id::LogId;

use crate::check::held::Held;
use crate::index::{EpochId, Index, Kind, LifeId, What};

/// Every entry that a life held and knew to be stable, by epoch and position, with the life that
/// knew it first.
pub(crate) type StableEntries<'a> = BTreeMap<(EpochId, u64), Known<'a>>;

/// Every stable entry; `each` is called for every life that knows of one.
pub(crate) fn stable_entries<'a>(
    index: &'a Index<'a>,
    mut each: impl FnMut(&Known<'a>),
) -> StableEntries<'a> {
    let mut stable: StableEntries<'a> = BTreeMap::new();
    each_stable(index, |seq, epoch, known| {
        each(&known);
        let first = stable.entry((epoch, seq)).or_insert(known);
        if known.t < first.t {
            *first = known;
        }
    });
    stable
}

/// A life that knew an entry to be stable, and the records that prove it.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) life: LifeId,
    /// The record of the entry, and the record that makes it stable.
    pub(crate) held: usize,
    pub(crate) at: usize,
    pub(crate) t: u64,
    pub(crate) log: &'a LogId,
}

/// Calls `found` for every entry that a life held and knew to be stable, with its position and
/// epoch.
pub(crate) fn each_stable<'a>(
    index: &'a Index<'_>,
    mut found: impl FnMut(u64, EpochId, Known<'a>),
) {
    for (life, told) in index.lives.iter().enumerate() {
        let (mut log, mut held, mut settled): (&LogId, Held, usize) =
            (&index.none, Held::default(), 0);
        let mut bound: Option<(u64, usize)> = None;
        for fact in &told.facts {
            match fact.what {
                What::Entry(entry) => {
                    if let Kind::View(view) = entry.kind {
                        log = index.views[view].log;
                    }
                    held.add(entry.seq, entry.epoch, fact.at);
                    settled = settled.min(held.0.len() - 1);
                    if matches!(entry.kind, Kind::Data { safe: true, .. })
                        && bound.is_none_or(|(bound, _)| bound < entry.seq)
                    {
                        bound = Some((entry.seq, fact.at));
                    }
                }
                What::Stable { seq } | What::Acknowledged { seq, .. }
                    if bound.is_none_or(|(bound, _)| bound < seq) =>
                {
                    bound = Some((seq, fact.at));
                }
                What::Cut { log: cut_log, .. } => {
                    if std::mem::replace(&mut log, cut_log) != cut_log {
                        (held, settled, bound) = (Held::default(), 0, None);
                    }
                    continue;
                }
                What::Diverged { from, .. } => {
                    held.cut(from.saturating_sub(1));
                    bound = bound.filter(|(bound, _)| *bound < from);
                    settled = settled.min(held.0.len());
                    continue;
                }
                What::Transfer { .. } | What::Merged { .. } => {
                    bound = None;
                    continue;
                }
                _ => continue,
            }
            // An entry that is delivered late was stable before.
            let Some((bound, at)) = bound else { continue };
            while let Some((seq, epoch, record)) = held.0.get(settled).filter(|row| row.0 <= bound)
            {
                found(*seq, *epoch, Known { life, held: *record, at, t: fact.t, log });
                settled += 1;
            }
        }
    }
}
