//! The state of a process at the last look.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use protocol::id::{Epoch, Member, Seq};
use protocol::node::Node;
use protocol::time::Time;

/// The state of one process.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// The last position that it took for stable.
    pub(super) stable: Seq,
    /// The base of its log.
    pub(super) base: Seq,
    /// The bytes of its log.
    pub(super) weight: u64,
    /// The position of a leader's newest view.
    pub(super) view_at: Seq,
    /// The end of its log.
    pub(super) end: Seq,
    /// The end of its log one look earlier.
    pub(super) end_before: Seq,
    /// The recent ends of its log, with their times, oldest first: all but the first lie within the
    /// last two heartbeats.
    ends: VecDeque<(Time, Seq)>,
    /// The epoch of its log.
    pub(super) epoch: Epoch,
    /// The epoch of the last entry of its log, and its position.
    pub(super) tip: (Epoch, Seq),
    /// The number of members with a known progress, and the sum of that progress.
    pub(super) believed: (u64, u64),
    /// Whether it led.
    pub(super) leads: bool,
    /// Whether it was in no group, and looked for one.
    pub(super) joins: bool,
    /// Whether it followed a leader.
    pub(super) follows: bool,
    /// Whether it was ever in a group.
    pub(super) was_member: bool,
    /// Whether it was about to give way to another leader.
    pub(super) makes_way: bool,
    /// Of a leader: for how much of its running time each member has lagged too far, and when it
    /// ran last.
    pub(super) lagging: BTreeMap<Member, Duration>,
    /// Of a leader: the request by which each member was admitted or began anew, with the epoch and
    /// the position from which it is to keep up.
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
            ends: VecDeque::new(),
            epoch: none(),
            tip: (none(), zero),
            believed: (0, 0),
            leads: false,
            joins: false,
            follows: false,
            was_member: false,
            makes_way: false,
            lagging: BTreeMap::new(),
            answered: BTreeMap::new(),
            ran_at: Time::ZERO,
        }
    }
}

impl Known {
    /// Records the state of a node after its last call was judged.
    pub(super) fn note(&mut self, now: Time, node: &Node, heartbeat_interval: Duration) {
        let end = node.contiguous();
        if self.ends.back().is_none_or(|(_, last)| *last != end) {
            self.ends.push_back((now, end));
            while self
                .ends
                .get(1)
                .is_some_and(|(from, _)| now.since(*from) >= 2 * heartbeat_interval)
            {
                self.ends.pop_front();
            }
        }
        if self.end != end || self.epoch != self.tip.0 {
            let tip = node.covers().rev().find(|(_, first, last)| first <= last);
            self.tip =
                tip.map_or((Epoch::none(), Seq::ZERO), |(epoch, _, last)| (epoch.clone(), last));
        }
        (self.end_before, self.end, self.weight) = (self.end, end, node.weight());
        (self.leads, self.joins, self.follows, self.makes_way) =
            (node.leads(), node.joins(), node.follows(), node.makes_way());
        self.was_member |= self.leads || self.follows;
    }

    /// The end of its log two heartbeats ago: entries numbered since may still be in flight.
    pub(super) fn stood(&self, now: Time, heartbeat_interval: Duration) -> Seq {
        let since =
            |at: usize| self.ends.get(at).map_or(Duration::ZERO, |(from, _)| now.since(*from));
        let first = (1..self.ends.len())
            .take_while(|at| since(*at) >= 2 * heartbeat_interval)
            .last()
            .unwrap_or(0);
        self.ends.iter().skip(first).map(|(_, end)| *end).min().unwrap_or(Seq::ZERO)
    }
}
