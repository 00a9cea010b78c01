//! Round trips of heartbeats, measured by a leader: from the moment at which a heartbeat was given
//! to the sockets to the moment at which its acknowledgement was read.
//!
//! The core judges liveness by the same pairs; it does not need their durations, so those are
//! measured here.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use protocol::id::{LinkId, Member};
use protocol::io::Output;
use protocol::message::{Heartbeat, HeartbeatAck, Message};
use protocol::time::Time;

/// The measurements.
#[derive(Debug, Default)]
pub struct Meter {
    /// Recent heartbeats, with the times at which they were sent; newest last.
    sent: VecDeque<(u64, Time)>,
    round_trips: BTreeMap<Member, (Duration, Time)>,
}

impl Meter {
    /// An output goes out now.
    pub fn note_sent(&mut self, now: Time, output: &Output) {
        let (Output::Send { message: Message::Heartbeat(Heartbeat { beat, .. }), .. }
        | Output::Fan { message: Message::Heartbeat(Heartbeat { beat, .. }), .. }) = output
        else {
            return;
        };
        if self.sent.back().is_some_and(|(last, _)| last == beat) {
            return;
        }
        if self.sent.len() >= BEATS_MOST {
            self.sent.pop_front();
        }
        self.sent.push_back((*beat, now));
    }

    /// Frames have arrived on a link.
    pub fn note_received<'a>(
        &mut self,
        now: Time,
        link: LinkId,
        messages: &[Message],
        peer: impl Fn(LinkId) -> Option<&'a Member>,
    ) {
        for message in messages {
            let Message::HeartbeatAck(HeartbeatAck { beat, .. }) = message else { continue };
            let Some((_, sent)) = self.sent.iter().rev().find(|(sent, _)| sent == beat) else {
                continue;
            };
            let Some(peer) = peer(link) else { continue };
            self.round_trips.insert(peer.clone(), (now.since(*sent), now));
            if self.round_trips.len() > PEERS_MOST {
                let oldest = self
                    .round_trips
                    .iter()
                    .min_by_key(|(_, (_, at))| *at)
                    .map(|(member, _)| member.clone());
                oldest.map(|oldest| self.round_trips.remove(&oldest));
            }
        }
    }

    /// The last round trip to a member; none if there is no measurement.
    #[must_use]
    pub fn round_trip(&self, member: &Member) -> Option<Duration> {
        self.round_trips.get(member).map(|(span, _)| *span)
    }

    /// Drops all measurements; this peer does not lead any more.
    pub fn clear(&mut self) {
        self.sent.clear();
        self.round_trips.clear();
    }
}

/// How many heartbeats may be in flight.
const BEATS_MOST: usize = 64;
/// How many members have a round trip; the size of the largest group.
const PEERS_MOST: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::{Heartbeat, HeartbeatAck, LinkId, Member, Message, Meter, Output, Time};
    use protocol::id::{Epoch, Incarnation, Oseq, PeerId, Seq};
    use std::time::Duration;

    #[test]
    fn a_round_trip_ends_with_the_answer_to_that_heartbeat() {
        let member = Member { id: PeerId::new("p2").unwrap(), inc: Incarnation(1) };
        let beat = |beat| {
            let (epoch, high, stable) = (Epoch::none(), Seq::ZERO, Seq::ZERO);
            Message::Heartbeat(Heartbeat {
                epoch,
                beat,
                high,
                stable,
                all_have: None,
                echo: None,
                last_oseq: Oseq::ZERO,
            })
        };
        let ack = |beat| {
            Message::HeartbeatAck(HeartbeatAck {
                epoch: Epoch::none(),
                beat,
                contiguous: Seq::ZERO,
                lag: 0,
            })
        };
        let at = Time::from_micros;
        let mut meter = Meter::default();
        let link = LinkId::accepted(1);
        meter.note_sent(at(1_000), &Output::Fan { links: vec![link], message: beat(7) });
        meter.note_sent(at(1_900), &Output::Fan { links: vec![link], message: beat(8) });
        meter.note_received(at(2_000), link, &[ack(9), ack(7)], |_| Some(&member));
        assert_eq!(meter.round_trip(&member), Some(Duration::from_micros(1_000)));
        meter.note_received(at(2_100), link, &[ack(8)], |_| Some(&member));
        assert_eq!(meter.round_trip(&member), Some(Duration::from_micros(200)));
        meter.clear();
        assert_eq!(meter.round_trip(&member), None, "unmeasured is not zero");
    }
}
