//! A peer's own readings, from the moment they get their number until nothing can bring them back.
//!
//! A reading stays here until it is *stable* (everybody in the view has it), and `merge_retain`
//! longer: were the log to roll back, or this group to dissolve into another, it would be sent
//! again. What has gone from here is declared lost rather than left as a hole that would stall this
//! sender's numbers for ever.
//!
//! Does not decide when to send (see the roles of the leader and the follower).

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use crate::config::Knobs;
use crate::guarantee::Guarantee;
use crate::id::{Member, Oseq, Seq};
use crate::log::entry::{Entry, Request};
use crate::log::readings::Readings;
use crate::report::note::Refusal;

/// Own readings that may still be needed.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    /// The number of the first one held.
    first: Oseq,
    /// The last number given.
    last: Oseq,
    batches: VecDeque<Batch>,
    bytes: u64,
    /// The last number that stands in the log; falls back when the log does.
    ordered: Oseq,
    /// Bytes of the readings above `ordered`.
    waiting_bytes: u64,
    /// The last number sent to the present leader over the present link.
    sent: Oseq,
    /// Set when a leader has not taken what it was sent, until everything has been sent again.
    restraint: Option<Restraint>,
    /// Own entries that stand in the log and are not stable yet.
    unstable: VecDeque<Stretch>,
    /// The last number that is stable.
    stable: Oseq,
}

/// How much is sent to a leader that has not taken everything: a run, and when what was sent stands
/// in the log twice as many. Were all that waits sent again each time, and a little of it taken,
/// then the more waited the slower it would go.
#[derive(Clone, Copy, Debug, Hash)]
struct Restraint {
    /// Runs that may be sent now.
    left: u64,
    /// Runs that may be sent when those stand in the log.
    then: u64,
}

/// Readings that were published together, or what is left of them.
#[derive(Clone, Debug)]
struct Batch {
    first: Oseq,
    guarantee: Guarantee,
    readings: Readings,
}

/// Consecutive numbers at consecutive positions of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stretch {
    /// The first position.
    pub(crate) seq: Seq,
    /// The number that stands there.
    pub(crate) oseq: Oseq,
    pub(crate) count: u64,
    /// Whether they are to be safe.
    pub(crate) guarantee: Guarantee,
}

/// Own readings that have become stable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Those that stand there.
    Placed(Stretch),
    /// Those in a part of the log that only a snapshot stands for: the first and the last.
    Unplaced { from: Oseq, to: Oseq },
}

impl Stretch {
    /// What stands at `seq`, if it is a member's own.
    pub(crate) fn of(entry: &Entry, seq: Seq, member: &Member) -> Option<Self> {
        let (oseq, guarantee) = entry.number_of(member)?;
        Some(Self { seq, oseq, count: entry.positions(), guarantee })
    }

