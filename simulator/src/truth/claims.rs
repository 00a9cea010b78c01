//! The start of an epoch: at the best log of the peers that promised, and only with peers that its
//! founder has counted.

use std::collections::BTreeMap;

use protocol::config::Mode;
use protocol::id::{Epoch, Member, Seq};
use protocol::node::Node;
use protocol::time::Time;

use super::holders::is_quorum;
use super::{Law, Truth};

/// Claims, by claimed epoch.
#[derive(Debug, Default)]
pub(super) struct Claims {
    by_epoch: BTreeMap<Epoch, Claim>,
}

/// One claim.
#[derive(Debug, Default)]
struct Claim {
    /// The ends of the logs of the peers that promised, at that time, and of the claimant when it
    /// asked for promises.
    promises: Vec<Promise>,
    /// The peers on its list, once it was decided.
    list: Option<Vec<Member>>,
    /// The stable position known to the claimant when it asked for promises.
    stable: Option<(Epoch, Seq)>,
}

#[derive(Debug)]
struct Promise {
    by: Member,
    /// When it was first sent.
    at: Time,
    log: Epoch,
    /// Its last epoch, and where that ends. A peer that has adopted the cut of an epoch may hold no
    /// entry of it yet; but entries of an earlier epoch above that cut are superseded.
    rank: (Epoch, Seq),
    /// The last epoch with an entry, and where that ends.
    end: (Epoch, Seq),
}

impl Claims {
    /// When a member first promised an epoch.
    pub(super) fn promised_at(&self, epoch: &Epoch, member: &Member) -> Option<Time> {
        let promises = &self.by_epoch.get(epoch)?.promises;
        promises.iter().find(|promise| promise.by == *member).map(|promise| promise.at)
    }

    /// The peers that the founder of an epoch counts on, once it has decided.
    pub(super) fn list(&self, epoch: &Epoch) -> &[Member] {
        self.by_epoch.get(epoch).and_then(|claim| claim.list.as_deref()).unwrap_or_default()
    }

    /// Whether the founder of an epoch counts on a member.
    pub(super) fn lists(&self, epoch: &Epoch, member: &Member) -> bool {
        self.list(epoch).contains(member)
    }
}

impl Truth {
    /// A node promises an epoch: records the current end of its log.
    pub(super) fn note_promise(&mut self, at: Time, node: &Node, claimed: &Epoch) {
        let (by, log) = (node.contact().member.clone(), node.log_id());
        let (rank, end) = ((node.epoch(), node.contiguous()), ends(node, None));
        let promise = Promise { by, at, log, rank, end };
        self.claims.by_epoch.entry(claimed.clone()).or_default().promises.push(promise);
    }

    /// A node claims an epoch.
    pub(super) fn note_claim(&mut self, now: Time, node: &Node, claimed: &Epoch) {
        let stable = node.stable();
        let row = node
            .covers()
            .rev()
            .find(|(_, first, _)| *first <= stable)
            .filter(|_| stable > Seq::ZERO);
        let stable = row.map(|(epoch, ..)| (epoch.clone(), stable));
        let claim = self.claims.by_epoch.entry(claimed.clone()).or_default();
        claim.stable = stable;
        let is_new = claim.promises.iter().all(|promise| promise.by != node.contact().member);
        if is_new {
            self.note_promise(now, node, claimed);
        }
    }

    /// Judges the epoch of a node's log, if it has changed.
    pub(super) fn judge_epoch(&mut self, now: Time, number: usize, node: &Node) {
        let epoch = node.epoch();
        if self.known[number].epoch == epoch {
            return;
        }
        self.known[number].epoch = epoch.clone();
        if epoch.is_none() {
            return;
        }
        if epoch.owner == node.contact().member {
            self.judge_founder(now, node, epoch.clone());
            self.judge_kept(now, node, &epoch);
            self.judge_list(now, node, &epoch);
        } else {
            self.judge_follower(now, node, &epoch);
        }
    }

