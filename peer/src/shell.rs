//! The loop: waits for sockets, signals, the worker and the node's deadline, turns each into an input, and performs
//! what the node puts out.
//!
//! A turn reads a bounded share of everything that is ready, then lets a passed deadline be one more input, then
//! writes. Reading comes first, so that a peer that ran late hears what has come meanwhile before it accuses anybody.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token, Waker};
use protocol::config::Config;
use protocol::draw::digest;
use protocol::id::{Contact, Incarnation, Member, Seq};
use protocol::message::WIRE_VERSION;
use protocol::node::Node;
use protocol::note::{Note, Refusal};
use protocol::seam::{Delivery, Input, Outcome, Output, StopReason};
use protocol::time::Time;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use crate::address;
use crate::clock;
use crate::descriptors;
use crate::discovery::{Discovery, Meeting, OWN, SHARED};
use crate::events::EventFile;
use crate::failure::{Failure, REFUSED, UNAVAILABLE, USAGE};
use crate::identity;
use crate::incarnation::{self, NoStore, Store};
use crate::inputs::{self, Life, Recorder};
use crate::links::{Found, Limits, Links};
use crate::narrator::Narrator;
use crate::rejects::Rejects;
use crate::sensors::Sensor;
use crate::sensors::stdin::Lines;
use crate::settings::{SensorName, Settings};
use crate::sinks::Sinks;
use crate::status::{CLIENT, Deliveries, Report, STATUS, Server};
use crate::worker::{Duties, Finding, Worker};

/// One peer, running.
pub struct Shell {
    poll: Poll,
    signals: Signals,
    node: Node,
    out: Vec<Output>,
    links: Links,
    discovery: Discovery,
    worker: Worker,
    lines: Option<Publisher>,
    status: Option<Server>,
    narrator: Narrator,
    rejects: Rejects,
    store: Option<Store>,
    recorder: Option<Recorder>,
    /// Delivered in this turn, and on its way to the sinks.
    delivered: Vec<Delivery>,
    deliveries: Tally,
    /// Why the reading that was just published was not taken.
    refused: Option<Refusal>,
    cluster: String,
    started: Time,
    leaving: bool,
    /// Set by a second signal.
    hurry: bool,
    stop: Option<StopReason>,
}

/// Files that outlive the process.
struct Kept {
    store: Option<Store>,
    recorder: Option<Recorder>,
}

/// Lines of standard input on their way to the node.
struct Publisher {
    lines: Lines,
    window: u64,
    /// Set while the window is full by bytes: when to try again, if nothing else has moved it.
    retry_at: Option<Time>,
    /// Whether there were more lines than one turn takes.
    more: bool,
}

/// What has been delivered, in numbers.
#[derive(Default)]
struct Tally {
    numbers: Deliveries,
    hash: u64,
}

impl Shell {
    /// Binds everything, tells that it starts and that it is ready.
    ///
    /// # Errors
    /// [`Failure`]: the address or the port cannot be had, or a file cannot be opened.
    pub fn start(settings: Settings) -> Result<Self, Failure> {
        let birth = identity::random();
        let id = settings.id.clone().unwrap_or_else(|| identity::generated_id(birth));
        let address = settings.address.unwrap_or_else(address::detect);
        let listener = TcpListener::bind((address, settings.port)).map_err(|error| {
            let at = SocketAddrV4::new(address, settings.port);
            Failure::new(UNAVAILABLE, format!("cannot listen on {at}: {error}; choose another --port (0 takes a free one) or --address"))
        })?;
        let SocketAddr::V4(bound) = listener.local_addr().map_err(|error| failed("the listener", &error))? else {
            unreachable!("an IPv4 address was bound");
        };
        let listener = descriptors::on_top(listener, descriptors::raise_limit());
        let store = settings.data.as_ref().map(|data| open_store(&data.folder)).transpose()?.flatten();
        let inc = incarnation::choose(store.as_ref().and_then(Store::load), clock::utc_micros() / 1_000);
        let events = settings.events.as_deref().map(open_events).transpose()?;
        let narrator = Narrator::new(id.clone(), inc, events, settings.log_deliveries);
        let recorder = settings.inputs.as_deref().map(open_recorder).transpose()?;
        narrator.tell_panics(recorder.as_ref().map(Recorder::path));
        let me = Contact { member: Member { id: id.clone(), inc }, birth, address: bound, explicit: settings.priority };
        Self::assemble(settings, me, listener, narrator, Kept { store, recorder }).map_err(|error| failed("the peer", &error))
    }