    /// The last number.
    pub(crate) fn last(&self) -> Oseq {
        self.oseq.plus(self.count).previous()
    }
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            first: Oseq(1),
            last: Oseq::ZERO,
            batches: VecDeque::new(),
            bytes: 0,
            ordered: Oseq::ZERO,
            waiting_bytes: 0,
            sent: Oseq::ZERO,
            restraint: None,
            unstable: VecDeque::new(),
            stable: Oseq::ZERO,
        }
    }

    /// The last number given.
    pub(crate) fn last(&self) -> Oseq {
        self.last
    }

    pub(crate) fn ordered(&self) -> Oseq {
        self.ordered
    }

    /// The last number that everybody in its view is known to have had.
    pub(crate) fn stable(&self) -> Oseq {
        self.stable
    }

    /// Whether some of its readings do not stand in the log.
    pub(crate) fn waits(&self) -> bool {
        self.ordered < self.last
    }

    /// How many bytes of readings it holds.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many rows its lists have.
    pub(crate) fn rows(&self) -> usize {
        self.batches.len() + self.unstable.len()
    }

    /// How many more readings the window takes, and how many bytes of them.
    pub(crate) fn room(&self, knobs: &Knobs) -> (u64, u64) {
        let entries = knobs.window_entries.saturating_sub(self.last.above(self.ordered));
        (entries, knobs.window_bytes.saturating_sub(self.waiting_bytes))
    }

    /// Bytes of the readings that have numbers and no place in the log yet.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes
    }

    /// Gives readings their numbers, as many of the first ones as the window takes; how many that
    /// were. The one behind them, if there is one, was refused.
    pub(crate) fn publish(
        &mut self,
        readings: &Readings,
        guarantee: Guarantee,
        knobs: &Knobs,
    ) -> (u64, Option<Refusal>) {
        let waiting = self.last.above(self.ordered);
        let mut refusal = Refusal::WindowFull;
        let mut count = knobs.window_entries.saturating_sub(waiting).min(readings.len());
        // One that is larger than the window goes through it alone.
        let room = knobs.window_bytes.checked_sub(self.waiting_bytes);
        count = count
            .min(room.map_or(0, |room| readings.fitting(room, 0)).max(u64::from(waiting == 0)));
        // Mostly all of them together are smaller than one may be.
        if readings.bytes_of_first((count + 1).min(readings.len())) > knobs.payload_max {
            let too_large =
                readings.iter().position(|(payload, _)| payload.len() as u64 > knobs.payload_max);
            if let Some(place) = too_large.map(|place| place as u64).filter(|place| *place <= count)
            {
                (count, refusal) = (place, Refusal::TooLarge);
            }
        }
        if count > 0 {
            let first = self.last.next();
            // What was refused would be kept with what was not, as long as that is.
            let readings = if count < readings.len() {
                readings.slice(0..count).alone()
            } else {
                readings.clone()
            };
            self.last = self.last.plus(count);
            self.bytes += readings.bytes();
            self.waiting_bytes += readings.bytes();
            self.batches.push_back(Batch { first, guarantee, readings });
        }
        (count, (count < readings.len()).then_some(refusal))
    }

    /// The next run to send, after the last one sent: first number and requests. Nothing when all
    /// is sent.
    pub(crate) fn next_run(&mut self, bytes: u64) -> Option<(Oseq, Vec<Request>)> {
        self.next_part(bytes, u64::MAX)
    }

    /// The same, of at most so many readings.
    pub(crate) fn next_part(&mut self, bytes: u64, mut most: u64) -> Option<(Oseq, Vec<Request>)> {
        let next = self.sent.next();
        if next > self.last {
            return None;
        }
        if next < self.first {
            let to = self.first.previous();
            self.sent = to;
            return Some((next, vec![Request::Lost { to }]));
        }
        let (mut run, mut end, mut left) = (Vec::new(), self.sent, bytes);
        for Batch { first, guarantee, readings } in self.above(self.sent).take(RUN_BATCHES) {
            let fits =
                readings.fitting(left, READING_BYTES).max(u64::from(run.is_empty())).min(most);
            if fits > 0 {
                most -= fits;
                let readings = readings.slice(0..fits);
                left = left.saturating_sub(readings.bytes() + READING_BYTES * fits);
                end = first.plus(fits).previous();
                run.push(Request::Readings { guarantee, readings });
            }
            if fits < readings.len() {
                break;
            }
        }
        self.sent = end;
        Some((next, run))
    }

    /// The next run to send to a leader in whose log this peer's numbers end at `logged`: nothing,
    /// too, while one that has not taken everything lately is to take what it was sent.
    pub(crate) fn next_due(&mut self, logged: Oseq, bytes: u64) -> Option<(Oseq, Vec<Request>)> {
        if let Some(Restraint { left, then }) = &mut self.restraint
            && *left == 0
        {
            if logged < self.sent {
                return None;
            }
            (*left, *then) = (*then, then.saturating_mul(2));
        }
        let run = self.next_run(bytes)?;
        if let Some(restraint) = &mut self.restraint {
            restraint.left -= 1;
        }
        self.restraint = self.restraint.filter(|_| self.sent < self.last);
        Some(run)
    }

    /// A leader has not taken what it was sent: everything above `oseq` has to be sent again, at
    /// first a little of it.
    pub(crate) fn on_turned_away(&mut self, oseq: Oseq) {
        self.rewind(oseq);
        self.restraint = Some(Restraint { left: 1, then: 2 });
    }

    pub(crate) fn sent(&self) -> Oseq {
        self.sent
    }

    /// Everything above `oseq` has to be sent (again).
    pub(crate) fn rewind(&mut self, oseq: Oseq) {
        self.sent = oseq.min(self.last);
    }

    /// Some of this peer's numbers have appeared in the log.
    pub(crate) fn on_ordered(&mut self, stretch: Stretch) {
        self.unstable.push_back(stretch);
        // Nobody but this peer gives its numbers; what the log calls so beyond the last one is
        // nothing of its.
        let last = stretch.last().min(self.last);
        if last > self.ordered {
            self.waiting_bytes -= self.bytes_between(self.ordered, last);
            self.ordered = last;
        }
        self.sent = self.sent.max(last);
    }

    /// The log has become another one, in which this peer's numbers end at `ordered`, and `above`
    /// stand above the fork. Returns the first and the last of those that stand in the log now and
    /// did not, in a part of it that only a snapshot stands for.
    pub(crate) fn on_log_replaced(
        &mut self,
        ordered: Oseq,
        fork: Seq,
        above: Vec<Stretch>,
    ) -> Option<(Oseq, Oseq)> {
        let known = self.ordered.max(self.stable);
        self.ordered = ordered.min(self.last);
        let placed = above.first().map_or(self.ordered, |stretch| stretch.oseq.previous());
        let unplaced = (known.next(), placed.min(self.ordered));
        self.sent = self.ordered;
        self.unstable.retain(|stretch| stretch.seq <= fork);
        if let Some(stretch) = self.unstable.back_mut() {
            stretch.count = stretch.count.min(fork.next().above(stretch.seq));
        }
        self.unstable.extend(above);
        self.waiting_bytes = self.bytes_between(self.ordered, self.last);
        Some(unplaced).filter(|(from, to)| from <= to)
    }

    /// Everything up to `seq` is stable: what is far enough behind may go. The log retains nothing
    /// up to `base`. Returns the own readings for which that is news.
    pub(crate) fn on_stable(&mut self, seq: Seq, base: Seq, knobs: &Knobs) -> Vec<Settled> {
        let mut news = Vec::new();
        while let Some(stretch) = self.unstable.pop_front_if(|stretch| stretch.seq <= seq) {
            // Numbers rise along a log: those before it stand before it.
            self.settle_unplaced(stretch.oseq.previous(), &mut news);
            let count = seq.next().above(stretch.seq).min(stretch.count);
            let settled = Stretch { count, ..stretch };
            self.stable = self.stable.max(settled.last());
            news.push(Settled::Placed(settled));
            if count < stretch.count {
                let (seq, oseq) = (stretch.seq.plus(count), stretch.oseq.plus(count));
                // It stands behind what is stable, so it is the last that is looked at.
                self.unstable.push_front(Stretch {
                    seq,
                    oseq,
                    count: stretch.count - count,
                    ..stretch
                });
                break;
            }
        }
        if base <= seq {
            let placed = self.unstable.front();
            self.settle_unplaced(
                placed.map_or(self.ordered, |stretch| stretch.oseq.previous()),
                &mut news,
            );
        }
        self.forget(knobs);
        news
    }

    /// What stands in the log up to `to` is stable. The numbers that are not known to be stable yet
    /// have no place here, because they came in a snapshot. None of them is lost: an outbox gives
    /// up only what was stable once.
    fn settle_unplaced(&mut self, to: Oseq, news: &mut Vec<Settled>) {
        let (from, to) = (self.stable.next(), to.min(self.ordered));
        if from <= to {
            self.stable = to;
            news.push(Settled::Unplaced { from, to });
        }
    }

    /// Gives up what is stable, except for the last of it.
    fn forget(&mut self, knobs: &Knobs) {
        let bytes = knobs.merge_retain_bytes.max(knobs.window_bytes);
        while let Some(batch) = self.batches.front_mut() {
            let readings = &batch.readings;
            let behind = self.stable.next().above(self.first);
            let too_many = behind.saturating_sub(knobs.merge_retain_entries);
            let over = self.bytes.saturating_sub(bytes);
            let too_heavy = if over > 0 { readings.fitting(over - 1, 0) + 1 } else { 0 };
            let count = too_many.max(too_heavy).min(behind).min(readings.len());
            if count == 0 {
                return;
            }
            let bytes_gone = readings.bytes_of_first(count);
            self.bytes -= bytes_gone;
            // What another log has taken back waits again, and is given up all the same: it takes
            // no room in the window any more.
            let not_waiting = self.ordered.next().above(self.first).min(count);
            self.waiting_bytes -= bytes_gone - readings.bytes_of_first(not_waiting);
            self.first = self.first.plus(count);
            if count == readings.len() {
                self.batches.pop_front();
            } else {
                batch.readings = readings.slice(count..readings.len());
                batch.first = self.first;
            }
        }
    }

    /// What is held, with the number of the first and when they are to be handed over.
    pub(crate) fn readings(&self) -> impl Iterator<Item = (Oseq, Guarantee, &Readings)> {
        self.batches.iter().map(|batch| (batch.first, batch.guarantee, &batch.readings))
    }

    /// What is held above a number.
    fn above(&self, oseq: Oseq) -> impl Iterator<Item = Batch> {
        let place =
            self.batches.partition_point(|batch| batch.first <= oseq.next()).saturating_sub(1);
        self.batches.range(place..).filter_map(move |Batch { first, guarantee, readings }| {
            let past = oseq.next().above(*first);
            (past < readings.len()).then(|| Batch {
                first: first.plus(past),
                guarantee: *guarantee,
                readings: readings.slice(past..readings.len()),
            })
        })
    }

    /// How many of the bytes held have numbers above the one, up to the other.
    fn bytes_between(&self, above: Oseq, last: Oseq) -> u64 {
        let batches = self.above(above).take_while(|batch| batch.first <= last);
        batches
            .map(|batch| {
                batch
                    .readings
                    .bytes_of_first(last.next().above(batch.first).min(batch.readings.len()))
            })
            .sum()
    }
}

