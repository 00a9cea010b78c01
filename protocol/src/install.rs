//! A log that is being built beside the present one.
//!
//! A peer never changes its log piece by piece: it collects the one it is to have, and replaces the
//! old one in a single step. Until then any other claimant is told the old one, so a half-built log
//! is never mistaken for a held one.

pub(crate) mod building;
mod serving;

use crate::id::{Contact, Epoch, Seq};
use crate::log::Log;
use crate::log::entry::{Entry, Ordered};
use crate::log::lineage::{EpochStart, Snapshot};
use crate::log::log_id::LogId;
use crate::log::tail::Tail;
use crate::log::view::View;
use crate::time::Time;

/// On what the entries stand.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Base {
    /// The present log up to this fork.
    Own(Seq),
    /// A snapshot.
    Snapshot(Box<Snapshot>),
}

/// What the log is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// To follow a new leader's cut.
    Follow,
    /// To be admitted.
    Join,
    /// To announce it as the new leader.
    Lead,
}

/// A log being built.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Install {
    pub(crate) purpose: Purpose,
    /// The epoch it is built for.
    pub(crate) epoch: Epoch,
    /// Where the entries come from: the leader, or the holder of the adopted log.
    pub(crate) source: Contact,
    pub(crate) base: Base,
    /// The rows that it will have, without the one for `epoch` where that is still to be added.
    pub(crate) lineage: Vec<EpochStart>,
    /// What stands above the base so far.
    pub(crate) entries: Tail,
    /// The newest view so far.
    pub(crate) view: Option<View>,
    /// The last position needed.
    pub(crate) target: Seq,
    /// The open question, if entries have to be asked for.
    pub(crate) ask: u64,
    /// Frames that the open question has brought.
    pub(crate) bursts: u32,
    /// Asked again then, unless something has come meanwhile.
    pub(crate) retry_at: Time,
}

impl Base {
    /// The view in force there.
    pub(crate) fn view(&self, own: &Log) -> Option<View> {
        match self {
            Self::Own(fork) => own.view_in_force(*fork).cloned(),
            Self::Snapshot(snapshot) => snapshot.view.clone(),
        }
    }

    /// The last position of it.
    pub(crate) fn end(&self) -> Seq {
        match self {
            Self::Own(fork) => *fork,
            Self::Snapshot(snapshot) => snapshot.seq,
        }
    }
}

impl Install {
    /// The first position that is still missing.
    pub(crate) fn next(&self) -> Seq {
        self.entries.end().next()
    }

    /// The name of the log that it becomes.
    pub(crate) fn name(&self) -> LogId {
        LogId::founded_by(
            self.lineage.first().map_or_else(|| self.epoch.clone(), |row| row.epoch.clone()),
        )
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.next() > self.target
    }

    /// Takes what continues it, and nothing else. True if something did.
    pub(crate) fn extend(&mut self, ordered: Ordered) -> bool {
        let next = self.next();
        if ordered.first > next {
            return false;
        }
        for entry in ordered.from(next) {
            // Where it changes a view that is not this log's, what comes behind it is of no use
            // either.
            let Some(entry) = entry.resolve(self.view.as_ref()) else { break };
            if let Entry::View(view) = &entry {
                self.view = Some(view.clone());
            }
            self.entries.push(entry);
        }
        self.next() > next
    }

    /// Goes on from a snapshot instead.
    pub(crate) fn rebase(&mut self, snapshot: Snapshot) {
        self.entries = Tail::new(snapshot.seq);
        self.view = snapshot.view.clone();
        self.base = Base::Snapshot(Box::new(snapshot));
    }

    /// The finished log; none where an entry is of somebody who was in no view of it.
    pub(crate) fn finish(self, own: &Log) -> Option<Log> {
        let mut log = match &self.base {
            Base::Own(fork) => {
                let mut log = own.clone();
                log.truncate(*fork);
                log
            }
            Base::Snapshot(snapshot) => Log::from_snapshot(snapshot),
        };
        for (_, entry) in self.entries.from(Seq::ZERO) {
            log.knows_origin(&entry).then(|| log.append(entry))?;
        }
        log.set_lineage(self.lineage);
        if self.purpose != Purpose::Join {
            log.push_row(self.epoch);
        }
        Some(log)
    }
}

#[cfg(test)]
mod tests {
    use super::{Base, Install, Purpose};
    use crate::guarantee::Guarantee;
    use crate::id::{Contact, Epoch, Incarnation, Member, Oseq, PeerId, Seq};
    use crate::log::entry::{Entry, Ordered};
    use crate::log::tail::Tail;
    use crate::time::Time;

    #[test]
    fn only_what_continues_a_log_counts_as_progress() {
        let member = Member { id: PeerId::new("p1").expect("a valid name"), inc: Incarnation(1) };
        let source = Contact {
            member: member.clone(),
            birth: 1,
            address: "127.0.0.1:5001".parse().expect("an address"),
            explicit: 0,
        };
        let data = |oseq| Entry::one(member.clone(), Oseq(oseq), Guarantee::Agreed, "x".into(), 0);
        let ordered = |first, run| Ordered {
            epoch: Epoch::none(),
            first: Seq(first),
            run,
            stable: Seq::ZERO,
            repair: None,
        };
        let mut install = Install {
            purpose: Purpose::Follow,
            epoch: Epoch::none(),
            source,
            base: Base::Own(Seq(3)),
            lineage: Vec::new(),
            entries: Tail::new(Seq(3)),
            view: None,
            target: Seq(5),
            ask: 1,
            bursts: 0,
            retry_at: Time::ZERO,
        };
        assert!(!install.extend(ordered(5, vec![data(5)])), "a hole");
        assert!(install.extend(ordered(3, vec![data(3), data(4)])) && !install.is_complete());
        assert!(!install.extend(ordered(3, vec![data(3), data(4)])), "a repeat");
        assert!(!install.extend(ordered(5, Vec::new())), "nothing");
        assert!(install.extend(ordered(5, vec![data(5)])) && install.is_complete());
        assert_eq!(
            install.entries.from(Seq(1)).collect::<Vec<_>>(),
            [(Seq(4), data(4)), (Seq(5), data(5))]
        );
    }
}
