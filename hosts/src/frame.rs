//! An Ethernet frame, parsed as far as rules need it: sender, receiver, protocol, ports.
//!
//! A frame that cannot be parsed (cut short, another protocol, a later fragment) is
//! [`Kind::Other`], and no error: a switch forwards frames that it does not understand.

use std::net::Ipv4Addr;

/// A hardware address.
pub type Mac = [u8; 6];

/// A frame and its parsed head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its receiver.
    pub to: Mac,
    /// Its sender.
    pub from: Mac,
    /// Its content.
    pub kind: Kind,
}

/// The content of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An ARP request or reply.
    Arp {
        /// Whether it is a request.
        asks: bool,
        /// The address of the sender.
        sender: Ipv4Addr,
        /// The requested address.
        target: Ipv4Addr,
    },
    /// A TCP segment.
    Tcp {
        /// Its sockets.
        flow: Flow,
        /// Whether it opens a connection.
        opens: bool,
        /// Whether it resets a connection.
        resets: bool,
    },
    /// A UDP datagram.
    Udp {
        /// Its sockets.
        flow: Flow,
    },
    /// An ICMP message.
    Icmp,
    /// Another IPv4 packet.
    Packet,
    /// Anything else.
    Other,
}

/// Two sockets, the sender's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// Whether it is a TCP connection; else it is UDP.
    pub tcp: bool,
    /// The sender's address and port.
    pub from: (Ipv4Addr, u16),
    /// The receiver's address and port.
    pub to: (Ipv4Addr, u16),
}

impl Flow {
    /// The same sockets, seen from the other end.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { tcp: self.tcp, from: self.to, to: self.from }
    }
}

impl Frame {
    /// Parses a frame; none if it is too short.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (to, rest) = bytes.split_first_chunk::<6>()?;
        let (from, rest) = rest.split_first_chunk::<6>()?;
        let (kind, body) = rest.split_first_chunk::<2>()?;
        let kind = match u16::from_be_bytes(*kind) {
            ARP => arp(body),
            IPV4 => packet(body).unwrap_or(Kind::Packet),
            _ => Kind::Other,
        };
        Some(Self { to: *to, from: *from, kind })
    }

    /// Whether it is a broadcast or multicast.
    #[must_use]
    pub fn is_broadcast(&self) -> bool {
        self.to[0] & 1 == 1
    }

    /// The sockets at its ends, if it has any.
    #[must_use]
    pub fn flow(&self) -> Option<Flow> {
        match self.kind {
            Kind::Tcp { flow, .. } | Kind::Udp { flow } => Some(flow),
            Kind::Arp { .. } | Kind::Icmp | Kind::Packet | Kind::Other => None,
        }
    }
}

fn arp(body: &[u8]) -> Kind {
    let (Some(operation), Some(sender), Some(target)) =
        (word(body, 6), address(body, 14), address(body, 24))
    else {
        return Kind::Other;
    };
    Kind::Arp { asks: operation == 1, sender, target }
}

fn packet(body: &[u8]) -> Option<Kind> {
    let head = usize::from(body.first()? & 0x0F) * 4;
    let (from, to) = (address(body, 12)?, address(body, 16)?);
    let is_first = word(body, 6)? & 0x1FFF == 0;
    let ports = || Some((word(body, head)?, word(body, head + 2)?));
    match (*body.get(9)?, is_first) {
        (ICMP, _) => Some(Kind::Icmp),
        (TCP, true) => {
            let (source, destination) = ports()?;
            let flags = *body.get(head + 13)?;
            let flow = Flow { tcp: true, from: (from, source), to: (to, destination) };
            Some(Kind::Tcp { flow, opens: flags & (SYN | ACK) == SYN, resets: flags & RST != 0 })
        }
        (UDP, true) => {
            let (source, destination) = ports()?;
            Some(Kind::Udp {
                flow: Flow { tcp: false, from: (from, source), to: (to, destination) },
            })
        }
        _ => None,
    }
}

/// Two bytes as a number.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]))
}

/// Four bytes as a number.
pub(crate) fn long(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    long(bytes, at).map(Ipv4Addr::from)
}

/// The type of a frame that carries IPv4.
pub(crate) const IPV4: u16 = 0x0800;
/// The type of an ARP frame.
pub(crate) const ARP: u16 = 0x0806;
/// The length of the head of a frame.
pub(crate) const HEAD: usize = 14;
/// The number of TCP.
pub(crate) const TCP: u8 = 6;
/// The number of UDP.
pub(crate) const UDP: u8 = 17;
const ICMP: u8 = 1;
/// The flag of a segment that opens a connection.
pub(crate) const SYN: u8 = 0x02;
/// The flag of a segment that ends a connection at once.
pub(crate) const RST: u8 = 0x04;
/// The flag of a segment with an acknowledgement.
pub(crate) const ACK: u8 = 0x10;
/// The broadcast address.
pub const EVERYBODY: Mac = [0xFF; 6];

#[cfg(test)]
mod tests {
    use super::{EVERYBODY, Flow, Frame, Kind};
    use crate::segment::{Segment, tcp, udp};
    use std::net::Ipv4Addr;

    const ONE: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 77, 0, 1), 4_000);
    const TWO: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 77, 0, 2), 5_000);

    #[test]
    fn segments_and_datagrams_are_told_apart() {
        let macs = ([1; 6], [2; 6]);
        let opens = tcp(
            macs,
            &Segment {
                flow: Flow { tcp: true, from: ONE, to: TWO },
                sequence: 7,
                acknowledged: None,
                resets: false,
            },
        );
        let frame = Frame::read(&opens).unwrap();
        assert_eq!((frame.from, frame.to, frame.is_broadcast()), ([1; 6], [2; 6], false));
        assert_eq!(
            frame.kind,
            Kind::Tcp { flow: Flow { tcp: true, from: ONE, to: TWO }, opens: true, resets: false }
        );
        let shout = udp(([1; 6], EVERYBODY), Flow { tcp: false, from: ONE, to: TWO }, b"hello");
        let frame = Frame::read(&shout).unwrap();
        assert!(frame.is_broadcast());
        assert_eq!(frame.flow(), Some(Flow { tcp: false, from: ONE, to: TWO }));
    }

    #[test]
    fn nothing_that_is_cut_short_is_a_mistake() {
        let whole = udp(([1; 6], [2; 6]), Flow { tcp: false, from: ONE, to: TWO }, b"hello");
        for length in 0..whole.len() {
            let _ = Frame::read(&whole[..length]);
        }
        assert_eq!(Frame::read(&whole[..10]), None);
    }
}
