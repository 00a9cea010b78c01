//! The simulation: a clock, an agenda, and the real nodes.
//!
//! Hosts live in an arena and are identified by their index. A step takes the next event off the
//! agenda, moves the clock there and lets one node handle one input; the node's outputs go back on
//! the agenda. All randomness is a keyed draw, so a seed replays everything. The simulation
//! executes acts (`kill`, `cut`, …) and decides nothing: the plan decides when they happen, and the
//! promises judge the result.

mod active_faults;
mod faults;
mod host;
mod judging;
mod lies;
mod lookout;
mod settings;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use bytes::Bytes;
use promises::history::Record;
use protocol::config::Guarantee;
use protocol::digest::Digest;
use protocol::draw::draw;
use protocol::id::{Contact, Incarnation, LinkId, Member, PeerId};
use protocol::io::{Delivery, Input, Output, Publication, Reading, Run};
use protocol::node::Node;
use protocol::note::{EVENT_VERSION, Event, Note};
use protocol::status::Status;
use protocol::time::Time;

use crate::agenda::Agenda;
use crate::breach::Breach;
use crate::clock::Clock;
use crate::connection::{Connection, EndState, Side};
use crate::hearing::Hearing;
use crate::liar::Liar;
use crate::marks::Marks;
use crate::pairs::Pairs;
use crate::plan::Lost;
use crate::tally::Tally;
use crate::truth::{Sheet, Truth, Wrong};
use crate::watch::Watch;
use crate::weather::Weather;
use active_faults::{ActiveFault, Filter};
use host::{Host, Process};
use lookout::{Awaited, Lookout};
use promises::shape::Over;
use udp::Flying;

pub use settings::Settings;

/// An event on the agenda.
#[derive(Debug)]
enum Moment {
    Alarm { host: usize, life: u32, at: Time },
    Syn { connection: usize, since: Time },
    Answer { connection: usize, answer: Answer },
    Accept { connection: usize },
    Flow { connection: usize, side: Side },
    Backlog { connection: usize, side: Side, full: bool },
    Heard { to: usize, from: usize, number: u64, again: bool, datagram: Flying },
    TurnOver { host: usize, life: u32 },
    StepOver { host: usize, life: u32 },
    FaultOver(u64),
    Cue(u64),
    Struck { number: u64, host: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Connected,
    Refused,
    Silence,
}

/// The result of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An event happened, in a node or in a kernel.
    Moved,
    /// A cue is due (see [`Simulation::cue`]).
    Cue(u64),
    /// A host has begun an awaited activity (see [`Simulation::await_activity`]).
    Struck {
        /// The number of the wait.
        number: u64,
        /// The host.
        host: usize,
    },
    /// The agenda is empty.
    Over,
}

/// The results of a simulation.
#[derive(Debug)]
pub struct Remains<W> {
    /// Its records.
    pub records: Vec<Record>,
    /// Its counts.
    pub tally: Tally,
    /// The rare events, and the phases that faults met.
    pub marks: Marks,
    /// How often each law was judged.
    pub laws: Sheet,
    /// The breaches of laws.
    pub breaches: Vec<Breach>,
    /// Its watcher.
    pub watch: W,
}

