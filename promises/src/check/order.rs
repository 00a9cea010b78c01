//! The numbered log: one entry a position, one order, no silent holes.

use std::collections::BTreeMap;

use crate::index::{EpochId, Fact, Index, Kind, Life, LifeId, Placed, What};
use crate::judge::{Case, Sheet};

/// One position of one epoch holds one entry, whoever speaks of it.
pub(crate) fn no_duplicate_seq(case: &Case<'_>, sheet: &mut Sheet) {
    let index = case.index;
    for group in index.positions() {
        sheet.look_at(group.len());
        let first = &group[0];
        // The first that names a digest stands for all of them; a suppressed repeat names none.
        let digest = group.iter().find_map(digest_of);
        for other in &group[1..] {
            let differs = !same(index, first.entry.kind, other.entry.kind) || digest_of(other).is_some_and(|own| Some(own) != digest);
            if differs {
                sheet.breach(&[first.at, other.at], || {
                    let (epoch, seq) = (index.epochs[first.entry.epoch], first.entry.seq);
                    format!("#{seq} of epoch {epoch} is one thing at {} and another at {}", index.name(first.life), index.name(other.life))
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
        (Kind::Data { origin: a, oseq: m, .. }, Kind::Data { origin: b, oseq: n, .. }) => (a, m) == (b, n),
        (Kind::View(a), Kind::View(b)) => index.views[a].view_id == index.views[b].view_id,
        (a, b) => a == b,
    }
}

/// Two lives that had the same entry had the same one before it, and so, back to where the later of them joined, the
/// same log. An epoch starts where its owner says.
pub(crate) fn total_order(case: &Case<'_>, sheet: &mut Sheet) {
    let index = case.index;
    for group in index.positions() {
        let mut befores = group.iter().filter_map(|placed| placed.before.map(|before| (placed, before)));
        let Some((first, (epoch, at))) = befores.next() else { continue };
        // Views stand in the log, too; but a log without readings has not been put to the test.
        let is_reading = matches!(first.entry.kind, Kind::Data { .. });
        sheet.look_at(if is_reading { group.len() } else { 0 });
        for (other, (other_epoch, other_at)) in befores {
            if other_epoch != epoch {
                sheet.breach(&[at, first.at, other_at, other.at], || {
                    format!(
                        "before #{} of epoch {} stands an entry of epoch {} at {}, and one of epoch {} at {}",
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

/// An epoch's entries stand above the cut that its owner chose, and whoever is in that epoch has only older ones below.
fn cuts_are_kept(index: &Index<'_>, sheet: &mut Sheet) {
    let mut cuts: Vec<Option<(u64, usize)>> = vec![None; index.epochs.len()];
    for life in &index.lives {
        for fact in &life.facts {
            let What::Cut { epoch, seq, .. } = fact.what else { continue };
            let owner = &index.epochs[epoch].owner;
            // Others that join later name the position from which they go on.
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
                        let epoch = adopted.filter(|epoch| index.epochs[entry.epoch] < index.epochs[*epoch])?;
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

/// From where a life joins, no reading is passed over in silence, and no position comes twice.
pub(crate) fn gap_free(case: &Case<'_>, sheet: &mut Sheet) {
    for (id, life) in case.index.lives.iter().enumerate().filter(|(_, life)| !life.holed) {
        walk(case.index, id, life, sheet);
    }
}

/// The last position a life accounts for, and the lowest that may come next.
struct Point {
    last: u64,
    floor: u64,
    at: usize,
}

fn walk(index: &Index<'_>, id: LifeId, life: &Life<'_>, sheet: &mut Sheet) {
    let mut point: Option<Point> = None;
    for fact in &life.facts {
        match (&fact.what, &mut point) {
            (What::Entry(entry), Some(known)) => {
                sheet.look();
                if entry.seq < known.floor {
                    let words = || {
                        format!(
                            "{} is at #{} already, and gets #{} of epoch {}",
                            index.name(id),
                            known.last,
                            entry.seq,
                            index.epochs[entry.epoch]
                        )
                    };
                    sheet.breach(&[known.at, fact.at], words);
                } else if entry.seq > known.last + 1
                    && let Some(skipped) = reading_between(index, entry.epoch, entry.seq, known.last)
                {
                    sheet.breach(&[known.at, skipped.at, fact.at], || {
                        format!(
                            "{} goes from #{} to #{} and passes over the reading at #{}",
                            index.name(id),
                            known.last,
                            entry.seq,
                            skipped.entry.seq
                        )
                    });
                }
                *known = Point { last: entry.seq, floor: entry.seq + 1, at: fact.at };
            }
            (What::Entry(entry), None) => {
                sheet.look();
                point = Some(Point { last: entry.seq, floor: entry.seq + 1, at: fact.at });
            }
            (What::Gap { from, to }, Some(known)) => {
                sheet.look();
                *known = Point { last: known.last.max(*to), floor: known.floor.min(*from), at: fact.at };
            }
            // What a snapshot leaves out has to be told as a gap all the same.
            (What::Transfer { resume, .. }, Some(known)) => known.floor = known.floor.min(resume + 1),
            // Nothing that it has had is in the log that it takes over: it joins anew.
            (What::Diverged { from: 0..=1, .. }, Some(_)) => point = None,
            (What::Diverged { from, .. }, Some(known)) => {
                *known = Point { last: known.last.min(from.saturating_sub(1)), floor: known.floor.min(*from), at: fact.at };
            }
            (What::Gap { to, .. }, None) => point = Some(Point { last: *to, floor: to + 1, at: fact.at }),
            (What::Transfer { resume, .. }, None) => point = Some(Point { last: *resume, floor: resume + 1, at: fact.at }),
            // The log of another group: its positions say nothing about those of the old one.
            (What::Merged, _) => point = None,
            _ => {}
        }
    }
}

/// A reading that stands between two positions, in the log that leads to the upper one: found by going back through
/// what other lives had before each entry. Views and declarations of loss may be passed over by those they do not concern.
fn reading_between<'a>(index: &'a Index<'_>, epoch: EpochId, seq: u64, last: u64) -> Option<&'a Placed> {
    let mut epoch = epoch;
    for position in (last + 1..seq).rev() {
        let above = index.at_position(epoch, position + 1);
        (epoch, _) = above.iter().find_map(|placed| placed.before)?;
        let reading = index.at_position(epoch, position).iter().find(|placed| matches!(placed.entry.kind, Kind::Data { .. }));
        if reading.is_some() {
            return reading;
        }
    }
    None
}

/// What is stable stays: no later cut goes below it, and one position of one log has one stable entry.
pub(crate) fn stable_agreement(case: &Case<'_>, sheet: &mut Sheet) {
    let index = case.index;
    let mut stable: Vec<(&str, u64, EpochId, usize, LifeId)> = vec![];
    for (id, life) in index.lives.iter().enumerate() {
        let (mut log, mut known): (&str, Option<(u64, usize)>) = ("", None);
        let mut held: Vec<(u64, EpochId, usize)> = vec![];
        for (turn, fact) in life.facts.iter().enumerate() {
            match fact.what {
                What::Entry(entry) => {
                    if let Kind::View(view) = entry.kind {
                        log = index.views[view].log;
                    }
                    held.push((entry.seq, entry.epoch, fact.at));
                }
                What::Stable { seq } => {
                    if unforked(case, fact.t) {
                        sheet.look();
                    }
                    known = Some((seq, fact.at));
                    held.retain(|(at, epoch, record)| {
                        let is_stable = *at <= seq;
                        if is_stable {
                            stable.push((log, *at, *epoch, *record, id));
                        }
                        !is_stable
                    });
                }
                What::Cut { seq, log: cut_log, .. } => {
                    // One that takes a snapshot names the snapshot's position; what is above comes with it.
                    let snapshot = matches!(life.facts.get(turn + 1).map(|next| &next.what), Some(What::Transfer { .. }));
                    if let Some((bound, at)) = known
                        && seq < bound
                        && !snapshot
                        && cut_log == log
                        && unforked(case, fact.t)
                    {
                        sheet.breach(&[at, fact.at], || {
                            format!("{} knew everything up to #{bound} to be stable, and its log is cut at #{seq}", index.name(id))
                        });
                    }
                    log = cut_log;
                    held.retain(|(at, ..)| *at <= seq);
                }
                What::Diverged { from, .. } => held.retain(|(at, ..)| *at < from),
                What::Transfer { .. } | What::Merged => {
                    held.clear();
                    known = None;
                }
                _ => {}
            }
        }
    }
    if !unforked(case, index.end) {
        return;
    }
    stable.sort_unstable();
    for pair in stable.windows(2) {
        let ((log, seq, epoch, at, life), (other_log, other_seq, other_epoch, other_at, other)) = (pair[0], pair[1]);
        if (log, seq) == (other_log, other_seq) && epoch != other_epoch {
            sheet.breach(&[at, other_at], || {
                format!(
                    "two stable entries at #{seq} of log {log}: one of epoch {} at {}, one of epoch {} at {}",
                    index.epochs[epoch],
                    index.name(life),
                    index.epochs[other_epoch],
                    index.name(other)
                )
            });
        }
    }
}

/// What is stable is never taken back: not by a group that stayed one, nor, whatever happened, by whoever founds an
/// epoch; and nobody takes back what the log that it goes over to has, too.
pub(crate) fn safe_kept(case: &Case<'_>, sheet: &mut Sheet) {
    let index = case.index;
    let foundings = foundings(index);
    let stable = stable_positions(index);
    founders_keep(index, &foundings, &stable, sheet);
    for (id, life) in index.lives.iter().enumerate() {
        let mut known: Option<(u64, usize)> = None;
        let mut adopted: Option<EpochId> = None;
        let (mut log, mut held) = ("", Held::default());
        for fact in &life.facts {
            match fact.what {
                What::Entry(entry) => held.add(entry.seq, entry.epoch, fact.at),
                What::Cut { epoch, log: cut_log, .. } => {
                    adopted = Some(epoch);
                    // Groups that were founded apart have nothing in common, and one of them goes.
                    if std::mem::replace(&mut log, cut_log) != cut_log {
                        known = None;
                    }
                }
                What::Stable { seq } => {
                    if unforked(case, fact.t) {
                        sheet.look();
                    }
                    known = Some((seq, fact.at));
                }
                What::Diverged { from, to } => {
                    if let Some((bound, at)) = known
                        && from <= bound
                        && unforked(case, fact.t)
                    {
                        let words =
                            || format!("{} knew everything up to #{bound} to be stable, and takes back #{from} to #{to}", index.name(id));
                        sheet.breach(&[at, fact.at], words);
                    }
                    if let Some(founding) = adopted.and_then(|epoch| foundings[epoch].as_ref()) {
                        sheet.look();
                        let kept = |(seq, epoch): (u64, EpochId)| seq <= to && founding.kept.has(seq, epoch);
                        if let Some((seq, _, at)) = held.from(from).find(|&(seq, epoch, _)| kept((seq, epoch))) {
                            sheet.breach(&[at, founding.at, fact.at], || {
                                format!("{} takes back #{seq}, and the log that it goes over to has the very same entry", index.name(id))
                            });
                        }
                    }
                    held.cut(from.saturating_sub(1));
                }
                What::Transfer { .. } | What::Merged => known = None,
                _ => {}
            }
        }
    }
}

/// What a life holds, lowest position first: position, epoch, record.
#[derive(Clone, Default)]
struct Held(Vec<(u64, EpochId, usize)>);

impl Held {
    fn add(&mut self, seq: u64, epoch: EpochId, at: usize) {
        self.cut(seq.saturating_sub(1));
        self.0.push((seq, epoch, at));
    }

    /// Only what stands at or below that position is left.
    fn cut(&mut self, seq: u64) {
        self.0.truncate(self.0.partition_point(|row| row.0 <= seq));
    }

    /// What stands at or above that position.
    fn from(&self, seq: u64) -> impl Iterator<Item = (u64, EpochId, usize)> {
        self.0[self.0.partition_point(|row| row.0 < seq)..].iter().copied()
    }

    fn has(&self, seq: u64, epoch: EpochId) -> bool {
        self.0.binary_search_by_key(&seq, |row| row.0).is_ok_and(|at| self.0[at].1 == epoch)
    }
}

/// How an epoch began, by its owner's word.
struct Founding {
    owner: LifeId,
    at: usize,
    /// What the owner had delivered and kept.
    kept: Held,
    /// What it had delivered and did not keep.
    dropped: Vec<(u64, EpochId, usize)>,
}

/// How each epoch began, where its owner has told it.
fn foundings(index: &Index<'_>) -> Vec<Option<Founding>> {
    let mut foundings: Vec<Option<Founding>> = (0..index.epochs.len()).map(|_| None).collect();
    for (owner, life) in index.lives.iter().enumerate().filter(|(_, life)| !life.holed) {
        let (mut log, mut held) = ("", Held::default());
        for (turn, fact) in life.facts.iter().enumerate() {
            match fact.what {
                What::Entry(entry) => held.add(entry.seq, entry.epoch, fact.at),
                What::Diverged { from, .. } => held.cut(from.saturating_sub(1)),
                What::Cut { epoch, seq, log: cut_log } => {
                    let name = &index.epochs[epoch].owner;
                    if std::mem::replace(&mut log, cut_log) != cut_log {
                        // The log of a group that was founded apart: nothing of the old one is in it.
                        held.cut(0);
                    }
                    if name.inc == life.inc && name.id == *life.peer && foundings[epoch].is_none() {
                        // What it takes back with the cut, it does not keep.
                        let taken_back = life.facts.get(turn + 1).and_then(|next| match next.what {
                            What::Diverged { from, .. } => Some(from.saturating_sub(1)),
                            _ => None,
                        });
                        let seq = taken_back.map_or(seq, |above| above.min(seq));
                        let dropped = held.from(seq + 1).collect();
                        let mut kept = held.clone();
                        kept.cut(seq);
                        foundings[epoch] = Some(Founding { owner, at: fact.at, kept, dropped });
                    }
                }
                _ => {}
            }
        }
    }
    foundings
}

/// Every entry that anybody has held and known to be stable, with the record that says so.
fn stable_positions(index: &Index<'_>) -> BTreeMap<(EpochId, u64), usize> {
    let mut stable = BTreeMap::new();
    for life in &index.lives {
        let mut held = Held::default();
        let mut settled = 0;
        for fact in &life.facts {
            match fact.what {
                What::Entry(entry) => {
                    held.add(entry.seq, entry.epoch, fact.at);
                    settled = settled.min(held.0.len() - 1);
                }
                What::Diverged { from, .. } => held.cut(from.saturating_sub(1)),
                What::Stable { seq } => {
                    settled = settled.min(held.0.len());
                    while let Some((at, epoch, _)) = held.0.get(settled).filter(|row| row.0 <= seq) {
                        stable.entry((*epoch, *at)).or_insert(fact.at);
                        settled += 1;
                    }
                }
                _ => {}
            }
        }
    }
    stable
}

/// Who has had an entry that is stable, and asks to lead, goes on above it.
fn founders_keep(index: &Index<'_>, foundings: &[Option<Founding>], stable: &BTreeMap<(EpochId, u64), usize>, sheet: &mut Sheet) {
    for founding in foundings.iter().flatten() {
        sheet.look();
        let lost = founding.dropped.iter().find_map(|&(seq, epoch, at)| stable.get(&(epoch, seq)).map(|known| (seq, at, *known)));
        if let Some((seq, at, known)) = lost {
            sheet.breach(&[at, known, founding.at], || {
                format!("{} had #{seq}, which is stable, and founds an epoch without it", index.name(founding.owner))
            });
        }
    }
}

/// Whether the group cannot have been in two parts before `t`: always so in mode primary; in mode available each part
/// goes on, and "everyone in the view has it" is then said of two views. Whoever is evicted for lagging is a part, too.
fn unforked(case: &Case<'_>, t: u64) -> bool {
    use crate::index::TroubleKind::{Down, Links, Machine, Paused};
    let index = case.index;
    let is_slow = |fact: &Fact<'_>| fact.t <= t && matches!(fact.what, What::Slow { .. });
    case.options.mode == crate::judge::Mode::Primary
        || index.troubles.iter().all(|trouble| match trouble.kind {
            Down => true,
            Links | Machine | Paused => trouble.from > t,
        }) && !index.lives.iter().any(|life| life.facts.iter().any(is_slow))
}
