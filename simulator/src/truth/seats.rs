//! Removals and successions, compared with the links that really were whole.
//!
//! Neither the leader that numbers a view nor the leader that it replaces is asked for its reasons.
//! Only the faults of the links between them and of their hosts count, and the state of the other
//! leader's own node.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::activity::Activity;
use protocol::id::{Contact, Epoch, Member, Seq, ViewId};
use protocol::io::Output;
use protocol::node::Node;
use protocol::note::Note;
use protocol::time::Time;
use protocol::view::View;

use super::{Law, Linked, Truth};

/// The memory of a process for these laws.
#[derive(Debug, Default)]
pub(super) struct Seat {
    /// The position and the epoch of its newest view at the last look.
    seen: Option<(Epoch, Seq)>,
    /// The ends of its log as it grew while it led, with their times; as far back as
    /// `slow_timeout`.
    ends: VecDeque<(Time, Seq)>,
    /// When it was in no group last: it looked for one, or founded one.
    pub(super) joining: Option<Time>,
    /// When it numbered the last view of its group before a merge.
    dissolving: Option<Time>,
    /// When it handed over to another leader last, if it has not led since.
    pub(super) handed_over: Option<Time>,
    /// The round of the epoch that it leads, and since when.
    leads: Option<(u64, Time)>,
    /// The round of the epoch that it follows, and since when.
    follows: Option<(u64, Time)>,
    /// Its view, with the round of its epoch, and since when.
    held: Option<((ViewId, u64), Time)>,
}

impl Truth {
    /// Whether a node leads with another view than at the last look; then the other nodes are
    /// needed.
    pub(crate) fn is_news(&self, host: usize, node: &Node) -> bool {
        let Some(seat) =
            self.current.get(host).copied().flatten().map(|number| &self.seats[number])
        else {
            return false;
        };
        node.leads() && seat.seen != newest_of(node)
    }

