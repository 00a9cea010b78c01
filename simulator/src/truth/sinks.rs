//! Deliveries to sinks, and the fate of a peer's own readings.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::config::Guarantee;
use protocol::id::{Member, Oseq, Seq};
use protocol::io::{Delivery, Outcome, Output, Run, StopReason};
use protocol::message::{Entry, Request, Requests};
use protocol::node::Node;
use protocol::note::{Note, Refusal};
use protocol::time::Time;

use super::confirmed::{Confirmed, Told};
use super::past::Past;
use super::ranges::Ranges;
use super::{Law, Truth};

/// The deliveries of one process.
#[derive(Debug, Default)]
pub(super) struct Sinks {
    /// The numbers of each origin that were delivered, or reported as lost.
    had: BTreeMap<Member, Ranges>,
    /// Its progress.
    pub(super) past: Past,
    /// What it was told about its own readings.
    pub(super) confirmed: Confirmed,
    /// The sizes of its own readings, by number, from 1.
    own: Vec<u64>,
    /// The incarnation under which it accepted them.
    own_as: Option<Member>,
    /// The last of them that was in its log at the last look.
    ordered: Oseq,
    /// The last of them that it has given up.
    gone: Oseq,
    /// The sizes of the readings that it is about to get.
    given: Vec<u64>,
    /// The first of its own readings that it has reported as left behind.
    pub(super) told_of: Option<Oseq>,
    /// Set once it was asked to leave.
    pub(super) leaves: bool,
}

impl Sinks {
    fn add(&mut self, origin: &Member, from: Oseq, to: Oseq) {
        self.had.entry(origin.clone()).or_default().add(from, to);
    }

    fn has(&self, origin: &Member, from: Oseq, to: Oseq) -> bool {
        self.had.get(origin).is_some_and(|had| had.has(from, to))
    }

    /// The highest number of an origin that was delivered or reported.
    pub(super) fn highest(&self, origin: &Member) -> Oseq {
        self.had.get(origin).map_or(Oseq::ZERO, Ranges::highest)
    }

    /// How many readings of its own it has accepted, and under which incarnation.
    pub(super) fn accepted_as(&self) -> Option<(&Member, u64)> {
        self.own_as.as_ref().map(|member| (member, self.own.len() as u64))
    }

    fn accept(&mut self, me: &Member, first: Oseq, sizes: impl Iterator<Item = u64>) {
        if self.own_as.as_ref() != Some(me) {
            // Under another incarnation it numbers them anew.
            (self.own, self.own_as, self.ordered, self.gone) =
                (vec![], Some(me.clone()), Oseq::ZERO, Oseq::ZERO);
            self.confirmed = Confirmed::default();
        }
        self.own.truncate(usize::try_from(first.previous().0).expect("they are in memory"));
        self.own.extend(sizes);
    }

    /// How many of its own readings wait to be ordered, and their bytes.
    fn waiting(&self) -> (u64, u64) {
        let above = |oseq: Oseq| {
            &self.own[usize::try_from(oseq.0).expect("they are in memory").min(self.own.len())..]
        };
        (above(self.ordered).len() as u64, above(self.ordered.max(self.gone)).iter().sum())
    }
}

impl Truth {
    /// A process is given readings, of these lengths.
    pub(crate) fn given(&mut self, host: usize, sizes: Vec<u64>) {
        if let Some(number) = self.current.get(host).copied().flatten() {
            self.sinks[number].given = sizes;
        }
    }

    /// A process is asked to leave.
    pub(crate) fn leaves(&mut self, host: usize) {
        if let Some(number) = self.current.get(host).copied().flatten() {
            self.sinks[number].leaves = true;
        }
    }

    /// A peer declares its own readings lost only if it may discard them.
    pub(super) fn judge_losses(&mut self, now: Time, host: usize, requests: &Requests) {
        let Some(number) = self.current.get(host).copied().flatten() else { return };
        let mut first = requests.first;
        for request in &requests.run {
            if let Request::Lost { to } = request {
                let own = &self.sinks[number].own;
                let behind =
                    &own[usize::try_from(to.0).expect("they are in memory").min(own.len())..];
                let last_lost =
                    own.get(usize::try_from(to.previous().0).expect("they are in memory"));
                let (count, bytes) =
                    (behind.len() as u64, behind.iter().chain(last_lost).sum::<u64>());
                let (entries_least, bytes_least) =
                    (self.knobs.merge_retain_entries, self.knobs.merge_retain_bytes);
                let is_far = count >= entries_least || bytes > bytes_least;
                self.notes.judge(Law::LostTruly, now, is_far, || {
                    format!(
                        "{} declares its readings {first} to {to} lost, with {count} after them; \
                         it is to keep {entries_least}",
                        requests.origin
                    )
                });
                if count == entries_least {
                    self.notes.near(Law::LostTruly);
                }
                // Discarded readings take no room any more.
                self.sinks[number].gone = self.sinks[number].gone.max(*to);
            }
            first = request.last(first).next();
        }
    }

