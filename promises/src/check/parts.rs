//! The parts of a group, derived from its epochs: which epoch continues which, and whether two
//! parts had a right to separate.
//!
//! Mode `available` lets every part of a group continue, so one log may continue in two ways. An
//! entry that is stable in one part was held by every member of a view of that part. So the founder
//! of another part, which continues below the entry, was in no such view: the part with the stable
//! entry had a view without that founder, or had numbered its removal. Otherwise the founder held
//! the entry and dropped it, and no network fault permits that.

use std::collections::BTreeMap;

use crate::check::founding::Founding;
use crate::check::held::Held;
use crate::index::{EpochId, Index, LifeId, What};

/// A stable entry: its place, and when a life first knew that it is stable.
#[derive(Clone, Copy)]
pub(crate) struct Stable {
    pub(crate) epoch: EpochId,
    pub(crate) seq: u64,
    pub(crate) known: u64,
}

/// Whether another log may hold another entry at the place of a stable one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// The other log holds the same entry.
    Kept,
    /// The part with the entry had a view without the founder of the other part, or itself
    /// separated from the other part.
    Parted,
    /// The founder of the other part was in every view of the part with the entry: the record of
    /// the founding.
    Dropped(usize),
    /// No record tells how an epoch between the two began.
    Untold,
}

/// How the epochs of a history are connected.
pub(crate) struct Parts<'a> {
    index: &'a Index<'a>,
    pub(crate) foundings: &'a [Option<Founding>],
    /// The entries below the cut of each epoch, by position, as its members report them.
    below: Vec<BTreeMap<u64, EpochId>>,
    /// Of each epoch, the one before it that holds nothing: both begin at one place, and a member
    /// of the earlier one took nothing back when it followed the later one.
    empty: Vec<Option<EpochId>>,
    /// The views by their place, and the latest time at which each was numbered.
    views: BTreeMap<(EpochId, u64), (usize, u64)>,
    /// The removed lives, with epoch and time.
    removed: Vec<(EpochId, LifeId, u64)>,
}

impl<'a> Parts<'a> {
    pub(crate) fn of(index: &'a Index<'a>, foundings: &'a [Option<Founding>]) -> Self {
        let mut below: Vec<BTreeMap<u64, EpochId>> = vec![BTreeMap::new(); index.epochs.len()];
        let mut empty: Vec<Option<EpochId>> = vec![None; index.epochs.len()];
        let mut removed = vec![];
        for life in &index.lives {
            let mut adopted: Option<EpochId> = None;
            let (mut log, mut held) = (&index.none, Held::default());
            for (turn, fact) in life.facts.iter().enumerate() {
                match fact.what {
                    What::Diverged { from, .. } => held.cut(from.saturating_sub(1)),
                    What::Cut { epoch, log: cut_log, .. } => {
                        let mut before = adopted.replace(epoch);
                        if std::mem::replace(&mut log, cut_log) != cut_log {
                            held.cut(0);
                            before = None;
                        }
                        if let Some(What::Diverged { from, .. }) =
                            life.facts.get(turn + 1).map(|next| &next.what)
                        {
                            held.cut(from.saturating_sub(1));
                            before = None;
                        }
                        let earlier =
                            before.filter(|before| is_empty(index, foundings, *before, epoch));
                        let known = [empty[epoch], earlier].into_iter().flatten();
                        empty[epoch] = known.max_by_key(|epoch| index.epochs[*epoch]);
                        // The entries that it continues with are recorded there as well; the last
                        // of them says which epoch it continues.
                        let last = held.0.last().filter(|(seq, ..)| {
                            foundings[epoch].as_ref().is_some_and(|founding| *seq <= founding.cut)
                        });
                        below[epoch].extend(
                            last.filter(|(_, from, _)| *from != epoch)
                                .map(|(seq, from, _)| (*seq, *from)),
                        );
                    }
                    What::Entry(entry) => {
                        held.add(entry.seq, entry.epoch, fact.at);
                        let Some(epoch) = adopted.filter(|epoch| *epoch != entry.epoch) else {
                            continue;
                        };
                        if foundings[epoch]
                            .as_ref()
                            .is_some_and(|founding| entry.seq <= founding.cut)
                        {
                            below[epoch].insert(entry.seq, entry.epoch);
                        }
                    }
                    What::Removes { life, .. } => {
                        removed.extend(adopted.map(|epoch| (epoch, life, fact.t)))
                    }
                    _ => {}
                }
            }
        }
        let views = numbered(index, foundings);
        Self { index, foundings, below, empty, views, removed }
    }

    /// Whether a log that has reached an epoch may have another entry, or none, at the place of the
    /// stable one.
    pub(crate) fn right(&self, stable: Stable, reached: EpochId) -> Right {
        if self.stands(reached, stable.seq) == Some(stable.epoch) {
            return Right::Kept;
        }
        match self.parting(stable, reached) {
            Some(Some(parting)) => self.judge(stable, parting),
            // If no founder of that side continued below the entry, the part with the entry is the
            // one that separated.
            Some(None) => Right::Parted,
            None => Right::Untold,
        }
    }

    /// Whether the founder of that epoch may take the entry back: only for the log of a part that
    /// had continued without the entry before, never for its own continuation.
    pub(crate) fn right_of_founder(&self, stable: Stable, founded: EpochId) -> Right {
        match (self.parting(stable, founded), &self.foundings[founded]) {
            (Some(Some(parting)), Some(founding)) if parting == founded => {
                Right::Dropped(founding.at)
            }
            _ => self.right(stable, founded),
        }
    }

