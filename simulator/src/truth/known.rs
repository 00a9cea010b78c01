//! What was known of a process when it was looked at last.

use std::collections::{BTreeMap, VecDeque};
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
    /// Where it has ended of late, and from when on, oldest first: all but the first lie within the
    /// last two heartbeats.
    ends: VecDeque<(Time, Seq)>,
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
    /// Whether it was ever in a group.
    pub(super) was_member: bool,
    /// Whether it was about to make way for another leader.
    pub(super) makes_way: bool,
    /// Of a leader: for how long of the time in which it ran each member has lagged by too much,
    /// and when it ran last.
    pub(super) lagging: BTreeMap<Member, Duration>,
    /// Of a leader: by which question each member came in or began anew, in which epoch, and from
    /// where on it is to keep up.
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
    /// Looks at a node once everything that it has done was judged.
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

    /// Up to where its log has reached for two heartbeats: what was numbered since may be under way
    /// still.
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
