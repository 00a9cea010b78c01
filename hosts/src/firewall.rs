//! Firewalls: whether a frame passes depends on which host opened the flow, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::frame::{Flow, Frame, Kind};

/// A firewall in front of a host. ARP always passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Firewall {
    /// Only flows that the host has opened pass; existing connections stay.
    DefaultDeny {
        /// The existing connections.
        known: BTreeSet<Flow>,
    },
    /// Only datagrams.
    UdpOnly,
    /// Only frames to this port, and flows that the host has opened.
    PortOnly(u16),
    /// Every segment of TCP is answered with a reset.
    Reset,
    /// Frames of existing connections are dropped; new connections pass. Datagrams have no
    /// beginning, so each counts as new.
    Forgets {
        /// The existing connections.
        known: BTreeSet<Flow>,
    },
}

/// The fate of a frame at the firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It passes.
    Passes,
    /// It is dropped silently.
    Dropped,
    /// It is dropped, and the sender gets a reset.
    Refused,
}

impl Firewall {
    /// The fate of a frame that leaves the host, or comes to it.
    #[must_use]
    pub fn passage(&self, frame: &Frame, leaves: bool, flows: &Flows, now: Instant) -> Passage {
        let Some(flow) = frame.flow() else { return Passage::Passes };
        let is_known =
            |known: &BTreeSet<Flow>| known.contains(&flow) || known.contains(&flow.reversed());
        let answers = || flows.is_open(flow.reversed(), now);
        let passes = match self {
            Self::DefaultDeny { known } => leaves || is_known(known) || answers(),
            Self::PortOnly(port) => leaves || flow.to.1 == *port || answers(),
            Self::UdpOnly => !flow.tcp,
            Self::Reset if flow.tcp => return Passage::Refused,
            Self::Reset => true,
            Self::Forgets { known } => !is_known(known),
        };
        if passes { Passage::Passes } else { Passage::Dropped }
    }
}

/// The opened flows, each as its opener sends it.
#[derive(Debug, Default)]
pub struct Flows {
    open: BTreeMap<Flow, Instant>,
}

impl Flows {
    /// Records a frame that a host has sent. Each direction of datagrams is a flow of its own,
    /// because the firewall may have dropped the first datagram from outside; a dropped datagram
    /// opens no flow.
    pub fn see(&mut self, frame: &Frame, now: Instant) {
        let (flow, opens) = match frame.kind {
            Kind::Tcp { flow, opens, .. } => (flow, opens),
            Kind::Udp { flow } => (flow, true),
            _ => return,
        };
        let known = if !flow.tcp || self.open.contains_key(&flow) { flow } else { flow.reversed() };
        if let Some(last) = self.open.get_mut(&known) {
            *last = now;
        } else if opens {
            if self.open.len() >= FLOWS_MAX {
                self.open.retain(|_, last| now.duration_since(*last) < DATAGRAM_LIFE);
            }
            self.open.insert(flow, now);
        }
    }

    /// Whether the sender of this frame has opened the flow. A flow of datagrams is forgotten when
    /// nothing passes.
    #[must_use]
    pub fn is_open(&self, flow: Flow, now: Instant) -> bool {
        self.open
            .get(&flow)
            .is_some_and(|last| flow.tcp || now.duration_since(*last) < DATAGRAM_LIFE)
    }

    /// The connections with an end at an address.
    #[must_use]
    pub fn of(&self, address: Ipv4Addr) -> BTreeSet<Flow> {
        let touches = |flow: &Flow| address == flow.from.0 || address == flow.to.0;
        self.open.keys().filter(|flow| touches(flow) && flow.tcp).copied().collect()
    }
}

/// How long a firewall remembers a flow of datagrams.
const DATAGRAM_LIFE: Duration = Duration::from_secs(30);
/// How many flows are kept before old ones are searched for.
const FLOWS_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::{Firewall, Flows, Passage};
    use crate::frame::{Flow, Frame, Kind};
    use std::net::Ipv4Addr;
    use std::time::Instant;

    const IN: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 77, 0, 1), 4_000);
    const OUT: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 77, 0, 2), 9_999);

    fn segment(flow: Flow, opens: bool) -> Frame {
        Frame { to: [2; 6], from: [4; 6], kind: Kind::Tcp { flow, opens, resets: false } }
    }

    #[test]
    fn who_denies_by_default_is_still_answered() {
        let (now, mut flows) = (Instant::now(), Flows::default());
        let (own, foreign) = (
            Flow { tcp: true, from: IN, to: OUT },
            Flow { tcp: true, from: OUT, to: (IN.0, 4_001) },
        );
        let firewall = Firewall::DefaultDeny { known: flows.of(IN.0) };
        for frame in [segment(own, true), segment(foreign, true)] {
            flows.see(&frame, now);
        }
        let comes = |flow, opens| firewall.passage(&segment(flow, opens), false, &flows, now);
        assert_eq!(comes(own.reversed(), false), Passage::Passes);
        assert_eq!(comes(foreign, true), Passage::Dropped);
        let before = Firewall::DefaultDeny { known: flows.of(IN.0) };
        assert_eq!(
            before.passage(&segment(foreign, false), false, &flows, now),
            Passage::Passes,
            "it was there before"
        );
        assert_eq!(
            Firewall::PortOnly(4_001).passage(&segment(foreign, true), false, &flows, now),
            Passage::Passes
        );
    }

    #[test]
    fn a_question_that_was_dropped_opens_nothing() {
        let (now, mut flows) = (Instant::now(), Flows::default());
        let own = Flow { tcp: false, from: IN, to: OUT };
        let datagram = |flow| Frame { to: [2; 6], from: [4; 6], kind: Kind::Udp { flow } };
        let firewall = Firewall::DefaultDeny { known: flows.of(IN.0) };
        for (sent, passes) in [(own.reversed(), Passage::Dropped), (own, Passage::Passes)] {
            flows.see(&datagram(sent), now);
            assert_eq!(firewall.passage(&datagram(own.reversed()), false, &flows, now), passes);
        }
    }

    #[test]
    fn who_forgets_lets_new_flows_pass() {
        let (now, mut flows) = (Instant::now(), Flows::default());
        let old = Flow { tcp: true, from: IN, to: OUT };
        flows.see(&segment(old, true), now);
        let firewall = Firewall::Forgets { known: flows.of(IN.0) };
        let new = Flow { from: (IN.0, 4_002), ..old };
        let passage = |flow| firewall.passage(&segment(flow, false), true, &flows, now);
        assert_eq!(
            (passage(old), passage(old.reversed()), passage(new)),
            (Passage::Dropped, Passage::Dropped, Passage::Passes)
        );
        assert_eq!(
            Firewall::Reset.passage(&segment(new, true), false, &flows, now),
            Passage::Refused
        );
    }
}
