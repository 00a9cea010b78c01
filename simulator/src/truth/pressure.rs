//! Backpressure: when a leader accepts readings, and the fate of members that cannot keep up.

use std::time::Duration;

use protocol::id::{Member, PeerId, Seq};
use protocol::message::{Added, Entry};
use protocol::node::Node;
use protocol::time::Time;

use super::{Law, Truth};

impl Truth {
    /// A leader accepts readings, unless a member lags or it gives way.
    pub(super) fn judge_pressure(&mut self, now: Time, number: usize, node: &Node) {
        let known = &self.known[number];
        if !node.leads() {
            return;
        }
        let (me, end) = (&node.contact().member, node.contiguous());
        if node.is_under_pressure() {
            let most = node.believes().map(|(_, believed)| end.above(believed)).max().unwrap_or(0);
            // It decides in the middle of a call; it has accepted readings before that and discards
            // stable entries after it.
            let weight = 2 * node.weight().max(known.weight);
            let has_reason = most > self.knobs.max_lag_entries || weight > self.knobs.retain_bytes;
            self.notes.judge(Law::PressedRightly, now, has_reason, || {
                format!(
                    "{me} takes no readings, with {} bytes of log and a member that lags by \
                         {most} at most",
                    node.weight()
                )
            });
        }
        // In this call it acts on the result of the last one, before it numbered its own readings
        // there.
        if !known.leads || known.tip.0 != node.epoch() || end <= known.end {
            return;
        }
        let before = known.end_before;
        let lag = if before.above(known.base) > self.knobs.max_lag_entries {
            self.most_lag(node, before)
        } else {
            0
        };
        let relief = self.knobs.max_lag_entries
            + (self.knobs.retain_entries - self.knobs.max_lag_entries) / 2;
        let makes_way = known.makes_way && node.makes_way();
        if lag <= relief && !makes_way {
            return;
        }
        let numbered = node
            .between(known.end.next(), end)
            .find(|(_, entry)| matches!(entry, Entry::Readings { .. }));
        self.notes.judge(Law::PressedRightly, now, numbered.is_none(), || {
            let at = numbered.as_ref().map_or(Seq::ZERO, |(at, _)| *at);
            let why = if makes_way {
                "makes way for another leader".to_owned()
            } else {
                format!("has a member that lags by {lag}")
            };
            format!("{me} numbers the reading at #{at} while it {why}")
        });
    }

    /// Mode `available`: a running leader does not keep a member for ever that cannot keep up.
    pub(super) fn judge_slow(&mut self, now: Time, (number, host): (usize, usize), node: &Node) {
        let end = node.contiguous();
        // Time in which the leader did not run, or ran late, does not count.
        let well = self.links.well_since(host).unwrap_or(now);
        let known = &mut self.known[number];
        let ran = now.since(known.ran_at.max(well)).min(self.knobs.heartbeat_interval);
        known.ran_at = now;
        let may_lag = node.leads()
            && !node.makes_way()
            && end.above(node.base()) > self.knobs.max_lag_entries;
        if !may_lag || self.is_primary() {
            self.known[number].lagging.clear();
            return;
        }
        let lagging: Vec<(Member, u64)> = self
            .lags(node, end)
            .into_iter()
            .filter(|(_, lag)| *lag > self.knobs.max_lag_entries)
            .collect();
        let known = &mut self.known[number];
        known.lagging.retain(|member, _| lagging.iter().any(|(other, _)| other == member));
        let knobs = &self.knobs;
        // After a pause of its own a leader asks first whether it still leads, and waits that long
        // for silent members.
        let in_doubt = now.since(well) <= knobs.heartbeat_timeout + knobs.heartbeat_interval;
        let most = knobs.slow_timeout + 3 * knobs.heartbeat_interval + 4 * knobs.join_batch;
        for (member, lag) in lagging {
            let span = known.lagging.entry(member.clone()).or_insert(Duration::ZERO);
            *span += ran;
            let span = *span;
            self.notes.judge(Law::SlowPutOut, now, span <= most || in_doubt, || {
                format!(
                    "{} has had {member} in its view for {span:?} while that lags by {lag}",
                    node.contact().member
                )
            });
            if span > self.knobs.slow_timeout {
                self.notes.near(Law::SlowPutOut);
            }
        }
    }

    /// A leader admits a peer. A member that asks with another request than that of its admission
    /// begins anew: it may have lost what it held, and gets the past again.
    pub(crate) fn note_answered(
        &mut self,
        host: usize,
        node: &Node,
        entrant: &PeerId,
        added: &Added,
    ) {
        let Some(number) = self.current.get(host).copied().flatten() else { return };
        let views = node.last_views();
        let Some(contact) = views.first().and_then(|(_, view)| view.find(entrant)) else { return };
        let entrant = &contact.member;
        // A member named by an election, or admitted with an earlier request, has another request
        // than this one.
        let came_now =
            node.came_in(entrant) == Some(added.view_at) && self.known[number].end < added.view_at;
        let answered = &mut self.known[number].answered;
        let before = answered.get(entrant).filter(|(epoch, ..)| *epoch == added.epoch);
        let since = match before {
            Some((_, ask, since)) if *ask == added.ask => *since,
            None if came_now => added.view_at,
            Some(_) | None => node.contiguous(),
        };
        answered.insert(entrant.clone(), (added.epoch.clone(), added.ask, since));
    }

    fn most_lag(&self, node: &Node, end: Seq) -> u64 {
        self.lags(node, end).into_iter().map(|(_, lag)| lag).max().unwrap_or(0)
    }

    /// By how much each other member of its newest view lags, counting entries since its admission,
    /// its new beginning, or the start of the epoch.
    fn lags(&self, node: &Node, end: Seq) -> Vec<(Member, u64)> {
        let views = node.last_views();
        let Some((_, view)) = views.first() else { return Vec::new() };
        let others = view
            .members
            .iter()
            .map(|contact| &contact.member)
            .filter(|member| **member != node.contact().member);
        let begin = node
            .covers()
            .next_back()
            .map_or(Seq::ZERO, |(_, first, _)| first.previous())
            .max(node.base());
        let answered =
            self.holders.number(&node.contact().member).map(|number| &self.known[number].answered);
        let anew = |member: &Member| {
            let (epoch, _, since) = answered?.get(member)?;
            (*epoch == node.epoch()).then_some(*since)
        };
        let since =
            |member: &Member| node.came_in(member).max(anew(member)).unwrap_or(begin).max(begin);
        others
            .map(|member| {
                (member.clone(), end.above(self.holders.reach(member, node).max(since(member))))
            })
            .collect()
    }
}