/// By what it holds for each number, however that came together.
impl Hash for Outbox {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self {
            first,
            last,
            batches,
            bytes,
            ordered,
            waiting_bytes,
            sent,
            restraint,
            unstable,
            stable,
        } = self;
        (first, last, bytes, ordered, waiting_bytes, sent, restraint, stable).hash(state);
        for Batch { guarantee, readings, .. } in batches {
            readings.iter().for_each(|reading| (guarantee, reading).hash(state));
        }
        for stretch in unstable {
            (0..stretch.count).for_each(|past| {
                (stretch.seq.plus(past), stretch.oseq.plus(past), stretch.guarantee).hash(state)
            });
        }
    }
}

/// Batches in one frame at most.
const RUN_BATCHES: usize = 1_024;
/// What a reading takes in a frame besides its payload, roughly.
const READING_BYTES: u64 = 16;

#[cfg(test)]
mod tests {
    use super::{Outbox, Settled, Stretch};
    use crate::config::Knobs;
    use crate::guarantee::Guarantee::{self, Agreed};
    use crate::id::{Oseq, Seq};
    use crate::log::entry::Request;
    use crate::log::readings::{Collector, Readings};
    use crate::report::inspect::identity;
    use crate::report::note::Refusal;
    use bytes::Bytes;

