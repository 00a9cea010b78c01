//! Deliveries to the sinks: each reading was published once, is delivered at most once, in the
//! order of its origin, and is accounted for.

use std::collections::{BTreeMap, BTreeSet};

use protocol::log_id::LogId;

use crate::index::{Entry, Index, Kind, LifeId, What};
use crate::judged_run::JudgedRun;
use crate::sheet::{NOT_AT_REST, Sheet};

/// Every delivered reading was published by its origin with these bytes, and each peer delivers it
/// at most once.
pub(crate) fn integrity(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    let mut delivered: Vec<(LifeId, LifeId, u64, usize)> = vec![];
    // Readings known only from their receivers: the bytes, and the first receiver.
    let mut unseen: BTreeMap<(LifeId, u64), (u64, usize)> = BTreeMap::new();
    for (id, life) in index.lives.iter().enumerate() {
        for fact in &life.facts {
            let What::Entry(entry) = fact.what else { continue };
            let Kind::Data { origin, oseq, digest: Some(digest), .. } = entry.kind else {
                continue;
            };
            sheet.look();
            delivered.push((id, origin, oseq, fact.at));
            if !run.options.publish_known
                || index.lives[origin].first.is_none()
                || index.lives[origin].holed
            {
                continue;
            }
            match index.publication(origin, oseq) {
                Some(known) if known.digest == digest => {}
                Some(known) => sheet.breach(&[known.at, fact.at], || {
                    format!(
                        "reading {oseq} of {} reaches {} with other bytes",
                        index.name(origin),
                        index.name(id)
                    )
                }),
                // A killed process loses the events that it was about to write. Then its
                // publication is unknown; that all receivers got the same bytes is still known.
                None if cut_off(index, origin) && !index.published_from(origin, oseq) => {
                    let first = *unseen.entry((origin, oseq)).or_insert((digest, fact.at));
                    if first.1 == fact.at {
                        sheet.excuse("its publisher was killed before it could tell of it");
                    } else if first.0 != digest {
                        sheet.breach(&[first.1, fact.at], || {
                            let (origin, life) = (index.name(origin), index.name(id));
                            format!(
                                "reading {oseq} of {origin}, which was killed before it told \
                                     of it, reaches {life} with other bytes than others"
                            )
                        });
                    }
                }
                None => sheet.breach(&[fact.at], || {
                    format!(
                        "{} delivers reading {oseq} of {}, which never published it",
                        index.name(id),
                        index.name(origin)
                    )
                }),
            }
        }
    }
    delivered.sort_unstable();
    for pair in delivered.windows(2) {
        let ((life, origin, oseq, at), (other_life, other_origin, other_oseq, other_at)) =
            (pair[0], pair[1]);
        if (life, origin, oseq) == (other_life, other_origin, other_oseq) {
            sheet.breach(&[at, other_at], || {
                format!(
                    "{} delivers reading {oseq} of {} twice",
                    index.name(life),
                    index.name(origin)
                )
            });
        }
    }
}

fn cut_off(index: &Index<'_>, life: LifeId) -> bool {
    index.lives[life].ended.is_some() && !index.lives[life].stopped
}

/// Readings of one origin are delivered in the order of their publication.
pub(crate) fn fifo(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    let mut last: Vec<Option<(u64, usize)>> = vec![];
    for (id, life) in index.lives.iter().enumerate() {
        last.clear();
        last.resize(index.lives.len(), None);
        for fact in &life.facts {
            let What::Entry(entry) = fact.what else { continue };
            let Kind::Data { origin, oseq, digest: Some(_), .. } = entry.kind else { continue };
            sheet.look();
            if let Some((before, at)) = last[origin]
                && oseq < before
            {
                let words = || {
                    format!(
                        "{} gets reading {oseq} of {} after reading {before}",
                        index.name(id),
                        index.name(origin)
                    )
                };
                sheet.breach(&[at, fact.at], words);
            }
            last[origin] = Some((oseq, fact.at));
        }
    }
}

