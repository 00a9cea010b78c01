//! A TCP connection: two ends, and an ordered stream in each direction.
//!
//! The model covers what a program can observe of TCP: order, delay, a kernel that buffers a
//! bounded amount and accepts connections for a stopped process, an end of stream after the data,
//! and resets that overtake the data. Frames that do not fit into the kernel's buffer wait in user
//! space, control before bulk, as in the shell. A cut direction stalls, and continues with TCP's
//! next retransmission after the cut is mended; the pause between retransmissions doubles each
//! time. A direction that a middlebox has forgotten never continues, and neither end is told.
//! Segments and windows are not modelled.

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
    /// The process has not been told yet that the connection is established.
    Pending,
    Up,
    /// The process has closed it, died, or been told that it is broken.
    Gone,
}

/// A side of a connection: 0 dialled, 1 accepted. A stream is named after the side that writes it.
pub(crate) type Side = usize;

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) ends: [End; 2],
    pub(crate) streams: [Stream; 2],
}

/// The content of the wire: whole messages, or pieces of their bytes.
#[derive(Debug)]
pub(crate) enum Parcel {
    Whole(Rc<Message>),
    Piece(Vec<u8>),
}

/// One direction.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The seed of all draws for this stream.
    pub(crate) seed: u64,
    /// How many frames were written; the counter of the draws.
    pub(crate) count: u64,
    /// Data in the kernels and in flight: when it becomes readable, its weight, and its content.
    pub(crate) wire: VecDeque<(Time, usize, Parcel)>,
    wire_weight: usize,
    control: VecDeque<Rc<Message>>,
    bulk: VecDeque<Rc<Message>>,
    waiting_weight: usize,
    /// Whether the writer has been told to stop sending bulk.
    pub(crate) full: bool,
    /// The end of the stream, once the writer's side has ended it: how, and the earliest time.
    pub(crate) end: Option<(Down, Time)>,
    last_due: Time,
    /// A flow is on the agenda for this moment.
    pub(crate) scheduled: Option<Time>,
    pub(crate) stalled_until: Time,
    /// The time between two pieces, if the stream drips.
    pub(crate) drip: Duration,
    /// Whether no reader exists any more and the writer is not told.
    void: bool,
    /// Whether a middlebox has forgotten the connection: nothing passes any more, and neither end
    /// is told.
    pub(crate) forgotten: bool,
    /// Since when a cut holds up the first data on the wire.
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

    /// Queues a frame in user space; [`Stream::next_frame`] says which one the kernel takes next.
    pub(crate) fn queue(&mut self, message: Rc<Message>) {
        self.waiting_weight += weight(&message);
        if message.is_bulk() {
            self.bulk.push_back(message)
        } else {
            self.control.push_back(message)
        }
    }

    /// The next frame that fits into the kernel's buffer, control before bulk; its weight moves to
    /// the wire.
    pub(crate) fn next_frame(&mut self, capacity: usize) -> Option<(usize, Rc<Message>)> {
        if self.wire_weight >= capacity {
            return None;
        }
        let message = self.control.pop_front().or_else(|| self.bulk.pop_front())?;
        let weight = weight(&message);
        self.waiting_weight -= weight;
        Some((weight, message))
    }

    /// Puts data on the wire; it becomes readable after `delay`, and never before earlier data.
    pub(crate) fn put(&mut self, now: Time, delay: Duration, weight: usize, parcel: Parcel) {
        self.last_due = (self.last_due + self.drip).max(now + delay);
        self.wire_weight += weight;
        self.wire.push_back((self.last_due, weight, parcel));
    }

    /// The next parcel that is readable by now.
    pub(crate) fn take_due(&mut self, now: Time) -> Option<Parcel> {
        if self.wire.front()?.0 > now {
            return None;
        }
        let (_, weight, parcel) = self.wire.pop_front()?;
        self.wire_weight -= weight;
        Some(parcel)
    }

    /// Whether the writer's backlog has crossed a mark: `Some(true)` if it became full,
    /// `Some(false)` if it drained.
    pub(crate) fn crossed(&mut self) -> Option<bool> {
        let full = if self.full {
            self.waiting_weight > LOW_MARK
        } else {
            self.waiting_weight > HIGH_MARK
        };
        (full != std::mem::replace(&mut self.full, full)).then_some(full)
    }

    /// The writer has closed: its queued frames still go out, then the end of the stream.
    pub(crate) fn close(&mut self, at: Time) {
        if self.end.is_none() {
            self.end = Some((Down::Closed, at));
        }
    }

    /// The writer's process is gone: frames that the kernel had not taken are lost, and of the rest
    /// only the first `kept` parcels still arrive. Returns the number of lost frames.
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

    /// Whether written frames are discarded.
    pub(crate) fn is_deaf_to_writes(&self) -> bool {
        self.void || self.end.is_some()
    }

    /// The dripping ends: all data on the wire becomes readable now.
    pub(crate) fn flood(&mut self, now: Time) {
        self.drip = Duration::ZERO;
        self.wire.iter_mut().for_each(|parcel| parcel.0 = parcel.0.min(now));
        self.last_due = self.last_due.min(now);
    }

    /// The writer vanished silently: frames that the kernel had not taken are lost. Returns the
    /// number of lost frames.
    pub(crate) fn fall_silent(&mut self) -> u64 {
        let lost = self.frames_waiting();
        self.control.clear();
        self.bulk.clear();
        self.waiting_weight = 0;
        self.void = true;
        lost
    }

    /// The reader vanished silently. Returns the number of lost frames.
    pub(crate) fn vanish(&mut self) -> u64 {
        let lost = self.fall_silent() + self.wire.len() as u64;
        self.wire.clear();
        self.wire_weight = 0;
        lost
    }

    /// The reader closed. Returns the number of lost frames.
    pub(crate) fn discard(&mut self) -> u64 {
        let lost = self.frames_waiting() + self.wire.len() as u64;
        self.control.clear();
        self.bulk.clear();
        self.wire.clear();
        self.wire_weight = 0;
        self.waiting_weight = 0;
        // The writer does not know yet and may write on; it learns of the end from the other
        // direction, unless this one is broken.
        if !self.void {
            self.end.get_or_insert((Down::Closed, Time::ZERO));
        }
        lost
    }

    /// The end of the stream, if everything before it has been read and its time has come.
    pub(crate) fn ended(&self, now: Time) -> Option<Down> {
        let (how, at) = self.end?;
        (self.wire.is_empty() && self.frames_waiting() == 0 && at <= now).then_some(how)
    }

    /// When data becomes readable next.
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

/// The next retransmission of data sent at `since` and not acknowledged: after `first`, then each
/// time after twice the previous pause.
pub(crate) fn sent_again_at(since: Time, first: Duration, now: Time) -> Time {
    let (mut at, mut pause) = (since + first, first);
    while at < now {
        pause = (pause * 2).min(PAUSE_MOST);
        at += pause;
    }
    at
}

/// The first pause before a retransmission, on a fast network.
pub(crate) const SENT_AGAIN: Duration = Duration::from_millis(200);
/// The longest pause between two retransmissions.
const PAUSE_MOST: Duration = Duration::from_secs(120);

/// The approximate size of a message in bytes; exact sizes do not matter here.
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

/// Above this, the writer is asked to stop sending bulk.
const HIGH_MARK: usize = 256 << 10;
/// Below this, it may continue.
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
