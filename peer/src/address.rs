//! The networks of this machine: its IPv4 addresses, which of them others are told first, and the
//! broadcast address of each network.
//!
//! Nothing here is cached: addresses appear and disappear while a peer runs, so all of it is looked
//! up repeatedly (see `scout`) and compared (see `network`).

use std::cmp::Reverse;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::{InterfaceFlags, if_nametoindex};

/// An IPv4 address of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The interface's name.
    pub name: String,
    /// Its number in the kernel.
    pub index: u32,
    /// The address.
    pub address: Ipv4Addr,
    /// How many leading bits of the address denote the network.
    pub prefix: u8,
    /// Its broadcast address, if it can broadcast.
    pub broadcast: Option<Ipv4Addr>,
    /// Whether it is up and has a carrier.
    pub running: bool,
    /// Whether it is a bridge of this machine, such as a container bridge.
    pub bridge: bool,
}

impl Interface {
    /// Whether an address lies in its network.
    #[must_use]
    pub fn reaches(&self, address: Ipv4Addr) -> bool {
        let mask = mask(self.prefix);
        self.address.to_bits() & mask == address.to_bits() & mask
    }

    /// Whether peers can discover each other there.
    #[must_use]
    pub fn carries_broadcast(&self) -> bool {
        self.running && self.broadcast.is_some()
    }
}

/// The network state of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The addresses, except those of loopback.
    pub interfaces: Vec<Interface>,
    /// The interface of the default route, if there is one.
    pub default: Option<String>,
}

impl Surroundings {
    /// The present state. Unreadable parts are left out: a machine without `/proc` has no known
    /// default route.
    ///
    /// # Errors
    /// Those of the operating system when it does not tell its addresses.
    pub fn look() -> io::Result<Self> {
        let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
        Ok(Self {
            interfaces: interfaces()?,
            default: default_interface(&routes).map(str::to_owned),
        })
    }

    /// The interface that has this address.
    #[must_use]
    pub fn with(&self, address: Ipv4Addr) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.address == address)
    }

    /// The interfaces on which peers can discover each other, best first: that of the default
    /// route, then the networks of the machine, then its bridges.
    #[must_use]
    pub fn meeting(&self) -> Vec<&Interface> {
        let mut all: Vec<&Interface> =
            self.interfaces.iter().filter(|interface| interface.carries_broadcast()).collect();
        all.sort_by_key(|interface| Reverse(self.rank(interface)));
        all
    }

    /// The address that others are told first: that of the default route if it can broadcast,
    /// otherwise the best one that can, otherwise that of the default route, otherwise loopback.
    /// The address in use stays as long as it is as good.
    #[must_use]
    pub fn first_address(&self, used: Option<Ipv4Addr>) -> Ipv4Addr {
        let best = self.meeting().first().copied();
        let used = used.and_then(|address| self.with(address));
        match (used, best) {
            (Some(used), Some(best)) if used.carries_broadcast() && used.bridge <= best.bridge => {
                used.address
            }
            (_, Some(best)) => best.address,
            // Its network may return, and peers on this machine still dial it.
            (Some(used), None) => used.address,
            (None, None) => self
                .routed()
                .filter(|interface| interface.running)
                .map_or(Ipv4Addr::LOCALHOST, |routed| routed.address),
        }
    }

    fn routed(&self) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| Some(&interface.name) == self.default.as_ref())
    }

    fn rank(&self, interface: &Interface) -> (bool, bool) {
        (Some(&interface.name) == self.default.as_ref(), !interface.bridge)
    }
}

/// The IPv4 addresses of this machine's interfaces, except loopback.
///
/// # Errors
/// Those of the operating system.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    Ok(getifaddrs()?
        .filter(|entry| !entry.flags.contains(InterfaceFlags::IFF_LOOPBACK))
        .filter_map(interface)
        .collect())
}

fn interface(entry: InterfaceAddress) -> Option<Interface> {
    let ip = |address: &Option<nix::sys::socket::SockaddrStorage>| {
        Some(address.as_ref()?.as_sockaddr_in()?.ip())
    };
    let address = ip(&entry.address)?;
    let prefix = ip(&entry.netmask).map_or(32, |netmask| netmask.to_bits().leading_ones() as u8);
    // Without one, the C library returns the address itself.
    let named = ip(&entry.broadcast)
        .filter(|broadcast| !broadcast.is_unspecified() && *broadcast != address);
    // The kernel broadcasts to the last address of a network even if none was configured.
    let last = (prefix < 31).then(|| Ipv4Addr::from_bits(address.to_bits() | !mask(prefix)));
    let broadcast = named.or(last).filter(|_| entry.flags.contains(InterfaceFlags::IFF_BROADCAST));
    // An address may have a label, such as `eth0:1`.
    let device = entry.interface_name.split(':').next().unwrap_or_default().to_owned();
    let up = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
    Some(Interface {
        index: if_nametoindex(device.as_str()).unwrap_or(0),
        bridge: Path::new("/sys/class/net").join(&device).join("bridge").exists(),
        name: device,
        address,
        prefix,
        broadcast,
        running: entry.flags.contains(up),
    })
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

/// The address to listen on if none is given; `routes` is the text of `/proc/net/route`.
#[must_use]
pub fn choose(interfaces: &[Interface], routes: &str) -> Ipv4Addr {
    Surroundings {
        interfaces: interfaces.to_vec(),
        default: default_interface(routes).map(str::to_owned),
    }
    .first_address(None)
}

/// The broadcast address of the network on which `address` lies.
#[must_use]
pub fn broadcast_of(address: Ipv4Addr, interfaces: &[Interface]) -> Option<Ipv4Addr> {
    if address.is_loopback() {
        return Some(LOOPBACK_BROADCAST);
    }
    interfaces
        .iter()
        .find(|interface| interface.address == address)
        .and_then(|interface| interface.broadcast)
}

/// The interface of the default route with the smallest metric, from the text of `/proc/net/route`.
fn default_interface(routes: &str) -> Option<&str> {
    let defaults = routes.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, destination, _gateway, flags, _count, _use, metric, mask, ..] = fields[..]
        else {
            return None;
        };
        let usable = u32::from_str_radix(flags, 16).ok()? & ROUTE_UP != 0;
        (usable && destination == "00000000" && mask == "00000000")
            .then_some((metric.parse::<u32>().ok()?, name))
    });
    defaults.min_by_key(|&(metric, _)| metric).map(|(_, name)| name)
}

