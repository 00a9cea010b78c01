//! A TCP connection: two ends, and an ordered stream each way.
//!
//! What is modelled is what a program can see of TCP: order, delay, a kernel that buffers a bounded
//! amount and takes connections for a process that is stopped, an end of the stream that comes
//! after the data, and resets that do not wait for it. What is not sent yet because the kernel's
//! buffer is full waits in user space, control before bulk, as in the shell. A cut direction stands
//! still, and goes on at TCP's next retransmission after the cut is mended: each pause between two
//! of them is twice the one before. A direction that has been forgotten on the way never goes on,
//! and nobody is told. Segments and windows are not modelled.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use protocol::frame::Cutter;
use protocol::id::LinkId;
use protocol::io::Down;
use protocol::message::{Message, Request};
use protocol::time::Time;

/// One of the two ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) host: usize,
    pub(crate) life: u32,
    pub(crate) link: LinkId,
    pub(crate) state: EndState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndState {
    /// The process has not been told yet that the connection stands.
    Pending,
    Up,
    /// The process has closed it, died, or been told that it is gone.
    Gone,
}

/// A side of a connection: 0 dialled, 1 accepted. A stream is named after the side that writes.
pub(crate) type Side = usize;

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) ends: [End; 2],
    pub(crate) streams: [Stream; 2],
}

/// What travels: whole messages, or pieces of their bytes.
#[derive(Debug)]
pub(crate) enum Parcel {
    Whole(Rc<Message>),
    Piece(Vec<u8>),
}

/// One direction.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Of all draws for this stream.
    pub(crate) seed: u64,
    /// How many frames were written, for the draws.
    pub(crate) count: u64,
    /// In the kernels and on the way: when it can be read, its weight, and what.
    pub(crate) wire: VecDeque<(Time, usize, Parcel)>,
    wire_weight: usize,
    control: VecDeque<Rc<Message>>,
    bulk: VecDeque<Rc<Message>>,
    waiting_weight: usize,
    /// Whether the writer has been told to hold bulk back.
    pub(crate) full: bool,
    /// The end of the stream, once the writer's side has ended it: in what way, and not before
    /// when.
    pub(crate) end: Option<(Down, Time)>,
    last_due: Time,
    /// A flow is on the agenda for this moment.
    pub(crate) scheduled: Option<Time>,
    pub(crate) stalled_until: Time,
    /// The time between two pieces, where it drips.
    pub(crate) drip: Duration,
    /// Whether nobody is there to take what is written, and nobody says so.
    void: bool,
    /// Whether something on the way has forgotten the connection: nothing passes any more, and
    /// nobody says so.
    pub(crate) forgotten: bool,
    /// Since when the first thing on the wire has been held up by a cut.
    pub(crate) held_up_since: Option<Time>,
    pub(crate) cutter: Cutter,
}

