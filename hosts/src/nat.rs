//! A router with network address translation, in front of one host: frames of the host leave with
//! the router's address, and frames to the router reach the host only if they are answers, or if
//! they go to a published port.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::frame::{EVERYBODY, Flow, Frame, Kind, Mac};
use crate::segment::{answer, readdress};

/// A router with network address translation.
#[derive(Debug)]
pub struct Nat {
    /// The address that others see.
    pub outside: Ipv4Addr,
    /// The router's own hardware address, on both sides.
    pub mac: Mac,
    /// The hardware address of the host behind it.
    pub host: Mac,
    /// The router's address inside.
    pub gateway: Ipv4Addr,
    /// The host's address inside.
    pub inside: Ipv4Addr,
    /// Ports outside that lead to ports of the host.
    pub published: BTreeMap<u16, u16>,
    /// The hardware addresses of those outside.
    pub neighbours: BTreeMap<Ipv4Addr, Mac>,
    /// Flows that the host has opened, as they look outside.
    pub open: BTreeMap<Flow, u16>,
}

impl Nat {
    /// The answer to the host's ARP request for the router.
    #[must_use]
    pub fn answer_inside(&self, frame: &Frame, bytes: &[u8]) -> Option<Vec<u8>> {
        let Kind::Arp { asks: true, target, .. } = frame.kind else { return None };
        if target == self.gateway { answer(bytes, self.mac, target) } else { None }
    }

    /// A frame of the host as it leaves the router; none for broadcasts, and for frames to unknown
    /// hosts.
    pub fn outward(&mut self, frame: &Frame, bytes: &[u8]) -> Option<Vec<u8>> {
        let flow = frame.flow().filter(|_| frame.to == self.mac)?;
        let to = *self.neighbours.get(&flow.to.0)?;
        // The host's own port number is visible outside, unless a published port leads to it.
        let port = self
            .published
            .iter()
            .find(|(_, inside)| **inside == flow.from.1)
            .map_or(flow.from.1, |(outside, _)| *outside);
        let outside = Flow { from: (self.outside, port), ..flow };
        self.open.insert(outside, flow.from.1);
        let mut bytes = bytes.to_vec();
        readdress(&mut bytes, (self.mac, to), outside)?;
        Some(bytes)
    }

    /// A frame to the router, as the host gets it.
    pub fn inward(&mut self, frame: &Frame, bytes: &[u8]) -> Option<Vec<u8>> {
        let flow = frame.flow().filter(|flow| {
            frame.to == self.mac && frame.to != EVERYBODY && flow.to.0 == self.outside
        })?;
        let port =
            self.open.get(&flow.reversed()).or_else(|| self.published.get(&flow.to.1)).copied()?;
        let mut bytes = bytes.to_vec();
        readdress(&mut bytes, (self.mac, self.host), Flow { to: (self.inside, port), ..flow })?;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::Nat;
    use crate::frame::{Flow, Frame};
    use crate::segment::udp;
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    #[test]
    fn only_answers_and_published_ports_come_in() {
        let (inside, outside, other) = (
            Ipv4Addr::new(192, 168, 77, 2),
            Ipv4Addr::new(10, 77, 0, 1),
            Ipv4Addr::new(10, 77, 0, 2),
        );
        let (router, host, neighbour) = ([2; 6], [4; 6], [6; 6]);
        let mut nat = Nat {
            outside,
            mac: router,
            host,
            gateway: Ipv4Addr::new(192, 168, 77, 1),
            inside,
            published: BTreeMap::from([(7_000, 5_000)]),
            neighbours: BTreeMap::from([(other, neighbour)]),
            open: BTreeMap::new(),
        };
        let flow = |from, to| Flow { tcp: false, from, to };
        let comes = |nat: &mut Nat, from, port| {
            let bytes = udp((neighbour, router), flow(from, (outside, port)), b"x");
            nat.inward(&Frame::read(&bytes).unwrap(), &bytes)
                .map(|bytes| Frame::read(&bytes).unwrap().flow().unwrap().to)
        };
        assert_eq!(comes(&mut nat, (other, 9), 4_000), None);
        assert_eq!(comes(&mut nat, (other, 9), 7_000), Some((inside, 5_000)));
        let sent = udp((host, router), flow((inside, 4_000), (other, 9)), b"x");
        let left = nat.outward(&Frame::read(&sent).unwrap(), &sent).unwrap();
        assert_eq!(Frame::read(&left).unwrap().flow(), Some(flow((outside, 4_000), (other, 9))));
        assert_eq!(comes(&mut nat, (other, 9), 4_000), Some((inside, 4_000)));
    }
}
