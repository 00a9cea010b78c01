//! The world: a clock, an agenda, and the real nodes.
//!
//! Hosts stand in an arena and are named by their index. A step takes the next thing off the agenda, moves the clock
//! there and lets one node handle one input; what the node asks for goes back on the agenda. Whatever is random is a
//! keyed draw, so a seed replays everything. The world does what it is told (`kill`, `cut`, …) and decides nothing:
//! what happens when is the plan's business, and whether it was right is the promises'.

mod hand;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use bytes::Bytes;
use promises::history::Record;
use protocol::config::Config;
use protocol::draw::draw;
use protocol::id::{Contact, Incarnation, LinkId, Member, PeerId};
use protocol::node::Node;
use protocol::note::{EVENT_VERSION, Event, Note, hex_digest};
use protocol::seam::{Delivery, Input, Output, Reading};
use protocol::status::Status;
use protocol::time::Time;

use crate::agenda::Agenda;
use crate::connection::{Connection, Side};
use crate::table::Table;
use crate::tally::Tally;
use crate::watch::Watch;
use crate::weather::{OneIn, Weather};
use udp::Flying;

/// What a world is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of every draw.
    pub seed: u64,
    /// The knobs of every node.
    pub config: Config,
    /// How the network behaves at first.
    pub weather: Weather,
    /// Whether bytes travel, cut at drawn places, or messages as values.
    pub bytes: bool,
    /// How much a kernel buffers for one direction of a connection, in bytes.
    pub capacity: usize,
    /// How often a dying process's last frames are lost.
    pub rude: OneIn,
    /// How long a kernel tries to connect before it gives up.
    pub connect_timeout: Duration,
    /// How late a timer may be, in microseconds.
    pub timer_late_us: u32,
    /// How long a turn of a process's loop takes, in microseconds: what it has to say is written at its end, control
    /// before bulk. At 0 every input is a turn of its own.
    pub turn_us: u32,
}

impl Settings {
    /// Settings of a calm world.
    #[must_use]
    pub fn calm(seed: u64, config: Config) -> Self {
        let connect_timeout = config.knobs().election_timeout;
        Self {
            seed,
            config,
            weather: Weather::calm(),
            bytes: false,
            capacity: 1 << 20,
            rude: OneIn(0),
            connect_timeout,
            timer_late_us: 0,
            turn_us: 0,
        }
    }
}

/// A place where a process may run: an address, a name, and what is on its disk.
#[derive(Debug)]
struct Host {
    id: PeerId,
    address: SocketAddrV4,
    explicit: i64,
    /// The incarnation that the last process stored.
    stored: Incarnation,
    /// Counts the processes that have run here.
    life: u32,
    process: Option<Box<Process>>,
    /// Whether it bears another host's name.
    twin: bool,
    /// The record of its last pause.
    pause: u64,
    /// The seed of its datagrams' draws, and how many there were.
    datagram_seed: u64,
    datagrams: u64,
}

/// A running process.
#[derive(Debug)]
struct Process {
    /// Tells processes of one name apart in the records.
    pid: u32,
    node: Node,
    contact: Contact,
    links: BTreeMap<LinkId, (usize, Side)>,
    accepted: u64,
    /// Links with something to write at the end of this turn.
    to_write: Vec<(usize, Side)>,
    /// When its timer is set to.
    alarm: Option<Time>,
    /// When the timer rang last, and how often it has since, without the clock moving.
    rang_at: Time,
    rings: u32,
    paused: bool,
    /// Whether it was asked to leave, so that its end is no surprise.
    may_stop: bool,
    /// What waits in the kernel while it is paused.
    waiting: VecDeque<Moment>,
    datagrams_waiting: usize,
    /// Counts its events.
    told: u64,
}

