//! A peer's own readings, from the moment they get their number until nothing can bring them back.
//!
//! A reading stays here until it is *stable* (everybody in the view has it), and `merge_retain` longer: were the log to
//! roll back, or this group to dissolve into another, it would be sent again. What has gone from here is declared
//! lost rather than left as a hole that would stall this sender's numbers for ever.
//!
//! Does not decide when to send (see `sequencer` and `member`).

use std::collections::VecDeque;

use bytes::Bytes;

use crate::config::Knobs;
use crate::guarantee::Guarantee;
use crate::id::{Oseq, Seq};
use crate::message::{Request, Wish};
use crate::note::Refusal;

/// Own readings that may still be needed.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Outbox {
    /// The number of the front item.
    first: Oseq,
    items: VecDeque<Request>,
    bytes: u64,
    /// The last number that stands in the log; falls back when the log does.
    ordered: Oseq,
    /// Bytes of the items above `ordered`.
    waiting_bytes: u64,
    /// The last number sent to the present leader over the present link.
    sent: Oseq,
    /// Own entries that stand in the log and are not stable yet, and whether they are to be safe.
    unstable: VecDeque<(Seq, Oseq, Guarantee)>,
    /// The last number that is stable.
    stable: Oseq,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self { first: Oseq(1), ..Self::default() }
    }

    /// The last number given.
    pub(crate) fn last(&self) -> Oseq {
        self.first.plus(self.items.len() as u64).previous()
    }

    pub(crate) fn ordered(&self) -> Oseq {
        self.ordered
    }

    /// Gives a reading its number.
    pub(crate) fn publish(&mut self, payload: Bytes, time: u64, guarantee: Guarantee, knobs: &Knobs) -> Result<Oseq, Refusal> {
        let size = payload.len() as u64;
        if size > knobs.payload_max {
            return Err(Refusal::TooLarge);
        }
        let waiting = self.last().above(self.ordered);
        if waiting >= knobs.window_entries || (waiting > 0 && self.waiting_bytes + size > knobs.window_bytes) {
            return Err(Refusal::WindowFull);
        }
        self.items.push_back(Request { what: Wish::Data { payload, guarantee }, time });
        self.bytes += size;
        self.waiting_bytes += size;
        Ok(self.last())
    }

    /// The next run to send, after the last one sent: first number and requests. Nothing when all is sent.
    pub(crate) fn next_run(&mut self, bytes: u64) -> Option<(Oseq, Vec<Request>)> {
        let next = self.sent.next();
        if next > self.last() {
            return None;
        }
        if next < self.first {
            let to = self.first.previous();
            self.sent = to;
            return Some((next, vec![Request { what: Wish::Lost { to }, time: 0 }]));
        }
        let mut run = Vec::new();
        let mut size = 0;
        let skip = usize::try_from(next.above(self.first)).expect("an index into what is held");
        for request in self.items.range(skip..).take(RUN_REQUESTS) {
            size += weight(request) + 16;
            if !run.is_empty() && size > bytes {
                break;
            }
            run.push(request.clone());
        }
        self.sent = next.plus(run.len() as u64 - 1);
        Some((next, run))
    }

    pub(crate) fn sent(&self) -> Oseq {
        self.sent
    }

    /// Everything above `oseq` has to be sent (again).
    pub(crate) fn rewind(&mut self, oseq: Oseq) {
        self.sent = oseq.min(self.last());
    }

    /// One of this peer's numbers has appeared in the log.
    pub(crate) fn on_ordered(&mut self, seq: Seq, oseq: Oseq, guarantee: Guarantee) {
        self.unstable.push_back((seq, oseq, guarantee));
        while self.ordered < oseq {
            self.ordered = self.ordered.next();
            self.waiting_bytes -= self.item(self.ordered).map_or(0, weight);
        }
        self.sent = self.sent.max(oseq);
    }

    /// The log has become another one, in which this peer's numbers end at `ordered`, and `unstable` are not stable.
    pub(crate) fn on_log_replaced(&mut self, ordered: Oseq, unstable: VecDeque<(Seq, Oseq, Guarantee)>) {
        self.ordered = ordered;
        self.sent = ordered.min(self.last());
        self.unstable = unstable;
        let skip = usize::try_from(ordered.next().above(self.first)).unwrap_or(usize::MAX).min(self.items.len());
        self.waiting_bytes = self.items.range(skip..).map(weight).sum();
    }

    /// Everything up to `seq` is stable: what is far enough behind may go. Returns the own entries for which that is news.
    pub(crate) fn on_stable(&mut self, seq: Seq, knobs: &Knobs) -> Vec<(Seq, Oseq, Guarantee)> {
        let news: Vec<_> = self.unstable.drain(..self.unstable.partition_point(|(at, _, _)| *at <= seq)).collect();
        if let Some((_, oseq, _)) = news.last() {
            self.stable = self.stable.max(*oseq);
        }
        loop {
            let behind = self.stable.next().above(self.first);
            let too_many = behind > knobs.merge_retain_entries || self.bytes > knobs.merge_retain_bytes.max(knobs.window_bytes);
            if behind == 0 || !too_many {
                return news;
            }
            let Some(gone) = self.items.pop_front() else { return news };
            self.bytes -= weight(&gone);
            self.first = self.first.next();
        }
    }

    /// The readings that are held, with their numbers, and whether they are to be safe.
    pub(crate) fn readings(&self) -> impl Iterator<Item = (Oseq, &Bytes, bool)> {
        self.items.iter().enumerate().filter_map(|(at, request)| match &request.what {
            Wish::Data { payload, guarantee } => Some((self.first.plus(at as u64), payload, *guarantee == Guarantee::Safe)),
            Wish::Lost { .. } => None,
        })
    }

    fn item(&self, oseq: Oseq) -> Option<&Request> {
        self.items.get(usize::try_from(oseq.0.checked_sub(self.first.0)?).ok()?)
    }
}

