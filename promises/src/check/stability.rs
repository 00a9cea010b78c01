//! Stable entries stay: in mode `primary` for ever, in mode `available` for every peer that
//! continues with that log.
//!
//! Mode `available` lets both sides of a cut continue, and then "every member of the view has it"
//! refers to two views. So an entry that one side knew to be stable may be taken back by a peer
//! that moves to the other side, if the first side had a view without the founder of the other (see
//! `parts`). Three more rules hold, whatever the network did. First, a founder of an epoch keeps
//! the entries that it had and itself knew to be stable, and, unless it moves to the log of the
//! other side, those that it had and any life knew to be stable. Second, a member of the view that
//! made an entry stable, which has followed no other leader since, founds no epoch below it while
//! there is no other group. Third, no peer takes back an entry that is also in the log that it
//! moves to. In mode `primary` there is one stable entry per position, and no peer takes any of
//! them back.

use std::collections::BTreeMap;

use protocol::log_id::LogId;

use crate::check::founding::foundings;
use crate::check::held::Held;
use crate::check::kept::{founders_keep, members_keep};
use crate::check::known::{Known, StableEntries, stable_entries};
use crate::check::parts::{Parts, Right, Stable, UNTOLD};
use crate::index::{EpochId, Index, Kind, LifeId, What};
use crate::judged_run::JudgedRun;
use crate::sheet::Sheet;