/// Something on the agenda.
#[derive(Debug)]
enum Moment {
    Alarm { host: usize, life: u32, at: Time },
    Syn { connection: usize, since: Time },
    Answer { connection: usize, answer: Answer },
    Accept { connection: usize },
    Flow { connection: usize, side: Side },
    Backlog { connection: usize, side: Side, full: bool },
    Heard { to: usize, from: usize, datagram: Flying },
    TurnOver { host: usize, life: u32 },
    StallOver(u64),
    Cue(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Connected,
    Refused,
    Silence,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something happened, to a node or in a kernel.
    Moved,
    /// A cue fell due (see [`World::cue`]).
    Cue(u64),
    /// Nothing is left to happen.
    Over,
}

/// A world.
#[derive(Debug)]
pub struct World<W> {
    settings: Settings,
    now: Time,
    agenda: Agenda<Moment>,
    hosts: Vec<Host>,
    by_address: BTreeMap<SocketAddrV4, usize>,
    table: Table,
    /// The cuts in force, by the number of their record.
    cuts: BTreeMap<u64, Vec<(usize, usize)>>,
    /// The stalls in force, by the number of their record.
    stalls: BTreeSet<u64>,
    weather: Weather,
    /// The record of the present weather, where it is not the usual one.
    weather_fault: Option<u64>,
    connections: Vec<Connection>,
    tally: Tally,
    records: Vec<Record>,
    /// Counts the processes.
    processes: u32,
    /// Counts the world's own events.
    told: u64,
    watch: W,
    out: Vec<Output>,
}

impl<W: Watch> World<W> {
    /// An empty world at time zero.
    #[must_use]
    pub fn new(settings: Settings, watch: W) -> Self {
        Self {
            now: Time::ZERO,
            agenda: Agenda::new(draw(settings.seed, "agenda", 0)),
            hosts: Vec::new(),
            by_address: BTreeMap::new(),
            table: Table::new(),
            cuts: BTreeMap::new(),
            stalls: BTreeSet::new(),
            weather: settings.weather,
            weather_fault: None,
            connections: Vec::new(),
            tally: Tally::default(),
            records: Vec::new(),
            processes: 0,
            told: 0,
            watch,
            out: Vec::new(),
            settings,
        }
    }

    /// A new host, on which nothing runs yet; its index. If another host has that name, this one is its twin.
    ///
    /// # Panics
    /// If there are more hosts than addresses for them, which is 250.
    pub fn add_host(&mut self, id: PeerId, explicit: i64) -> usize {
        let host = self.hosts.len();
        let number = u8::try_from(host + 1).ok().filter(|n| *n <= 250).expect("a world has at most 250 hosts");
        let address = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, number), 5_000 + u16::from(number));
        self.by_address.insert(address, host);
        let datagram_seed = draw(self.settings.seed, "datagrams of", host as u64);
        let stored = Incarnation(0);
        let twin = self.hosts.iter().any(|other| other.id == id);
        self.hosts.push(Host { id, address, explicit, stored, life: 0, process: None, twin, pause: 0, datagram_seed, datagrams: 0 });
        self.table.grow();
        host
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// What was counted so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The watcher.
    pub fn watch(&mut self) -> &mut W {
        &mut self.watch
    }

    /// How many hosts there are.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// The name of the peer on a host.
    #[must_use]
    pub fn id(&self, host: usize) -> &PeerId {
        &self.hosts[host].id
    }

    /// Whether a process runs there, paused or not.
    #[must_use]
    pub fn is_live(&self, host: usize) -> bool {
        self.hosts[host].process.is_some()
    }

    /// Whether a process is stopped there, and will go on.
    #[must_use]
    pub fn is_paused(&self, host: usize) -> bool {
        self.hosts[host].process.as_ref().is_some_and(|process| process.paused)
    }

    /// Where the node there stands.
    #[must_use]
    pub fn status(&self, host: usize) -> Option<Status> {
        self.hosts[host].process.as_ref().map(|process| process.node.status())
    }

    /// The node there, to look at.
    #[must_use]
    pub fn node(&self, host: usize) -> Option<&Node> {
        self.hosts[host].process.as_ref().map(|process| &process.node)
    }

