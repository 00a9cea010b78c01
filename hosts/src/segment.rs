//! Frames that the switch itself creates: a reset for each end of a connection that a firewall
//! refuses, and ARP replies.

use std::net::Ipv4Addr;

use crate::frame::{ACK, ARP, Flow, HEAD, IPV4, Mac, RST, SYN, TCP, UDP, long, word};

/// A TCP segment without a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Its sockets.
    pub(crate) flow: Flow,
    /// Its sequence number.
    pub(crate) sequence: u32,
    /// The acknowledged number, if any.
    pub(crate) acknowledged: Option<u32>,
    /// Whether it resets the connection; otherwise it opens one.
    pub(crate) resets: bool,
}

/// The frame of a segment, from one hardware address to another.
pub(crate) fn tcp(macs: (Mac, Mac), segment: &Segment) -> Vec<u8> {
    let mut body = Vec::with_capacity(20);
    body.extend(segment.flow.from.1.to_be_bytes());
    body.extend(segment.flow.to.1.to_be_bytes());
    body.extend(segment.sequence.to_be_bytes());
    body.extend(segment.acknowledged.unwrap_or(0).to_be_bytes());
    let flags = if segment.resets { RST } else { SYN }
        | if segment.acknowledged.is_some() { ACK } else { 0 };
    body.extend([5 << 4, flags, 0, 0, 0, 0, 0, 0]);
    packet(macs, TCP, segment.flow, body)
}

/// The frame of a datagram.
#[cfg(test)]
pub(crate) fn udp(macs: (Mac, Mac), flow: Flow, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 8).expect("a test sends little");
    let mut body = Vec::new();
    body.extend(flow.from.1.to_be_bytes());
    body.extend(flow.to.1.to_be_bytes());
    body.extend(length.to_be_bytes());
    body.extend([0, 0]);
    body.extend(payload);
    packet(macs, UDP, flow, body)
}

/// A reset of this segment's connection, for its sender; none if the segment is a reset itself, or
/// the frame holds no segment.
pub(crate) fn refusal(frame: &[u8], flow: Flow) -> Option<Vec<u8>> {
    let head = HEAD + usize::from(frame.get(HEAD)? & 0x0F) * 4;
    let flags = *frame.get(head + 13)?;
    if flags & RST != 0 {
        return None;
    }
    let (sequence, acknowledged) = (long(frame, head + 4)?, long(frame, head + 8)?);
    let segment = if flags & ACK == 0 {
        let next = sequence.wrapping_add(u32::from(flags & SYN != 0));
        Segment { flow: flow.reversed(), sequence: 0, acknowledged: Some(next), resets: true }
    } else {
        Segment { flow: flow.reversed(), sequence: acknowledged, acknowledged: None, resets: true }
    };
    let (to, from) = (mac(frame, 0)?, mac(frame, 6)?);
    Some(tcp((to, from), &segment))
}

/// The reply of `own` to an ARP request for `target`; none if the frame is no request.
pub(crate) fn answer(question: &[u8], own: Mac, target: Ipv4Addr) -> Option<Vec<u8>> {
    let asker = mac(question, 6)?;
    let sender = question.get(HEAD + 14..HEAD + 18)?;
    let mut frame = Vec::with_capacity(42);
    frame.extend(asker);
    frame.extend(own);
    frame.extend(ARP.to_be_bytes());
    frame.extend([0, 1, 8, 0, 6, 4, 0, 2]);
    frame.extend(own);
    frame.extend(target.octets());
    frame.extend(asker);
    frame.extend(sender);
    Some(frame)
}

/// Replaces the addresses and ports of a TCP or UDP packet, and updates its checksums.
pub(crate) fn readdress(frame: &mut [u8], macs: (Mac, Mac), flow: Flow) -> Option<()> {
    let head = HEAD + usize::from(frame.get(HEAD)? & 0x0F) * 4;
    frame.get_mut(0..6)?.copy_from_slice(&macs.1);
    frame.get_mut(6..12)?.copy_from_slice(&macs.0);
    frame.get_mut(HEAD + 12..HEAD + 16)?.copy_from_slice(&flow.from.0.octets());
    frame.get_mut(HEAD + 16..HEAD + 20)?.copy_from_slice(&flow.to.0.octets());
    frame.get_mut(head..head + 2)?.copy_from_slice(&flow.from.1.to_be_bytes());
    frame.get_mut(head + 2..head + 4)?.copy_from_slice(&flow.to.1.to_be_bytes());
    sum_up(frame, head)
}

