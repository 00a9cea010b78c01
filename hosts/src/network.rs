//! Hosts: each is a network namespace with interfaces plugged into the switch.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, setns, unshare};
use tappers::{Interface, Tap};
use thiserror::Error;

use crate::frame::Mac;
use crate::nat::Nat;
use crate::switch::{Port, Switch};

/// A host or its network could not be created or changed.
#[derive(Debug, Error)]
#[error("{doing}: {source}")]
pub struct NetworkError {
    /// The failed operation.
    pub doing: String,
    /// The error of the system.
    pub source: io::Error,
}

/// All hosts, and the switch between them.
#[derive(Debug)]
pub struct Network {
    home: File,
    /// The switch.
    pub switch: Switch,
    hosts: BTreeMap<String, Host>,
}

/// One host.
#[derive(Debug)]
struct Host {
    namespace: File,
    number: usize,
    interfaces: BTreeMap<String, Card>,
}

/// An interface of a host.
#[derive(Clone, Copy, Debug)]
struct Card {
    address: Option<Ipv4Addr>,
    /// Its subnet.
    subnet: u8,
    /// How often its address was changed.
    changes: u8,
    /// Whether it has the default route.
    is_default: bool,
    nat: bool,
    /// Whether the interface is set up, and not down.
    is_up: bool,
}

/// A planned interface of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name, such as `eth0`.
    pub name: String,
    /// The network it is plugged into, from 0; the address is in 10.(77 + network).0.0/24.
    pub network: u8,
    /// Whether it has an address from the start.
    pub addressed: bool,
    /// Whether it has carrier from the start.
    pub plugged: bool,
    /// Whether it has the default route.
    pub is_default: bool,
    /// Whether a router with address translation is in front of it, and the published ports:
    /// outside port to host port.
    pub nat: Option<BTreeMap<u16, u16>>,
}

impl Plan {
    /// The only interface of a plain host.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            name: "eth0".to_owned(),
            network: 0,
            addressed: true,
            plugged: true,
            is_default: true,
            nat: None,
        }
    }
}

/// A change of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is switched off.
    Down,
    /// It is switched on.
    Up,
    /// Its cable is pulled.
    NoCarrier,
    /// Its cable is plugged in.
    Carrier,
    /// It gets another address of the same network.
    NewAddress,
    /// It loses its address.
    NoAddress,
    /// It gets its address back, or its first one.
    OwnAddress,
    /// It gets back the address that it had at first.
    FirstAddress,
    /// It gets an address of another network.
    OtherSubnet,
}

impl Network {
    /// A network without hosts. The seed draws the switch's effects on frames.
    ///
    /// # Errors
    /// If the switch cannot be started.
    pub fn new(seed: u64) -> Result<Self, NetworkError> {
        let doing = |what: &str| what.to_owned();
        let home = File::open(OWN_NAMESPACE).map_err(|source| NetworkError {
            doing: doing("open the own network namespace"),
            source,
        })?;
        let switch = Switch::start(seed)
            .map_err(|source| NetworkError { doing: doing("start the switch"), source })?;
        Ok(Self { home, switch, hosts: BTreeMap::new() })
    }

