//! The world `hosts`: real peers, each in a network namespace of its own, joined by a switch in
//! user space.
//!
//! Faults of processes work as on loopback. Faults of the network are done by the switch, or by
//! `ip` inside the host. By default a peer gets no network flags: it finds its address by itself,
//! as on a user's machine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hosts::firewall::Firewall;
use hosts::network::{Change, Plan};
use hosts::rule::{Effect, Rule};
use hosts::{Network, NetworkError};
use promises::fault::{Fault, LinkSet};
use promises::world::WorldEvent;
use protocol::id::PeerId;
use protocol::time::Time;

use crate::disks::Disks;
use crate::holdings::Holdings;
use crate::processes::Processes;
use crate::scenario::{Disk, Host, Wall};
use crate::world::{Seen, World, WorldError, Wrong};

/// Real peers on hosts of their own.
#[derive(Debug)]
pub struct Namespaces {
    processes: Processes,
    network: Network,
    /// The special settings of single hosts.
    special: BTreeMap<String, Host>,
    /// How many hosts there may be.
    size: usize,
    /// How to restore the interfaces that a named fault changed.
    undo: BTreeMap<String, Vec<(String, String, Change)>>,
    disks: Disks,
}

impl Namespaces {
    /// Creates hosts for these processes, in the order of their names; other processes get a host
    /// when they start.
    ///
    /// # Errors
    /// If a host cannot be made.
    pub fn new(
        processes: Processes,
        names: &BTreeSet<String>,
        special: BTreeMap<String, Host>,
        seed: u64,
    ) -> Result<Self, WorldError> {
        let network = Network::new(seed)?;
        let mut world = Self {
            processes,
            network,
            special,
            size: names.len() + SPARE,
            undo: BTreeMap::new(),
            disks: Disks::default(),
        };
        names.iter().try_for_each(|name| world.add(name))?;
        Ok(world)
    }

    fn add(&mut self, name: &str) -> Result<(), WorldError> {
        let plans = self
            .special
            .get(name)
            .map(|host| host.interfaces.clone())
            .filter(|plans| !plans.is_empty());
        self.network.add(name, &plans.unwrap_or_else(|| vec![Plan::plain()]), self.size)?;
        Ok(())
    }

    /// The directed pairs of a set of links, by host number.
    fn pairs(&self, table: &LinkSet) -> BTreeSet<(usize, usize)> {
        table
            .links()
            .filter_map(|(from, to)| Some((self.network.number(from)?, self.network.number(to)?)))
            .collect()
    }

    /// `@peer2` in a flag is the address of that host.
    fn resolved(&self, value: &str) -> Result<String, WorldError> {
        let mut parts = value.split('@');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find([':', ',', '/']).unwrap_or(part.len());
            let (name, rest) = part.split_at(end);
            let address = self.network.address(name).ok_or_else(|| WorldError::Impossible {
                what: format!("the address of @{name}"),
            })?;
            text.push_str(&address.to_string());
            text.push_str(rest);
        }
        Ok(text)
    }

    fn change(
        &mut self,
        under: &str,
        who: &[String],
        name: &str,
        change: Change,
    ) -> Result<(), WorldError> {
        let undo = match change {
            Change::Down => Some(Change::Up),
            Change::NoCarrier => Some(Change::Carrier),
            Change::NoAddress => Some(Change::OwnAddress),
            Change::OtherSubnet => Some(Change::OtherSubnet),
            Change::NewAddress => Some(Change::FirstAddress),
            Change::Up | Change::Carrier | Change::OwnAddress | Change::FirstAddress => None,
        };
        for host in who {
            self.network.change(host, name, change)?;
            if let Some(undo) = undo {
                self.undo.entry(under.to_owned()).or_default().push((
                    host.clone(),
                    name.to_owned(),
                    undo,
                ));
            }
        }
        Ok(())
    }

    fn wall(&self, under: &str, who: &[String], wall: Wall) {
        for host in who {
            let (Some(number), Some(address)) =
                (self.network.number(host), self.network.address(host))
            else {
                continue;
            };
            let known = || self.network.switch.connections_of(address);
            let firewall = match wall {
                Wall::DefaultDeny => Firewall::DefaultDeny { known: known() },
                Wall::UdpOnly => Firewall::UdpOnly,
                Wall::PortOnly(port) => Firewall::PortOnly(port),
                Wall::Reset => Firewall::Reset,
                Wall::Forgets => Firewall::Forgets { known: known() },
            };
            // Flows that the firewall has forgotten stay forgotten after it is removed.
            let name = if wall == Wall::Forgets {
                format!("forgotten by {under} {host} {address}")
            } else {
                format!("{under} {host}")
            };
            self.network.switch.put(Rule { name, effect: Effect::Wall { host: number, firewall } });
        }
    }
}