    /// The first epoch of a log without the entry that began below the entry, since that log
    /// separated from the one with it. The inner value is none if there is no such epoch; the outer
    /// one if no record tells.
    fn parting(&self, stable: Stable, reached: EpochId) -> Option<Option<EpochId>> {
        let common = self.line(stable.epoch);
        let mut parting = None;
        for epoch in self.line(reached) {
            if common.contains(&epoch) {
                return Some(parting);
            }
            if self.foundings[epoch].as_ref()?.cut < stable.seq {
                parting = Some(epoch);
            }
        }
        None
    }

    /// Whether the founder of that epoch had a right to continue without the entry.
    fn judge(&self, stable: Stable, parting: EpochId) -> Right {
        let Some(founding) = &self.foundings[parting] else { return Right::Untold };
        let in_force = self.view_at(stable.epoch, stable.seq);
        if self.is_left_out(stable, founding.owner, in_force)
            || self.is_back(founding, parting, stable.known)
        {
            Right::Parted
        } else if in_force.is_none() {
            Right::Untold
        } else {
            Right::Dropped(founding.at)
        }
    }

    /// Whether the part with the entry had a view without that life before the entry was known to
    /// be stable.
    fn is_left_out(&self, stable: Stable, founder: LifeId, in_force: Option<usize>) -> bool {
        let Stable { epoch, seq, known } = stable;
        let life = &self.index.lives[founder];
        let lacks = |view: usize| !self.index.views[view].names(life.peer, life.inc);
        let has_it = |other: EpochId| other == epoch || self.stands(other, seq) == Some(epoch);
        let later = || self.views.iter().filter(|((other, at), _)| *at > seq && has_it(*other));
        in_force.is_some_and(lacks)
            || self
                .removed
                .iter()
                .any(|(other, removed, t)| *removed == founder && *t <= known && has_it(*other))
            || later().any(|(_, (view, t))| *t <= known && lacks(*view))
    }

    /// Whether the founder of an epoch had left that epoch for another one by then, in which it may
    /// have received the entry after all.
    fn is_back(&self, founding: &Founding, epoch: EpochId, t: u64) -> bool {
        let facts = &self.index.lives[founding.owner].facts;
        let mut later = facts.iter().filter(|fact| fact.at > founding.at && fact.t <= t);
        later.any(|fact| matches!(fact.what, What::Cut { epoch: other, .. } if !self.line(other).contains(&epoch)))
    }

    /// The view in force at a position of an epoch's log.
    fn view_at(&self, mut epoch: EpochId, mut seq: u64) -> Option<usize> {
        loop {
            if let Some((_, view)) = self.views.range((epoch, 0)..=(epoch, seq)).next_back() {
                return Some(view.0);
            }
            seq = seq.min(self.foundings[epoch].as_ref()?.cut);
            epoch = self.parent(epoch)?;
        }
    }

    /// The epoch of the entry at a position of the log that an epoch continues; none if no record
    /// tells.
    pub(crate) fn stands(&self, epoch: EpochId, seq: u64) -> Option<EpochId> {
        let mut at = epoch;
        loop {
            let founding = self.foundings[at].as_ref()?;
            if seq > founding.cut {
                return Some(at);
            }
            if let Some(known) = self.below[at]
                .get(&seq)
                .copied()
                .or_else(|| founding.kept.at(seq).map(|(epoch, _)| epoch))
            {
                return Some(known);
            }
            at = self.parent(at)?;
        }
    }

    /// The epoch that an epoch continues: one without an entry, that of the entry at its cut, or
    /// the founder's previous one.
    fn parent(&self, epoch: EpochId) -> Option<EpochId> {
        if let Some(empty) = self.empty[epoch] {
            return Some(empty);
        }
        let founding = self.foundings[epoch].as_ref()?;
        let at_cut = self.below[epoch]
            .get(&founding.cut)
            .copied()
            .or_else(|| founding.kept.at(founding.cut).map(|(epoch, _)| epoch));
        at_cut
            .or(founding.before)
            .filter(|parent| self.index.epochs[*parent] < self.index.epochs[epoch])
    }

    /// An epoch and the epochs that it continues, newest first.
    fn line(&self, epoch: EpochId) -> Vec<EpochId> {
        std::iter::successors(Some(epoch), |epoch| self.parent(*epoch)).collect()
    }
}

/// The views by their place, and the latest time at which each was numbered.
fn numbered(
    index: &Index<'_>,
    foundings: &[Option<Founding>],
) -> BTreeMap<(EpochId, u64), (usize, u64)> {
    let mut views: BTreeMap<(EpochId, u64), (usize, u64)> = BTreeMap::new();
    for (at, view) in index.views.iter().enumerate() {
        // The first view of an epoch is numbered when the epoch begins.
        let first = foundings[view.epoch]
            .as_ref()
            .filter(|founding| view.seq == founding.cut + 1)
            .map_or(view.t, |founding| founding.t);
        views.entry((view.epoch, view.seq)).or_insert((at, view.t.min(first)));
    }
    views
}

/// Whether an epoch holds nothing where another one continues it: both begin at one place.
fn is_empty(
    index: &Index<'_>,
    foundings: &[Option<Founding>],
    epoch: EpochId,
    next: EpochId,
) -> bool {
    let cut = |epoch: EpochId| foundings[epoch].as_ref().map(|founding| founding.cut);
    cut(epoch).is_some() && cut(epoch) == cut(next) && index.epochs[epoch] < index.epochs[next]
}

/// The reason for not judging an entry between two parts of a group.
pub(crate) const UNTOLD: &str = "how one of the two parts began is told by nobody";
