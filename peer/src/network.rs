//! The networks and addresses of this peer: the networks on which it meets others, and the address
//! that it tells them.
//!
//! There are three cases. With `--address` the peer uses that address, as soon as an interface has
//! it. With `--advertise` others are told an address that this machine does not have. Otherwise the
//! peer listens on every address, meets others on every network with broadcast, and uses loopback
//! alone only while there is no such network.
//!
//! This module only computes; `scout` observes, and `discovery` and `links` get the results.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::address::{Interface, LOOPBACK_BROADCAST, Surroundings};
use crate::voice::Voice;

/// A network on which peers meet by broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The interface.
    pub name: String,
    /// Its number in the kernel; with 0 the kernel chooses.
    pub index: u32,
    /// The own address there.
    pub address: Ipv4Addr,
    /// The broadcast address.
    pub broadcast: Ipv4Addr,
}

impl Place {
    /// All peers of one machine.
    #[must_use]
    pub fn loopback(address: Ipv4Addr) -> Self {
        Self { name: "lo".to_owned(), index: 0, address, broadcast: LOOPBACK_BROADCAST }
    }

    fn of(interface: &Interface) -> Option<Self> {
        let broadcast = interface.broadcast.filter(|_| interface.running)?;
        Some(Self {
            name: interface.name.clone(),
            index: interface.index,
            address: interface.address,
            broadcast,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.address)
    }
}

/// The network state of a peer.
#[derive(Debug)]
pub struct Network {
    /// The value of `--address`.
    asked: Option<Ipv4Addr>,
    /// The advertised address, if there is one.
    advertised: Option<SocketAddrV4>,
    birth: u64,
    port: u16,
    around: Surroundings,
    /// The own address that others are told first.
    first: Ipv4Addr,
    /// The last reported situation.
    told: Option<Situation>,
}

/// A situation that is reported when it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Situation {
    /// Peers meet on these networks.
    Meets(Vec<Place>),
    /// No address is configured, and no network has broadcast.
    Alone {
        /// A description of the interfaces.
        interfaces: String,
    },
    /// No interface has the configured address.
    Awaits {
        /// The address.
        address: Ipv4Addr,
        /// A description of the interfaces.
        interfaces: String,
    },
    /// The interface of the configured address is down, or has no carrier.
    Silent {
        /// The address.
        address: Ipv4Addr,
        /// The interface.
        name: String,
    },
    /// The network of the configured address has no broadcast address.
    NoBroadcast {
        /// The address.
        address: Ipv4Addr,
    },
}

impl Situation {
    /// Whether peers can be met.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        matches!(self, Self::Meets(_))
    }
}

impl fmt::Display for Situation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meets(places) => {
                let places: Vec<String> = places.iter().map(ToString::to_string).collect();
                write!(f, "Looks for others on {}.", places.join(", "))
            }
            Self::Alone { interfaces } => write!(
                f,
                "No network of this machine carries broadcast ({interfaces}). Peers of this \
                 machine can find this one, others only \
                 by --seeds. It goes on to a network as soon as there is one: check cable, Wi-Fi \
                 and DHCP."
            ),
            Self::Awaits { address, interfaces } => write!(
                f,
                "No interface of this machine has the address {address} of --address \
                 ({interfaces}). This peer waits for the \
                 address; until then nobody can reach it. If it is mistyped, start the peer again \
                 with another --address or none."
            ),
            Self::Silent { address, name } => write!(
                f,
                "Interface {name} ({address}) is down or has no carrier. Nobody can be reached \
                 until that changes: check the cable \
                 or the Wi-Fi."
            ),
            Self::NoBroadcast { address } => {
                write!(
                    f,
                    "The network of {address} has no broadcast address; other peers are found by \
                     --seeds only."
                )
            }
        }
    }
}

impl Network {
    /// The state of a peer with or without a configured address.
    #[must_use]
    pub fn new(
        asked: Option<Ipv4Addr>,
        advertised: Option<SocketAddrV4>,
        around: Surroundings,
    ) -> Self {
        let first = asked.unwrap_or_else(|| around.first_address(None));
        Self { asked, advertised, birth: 0, port: 0, around, first, told: None }
    }

    /// Sets the port and the birth of the listening process.
    pub fn listen(&mut self, port: u16, birth: u64) {
        self.port = port;
        self.birth = birth;
    }

    /// The address to listen on.
    #[must_use]
    pub fn listens_on(&self) -> Ipv4Addr {
        self.asked.unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// Whether the state can change.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.asked.is_none_or(|address| !address.is_loopback())
    }