/// Once the group is at rest, every reading of a live peer is in the group's log exactly once, or
/// was declared lost there. This includes readings of a side that lost a merge. And every merge
/// names the ranges that it takes back.
pub(crate) fn accounted(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    merges_name_their_ranges(index, sheet);
    if !run.options.settled {
        sheet.excuse(NOT_AT_REST);
        return;
    }
    let core = index.core();
    let mut ordered: Vec<(LifeId, u64)> = vec![];
    // The remaining peers may lack an entry because they joined later or were told of a gap. Peers
    // that were there earlier tell what the entry is.
    let mut held: BTreeSet<u64> = BTreeSet::new();
    for id in &core {
        let log = log_at_rest(index, *id);
        twice(index, *id, &log, sheet);
        held.extend(log.iter().map(|(seq, ..)| *seq));
        ordered.extend(log.iter().filter_map(|(_, kind, _)| match kind {
            Kind::Data { origin, oseq, .. } => Some((*origin, *oseq)),
            Kind::Lost { .. } | Kind::View(_) => None,
        }));
    }
    ordered.extend(
        index.placed.iter().filter(|placed| !held.contains(&placed.entry.seq)).filter_map(
            |placed| match placed.entry.kind {
                Kind::Data { origin, oseq, .. } => Some((origin, oseq)),
                Kind::Lost { .. } | Kind::View(_) => None,
            },
        ),
    );
    ordered.sort_unstable();
    for id in core {
        for fact in index.said_by_rest(id) {
            let What::Publish { oseq, .. } = fact.what else { continue };
            sheet.look();
            if ordered.binary_search(&(id, oseq)).is_err()
                && !index.is_declared_lost(id, oseq)
                && !is_behind_a_gap(index, id, oseq)
            {
                sheet.breach(&[fact.at], || {
                    format!(
                        "reading {oseq} of {} is not in the log that is left, nor declared \
                             lost there",
                        index.name(id)
                    )
                });
            }
        }
    }
}

/// Whether a reading lies in a range that was a gap for its origin and that every remaining peer
/// joined above, so that no peer can show the reading any more. Either a peer has delivered it
/// there, or earlier readings of its origin lie below the gap and later ones above it, because a
/// log takes the readings of one origin in the order of their numbers.
fn is_behind_a_gap(index: &Index<'_>, origin: LifeId, oseq: u64) -> bool {
    let of_origin = |kind: Kind| match kind {
        Kind::Data { origin: whose, oseq, .. } if whose == origin => Some(oseq),
        Kind::Lost { origin: whose, from, .. } if whose == origin => Some(from),
        Kind::Data { .. } | Kind::Lost { .. } | Kind::View(_) => None,
    };
    let told = index.said_by_rest(origin).iter();
    let gaps: Vec<(u64, u64)> = told
        .filter_map(
            |fact| if let What::Gap { from, to } = fact.what { Some((from, to)) } else { None },
        )
        .collect();
    let log = log_at_rest(index, origin);
    let numbers = || log.iter().filter_map(|(seq, kind, _)| Some((*seq, of_origin(*kind)?)));
    let below =
        numbers().filter(|(_, number)| *number < oseq).map(|(seq, _)| seq).max().unwrap_or(0);
    let above = numbers().filter(|(_, number)| *number > oseq).map(|(seq, _)| seq).min();
    if above.is_some_and(|above| gaps.iter().any(|(from, to)| *from > below && *to < above)) {
        return true;
    }
    let is_it = |kind: Kind| matches!(kind, Kind::Data { .. }) && of_origin(kind) == Some(oseq);
    let mut delivered =
        index.placed.iter().filter(|placed| placed.life != origin && is_it(placed.entry.kind));
    delivered.any(|placed| gaps.iter().any(|(from, to)| (*from..=*to).contains(&placed.entry.seq)))
}

/// A life's log at rest: position, content, record; lowest position first.
fn log_at_rest(index: &Index<'_>, life: LifeId) -> Vec<(u64, Kind, usize)> {
    let mut log: Vec<(u64, Kind, usize)> = vec![];
    for fact in index.said_by_rest(life) {
        let above = match fact.what {
            What::Entry(entry) => entry.seq,
            What::Diverged { from, .. } => from,
            _ => continue,
        };
        while log.last().is_some_and(|(seq, ..)| *seq >= above) {
            log.pop();
        }
        if let What::Entry(entry) = fact.what {
            log.push((entry.seq, entry.kind, fact.at));
        }
    }
    log
}

