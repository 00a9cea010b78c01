//! Views are legal, the same for all peers, and at the same place among the readings.

use std::collections::BTreeMap;

use crate::index::{EpochId, Index, Kind, Life, LifeId, ViewFact, What};
use crate::judged_run::JudgedRun;
use crate::sheet::Sheet;

/// Views rise, include the reporting peer and their leader, and have the same members in every
/// report.
pub(crate) fn view_legal(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    let mut first: BTreeMap<(EpochId, u64), &ViewFact<'_>> = BTreeMap::new();
    let mut last: Vec<Option<&ViewFact<'_>>> = vec![None; index.lives.len()];
    for view in &index.views {
        sheet.look();
        let life = &index.lives[view.life];
        let title = || {
            format!(
                "view {} of epoch {} at {}",
                view.view_id,
                index.epochs[view.epoch],
                index.name(view.life)
            )
        };
        let before = last[view.life].replace(view);
        if let Some(before) = before
            && (index.epochs[view.epoch], view.view_id)
                <= (index.epochs[before.epoch], before.view_id)
        {
            sheet.breach(&[before.at, view.at], || {
                format!(
                    "{} comes after view {} of epoch {}",
                    title(),
                    before.view_id,
                    index.epochs[before.epoch]
                )
            });
        }
        if view.members.len() != view.incs.len() {
            sheet.breach(&[view.at], || {
                format!(
                    "{} names {} members and {} incarnations",
                    title(),
                    view.members.len(),
                    view.incs.len()
                )
            });
        }
        if !view.names(life.peer, life.inc) {
            sheet.breach(&[view.at], || format!("{} does not name its holder", title()));
        }
        if !view.members.contains(view.leader) {
            sheet.breach(&[view.at], || {
                format!("{} does not name its leader {}", title(), view.leader)
            });
        }
        let known = first.entry((view.epoch, view.view_id)).or_insert(view);
        if (known.members, known.incs, known.leader, known.seq)
            != (view.members, view.incs, view.leader, view.seq)
        {
            sheet.breach(&[known.at, view.at], || {
                format!("{} is another one than at {}", title(), index.name(known.life))
            });
        }
    }
}

/// The views of one log are numbered without gaps, as far as one life reports every entry between
/// two of them.
pub(crate) fn views_unbroken(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    for (id, life) in index.lives.iter().enumerate().filter(|(_, life)| !life.holed) {
        // Its views, lowest first, and the last position up to which it has reported every entry
        // since.
        let mut known: Vec<(u64, u64, usize)> = vec![];
        let (mut end, mut log) = (0, &index.none);
        for fact in &life.facts {
            match fact.what {
                What::Cut { log: name, .. } if name != log => {
                    log = name;
                    known.clear();
                }
                What::Entry(entry) => {
                    if entry.seq != end + 1 {
                        known.clear();
                    }
                    end = entry.seq;
                    let Kind::View(view) = entry.kind else { continue };
                    let number = index.views[view].view_id;
                    if let Some((at, before, record)) = known.last().copied() {
                        sheet.look();
                        if number != before + 1 {
                            sheet.breach(&[record, fact.at], || {
                                let name = index.name(id);
                                format!(
                                    "{name} has view {before} at #{at}, and the next one, at \
                                         #{}, is view {number}",
                                    entry.seq
                                )
                            });
                        }
                    }
                    known.push((entry.seq, number, fact.at));
                }
                What::Diverged { from, .. } => {
                    known.retain(|(at, ..)| *at < from);
                    end = end.min(from.saturating_sub(1));
                }
                What::Missed(entry) if entry.seq == end + 1 => end = entry.seq,
                What::Missed(_)
                | What::Gap { .. }
                | What::Transfer { .. }
                | What::Merged { .. } => known.clear(),
                _ => {}
            }
        }
    }
}

/// The deliveries of one life between one view and the next.
struct Passage {
    from: (EpochId, u64),
    to: (EpochId, u64),
    count: usize,
    sum: u64,
    life: LifeId,
    /// The facts between the two views, as a range of the life's facts.
    facts: (usize, usize),
    /// The positions that it declared as gaps.
    gaps: Vec<(u64, u64)>,
}

/// Lives that move together from one view to the next have delivered the same readings between
/// them, each in the same view.
pub(crate) fn view_synchrony(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    let mut passages: Vec<Passage> = vec![];
    for (id, life) in index.lives.iter().enumerate().filter(|(_, life)| !life.holed) {
        walk(index, id, life, &mut passages);
    }
    passages.sort_unstable_by_key(|passage| (passage.from, passage.to, passage.life));
    for group in passages.chunk_by(|a, b| (a.from, a.to) == (b.from, b.to)) {
        sheet.look_at(group.len());
        // A life without gaps stands for all of them, if there is one.
        let first = group.iter().position(|passage| passage.gaps.is_empty()).unwrap_or(0);
        for other in group
            .iter()
            .filter(|other| (other.count, other.sum) != (group[first].count, group[first].sum))
        {
            compare(index, &group[first], other, sheet);
        }
    }
    same_view(index, sheet);
}