/// A simulation.
#[derive(Debug)]
pub struct Simulation<W> {
    settings: Settings,
    now: Time,
    agenda: Agenda<Moment>,
    hosts: Vec<Host>,
    by_address: BTreeMap<SocketAddrV4, usize>,
    /// Pairs whose connections, and whose datagrams, carry nothing.
    streams_cut: Pairs,
    datagrams_cut: Pairs,
    /// Pairs whose broadcasts or unicast datagrams are not heard, and pairs that cannot dial.
    broadcasts_cut: Pairs,
    unicasts_cut: Pairs,
    dials_cut: Pairs,
    /// Pairs between which a middlebox refuses on behalf of the other end.
    resets_cut: Pairs,
    /// The cuts in force, by the number of their record.
    cuts: BTreeMap<u64, (Vec<(usize, usize)>, Over)>,
    /// The other active faults, by the number of their record.
    active_faults: BTreeMap<u64, ActiveFault>,
    /// The messages that are lost next.
    filters: Vec<Filter>,
    /// Awaited activities.
    awaited: Vec<Awaited>,
    /// The datagrams that the weather took, if they are kept.
    losses: Vec<Lost>,
    keeps_losses: bool,
    /// Counts datagrams.
    flown: u64,
    lookout: Lookout,
    weather: Weather,
    /// The record of the current weather, if it is not the usual one.
    weather_fault: Option<u64>,
    connections: Vec<Connection>,
    tally: Tally,
    records: Vec<Record>,
    /// Counts the processes.
    processes: u32,
    /// Counts the simulation's own events.
    told: u64,
    /// The state and the deliveries of each process, compared with its claims.
    truth: Truth,
    /// Whether the laws are judged.
    is_judged: bool,
    /// When the parts of the group are examined next.
    look_at: Time,
    /// The liar, if there is one.
    liar: Option<Liar>,
    watch: W,
    out: Vec<Output>,
}

impl<W: Watch> Simulation<W> {
    /// An empty simulation at time zero.
    #[must_use]
    pub fn new(settings: Settings, watch: W) -> Self {
        Self {
            now: Time::ZERO,
            agenda: Agenda::new(draw(settings.seed, "agenda", 0)),
            hosts: Vec::new(),
            by_address: BTreeMap::new(),
            streams_cut: Pairs::new(),
            datagrams_cut: Pairs::new(),
            broadcasts_cut: Pairs::new(),
            unicasts_cut: Pairs::new(),
            dials_cut: Pairs::new(),
            resets_cut: Pairs::new(),
            cuts: BTreeMap::new(),
            active_faults: BTreeMap::new(),
            filters: Vec::new(),
            awaited: Vec::new(),
            losses: Vec::new(),
            keeps_losses: false,
            flown: 0,
            lookout: Lookout::new(),
            weather: settings.weather,
            weather_fault: None,
            connections: Vec::new(),
            tally: Tally::default(),
            records: Vec::new(),
            processes: 0,
            told: 0,
            truth: Truth::new(settings.config.knobs()),
            is_judged: true,
            look_at: Time::ZERO,
            liar: None,
            watch,
            out: Vec::new(),
            settings,
        }
    }