    /// What happened so far, in order.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Ends the world; what happened in it, and its watcher.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Record>, Tally, W) {
        (self.records, self.tally, self.watch)
    }

    /// Has [`World::step`] return [`Step::Cue`] with this number at that time.
    pub fn cue(&mut self, at: Time, number: u64) {
        self.agenda.add(at.max(self.now), Moment::Cue(number));
    }

    /// When the next thing will happen.
    #[must_use]
    pub fn next_at(&self) -> Option<Time> {
        self.agenda.next_at()
    }

    /// Takes the next thing off the agenda and lets it happen.
    pub fn step(&mut self) -> Step {
        let Some((at, moment)) = self.agenda.take() else { return Step::Over };
        self.now = self.now.max(at);
        match moment {
            Moment::Alarm { host, life, at } => self.on_alarm(host, life, at),
            Moment::Syn { connection, since } => self.on_syn(connection, since),
            Moment::Answer { connection, answer } => self.on_answer(connection, answer),
            Moment::Accept { connection } => self.on_accept(connection),
            Moment::Flow { connection, side } => self.on_flow(connection, side),
            Moment::Backlog { connection, side, full } => self.on_backlog(connection, side, full),
            Moment::Heard { to, from, datagram } => self.on_heard(to, from, datagram),
            Moment::TurnOver { host, life } => self.on_turn_over(host, life),
            Moment::StallOver(id) => self.on_stall_over(id),
            Moment::Cue(number) => return Step::Cue(number),
        }
        Step::Moved
    }

    /// Steps until nothing more happens up to `end`, then moves the clock there. Stops early at a cue.
    pub fn run_until(&mut self, end: Time) -> Step {
        while self.agenda.next_at().is_some_and(|at| at <= end) {
            if let cue @ Step::Cue(_) = self.step() {
                return cue;
            }
        }
        self.now = self.now.max(end);
        if self.agenda.next_at().is_some() { Step::Moved } else { Step::Over }
    }

    /// A process starts on a host; nothing happens if one runs there already.
    pub fn start(&mut self, host: usize) {
        if self.is_live(host) {
            return;
        }
        let seed = self.settings.seed;
        let now = self.now;
        let Host { id, address, explicit, stored, life, .. } = &mut self.hosts[host];
        *life += 1;
        // `max(stored + 1, unix_ms)`, as the shell does it.
        let inc = Incarnation((stored.0 + 1).max(wall(now) / 1_000));
        *stored = inc;
        let key = (host as u64) << 32 | u64::from(*life);
        let birth = draw(seed, "birth", key);
        let contact = Contact { member: Member { id: id.clone(), inc }, birth, address: *address, explicit: *explicit };
        let priority = *explicit;
        let node = Node::new(contact.clone(), self.settings.config.clone(), draw(seed, "node", key), now);
        self.processes += 1;
        let pid = self.processes;
        let process = Process {
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
            may_stop: false,
            waiting: VecDeque::new(),
            datagrams_waiting: 0,
            told: 0,
        };
        let address = process.contact.address.to_string();
        self.hosts[host].process = Some(Box::new(process));
        self.record_spawn(host);
        self.tell(
            host,
            Note::Start {
                pid,
                pid_start: 0,
                log: None,
                address,
                build: env!("CARGO_PKG_VERSION").to_owned(),
                birth,
                priority,
                status: None,
            },
        );
        self.tell(host, Note::Ready);
        self.set_alarm(host);
    }

    /// A peer publishes a reading of its own; nothing happens where no process runs or it is stopped.
    pub fn publish(&mut self, host: usize, payload: Bytes) {
        if self.is_live(host) && !self.is_paused(host) {
            let time = wall(self.now);
            self.handle(host, None, Input::Publish { payload, time, guarantee: None });
        }
    }

    /// A peer is asked to leave.
    pub fn leave(&mut self, host: usize) {
        if self.is_live(host) && !self.is_paused(host) {
            self.record_leave(host);
            self.handle(host, None, Input::Leave);
        }
    }

    /// Lets a node handle an input, then does what it asks for.
    fn handle(&mut self, host: usize, from: Option<usize>, input: Input) {
        let Self { hosts, watch, out, now, tally, .. } = self;
        let from = from.map(|from| hosts[from].id.clone());
        let Some(process) = hosts[host].process.as_mut() else { return };
        tally.inputs += 1;
        watch.input(*now, &process.contact.member.id, from.as_ref(), &input);
        let mut out = std::mem::take(out);
        process.node.handle(*now, input, &mut out);
        for output in out.drain(..) {
            self.perform(host, output);
        }
        self.out = out;
        if self.settings.turn_us == 0 {
            self.write_out(host);
        }
        self.set_alarm(host);
    }

    fn perform(&mut self, host: usize, output: Output) {
        self.watch.output(self.now, &self.hosts[host].id, &output);
        match output {
            Output::Dial { link, to } => self.dial(host, link, to),
            Output::HangUp { link } => self.hang_up(host, link),
            Output::Send { link, message } => self.send(host, link, std::rc::Rc::new(message)),
            Output::Fan { links, message } => {
                let message = std::rc::Rc::new(message);
                links.into_iter().for_each(|link| self.send(host, link, std::rc::Rc::clone(&message)));
            }
            Output::Broadcast { datagram } => self.broadcast(host, *datagram),
            Output::Whisper { to, datagram } => self.whisper(host, to, *datagram),
            Output::Deliver(Delivery::Reading(reading)) => {
                self.tally.delivered += 1;
                self.tell(host, untold(reading));
            }
            // The node tells of holes and losses itself, and what became of a reading matters to its sensor only.
            Output::Deliver(Delivery::Gap { .. } | Delivery::Lost { .. }) | Output::Published { .. } => {}
            Output::Persist { incarnation, .. } => {
                self.hosts[host].stored = incarnation;
                if let Some(process) = self.hosts[host].process.as_mut() {
                    process.contact.member.inc = incarnation;
                }
            }
            Output::Note(note) => self.tell(host, note),
            Output::Stop(reason) => self.stop(host, &reason),
        }
    }

    /// Records what a peer tells.
    fn tell(&mut self, host: usize, note: Note) {
        self.tally.note(&note);
        let Some(process) = self.hosts[host].process.as_mut() else { return };
        process.told += 1;
        let Member { id, inc } = process.contact.member.clone();
        self.records.push(Record::Peer(Event { v: EVENT_VERSION, t: self.now, p: id, inc, n: process.told, note }));
    }

    /// Sets a process's timer to its node's deadline, if that is sooner than what it is set to.
    fn set_alarm(&mut self, host: usize) {
        let Host { life, process: Some(process), .. } = &mut self.hosts[host] else { return };
        let Some(deadline) = process.node.deadline() else { return };
        let mut at = deadline.max(self.now);
        if process.alarm.is_some_and(|alarm| alarm <= at) {
            return;
        }
        if self.settings.timer_late_us > 0 {
            let key = at.as_micros() ^ (host as u64) << 48;
            at += Duration::from_micros(draw(self.settings.seed, "late timer", key) % u64::from(self.settings.timer_late_us + 1));
        }
        process.alarm = Some(at);
        self.agenda.add(at, Moment::Alarm { host, life: *life, at });
    }

    fn on_alarm(&mut self, host: usize, life: u32, at: Time) {
        let now = self.now;
        let Some(process) = self.process_of(host, life) else { return };
        if process.alarm != Some(at) {
            return; // superseded by an earlier one
        }
        if process.paused {
            process.waiting.push_back(Moment::Alarm { host, life, at });
            return;
        }
        process.alarm = None;
        if process.node.deadline().is_some_and(|deadline| deadline <= now) {
            process.rings = if process.rang_at == now { process.rings + 1 } else { 0 };
            process.rang_at = now;
            assert!(process.rings < RINGS_MAX, "the node is stuck: woken {RINGS_MAX} times, it still wants to be woken at {now}");
            self.handle(host, None, Input::Wake);
        } else {
            self.set_alarm(host);
        }
    }

    /// The process of that life, if it still runs.
    fn process_of(&mut self, host: usize, life: u32) -> Option<&mut Process> {
        let host = &mut self.hosts[host];
        if host.life == life { host.process.as_deref_mut() } else { None }
    }
}

/// The note of a delivery, without the words that only a log would print: half of a run's time would go into them.
fn untold(reading: Reading) -> Note {
    let Reading { epoch, view_id, seq, origin, oseq, payload, guarantee, time: _ } = reading;
    let safe = guarantee == protocol::config::Guarantee::Safe;
    let digest = hex_digest(&payload);
    Note::Deliver { epoch, seq, view_id, origin: origin.id, origin_inc: origin.inc, oseq, digest, safe, text: String::new() }
}

/// The wall clock at a moment of virtual time, in microseconds since 1970.
fn wall(now: Time) -> u64 {
    WALL_AT_ZERO + now.as_micros()
}

/// 2026-01-01T00:00:00Z.
const WALL_AT_ZERO: u64 = 1_767_225_600_000_000;

/// A node that is woken that often at one moment, and still wants to be woken, is stuck.
const RINGS_MAX: u32 = 1_000;
