//! What a publisher is told about its own readings, and how many of them it keeps.

use protocol::id::{Epoch, Oseq, Seq};
use protocol::io::Outcome;
use protocol::message::Entry;
use protocol::node::Node;
use protocol::time::Time;

use super::ranges::Ranges;
use super::{Law, Truth};

/// What a peer was told about its own readings.
#[derive(Debug, Default)]
pub(super) struct Confirmed {
    ordered: Ranges,
    stable: Ranges,
    /// The readings that it was told are lost.
    pub(super) lost: Ranges,
    /// The last of them that was stable as far as that could be seen.
    known_stable: Oseq,
}

/// A report about readings: their numbers, and the position of the first one, if the report has
/// one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub(super) first: Oseq,
    pub(super) last: Oseq,
    pub(super) place: Option<(&'a Epoch, Seq)>,
}

impl Truth {
    /// A publisher is told the positions of some of its readings: they are at these positions.
    pub(super) fn judge_place(
        &mut self,
        now: Time,
        number: usize,
        node: &Node,
        told: Told<'_>,
        outcome: Outcome,
    ) {
        let Told { first, last, .. } = told;
        match outcome {
            Outcome::Ordered => self.sinks[number].confirmed.ordered.add(first, last),
            Outcome::Stable => self.sinks[number].confirmed.stable.add(first, last),
        }
        self.judge_stands(
            now,
            number,
            node,
            told,
            if outcome == Outcome::Ordered { "ordered" } else { "stable" },
        );
    }

    pub(super) fn judge_stands(
        &mut self,
        now: Time,
        number: usize,
        node: &Node,
        told: Told<'_>,
        what: &str,
    ) {
        let Told { first, last, place } = told;
        let me = &node.contact().member;
        let Some((epoch, seq)) = place else {
            return self.judge_unplaced(now, number, node, (first, last), what);
        };
        let end = seq.plus(last.above(first));
        // In the same call the log may have been replaced, and its older part discarded.
        let is_there =
            node.covers().any(|(covering, from, to)| covering == epoch && from <= seq && end <= to);
        if !is_there || seq <= node.base() {
            return;
        }
        let wrong = node.between(seq, end).find(|(at, entry)| {
            let meant = first.plus(at.above(seq));
            match entry {
                Entry::Readings { origin, first: oseq, .. } => origin != me || *oseq != meant,
                Entry::Lost { origin, to, .. } => origin != me || *to != meant,
                Entry::View(_) | Entry::Change(_) => true,
            }
        });
        self.notes.judge(Law::PlaceTold, now, wrong.is_none(), || {
            let at = wrong.as_ref().map_or(Seq::ZERO, |(at, _)| *at);
            format!(
                "{me} is told that its readings {first} to {last} are {what} from #{seq} on, \
                     and at #{at} stands something else"
            )
        });
    }

    /// A publisher is told about readings covered by a snapshot only: they are in that part of its
    /// log, and were not lost.
    fn judge_unplaced(
        &mut self,
        now: Time,
        number: usize,
        node: &Node,
        (first, last): (Oseq, Oseq),
        what: &str,
    ) {
        let me = &node.contact().member;
        let retained = node.between(node.base().next(), node.contiguous()).find_map(
            |(seq, entry)| match entry {
                Entry::Readings { origin, first: from, readings, .. } if origin == *me => {
                    let to = from.plus(readings.len()).previous();
                    (from <= last && first <= to).then_some(seq)
                }
                _ => None,
            },
        );
        let is_lost = (first.0..=last.0)
            .map(Oseq)
            .any(|oseq| self.sinks[number].confirmed.lost.has(oseq, oseq));
        let stands = last <= node.last_oseq(me) && !is_lost && retained.is_none();
        self.notes.judge(Law::PlaceTold, now, stands, || {
            let end = node.last_oseq(me);
            let place = retained.map_or_else(String::new, |seq| {
                format!(
                    ", and one of them stands \
                at #{seq}"
                )
            });
            let lost = if is_lost { ", and it was told that one of them is lost" } else { "" };
            format!(
                "{me} is told that its readings {first} to {last} are {what}, and not where; \
                     its readings end at {end} in its log{place}{lost}"
            )
        });
    }

