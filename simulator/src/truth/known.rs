//! What was known of a process when it was looked at last.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::id::{Epoch, Member, Seq};
use protocol::node::Node;
use protocol::time::Time;

/// What was known of one process.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// What it took for stable.
    pub(super) stable: Seq,
    /// Above what it kept its log.
    pub(super) base: Seq,
    /// How many bytes of it.
    pub(super) weight: u64,
    /// Where the newest view of a leader stood.
    pub(super) view_at: Seq,
    /// Where its log ended.
    pub(super) end: Seq,
    /// Where it had ended one look earlier.
    pub(super) end_before: Seq,
    /// The epoch of its log.
    pub(super) epoch: Epoch,
    /// The epoch of the last entry of its log, and where that stood.
    pub(super) tip: (Epoch, Seq),
    /// Of how many others it believed how much, in all.
    pub(super) believed: (u64, u64),
    /// Whether it led.
    pub(super) leads: bool,
    /// Whether it was in no group, and looked for one.
    pub(super) joins: bool,
    /// Whether it followed a leader.
    pub(super) follows: bool,
    /// Whether it was about to make way for another leader.
    pub(super) makes_way: bool,
    /// Of a leader: for how long of the time in which it ran each member has lagged by too much, and when it ran last.
    pub(super) lagging: BTreeMap<Member, Duration>,
    /// Of a leader: by which question each member came in or began anew, in which epoch, and from where on it is to keep up.
    pub(super) answered: BTreeMap<Member, (Epoch, u64, Seq)>,
    /// When it ran last.
    pub(super) ran_at: Time,
}

impl Default for Known {
    fn default() -> Self {
        let (zero, none) = (Seq::ZERO, Epoch::none);
        Self {
            stable: zero,
            base: zero,
            weight: 0,
            view_at: zero,
            end: zero,
            end_before: zero,
            epoch: none(),
            tip: (none(), zero),
            believed: (0, 0),
            leads: false,
            joins: false,
            follows: false,
            makes_way: false,
            lagging: BTreeMap::new(),
            answered: BTreeMap::new(),
            ran_at: Time::ZERO,
        }
    }
}

impl Known {
    /// Looks at a node once everything that it has done was judged.
    pub(super) fn note(&mut self, node: &Node) {
        let end = node.contiguous();
        if self.end != end || self.epoch != self.tip.0 {
            let tip = node.covers().rev().find(|(_, first, last)| first <= last);
            self.tip = tip.map_or((Epoch::none(), Seq::ZERO), |(epoch, _, last)| (epoch.clone(), last));
        }
        (self.end_before, self.end, self.weight) = (self.end, end, node.weight());
        (self.leads, self.joins, self.follows, self.makes_way) = (node.leads(), node.joins(), node.follows(), node.makes_way());
    }
}