/// One position of one log has one stable entry, and no cut goes below it. In mode `primary` there
/// is one log.
pub(crate) fn stable_agreement(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    if run.is_primary() {
        one_log(index, sheet);
    }
    let foundings = foundings(index);
    let parts = Parts::of(index, &foundings);
    let stable = stable_entries(index, |_| sheet.look());
    let mut agreed: BTreeMap<(&LogId, u64), Vec<(EpochId, Known<'_>)>> = BTreeMap::new();
    for (&(epoch, seq), known) in &stable {
        let at_place = agreed.entry((known.log, seq)).or_default();
        for (other_epoch, other) in at_place.iter() {
            let rights = [(epoch, known, *other_epoch), (*other_epoch, other, epoch)].map(
                |(epoch, known, reached)| {
                    let stable = Stable { epoch, seq, known: known.t };
                    if run.is_primary() {
                        Right::Dropped(known.at)
                    } else {
                        parts.right(stable, reached)
                    }
                },
            );
            if rights.iter().any(|right| matches!(right, Right::Dropped(_))) {
                sheet.breach(&[other.held, other.at, known.held, known.at], || {
                    format!(
                        "two stable entries at #{seq} of log {}: one of epoch {} at {}, one of \
                         epoch {} at {}",
                        known.log,
                        index.epochs[*other_epoch],
                        index.name(other.life),
                        index.epochs[epoch],
                        index.name(known.life)
                    )
                });
            } else if rights.contains(&Right::Untold) {
                sheet.excuse(UNTOLD);
            }
        }
        at_place.push((epoch, *known));
    }
    cuts_keep(run, &parts, sheet);
}

/// No log is cut below an entry that its peer knew to be stable, unless the peer moves to another
/// part.
fn cuts_keep(run: &JudgedRun<'_>, parts: &Parts<'_>, sheet: &mut Sheet) {
    let index = run.index;
    for (id, life) in index.lives.iter().enumerate() {
        // What it knew: up to which position, in which log and epoch, and since when.
        let mut known: Option<(&LogId, u64, EpochId, usize, u64)> = None;
        let (mut log, mut adopted) = (&index.none, None);
        for (turn, fact) in life.facts.iter().enumerate() {
            match fact.what {
                What::Entry(entry) => {
                    if let Kind::View(view) = entry.kind {
                        log = index.views[view].log;
                    }
                }
                What::Stable { seq } => {
                    known = adopted.map(|epoch| (log, seq, epoch, fact.at, fact.t))
                }
                What::Cut { epoch: reached, seq, log: cut_log } => {
                    (log, adopted) = (cut_log, Some(reached));
                    // A peer that takes a snapshot reports the snapshot's position; the entries
                    // above come with it.
                    let mut rest = life.facts[turn + 1..].iter().map(|next| &next.what);
                    let snapshot =
                        rest.find(|what| !matches!(what, What::Diverged { .. } | What::Gap { .. }));
                    if matches!(snapshot, Some(What::Transfer { .. })) {
                        continue;
                    }
                    if let Some((known_log, bound, epoch, at, t)) = known
                        && known_log == cut_log
                        && seq < bound
                    {
                        sheet.look();
                        // The highest of the removed entries decides: a log with that entry has the
                        // others, too.
                        let stable = Stable {
                            epoch: parts.stands(epoch, bound).unwrap_or(epoch),
                            seq: bound,
                            known: t,
                        };
                        let right = if run.is_primary() {
                            Right::Dropped(fact.at)
                        } else {
                            parts.right(stable, reached)
                        };
                        match right {
                            Right::Kept | Right::Parted => {}
                            Right::Untold => sheet.excuse(UNTOLD),
                            Right::Dropped(_) => sheet.breach(&[at, fact.at], || {
                                format!(
                                    "{} knew everything up to #{bound} to be stable, and its \
                                         log is cut at #{seq}",
                                    index.name(id)
                                )
                            }),
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// There is one log, and so one first view, for ever.
fn one_log(index: &Index<'_>, sheet: &mut Sheet) {
    let mut first: Option<(&LogId, usize, LifeId)> = None;
    for (id, life) in index.lives.iter().enumerate() {
        for fact in &life.facts {
            let log = match fact.what {
                What::Entry(entry) => match entry.kind {
                    Kind::View(view) => index.views[view].log,
                    Kind::Data { .. } | Kind::Lost { .. } => continue,
                },
                // A founder may have cut a log that no other peer learned of; only views that a
                // peer held count.
                _ => continue,
            };
            sheet.look();
            let (known, at, holder) = *first.get_or_insert((log, fact.at, id));
            if known != log {
                sheet.breach(&[at, fact.at], || {
                    format!(
                        "two logs in mode primary: {known} at {}, and {log} at {}",
                        index.name(holder),
                        index.name(id)
                    )
                });
            }
        }
    }
}

/// Stable entries are never taken back by a group that stayed one, nor, whatever happened, by a
/// founder of an epoch; and no peer takes back an entry that is also in the log that it moves to.
pub(crate) fn safe_kept(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    let foundings = foundings(index);
    let parts = Parts::of(index, &foundings);
    let stable = stable_entries(index, |_| ());
    founders_keep(run, &parts, &stable, sheet);
    members_keep(index, &foundings, sheet);
    for (id, life) in index.lives.iter().enumerate() {
        let mut adopted: Option<EpochId> = None;
        let (mut log, mut held) = (&index.none, Held::default());
        for fact in &life.facts {
            match fact.what {
                What::Entry(entry) => held.add(entry.seq, entry.epoch, fact.at),
                What::Cut { epoch, log: cut_log, .. } => {
                    adopted = Some(epoch);
                    // Groups that were founded separately share no entries, and one of them
                    // dissolves.
                    if std::mem::replace(&mut log, cut_log) != cut_log && !run.is_primary() {
                        held = Held::default();
                    }
                }
                What::Diverged { from, to } => {
                    sheet.look();
                    let known = held.from(from).filter_map(|(seq, epoch, at)| {
                        Some((seq, epoch, at, stable.get(&(epoch, seq))?))
                    });
                    for (seq, epoch, at, known) in known.filter(|(.., known)| known.at < fact.at) {
                        let stable = Stable { epoch, seq, known: known.t };
                        let right = match adopted {
                            _ if run.is_primary() => Right::Dropped(fact.at),
                            Some(reached) => parts.right(stable, reached),
                            None => Right::Untold,
                        };
                        match right {
                            Right::Parted => {}
                            Right::Untold => sheet.excuse(UNTOLD),
                            Right::Kept => {
                                let words = || {
                                    format!(
                                        "{} takes back #{seq}, which is stable, and the log that \
                                         it goes on in has the same entry",
                                        index.name(id)
                                    )
                                };
                                sheet.breach(&[at, known.at, fact.at], words);
                                break;
                            }
                            Right::Dropped(founded) => {
                                let who = index.name(known.life);
                                let words = || {
                                    format!(
                                        "{who} knew #{seq} to be stable, and {} takes back #{from} \
                                         to #{to}",
                                        index.name(id)
                                    )
                                };
                                sheet.breach(&[at, known.at, founded, fact.at], words);
                                break;
                            }
                        }
                    }
                    if let Some(founding) = adopted.and_then(|epoch| foundings[epoch].as_ref()) {
                        sheet.look();
                        let kept = |(seq, epoch): (u64, EpochId)| {
                            seq <= to && founding.kept.has(seq, epoch)
                        };
                        if let Some((seq, _, at)) =
                            held.from(from).find(|&(seq, epoch, _)| kept((seq, epoch)))
                        {
                            sheet.breach(&[at, founding.at, fact.at], || {
                                format!(
                                    "{} takes back #{seq}, and the log that it goes over to \
                                         has the very same entry",
                                    index.name(id)
                                )
                            });
                        }
                    }
                    held.cut(from.saturating_sub(1));
                }
                _ => {}
            }
        }
    }
    let acknowledged = acknowledged(run, sheet);
    if run.options.settled {
        survivors_have(run, &parts, &stable, &acknowledged, sheet);
    }
}

/// A reading that was acknowledged to its origin as safe.
struct Acknowledgement<'a> {
    origin: LifeId,
    oseq: u64,
    seq: u64,
    at: usize,
    log: &'a LogId,
}

impl Acknowledgement<'_> {
    /// A breach, if another entry is at its position.
    fn compare(
        &self,
        index: &Index<'_>,
        holder: LifeId,
        kind: Kind,
        record: usize,
        sheet: &mut Sheet,
    ) {
        sheet.look();
        if !matches!(kind, Kind::Data { origin, oseq, .. } if (origin, oseq) == (self.origin, self.oseq))
        {
            sheet.breach(&[self.at, record], || {
                let Self { oseq, seq, .. } = self;
                let (origin, holder) = (index.name(self.origin), index.name(holder));
                format!(
                    "reading {oseq} of {origin} was acknowledged at #{seq}, and {holder} has \
                         something else there"
                )
            });
        }
    }
}

/// Compares every acknowledgement with the entry that its origin has at that position.
fn acknowledged<'a>(run: &JudgedRun<'a>, sheet: &mut Sheet) -> Vec<Acknowledgement<'a>> {
    let index = run.index;
    let mut all: Vec<Acknowledgement<'a>> = vec![];
    for (id, life) in index.lives.iter().enumerate() {
        if !life.facts.iter().any(|fact| matches!(fact.what, What::Acknowledged { .. })) {
            continue;
        }
        let (mut log, mut held): (&LogId, BTreeMap<u64, (Kind, usize)>) =
            (&index.none, BTreeMap::new());
        // The acknowledgements, and the lowest position at which it may still receive the entry.
        let (mut told, mut open): (Vec<Acknowledgement<'a>>, usize) = (vec![], 0);
        for fact in &life.facts {
            match fact.what {
                What::Cut { log: name, .. } => {
                    log = name;
                    // In mode `available` it may move to a group that does not know the entries
                    // that it has not delivered yet.
                    if !run.is_primary() {
                        open = told.len();
                    }
                }
                What::Diverged { from, .. } => {
                    held.split_off(&from);
                    // It was alone with the acknowledged entry, and has moved to the peers that
                    // continued without it: `available` gives up that side of a partition, as
                    // documented. In `primary` there is no such side.
                    told.retain(|known| run.is_primary() || known.seq < from);
                    open = open.min(told.len());
                }
                What::Entry(entry) => {
                    held.insert(entry.seq, (entry.kind, fact.at));
                    if let Some(known) = told[open..]
                        .iter()
                        .rfind(|known| known.seq == entry.seq && known.log == log)
                    {
                        known.compare(index, id, entry.kind, fact.at, sheet);
                    }
                }
                What::Acknowledged { oseq, seq } => {
                    let known = Acknowledgement { origin: id, oseq, seq, at: fact.at, log };
                    if let Some((kind, at)) = held.get(&seq) {
                        known.compare(index, id, *kind, *at, sheet);
                    }
                    told.push(known);
                }
                _ => {}
            }
        }
        all.extend(told);
    }
    all
}

/// At rest, every survivor has all stable entries from its join point on.
fn survivors_have(
    run: &JudgedRun<'_>,
    parts: &Parts<'_>,
    stable: &StableEntries<'_>,
    acknowledged: &[Acknowledgement<'_>],
    sheet: &mut Sheet,
) {
    let index = run.index;
    let core = index.core();
    // After all peers died at once, the next group begins another log.
    let Some(view) = core.iter().find_map(|life| index.last_view(*life)) else { return };
    let log = view.log;
    let mut at_position: BTreeMap<u64, Vec<(EpochId, &Known<'_>)>> = BTreeMap::new();
    for (&(epoch, seq), known) in stable.iter().filter(|(_, known)| known.log == log) {
        at_position.entry(seq).or_default().push((epoch, known));
    }
    let right = |seq: u64, epoch: EpochId, known: &Known<'_>, reached: EpochId| {
        if run.is_primary() {
            Right::Dropped(known.at)
        } else {
            parts.right(Stable { epoch, seq, known: known.t }, reached)
        }
    };
    let mut furthest = 0;
    for &id in core.iter().filter(|id| !index.lives[**id].holed) {
        let (mut held, mut reached) = (Held::default(), None);
        for fact in index.said_by_rest(id) {
            match fact.what {
                What::Entry(entry) => held.add(entry.seq, entry.epoch, fact.at),
                What::Diverged { from, .. } => held.cut(from.saturating_sub(1)),
                What::Cut { epoch, .. } => reached = Some(epoch),
                _ => {}
            }
        }
        furthest = furthest.max(held.0.last().map_or(0, |row| row.0));
        sheet.look_at(held.0.len());
        for &(seq, epoch, at) in &held.0 {
            let others = at_position
                .get(&seq)
                .into_iter()
                .flatten()
                .filter(|(stable_epoch, _)| *stable_epoch != epoch);
            for (stable_epoch, known) in others {
                match right(seq, *stable_epoch, known, reached.unwrap_or(epoch)) {
                    Right::Kept | Right::Parted => {}
                    Right::Untold => sheet.excuse(UNTOLD),
                    Right::Dropped(_) => sheet.breach(&[known.held, known.at, at], || {
                        format!(
                            "{} knew #{seq} of epoch {} to be stable, and {} has one of epoch {} \
                             there",
                            index.name(known.life),
                            index.epochs[*stable_epoch],
                            index.name(id),
                            index.epochs[epoch]
                        )
                    }),
                }
            }
        }
        for known in acknowledged.iter().filter(|known| known.log == log) {
            let Some((epoch, at)) = held.at(known.seq) else { continue };
            let is_it = |epoch: EpochId| {
                index.at_position(epoch, known.seq).iter().any(
                    |placed| matches!(placed.entry.kind, Kind::Data { origin, oseq, .. } if (origin, oseq) == (known.origin, known.oseq)),
                )
            };
            let Some(placed) = index.at_position(epoch, known.seq).first() else { continue };
            // An acknowledged entry is stable; whether another part has it is judged as for every
            // stable entry.
            let elsewhere = at_position
                .get(&known.seq)
                .is_some_and(|all| all.iter().any(|(other, _)| *other != epoch && is_it(*other)));
            if run.is_primary() || !elsewhere {
                known.compare(index, id, placed.entry.kind, at, sheet);
            }
        }
    }
    // Other checks ask whether each peer has all entries; this one asks whether any peer has this
    // one.
    for (seq, all) in at_position.range(furthest + 1..) {
        for (epoch, known) in all.iter().filter(|(epoch, _)| holds_reading(index, *epoch, *seq)) {
            if matches!(right(*seq, *epoch, known, view.epoch), Right::Dropped(_))
                || parts.stands(view.epoch, *seq) == Some(*epoch)
            {
                sheet.breach(&[known.held, known.at], || {
                    format!(
                        "#{seq} was known to be stable, and those who are left have nothing \
                             above #{furthest}"
                    )
                });
                return;
            }
        }
    }
    let told = acknowledged.iter().filter(|known| known.log == log && known.seq > furthest);
    if let Some(known) =
        told.filter(|known| !at_position.contains_key(&known.seq)).max_by_key(|known| known.seq)
    {
        let seq = known.seq;
        sheet.breach(&[known.at], || {
            format!(
                "#{seq} was acknowledged as safe, and those who are \
                                              left have nothing above #{furthest}"
            )
        });
    }
}

fn holds_reading(index: &Index<'_>, epoch: EpochId, seq: u64) -> bool {
    index
        .at_position(epoch, seq)
        .iter()
        .any(|placed| matches!(placed.entry.kind, Kind::Data { .. }))
}