    fn assemble(settings: Settings, me: Contact, listener: TcpListener, narrator: Narrator, kept: Kept) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let status = Server::start(registry, std::process::id(), me.birth)
            .inspect_err(|error| log::warn!("`peer status` will not find this peer: {error}."))
            .ok();
        let start = identity::start_note(&me, status.as_ref().map(Server::path));
        narrator.tell(start.clone());
        advise(&settings, &me);
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        registry.register(&mut signals, SIGNALS, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(registry, WAKER)?);
        let links = Links::new(registry.try_clone()?, listener, Limits::default())?;
        let broadcast = address::broadcast_of(*me.address.ip(), &address::interfaces().unwrap_or_default());
        let discovery = Discovery::new(registry, Meeting { own: me.address, broadcast, port: settings.broadcast_port })?;
        let sensor = |&name: &SensorName| Sensor::new(name, me.id(), me.birth);
        let duties = Duties {
            sensors: settings.sensors.iter().filter_map(sensor).collect(),
            interval: settings.interval,
            sinks: settings.data.map(Sinks::new),
            seeds: settings.seeds,
        };
        let worker = Worker::start(duties, Arc::clone(&waker))?;
        let lines = settings.sensors.contains(&SensorName::Stdin).then(|| Publisher::start(&settings.config, &waker)).transpose()?;
        let Kept { store, mut recorder } = kept;
        let now = clock::now();
        if let Some(recorder) = &mut recorder {
            recorder.begin(&Life {
                format: inputs::FORMAT,
                wire: WIRE_VERSION,
                start,
                me: me.clone(),
                knobs: settings.config.knobs().clone(),
                seed: me.birth,
                now,
                utc: clock::utc_micros(),
                readings: settings.log_deliveries,
                stores: store.is_some(),
                log_level: settings.log_level,
                torn: recorder.torn(),
            });
        }
        let shell = Self {
            poll,
            signals,
            out: Vec::new(),
            links,
            discovery,
            worker,
            lines,
            status,
            narrator,
            rejects: Rejects::default(),
            store,
            recorder,
            delivered: Vec::new(),
            deliveries: Tally::default(),
            refused: None,
            cluster: settings.config.knobs().cluster.clone(),
            started: now,
            leaving: false,
            hurry: false,
            stop: None,
            node: Node::new(me.clone(), settings.config, me.birth, now),
        };
        shell.persist(me.member.inc);
        shell.narrator.tell(Note::Ready);
        Ok(shell)
    }

    /// Runs until the node is done or a second signal comes.
    ///
    /// # Errors
    /// [`Failure`] if the group refused this peer, or if the operating system fails in what cannot fail.
    pub fn run(mut self) -> Result<(), Failure> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while self.stop.is_none() {
            self.wait(&mut events).map_err(|error| failed("waiting for events", &error))?;
            self.take_events(&events);
            if self.hurry {
                log::warn!("A second signal: stopping at once, without leaving the group.");
                return self.end(None);
            }
            self.turn();
            if self.is_late() {
                self.catch_up(&mut events).map_err(|error| failed("waiting for events", &error))?;
            }
            self.wake();
            self.close_turn();
        }
        let reason = self.stop.take();
        self.end(reason)
    }

    /// Waits for the next event, or until something is due.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let retry = self.lines.as_ref().and_then(|lines| lines.retry_at);
        let due = self.node.deadline().into_iter().chain(self.links.deadline()).chain(retry).min();
        let more_lines = self.lines.as_ref().is_some_and(|lines| lines.more);
        let busy = more_lines || self.links.is_busy() || self.discovery.is_busy();
        let patience = if busy { Some(Duration::ZERO) } else { due.map(|due| due.since(clock::now())) };
        poll(&mut self.poll, events, patience)
    }

    /// Sorts the events.
    fn take_events(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                SIGNALS => {
                    for _ in self.signals.pending() {
                        if std::mem::replace(&mut self.leaving, true) {
                            self.hurry = true;
                        } else {
                            self.feed(Input::Leave);
                        }
                    }
                }
                OWN | SHARED => self.discovery.note(event),
                STATUS | CLIENT => self.answer_status(),
                // Whatever woke the loop is looked for in every turn.
                WAKER => {}
                _listener_or_link => self.links.note(event),
            }
        }
    }

    /// Reads this turn's share of everything.
    fn turn(&mut self) {
        self.links.begin(clock::now());
        while let Some(found) = self.links.next_found() {
            self.take(found);
        }
        self.discovery.begin();
        while let Some(found) = self.discovery.next_found() {
            self.take(found);
        }
        while let Some(finding) = self.worker.finding() {
            match finding {
                Finding::Measured { payload, time } => self.feed(Input::Publish { payload, time, guarantee: None }),
                Finding::Seeds(seeds) => self.discovery.set_seeds(seeds),
            }
        }
        self.publish_lines();
    }

    /// Whether a deadline passed so long ago that others may have spoken meanwhile without being heard.
    fn is_late(&self) -> bool {
        self.node.deadline().is_some_and(|due| clock::now().since(due) > LATE)
    }

    /// Reads until nothing is left, so that no deadline is judged over unread words.
    fn catch_up(&mut self, events: &mut Events) -> io::Result<()> {
        for _ in 0..CATCH_UP_TURNS {
            poll(&mut self.poll, events, Some(Duration::ZERO))?;
            if events.is_empty() && !self.links.is_busy() && !self.discovery.is_busy() {
                break;
            }
            self.take_events(events);
            self.turn();
            self.links.flush();
        }
        Ok(())
    }

    /// A passed deadline is one more input.
    fn wake(&mut self) {
        if self.node.deadline().is_some_and(|due| due <= clock::now()) {
            self.feed(Input::Wake);
        }
    }

    fn close_turn(&mut self) {
        self.links.flush();
        if !self.delivered.is_empty() {
            self.worker.keep(std::mem::take(&mut self.delivered));
        }
    }

    fn take(&mut self, found: Found) {
        match found {
            Found::Input(input) => self.feed(input),
            Found::Reject(reject) => {
                if let Some(note) = self.rejects.count(&reject) {
                    self.tell(note);
                }
            }
        }
    }

    /// Tells what the node has no part in, and its recording would not bring back.
    fn tell(&mut self, note: Note) {
        if let Some(recorder) = &mut self.recorder {
            recorder.tell(clock::now(), &note);
        }
        self.narrator.tell(note);
    }

    fn feed(&mut self, input: Input) {
        let mut out = std::mem::take(&mut self.out);
        let now = clock::now();
        if let Some(recorder) = &mut self.recorder {
            recorder.give(now, &input);
        }
        self.node.handle(now, input, &mut out);
        if let Some(recorder) = &mut self.recorder {
            recorder.count(out.len());
        }
        for output in out.drain(..) {
            self.perform(output);
        }
        self.out = out;
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Dial { link, to } => self.links.dial(link, to),
            Output::HangUp { link } => self.links.hang_up(link),
            Output::Send { link, message } => self.links.send(link, &message),
            Output::Fan { links, message } => self.links.fan(&links, &message),
            Output::Broadcast { datagram } => self.discovery.broadcast(&datagram),
            Output::Whisper { to, datagram } => self.discovery.whisper(to, &datagram),
            Output::Deliver(delivery) => self.deliver(delivery),
            Output::Published { outcome, .. } => {
                if let Outcome::Refused(why) = outcome {
                    self.refused = Some(why);
                }
            }
            Output::Persist { incarnation, .. } => {
                self.narrator.set_incarnation(incarnation);
                self.persist(incarnation);
            }
            Output::Note(note) => self.narrator.tell(note),
            Output::Stop(reason) => self.stop = Some(reason),
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        if let Delivery::Reading(reading) = &delivery {
            let tells = self.narrator.tells_readings();
            self.deliveries.count(reading.seq, reading.payload.len(), || {
                (!tells).then(|| [digest(reading.origin.id.as_str().as_bytes()), reading.oseq.0, digest(&reading.payload)])
            });
            if tells {
                self.narrator.tell(Note::delivered(reading));
            }
        }
        if self.worker.keeps() {
            self.delivered.push(delivery);
        }
    }

    /// Written by the loop itself, although it may block: it happens once or twice in a life, and nothing may be sent before.
    fn persist(&self, incarnation: Incarnation) {
        let Some(store) = &self.store else { return };
        match store.save(incarnation) {
            Ok(()) => self.narrator.tell(Note::Persist { incarnation }),
            Err(error) => log::warn!("Cannot store the incarnation: {error}. After a restart the clock alone has to tell the lives apart."),
        }
    }

    /// Publishes lines while there is room for them.
    fn publish_lines(&mut self) {
        let Some(mut publisher) = self.lines.take() else { return };
        let now = clock::now();
        if publisher.retry_at.is_none_or(|at| at <= now) {
            publisher.retry_at = None;
            let mut room = 0;
            for _ in 0..LINES_PER_TURN {
                let Some(line) = publisher.lines.peek().cloned() else { break };
                if room == 0 {
                    let status = self.node.status();
                    room = publisher.window.saturating_sub(status.published.above(status.ordered));
                }
                if room == 0 {
                    publisher.retry_at = Some(now + RETRY);
                    break;
                }
                room -= 1;
                self.refused = None;
                self.feed(Input::Publish { payload: line, time: clock::utc_micros(), guarantee: None });
                match self.refused.take() {
                    Some(Refusal::WindowFull) => {
                        publisher.retry_at = Some(now + RETRY);
                        break;
                    }
                    Some(Refusal::TooLarge | Refusal::Leaving | Refusal::NoQuorum) | None => publisher.lines.take(),
                }
            }
            publisher.more = publisher.retry_at.is_none() && publisher.lines.peek().is_some();
        }
        self.lines = Some(publisher);
    }

    fn answer_status(&mut self) {
        let Some(mut server) = self.status.take() else { return };
        server.serve(self.poll.registry(), || self.report());
        self.status = Some(server);
    }

    fn report(&self) -> Report {
        Report {
            status: self.node.status(),
            pid: std::process::id(),
            build: crate::BUILD.to_owned(),
            cluster: self.cluster.clone(),
            uptime_ms: u64::try_from(clock::now().since(self.started).as_millis()).unwrap_or(u64::MAX),
            links: self.links.len(),
            rejected: self.rejects.total(),
            deliveries: self.deliveries.report(!self.narrator.tells_readings()),
        }
    }

    /// Says the last words, and waits a moment for them to arrive: on links, and on the disk.
    fn end(mut self, reason: Option<StopReason>) -> Result<(), Failure> {
        self.close_turn();
        let until = clock::now() + FAREWELL;
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.links.is_flushed() && clock::now() < until {
            let _signal = poll(&mut self.poll, &mut events, Some(until.since(clock::now())));
            events.iter().filter(|event| is_link(event.token())).for_each(|event| self.links.note(event));
            self.links.begin(clock::now());
            while self.links.next_found().is_some() {}
            self.links.flush();
        }
        if !self.worker.finish(SINKS_PATIENCE) {
            log::warn!("The disk is too slow; the last readings are not kept.");
        }
        let (words, outcome) = farewell(reason);
        self.tell(Note::Stop { reason: words });
        outcome
    }
}