    /// Adds a host; returns its number. `everybody` lists all future hosts, so that a router can
    /// find them.
    ///
    /// # Errors
    /// If a namespace or an interface cannot be made.
    pub fn add(
        &mut self,
        name: &str,
        plans: &[Plan],
        everybody: usize,
    ) -> Result<usize, NetworkError> {
        let number = self.hosts.len();
        let failed = |what: &str| {
            let doing = format!("{what} of host {name}");
            move |source: io::Error| NetworkError { doing, source }
        };
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|error| failed("make the network namespace")(error.into()))?;
        let made = (|| {
            let namespace = File::open(OWN_NAMESPACE)?;
            // IPv6 frames would only disturb; without IPv6 this file does not exist.
            let _ = fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
            let mut devices = vec![];
            for plan in plans {
                let device = Tap::new_named(Interface::new(&plan.name)?)?;
                devices.push((plan, device));
            }
            Ok((namespace, devices))
        })();
        let returned = setns(&self.home, CloneFlags::CLONE_NEWNET);
        let (namespace, devices) = made.map_err(failed("make the interfaces"))?;
        returned.map_err(|error| failed("come back from the namespace")(error.into()))?;
        let mut host = Host { namespace, number, interfaces: BTreeMap::new() };
        let mut script = vec!["link set lo up".to_owned()];
        for (at, (plan, device)) in (0_u8..).zip(devices) {
            let mac = mac_of(number, at);
            script.push(format!(
                "link set {} address {}",
                plan.name,
                mac.map(|byte| format!("{byte:02x}")).join(":")
            ));
            let own = address_of(plan.network, number, 0);
            let nat = plan.nat.as_ref().map(|published| Nat {
                outside: own,
                mac: mac_of(number, 0x80 + at),
                host: mac,
                gateway: NAT_GATEWAY,
                inside: NAT_INSIDE,
                published: published.clone(),
                neighbours: (0..everybody)
                    .map(|other| (address_of(plan.network, other, 0), mac_of(other, 0)))
                    .collect(),
                open: BTreeMap::new(),
            });
            let address = if nat.is_some() { NAT_INSIDE } else { own };
            let card = Card {
                address: plan.addressed.then_some(address),
                subnet: plan.network,
                changes: 0,
                is_default: plan.is_default,
                nat: nat.is_some(),
                is_up: true,
            };
            if !plan.plugged {
                script.push(format!("link set {} carrier off", plan.name));
            }
            script.push(format!("link set {} up", plan.name));
            if plan.addressed {
                script.extend(addressing(&plan.name, address, &card));
            }
            let port = Port {
                host: number,
                name: format!("{name} {}", plan.name),
                mac,
                network: u32::from(plan.network),
                nat,
            };
            self.switch.plug(port, device).map_err(failed("plug in an interface"))?;
            host.interfaces.insert(plan.name.clone(), card);
        }
        self.hosts.insert(name.to_owned(), host);
        self.configure(name, &script)?;
        Ok(number)
    }

    /// Whether there is a host of that name.
    #[must_use]
    pub fn has(&self, host: &str) -> bool {
        self.hosts.contains_key(host)
    }

    /// The number of a host.
    #[must_use]
    pub fn number(&self, host: &str) -> Option<usize> {
        self.hosts.get(host).map(|host| host.number)
    }

    /// The present address of a host's first interface, if it has one.
    #[must_use]
    pub fn address(&self, host: &str) -> Option<Ipv4Addr> {
        let host = self.hosts.get(host)?;
        let card = host.interfaces.values().next()?;
        if card.nat { Some(address_of(card.subnet, host.number, 0)) } else { card.address }
    }

    /// Runs something inside a host: processes started there belong to it. Only this thread enters
    /// the host.
    ///
    /// # Errors
    /// If the host cannot be entered or left.
    pub fn inside<T>(&self, host: &str, work: impl FnOnce() -> T) -> Result<T, NetworkError> {
        let failed = |source: nix::errno::Errno| NetworkError {
            doing: format!("enter host {host}"),
            source: source.into(),
        };
        let found = self.hosts.get(host).ok_or_else(|| failed(nix::errno::Errno::ENOENT))?;
        setns(&found.namespace, CloneFlags::CLONE_NEWNET).map_err(failed)?;
        let done = work();
        setns(&self.home, CloneFlags::CLONE_NEWNET).map_err(failed)?;
        Ok(done)
    }

    /// Changes an interface of a host.
    ///
    /// # Errors
    /// If `ip` refuses, or there is no such interface.
    pub fn change(
        &mut self,
        host: &str,
        interface: &str,
        change: Change,
    ) -> Result<(), NetworkError> {
        let missing = || NetworkError {
            doing: format!("change interface {interface} of host {host}"),
            source: io::Error::new(io::ErrorKind::NotFound, "there is no such interface"),
        };
        let found = self.hosts.get_mut(host).ok_or_else(missing)?;
        let number = found.number;
        let card = found.interfaces.get_mut(interface).ok_or_else(missing)?;
        let script = match change {
            Change::Down => {
                card.is_up = false;
                vec![format!("link set {interface} down")]
            }
            Change::Up => {
                card.is_up = true;
                let mut script = vec![format!("link set {interface} up")];
                // The routes are gone with the interface.
                script.extend(
                    card.address.and_then(|address| default_route(interface, address, card)),
                );
                script
            }
            Change::NoCarrier => vec![format!("link set {interface} carrier off")],
            Change::Carrier => vec![format!("link set {interface} carrier on")],
            Change::NoAddress => {
                card.address = None;
                vec![format!("addr flush dev {interface}")]
            }
            Change::NewAddress
            | Change::OwnAddress
            | Change::FirstAddress
            | Change::OtherSubnet => {
                match change {
                    Change::NewAddress => card.changes = card.changes % CHANGES_MAX + 1,
                    Change::FirstAddress => card.changes = 0,
                    Change::OtherSubnet => card.subnet ^= OTHER_SUBNET,
                    _ => {}
                }
                let address = address_of(card.subnet, number, card.changes);
                card.address = Some(address);
                let mut script = vec![format!("addr flush dev {interface}")];
                script.extend(addressing(interface, address, card));
                script
            }
        };
        self.configure(host, &script)
    }

    /// Runs `ip` with these commands inside a host.
    fn configure(&self, host: &str, script: &[String]) -> Result<(), NetworkError> {
        let failed =
            |source: io::Error| NetworkError { doing: format!("ip, in host {host}"), source };
        let child = self.inside(host, || {
            Command::new("ip")
                .args(["-batch", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
        })?;
        let mut child = child.map_err(failed)?;
        let written = child
            .stdin
            .take()
            .map(|mut stdin| stdin.write_all((script.join("\n") + "\n").as_bytes()));
        let output = child.wait_with_output().map_err(failed)?;
        written.transpose().map_err(failed)?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(failed(io::Error::other(format!("{}: {words}", script.join("; ")))))
    }
}

/// The commands that give an interface its address.
fn addressing(interface: &str, address: Ipv4Addr, card: &Card) -> Vec<String> {
    let mut script = vec![format!("addr add {address}/24 brd + dev {interface}")];
    script.extend(default_route(interface, address, card));
    script
}

fn default_route(interface: &str, address: Ipv4Addr, card: &Card) -> Option<String> {
    // An interface that is down has no routes; it gets them when it comes up.
    if !card.is_up {
        return None;
    }
    let [a, b, c, _] = address.octets();
    // No host answers there, except a router with address translation: for peers it is a way out.
    let last = if card.nat { 1 } else { 254 };
    card.is_default.then(|| format!("route replace default via {a}.{b}.{c}.{last} dev {interface}"))
}

/// The address of a host after this many changes.
fn address_of(network: u8, host: usize, changes: u8) -> Ipv4Addr {
    let last = host.saturating_add(1).min(usize::from(HOSTS_MAX));
    Ipv4Addr::new(
        10,
        77 + network,
        0,
        u8::try_from(last).unwrap_or(HOSTS_MAX) + changes * HOSTS_MAX,
    )
}

fn mac_of(host: usize, interface: u8) -> Mac {
    [0x02, 0x77, 0, interface, 0, u8::try_from(host + 1).unwrap_or(u8::MAX)]
}

/// A network has room for this many hosts, so that each has some addresses for itself.
pub const HOSTS_MAX: u8 = 60;
const CHANGES_MAX: u8 = 3;
/// By how much the number of a network changes when a host moves to another subnet.
const OTHER_SUBNET: u8 = 0x40;
const NAT_GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const NAT_INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
/// The network namespace of the calling thread.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";