    /// The networks at the last look.
    #[must_use]
    pub fn surroundings(&self) -> &Surroundings {
        &self.around
    }

    /// The address that others are told to dial.
    #[must_use]
    pub fn contact(&self) -> SocketAddrV4 {
        self.advertised.unwrap_or(SocketAddrV4::new(self.first, self.port))
    }

    /// The surroundings have changed.
    pub fn look_around(&mut self, around: Surroundings) {
        self.around = around;
        if self.asked.is_none() {
            self.first = self.around.first_address(Some(self.first));
        }
    }

    /// The advertised name has this address now.
    pub fn advertise(&mut self, address: SocketAddrV4) {
        self.advertised = Some(address);
    }

    /// `links` counts the connections to other machines by their address here. The group is on
    /// another network than that of the first address if there are connections there, and none
    /// here.
    pub fn follow(&mut self, links: &BTreeMap<Ipv4Addr, usize>) {
        if self.asked.is_some() || links.contains_key(&self.first) {
            return;
        }
        let known = links.iter().filter(|(address, _)| {
            self.around.with(**address).is_some_and(|interface| interface.running)
        });
        if let Some((address, _)) = known.max_by_key(|(_, count)| **count) {
            self.first = *address;
        }
    }

    /// The networks on which peers meet by broadcast.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        let Some(asked) = self.asked else {
            let mut places: Vec<Place> =
                self.around.meeting().into_iter().filter_map(Place::of).collect();
            if places.is_empty() {
                // The address for dials on this machine; a loopback address if there is no other.
                places.push(Place::loopback(self.first));
            }
            // The network of the first address comes first.
            places.sort_by_key(|place| place.address != self.first);
            places.truncate(PLACES_MAX);
            return places;
        };
        if asked.is_loopback() {
            return vec![Place::loopback(asked)];
        }
        self.around.with(asked).and_then(Place::of).into_iter().collect()
    }

    /// Whether a connection with that local address is dropped: the address is gone from this
    /// machine, or its interface has no carrier and another one has. A single network that is
    /// silent for a while may come back, and its connections with it.
    #[must_use]
    pub fn has_lost(&self, local: Ipv4Addr) -> bool {
        let silent = |interface: &Interface| {
            !interface.running && self.asked.is_none() && !self.around.meeting().is_empty()
        };
        !local.is_loopback() && self.around.with(local).is_none_or(silent)
    }

    /// The address told to each receiver.
    #[must_use]
    pub fn voice(&self) -> Voice {
        if self.asked.is_some() || self.advertised.is_some() {
            return Voice::of_one_address();
        }
        Voice::new(self.birth, self.port, self.around.interfaces.clone())
    }

    /// The present situation.
    #[must_use]
    pub fn situation(&self) -> Situation {
        let places = self.places();
        match self.asked {
            None if places.iter().all(|place| place.broadcast == LOOPBACK_BROADCAST) => {
                Situation::Alone { interfaces: self.interfaces() }
            }
            Some(address) if places.is_empty() => match self.around.with(address) {
                None => Situation::Awaits { address, interfaces: self.interfaces() },
                Some(interface) if !interface.running => {
                    Situation::Silent { address, name: interface.name.clone() }
                }
                Some(_) => Situation::NoBroadcast { address },
            },
            None | Some(_) => Situation::Meets(places),
        }
    }

    /// The present situation, if it has not been reported yet.
    pub fn news(&mut self) -> Option<Situation> {
        if !self.changes() {
            return None;
        }
        let situation = self.situation();
        let news = self.told.as_ref() != Some(&situation);
        news.then(|| {
            self.told = Some(situation.clone());
            situation
        })
    }

    fn interfaces(&self) -> String {
        let words = |interface: &Interface| {
            let Interface { name, address, running, .. } = interface;
            format!("{name} has {address}{}", if *running { "" } else { " and no carrier" })
        };
        let all: Vec<String> =
            self.around.interfaces.iter().take(INTERFACES_TOLD).map(words).collect();
        if all.is_empty() { "no interface has an IPv4 address".to_owned() } else { all.join(", ") }
    }
}

/// The greatest number of networks on which it meets others.
pub const PLACES_MAX: usize = 16;
const INTERFACES_TOLD: usize = 8;

#[cfg(test)]
mod tests {
    use super::{BTreeMap, Interface, Ipv4Addr, Network, Place, Situation, Surroundings};