    /// A new host without a process; its index. If another host has that name, this one is its
    /// twin.
    ///
    /// # Panics
    /// If there are more than 250 hosts, because the addresses run out.
    pub fn add_host(&mut self, id: PeerId, explicit: i64) -> usize {
        let host = self.hosts.len();
        let number = u8::try_from(host + 1)
            .ok()
            .filter(|n| *n <= 250)
            .expect("a simulation has at most 250 hosts");
        let address = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, number), 5_000 + u16::from(number));
        self.by_address.insert(address, host);
        let datagram_seed = draw(self.settings.seed, "datagrams of", host as u64);
        let twin = self.hosts.iter().any(|other| other.id == id);
        self.hosts.push(Host::new(id, address, explicit, datagram_seed, twin));
        let tables = [
            &mut self.streams_cut,
            &mut self.datagrams_cut,
            &mut self.broadcasts_cut,
            &mut self.unicasts_cut,
            &mut self.dials_cut,
            &mut self.resets_cut,
        ];
        tables.into_iter().for_each(Pairs::grow);
        host
    }

    /// Sets the drift of a host's clock, in parts per million. To be called before a process runs
    /// there.
    pub fn set_drift(&mut self, host: usize, drift_ppm: i32) {
        self.hosts[host].clock = Clock::new(drift_ppm);
    }

    /// Sets which hosts hear and can dial which from now on. To be called before any process runs.
    ///
    /// A peer that cannot be dialled may be out of a candidate's reach until it dials itself, and
    /// that is recorded.
    pub fn set_hearing(&mut self, hearing: &Hearing) {
        self.record_no_dial(&hearing.no_dial);
        self.broadcasts_cut.cut(&hearing.no_broadcast);
        self.unicasts_cut.cut(&hearing.no_unicast);
        self.dials_cut.cut(&hearing.no_dial);
        // An asymmetric network is not for the law about parts to judge (see `hearing`).
        let deaf = hearing.no_broadcast.iter().chain(&hearing.no_unicast).copied().collect();
        self.truth.links.begin(self.now, u64::MAX, Wrong::Hearing(deaf));
        hearing.seeds.iter().for_each(|&(host, seed)| self.hosts[host].seeds.push(seed));
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// The counts so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The watcher.
    #[must_use]
    pub fn watch(&self) -> &W {
        &self.watch
    }

    /// The watcher, mutably.
    pub fn watch_mut(&mut self) -> &mut W {
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

    /// The rare events so far, and the phases that faults met.
    #[must_use]
    pub fn marks(&self) -> &Marks {
        self.lookout.marks()
    }

    /// From now on the datagrams that the weather takes are kept.
    pub fn keep_losses(&mut self) {
        self.keeps_losses = true;
    }

    /// The datagrams that the weather took while they were kept.
    #[must_use]
    pub fn losses(&self) -> &[Lost] {
        &self.losses
    }

    /// Whether a process there is paused.
    #[must_use]
    pub fn is_paused(&self, host: usize) -> bool {
        self.hosts[host].process.as_ref().is_some_and(|process| process.paused)
    }

    /// The status of the node there.
    #[must_use]
    pub fn status(&self, host: usize) -> Option<Status> {
        self.hosts[host].process.as_ref().map(|process| process.node.status())
    }

    /// The node there.
    #[must_use]
    pub fn node(&self, host: usize) -> Option<&Node> {
        self.hosts[host].process.as_ref().map(|process| &process.node)
    }

    /// The digest of the cluster that all nodes are of.
    #[must_use]
    pub fn cluster(&self) -> u64 {
        self.settings.config.cluster()
    }

    /// The established links of the node there, and the hosts at their other ends.
    #[must_use]
    pub fn links(&self, host: usize) -> BTreeMap<LinkId, usize> {
        let links = self.hosts[host].process.iter().flat_map(|process| &process.links);
        let other = |(link, &(connection, side)): (&LinkId, &(usize, Side))| {
            let ends = &self.connections[connection].ends;
            (ends[side].state == EndState::Up).then_some((*link, ends[1 - side].host))
        };
        links.filter_map(other).collect()
    }

    /// The records so far, in order.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Ends the simulation and returns its results.
    #[must_use]
    pub fn into_parts(self) -> Remains<W> {
        let (laws, breaches) = self.truth.into_findings();
        Remains {
            records: self.records,
            tally: self.tally,
            marks: self.lookout.into_marks(),
            laws,
            breaches,
            watch: self.watch,
        }
    }

    /// Makes [`Simulation::step`] return [`Step::Cue`] with this number at that time.
    pub fn cue(&mut self, at: Time, number: u64) {
        self.agenda.add(at.max(self.now), Moment::Cue(number));
    }

    /// The time of the next event.
    #[must_use]
    pub fn next_at(&self) -> Option<Time> {
        self.agenda.next_at()
    }

    /// Performs the next event of the agenda.
    pub fn step(&mut self) -> Step {
        let Some((at, moment)) = self.agenda.take() else { return Step::Over };
        self.look_at_parts(at);
        self.now = self.now.max(at);
        match moment {
            Moment::Cue(number) => return Step::Cue(number),
            Moment::Struck { number, host } => return Step::Struck { number, host },
            moment => self.happen(moment),
        }
        Step::Moved
    }

    fn happen(&mut self, moment: Moment) {
        match moment {
            Moment::Alarm { host, life, at } => self.on_alarm(host, life, at),
            Moment::Syn { connection, since } => self.on_syn(connection, since),
            Moment::Answer { connection, answer } => self.on_answer(connection, answer),
            Moment::Accept { connection } => self.on_accept(connection),
            Moment::Flow { connection, side } => self.on_flow(connection, side),
            Moment::Backlog { connection, side, full } => self.on_backlog(connection, side, full),
            Moment::Heard { to, from, number, again, datagram } => {
                self.on_heard(to, from, number, again, datagram)
            }
            Moment::TurnOver { host, life } => self.on_turn_over(host, life),
            Moment::StepOver { host, life } => self.on_step_over(host, life),
            Moment::FaultOver(id) => self.on_fault_over(id),
            // The director handles these.
            Moment::Cue(_) | Moment::Struck { .. } => {}
        }
    }

    /// Steps until no event is left up to `end`, then moves the clock there. Stops early at a cue
    /// or an awaited activity.
    pub fn run_until(&mut self, end: Time) -> Step {
        while self.agenda.next_at().is_some_and(|at| at <= end) {
            if let step @ (Step::Cue(_) | Step::Struck { .. }) = self.step() {
                return step;
            }
        }
        self.now = self.now.max(end);
        if self.agenda.next_at().is_some() { Step::Moved } else { Step::Over }
    }

    /// Starts a process on a host; no effect if one runs there already, or if it cannot start.
    pub fn start(&mut self, host: usize) {
        let Host { disk_full, has_history, .. } = &self.hosts[host];
        // It could not store its next incarnation, and its membership in a view depends on that.
        if self.is_live(host) || *disk_full && *has_history {
            return;
        }
        self.power_up(host);
        let seed = self.settings.seed;
        let now = self.now;
        let twins = self
            .hosts
            .iter()
            .enumerate()
            .filter(|(other, twin)| *other != host && twin.id == self.hosts[host].id);
        let taken: Vec<Incarnation> = twins.map(|(_, twin)| twin.stored).collect();
        let birth = Host::birth(&self.hosts, host, seed);
        let Host {
            id,
            address,
            explicit,
            stored,
            lives,
            has_history,
            life,
            clock,
            behind,
            disk_full,
            ..
        } = &mut self.hosts[host];
        *life += 1;
        // `max(stored + 1, unix_ms)`, as in the shell.
        let shown = if *behind { u64::from(*life) } else { wall(now) / 1_000 };
        let mut inc = Incarnation((stored.0 + 1).max(shown));
        // The records identify lives by name and incarnation, so two of one name do not start in
        // the same millisecond.
        if taken.contains(&inc) {
            inc.0 += 1;
        }
        if !*disk_full {
            *stored = inc;
        }
        lives.push(inc);
        let key = (host as u64) << 32 | u64::from(*life);
        let contact = Contact {
            member: Member { id: id.clone(), inc },
            birth,
            address: *address,
            explicit: *explicit,
        };
        let priority = *explicit;
        let node = Node::new(
            contact.clone(),
            self.settings.config.clone(),
            draw(seed, "node", key),
            clock.read(now),
        );
        let node = if *has_history { node.with_history() } else { node };
        // Every other machine has the correct time of day.
        let node =
            if host.is_multiple_of(2) { node.with_clock(clock.read(now), wall(now)) } else { node };
        self.processes += 1;
        let pid = self.processes;
        let process = Process::new(pid, node, contact, now);
        let address = process.contact.address.to_string();
        self.truth.begin(host, &process.contact.member);
        self.truth.links.turn(now, host, false);
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
                omits_readings: false,
            },
        );
        self.tell(host, Note::Ready);
        self.set_alarm(host);
    }

    /// A peer publishes a reading of its own, with the cluster's guarantee or another one; no
    /// effect if no process runs there or it is paused.
    pub fn publish(&mut self, host: usize, payload: Bytes, guarantee: Option<Guarantee>) {
        if self.is_live(host) && !self.is_paused(host) {
            let time = wall(self.now);
            self.handle(
                host,
                None,
                Input::Publish { publications: vec![Publication::one(payload, time, guarantee)] },
            );
        }
    }

    /// The same with several readings that the shell gives to the node together.
    pub fn publish_together(&mut self, host: usize, readings: Vec<(Bytes, Option<Guarantee>)>) {
        if self.is_live(host) && !self.is_paused(host) {
            let time = wall(self.now);
            let publications = Publication::together(
                readings.into_iter().map(|(payload, guarantee)| (payload, time, guarantee)),
            );
            self.handle(host, None, Input::Publish { publications });
        }
    }

    /// Changes the explicit priority of a peer; a restart brings the old one back.
    pub fn prioritise(&mut self, host: usize, explicit: i64) {
        if self.is_live(host) && !self.is_paused(host) {
            self.watch.act(self.now, format_args!("prioritise {} {explicit}", self.hosts[host].id));
            self.handle(host, None, Input::Prioritised { explicit });
        }
    }

    /// A peer is asked to leave.
    pub fn leave(&mut self, host: usize) {
        if self.is_live(host) && !self.is_paused(host) {
            self.record_leave(host);
            self.truth.leaves(host);
            self.truth.links.touch(self.now, &Wrong::Host(host));
            self.handle(host, None, Input::Leave);
        }
    }

    /// Lets a node handle an input and performs its outputs; returns their number.
    fn handle(&mut self, host: usize, from: Option<usize>, input: Input) -> usize {
        self.look_at_input(host, &input);
        let Self { hosts, watch, out, now, tally, truth, .. } = self;
        let from = from.map(|from| hosts[from].id.clone());
        let Host { process: Some(process), clock, .. } = &mut hosts[host] else { return 0 };
        if let Input::Publish { publications } = &input {
            let sizes = publications
                .iter()
                .flat_map(|given| given.readings.iter().map(|(payload, _)| payload.len() as u64));
            truth.given(host, sizes.collect());
        }
        tally.inputs += 1;
        watch.input(*now, &process.contact.member.id, from.as_ref(), &input);
        let mut out = std::mem::take(out);
        process.node.handle(clock.read(*now), input, &mut out);
        // A debug build of the core asks itself.
        if !cfg!(debug_assertions)
            && let Err(why) = process.node.check()
        {
            panic!("{}: {why}", process.contact.member);
        }
        let asked = out.len();
        let activity = process.node.activity();
        let before = std::mem::replace(&mut process.activity, activity);
        self.judge(host, &out);
        for output in out.drain(..) {
            // A process whose store failed has ended, and sends nothing that depends on it.
            if self.is_live(host) {
                self.perform(host, output);
            }
        }
        self.out = out;
        if self.settings.turn_us == 0 {
            self.write_out(host);
        }
        if activity != before {
            self.look_at_activity(host, activity);
        }
        self.set_alarm(host);
        self.keep_busy(host);
        self.judge_bounds(host, asked);
        asked
    }

    fn perform(&mut self, host: usize, output: Output) {
        self.watch.output(self.now, &self.hosts[host].id, &output);
        match output {
            Output::Dial { link, to } => self.dial(host, link, to),
            Output::HangUp { link } => self.hang_up(host, link),
            Output::Send { link, message } => self.send(host, link, std::rc::Rc::new(message)),
            Output::Fan { links, message } => {
                let message = std::rc::Rc::new(message);
                links
                    .into_iter()
                    .for_each(|link| self.send(host, link, std::rc::Rc::clone(&message)));
            }
            Output::Broadcast { datagram } => self.broadcast(host, *datagram),
            Output::Whisper { to, datagram } => self.whisper(host, to, *datagram),
            Output::Deliver(Delivery::Run(run)) => {
                self.tally.delivered += run.readings.len();
                run.iter().for_each(|reading| self.tell(host, untold(&reading)));
            }
            output @ (Output::Accepted { .. } | Output::Acknowledged { .. }) => {
                output.notes_of_readings(|note| self.tell(host, note));
            }
            // The node itself reports gaps and losses, and only the reading's sensor needs its
            // fate.
            Output::Refused { why, .. } => self.look_at_refusal(host, why),
            Output::Deliver(_)
            | Output::Published { .. }
            | Output::Asked { .. }
            | Output::Answered { .. } => {}
            Output::Persist { incarnation, has_history } => {
                self.persist(host, incarnation, has_history)
            }
            Output::Note(note) => self.tell(host, note),
            Output::Stop(reason) => self.stop(host, &reason),
        }
    }

    /// Stores the incarnation of a process, and whether it has been in a view; it cannot continue
    /// without the latter.
    fn persist(&mut self, host: usize, incarnation: Incarnation, has_history: bool) {
        let Host { stored, lives, has_history: was, disk_full, process, .. } =
            &mut self.hosts[host];
        if let Some(process) = process {
            process.contact.member.inc = incarnation;
        }
        if lives.last() != Some(&incarnation) {
            lives.push(incarnation);
        }
        if !*disk_full {
            (*stored, *was) = (incarnation, has_history);
        } else if has_history {
            self.fail(host);
        }
    }

    /// Records a note of a peer.
    fn tell(&mut self, host: usize, note: Note) {
        self.tally.note(&note);
        self.look_at_note(host, &note);
        let Some(process) = self.hosts[host].process.as_mut() else { return };
        process.told += 1;
        let Member { id, inc } = process.contact.member.clone();
        self.records.push(Record::Peer(Event {
            v: EVENT_VERSION,
            t: self.now,
            p: id,
            inc,
            n: process.told,
            note,
        }));
    }

    /// Sets a process's timer to its node's deadline, if that is earlier than the current setting.
    fn set_alarm(&mut self, host: usize) {
        let Host { life, process: Some(process), clock, .. } = &mut self.hosts[host] else {
            return;
        };
        let Some(deadline) = process.node.deadline() else { return };
        let mut at = clock.when(deadline).max(self.now);
        if process.alarm.is_some_and(|alarm| alarm <= at) {
            return;
        }
        if self.settings.timer_late_us > 0 {
            let key = at.as_micros() ^ (host as u64) << 48;
            at += Duration::from_micros(
                draw(self.settings.seed, "late timer", key)
                    % u64::from(self.settings.timer_late_us + 1),
            );
        }
        process.alarm = Some(at);
        self.agenda.add(at, Moment::Alarm { host, life: *life, at });
    }

    fn on_alarm(&mut self, host: usize, life: u32, at: Time) {
        let now = self.now;
        let shown = self.hosts[host].clock.read(now);
        let Some(process) = self.process_of(host, life) else { return };
        if process.alarm != Some(at) || process.keep(Moment::Alarm { host, life, at }).is_none() {
            return; // superseded by an earlier one, or kept for later
        }
        process.alarm = None;
        if process.node.deadline().is_some_and(|deadline| deadline <= shown) {
            process.rings = if process.rang_at == now { process.rings + 1 } else { 0 };
            process.rang_at = now;
            assert!(
                process.rings < RINGS_MAX,
                "the node is stuck: woken {RINGS_MAX} times, it still wants to be woken at {now}"
            );
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

/// The note of a delivery, without the text that only a log would print: formatting it would take
/// half of a run's time.
fn untold(reading: &Reading<'_>) -> Note {
    let Reading { run, seq, oseq, payload, .. } = *reading;
    let Run { log, epoch, view_id, origin, guarantee, .. } = run;
    let (safe, digest) = (*guarantee == Guarantee::Safe, Digest::of(payload));
    let (log, epoch, view_id) = (log.clone(), epoch.clone(), *view_id);
    let (origin, origin_inc) = (origin.id.clone(), origin.inc);
    Note::Deliver {
        log,
        epoch,
        seq,
        view_id,
        origin,
        origin_inc,
        oseq,
        digest,
        safe,
        text: String::new(),
    }
}

/// The wall clock at a moment of virtual time, in microseconds since 1970.
fn wall(now: Time) -> u64 {
    WALL_AT_ZERO + now.as_micros()
}

/// 2026-01-01T00:00:00Z.
const WALL_AT_ZERO: u64 = 1_767_225_600_000_000;

/// A node that is woken this often at one moment, and still wants to be woken, is stuck.
const RINGS_MAX: u32 = 1_000;