/// All of 127.0.0.0/8 is one network; 127.0.0.1 itself would reach one listener of many.
pub const LOOPBACK_BROADCAST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);
const ROUTE_UP: u32 = 1;

#[cfg(test)]
mod tests {
    use super::{Interface, Surroundings, broadcast_of, choose};
    use std::net::Ipv4Addr;

    const ROUTES: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
        wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\n\
        eth1\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\n\
        eth1\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\n";

    fn interface(name: &str, address: [u8; 4], broadcast: Option<[u8; 4]>) -> Interface {
        let broadcast = broadcast.map(Ipv4Addr::from);
        Interface {
            name: name.to_owned(),
            index: 1,
            address: address.into(),
            prefix: 24,
            broadcast,
            running: true,
            bridge: false,
        }
    }

    #[test]
    fn the_default_route_decides() {
        let all = [
            interface("docker0", [172, 17, 0, 1], Some([172, 17, 255, 255])),
            interface("wlan0", [192, 168, 1, 7], Some([192, 168, 1, 255])),
            interface("eth1", [10, 0, 0, 7], Some([10, 0, 0, 255])),
        ];
        assert_eq!(choose(&all, ROUTES), Ipv4Addr::new(10, 0, 0, 7));
        assert_eq!(choose(&all, ""), Ipv4Addr::new(172, 17, 0, 1));
        assert_eq!(choose(&[], ROUTES), Ipv4Addr::LOCALHOST);
        assert_eq!(choose(&[interface("tun0", [10, 8, 0, 2], None)], ""), Ipv4Addr::LOCALHOST);
    }

    #[test]
    fn loopback_has_one_broadcast_address() {
        assert_eq!(
            broadcast_of(Ipv4Addr::new(127, 0, 0, 9), &[]),
            Some(Ipv4Addr::new(127, 255, 255, 255))
        );
        let lan = [interface("eth1", [10, 0, 0, 7], Some([10, 0, 0, 255]))];
        assert_eq!(
            broadcast_of(Ipv4Addr::new(10, 0, 0, 7), &lan),
            Some(Ipv4Addr::new(10, 0, 0, 255))
        );
        assert_eq!(broadcast_of(Ipv4Addr::new(10, 0, 0, 8), &lan), None);
    }

    #[test]
    fn a_bridge_of_containers_and_a_tunnel_come_last() {
        let docker = Interface {
            bridge: true,
            ..interface("docker0", [172, 17, 0, 1], Some([172, 17, 255, 255]))
        };
        let (wlan, tunnel) = (
            interface("wlan0", [192, 168, 1, 7], Some([192, 168, 1, 255])),
            interface("tun0", [10, 8, 0, 6], None),
        );
        let around = |interfaces: &[&Interface], default: &str| Surroundings {
            interfaces: interfaces.iter().map(|interface| (*interface).clone()).collect(),
            default: Some(default.to_owned()),
        };
        let both = around(&[&tunnel, &docker, &wlan], "tun0");
        assert_eq!(
            both.first_address(None),
            wlan.address,
            "the default route leads through a tunnel, where nobody can be met"
        );
        assert_eq!(
            both.meeting().iter().map(|interface| interface.name.as_str()).collect::<Vec<_>>(),
            ["wlan0", "docker0"]
        );
        assert_eq!(
            around(&[&tunnel], "tun0").first_address(None),
            tunnel.address,
            "better than loopback"
        );
        // The address in use stays, unless it was only a bridge.
        let eth = interface("eth0", [10, 0, 0, 7], Some([10, 0, 0, 255]));
        assert_eq!(around(&[&eth, &wlan], "eth0").first_address(Some(wlan.address)), wlan.address);
        assert_eq!(
            around(&[&docker, &wlan], "wlan0").first_address(Some(docker.address)),
            wlan.address
        );
        // An address without a carrier is kept as long as there is no better one.
        let silent = Interface { running: false, ..wlan.clone() };
        assert_eq!(around(&[&silent], "").first_address(Some(wlan.address)), wlan.address);
        assert_eq!(around(&[&silent], "").first_address(None), Ipv4Addr::LOCALHOST);
        assert_eq!(around(&[&silent, &eth], "").first_address(Some(wlan.address)), eth.address);
        assert_eq!(around(&[], "").first_address(Some(wlan.address)), Ipv4Addr::LOCALHOST);
    }

    #[test]
    fn a_network_is_told_by_its_prefix() {
        let lan = interface("eth0", [10, 0, 0, 7], None);
        assert!(
            lan.reaches(Ipv4Addr::new(10, 0, 0, 250)) && !lan.reaches(Ipv4Addr::new(10, 0, 1, 7))
        );
        assert!(Interface { prefix: 0, ..lan.clone() }.reaches(Ipv4Addr::BROADCAST));
        assert!(!Interface { prefix: 32, ..lan }.reaches(Ipv4Addr::new(10, 0, 0, 8)));
    }
}