impl Stream {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            count: 0,
            wire: VecDeque::new(),
            wire_weight: 0,
            control: VecDeque::new(),
            bulk: VecDeque::new(),
            waiting_weight: 0,
            full: false,
            end: None,
            last_due: Time::ZERO,
            scheduled: None,
            stalled_until: Time::ZERO,
            drip: Duration::ZERO,
            void: false,
            forgotten: false,
            held_up_since: None,
            cutter: Cutter::new(),
        }
    }

    /// Queues a frame in user space; [`Stream::next_frame`] says what the kernel takes next.
    pub(crate) fn queue(&mut self, message: Rc<Message>) {
        self.waiting_weight += weight(&message);
        if message.is_bulk() {
            self.bulk.push_back(message)
        } else {
            self.control.push_back(message)
        }
    }

    /// The next frame that the kernel has room for, control before bulk; its weight moves to the
    /// wire.
    pub(crate) fn next_frame(&mut self, capacity: usize) -> Option<(usize, Rc<Message>)> {
        if self.wire_weight >= capacity {
            return None;
        }
        let message = self.control.pop_front().or_else(|| self.bulk.pop_front())?;
        let weight = weight(&message);
        self.waiting_weight -= weight;
        Some((weight, message))
    }

    /// Puts something on the wire; it can be read after `delay`, and never before what was put
    /// there earlier.
    pub(crate) fn put(&mut self, now: Time, delay: Duration, weight: usize, parcel: Parcel) {
        self.last_due = (self.last_due + self.drip).max(now + delay);
        self.wire_weight += weight;
        self.wire.push_back((self.last_due, weight, parcel));
    }

    /// The next parcel that can be read by now.
    pub(crate) fn take_due(&mut self, now: Time) -> Option<Parcel> {
        if self.wire.front()?.0 > now {
            return None;
        }
        let (_, weight, parcel) = self.wire.pop_front()?;
        self.wire_weight -= weight;
        Some(parcel)
    }

    /// Whether the writer's backlog has crossed a mark: `Some(true)` when it became full,
    /// `Some(false)` when it drained.
    pub(crate) fn crossed(&mut self) -> Option<bool> {
        let full = if self.full {
            self.waiting_weight > LOW_MARK
        } else {
            self.waiting_weight > HIGH_MARK
        };
        (full != std::mem::replace(&mut self.full, full)).then_some(full)
    }

    /// The writer has closed: what it has written still goes out, then the end.
    pub(crate) fn close(&mut self, at: Time) {
        if self.end.is_none() {
            self.end = Some((Down::Closed, at));
        }
    }

    /// The writer's process is gone: what the kernel had not taken goes with it, and of the rest
    /// only the first `kept` parcels still arrive. Returns how many frames were lost.
    pub(crate) fn break_off(&mut self, how: Down, at: Time, kept: usize) -> u64 {
        let lost = self.frames_waiting() + self.wire.len().saturating_sub(kept) as u64;
        for (_, weight, _) in self.wire.drain(kept.min(self.wire.len())..) {
            self.wire_weight -= weight;
        }
        self.control.clear();
        self.bulk.clear();
        self.waiting_weight = 0;
        self.end = Some((how, at));
        lost
    }

    /// Whether what is written goes nowhere.
    pub(crate) fn is_deaf_to_writes(&self) -> bool {
        self.void || self.end.is_some()
    }

    /// Nothing drips any more: whatever was put there can be read now.
    pub(crate) fn flood(&mut self, now: Time) {
        self.drip = Duration::ZERO;
        self.wire.iter_mut().for_each(|parcel| parcel.0 = parcel.0.min(now));
        self.last_due = self.last_due.min(now);
    }

    /// The writer is gone without a word: what the kernel had not taken goes with it. Returns how
    /// many frames were lost.
    pub(crate) fn fall_silent(&mut self) -> u64 {
        let lost = self.frames_waiting();
        self.control.clear();
        self.bulk.clear();
        self.waiting_weight = 0;
        self.void = true;
        lost
    }

    /// Nobody is there to read, and nobody says so. Returns how many frames were lost.
    pub(crate) fn vanish(&mut self) -> u64 {
        let lost = self.fall_silent() + self.wire.len() as u64;
        self.wire.clear();
        self.wire_weight = 0;
        lost
    }

    /// Nobody reads any more. Returns how many frames were lost.
    pub(crate) fn discard(&mut self) -> u64 {
        let lost = self.frames_waiting() + self.wire.len() as u64;
        self.control.clear();
        self.bulk.clear();
        self.wire.clear();
        self.wire_weight = 0;
        self.waiting_weight = 0;
        // Who writes on does not know yet; what ends the stream for it comes the other way, unless
        // this one is broken.
        if !self.void {
            self.end.get_or_insert((Down::Closed, Time::ZERO));
        }
        lost
    }

    /// The end, if everything before it has been read and its time has come.
    pub(crate) fn ended(&self, now: Time) -> Option<Down> {
        let (how, at) = self.end?;
        (self.wire.is_empty() && self.frames_waiting() == 0 && at <= now).then_some(how)
    }

    /// When there will be something to read.
    pub(crate) fn next_due(&self) -> Option<Time> {
        if self.forgotten {
            return None;
        }
        match self.wire.front() {
            Some((due, ..)) => Some((*due).max(self.stalled_until)),
            None => self.end.map(|(_, at)| at.max(self.stalled_until)),
        }
    }

    fn frames_waiting(&self) -> u64 {
        (self.control.len() + self.bulk.len()) as u64
    }
}

/// When a kernel next sends again what it has sent at `since` and what was not acknowledged: after
/// `first`, and then each time after twice the pause before.
pub(crate) fn sent_again_at(since: Time, first: Duration, now: Time) -> Time {
    let (mut at, mut pause) = (since + first, first);
    while at < now {
        pause = (pause * 2).min(PAUSE_MOST);
        at += pause;
    }
    at
}

/// The first pause before a segment is sent again, on a fast network.
pub(crate) const SENT_AGAIN: Duration = Duration::from_millis(200);
/// The longest pause between two times.
const PAUSE_MOST: Duration = Duration::from_secs(120);