    /// Readings in a numbered declaration of loss are not in that log.
    pub(super) fn judge_numbered(&mut self, now: Time, number: usize, node: &Node) {
        let before = self.known[number].end;
        if !node.leads() || node.contiguous() <= before {
            return;
        }
        for (seq, entry) in node.between(before.next(), node.contiguous()) {
            let Entry::Lost { origin: lost, from, to } = entry else { continue };
            let stands =
                node.between(node.base().next(), seq.previous()).find(|(_, entry)| match entry {
                    Entry::Readings { origin, first, readings, .. } => {
                        *origin == lost
                            && *first <= to
                            && first.plus(readings.len()).previous() >= from
                    }
                    Entry::View(_) | Entry::Change(_) | Entry::Lost { .. } => false,
                });
            self.notes.judge(Law::LostTruly, now, stands.is_none(), || {
                let at = stands.as_ref().map_or(Seq::ZERO, |(at, _)| *at);
                format!(
                    "{} numbers readings {from} to {to} of {lost} as lost at #{seq}, and some \
                         stand at #{at}",
                    node.contact().member
                )
            });
        }
    }

    pub(super) fn judge_output(
        &mut self,
        now: Time,
        number: usize,
        node: &Node,
        output: &Output,
        others: &[&Node],
    ) {
        match output {
            Output::Deliver(delivery) => self.judge_delivery(now, number, node, delivery, others),
            Output::Accepted { first, readings, .. } => {
                let me = &node.contact().member;
                let largest =
                    readings.iter().map(|(payload, _)| payload.len() as u64).max().unwrap_or(0);
                self.notes.judge(Law::Windowed, now, largest <= self.knobs.payload_max, || {
                    format!(
                        "{me} takes a reading of {largest} bytes; {} are the most",
                        self.knobs.payload_max
                    )
                });
                self.sinks[number].accept(
                    me,
                    *first,
                    readings.iter().map(|(payload, _)| payload.len() as u64),
                );
                let (count, bytes) = self.sinks[number].waiting();
                let (entries_most, bytes_most) =
                    (self.knobs.window_entries, self.knobs.window_bytes);
                // A reading larger than the window passes it alone.
                let fits = count <= entries_most && (bytes <= bytes_most || count == 1);
                self.notes.judge(Law::Windowed, now, fits, || {
                    format!(
                        "{me} has {count} readings of {bytes} bytes waiting; its window takes \
                             {entries_most} and {bytes_most}"
                    )
                });
                if count == entries_most {
                    self.notes.near(Law::Windowed);
                }
            }
            Output::Refused { place, why } => self.judge_refusal(now, number, node, (*place, *why)),
            Output::Acknowledged { first, seq, count, epoch, .. } => {
                self.judge_safe(
                    now,
                    node,
                    (epoch, seq.plus(*count).previous()),
                    "acknowledges as safe",
                );
                let told = Told {
                    first: *first,
                    last: first.plus(*count).previous(),
                    place: Some((epoch, *seq)),
                };
                self.judge_stands(now, number, node, told, "safe");
            }
            Output::Published { first, last, place, outcome } => {
                let place = place.as_ref().map(|place| (&place.epoch, place.seq));
                if place.is_none() && *outcome == Outcome::Stable {
                    self.judge_unplaced_stable(now, node, *last, others);
                }
                self.judge_place(
                    now,
                    number,
                    node,
                    Told { first: *first, last: *last, place },
                    *outcome,
                );
            }
            Output::Note(Note::Lost { origin, origin_inc, from, to, .. }) => {
                let me = &node.contact().member;
                if (origin, *origin_inc) == (&me.id, me.inc) {
                    self.sinks[number].confirmed.lost.add(*from, *to);
                }
            }
            Output::Note(Note::LeftBehind { from, .. }) => self.sinks[number].told_of = Some(*from),
            Output::Note(Note::View { seq, .. }) => self.judge_told_view(now, number, node, *seq),
            Output::Stop(StopReason::Left) => self.judge_leaver(now, number, node, others),
            Output::Stop(StopReason::LeftUnconfirmed) => self.judge_unconfirmed(now, number, node),
            _ => {}
        }
    }

    /// Records how many of a node's own readings are in its log, after its last call was judged.
    pub(super) fn note_ordered(&mut self, number: usize, node: &Node) {
        self.sinks[number].ordered = node.last_oseq(&node.contact().member);
    }