impl World for Namespaces {
    fn name(&self) -> &'static str {
        "hosts"
    }

    fn now(&self) -> Time {
        self.processes.now()
    }

    fn start(&mut self, process: &str, peer: &PeerId) -> Result<u32, WorldError> {
        if !self.network.has(process) {
            self.add(process)?;
        }
        let mut flags = vec![];
        for (flag, value) in
            self.special.get(process).map(|host| host.flags.clone()).unwrap_or_default()
        {
            flags.extend([format!("--{flag}"), self.resolved(&value)?]);
        }
        let host = self.special.get(process).cloned().unwrap_or_default();
        if let Some(size) = host.disk {
            self.disks
                .mount(&self.processes.data(process), size)
                .map_err(|source| system("mount a disk", source))?;
        }
        let unread = host.unread;
        let Self { processes, network, .. } = self;
        network.inside(process, || processes.start_at(process, peer, &flags, unread))?
    }

    fn wipe(&mut self, process: &str) -> Result<(), WorldError> {
        self.processes.wipe(process)
    }

    fn act(&mut self, fault: &Fault, processes: &[String]) -> Result<bool, WorldError> {
        self.processes.act(fault, processes)
    }

    fn go_wrong(&mut self, name: &str, wrong: &Wrong) -> Result<(), WorldError> {
        let rule = |effect| Rule { name: name.to_owned(), effect };
        match wrong {
            Wrong::Cut { table, traffic } => {
                self.network
                    .switch
                    .put(rule(Effect::Cut { pairs: self.pairs(table), traffic: *traffic }));
            }
            Wrong::Bad { table, traffic, line } => {
                self.network.switch.put(rule(Effect::Bad {
                    pairs: self.pairs(table),
                    traffic: *traffic,
                    line: *line,
                }));
            }
            Wrong::Interface { who, name: interface, change } => {
                self.change(name, who, interface, *change)?
            }
            Wrong::Disk { who, disk } => {
                for host in who {
                    let folder = self.processes.data(host);
                    match disk {
                        Disk::Full => self
                            .disks
                            .fill(name, &folder)
                            .map_err(|source| system("fill a disk", source))?,
                        Disk::Removed => std::fs::remove_dir_all(&folder)
                            .map_err(|source| system("remove a folder", source))?,
                    }
                }
            }
            Wrong::Wall { who, wall } => self.wall(name, who, *wall),
        }
        Ok(())
    }

    fn mend(&mut self, name: &str) -> Result<(), WorldError> {
        self.network.switch.take(name);
        self.disks.free(name).map_err(|source| system("free a disk", source))?;
        for (host, interface, change) in self.undo.remove(name).unwrap_or_default() {
            self.network.change(&host, &interface, change)?;
        }
        Ok(())
    }

    fn capture(&self) -> Option<Vec<u8>> {
        Some(self.network.switch.capture())
    }

    fn publish(&mut self, process: &str, reading: &str) -> bool {
        self.processes.publish(process, reading)
    }

    fn backlog(&self, process: &str) -> usize {
        self.processes.backlog(process)
    }

    fn holdings(&self, process: &str) -> Option<(u32, Holdings)> {
        self.processes.holdings(process)
    }

    fn living(&self) -> Vec<String> {
        self.processes.living()
    }

    fn marks(&self) -> Vec<(String, u64)> {
        self.processes.marks()
    }

    fn pass(&mut self, span: Duration) {
        self.processes.pass(span);
    }

    fn turn(&mut self, seen: &mut Vec<Seen>) -> Result<(), WorldError> {
        if let Some(failure) = self.network.switch.failure() {
            return Err(WorldError::System {
                doing: "switch frames".to_owned(),
                source: std::io::Error::other(failure),
            });
        }
        self.processes.turn(seen)
    }

    fn record(&mut self, event: &WorldEvent) -> Result<(), WorldError> {
        self.processes.record(event)
    }

    fn end(
        &mut self,
        hurry: &mut dyn FnMut() -> bool,
        seen: &mut Vec<Seen>,
    ) -> Result<Vec<String>, WorldError> {
        let ended = self.processes.end(hurry, seen);
        self.disks.keep().map_err(|source| system("keep what is on a disk", source))?;
        ended
    }
}

fn system(doing: &str, source: std::io::Error) -> WorldError {
    WorldError::System { doing: doing.to_owned(), source }
}

impl From<NetworkError> for WorldError {
    fn from(NetworkError { doing, source }: NetworkError) -> Self {
        Self::System { doing, source }
    }
}

/// How many hosts more than at the beginning may be started.
const SPARE: usize = 8;
