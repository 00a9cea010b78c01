//! The parts of a group, as its epochs tell of them: which epoch goes on from which, and whether
//! two parts had a right to part.
//!
//! Mode `available` lets every part of a group go on, so one log may go on in two ways. What is
//! stable in one part was held by everybody in a view of that part. So the founder of another part,
//! which goes on below it, was in no such view: the part that calls it stable had a view without
//! that founder, or had numbered its removal. If it had not, the founder held the entry and dropped
//! it, and no fault of any network allows that.

use std::collections::BTreeMap;

use crate::check::founding::Founding;
use crate::check::held::Held;
use crate::index::{EpochId, Index, LifeId, What};

/// An entry that is stable: its place, and when somebody first knew that it is.
#[derive(Clone, Copy)]
pub(crate) struct Stable {
    pub(crate) epoch: EpochId,
    pub(crate) seq: u64,
    pub(crate) known: u64,
}

/// Whether another entry may stand where a stable one stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// It is in the other log as well.
    Kept,
    /// The part that has it had left out whoever founded the other part, or parted from the other
    /// one itself.
    Parted,
    /// The founder of the other part was in every view of the part that has it: the record of the
    /// founding.
    Dropped(usize),
    /// How an epoch between the two began is told by nobody.
    Untold,
}

/// How the epochs of a history hang together.
pub(crate) struct Parts<'a> {
    index: &'a Index<'a>,
    pub(crate) foundings: &'a [Option<Founding>],
    /// What stands below the cut of each epoch, by position, as those tell who are in it.
    below: Vec<BTreeMap<u64, EpochId>>,
    /// The views by their place, and by when each was numbered at the latest.
    views: BTreeMap<(EpochId, u64), (usize, u64)>,
    /// Who was removed in which epoch, and when.
    removed: Vec<(EpochId, LifeId, u64)>,
}

impl<'a> Parts<'a> {
    pub(crate) fn of(index: &'a Index<'a>, foundings: &'a [Option<Founding>]) -> Self {
        let mut below: Vec<BTreeMap<u64, EpochId>> = vec![BTreeMap::new(); index.epochs.len()];
        let mut removed = vec![];
        for life in &index.lives {
            let mut adopted: Option<EpochId> = None;
            let (mut log, mut held) = (&index.none, Held::default());
            for (turn, fact) in life.facts.iter().enumerate() {
                match fact.what {
                    What::Diverged { from, .. } => held.cut(from.saturating_sub(1)),
                    What::Cut { epoch, log: cut_log, .. } => {
                        adopted = Some(epoch);
                        if std::mem::replace(&mut log, cut_log) != cut_log {
                            held.cut(0);
                        }
                        if let Some(What::Diverged { from, .. }) =
                            life.facts.get(turn + 1).map(|next| &next.what)
                        {
                            held.cut(from.saturating_sub(1));
                        }
                        // What it goes on with stands there as well; the last of it says from which
                        // epoch that goes on.
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
        let mut views: BTreeMap<(EpochId, u64), (usize, u64)> = BTreeMap::new();
        for (at, view) in index.views.iter().enumerate() {
            // The first view of an epoch is numbered as the epoch begins.
            let first = foundings[view.epoch]
                .as_ref()
                .filter(|founding| view.seq == founding.cut + 1)
                .map_or(view.t, |founding| founding.t);
            views.entry((view.epoch, view.seq)).or_insert((at, view.t.min(first)));
        }
        Self { index, foundings, below, views, removed }
    }

    /// Whether a log that has reached an epoch may have another entry, or none, where that one
    /// stands.
    pub(crate) fn right(&self, stable: Stable, reached: EpochId) -> Right {
        if self.stands(reached, stable.seq) == Some(stable.epoch) {
            return Right::Kept;
        }
        match self.parting(stable, reached) {
            Some(Some(parting)) => self.judge(stable, parting),
            // Where nobody on that side went on below the entry, it was the part which has it that
            // parted.
            Some(None) => Right::Parted,
            None => Right::Untold,
        }
    }

    /// Whether the founder of that epoch may take the entry back: only for the log of a part that
    /// had gone on without the entry before, never for what it goes on with itself.
    pub(crate) fn right_of_founder(&self, stable: Stable, founded: EpochId) -> Right {
        match (self.parting(stable, founded), &self.foundings[founded]) {
            (Some(Some(parting)), Some(founding)) if parting == founded => {
                Right::Dropped(founding.at)
            }
            _ => self.right(stable, founded),
        }
    }

    /// The first epoch of a log without the entry that began below it, since that log parted from
    /// the one that has it; none inside if there is none, and none at all if nobody tells.
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

    /// Whether the founder of that epoch had a right to go on without the entry.
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

    /// Whether those who have the entry had a view without that life before the entry was known to
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

    /// Whether the founder of an epoch had given that epoch up for another one by then, where it
    /// may have got the entry after all.
    fn is_back(&self, founding: &Founding, epoch: EpochId, t: u64) -> bool {
        let facts = &self.index.lives[founding.owner].facts;
        let mut later = facts.iter().filter(|fact| fact.at > founding.at && fact.t <= t);
        later.any(|fact| matches!(fact.what, What::Cut { epoch: other, .. } if !self.line(other).contains(&epoch)))
    }

    /// The view in force at a position of the log of an epoch.
    fn view_at(&self, mut epoch: EpochId, mut seq: u64) -> Option<usize> {
        loop {
            if let Some((_, view)) = self.views.range((epoch, 0)..=(epoch, seq)).next_back() {
                return Some(view.0);
            }
            seq = seq.min(self.foundings[epoch].as_ref()?.cut);
            epoch = self.parent(epoch)?;
        }
    }

    /// The epoch of what stands at a position of the log that an epoch goes on in; none if nobody
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

    /// The epoch that an epoch goes on from: that of the entry at its cut, or the one that its
    /// founder was in.
    fn parent(&self, epoch: EpochId) -> Option<EpochId> {
        let founding = self.foundings[epoch].as_ref()?;
        let at_cut = self.below[epoch]
            .get(&founding.cut)
            .copied()
            .or_else(|| founding.kept.at(founding.cut).map(|(epoch, _)| epoch));
        at_cut
            .or(founding.before)
            .filter(|parent| self.index.epochs[*parent] < self.index.epochs[epoch])
    }

    /// An epoch and those that it goes on from, newest first.
    fn line(&self, epoch: EpochId) -> Vec<EpochId> {
        std::iter::successors(Some(epoch), |epoch| self.parent(*epoch)).collect()
    }
}

/// Why an entry is not held against two parts of a group.
pub(crate) const UNTOLD: &str = "how one of the two parts began is told by nobody";