/// Roughly how many bytes a message takes; exact sizes matter to nobody here.
fn weight(message: &Message) -> usize {
    match message {
        Message::Ordered(ordered) => {
            48 + ordered.run.iter().map(|entry| bytes(entry.weight())).sum::<usize>()
        }
        Message::SequencerRequest(requests) => {
            let readings = |request: &Request| {
                if let Request::Readings { readings, .. } = request {
                    readings.bytes() + 16 * readings.len()
                } else {
                    16
                }
            };
            48 + requests.run.iter().map(|request| bytes(readings(request))).sum::<usize>()
        }
        _ => 128,
    }
}

fn bytes(count: u64) -> usize {
    usize::try_from(count).expect("it is in memory")
}

/// Above this, the writer is asked to hold bulk back.
const HIGH_MARK: usize = 256 << 10;
/// Below this, it may go on.
const LOW_MARK: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::{Parcel, Stream};
    use bytes::Bytes;
    use protocol::id::{Incarnation, Member, Oseq, PeerId};
    use protocol::io::Down;
    use protocol::message::{Message, Request, Requests};
    use protocol::readings::Readings;
    use protocol::time::Time;
    use std::rc::Rc;
    use std::time::Duration;

    fn bulk(bytes: usize) -> Rc<Message> {
        let origin = Member { id: PeerId::new("p1").unwrap(), inc: Incarnation(1) };
        let readings = Readings::one(Bytes::from(vec![0; bytes]), 0);
        let run =
            vec![Request::Readings { guarantee: protocol::config::Guarantee::Agreed, readings }];
        Rc::new(Message::SequencerRequest(Requests { origin, first: Oseq(1), run }))
    }

    #[test]
    fn control_overtakes_bulk_once_the_kernel_is_full() {
        let mut stream = Stream::new(1);
        (0..3).for_each(|_| stream.queue(bulk(1_000)));
        stream.queue(Rc::new(Message::Ok { ask: 1 }));
        let mut verbs = Vec::new();
        while let Some((weight, message)) = stream.next_frame(1_200) {
            verbs.push(message.verb());
            stream.put(Time::ZERO, Duration::ZERO, weight, Parcel::Whole(message));
        }
        assert_eq!(verbs, ["OK", "SEQUENCER_REQUEST", "SEQUENCER_REQUEST"]);
        assert!(stream.take_due(Time::ZERO).is_some() && stream.take_due(Time::ZERO).is_some());
        assert!(stream.next_frame(1_200).is_some(), "room again");
    }

    #[test]
    fn a_kernel_sends_again_after_twice_the_pause_each_time() {
        let at = |milli: u64| Time::from_micros(milli * 1_000);
        for (now, again) in
            [(0, 200), (200, 200), (201, 600), (1_400, 1_400), (40_000, 51_000), (600_000, 684_600)]
        {
            assert_eq!(
                super::sent_again_at(at(0), super::SENT_AGAIN, at(now)),
                at(again),
                "{now} ms"
            );
        }
    }

    #[test]
    fn what_is_forgotten_on_the_way_never_comes() {
        let mut stream = Stream::new(1);
        stream.put(Time::ZERO, Duration::ZERO, 1, Parcel::Piece(vec![1]));
        stream.forgotten = true;
        stream.close(Time::ZERO);
        assert_eq!(stream.next_due(), None);
    }

    #[test]
    fn backlog_is_told_once_each_way() {
        let mut stream = Stream::new(1);
        assert_eq!(stream.crossed(), None);
        stream.queue(bulk(300 << 10));
        assert_eq!(stream.crossed(), Some(true));
        assert_eq!(stream.crossed(), None);
        stream.next_frame(1);
        assert_eq!(stream.crossed(), Some(false));
    }

    #[test]
    fn the_end_comes_after_the_data_and_breaking_off_loses_the_tail() {
        let mut stream = Stream::new(1);
        for _ in 0..3 {
            stream.put(Time::ZERO, Duration::ZERO, 1, Parcel::Piece(vec![1]));
        }
        stream.close(Time::ZERO);
        assert_eq!(stream.ended(Time::ZERO), None);
        assert_eq!(stream.break_off(Down::Reset, Time::ZERO, 1), 2);
        assert!(stream.take_due(Time::ZERO).is_some() && stream.take_due(Time::ZERO).is_none());
        assert_eq!(stream.ended(Time::ZERO), Some(Down::Reset));
    }
}
