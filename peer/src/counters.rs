//! Counters of this peer since its start, for `/metrics`; they only rise.
//!
//! Everything is counted in the loop, at the cost of an addition. Quantities that are not measured
//! are not here.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use protocol::id::{Incarnation, Oseq, PeerId};
use protocol::io::{Delivery, Run};
use protocol::note::{Evidence, Note, Refusal};
use protocol::time::Time;

/// The counters, and data for pending ones.
#[derive(Debug, Default)]
pub struct Counters {
    numbers: Numbers,
    leader: Option<PeerId>,
    inc: Incarnation,
    /// Renumbered readings of this life, which are not counted twice.
    again: u64,
    /// The newest of its own readings in the log.
    ordered: Oseq,
    /// Own readings that are not delivered here yet: the last number of each batch, and the time of
    /// its acceptance; oldest first.
    waiting: VecDeque<(Oseq, Time)>,
}

/// The counters alone.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// Elections that this peer has started.
    pub elections: u64,
    /// How often the leader changed.
    pub leader_changes: u64,
    /// Suspected peers, by evidence.
    pub suspicions: BTreeMap<&'static str, u64>,
    /// Own readings that were accepted.
    pub published: u64,
    /// Own readings that are in the log.
    pub ordered: u64,
    /// Readings that were delivered here.
    pub delivered: u64,
    /// Bytes of their payloads.
    pub delivered_bytes: u64,
    /// Own readings that were refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Readings that their origins declared lost.
    pub lost: u64,
    /// Positions that this peer will never deliver.
    pub gaps: u64,
    /// The time from the acceptance of an own reading to its delivery here.
    pub publish_to_deliver: Spans,
    /// How late the loop woke after its deadline.
    pub loop_lag: Spans,
}

/// A histogram of durations.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    /// How many were at most as long as each of [`BOUNDS`], and longer than the previous one.
    counts: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

impl Spans {
    /// An empty histogram.
    #[must_use]
    pub const fn new() -> Self {
        Self { counts: [0; BOUNDS.len() + 1], sum: Duration::ZERO }
    }

    pub(crate) fn record(&mut self, span: Duration, times: u64) {
        let place = BOUNDS.partition_point(|bound| span.as_secs_f64() > *bound);
        self.counts[place] += times;
        self.sum += span.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX));
    }

    /// The sum in seconds.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum.as_secs_f64()
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Each bound, and how many were at most as long as it and longer than the previous bound; the
    /// last bound is infinite.
    #[must_use]
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        BOUNDS.iter().copied().chain([f64::MAX]).zip(self.counts).collect()
    }
}

impl Counters {
    /// The counters to export.
    #[must_use]
    pub fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// Takes a note of this peer.
    pub fn note(&mut self, note: &Note) {
        match note {
            Note::ElectionStarted { .. } => self.numbers.elections += 1,
            Note::LeaderElected { peer, .. } => self.lead(peer),
            Note::Follows { leader, .. } => self.lead(leader),
            Note::Suspect { evidence, .. } => {
                *self.numbers.suspicions.entry(evidence_label(evidence)).or_default() += 1
            }
            _ => {}
        }
    }

    fn lead(&mut self, leader: &PeerId) {
        let before = self.leader.replace(leader.clone());
        self.numbers.leader_changes += u64::from(before.is_some_and(|before| before != *leader));
    }

    /// Own readings got their numbers.
    pub fn accept(&mut self, inc: Incarnation, first: Oseq, count: u64, now: Time) {
        if inc != self.inc {
            // Waiting readings are renumbered and announced again.
            self.again = self.numbers.published.saturating_sub(self.numbers.ordered);
            (self.inc, self.ordered) = (inc, Oseq::ZERO);
            self.waiting.clear();
        }
        let again = self.again.min(count);
        self.again -= again;
        self.numbers.published += count - again;
        if again == 0 && self.waiting.len() < WAITING_MOST {
            self.waiting.push_back((first.plus(count).previous(), now));
        }
    }

    /// Own readings are in the log; may be called more than once for a reading.
    pub fn order(&mut self, inc: Incarnation, first: Oseq, last: Oseq) {
        if inc != self.inc || last <= self.ordered {
            return;
        }
        self.numbers.ordered += last.above(self.ordered.max(first.previous()));
        self.ordered = last;
    }