fn walk(index: &Index<'_>, id: LifeId, life: &Life<'_>, passages: &mut Vec<Passage>) {
    let mut open: Option<Passage> = None;
    for (at, fact) in life.facts.iter().enumerate() {
        match fact.what {
            What::Entry(entry) => match entry.kind {
                Kind::View(view) => {
                    let view = &index.views[view];
                    let here = (view.epoch, view.view_id);
                    if let Some(mut passage) = open.take() {
                        (passage.to, passage.facts.1) = (here, at);
                        passages.push(passage);
                    }
                    open = Some(Passage {
                        from: here,
                        to: here,
                        count: 0,
                        sum: 0,
                        life: id,
                        facts: (at, at),
                        gaps: vec![],
                    });
                }
                Kind::Data { origin, oseq, .. } => {
                    if let Some(passage) = &mut open {
                        passage.count += 1;
                        // A sum does not depend on the order; the multiplication spreads
                        // neighbouring values.
                        let key = (origin as u64).wrapping_mul(0xC2B2_AE3D_27D4_EB4F)
                            ^ oseq.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                        passage.sum = passage
                            .sum
                            .wrapping_add(key.rotate_left(29).wrapping_mul(0x1656_67B1_9E37_79F9));
                    }
                }
                Kind::Lost { .. } => {}
            },
            // Reported gaps are not compared; the rest is.
            What::Gap { from, to } => {
                if let Some(passage) = &mut open {
                    passage.gaps.push((from, to));
                }
            }
            // It did not move there together with the others.
            What::Transfer { .. } | What::Diverged { .. } | What::Merged { .. } => open = None,
            _ => {}
        }
    }
}

/// The deliveries of one life, by reading: the record, and the position.
fn readings(index: &Index<'_>, passage: &Passage) -> BTreeMap<(LifeId, u64), (usize, u64)> {
    let facts = &index.lives[passage.life].facts[passage.facts.0..=passage.facts.1];
    let data = facts.iter().filter_map(|fact| match fact.what {
        What::Entry(entry) => match entry.kind {
            Kind::Data { origin, oseq, .. } => Some(((origin, oseq), (fact.at, entry.seq))),
            Kind::Lost { .. } | Kind::View(_) => None,
        },
        _ => None,
    });
    data.collect()
}

fn compare(index: &Index<'_>, one: &Passage, other: &Passage, sheet: &mut Sheet) {
    let (ours, theirs) = (readings(index, one), readings(index, other));
    let told = |passage: &Passage, seq: u64| {
        passage.gaps.iter().any(|(from, to)| (*from..=*to).contains(&seq))
    };
    let missing_there =
        ours.iter().find(|(key, (_, seq))| !theirs.contains_key(key) && !told(other, *seq));
    let missing_there = missing_there.map(|(key, (at, _))| (key, at, one, other));
    let missing_here =
        theirs.iter().find(|(key, (_, seq))| !ours.contains_key(key) && !told(one, *seq));
    let missing_here = missing_here.map(|(key, (at, _))| (key, at, other, one));
    let Some(((origin, oseq), at, has, lacks)) = missing_there.or(missing_here) else { return };
    let borders = &index.lives[lacks.life].facts;
    sheet.breach(&[borders[lacks.facts.0].at, *at, borders[lacks.facts.1].at], || {
        format!(
            "between view {} of epoch {} and the next, {} delivered reading {oseq} of {} and {} \
             did not",
            one.from.1,
            index.epochs[one.from.0],
            index.name(has.life),
            index.name(*origin),
            index.name(lacks.life)
        )
    });
}

fn same_view(index: &Index<'_>, sheet: &mut Sheet) {
    for group in index.positions() {
        let mut tagged = group.iter().filter_map(|placed| match placed.entry.kind {
            Kind::Data { view_id, .. } => Some((placed, view_id)),
            Kind::Lost { .. } | Kind::View(_) => None,
        });
        let Some((first, view_id)) = tagged.next() else { continue };
        for (other, other_id) in tagged.filter(|(_, other_id)| *other_id != view_id) {
            sheet.breach(&[first.at, other.at], || {
                format!(
                    "#{} of epoch {} is delivered in view {view_id} at {} and in view {other_id} \
                     at {}",
                    first.entry.seq,
                    index.epochs[first.entry.epoch],
                    index.name(first.life),
                    index.name(other.life)
                )
            });
        }
    }
}