    /// Publishes one; its number.
    fn publish(outbox: &mut Outbox, text: &'static str, knobs: &Knobs) -> Result<Oseq, Refusal> {
        let (taken, refusal) =
            outbox.publish(&Readings::one(Bytes::from_static(text.as_bytes()), 0), Agreed, knobs);
        refusal.map_or(Ok(outbox.last()), Err).inspect(|_| assert_eq!(taken, 1))
    }

    /// One of its numbers has appeared in the log.
    fn ordered(outbox: &mut Outbox, seq: u64, oseq: u64) {
        outbox.on_ordered(stretch(seq, oseq));
    }

    /// What is told of a log of which everything is retained, once it is stable up to there.
    fn stable_up_to(outbox: &mut Outbox, seq: Seq, knobs: &Knobs) -> Vec<Stretch> {
        let placed = |settled: Settled| {
            if let Settled::Placed(stretch) = settled { stretch } else { panic!("{settled:?}") }
        };
        outbox.on_stable(seq, Seq::ZERO, knobs).into_iter().map(placed).collect()
    }

    fn stretch(seq: u64, oseq: u64) -> Stretch {
        Stretch { seq: Seq(seq), oseq: Oseq(oseq), count: 1, guarantee: Agreed }
    }

    fn count(run: &[Request]) -> u64 {
        run.iter()
            .map(
                |request| {
                    if let Request::Readings { readings, .. } = request {
                        readings.len()
                    } else {
                        1
                    }
                },
            )
            .sum()
    }

