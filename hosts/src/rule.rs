//! What is wrong between hosts: which directed pairs, which of their frames, and what becomes of
//! these.

use std::collections::BTreeSet;
use std::time::Duration;

use promises::fault::Weather;

use crate::firewall::Firewall;
use crate::frame::{Frame, Kind};

/// Which frames a rule is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Only this protocol; any if none is named.
    pub protocol: Option<Protocol>,
    /// Only frames to everybody, or only frames to one; any if nothing is said.
    pub cast: Option<Cast>,
}

/// A protocol of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Questions for hardware addresses, and the answers.
    Arp,
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp,
    /// Messages about the network.
    Icmp,
}

/// To how many a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// To everybody on the network.
    Broadcast,
    /// To one host.
    Unicast,
}

impl Traffic {
    /// Whether a frame is meant.
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
        // Questions for hardware addresses are broadcast, and unicast would die with them: they
        // count with what they serve.
        let cast = match self.cast {
            None => true,
            Some(Cast::Broadcast) => frame.is_broadcast() && !(is_arp && self.protocol.is_none()),
            Some(Cast::Unicast) => !frame.is_broadcast() || is_arp,
        };
        protocol && cast
    }

    /// Whether connections are concerned.
    #[must_use]
    pub fn has_streams(self) -> bool {
        matches!(self.protocol, None | Some(Protocol::Tcp)) && self.cast != Some(Cast::Broadcast)
    }

    /// Whether datagrams are concerned.
    #[must_use]
    pub fn has_datagrams(self) -> bool {
        matches!(self.protocol, None | Some(Protocol::Udp))
    }
}

/// One thing that is wrong, under a name.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name, by which it is taken away again.
    pub name: String,
    /// What it does.
    pub effect: Effect,
}

/// What a rule does.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Nothing passes from the first of each pair to the second.
    Cut {
        /// Which pairs, by number of host.
        pairs: BTreeSet<(usize, usize)>,
        /// Which frames.
        traffic: Traffic,
    },
    /// What passes from the first of each pair to the second passes badly.
    Bad {
        /// Which pairs, by number of host.
        pairs: BTreeSet<(usize, usize)>,
        /// Which frames.
        traffic: Traffic,
        /// How badly.
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

/// How bad a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Of a thousand frames, how many are lost.
    pub loss: u64,
    /// Of a thousand frames, how many come twice.
    pub duplicate: u64,
    /// Of a thousand frames, how many are overtaken by those behind them.
    pub reorder: u64,
    /// How much longer each takes.
    pub delay: Duration,
    /// How much longer than that each takes at most; the order stays.
    pub jitter: Duration,
    /// How many bytes pass in a second; 0 is any number.
    pub rate: u64,
    /// The longest packet that passes, in bytes; 0 is any length.
    pub mtu: u64,
}

impl Line {
    /// The same in the words of faults, for these frames.
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
