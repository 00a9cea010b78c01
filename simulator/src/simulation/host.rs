//! A host and the process on it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddrV4;

use protocol::activity::Activity;
use protocol::draw::draw;
use protocol::id::{Contact, Incarnation, LinkId, PeerId};
use protocol::node::Node;
use protocol::time::Time;

use super::Moment;
use crate::clock::Clock;
use crate::connection::Side;

/// A place where a process may run: an address, a name, and a disk.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) id: PeerId,
    pub(super) address: SocketAddrV4,
    pub(super) explicit: i64,
    /// The incarnation that the last process stored.
    pub(super) stored: Incarnation,
    /// Those of all processes that have run here.
    pub(super) lives: Vec<Incarnation>,
    /// Whether it stored that it has been in a view.
    pub(super) has_history: bool,
    /// Counts the processes that have run here.
    pub(super) life: u32,
    pub(super) process: Option<Box<Process>>,
    /// Whether it has another host's name.
    pub(super) twin: bool,
    /// The record of its last pause.
    pub(super) pause: u64,
    /// The seed of its datagrams' draws, and how many there were.
    pub(super) datagram_seed: u64,
    pub(super) datagrams: u64,
    /// Its clock.
    pub(super) clock: Clock,
    /// Whether its clock shows a time before its first start: incarnations derived from it begin
    /// anew.
    pub(super) behind: bool,
    /// Whether it is without power: it does not even refuse connections.
    pub(super) dark: bool,
    /// Connection ends that its last processes never closed, because the power failed.
    pub(super) orphans: Vec<(usize, Side)>,
    /// Whether it can store nothing at present.
    pub(super) disk_full: bool,
    /// Whether it has no descriptors left at present.
    pub(super) starved: bool,
    /// Connections that cannot be accepted for lack of a descriptor.
    pub(super) unaccepted: Vec<usize>,
    /// How much longer each step of its process takes, in microseconds.
    pub(super) step_us: u64,
    /// The hosts to which its process sends each broadcast by unicast as well.
    pub(super) seeds: Vec<usize>,
    /// Its unread datagrams, by number, if there is only room for some.
    pub(super) held: Vec<u64>,
}

impl Host {
    /// A host without a process.
    pub(super) fn new(
        id: PeerId,
        address: SocketAddrV4,
        explicit: i64,
        datagram_seed: u64,
        twin: bool,
    ) -> Self {
        Self {
            id,
            address,
            explicit,
            stored: Incarnation(0),
            lives: Vec::new(),
            has_history: false,
            life: 0,
            process: None,
            twin,
            pause: 0,
            datagram_seed,
            datagrams: 0,
            clock: Clock::new(0),
            behind: false,
            dark: false,
            orphans: vec![],
            disk_full: false,
            starved: false,
            unaccepted: vec![],
            step_us: 0,
            seeds: vec![],
            held: vec![],
        }
    }

    /// The birth of the next process on a host: one whose process, told to take a later
    /// incarnation, does not come upon that of an earlier one of its name by chance.
    pub(super) fn birth(hosts: &[Self], host: usize, seed: u64) -> u64 {
        let here = &hosts[host];
        let named = hosts.iter().filter(|other| other.id == here.id);
        let lives: Vec<Incarnation> = named.flat_map(|other| &other.lives).copied().collect();
        let drawn = draw(seed, "birth", (host as u64) << 32 | u64::from(here.life + 1));
        let is_free = |birth: &u64| lives.iter().all(|life| !lives.contains(&life.later(*birth)));
        (0..=0xFF).map(|n| drawn ^ n).find(is_free).unwrap_or(drawn)
    }
}

/// A running process.
#[derive(Debug)]
pub(super) struct Process {
    /// Tells processes of one name apart in the records.
    pub(super) pid: u32,
    pub(super) node: Node,
    pub(super) contact: Contact,
    pub(super) links: BTreeMap<LinkId, (usize, Side)>,
    pub(super) accepted: u64,
    /// Links with something to write at the end of this turn.
    pub(super) to_write: Vec<(usize, Side)>,
    /// The time that its timer is set to.
    pub(super) alarm: Option<Time>,
    /// When the timer rang last, and how often since, without the clock moving.
    pub(super) rang_at: Time,
    pub(super) rings: u32,
    pub(super) paused: bool,
    /// Whether it is still busy with its last step.
    pub(super) busy: bool,
    /// The phase of its node.
    pub(super) activity: Activity,
    /// Whether it was asked to leave, so that its end is expected.
    pub(super) may_stop: bool,
    /// Inputs that wait in the kernel while it is paused or busy.
    pub(super) waiting: VecDeque<Moment>,
    pub(super) datagrams_waiting: usize,
    /// Counts its events.
    pub(super) told: u64,
}

impl Process {
    /// A process that was just started.
    pub(super) fn new(pid: u32, node: Node, contact: Contact, now: Time) -> Self {
        let activity = node.activity();
        Self {
            pid,
            node,
            contact,
            links: BTreeMap::new(),
            accepted: 0,
            to_write: Vec::new(),
            alarm: None,
            rang_at: now,
            rings: 0,
            paused: false,
            busy: false,
            activity,
            may_stop: false,
            waiting: VecDeque::new(),
            datagrams_waiting: 0,
            told: 0,
        }
    }

    /// Keeps an event for later if the process cannot handle it now; otherwise returns it.
    pub(super) fn keep(&mut self, moment: Moment) -> Option<Moment> {
        if self.paused || self.busy {
            self.waiting.push_back(moment);
            return None;
        }
        Some(moment)
    }
}