    fn judge_delivery(
        &mut self,
        now: Time,
        number: usize,
        node: &Node,
        delivery: &Delivery,
        others: &[&Node],
    ) {
        self.judge_past(now, number, node, delivery);
        let me = &node.contact().member;
        match delivery {
            Delivery::Run(Run { epoch, first, origin, oseq, guarantee, readings, .. }) => {
                let last = first.plus(readings.len()).previous();
                self.sinks[number].add(origin, *oseq, oseq.plus(readings.len()).previous());
                self.judge_second(now, node, epoch, last);
                if *guarantee == Guarantee::Safe {
                    self.judge_safe(now, node, (epoch, last), "hands over as safe");
                }
            }
            Delivery::Repeat { origin, from, to, seq, .. } => {
                let had = self.sinks[number].has(origin, *from, *to);
                self.notes.judge(Law::HadBefore, now, had, || {
                    format!(
                        "{me} takes readings {from} to {to} of {origin} at #{seq} for repeats, \
                             and its sinks have not had them all"
                    )
                });
            }
            Delivery::Lost { origin, from, to, .. } => self.sinks[number].add(origin, *from, *to),
            Delivery::Gap { from, to, .. } => {
                self.judge_gap(now, number, node, (*from, *to), others)
            }
            Delivery::View(_) | Delivery::Diverged { .. } | Delivery::Merged { .. } => {}
        }
    }

    /// The leader does not retain the missing entries any more, or they come too late.
    fn judge_gap(
        &mut self,
        now: Time,
        number: usize,
        node: &Node,
        (from, to): (Seq, Seq),
        others: &[&Node],
    ) {
        let leader = others.iter().find(|other| other.leads() && other.epoch() == node.epoch());
        let Some(leader) = leader else { return };
        let sinks = &self.sinks[number];
        let needless =
            leader.between(from.max(leader.base().next()), to).find(|(_, entry)| match entry {
                Entry::Readings { origin, first, readings, .. } => {
                    // An entry below a later one of its origin that was delivered has no place in
                    // the origin's order any more.
                    sinks.highest(origin) < first.plus(readings.len()).previous()
                }
                Entry::View(_) | Entry::Change(_) | Entry::Lost { .. } => false,
            });
        self.notes.judge(Law::GapNeeded, now, needless.is_none(), || {
            let (seq, _) = needless.as_ref().expect("there is one");
            let (me, leader) = (&node.contact().member, &leader.contact().member);
            format!(
                "{me} tells a gap from #{from} to #{to}, and {leader}, which it follows, has \
                     the reading at #{seq}"
            )
        });
    }

    /// Records that a group admits no more members.
    pub(super) fn note_fullness(&mut self, now: Time, node: &Node) {
        if node.leads()
            && node.view().is_some_and(|view| view.size() as u64 >= self.knobs.members_max)
        {
            self.full_at = Some(now);
        }
    }

    /// Whether some group was full lately; a peer that was told so, or was paused since, has not
    /// asked again.
    fn was_full_lately(&self, now: Time, number: usize) -> bool {
        let resumed = self
            .current
            .iter()
            .position(|current| *current == Some(number))
            .and_then(|host| self.links.well_since(host));
        let asks_again =
            |at: Time| at.max(resumed.unwrap_or(now)) + ASKS_AGAIN + self.knobs.heartbeat_interval;
        self.full_at.is_some_and(|at| now <= asks_again(at))
    }

    fn judge_refusal(
        &mut self,
        now: Time,
        number: usize,
        node: &Node,
        (place, why): (u64, Refusal),
    ) {
        let sinks = &self.sinks[number];
        let size = usize::try_from(place)
            .ok()
            .and_then(|place| sinks.given.get(place))
            .copied()
            .unwrap_or(0);
        let (count, bytes) = sinks.waiting();
        let holds = match why {
            Refusal::TooLarge => size > self.knobs.payload_max,
            Refusal::WindowFull => {
                count >= self.knobs.window_entries
                    || count > 0 && bytes + size > self.knobs.window_bytes
            }
            Refusal::Leaving => sinks.leaves,
            Refusal::NoQuorum => {
                !self.is_healthy && (self.is_primary() || self.was_full_lately(now, number))
            }
        };
        self.notes.judge(Law::RefusalTrue, now, holds, || {
            format!(
                "{} refuses a reading of {size} bytes as {why:?}, with {count} of {bytes} bytes \
                 waiting{}",
                node.contact().member,
                if self.is_healthy { ", in a group that is whole" } else { "" }
            )
        });
    }
}

/// The longest time between two requests of a joining peer.
const ASKS_AGAIN: Duration = Duration::from_secs(2);