fn weight(request: &Request) -> u64 {
    match &request.what {
        Wish::Data { payload, .. } => payload.len() as u64,
        Wish::Lost { .. } => 0,
    }
}

/// Requests in one frame at most.
const RUN_REQUESTS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::Outbox;
    use crate::config::Knobs;
    use crate::guarantee::Guarantee::{self, Agreed};
    use crate::id::{Oseq, Seq};
    use crate::message::Wish;
    use crate::note::Refusal;
    use bytes::Bytes;
    use std::collections::VecDeque;

    fn filled(count: u64, knobs: &Knobs) -> Outbox {
        let mut outbox = Outbox::new();
        for _ in 0..count {
            outbox.publish(Bytes::from_static(b"1234"), 0, Agreed, knobs).expect("room");
        }
        outbox
    }

    #[test]
    fn a_full_window_refuses_and_an_ordered_reading_makes_room() {
        let knobs = Knobs { window_entries: 2, payload_max: 4, ..Knobs::default() };
        let mut outbox = filled(2, &knobs);
        assert_eq!(outbox.publish(Bytes::new(), 0, Agreed, &knobs), Err(Refusal::WindowFull));
        outbox.on_ordered(Seq(1), Oseq(1), Agreed);
        assert_eq!(outbox.publish(Bytes::new(), 0, Agreed, &knobs), Ok(Oseq(3)));
        assert_eq!(outbox.publish(Bytes::from_static(b"12345"), 0, Agreed, &knobs), Err(Refusal::TooLarge));
    }

    #[test]
    fn a_window_is_bounded_in_bytes_too() {
        let knobs = Knobs { window_bytes: 8, ..Knobs::default() };
        let mut outbox = filled(2, &knobs);
        assert_eq!(outbox.publish(Bytes::from_static(b"1"), 0, Agreed, &knobs), Err(Refusal::WindowFull));
    }

    #[test]
    fn what_the_log_forgot_is_sent_again() {
        let knobs = Knobs::default();
        let mut outbox = filled(3, &knobs);
        assert_eq!(outbox.next_run(u64::MAX).expect("three").1.len(), 3);
        assert!(outbox.next_run(u64::MAX).is_none());
        outbox.on_ordered(Seq(7), Oseq(1), Agreed);
        outbox.on_ordered(Seq(8), Oseq(2), Agreed);
        outbox.on_log_replaced(Oseq(1), VecDeque::from([(Seq(7), Oseq(1), Agreed)]));
        let (first, run) = outbox.next_run(u64::MAX).expect("two");
        assert_eq!((first, run.len()), (Oseq(2), 2));
    }

    #[test]
    fn what_is_gone_is_declared_lost() {
        let knobs = Knobs { merge_retain_entries: 0, ..Knobs::default() };
        let mut outbox = filled(3, &knobs);
        for n in 1..=2 {
            outbox.on_ordered(Seq(n), Oseq(n), Agreed);
        }
        assert_eq!(outbox.on_stable(Seq(2), &knobs), [(Seq(1), Oseq(1), Agreed), (Seq(2), Oseq(2), Agreed)]);
        outbox.on_log_replaced(Oseq::ZERO, VecDeque::new());
        let (first, run) = outbox.next_run(u64::MAX).expect("the declaration");
        assert_eq!((first, &run.first().expect("one").what), (Oseq(1), &Wish::Lost { to: Oseq(2) }));
        assert_eq!(outbox.next_run(u64::MAX).expect("the rest").0, Oseq(3));
    }

    #[test]
    fn a_run_is_bounded_and_never_empty() {
        let check = |bytes: u64, runs: &[(u64, usize)]| {
            let mut outbox = filled(3, &Knobs::default());
            let mut seen = vec![];
            while let Some((first, run)) = outbox.next_run(bytes) {
                assert_eq!(outbox.sent(), first.plus(run.len() as u64 - 1));
                seen.push((first.0, run.len()));
            }
            assert_eq!(seen, runs, "{bytes} bytes");
        };
        // Each weighs its four bytes and sixteen more.
        check(60, &[(1, 3)]);
        check(59, &[(1, 2), (3, 1)]);
        check(40, &[(1, 2), (3, 1)]);
        check(0, &[(1, 1), (2, 1), (3, 1)]);
        let mut outbox = filled(1, &Knobs::default());
        assert!(outbox.next_run(u64::MAX).is_some() && outbox.next_run(u64::MAX).is_none());
        outbox.rewind(Oseq::ZERO);
        assert!(outbox.next_run(u64::MAX).is_some(), "to be sent again");
    }

    #[test]
    fn bytes_wait_until_they_are_ordered_and_a_lone_reading_always_fits() {
        let knobs = Knobs { window_bytes: 8, ..Knobs::default() };
        let publish = |outbox: &mut Outbox, text: &'static str| outbox.publish(Bytes::from_static(text.as_bytes()), 0, Agreed, &knobs);
        let mut outbox = Outbox::new();
        assert_eq!(publish(&mut outbox, "larger than all"), Ok(Oseq(1)));
        assert_eq!(publish(&mut outbox, ""), Err(Refusal::WindowFull));
        outbox.on_ordered(Seq(1), Oseq(1), Agreed);
        assert_eq!(publish(&mut outbox, "1234"), Ok(Oseq(2)));
        assert_eq!(publish(&mut outbox, "12345"), Err(Refusal::WindowFull));
        assert_eq!(publish(&mut outbox, "1234"), Ok(Oseq(3)));
        assert_eq!(publish(&mut outbox, "1"), Err(Refusal::WindowFull));
        outbox.on_ordered(Seq(2), Oseq(2), Agreed);
        assert_eq!(publish(&mut outbox, "12345"), Err(Refusal::WindowFull));
        assert_eq!(publish(&mut outbox, "1234"), Ok(Oseq(4)));
    }

    #[test]
    fn what_is_stable_is_kept_for_a_while_in_entries_and_in_bytes() {
        let check = |entries: u64, bytes: u64, kept: &[u64]| {
            let knobs = Knobs { merge_retain_entries: entries, merge_retain_bytes: bytes, window_bytes: 4, ..Knobs::default() };
            let mut outbox = filled(5, &Knobs::default());
            for n in 1..=5 {
                outbox.on_ordered(Seq(n), Oseq(n), Agreed);
            }
            outbox.on_stable(Seq(4), &knobs);
            let held: Vec<u64> = outbox.readings().map(|(oseq, _, _)| oseq.0).collect();
            assert_eq!(held, kept, "{entries} entries, {bytes} bytes");
        };
        check(9, 99, &[1, 2, 3, 4, 5]);
        check(4, 99, &[1, 2, 3, 4, 5]);
        check(3, 99, &[2, 3, 4, 5]);
        check(0, 99, &[5]);
        check(9, 20, &[1, 2, 3, 4, 5]);
        check(9, 19, &[2, 3, 4, 5]);
        check(9, 12, &[3, 4, 5]);
        check(9, 0, &[5]);
    }

    #[test]
    fn what_is_held_says_what_was_asked_for_it() {
        let (mut outbox, knobs) = (Outbox::new(), Knobs::default());
        for guarantee in [Agreed, Guarantee::Safe] {
            outbox.publish(Bytes::from_static(b"1"), 0, guarantee, &knobs).expect("room");
        }
        let held: Vec<(u64, bool)> = outbox.readings().map(|(oseq, _, safe)| (oseq.0, safe)).collect();
        assert_eq!(held, [(1, false), (2, true)]);
    }
}
