//! What founders, and members of the view that made an entry stable, have to keep.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::founding::Founding;
use crate::check::known::{Known, each_stable};
use crate::check::parts::{Parts, Right, Stable, UNTOLD};
use crate::index::{EpochId, Index, Kind, LifeId, What};
use crate::judged_run::JudgedRun;
use crate::sheet::Sheet;

/// A founder that had a stable entry starts its epoch above it. In mode `available` it may instead
/// move to the log of another part, if that part left rightly and the founder itself did not know
/// that the entry is stable.
pub(crate) fn founders_keep(
    run: &JudgedRun<'_>,
    parts: &Parts<'_>,
    stable: &BTreeMap<(EpochId, u64), Known<'_>>,
    sheet: &mut Sheet,
) {
    let (index, foundings) = (run.index, parts.foundings);
    let dropped = |founding: &Founding| {
        founding
            .dropped
            .iter()
            .map(|&(seq, epoch, _)| (founding.owner, epoch, seq))
            .collect::<Vec<_>>()
    };
    let wanted: BTreeSet<(LifeId, EpochId, u64)> =
        foundings.iter().flatten().flat_map(dropped).collect();
    let mut knew: BTreeMap<(LifeId, EpochId, u64), usize> = BTreeMap::new();
    if !wanted.is_empty() {
        each_stable(index, |seq, epoch, known| {
            let key = (known.life, epoch, seq);
            if wanted.contains(&key) {
                knew.entry(key).or_insert(known.at);
            }
        });
    }
    for (founded, founding) in foundings
        .iter()
        .enumerate()
        .filter_map(|(founded, founding)| Some((founded, founding.as_ref()?)))
    {
        sheet.look();
        for &(seq, epoch, at) in &founding.dropped {
            let Some(known) = stable.get(&(epoch, seq)) else { continue };
            let knew_it =
                knew.get(&(founding.owner, epoch, seq)).is_some_and(|told| *told < founding.at);
            let right = if run.is_primary() || knew_it {
                Right::Dropped(founding.at)
            } else {
                parts.right_of_founder(Stable { epoch, seq, known: known.t }, founded)
            };
            match right {
                Right::Parted => {}
                Right::Untold => sheet.excuse(UNTOLD),
                Right::Kept | Right::Dropped(_) => {
                    sheet.breach(&[at, known.at, founding.at], || {
                        format!(
                            "{} had #{seq}, which is stable, and founds an epoch without it",
                            index.name(founding.owner)
                        )
                    });
                    break;
                }
            }
        }
    }
}

/// A member of the view in which an entry became stable has the entry, delivered or not. If it has
/// followed no other leader since, and no other group has appeared, it founds no epoch below the
/// entry.
pub(crate) fn members_keep(index: &Index<'_>, foundings: &[Option<Founding>], sheet: &mut Sheet) {
    // The highest position that each epoch's leader announced as stable, when, and in which view.
    let mut highest: Vec<Option<(u64, usize, usize)>> = vec![None; index.epochs.len()];
    for life in &index.lives {
        let (mut adopted, mut view, mut own) = (None, None, None);
        for fact in &life.facts {
            match fact.what {
                What::Cut { epoch, .. } => (adopted, view) = (Some(epoch), None),
                What::Entry(entry) => {
                    if let Kind::View(number) = entry.kind {
                        view = Some(number);
                        // A safe entry is first announced as stable and then delivered, and a view
                        // likewise: an entry at or below that position was stable in the view that
                        // it installs.
                        if let Some((seq, by, at)) =
                            adopted.and_then(|epoch: EpochId| highest[epoch].as_mut())
                            && entry.seq <= *seq
                            && own == Some(*at)
                        {
                            *by = number;
                        }
                    }
                }
                What::Stable { seq } => {
                    let (Some(epoch), Some(view)) = (adopted, view) else { continue };
                    if index.views[view].seq <= seq {
                        highest[epoch] = Some((seq, view, fact.at));
                        own = Some(fact.at);
                    }
                }
                _ => {}
            }
        }
    }
    for (epoch, founding) in foundings.iter().enumerate() {
        let Some((founding, before)) =
            founding.as_ref().and_then(|founding| Some((founding, founding.before?)))
        else {
            continue;
        };
        let Some((seq, view, at)) = highest[before] else { continue };
        let owner = &index.lives[founding.owner];
        let others = foundings
            .iter()
            .enumerate()
            .filter_map(|(other, founding)| Some((other, founding.as_ref()?)));
        let mut rivals = others.filter(|(other, rival)| {
            *other != epoch && rival.at < founding.at && index.epochs[*other] > index.epochs[before]
        });
        if at > founding.at
            || !index.views[view].names(owner.peer, owner.inc)
            || rivals.next().is_some()
        {
            continue;
        }
        sheet.look();
        if founding.keeps < seq {
            sheet.breach(&[index.views[view].at, at, founding.at], || {
                format!(
                    "everyone in view {} had everything up to #{seq}, and {}, which was in it, \
                     founds epoch {} above #{}",
                    index.views[view].view_id,
                    index.name(founding.owner),
                    index.epochs[epoch],
                    founding.keeps
                )
            });
        }
    }
}
