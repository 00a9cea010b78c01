//! Facts that the laws have to remember, and the ledger that remembers them along a path.
//!
//! A search compares situations, not histories, so everything that a law has to know of the past is
//! a part of the situation: the entry at each position, and its epoch; the leaders; the views; the
//! stable entries. Two paths that end alike but wrote different ledgers are two situations.

use std::collections::{BTreeMap, BTreeSet};

use protocol::id::{Epoch, PeerId, Seq, ViewId};
use protocol::node::Node;

use crate::holdings::Holdings;
use crate::peer::digest;

/// The violation of a law.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The id of the promise in the catalogue.
    pub promise: &'static str,
    /// What happened.
    pub words: String,
}

impl Breach {
    pub(crate) fn new(promise: &'static str, words: String) -> Self {
        Self { promise, words }
    }
}

/// A fact that a later event may contradict.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fact {
    /// An entry is at this position.
    Entry { epoch: Epoch, seq: Seq, digest: u128 },
    /// A view is in force.
    View { epoch: Epoch, view_id: ViewId, digest: u128 },
    /// A peer leads.
    Leads { epoch: Epoch, peer: PeerId },
    /// An entry of that epoch is stable at this position; the reporting peer is in the epoch
    /// `told_in`.
    Stable { seq: Seq, epoch: Epoch, digest: u128, told_in: Epoch },
    /// A log of that name has begun.
    Log { id: Epoch },
    /// The peer's log, stable position or belief about others has changed.
    Moved,
    /// The peer has delivered this position and all before.
    HandedOver { epoch: Epoch, seq: Seq },
    /// An event that a search wants to have met.
    Mark(Mark),
}

/// An event that must happen somewhere in a search, or the search has shown nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mark {
    /// A second leader was elected.
    SecondLeader,
    /// A reading was delivered by every peer.
    DeliveredByAll,
    /// A log lost entries that it had.
    TakenBack,
    /// A delivered entry is not in the log any more.
    Diverged,
    /// A frame of an epoch below the promise was refused.
    StaleRefused,
    /// A claim below the promise was refused.
    ClaimRefused,
    /// A working leader stopped an election.
    Vetoed,
    /// A leader stepped down.
    SteppedDown,
    /// A member was evicted for its silence.
    Evicted,
    /// A reading came again, and was not delivered twice.
    DupSuppressed,
    /// A group merged into another one.
    Merged,
    /// A peer was admitted by a snapshot.
    Admitted,
    /// A peer without a quorum refuses to continue.
    Blocked,
}

impl Mark {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::SecondLeader,
        Self::DeliveredByAll,
        Self::TakenBack,
        Self::Diverged,
        Self::StaleRefused,
        Self::ClaimRefused,
        Self::Vetoed,
        Self::SteppedDown,
        Self::Evicted,
        Self::DupSuppressed,
        Self::Merged,
        Self::Admitted,
        Self::Blocked,
    ];

    /// Its description.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::SecondLeader => "a second leader elected",
            Self::DeliveredByAll => "a reading delivered by everybody",
            Self::TakenBack => "a cut that takes something back",
            Self::Diverged => "something delivered is not in the log any more",
            Self::StaleRefused => "a frame below the promise turned away",
            Self::ClaimRefused => "a claim below the promise turned away",
            Self::Vetoed => "an election stopped by a working leader",
            Self::SteppedDown => "a leader steps down",
            Self::Evicted => "a silent member evicted",
            Self::DupSuppressed => "a repeat told apart",
            Self::Merged => "two groups merged",
            Self::Admitted => "a peer admitted by a snapshot",
            Self::Blocked => "a peer without quorum blocked",
        }
    }
}

/// The content of a node's log, by position.
pub(crate) fn held(node: &Node) -> BTreeMap<Seq, (Epoch, u128)> {
    node.entries().map(|(seq, epoch, entry)| (seq, (epoch, digest(&entry)))).collect()
}

/// A stable entry: its epoch, its digest, and the first epoch in which it was stable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Stable {
    entry: (Epoch, u128),
    since: Epoch,
}

