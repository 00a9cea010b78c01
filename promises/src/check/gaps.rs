//! Compares reported gaps with the entries that the leader retained.
//!
//! A leader retains its last `retain_entries` entries, as long as they take at most `retain_bytes`.
//! No follower needs to miss an entry that the leader delivered itself and still retains, unless
//! later readings of the same origin came first.

use std::collections::BTreeMap;

use crate::check::held::Held;
use crate::index::{EpochId, Index, Kind, LifeId, What};
use crate::judged_run::JudgedRun;
use crate::sheet::Sheet;

/// A gap covers only readings that the leader does not retain, or that come after later readings of
/// their origin.
pub(crate) fn gap_needed(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    for (id, life) in index.lives.iter().enumerate() {
        let mut reached: Option<EpochId> = None;
        let mut highest: BTreeMap<LifeId, u64> = BTreeMap::new();
        for fact in &life.facts {
            match fact.what {
                What::Cut { epoch, .. } | What::Transfer { epoch, .. } => reached = Some(epoch),
                What::Entry(entry) => match entry.kind {
                    Kind::Data { origin, oseq: last, .. } | Kind::Lost { origin, to: last, .. } => {
                        let known = highest.entry(origin).or_default();
                        *known = last.max(*known);
                    }
                    Kind::View(_) => {}
                },
                What::Gap { from, to } => {
                    let leader = reached.and_then(|epoch| {
                        Some((
                            epoch,
                            index.life(
                                &index.epochs[epoch].owner.id,
                                index.epochs[epoch].owner.inc,
                            )?,
                        ))
                    });
                    let Some((epoch, leader)) =
                        leader.filter(|(_, leader)| *leader != id && !index.lives[*leader].holed)
                    else {
                        continue;
                    };
                    let Some(kept) = Kept::of(run, leader, epoch, fact.at) else {
                        sheet.excuse("its leader led no more, or had just got its log");
                        continue;
                    };
                    let mut missed = kept.held.from(from).take_while(|(seq, ..)| *seq <= to);
                    let needless = missed
                        .find(|(seq, epoch, _)| is_wanted(index, *epoch, *seq, leader, &highest));
                    let Some((seq, _, at)) = needless else {
                        sheet.look();
                        continue;
                    };
                    if seq <= kept.forgotten {
                        sheet.look();
                    } else if seq <= kept.perhaps {
                        sheet.excuse(SIZES);
                    } else {
                        sheet.breach(&[at, fact.at], || {
                            let (me, leader) = (index.name(id), index.name(leader));
                            format!(
                                "{me} tells a gap from #{from} to #{to}, and {leader}, which \
                                     it follows, has the reading at #{seq}"
                            )
                        });
                    }
                }
                _ => {}
            }
        }
    }
}

/// Whether that position holds a reading newer than all readings received of its origin.
fn is_wanted(
    index: &Index<'_>,
    epoch: EpochId,
    seq: u64,
    holder: LifeId,
    highest: &BTreeMap<LifeId, u64>,
) -> bool {
    index.at_position(epoch, seq).iter().filter(|placed| placed.life == holder).any(|placed| {
        match placed.entry.kind {
            Kind::Data { origin, oseq, .. } => {
                highest.get(&origin).is_none_or(|highest| *highest < oseq)
            }
            Kind::Lost { .. } | Kind::View(_) => false,
        }
    })
}

/// The entries that a leader has delivered and retains.
struct Kept {
    held: Held,
    /// The last position that it may have dropped by the number of entries.
    forgotten: u64,
    /// The last position that it may have dropped because the later entries take the space.
    perhaps: u64,
}

impl Kept {
    /// At the moment of that record; none if it was in another epoch then.
    fn of(run: &JudgedRun<'_>, leader: LifeId, epoch: EpochId, at: usize) -> Option<Self> {
        let knobs = &run.options.knobs;
        let (mut held, mut adopted) = (Held::default(), None);
        let mut log = &run.index.none;
        for fact in run.index.lives[leader].facts.iter().take_while(|fact| fact.at < at) {
            match fact.what {
                What::Entry(entry) => held.add(entry.seq, entry.epoch, fact.at),
                What::Diverged { from, .. } => held.cut(from.saturating_sub(1)),
                What::Transfer { .. } => held = Held::default(),
                What::Cut { epoch, log: cut_log, .. } => {
                    adopted = Some(epoch);
                    if std::mem::replace(&mut log, cut_log) != cut_log {
                        held = Held::default();
                    }
                }
                _ => {}
            }
        }
        let end = held.0.last().filter(|_| adopted == Some(epoch))?.0;
        let by_room = knobs.retain_bytes / run.heaviest_entry();
        // It may retain more than it has delivered, by the entries in flight.
        let forgotten = end.saturating_sub(knobs.retain_entries.saturating_sub(SLACK));
        let perhaps = end.saturating_sub(by_room.min(knobs.retain_entries).saturating_sub(SLACK));
        Some(Self { held, forgotten, perhaps })
    }
}

/// The reason for not judging what depends on bytes.
pub(super) const SIZES: &str = "a history does not tell how long readings are";

/// How many more entries a leader may retain than it has delivered.
const SLACK: u64 = 16;
