//! The numbered log: one entry per position, one order, no silent gaps.

use crate::index::{Entry, EpochId, Index, Kind, Life, LifeId, Placed, What};
use crate::judged_run::JudgedRun;
use crate::sheet::Sheet;

/// One position of one epoch holds one entry in the reports of all lives.
pub(crate) fn no_duplicate_seq(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    for group in index.positions() {
        sheet.look_at(group.len());
        let first = &group[0];
        // The first report with a digest stands for all; a suppressed repeat has none.
        let digest = group.iter().find_map(digest_of);
        for other in &group[1..] {
            let differs = !same(index, first.entry.kind, other.entry.kind)
                || digest_of(other).is_some_and(|own| Some(own) != digest);
            if differs {
                sheet.breach(&[first.at, other.at], || {
                    let (epoch, seq) = (index.epochs[first.entry.epoch], first.entry.seq);
                    format!(
                        "#{seq} of epoch {epoch} is one thing at {} and another at {}",
                        index.name(first.life),
                        index.name(other.life)
                    )
                });
            }
        }
    }
}

fn digest_of(placed: &Placed) -> Option<u64> {
    match placed.entry.kind {
        Kind::Data { digest, .. } => digest,
        Kind::Lost { .. } | Kind::View(_) => None,
    }
}

fn same(index: &Index<'_>, one: Kind, other: Kind) -> bool {
    match (one, other) {
        (Kind::Data { origin: a, oseq: m, .. }, Kind::Data { origin: b, oseq: n, .. }) => {
            (a, m) == (b, n)
        }
        (Kind::View(a), Kind::View(b)) => index.views[a].view_id == index.views[b].view_id,
        (a, b) => a == b,
    }
}

/// Two lives with the same entry had the same entry before it, and so, back to the later of their
/// join points, the same log. An epoch starts where its owner says.
pub(crate) fn total_order(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    for group in index.positions() {
        let mut befores =
            group.iter().filter_map(|placed| placed.before.map(|before| (placed, before)));
        let Some((first, (epoch, at))) = befores.next() else { continue };
        // Views are entries, too; but a log without readings does not count as tested.
        let is_reading = matches!(first.entry.kind, Kind::Data { .. });
        sheet.look_at(if is_reading { group.len() } else { 0 });
        for (other, (other_epoch, other_at)) in befores {
            if other_epoch != epoch {
                sheet.breach(&[at, first.at, other_at, other.at], || {
                    format!(
                        "before #{} of epoch {} stands an entry of epoch {} at {}, and one of \
                         epoch {} at {}",
                        first.entry.seq,
                        index.epochs[first.entry.epoch],
                        index.epochs[epoch],
                        index.name(first.life),
                        index.epochs[other_epoch],
                        index.name(other.life)
                    )
                });
            }
        }
    }
    cuts_are_kept(index, sheet);
}

/// The entries of an epoch lie above the cut that its owner chose, and peers in that epoch have
/// only older entries below.
fn cuts_are_kept(index: &Index<'_>, sheet: &mut Sheet) {
    let mut cuts: Vec<Option<(u64, usize)>> = vec![None; index.epochs.len()];
    for life in &index.lives {
        for fact in &life.facts {
            let What::Cut { epoch, seq, .. } = fact.what else { continue };
            let owner = &index.epochs[epoch].owner;
            // Peers that join later report the position from which they continue.
            if owner.inc == life.inc && owner.id == *life.peer {
                cuts[epoch].get_or_insert((seq, fact.at));
            }
        }
    }
    for (id, life) in index.lives.iter().enumerate() {
        let mut adopted: Option<EpochId> = None;
        for fact in &life.facts {
            match fact.what {
                What::Cut { epoch, .. } => adopted = Some(epoch),
                What::Entry(entry) => {
                    let below = cuts[entry.epoch].filter(|(cut, _)| entry.seq <= *cut);
                    let above = || {
                        let epoch = adopted
                            .filter(|epoch| index.epochs[entry.epoch] < index.epochs[*epoch])?;
                        cuts[epoch].filter(|(cut, _)| entry.seq > *cut)
                    };
                    if let Some((cut, at)) = below.or_else(above) {
                        sheet.breach(&[at, fact.at], || {
                            format!(
                                "{} has #{} of epoch {}, and the cut is at #{cut}",
                                index.name(id),
                                entry.seq,
                                index.epochs[entry.epoch]
                            )
                        });
                    }
                }
                _ => {}
            }
        }
    }
}

/// From its join point on, a life skips no reading silently, and delivers no position twice.
pub(crate) fn gap_free(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    for (id, life) in run.index.lives.iter().enumerate().filter(|(_, life)| !life.holed) {
        walk(run.index, id, life, sheet);
    }
}