    fn judge_founder(&mut self, now: Time, node: &Node, epoch: Epoch) {
        let list = node.rests_on();
        let claim = self.claims.by_epoch.entry(epoch.clone()).or_default();
        claim.list.get_or_insert_with(|| list.clone());
        let adopted = ends(node, Some(&epoch));
        let log = node.log_id();
        let is_counted = |promise: &&Promise| promise.log == log && list.contains(&promise.by);
        let best = claim.promises.iter().filter(is_counted).max_by_key(|one| one.rank.clone());
        self.notes.judge(Law::BestLog, now, best.is_none_or(|best| best.end == adopted), || {
            let best = best.expect("there is one");
            let ((from, to), (epoch_there, end)) = (&adopted, &best.end);
            let (rank, by) = (&best.rank.0, &best.by);
            format!(
                "epoch {epoch} begins after #{to} of epoch {from}, and {by} on its list, which was \
                 in epoch {rank}, had #{end} of epoch {epoch_there}"
            )
        });
    }

    /// The entries that its founder knew to be stable are still in it.
    fn judge_kept(&mut self, now: Time, node: &Node, epoch: &Epoch) {
        let Some((of, stable)) =
            self.claims.by_epoch.get(epoch).and_then(|claim| claim.stable.clone())
        else {
            return;
        };
        let keeps = node
            .covers()
            .any(|(covering, first, last)| *covering == of && first <= stable && stable <= last);
        self.notes.judge(Law::BestLog, now, keeps, || {
            format!(
                "epoch {epoch} begins without #{stable} of epoch {of}, which its founder knew \
                     to be stable"
            )
        });
    }

    /// The peers on its list have promised it, and in mode `primary` they are a quorum of the view
    /// that it continues from.
    fn judge_list(&mut self, now: Time, node: &Node, epoch: &Epoch) {
        let me = &node.contact().member;
        let Some(claim) = self.claims.by_epoch.get(epoch) else { return };
        let Some(list) = &claim.list else { return };
        let has_promised =
            |member: &Member| claim.promises.iter().any(|promise| promise.by == *member);
        let uncounted = list.iter().find(|member| {
            *member != me && !has_promised(member) && !self.holders.is_stranger(member)
        });
        let views = node.last_views();
        let before = views
            .iter()
            .map(|(_, view)| view)
            .find(|view| view.epoch != *epoch)
            .filter(|_| self.knobs.mode == Mode::Primary);
        let is_enough = before.is_none_or(|view| is_quorum(view, |member| list.contains(member)));
        self.notes.judge(Law::BestLog, now, uncounted.is_none() && is_enough, || match uncounted {
            Some(member) => format!("epoch {epoch} counts on {member}, which has not promised it"),
            None => {
                format!("epoch {epoch} begins with {list:?}, who are no quorum of the view before")
            }
        });
    }

    fn judge_follower(&mut self, now: Time, node: &Node, epoch: &Epoch) {
        let me = &node.contact().member;
        let Some(list) = self.claims.by_epoch.get(epoch).and_then(|claim| claim.list.as_ref())
        else {
            return;
        };
        let was_let_in =
            || node.last_views().iter().any(|(_, view)| view.epoch == *epoch && view.names(me));
        let holds = list.contains(me) || was_let_in();
        self.notes.judge(Law::BestLog, now, holds, || {
            format!(
                "{me} goes on in epoch {epoch}, whose founder has neither counted it nor let it in"
            )
        });
    }
}

/// The last epoch of a node's log with an entry, except an epoch that has just begun, and where
/// that ends.
fn ends(node: &Node, but_for: Option<&Epoch>) -> (Epoch, Seq) {
    let rows =
        node.covers().rev().filter(|(epoch, first, last)| first <= last && Some(*epoch) != but_for);
    rows.map(|(epoch, _, last)| (epoch.clone(), last)).next().unwrap_or((Epoch::none(), Seq::ZERO))
}