impl Publisher {
    fn start(config: &Config, waker: &Arc<Waker>) -> io::Result<Self> {
        let knobs = config.knobs();
        let line_max = usize::try_from(knobs.payload_max).unwrap_or(usize::MAX);
        let lines = Lines::start(io::stdin(), line_max, Arc::clone(waker))?;
        Ok(Self { lines, window: knobs.window_entries, retry_at: None, more: false })
    }
}

impl Tally {
    fn count(&mut self, seq: Seq, bytes: usize, parts: impl FnOnce() -> Option<[u64; 3]>) {
        if self.numbers.count == 0 {
            self.numbers.first = seq.0;
        }
        self.numbers.count += 1;
        self.numbers.bytes += bytes as u64;
        for part in parts().into_iter().flatten().chain([seq.0]) {
            self.hash = (self.hash.rotate_left(5) ^ part).wrapping_mul(ODD);
        }
    }

    fn report(&self, hashed: bool) -> Deliveries {
        Deliveries { hash: hashed.then(|| format!("{:016x}", self.hash)), ..self.numbers.clone() }
    }
}

fn poll(poll: &mut Poll, events: &mut Events, patience: Option<Duration>) -> io::Result<()> {
    match poll.poll(events, patience) {
        // A signal came; it has an event of its own.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        other => other,
    }
}

