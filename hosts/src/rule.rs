//! Faults between hosts: the directed pairs, the affected frames, and the effect.

use std::collections::BTreeSet;
use std::time::Duration;

use promises::fault::Weather;

use crate::firewall::Firewall;
use crate::frame::{Frame, Kind};

/// The frames that a rule affects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Only this protocol; any if none.
    pub protocol: Option<Protocol>,
    /// Only broadcasts, or only unicast frames; both if none.
    pub cast: Option<Cast>,
}

/// A protocol of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// ARP requests and replies.
    Arp,
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp,
    /// ICMP messages.
    Icmp,
}

/// The number of receivers of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// To everybody on the network.
    Broadcast,
    /// To one host.
    Unicast,
}

impl Traffic {
    /// Whether a frame is affected.
    #[must_use]
    pub fn means(self, frame: &Frame) -> bool {
        let is_arp = matches!(frame.kind, Kind::Arp { .. });
        let protocol = match self.protocol {
            None => true,
            Some(Protocol::Arp) => is_arp,
            Some(Protocol::Udp) => matches!(frame.kind, Kind::Udp { .. }),
            Some(Protocol::Tcp) => matches!(frame.kind, Kind::Tcp { .. }),
            Some(Protocol::Icmp) => frame.kind == Kind::Icmp,
        };
        // ARP requests are broadcasts, and unicast would fail without them: ARP counts as the kind
        // of traffic that it serves.
        let cast = match self.cast {
            None => true,
            Some(Cast::Broadcast) => frame.is_broadcast() && !(is_arp && self.protocol.is_none()),
            Some(Cast::Unicast) => !frame.is_broadcast() || is_arp,
        };
        protocol && cast
    }

    /// Whether connections are affected.
    #[must_use]
    pub fn has_streams(self) -> bool {
        matches!(self.protocol, None | Some(Protocol::Tcp)) && self.cast != Some(Cast::Broadcast)
    }

    /// Whether datagrams are affected.
    #[must_use]
    pub fn has_datagrams(self) -> bool {
        matches!(self.protocol, None | Some(Protocol::Udp))
    }
}

/// A named fault.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name, by which it is removed again.
    pub name: String,
    /// Its effect.
    pub effect: Effect,
}

/// The effect of a rule.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Nothing passes from the first of each pair to the second.
    Cut {
        /// The pairs, by host number.
        pairs: BTreeSet<(usize, usize)>,
        /// The affected frames.
        traffic: Traffic,
    },
    /// Frames from the first of each pair to the second pass a bad line.
    Bad {
        /// The pairs, by host number.
        pairs: BTreeSet<(usize, usize)>,
        /// The affected frames.
        traffic: Traffic,
        /// The quality of the line.
        line: Line,
    },
    /// A firewall in front of a host.
    Wall {
        /// The host.
        host: usize,
        /// What it lets pass.
        firewall: Firewall,
    },
}

/// The quality of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Of a thousand frames, how many are lost.
    pub loss: u64,
    /// Of a thousand frames, how many come twice.
    pub duplicate: u64,
    /// Of a thousand frames, how many are overtaken by those behind them.
    pub reorder: u64,
    /// The additional delay of each frame.
    pub delay: Duration,
    /// The greatest further delay of each frame; the order stays.
    pub jitter: Duration,
    /// Bytes per second; 0 is unlimited.
    pub rate: u64,
    /// The longest packet that passes, in bytes; 0 is unlimited.
    pub mtu: u64,
}

impl Line {
    /// The same as the weather of a fault, for these frames.
    #[must_use]
    pub fn weather(&self, traffic: Traffic) -> Weather {
        let streams = traffic.has_streams();
        let of_streams = |value: u64| if streams { value } else { 0 };
        let delay = if streams || traffic.has_datagrams() {
            self.delay + self.jitter
        } else {
            Duration::ZERO
        };
        Weather {
            loss: if traffic.has_datagrams() { self.loss } else { 0 },
            duplicate: self.duplicate,
            delay_us: u64::try_from(delay.as_micros()).unwrap_or(u64::MAX),
            segments: of_streams(self.loss),
            reorder: self.reorder,
            rate: of_streams(self.rate),
            mtu: of_streams(self.mtu),
            ..Weather::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cast, Protocol, Traffic};
    use crate::frame::{EVERYBODY, Flow, Frame, Kind};
    use std::net::Ipv4Addr;

    fn frame(to: [u8; 6], kind: Kind) -> Frame {
        Frame { to, from: [2; 6], kind }
    }

    #[test]
    fn broadcast_and_unicast_are_told_apart_and_questions_for_addresses_serve_unicast() {
        let nobody = (Ipv4Addr::UNSPECIFIED, 0);
        let shout =
            frame(EVERYBODY, Kind::Udp { flow: Flow { tcp: false, from: nobody, to: nobody } });
        let question =
            frame(EVERYBODY, Kind::Arp { asks: true, sender: nobody.0, target: nobody.0 });
        let segment = frame(
            [4; 6],
            Kind::Tcp {
                flow: Flow { tcp: true, from: nobody, to: nobody },
                opens: false,
                resets: false,
            },
        );
        let broadcast = Traffic { cast: Some(Cast::Broadcast), protocol: None };
        let unicast = Traffic { cast: Some(Cast::Unicast), protocol: None };
        let udp = Traffic { cast: None, protocol: Some(Protocol::Udp) };
        assert!(
            broadcast.means(&shout) && !broadcast.means(&question) && !broadcast.means(&segment)
        );
        assert!(!unicast.means(&shout) && unicast.means(&question) && unicast.means(&segment));
        assert!(udp.means(&shout) && !udp.means(&segment));
        assert!(Traffic::default().means(&shout) && Traffic::default().means(&question));
    }
}