    fn filled(count: u64, knobs: &Knobs) -> Outbox {
        let mut outbox = Outbox::new();
        for _ in 0..count {
            assert_eq!(publish(&mut outbox, "1234", knobs), Ok(Oseq(outbox.last().0)));
        }
        outbox
    }

    #[test]
    fn a_full_window_refuses_and_an_ordered_reading_makes_room() {
        let knobs = Knobs { window_entries: 2, payload_max: 4, ..Knobs::default() };
        let mut outbox = filled(2, &knobs);
        assert_eq!(publish(&mut outbox, "", &knobs), Err(Refusal::WindowFull));
        ordered(&mut outbox, 1, 1);
        assert_eq!(publish(&mut outbox, "", &knobs), Ok(Oseq(3)));
        assert_eq!(publish(&mut outbox, "12345", &knobs), Err(Refusal::TooLarge));
    }

    #[test]
    fn a_window_is_bounded_in_bytes_too() {
        let knobs = Knobs { window_bytes: 8, ..Knobs::default() };
        let mut outbox = filled(2, &knobs);
        assert_eq!(publish(&mut outbox, "1", &knobs), Err(Refusal::WindowFull));
    }

    #[test]
    fn what_the_log_forgot_is_sent_again() {
        let knobs = Knobs::default();
        let mut outbox = filled(3, &knobs);
        assert_eq!(count(&outbox.next_run(u64::MAX).expect("three").1), 3);
        assert!(outbox.next_run(u64::MAX).is_none());
        ordered(&mut outbox, 7, 1);
        ordered(&mut outbox, 8, 2);
        outbox.on_log_replaced(Oseq(1), Seq::ZERO, vec![stretch(7, 1)]);
        let (first, run) = outbox.next_run(u64::MAX).expect("two");
        assert_eq!((first, count(&run)), (Oseq(2), 2));
    }

    #[test]
    fn what_is_given_up_while_it_waits_again_takes_no_room() {
        let knobs =
            Knobs { merge_retain_entries: 1, window_bytes: 12, payload_max: 4, ..Knobs::default() };
        let mut outbox = Outbox::new();
        for n in 1..=3 {
            assert_eq!(publish(&mut outbox, "1234", &knobs), Ok(Oseq(n)));
            ordered(&mut outbox, n, n);
        }
        // All three were stable there, and none of them stands in the log that takes its place.
        stable_up_to(&mut outbox, Seq(2), &knobs);
        outbox.on_log_replaced(Oseq::ZERO, Seq::ZERO, vec![stretch(1, 3)]);
        assert_eq!(outbox.room(&knobs).1, 4, "two of three are held, and wait");
        stable_up_to(&mut outbox, Seq(1), &knobs);
        assert_eq!(outbox.room(&knobs).1, 8, "one of them is held");
    }