/// A log holds each reading once. If both copies were delivered, the check of deliveries reports
/// it; here one copy was suppressed as a repeat.
fn twice(index: &Index<'_>, life: LifeId, log: &[(u64, Kind, usize)], sheet: &mut Sheet) {
    let readings = log.iter().filter_map(|(seq, kind, at)| match kind {
        Kind::Data { origin, oseq, digest, .. } => {
            Some((*origin, *oseq, *seq, *at, digest.is_some()))
        }
        Kind::Lost { .. } | Kind::View(_) => None,
    });
    let mut readings: Vec<(LifeId, u64, u64, usize, bool)> = readings.collect();
    readings.sort_unstable();
    for pair in readings.windows(2) {
        let (
            (origin, oseq, seq, at, sunk),
            (other_origin, other_oseq, other_seq, other_at, other_sunk),
        ) = (pair[0], pair[1]);
        if (origin, oseq) == (other_origin, other_oseq) && !(sunk && other_sunk) {
            sheet.breach(&[at, other_at], || {
                format!(
                    "the log of {} has reading {oseq} of {} at #{seq} and at #{other_seq}",
                    index.name(life),
                    index.name(origin)
                )
            });
        }
    }
}

/// A range that was taken back or lost is not empty; a merge names the fork point of the two logs,
/// once for each.
fn merges_name_their_ranges(index: &Index<'_>, sheet: &mut Sheet) {
    for (id, life) in index.lives.iter().enumerate() {
        for fact in &life.facts {
            let (named, what) = match fact.what {
                What::Merged { old: (from, to), new: (new_from, _) } => {
                    (from == new_from && from <= to.saturating_add(1), "merges")
                }
                What::Diverged { from, to } => (from <= to, "takes back readings"),
                What::Entry(Entry { kind: Kind::Lost { from, to, .. }, .. }) => {
                    (from <= to, "tells of lost readings")
                }
                _ => continue,
            };
            sheet.look();
            if !named {
                sheet.breach(&[fact.at], || {
                    format!("{} {what}, and the range that it names is none", index.name(id))
                });
            }
        }
    }
}

/// At rest, every safe reading of a live peer that is in its log was acknowledged to it with its
/// position; and no reading was acknowledged twice with the same position.
pub(crate) fn confirmed(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    for (id, life) in index.lives.iter().enumerate() {
        let mut told: BTreeSet<(u64, u64, &LogId)> = BTreeSet::new();
        let mut log = &index.none;
        for fact in &life.facts {
            match fact.what {
                What::Cut { log: name, .. } => log = name,
                // A reading that was taken back may return to its former position.
                What::Diverged { from, .. } => told.retain(|(_, seq, _)| *seq < from),
                What::Acknowledged { oseq, seq } => {
                    sheet.look();
                    if !told.insert((oseq, seq, log)) {
                        sheet.breach(&[fact.at], || {
                            format!(
                                "reading {oseq} of {} is acknowledged at #{seq} twice",
                                index.name(id)
                            )
                        });
                    }
                }
                _ => {}
            }
        }
    }
    if !run.options.settled {
        sheet.excuse(NOT_AT_REST);
        return;
    }
    for id in index.core().into_iter().filter(|id| !index.lives[*id].holed) {
        let said = index.said_by_rest(id);
        let told: BTreeSet<(u64, u64)> = said
            .iter()
            .filter_map(|fact| {
                if let What::Acknowledged { oseq, seq } = fact.what {
                    Some((oseq, seq))
                } else {
                    None
                }
            })
            .collect();
        let asked: BTreeSet<u64> = said
            .iter()
            .filter_map(|fact| {
                if let What::Publish { oseq, safe: true } = fact.what { Some(oseq) } else { None }
            })
            .collect();
        for (seq, kind, at) in log_at_rest(index, id) {
            let Kind::Data { origin, oseq, .. } = kind else { continue };
            if origin != id || !asked.contains(&oseq) {
                continue;
            }
            sheet.look();
            if !told.contains(&(oseq, seq)) {
                sheet.breach(&[at], || {
                    format!(
                        "reading {oseq} of {} stands at #{seq}, and it was never told that it \
                             is safe",
                        index.name(id)
                    )
                });
            }
        }
    }
}

/// A group has at most the number of members that it admits.
pub(crate) fn bounded(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    for view in &index.views {
        sheet.look();
        let most = usize::try_from(run.options.knobs.members_max).unwrap_or(usize::MAX);
        if view.members.len() > most {
            sheet.breach(&[view.at], || {
                format!(
                    "{} is in a view of {}; {most} are admitted",
                    index.name(view.life),
                    view.members.len()
                )
            });
        }
    }
}