fn packet((from, to): (Mac, Mac), protocol: u8, flow: Flow, body: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(20 + body.len()).expect("what the switch makes is short");
    let mut frame = Vec::with_capacity(HEAD + usize::from(length));
    frame.extend(to);
    frame.extend(from);
    frame.extend(IPV4.to_be_bytes());
    frame.extend([0x45, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    frame.extend(flow.from.0.octets());
    frame.extend(flow.to.0.octets());
    frame.extend(body);
    sum_up(&mut frame, HEAD + 20).expect("it is a whole packet");
    frame
}

/// Fills in the checksums of a TCP or UDP packet whose own head begins at `head`.
fn sum_up(frame: &mut [u8], head: usize) -> Option<()> {
    frame.get_mut(HEAD + 10..HEAD + 12)?.fill(0);
    let total = checksum(frame.get(HEAD..head)?, 0);
    frame.get_mut(HEAD + 10..HEAD + 12)?.copy_from_slice(&total.to_be_bytes());
    let protocol = *frame.get(HEAD + 9)?;
    let end = HEAD + usize::from(word(frame, HEAD + 2)?);
    let place = head + if protocol == TCP { 16 } else { 6 };
    frame.get_mut(place..place + 2)?.fill(0);
    let body = frame.get(head..end)?;
    let length = u32::try_from(body.len()).ok()?;
    let pseudo = sum(frame.get(HEAD + 12..HEAD + 20)?) + u32::from(protocol) + length;
    let total = match checksum(body, pseudo) {
        // In UDP, 0 means that there is no checksum.
        0 if protocol == UDP => 0xFFFF,
        total => total,
    };
    frame.get_mut(place..place + 2)?.copy_from_slice(&total.to_be_bytes());
    Some(())
}

fn checksum(bytes: &[u8], start: u32) -> u16 {
    let mut total = start + sum(bytes);
    while total > 0xFFFF {
        total = (total & 0xFFFF) + (total >> 16);
    }
    !u16::try_from(total).expect("it was folded into two bytes")
}

fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|two| u32::from(two[0]) << 8 | u32::from(two.get(1).copied().unwrap_or(0)))
        .sum()
}

/// The hardware address at an offset.
pub(crate) fn mac(bytes: &[u8], at: usize) -> Option<Mac> {
    bytes.get(at..at + 6)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::{Segment, checksum, readdress, refusal, sum, tcp, udp};
    use crate::frame::{Flow, Frame, HEAD, Kind, TCP};
    use std::net::Ipv4Addr;

    const FLOW: Flow = Flow {
        tcp: true,
        from: (Ipv4Addr::new(10, 0, 0, 1), 1_000),
        to: (Ipv4Addr::new(10, 0, 0, 2), 2_000),
    };

    /// A correct checksum, summed up with the data, yields zero.
    #[track_caller]
    fn check_sums(frame: &[u8], protocol: u8) {
        assert_eq!(checksum(&frame[HEAD..HEAD + 20], 0), 0);
        let body = &frame[HEAD + 20..];
        let pseudo = sum(&frame[HEAD + 12..HEAD + 20])
            + u32::from(protocol)
            + u32::try_from(body.len()).unwrap();
        assert_eq!(checksum(body, pseudo), 0);
    }

    #[test]
    fn a_refusal_goes_back_with_the_right_numbers() {
        let opens = tcp(
            ([1; 6], [2; 6]),
            &Segment { flow: FLOW, sequence: 41, acknowledged: None, resets: false },
        );
        let refused = refusal(&opens, FLOW).unwrap();
        check_sums(&refused, TCP);
        let frame = Frame::read(&refused).unwrap();
        assert_eq!((frame.from, frame.to), ([2; 6], [1; 6]));
        assert_eq!(frame.kind, Kind::Tcp { flow: FLOW.reversed(), opens: false, resets: true });
        assert_eq!(
            &refused[HEAD + 28..HEAD + 32],
            &42_u32.to_be_bytes(),
            "it acknowledges the opening"
        );
        assert_eq!(refusal(&refused, FLOW.reversed()), None, "nobody answers a reset");
    }

    #[test]
    fn another_address_gets_another_sum() {
        let flow = Flow { tcp: false, ..FLOW };
        let mut frame = udp(([1; 6], [2; 6]), flow, b"odd");
        let outside = Flow { from: (Ipv4Addr::new(10, 77, 0, 9), 7), ..flow };
        readdress(&mut frame, ([3; 6], [4; 6]), outside).unwrap();
        check_sums(&frame, super::UDP);
        let read = Frame::read(&frame).unwrap();
        assert_eq!((read.flow(), read.from, read.to), (Some(outside), [3; 6], [4; 6]));
    }
}