fn is_link(token: Token) -> bool {
    !matches!(token, SIGNALS | OWN | SHARED | STATUS | CLIENT | WAKER)
}

/// What there is to say before anything happens.
fn advise(settings: &Settings, me: &Contact) {
    if !me.address.ip().is_loopback() {
        log::warn!(
            "NOTHING IS AUTHENTICATED YET: anyone who reaches {} can join this group, read it and publish. \
             --address 127.0.0.1 keeps it on this machine.",
            me.address
        );
    }
    if settings.data.is_none() {
        log::info!("What is delivered is not kept; --data-dir FOLDER keeps it.");
    }
}

/// None where the folder cannot be written: that is told, and the peer goes on without.
fn open_store(folder: &Path) -> Result<Option<Store>, Failure> {
    match Store::open(folder) {
        Ok(store) => Ok(Some(store)),
        Err(NoStore::Taken) => {
            Err(Failure::new(UNAVAILABLE, format!("--data-dir {}: another running peer uses this folder", folder.display())))
        }
        Err(NoStore::Unwritable(error)) => {
            log::warn!("Cannot use {}: {error}. The incarnation is not kept; the clock alone tells lives apart.", folder.display());
            Ok(None)
        }
    }
}

fn open_events(path: &Path) -> Result<EventFile, Failure> {
    EventFile::open(path).map_err(|error| Failure::new(USAGE, format!("--events {}: {error}", path.display())))
}