/// Every reading published in the quiet window, and every other entry of the shared log that one
/// core peer has, reaches every core peer, from its join point on.
pub(crate) fn delivers(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    if !run.options.settled {
        sheet.excuse(NOT_AT_REST);
        return;
    }
    let index = run.index;
    let reaches: Vec<Reach> = index
        .core()
        .into_iter()
        .filter(|id| !index.lives[*id].holed)
        .map(|id| Reach::of(index, id))
        .collect();
    let furthest = reaches
        .iter()
        .filter_map(|reach| reach.last_reading.map(|(seq, at)| (seq, at, reach.life)))
        .max();
    if let Some((seq, at, holder)) = furthest {
        for reach in reaches.iter().filter(|reach| in_one_view(index, reach.life, holder)) {
            sheet.look();
            if reach.end < seq && !reach.skips(seq) {
                sheet.breach(&[at, index.lives[reach.life].last], || {
                    format!(
                        "{} has everything up to #{seq}, {} only up to #{}",
                        index.name(holder),
                        index.name(reach.life),
                        reach.end
                    )
                });
            }
        }
    }
    let Some(quiet) = &index.quiet else { return };
    let positions: BTreeMap<(LifeId, u64), u64> =
        reaches.iter().flat_map(|reach| reach.had.iter().map(|(key, seq)| (*key, *seq))).collect();
    for origin in reaches.iter().map(|reach| reach.life) {
        for fact in index.lives[origin]
            .facts
            .iter()
            .filter(|fact| (quiet.from..=quiet.to).contains(&fact.t))
        {
            let What::Publish { oseq, .. } = fact.what else { continue };
            // Ordered by one side of a group that had two members at that time, and kept by no peer
            // of the other side: the log declares it lost at its position.
            if index.gives_up(origin, oseq, fact.t) && index.is_declared_lost(origin, oseq) {
                sheet.look();
                continue;
            }
            let position = positions.get(&(origin, oseq));
            for reach in &reaches {
                sheet.look();
                if reach.had.contains_key(&(origin, oseq))
                    || position.is_some_and(|seq| reach.skips(*seq))
                {
                    continue;
                }
                let words = || {
                    format!(
                        "reading {oseq} of {}, published in the quiet window, never reached {}",
                        index.name(origin),
                        index.name(reach.life)
                    )
                };
                sheet.breach(&[fact.at, index.lives[reach.life].last], words);
            }
        }
    }
}

/// What one life has of the log.
struct Reach {
    life: LifeId,
    /// The last position it accounts for.
    end: u64,
    last_reading: Option<(u64, usize)>,
    had: BTreeMap<(LifeId, u64), u64>,
    /// Ranges that the life declared as gaps, and the range below its join point.
    skipped: Vec<(u64, u64)>,
}

impl Reach {
    fn of(index: &Index<'_>, life: LifeId) -> Self {
        let mut reach =
            Self { life, end: 0, last_reading: None, had: BTreeMap::new(), skipped: vec![] };
        let mut joined = false;
        for fact in index.said_by_rest(life) {
            match fact.what {
                What::Entry(entry) => {
                    if !joined {
                        reach.skipped.push((0, entry.seq.saturating_sub(1)));
                        joined = true;
                    }
                    reach.end = entry.seq;
                    if let Kind::Data { origin, oseq, .. } = entry.kind {
                        reach.had.insert((origin, oseq), entry.seq);
                        reach.last_reading = Some((entry.seq, fact.at));
                    }
                }
                What::Gap { from, to } => {
                    reach.skipped.push((from, to));
                    reach.end = reach.end.max(to);
                }
                What::Transfer { resume, .. } => {
                    reach.skipped.push((reach.end + 1, resume));
                    reach.end = reach.end.max(resume);
                }
                What::Diverged { from, .. } => {
                    reach.end = reach.end.min(from.saturating_sub(1));
                    reach.last_reading = reach.last_reading.filter(|(seq, _)| *seq < from);
                }
                What::Merged { .. } => joined = false,
                _ => {}
            }
        }
        reach
    }

    fn skips(&self, seq: u64) -> bool {
        self.skipped.iter().any(|(from, to)| (*from..=*to).contains(&seq))
    }
}

fn in_one_view(index: &Index<'_>, one: LifeId, other: LifeId) -> bool {
    match (index.last_view(one), index.last_view(other)) {
        (Some(a), Some(b)) => (a.epoch, a.view_id) == (b.epoch, b.view_id),
        _ => false,
    }
}