    #[test]
    fn what_only_a_snapshot_stands_for_is_told_and_given_up_like_what_has_a_place() {
        let knobs = Knobs { merge_retain_entries: 1, ..Knobs::default() };
        let mut outbox = filled(6, &knobs);
        ordered(&mut outbox, 3, 1);
        // Numbers 1 and 2 stood in the log before; 3 and 4 stand, too, below what it retains now, 5
        // above it, and 6 waits.
        ordered(&mut outbox, 4, 2);
        assert_eq!(
            outbox.on_log_replaced(Oseq(5), Seq(3), vec![stretch(9, 5)]),
            Some((Oseq(3), Oseq(4)))
        );
        assert_eq!(
            outbox.on_log_replaced(Oseq(5), Seq(3), vec![stretch(9, 5)]),
            None,
            "they stand there already"
        );
        let first = |outbox: &Outbox| outbox.readings().next().map(|(first, ..)| first);
        assert_eq!(
            outbox.on_stable(Seq(5), Seq(8), &knobs),
            [Settled::Placed(stretch(3, 1))],
            "the snapshot is not stable"
        );
        let unplaced = Settled::Unplaced { from: Oseq(2), to: Oseq(4) };
        assert_eq!(outbox.on_stable(Seq(8), Seq(8), &knobs), [unplaced]);
        assert_eq!((outbox.stable(), first(&outbox)), (Oseq(4), Some(Oseq(4))), "5 is not stable");
        assert_eq!(outbox.on_stable(Seq(9), Seq(8), &knobs), [Settled::Placed(stretch(9, 5))]);
        assert_eq!((outbox.stable(), first(&outbox)), (Oseq(5), Some(Oseq(5))), "6 has no place");
    }

    #[test]
    fn what_stands_between_two_places_is_told_with_the_later_one() {
        let knobs = Knobs::default();
        let mut outbox = filled(3, &knobs);
        ordered(&mut outbox, 3, 1);
        outbox.on_log_replaced(Oseq(3), Seq(3), vec![stretch(9, 3)]);
        let unplaced = Settled::Unplaced { from: Oseq(2), to: Oseq(2) };
        let all = [Settled::Placed(stretch(3, 1)), unplaced, Settled::Placed(stretch(9, 3))];
        assert_eq!(outbox.on_stable(Seq(9), Seq(7), &knobs), all);
    }

    #[test]
    fn who_was_turned_away_sends_twice_as_much_each_time_that_all_of_it_is_ordered() {
        let mut outbox = filled(9, &Knobs::default());
        let due = |outbox: &mut Outbox, logged: u64| {
            let runs = std::iter::from_fn(|| outbox.next_due(Oseq(logged), 0));
            runs.map(|(first, _)| first.0).collect::<Vec<u64>>()
        };
        assert_eq!(due(&mut outbox, 0), (1..=9).collect::<Vec<_>>(), "nobody has turned it away");
        outbox.on_turned_away(Oseq::ZERO);
        for (logged, runs) in
            [(0, vec![1]), (0, vec![]), (1, vec![2, 3]), (2, vec![]), (3, vec![4, 5, 6, 7])]
        {
            assert_eq!(due(&mut outbox, logged), runs, "after {logged}");
        }
        outbox.on_turned_away(Oseq(5));
        assert_eq!(due(&mut outbox, 5), [6], "not as much as that");
        outbox.rewind(Oseq(5));
        assert_eq!(due(&mut outbox, 5), [6, 7], "on a new link nothing is under way");
        assert_eq!(due(&mut outbox, 7), [8, 9]);
        outbox.rewind(Oseq(6));
        assert_eq!(due(&mut outbox, 6), [7, 8, 9], "all was sent");
    }

    #[test]
    fn what_is_gone_is_declared_lost() {
        let knobs = Knobs { merge_retain_entries: 0, ..Knobs::default() };
        let mut outbox = filled(3, &knobs);
        for n in 1..=2 {
            ordered(&mut outbox, n, n);
        }
        assert_eq!(stable_up_to(&mut outbox, Seq(2), &knobs), [stretch(1, 1), stretch(2, 2)]);
        outbox.on_log_replaced(Oseq::ZERO, Seq::ZERO, Vec::new());
        let (first, run) = outbox.next_run(u64::MAX).expect("the declaration");
        assert_eq!((first, run), (Oseq(1), vec![Request::Lost { to: Oseq(2) }]));
        assert_eq!(outbox.next_run(u64::MAX).expect("the rest").0, Oseq(3));
    }