/// All facts of one path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ledger {
    entries: BTreeMap<(Epoch, Seq), u128>,
    views: BTreeMap<(Epoch, ViewId), u128>,
    leaders: BTreeMap<Epoch, PeerId>,
    stable: BTreeMap<Seq, Stable>,
    logs: BTreeSet<Epoch>,
    holdings: Holdings,
}

impl Ledger {
    /// Adds a fact; a breach if it contradicts an earlier one. `one_log` means that there may be
    /// only one log, so that its stable entries are stable for good.
    pub(crate) fn note(&mut self, fact: &Fact, one_log: bool) -> Result<(), Breach> {
        match fact {
            Fact::Entry { epoch, seq, digest } => {
                let before = *self.entries.entry((epoch.clone(), *seq)).or_insert(*digest);
                (before == *digest).then_some(()).ok_or_else(|| {
                    Breach::new(
                        "no-duplicate-seq",
                        format!("two different entries at #{seq} of epoch {epoch}"),
                    )
                })
            }
            Fact::View { epoch, view_id, digest } => {
                let before = *self.views.entry((epoch.clone(), *view_id)).or_insert(*digest);
                (before == *digest).then_some(()).ok_or_else(|| {
                    Breach::new(
                        "view-legal",
                        format!("two different views are view {view_id} of epoch {epoch}"),
                    )
                })
            }
            Fact::Leads { epoch, peer } => match self.leaders.insert(epoch.clone(), peer.clone()) {
                Some(before) => Err(Breach::new(
                    "one-leader-per-epoch",
                    format!("epoch {epoch} has been led by {before}, and {peer} leads it now"),
                )),
                None => Ok(()),
            },
            Fact::Stable { seq, epoch, digest, told_in } if one_log => {
                let entry = (epoch.clone(), *digest);
                let before = self
                    .stable
                    .entry(*seq)
                    .or_insert_with(|| Stable { entry: entry.clone(), since: told_in.clone() });
                if before.entry == entry {
                    // The leader of an epoch may learn late that its quorum had the entry.
                    before.since = before.since.clone().min(told_in.clone());
                    return Ok(());
                }
                let words = format!(
                    "two different entries of epochs {} and {epoch} are stable at #{seq}",
                    before.entry.0
                );
                Err(Breach::new("stable-agreement", words))
            }
            Fact::Log { id } if one_log => {
                self.logs.insert(id.clone());
                if self.logs.len() == 1 {
                    return Ok(());
                }
                Err(Breach::new(
                    "stable-agreement",
                    format!("a second log begins: {:?}", self.logs),
                ))
            }
            Fact::Stable { .. }
            | Fact::Log { .. }
            | Fact::Mark(_)
            | Fact::Moved
            | Fact::HandedOver { .. } => Ok(()),
        }
    }

    /// Judges a peer's stable position, its beliefs about others and its deliveries, by the entries
    /// that each peer has held.
    pub(crate) fn judge(
        &mut self,
        facts: &[Fact],
        node: &Node,
        is_primary: bool,
    ) -> Result<(), Breach> {
        if facts.contains(&Fact::Moved) {
            self.holdings.look(node, is_primary)?;
        }
        for fact in facts {
            if let Fact::HandedOver { epoch, seq } = fact {
                self.holdings.judge_handed(node, epoch, *seq)?;
            }
        }
        Ok(())
    }

    /// How many peers have led, one after the other or each on a side of its own.
    pub(crate) fn leaders(&self) -> usize {
        self.leaders.len()
    }

    /// A stable entry that is not in the log that continues in `epoch`. A late leader of an epoch
    /// may lack entries that became stable in a later one: the quorum of the later epoch has
    /// promised it, and accepts nothing from the late leader.
    pub(crate) fn lost_from(
        &self,
        log: &BTreeMap<Seq, (Epoch, u128)>,
        epoch: &Epoch,
    ) -> Option<Seq> {
        let first = log.keys().next().copied().unwrap_or(Seq::ZERO);
        let binding =
            self.stable.iter().filter(|(seq, stable)| **seq >= first && stable.since <= *epoch);
        binding
            .filter(|(seq, stable)| log.get(seq) != Some(&stable.entry))
            .map(|(seq, _)| *seq)
            .next()
    }
}