    const ETH: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);
    const WLAN: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 7);

    fn interface(name: &str, address: Ipv4Addr, running: bool) -> Interface {
        let broadcast = Some(Ipv4Addr::from_bits(address.to_bits() | 0xFF));
        Interface {
            name: name.to_owned(),
            index: 2,
            address,
            prefix: 24,
            broadcast,
            running,
            bridge: false,
        }
    }

    fn around(interfaces: &[Interface]) -> Surroundings {
        Surroundings { interfaces: interfaces.to_vec(), default: None }
    }

    fn broadcasts(network: &Network) -> Vec<Ipv4Addr> {
        network.places().iter().map(|place: &Place| place.broadcast).collect()
    }

    #[test]
    fn without_a_flag_it_follows_its_machine() {
        let mut network = Network::new(None, None, around(&[]));
        network.listen(5_001, 1);
        assert_eq!(network.contact().to_string(), "127.0.0.1:5001");
        assert!(
            matches!(network.news(), Some(Situation::Alone { .. })) && network.news().is_none(),
            "told once"
        );
        assert_eq!(broadcasts(&network), [Ipv4Addr::new(127, 255, 255, 255)]);
        network.look_around(around(&[interface("eth0", ETH, true)]));
        assert_eq!(
            (network.contact().to_string().as_str(), network.has_lost(ETH)),
            ("10.0.0.7:5001", false)
        );
        assert_eq!(network.news().unwrap().to_string(), "Looks for others on eth0 (10.0.0.7).");
        // The carrier is lost: the address stays, since the carrier may come back.
        network.look_around(around(&[interface("eth0", ETH, false)]));
        assert_eq!(network.contact().to_string(), "10.0.0.7:5001");
        assert!(network.news().unwrap().to_string().contains("eth0 has 10.0.0.7 and no carrier"));
        assert!(!network.has_lost(ETH), "nor are its connections given up");
        network
            .look_around(around(&[interface("eth0", ETH, false), interface("wlan0", WLAN, true)]));
        assert!(network.has_lost(ETH), "but for another network they are");
        network.look_around(around(&[interface("wlan0", WLAN, true)]));
        assert!(network.has_lost(ETH) && network.contact().to_string() == "192.168.1.7:5001");
    }

    #[test]
    fn it_is_met_on_every_network_and_follows_the_group() {
        let mut network = Network::new(
            None,
            None,
            around(&[interface("eth0", ETH, true), interface("wlan0", WLAN, true)]),
        );
        assert_eq!(network.contact().ip(), &ETH);
        assert_eq!(
            network.places().iter().map(|place| place.address).collect::<Vec<_>>(),
            [ETH, WLAN]
        );
        network.follow(&BTreeMap::from([(WLAN, 1), (ETH, 1)]));
        assert_eq!(network.contact().ip(), &ETH, "there is somebody here, too");
        network.follow(&BTreeMap::from([(WLAN, 1)]));
        assert_eq!(network.contact().ip(), &WLAN);
        assert_eq!(
            network.places().iter().map(|place| place.address).collect::<Vec<_>>(),
            [WLAN, ETH],
            "heard first"
        );
    }

    #[test]
    fn an_address_that_was_asked_for_is_waited_for() {
        let mut network = Network::new(Some(ETH), None, around(&[interface("wlan0", WLAN, true)]));
        assert!(network.news().unwrap().to_string().contains("has the address 10.0.0.7"));
        assert_eq!((broadcasts(&network), network.contact().ip()), (vec![], &ETH));
        network.look_around(around(&[interface("eth0", ETH, false)]));
        assert!(matches!(network.news(), Some(Situation::Silent { .. })));
        network.look_around(around(&[interface("eth0", ETH, true)]));
        assert!(network.news().unwrap().is_fine());
        let tunnel = Interface { broadcast: None, ..interface("tun0", ETH, true) };
        network.look_around(around(&[tunnel]));
        assert!(matches!(network.news(), Some(Situation::NoBroadcast { .. })));
        assert!(!Network::new(Some(Ipv4Addr::LOCALHOST), None, around(&[])).changes());
    }

    #[test]
    fn what_is_advertised_is_said_to_everybody() {
        let mut network = Network::new(
            None,
            Some("203.0.113.9:80".parse().unwrap()),
            around(&[interface("eth0", ETH, true)]),
        );
        assert_eq!(network.contact().to_string(), "203.0.113.9:80");
        assert_eq!(network.voice().on_link(ETH, Ipv4Addr::new(10, 0, 0, 8)), None);
        network.advertise("203.0.113.10:80".parse().unwrap());
        assert_eq!(network.contact().to_string(), "203.0.113.10:80");
    }
}