    /// Judges the newest view of a node.
    pub(super) fn judge_seats(
        &mut self,
        now: Time,
        (number, host): (usize, usize),
        node: &Node,
        (others, linked): (&[&Node], &Linked<'_>),
    ) {
        if !node.leads() {
            let seat = &mut self.seats[number];
            seat.ends.clear();
            seat.leads = None;
            if node.hands_over() {
                seat.handed_over.get_or_insert(now);
            }
            seat.note_view(now, node);
            if node.activity() == Activity::Joining || node.founds() {
                seat.joining = Some(now);
            }
            return;
        }
        self.seats[number].handed_over = None;
        let round = node.epoch().round;
        if self.seats[number].leads.map(|(led, _)| led) != Some(round) {
            self.seats[number].leads = Some((round, now));
        }
        let span = self.knobs.slow_timeout.max(self.knobs.heartbeat_timeout);
        self.seats[number].note_end(now, node.contiguous(), span);
        let newest = newest_of(node);
        if node.view().is_some_and(|view| view.successor.is_some()) {
            self.seats[number].dissolving.get_or_insert(now);
        }
        let before = std::mem::replace(&mut self.seats[number].seen, newest.clone());
        if before == newest {
            return;
        }
        let views = node.last_views();
        let [(_, newest), (_, before)] = &views[..] else { return };
        if newest.epoch != node.epoch() {
            return;
        }
        if before.epoch != newest.epoch {
            self.judge_claimant(now, host, node, before, others);
        }
        let me = &node.contact().member;
        // A claim admits no peer; the claimant has asked the peers on its list.
        let is_new = |contact: &&Contact| {
            before.epoch == newest.epoch && !before.names(&contact.member) && contact.member != *me
        };
        for contact in newest.members.iter().filter(is_new) {
            self.judge_admission(now, me, &contact.member, newest, (others, linked));
        }
        for contact in before.members.iter().filter(|contact| !newest.names(&contact.member)) {
            self.judge_removal(
                now,
                (number, host),
                node,
                &contact.member,
                (before, newest),
                others,
            );
        }
    }

    /// A leader admits a peer that is running under that name, and alone.
    fn judge_admission(
        &mut self,
        now: Time,
        me: &Member,
        entrant: &Member,
        newest: &View,
        (others, linked): (&[&Node], &Linked<'_>),
    ) {
        let is_twin = others.iter().filter(|other| other.contact().member == *entrant).count() > 1;
        let Some(there) = self.host_of(entrant).filter(|_| !is_twin) else { return };
        self.notes.judge(Law::LetInTruly, now, linked(there), || {
            format!(
                "{me} lets {entrant} into view {} of epoch {}, and has no connection with it",
                newest.view_id, newest.epoch
            )
        });
    }

    /// A leader ends its group for a merge into another one.
    pub(super) fn judge_dissolved(
        &mut self,
        now: Time,
        (number, host): (usize, usize),
        node: &Node,
        outputs: &[Output],
    ) {
        let steps_down = |output: &Output| matches!(output, Output::Note(Note::StepDown { .. }));
        if node.activity() != Activity::Joining || !outputs.iter().any(steps_down) {
            return;
        }
        let Some(view) = node.view().filter(|view| view.successor.is_some()) else { return };
        let (me, end) = (&node.contact().member, node.contiguous());
        let since = self.seats[number].dissolving.take().unwrap_or(now);
        // By its own clock, which may be ahead by a fiftieth; a jump of less than a beat is for it
        // the same as elapsed time.
        let is_sure = self.links.well_since(host).is_some_and(|well| well <= since);
        let doubtful = if is_sure { Duration::ZERO } else { self.knobs.heartbeat_interval };
        let waited = since + (self.knobs.sync_timeout * 49 / 50).saturating_sub(doubtful) <= now;
        for contact in view.members.iter().filter(|contact| contact.member != *me) {
            let reach = self.holders.reach(&contact.member, node);
            self.notes.judge(Law::DissolvedLevel, now, reach >= end || waited, || {
                format!(
                    "{me} dissolves its group at #{end} {:?} after saying so, and {} has #{reach}",
                    now.since(since),
                    contact.member
                )
            });
        }
    }

    /// A leader begins an epoch after one of another leader.
    fn judge_claimant(
        &mut self,
        now: Time,
        host: usize,
        node: &Node,
        before: &View,
        others: &[&Node],
    ) {
        let me = &node.contact().member;
        let Some(leader) = before
            .leader_contact()
            .map(|contact| &contact.member)
            .filter(|leader| leader.id != me.id)
        else {
            return;
        };
        let window = self.knobs.election_timeout + self.knobs.sync_timeout;
        let list = node.rests_on();
        let leads_on =
            others.iter().find(|other| other.contact().member == *leader && other.leads());
        let there = self.host_of(leader).filter(|_| leads_on.is_some() && !list.contains(leader));
        // A supporter is bound by its promise. The claimant asks every peer until it leads.
        let until = |of: usize, member: &Member| {
            let promised_at = self.claims.promised_at(&node.epoch(), member).filter(|_| of != host);
            promised_at.unwrap_or(now)
        };
        // A peer that was asked before it led could not object.
        let led = |there: usize| {
            self.current[there].and_then(|number| self.seats[number].leads).map(|(_, since)| since)
        };
        // A peer in no group meanwhile has looked for any, and for as long as it has to.
        let joining = |of: usize| {
            self.current[of].map(|number| self.seats[number].joining.unwrap_or(Time::ZERO))
        };
        // A peer that the leader has removed may follow any leader.
        let follows = |of: usize, member: &Member| {
            of == host
                || leads_on.and_then(|leader| leader.view()).is_some_and(|view| view.names(member))
        };
        let could_ask = |of: usize, member: &Member, there: usize| {
            let until = until(of, member);
            let is_long = |since: Option<Time>| since.is_some_and(|since| since + window <= until);
            let links = is_long(self.links.whole_since(of, there))
                && is_long(self.links.dialled_since(of, there));
            let links = links
                && is_long(led(there))
                && (of == host || is_long(self.links.open_since(of, host)));
            of != there && links && is_long(joining(of)) && follows(of, member)
        };
        let is_able = |member: &&Member, there: usize| {
            self.host_of(member).is_some_and(|of| could_ask(of, member, there))
        };
        let could_tell = there.and_then(|there| list.iter().find(|member| is_able(member, there)));
        let could_tell = could_tell.cloned();
        self.notes.judge(Law::UnseatedTruly, now, could_tell.is_none(), || {
            let supporter = could_tell.expect("there is one");
            format!(
                "{me} takes the place of {leader}, which leads, and {supporter} on its list \
                     could have asked that one for {window:?}"
            )
        });
        if there.is_some() {
            self.notes.near(Law::UnseatedTruly);
        }
    }

    /// A leader leaves a member out of its next view.
    fn judge_removal(
        &mut self,
        now: Time,
        (number, host): (usize, usize),
        node: &Node,
        member: &Member,
        (before, newest): (&View, &View),
        others: &[&Node],
    ) {
        let me = &node.contact().member;
        let stands = before.epoch == newest.epoch;
        let knobs = &self.knobs;
        let window = if stands { knobs.heartbeat_timeout } else { knobs.sync_timeout };
        let there = self.host_of(member).filter(|there| *there != host);
        let other = others.iter().find(|other| other.contact().member == *member);
        // That life is over, or has another incarnation by now.
        let (Some(there), Some(other)) = (there, other) else { return };
        let is_long = |since: Option<Time>| since.is_some_and(|since| since + window <= now);
        // A claimant asks over new connections, most of which it dials itself; a leader has
        // established ones, and needs new ones only if they broke.
        let can_ask = if stands {
            let furnished = self.links.furnished_since(host);
            furnished.zip(self.links.rejoined_since(host, there)).map(|(one, other)| one.max(other))
        } else {
            self.links.dialled_since(host, there)
        };
        let is_whole = is_long(self.links.answered_since(host, there)) && is_long(can_ask);
        let leaves = self.current[there].is_some_and(|number| self.sinks[number].leaves);
        // It holds nothing of this epoch, has promised a later one, or is a candidate or a joining
        // peer: it has left by itself.
        let is_in =
            if stands { other.epoch() == newest.epoch } else { other.epoch() == before.epoch };
        // Or its leader has continued with it, and without this one.
        let is_in = is_in && (stands || other.view().is_some_and(|view| view.names(me)));
        let is_in = is_in && *other.promised() <= newest.epoch;
        // For as long as there was something to hear; a peer that looks for another leader ignores
        // the heartbeats of this one.
        let is_in = is_in
            && self.current[there].is_some_and(|number| {
                let seat = &self.seats[number];
                if stands {
                    seat.followed_before(now, window)
                } else {
                    seat.held_before(now, window) && seat.follows.is_some()
                }
            });
        let reach = self.holders.reach(member, node);
        let seat = &self.seats[number];
        // It may not have acknowledged its latest entries yet: the longest time that a message may
        // take on a working link.
        let told = reach.min(seat.end_before(now, knobs.heartbeat_timeout));
        let lag = node.contiguous().above(told);
        // Entries acknowledged by every member are kept up to `retain_bytes` only, so more than
        // that is kept for a member that lags.
        let is_heavy = self.known[number].weight.max(node.weight())
            > knobs.retain_bytes + knobs.retain_bytes / 2;
        // By its own clock; a jump of less than a beat is for it the same as elapsed time.
        let is_sure =
            self.links.well_since(host).is_some_and(|since| since + knobs.slow_timeout <= now);
        let doubtful = if is_sure { Duration::ZERO } else { knobs.heartbeat_interval };
        // Of the members for which so much is kept the slowest are evicted.
        let is_slowest = || {
            let kept = before
                .members
                .iter()
                .filter(|contact| contact.member != *me && contact.member != *member);
            kept.map(|contact| self.holders.reach(&contact.member, node))
                .all(|other| reach <= other)
        };
        let is_slow = reach < seat.end_before(now, knobs.slow_timeout.saturating_sub(doubtful))
            || lag > knobs.max_lag_entries
            || is_heavy && lag > 0 && is_slowest();
        let holds = !is_whole || leaves || !is_in || is_slow;
        self.notes.judge(Law::PutOutTruly, now, holds, || {
            format!(
                "{me} leaves {member} out of view {} of epoch {}, and for {window:?} the links \
                 between them were whole; it has #{reach} of #{}",
                newest.view_id,
                newest.epoch,
                node.contiguous()
            )
        });
        if is_whole {
            self.notes.near(Law::PutOutTruly);
        }
    }

    /// The host of a process.
    pub(super) fn host_of(&self, member: &Member) -> Option<usize> {
        let number = self.holders.number(member)?;
        self.current.iter().position(|current| *current == Some(number))
    }
}

impl Seat {
    fn note_view(&mut self, now: Time, node: &Node) {
        let view = node.view().map(|view| (view.view_id, view.epoch.round));
        if self.held.map(|(held, _)| held) != view {
            self.held = view.map(|view| (view, now));
        }
        let follows = (node.activity() == Activity::Member).then(|| node.epoch().round);
        if self.follows.map(|(followed, _)| followed) != follows {
            self.follows = follows.map(|round| (round, now));
        }
    }

    /// Whether it has followed a leader for that long.
    fn followed_before(&self, now: Time, span: Duration) -> bool {
        self.follows.is_some_and(|(_, since)| since + span <= now)
    }

    /// Whether it has held its view for that long.
    fn held_before(&self, now: Time, span: Duration) -> bool {
        self.held.is_some_and(|(_, since)| since + span <= now)
    }

    fn note_end(&mut self, now: Time, end: Seq, span: Duration) {
        if self.ends.back().is_none_or(|(_, last)| *last != end) {
            self.ends.push_back((now, end));
        }
        while self.ends.get(1).is_some_and(|(at, _)| *at + span <= now) {
            self.ends.pop_front();
        }
    }

    /// The end of its log that long ago.
    fn end_before(&self, now: Time, span: Duration) -> Seq {
        self.ends.iter().rev().find(|(at, _)| *at + span <= now).map_or(Seq::ZERO, |(_, end)| *end)
    }
}

fn newest_of(node: &Node) -> Option<(Epoch, Seq)> {
    node.view().map(|view| (view.epoch.clone(), Seq(view.view_id.0)))
}