    /// A publisher is told that readings covered by a snapshot only are stable. They are judged if
    /// another peer retains the last of them.
    pub(super) fn judge_unplaced_stable(
        &mut self,
        now: Time,
        node: &Node,
        last: Oseq,
        others: &[&Node],
    ) {
        let me = &node.contact().member;
        for other in others {
            let place =
                other.between(other.base().next(), other.contiguous()).find_map(|(seq, entry)| {
                    match entry {
                        Entry::Readings { origin, first, readings, .. }
                            if origin == *me && first <= last =>
                        {
                            (last.above(first) < readings.len())
                                .then(|| seq.plus(last.above(first)))
                        }
                        _ => None,
                    }
                });
            let Some(seq) = place else { continue };
            let covering = |(_, first, end): &(&Epoch, Seq, Seq)| *first <= seq && seq <= *end;
            let Some((epoch, ..)) = other.covers().find(covering) else { continue };
            if node.covers().find(covering).is_some_and(|(same, ..)| same == epoch) {
                self.judge_safe(now, node, (epoch, seq), "is told to be safe what stands at");
            }
        }
    }

    /// A publisher is told about each reading as soon as it is in its log.
    pub(super) fn judge_prompt(&mut self, now: Time, number: usize, node: &Node) {
        let (me, end, known) = (&node.contact().member, node.contiguous(), &self.known[number]);
        let is_same = known.tip.0 == node.epoch();
        if is_same && end <= known.end || self.sinks[number].accepted_as().is_none() {
            return;
        }
        let is_replaced = !is_same || node.base() > known.end;
        let from = if is_replaced { node.base() } else { known.end };
        let ordered = &self.sinks[number].confirmed.ordered;
        let untold = node.between(from.next(), end).find(|(_, entry)| match entry {
            Entry::Readings { origin, first, readings, .. } => {
                origin == me && !ordered.has(*first, first.plus(readings.len()).previous())
            }
            Entry::Lost { .. } | Entry::View(_) | Entry::Change(_) => false,
        });
        self.notes.judge(Law::PlaceTold, now, untold.is_none(), || {
            let at = untold.as_ref().map_or(Seq::ZERO, |(at, _)| *at);
            format!("{me} has a reading of its own at #{at} of its log, and is not told so")
        });
    }

    /// A publisher keeps no more of its stable readings than its limit.
    pub(super) fn judge_outbox(&mut self, now: Time, number: usize, node: &Node) {
        let me = &node.contact().member;
        let sinks = &mut self.sinks[number];
        let Some((_, accepted)) =
            sinks.accepted_as().filter(|(as_whom, accepted)| *as_whom == me && *accepted > 0)
        else {
            return;
        };
        let stable = sinks.confirmed.known_stable.0.min(accepted);
        if stable > self.knobs.merge_retain_entries {
            let (kept, most) =
                (node.keeps_own(), accepted - stable + self.knobs.merge_retain_entries);
            self.notes.judge(Law::KeepsNoMore, now, kept <= most, || {
                format!(
                    "{me} keeps {kept} readings of its own; with those that are not stable it \
                         is to keep {most}"
                )
            });
        }
        if node.stable() == node.contiguous() && (node.leads() || node.follows()) {
            let confirmed = &mut sinks.confirmed;
            confirmed.known_stable = confirmed.known_stable.max(node.last_oseq(me));
        }
    }

    /// At rest every publisher was told about each of its readings.
    pub(super) fn judge_told(&mut self, now: Time, number: usize, node: &Node) {
        let me = &node.contact().member;
        let sinks = &self.sinks[number];
        let Some((_, accepted)) =
            sinks.accepted_as().filter(|(as_whom, accepted)| *as_whom == me && *accepted > 0)
        else {
            return;
        };
        let Confirmed { ordered, stable, lost, .. } = &sinks.confirmed;
        for (what, told) in [("ordered", ordered), ("stable", stable)] {
            let missing = told.first_missing_of(lost);
            self.notes.judge(Law::PlaceTold, now, missing.0 > accepted, || {
                format!(
                    "{me} has {accepted} readings in the log at rest, and was never told that \
                         number {missing} is {what}"
                )
            });
        }
    }
}