/// A reading is called a repeat only if the same sinks have received it, or were told that it is
/// lost.
pub(crate) fn had_before(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    for (id, life) in index.lives.iter().enumerate().filter(|(_, life)| !life.holed) {
        for fact in &life.facts {
            match fact.what {
                What::Entry(Entry { kind: Kind::Data { digest: None, .. }, .. }) => sheet.look(),
                What::Missed(Entry { seq, kind: Kind::Data { origin, oseq, .. }, .. }) => sheet
                    .breach(&[fact.at], || {
                        let (life, origin) = (index.name(id), index.name(origin));
                        format!(
                            "{life} takes reading {oseq} of {origin} at #{seq} for a repeat, and \
                             has never had it"
                        )
                    }),
                _ => {}
            }
        }
    }
}

/// The last position that a life accounts for, and the lowest possible next one.
struct Point {
    last: u64,
    floor: u64,
    at: usize,
    /// Whether it has joined there and received nothing since.
    is_new: bool,
}

fn walk(index: &Index<'_>, id: LifeId, life: &Life<'_>, sheet: &mut Sheet) {
    let mut point: Option<Point> = None;
    for fact in &life.facts {
        match (&fact.what, &mut point) {
            (What::Entry(entry), Some(known)) => {
                sheet.look();
                hold_next(index, id, entry, fact.at, known, sheet);
                *known =
                    Point { last: entry.seq, floor: entry.seq + 1, at: fact.at, is_new: false };
            }
            (What::Entry(entry), None) => {
                sheet.look();
                point = Some(Point {
                    last: entry.seq,
                    floor: entry.seq + 1,
                    at: fact.at,
                    is_new: false,
                });
            }
            (What::Gap { from, to }, Some(known)) => {
                sheet.look();
                *known = Point {
                    last: known.last.max(*to),
                    floor: known.floor.min(*from),
                    at: fact.at,
                    is_new: false,
                };
            }
            (What::Missed(entry), known) => {
                sheet.look();
                *known = Some(Point {
                    last: entry.seq,
                    floor: entry.seq + 1,
                    at: fact.at,
                    is_new: false,
                });
            }
            // A peer that has received nothing since it joined joins anew.
            (What::Transfer { resume, .. }, Some(known)) if known.is_new => {
                *known = Point { last: *resume, floor: resume + 1, at: fact.at, is_new: true };
            }
            // Entries that a snapshot leaves out have to be reported as a gap nevertheless.
            (What::Transfer { resume, .. }, Some(known)) => {
                known.floor = known.floor.min(resume + 1)
            }
            (What::Diverged { from, to }, Some(known)) => {
                sheet.look();
                if from > to || *to < known.last {
                    let words = || {
                        format!(
                            "{} takes back #{from} to #{to}, and is at #{}",
                            index.name(id),
                            known.last
                        )
                    };
                    sheet.breach(&[known.at, fact.at], words);
                }
                if *from <= 1 {
                    // None of its entries is in the log that it takes over: it joins anew.
                    point = None;
                    continue;
                }
                *known = Point {
                    last: known.last.min(from.saturating_sub(1)),
                    floor: known.floor.min(*from),
                    at: fact.at,
                    is_new: false,
                };
            }
            (What::Gap { to, .. }, None) => {
                point = Some(Point { last: *to, floor: to + 1, at: fact.at, is_new: false })
            }
            (What::Transfer { resume, .. }, None) => {
                point = Some(Point { last: *resume, floor: resume + 1, at: fact.at, is_new: true });
            }
            _ => {}
        }
    }
}

/// The next position comes once, and no reading is skipped.
fn hold_next(
    index: &Index<'_>,
    id: LifeId,
    entry: &Entry,
    at: usize,
    known: &Point,
    sheet: &mut Sheet,
) {
    if entry.seq < known.floor {
        sheet.breach(&[known.at, at], || {
            format!(
                "{} is at #{} already, and gets #{} of epoch {}",
                index.name(id),
                known.last,
                entry.seq,
                index.epochs[entry.epoch]
            )
        });
    } else if entry.seq > known.last + 1
        && let Some(skipped) = reading_between(index, entry.epoch, entry.seq, known.last)
    {
        sheet.breach(&[known.at, skipped.at, at], || {
            format!(
                "{} goes from #{} to #{} and passes over the reading at #{}",
                index.name(id),
                known.last,
                entry.seq,
                skipped.entry.seq
            )
        });
    }
}

/// The reading between two positions, in the log that leads to the upper one: found by walking back
/// through the entries that other lives had before each entry. Views and declarations of loss may
/// be skipped by peers that they do not concern.
fn reading_between<'a>(
    index: &'a Index<'_>,
    epoch: EpochId,
    seq: u64,
    last: u64,
) -> Option<&'a Placed> {
    let mut epoch = epoch;
    for position in (last + 1..seq).rev() {
        let above = index.at_position(epoch, position + 1);
        (epoch, _) = above.iter().find_map(|placed| placed.before)?;
        let reading = index
            .at_position(epoch, position)
            .iter()
            .find(|placed| matches!(placed.entry.kind, Kind::Data { .. }));
        if reading.is_some() {
            return reading;
        }
    }
    None
}