    /// An own reading was refused.
    pub fn refuse(&mut self, why: Refusal) {
        let label = match why {
            Refusal::TooLarge => "too_large",
            // It waits, or is counted when it is dropped.
            Refusal::WindowFull => return,
            Refusal::Leaving => "leaving",
            Refusal::NoQuorum => "no_quorum",
        };
        *self.numbers.refused.entry(label).or_default() += 1;
    }

    /// A measurement found no room, and was dropped.
    pub fn drop_measurement(&mut self) {
        *self.numbers.refused.entry("window_full").or_default() += 1;
    }

    /// A delivery happened here.
    pub fn deliver(&mut self, delivery: &Delivery, me: &PeerId, now: Time) {
        match delivery {
            Delivery::Run(run) => {
                self.numbers.delivered += run.readings.len();
                self.numbers.delivered_bytes += run.readings.bytes();
                if run.origin.id == *me && run.origin.inc == self.inc {
                    self.arrive(run, now);
                }
            }
            Delivery::Lost { from, to, .. } => self.numbers.lost += to.above(from.previous()),
            Delivery::Gap { from, to, .. } => self.numbers.gaps += to.above(from.previous()),
            Delivery::View(_)
            | Delivery::Diverged { .. }
            | Delivery::Merged { .. }
            | Delivery::Repeat { .. } => {}
        }
    }

    fn arrive(&mut self, run: &Run, now: Time) {
        let end = run.oseq.plus(run.readings.len()).previous();
        let mut from = run.oseq;
        while from <= end
            && let Some((last, since)) = self.waiting.front().copied()
        {
            let upto = last.min(end);
            if upto >= from {
                self.numbers
                    .publish_to_deliver
                    .record(now.since(since), upto.above(from.previous()));
                from = upto.next();
            }
            if last > end {
                break;
            }
            self.waiting.pop_front();
        }
    }

    /// The loop woke this much after its deadline.
    pub fn lag(&mut self, late: Duration) {
        self.numbers.loop_lag.record(late, 1);
    }
}

fn evidence_label(evidence: &Evidence) -> &'static str {
    match evidence {
        Evidence::Refused => "refused",
        Evidence::Replaced { .. } => "replaced",
        Evidence::Silence { .. } => "silence",
        Evidence::OwnWord { .. } => "own_word",
        Evidence::NoAnswer { .. } => "no_answer",
        Evidence::Slow { .. } => "slow",
        Evidence::Unacknowledged { .. } => "unacknowledged",
    }
}

/// The bounds of histograms, in seconds.
const BOUNDS: [f64; 14] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];
/// How many batches of own readings keep their times.
const WAITING_MOST: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::{Counters, Incarnation, Oseq, Spans, Time};
    use std::time::Duration;

    #[test]
    fn readings_that_are_numbered_anew_are_counted_once() {
        let mut counters = Counters::default();
        let at = Time::from_micros(1);
        counters.accept(Incarnation(1), Oseq(1), 10, at);
        counters.order(Incarnation(1), Oseq(1), Oseq(4));
        counters.order(Incarnation(1), Oseq(3), Oseq(6));
        counters.order(Incarnation(1), Oseq(1), Oseq(6));
        assert_eq!((counters.numbers.published, counters.numbers.ordered), (10, 6));
        counters.accept(Incarnation(2), Oseq(1), 4, at);
        counters.accept(Incarnation(2), Oseq(5), 3, at);
        counters.order(Incarnation(2), Oseq(1), Oseq(7));
        assert_eq!((counters.numbers.published, counters.numbers.ordered), (13, 13));
    }

    #[test]
    fn a_span_falls_into_the_first_bucket_that_holds_it() {
        let mut spans = Spans::default();
        spans.record(Duration::from_micros(100), 2);
        spans.record(Duration::from_micros(101), 1);
        spans.record(Duration::from_secs(60), 1);
        let counts: Vec<u64> = spans.buckets().iter().map(|(_, count)| *count).collect();
        assert_eq!((counts[0], counts[1], counts[14], spans.count()), (2, 1, 1, 4));
        assert!((spans.sum() - 60.000_301).abs() < 1e-9);
    }
}