    #[test]
    fn a_run_is_bounded_and_never_empty() {
        let check = |bytes: u64, runs: &[(u64, u64)]| {
            let mut outbox = filled(3, &Knobs::default());
            let mut seen = vec![];
            while let Some((first, run)) = outbox.next_run(bytes) {
                assert_eq!(outbox.sent(), first.plus(count(&run)).previous());
                seen.push((first.0, count(&run)));
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
        let publish = |outbox: &mut Outbox, text: &'static str| publish(outbox, text, &knobs);
        let mut outbox = Outbox::new();
        assert_eq!(publish(&mut outbox, "larger than all"), Ok(Oseq(1)));
        assert_eq!(publish(&mut outbox, ""), Err(Refusal::WindowFull));
        ordered(&mut outbox, 1, 1);
        assert_eq!(publish(&mut outbox, "1234"), Ok(Oseq(2)));
        assert_eq!(publish(&mut outbox, "12345"), Err(Refusal::WindowFull));
        assert_eq!(publish(&mut outbox, "1234"), Ok(Oseq(3)));
        assert_eq!(publish(&mut outbox, "1"), Err(Refusal::WindowFull));
        ordered(&mut outbox, 2, 2);
        assert_eq!(publish(&mut outbox, "12345"), Err(Refusal::WindowFull));
        assert_eq!(publish(&mut outbox, "1234"), Ok(Oseq(4)));
    }

    #[test]
    fn what_is_stable_is_kept_for_a_while_in_entries_and_in_bytes() {
        let check = |entries: u64, bytes: u64, kept: &[u64]| {
            let knobs = Knobs {
                merge_retain_entries: entries,
                merge_retain_bytes: bytes,
                window_bytes: 4,
                ..Knobs::default()
            };
            let mut outbox = filled(5, &Knobs::default());
            for n in 1..=5 {
                ordered(&mut outbox, n, n);
            }
            stable_up_to(&mut outbox, Seq(4), &knobs);
            let held: Vec<u64> = outbox
                .readings()
                .flat_map(|(first, _, readings)| first.0..first.0 + readings.len())
                .collect();
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
    fn what_stands_below_the_fork_becomes_stable_in_the_other_log_too() {
        let knobs = Knobs::default();
        let mut outbox = filled(5, &knobs);
        for (seq, oseq) in [(3, 1), (4, 2), (5, 3)] {
            ordered(&mut outbox, seq, oseq);
        }
        outbox.on_log_replaced(Oseq(4), Seq(4), vec![stretch(7, 3), stretch(9, 4)]);
        assert_eq!(
            stable_up_to(&mut outbox, Seq(7), &knobs),
            [stretch(3, 1), stretch(4, 2), stretch(7, 3)]
        );
        let long = Stretch { count: 4, ..stretch(10, 5) };
        outbox.on_ordered(long);
        outbox.on_log_replaced(Oseq(6), Seq(11), Vec::new());
        assert_eq!(
            stable_up_to(&mut outbox, Seq(99), &knobs),
            [stretch(9, 4), Stretch { count: 2, ..long }]
        );
    }

    #[test]
    fn what_is_held_says_what_was_asked_for_it() {
        let (mut outbox, knobs) = (Outbox::new(), Knobs::default());
        for guarantee in [Agreed, Guarantee::Safe] {
            assert_eq!(
                outbox.publish(&Readings::one(Bytes::from_static(b"1"), 0), guarantee, &knobs),
                (1, None)
            );
        }
        let held: Vec<(u64, Guarantee)> =
            outbox.readings().map(|(first, guarantee, _)| (first.0, guarantee)).collect();
        assert_eq!(held, [(1, Agreed), (2, Guarantee::Safe)]);
    }

    /// Readings of these sizes, together.
    fn together(sizes: &[usize]) -> Readings {
        let mut collector = Collector::default();
        sizes.iter().for_each(|size| collector.push(&vec![b'x'; *size], 0));
        collector.finish().expect("some")
    }

    #[test]
    fn of_many_at_once_as_many_are_taken_as_one_by_one() {
        let sizes: [&[usize]; 6] =
            [&[1, 2, 3, 4], &[5, 1], &[1, 5, 1], &[4, 4, 1, 0], &[0, 0, 0, 0, 0], &[9, 1]];
        for (entries, bytes, largest) in
            [(4, 8, 4), (3, 100, 100), (100, 6, 100), (100, 5, 5), (2, 0, 9), (0, 8, 4)]
        {
            let knobs = Knobs {
                window_entries: entries,
                window_bytes: bytes,
                payload_max: largest,
                ..Knobs::default()
            };
            for before in sizes {
                for sizes in sizes {
                    let (mut one_by_one, mut at_once) = (Outbox::new(), Outbox::new());
                    let mut expected = (0, None);
                    for (outbox, single) in [(&mut one_by_one, true), (&mut at_once, false)] {
                        outbox.publish(&together(before), Agreed, &knobs);
                        if !single {
                            let taken = outbox.publish(&together(sizes), Agreed, &knobs);
                            assert_eq!(
                                taken, expected,
                                "{sizes:?} behind {before:?}, {entries} entries, {bytes} bytes, \
                                 {largest}"
                            );
                            continue;
                        }
                        for single in together(sizes).singly() {
                            let (taken, refusal) = outbox.publish(&single, Agreed, &knobs);
                            expected = (expected.0 + taken, refusal);
                            if refusal.is_some() {
                                break;
                            }
                        }
                    }
                    assert_eq!(
                        (one_by_one.last(), one_by_one.waiting_bytes),
                        (at_once.last(), at_once.waiting_bytes)
                    );
                    assert_eq!(identity(&one_by_one), identity(&at_once));
                }
            }
        }
    }

    #[test]
    fn what_came_together_is_ordered_made_stable_and_forgotten_in_any_parts() {
        let knobs = Knobs { merge_retain_entries: 3, ..Knobs::default() };
        let mut outbox = Outbox::new();
        outbox.publish(&together(&[1, 2, 3, 4, 5]), Agreed, &knobs);
        outbox.publish(&together(&[6, 7]), Agreed, &knobs);
        outbox.on_ordered(Stretch { seq: Seq(11), oseq: Oseq(1), count: 3, guarantee: Agreed });
        assert_eq!(outbox.waiting_bytes, 4 + 5 + 6 + 7);
        outbox.on_ordered(Stretch { seq: Seq(20), oseq: Oseq(4), count: 3, guarantee: Agreed });
        assert_eq!((outbox.waiting_bytes, outbox.ordered(), outbox.sent()), (7, Oseq(6), Oseq(6)));
        let news = |first: u64, oseq: u64, count: u64| Stretch {
            seq: Seq(first),
            oseq: Oseq(oseq),
            count,
            guarantee: Agreed,
        };
        assert_eq!(stable_up_to(&mut outbox, Seq(10), &knobs), []);
        assert_eq!(stable_up_to(&mut outbox, Seq(12), &knobs), [news(11, 1, 2)]);
        assert_eq!(stable_up_to(&mut outbox, Seq(21), &knobs), [news(13, 3, 1), news(20, 4, 2)]);
        let held: Vec<(u64, u64)> =
            outbox.readings().map(|(first, _, readings)| (first.0, readings.len())).collect();
        assert_eq!(
            (held, outbox.bytes),
            (vec![(3, 3), (6, 2)], 3 + 4 + 5 + 6 + 7),
            "three that are stable, and the rest"
        );
        // Back to the beginning: what is gone is lost, and the rest goes out again.
        outbox.on_log_replaced(Oseq::ZERO, Seq::ZERO, Vec::new());
        assert_eq!(outbox.next_run(u64::MAX), Some((Oseq(1), vec![Request::Lost { to: Oseq(2) }])));
        let (first, run) = outbox.next_run(u64::MAX).expect("the rest");
        assert_eq!((first, run.len(), count(&run), outbox.waiting_bytes), (Oseq(3), 2, 5, 25));
        assert!(outbox.next_run(u64::MAX).is_none());
        outbox.rewind(Oseq(4));
        let (first, run) = outbox.next_run(u64::MAX).expect("from the middle");
        assert_eq!((first, run), (Oseq(5), vec![readings(&[5]), readings(&[6, 7])]));
    }

    fn readings(sizes: &[usize]) -> Request {
        Request::Readings { guarantee: Agreed, readings: together(sizes) }
    }
}