#[cfg(test)]
mod tests {
    use super::{Fact, Ledger};
    use crate::peer::contact;
    use protocol::id::{Epoch, Seq, ViewId};
    use std::collections::BTreeMap;

    fn epoch(round: u64) -> Epoch {
        Epoch { round, owner: contact(0).member }
    }

    #[track_caller]
    fn check_broken(one_log: bool, first: &Fact, second: &Fact, promise: &str) {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.note(first, one_log), Ok(()));
        assert_eq!(
            ledger.note(first, one_log).is_ok(),
            !matches!(first, Fact::Leads { .. }),
            "what was so may be so again"
        );
        assert_eq!(ledger.note(second, one_log).expect_err("a contradiction").promise, promise);
    }

    #[test]
    fn a_contradiction_is_a_breach() {
        let entry = |digest| Fact::Entry { epoch: epoch(1), seq: Seq(2), digest };
        check_broken(false, &entry(1), &entry(2), "no-duplicate-seq");
        let view = |digest| Fact::View { epoch: epoch(1), view_id: ViewId(2), digest };
        check_broken(false, &view(1), &view(2), "view-legal");
        let leads = |index| Fact::Leads { epoch: epoch(1), peer: contact(index).member.id };
        check_broken(false, &leads(0), &leads(1), "one-leader-per-epoch");
        let stable = |round| Fact::Stable {
            seq: Seq(2),
            epoch: epoch(round),
            digest: 1,
            told_in: epoch(round),
        };
        check_broken(true, &stable(1), &stable(2), "stable-agreement");
        check_broken(
            true,
            &Fact::Log { id: epoch(1) },
            &Fact::Log { id: epoch(2) },
            "stable-agreement",
        );
    }

    #[test]
    fn two_sides_may_go_on_where_the_mode_allows_it() {
        let mut ledger = Ledger::default();
        for round in [1, 2] {
            let stable =
                Fact::Stable { seq: Seq(2), epoch: epoch(round), digest: 1, told_in: epoch(round) };
            assert_eq!(ledger.note(&stable, false), Ok(()));
            assert_eq!(ledger.note(&Fact::Log { id: epoch(round) }, false), Ok(()));
        }
    }

    #[test]
    fn a_log_that_lacks_what_is_stable_is_found() {
        let mut ledger = Ledger::default();
        let stable = |told_in| Fact::Stable {
            seq: Seq(2),
            epoch: epoch(1),
            digest: 7,
            told_in: epoch(told_in),
        };
        ledger.note(&stable(4), true).expect("the first fact");
        let log = |entries: &[(u64, u128)]| -> BTreeMap<Seq, (Epoch, u128)> {
            entries.iter().map(|(seq, digest)| (Seq(*seq), (epoch(1), *digest))).collect()
        };
        assert_eq!(ledger.lost_from(&log(&[(1, 6), (2, 7)]), &epoch(5)), None);
        assert_eq!(ledger.lost_from(&log(&[(1, 6)]), &epoch(5)), Some(Seq(2)));
        assert_eq!(ledger.lost_from(&log(&[(1, 6), (2, 8)]), &epoch(5)), Some(Seq(2)));
        assert_eq!(
            ledger.lost_from(&log(&[(3, 9)]), &epoch(5)),
            None,
            "discarded, so it was there"
        );
        assert_eq!(
            ledger.lost_from(&log(&[(1, 6)]), &epoch(3)),
            None,
            "a late leader, whom nobody follows"
        );
        ledger.note(&stable(2), true).expect("the same entry");
        assert_eq!(
            ledger.lost_from(&log(&[(1, 6)]), &epoch(3)),
            Some(Seq(2)),
            "it was stable before"
        );
    }
}
