//! Leadership: one leader per epoch, epochs that only rise, promises that bind.

use std::collections::BTreeMap;

use crate::index::{Entry, EpochId, Kind, LifeId, What};
use crate::judged_run::JudgedRun;
use crate::sheet::Sheet;

/// Only its owner leads an epoch, and every follower in that epoch follows the owner.
pub(crate) fn one_leader_per_epoch(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    let mut elected: BTreeMap<EpochId, (LifeId, usize)> = BTreeMap::new();
    for (id, life) in index.lives.iter().enumerate() {
        for fact in &life.facts {
            match &fact.what {
                What::Elected { epoch, .. } => {
                    sheet.look();
                    let (other, at) = *elected.entry(*epoch).or_insert((id, fact.at));
                    if other != id {
                        sheet.breach(&[at, fact.at], || {
                            format!(
                                "{} and {} both lead epoch {}",
                                index.name(other),
                                index.name(id),
                                index.epochs[*epoch]
                            )
                        });
                    } else if index.epochs[*epoch].owner.id != *life.peer
                        || index.epochs[*epoch].owner.inc != life.inc
                    {
                        sheet.breach(&[fact.at], || {
                            format!(
                                "{} leads epoch {:?}, which is not its own",
                                index.name(id),
                                index.epochs[*epoch]
                            )
                        });
                    }
                }
                What::Follows { leader, epoch } => {
                    sheet.look();
                    let owner = &index.epochs[*epoch].owner.id;
                    if owner != *leader {
                        sheet.breach(&[fact.at], || {
                            format!(
                                "{} follows {leader} in epoch {}, which is {owner}'s",
                                index.name(id),
                                index.epochs[*epoch]
                            )
                        });
                    }
                }
                _ => {}
            }
        }
    }
}

/// The epochs that a life promises, adopts and leads only rise.
pub(crate) fn epoch_monotonic(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    for (id, life) in index.lives.iter().enumerate() {
        let mut highest: [Option<(EpochId, usize)>; 3] = [None; 3];
        for fact in &life.facts {
            let (slot, epoch, verb) = match fact.what {
                What::Promised { epoch } => (0, epoch, "promised"),
                What::Cut { epoch, .. } | What::Transfer { epoch, .. } => (1, epoch, "adopted"),
                What::Elected { epoch, .. } => (2, epoch, "led"),
                _ => continue,
            };
            sheet.look();
            if let Some((before, at)) = highest[slot]
                && index.epochs[epoch] < index.epochs[before]
            {
                let words = || {
                    format!(
                        "{} {verb} epoch {} after {}",
                        index.name(id),
                        index.epochs[epoch],
                        index.epochs[before]
                    )
                };
                sheet.breach(&[at, fact.at], words);
            }
            highest[slot] = Some((epoch, fact.at));
        }
    }
}

/// A peer that has promised an epoch takes part in no older one: it adopts none, leads none, is
/// admitted to none, and accepts no reading of an older epoch, except with a cut or a snapshot. The
/// moment at which a peer accepts a reading is not visible, but a reading published after the
/// promise cannot have arrived before it.
pub(crate) fn fenced_sequencer(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    for (id, life) in index.lives.iter().enumerate() {
        let mut promised: Option<(EpochId, usize)> = None;
        // When it made its promise, until it adopts an epoch.
        let mut fenced: Option<u64> = None;
        for fact in &life.facts {
            let (epoch, verb) = match fact.what {
                What::Promised { epoch } => {
                    sheet.look();
                    if promised
                        .is_none_or(|(before, _)| index.epochs[before] <= index.epochs[epoch])
                    {
                        promised = Some((epoch, fact.at));
                        fenced = Some(fact.t);
                    }
                    continue;
                }
                What::Entry(Entry { epoch, seq, kind: Kind::Data { origin, oseq, .. } }) => {
                    let (Some(since), Some((bound, at))) = (fenced, promised) else { continue };
                    let Some(publication) = index.publication(origin, oseq) else { continue };
                    sheet.look();
                    if publication.t > since && index.epochs[epoch] < index.epochs[bound] {
                        sheet.breach(&[at, publication.at, fact.at], || {
                            let (old, new) = (index.epochs[epoch], index.epochs[bound]);
                            format!(
                                "{} took in #{seq} of epoch {old} after it had promised {new}",
                                index.name(id)
                            )
                        });
                    }
                    continue;
                }
                What::Cut { epoch, .. } => (epoch, "adopted"),
                What::Transfer { epoch, .. } => (epoch, "took a snapshot of"),
                What::Elected { epoch, .. } => (epoch, "led"),
                _ => continue,
            };
            fenced = None;
            sheet.look();
            if let Some((bound, at)) = promised
                && index.epochs[epoch] < index.epochs[bound]
            {
                let words = || {
                    format!(
                        "{} {verb} epoch {} after it had promised {}",
                        index.name(id),
                        index.epochs[epoch],
                        index.epochs[bound]
                    )
                };
                sheet.breach(&[at, fact.at], words);
            }
        }
    }
}
