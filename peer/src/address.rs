//! Where this peer is on the network: the address to listen on when none is given, and the broadcast address to it.

use std::fs;
use std::io;
use std::net::Ipv4Addr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// An IPv4 address of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The interface's name.
    pub name: String,
    /// The address.
    pub address: Ipv4Addr,
    /// The broadcast address that belongs to it, if it can broadcast.
    pub broadcast: Option<Ipv4Addr>,
}

/// The IPv4 addresses of the interfaces that are up; loopback is left out.
///
/// # Errors
/// Those of the operating system.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let up = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
    Ok(getifaddrs()?
        .filter(|entry| entry.flags.contains(up) && !entry.flags.contains(InterfaceFlags::IFF_LOOPBACK))
        .filter_map(|entry| {
            let address = entry.address.as_ref()?.as_sockaddr_in()?.ip();
            let broadcast = entry.broadcast.as_ref().and_then(|broadcast| broadcast.as_sockaddr_in()).map(|to| to.ip());
            let broadcast = broadcast.filter(|_| entry.flags.contains(InterfaceFlags::IFF_BROADCAST));
            Some(Interface { name: entry.interface_name, address, broadcast })
        })
        .collect())
}

/// The address to listen on when none is given: that of the interface of the default route, else the first one that
/// can broadcast, else loopback.
#[must_use]
pub fn choose(interfaces: &[Interface], routes: &str) -> Ipv4Addr {
    let default = default_interface(routes);
    let routed = interfaces.iter().find(|interface| Some(interface.name.as_str()) == default);
    let broadcasting = || interfaces.iter().find(|interface| interface.broadcast.is_some());
    routed.or_else(broadcasting).map_or(Ipv4Addr::LOCALHOST, |interface| interface.address)
}

/// The machine's own answer to [`choose`].
#[must_use]
pub fn detect() -> Ipv4Addr {
    choose(&interfaces().unwrap_or_default(), &fs::read_to_string("/proc/net/route").unwrap_or_default())
}

/// The broadcast address of the network on which `address` lies.
#[must_use]
pub fn broadcast_of(address: Ipv4Addr, interfaces: &[Interface]) -> Option<Ipv4Addr> {
    if address.is_loopback() {
        // All of 127.0.0.0/8 is one network; 127.0.0.1 itself would reach one listener of many.
        return Some(Ipv4Addr::new(127, 255, 255, 255));
    }
    interfaces.iter().find(|interface| interface.address == address).and_then(|interface| interface.broadcast)
}

/// The interface of the default route with the smallest metric, out of the text of `/proc/net/route`.
fn default_interface(routes: &str) -> Option<&str> {
    let defaults = routes.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, destination, _gateway, flags, _count, _use, metric, mask, ..] = fields[..] else { return None };
        let usable = u32::from_str_radix(flags, 16).ok()? & ROUTE_UP != 0;
        (usable && destination == "00000000" && mask == "00000000").then_some((metric.parse::<u32>().ok()?, name))
    });
    defaults.min_by_key(|&(metric, _)| metric).map(|(_, name)| name)
}

const ROUTE_UP: u32 = 1;

#[cfg(test)]
mod tests {
    use super::{Interface, broadcast_of, choose};
    use std::net::Ipv4Addr;

    const ROUTES: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
        wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\n\
        eth1\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\n\
        eth1\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\n";

    fn interface(name: &str, address: [u8; 4], broadcast: Option<[u8; 4]>) -> Interface {
        Interface { name: name.to_owned(), address: address.into(), broadcast: broadcast.map(Ipv4Addr::from) }
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
        assert_eq!(broadcast_of(Ipv4Addr::new(127, 0, 0, 9), &[]), Some(Ipv4Addr::new(127, 255, 255, 255)));
        let lan = [interface("eth1", [10, 0, 0, 7], Some([10, 0, 0, 255]))];
        assert_eq!(broadcast_of(Ipv4Addr::new(10, 0, 0, 7), &lan), Some(Ipv4Addr::new(10, 0, 0, 255)));
        assert_eq!(broadcast_of(Ipv4Addr::new(10, 0, 0, 8), &lan), None);
    }
}