fn open_recorder(path: &Path) -> Result<Recorder, Failure> {
    Recorder::open(path).map_err(|error| Failure::new(USAGE, format!("--inputs {}: {error}", path.display())))
}

/// The last event's words, and how the command ends.
fn farewell(reason: Option<StopReason>) -> (String, Result<(), Failure>) {
    match reason {
        None => ("stopped by a second signal, without leaving the group".to_owned(), Ok(())),
        Some(StopReason::Left) => ("left the group".to_owned(), Ok(())),
        Some(StopReason::LeftUnconfirmed) => ("left the group; nobody confirmed it in time".to_owned(), Ok(())),
        Some(StopReason::DuplicateId { holder, own }) => {
            let text = format!("refused: another living process at {holder} has the id of this one at {own}; choose another --id");
            (text.clone(), Err(Failure::new(REFUSED, text)))
        }
        Some(StopReason::OldIncarnation { known }) => {
            let text = format!("refused: a later process of this name (incarnation {known}) is in the group");
            (text.clone(), Err(Failure::new(REFUSED, text)))
        }
    }
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::new(UNAVAILABLE, format!("{what}: {error}"))
}

const SIGNALS: Token = Token(5);
const WAKER: Token = Token(6);
const EVENTS_MAX: usize = 1_024;
const LINES_PER_TURN: usize = 1_024;
const RETRY: Duration = Duration::from_millis(10);
/// A loop that runs later than this reads everything before it judges a deadline.
const LATE: Duration = Duration::from_millis(20);
const CATCH_UP_TURNS: usize = 256;
const FAREWELL: Duration = Duration::from_millis(500);
const SINKS_PATIENCE: Duration = Duration::from_secs(5);
const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
