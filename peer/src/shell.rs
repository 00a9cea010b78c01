//! The loop: waits for sockets, signals, the worker and the node's deadline, turns each into an
//! input, and performs the node's outputs.
//!
//! A turn reads a bounded share of everything that is ready, then turns a passed deadline into one
//! more input, then writes. Reading comes first, so that a peer that ran late handles the messages
//! that came meanwhile before it suspects any peer.

use std::io;
use std::time::Duration;

use mio::{Events, Poll, Token};
use protocol::config::Guarantee;
use protocol::id::PeerId;
use protocol::io::{Delivery, Input, Output, Publication, StopReason};
use protocol::node::Node;
use protocol::note::{Level, Note, Refusal};
use protocol::time::Time;
use signal_hook::consts::SIGHUP;
use signal_hook_mio::v1_0::Signals;
use stdio::signals::Requests;

use self::door::Desk;
use self::queries::Queries;
use self::tally::Tally;
use crate::chronicle::Chronicle;
use crate::clock;
use crate::company::Company;
use crate::contacts::Contacts;
use crate::counters::Counters;
use crate::discovery::{self, Discovery};
use crate::door::Door;
use crate::door::confirmations::Confirmations;
use crate::failure::{Failure, UNAVAILABLE};
use crate::incarnation::Past;
use crate::inputs::Recorder;
use crate::keeper::Keeper;
use crate::links::{Found, Links};
use crate::meter::Meter;
use crate::names::Names;
use crate::narrator::Narrator;
use crate::network::Network;
use crate::notify::Notify;
use crate::outputs::Outputs;
use crate::pacer::Pacer;
use crate::publisher::Publisher;
use crate::reach::Reach;
use crate::refusals::Refusals;
use crate::rejects::Rejects;
use crate::reload::Reloader;
use crate::scout::Scout;
use crate::sensors::gauge::Gauge;
use crate::sensors::load::Load;
use crate::silence::Silence;
use crate::stamps::Stamps;
use crate::tokens::Tokens;
use crate::units::Units;
use crate::worker::{Finding, Worker};

mod account;
mod door;
mod ending;
mod memory;
mod moving;
mod publishing;
mod queries;
mod service;
mod start;
mod tally;

/// One peer, running.
pub struct Shell {
    poll: Poll,
    signals: Signals,
    node: Node,
    out: Vec<Output>,
    /// The time of the node's last input.
    now: Time,
    /// When the newest view came into force.
    view_since: Time,
    links: Links,
    discovery: Discovery,
    network: Network,
    scout: Scout,
    /// None if there is no name to resolve.
    names: Option<Names>,
    reach: Reach,
    silence: Silence,
    /// Recent members of the group.
    contacts: Contacts,
    worker: Worker,
    lines: Option<Publisher>,
    gauges: Vec<Gauge>,
    /// The units of its sensors.
    units: Units,
    stamps: Stamps,
    load: Option<Load>,
    /// Wakes the loop for load that comes at a rate.
    pacer: Option<Pacer>,
    /// The service for programs of this machine.
    door: Door,
    desk: Desk,
    confirmations: Confirmations,
    /// None without a data folder.
    tokens: Option<Tokens>,
    /// Since when each member has been in the group.
    company: Company,
    chronicle: Chronicle,
    counters: Counters,
    queries: Queries,
    /// Answers of the leader to questions of other members' programs.
    answers: Vec<Input>,
    /// The node's knowledge of the wall clock: its difference to the monotonic one.
    clock_offset: Option<i64>,
    /// The configured priority.
    priority: i64,
    payload_max: u64,
    meter: Meter,
    notify: Notify,
    /// Whether the node has written a note since the last report to the service manager.
    has_news: bool,
    reloader: Reloader,
    narrator: Narrator,
    rejects: Rejects,
    /// None if nothing is stored.
    keeper: Option<Keeper>,
    id: PeerId,
    past: Past,
    recorder: Option<Recorder>,
    outputs: Outputs,
    /// Deliveries of this turn, on their way to the sinks.
    delivered: Vec<Delivery>,
    deliveries: Tally,
    /// The refused ones among the readings just given to the node, and why.
    refused: Vec<(u64, Refusal)>,
    refusals: Refusals,
    cluster: String,
    cluster_digest: u64,
    delivery: Guarantee,
    started: Time,
    /// The requests to stop this process.
    requests: Requests,
    /// Set by a second request.
    hurry: bool,
    stop: Option<StopReason>,
    /// Why it cannot continue, for a reason other than the group.
    broken: Option<Failure>,
}

impl Shell {
    /// Runs until the node is done or a second request to stop arrives.
    ///
    /// # Errors
    /// [`Failure`] if the group refused this peer, or if an operation that cannot fail did.
    pub fn run(mut self) -> Result<(), Failure> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while self.stop.is_none() && self.broken.is_none() {
            self.wait(&mut events).map_err(|error| failed("waiting for events", &error))?;
            self.notify.turn(clock::now());
            self.take_events(&events);
            if self.hurry {
                log::warn!("A second signal: stopping at once, without leaving the group.");
                return self.end(None);
            }
            if !self.may_speak() {
                self.serve_door_meanwhile();
                continue;
            }
            // The node moves a deadline that has passed at the first input after it.
            let due = self.node.deadline();
            self.turn();
            if due.is_some_and(|due| clock::now().since(due) > LATE) {
                self.catch_up(&mut events).map_err(|error| failed("waiting for events", &error))?;
            }
            self.wake(due);
            self.close_turn();
        }
        let reason = self.stop.take();
        self.end(reason)
    }

    /// Waits for the next event, or for the next deadline.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let load = self
            .load
            .as_ref()
            .and_then(|load| load.deadline().filter(|_| !load.is_stalled() && self.has_room()));
        if let Some((pacer, at)) = self.pacer.as_mut().zip(load) {
            pacer.set(at)?;
        }
        if let Some(keeper) = self.keeper.as_ref().filter(|keeper| keeper.is_storing()) {
            let due = keeper.deadline().into_iter().chain(self.notify.deadline()).min();
            let patience = due.map(|due| due.since(clock::now()));
            return poll(&mut self.poll, events, patience);
        }
        let due = self
            .node
            .deadline()
            .into_iter()
            .chain(self.links.deadline())
            .chain(self.reach_deadline());
        let due = due.chain(self.queries.deadline()).chain(self.notify.deadline()).min();
        let more_lines = self.lines.as_ref().is_some_and(|lines| lines.more);
        let busy = more_lines
            || self.desk.is_busy(self.node.room())
            || self.has_load()
            || self.links.is_busy()
            || self.discovery.is_busy();
        let patience =
            if busy { Some(Duration::ZERO) } else { due.map(|due| due.since(clock::now())) };
        poll(&mut self.poll, events, patience)
    }

    /// Sorts the events.
    fn take_events(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                SIGNALS => self.take_signals(),
                token if discovery::is_ours(token) => self.discovery.note(event),
                // Every turn checks all sources that may have woken the loop.
                WAKER | PACER => {}
                _listener_or_link => self.links.note(event),
            }
        }
    }

    fn take_signals(&mut self) {
        let signals: Vec<i32> = self.signals.pending().collect();
        for signal in signals {
            if signal == SIGHUP {
                self.hang_up();
                continue;
            }
            let before = self.requests.count();
            match self.requests.note(Duration::from_micros(clock::now().as_micros())) {
                1 if before == 0 => {
                    self.notify.stop("Leaving the group");
                    self.feed(Input::Leave);
                }
                1 => {}
                _ => self.hurry = true,
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
                Finding::Measured { payload, time, gauge } => {
                    let time = self.stamps.next(time);
                    self.publish_measured(Publication::one(payload, time, None), &gauge);
                }
            }
        }
        self.look_around();
        self.publish_lines();
        self.publish_load();
        self.tell_clock();
        self.serve_door();
        self.look_after_queries();
        for answer in std::mem::take(&mut self.answers) {
            self.feed(answer);
        }
    }

    /// Reads until nothing is left, so that no deadline is judged with unread messages.
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

    /// A passed deadline is one more input. What was due at the beginning of the turn says how late
    /// the loop is.
    fn wake(&mut self, began: Option<Time>) {
        let now = clock::now();
        if let Some(due) = self.node.deadline().filter(|due| *due <= now) {
            self.counters.lag(now.since(began.map_or(due, |began| began.min(due))));
            self.feed(Input::Wake);
        }
    }

    fn close_turn(&mut self) {
        self.links.flush();
        self.narrator.tell_losses();
        self.look_at_service();
        if !self.delivered.is_empty() {
            self.outputs.gate().pass();
            let delivered = std::mem::take(&mut self.delivered);
            if self.worker.keeps() {
                self.worker.keep(delivered.clone());
            }
            self.door.deliver(delivered, clock::utc_micros());
        }
        self.door.close_turn();
    }

    fn take(&mut self, found: Found) {
        match found {
            Found::Input(input) => {
                match &input {
                    Input::Heard { from, datagram } => self.hear(*from, datagram),
                    Input::Received { link, messages } => {
                        self.meter.note_received(clock::now(), *link, messages, |link| {
                            self.node.peer_of(link)
                        });
                    }
                    _ => {}
                }
                self.feed(input);
            }
            Found::Large(link) if self.node.takes_large(link) => self.links.allow_large(link),
            Found::Large(link) => self.links.refuse_large(link),
            Found::Reject(reject) => {
                if let Some(note) = self.rejects.count(&reject) {
                    self.tell(note);
                }
            }
        }
    }

    /// Tells the node the wall clock, if it has changed.
    fn tell_clock(&mut self) {
        let signed = |micros: u64| i64::try_from(micros).unwrap_or(i64::MAX);
        let utc = clock::utc_micros();
        let offset = signed(utc).saturating_sub(signed(clock::now().as_micros()));
        if self.clock_offset.is_none_or(|known| known.abs_diff(offset) > CLOCK_DRIFT_MICROS) {
            self.clock_offset = Some(offset);
            self.feed(Input::Clock { utc });
        }
    }

    /// Reports a note that is not the node's, so its recording would not contain it.
    fn tell(&mut self, note: Note) {
        self.chronicle.note(&note, clock::utc_micros());
        self.door.stir();
        if let Some(recorder) = &mut self.recorder {
            recorder.tell(clock::now(), &note);
        }
        self.narrator.tell(note);
    }

    fn feed(&mut self, input: Input) {
        let mut out = std::mem::take(&mut self.out);
        let now = clock::now();
        self.now = now;
        if let Some(recorder) = &mut self.recorder {
            recorder.give(now, &input);
        }
        self.node.handle(now, input, &mut out);
        if let Some(recorder) = &mut self.recorder {
            recorder.count(out.len());
        }
        for output in out.drain(..) {
            // Output that depends on a failed store is not sent.
            if self.broken.is_none() {
                self.perform(output);
            }
        }
        self.out = out;
    }

    fn perform(&mut self, output: Output) {
        if let Some(keeper) = self.keeper.as_mut().filter(|keeper| keeper.is_storing()) {
            keeper.hold(output);
            return;
        }
        self.meter.note_sent(self.now, &output);
        if self.narrator.tells_readings() {
            output.notes_of_readings(|note| self.narrator.tell(note));
        }
        match output {
            Output::Dial { link, to } => self.links.dial(link, to),
            Output::HangUp { link } => self.links.hang_up(link),
            Output::Send { link, message } => self.links.send(link, &message),
            Output::Fan { links, message } => self.links.fan(&links, &message),
            Output::Broadcast { datagram } => {
                self.outputs.gate().pass();
                self.discovery.broadcast(&datagram);
            }
            Output::Whisper { to, datagram } => {
                self.outputs.gate().pass();
                self.discovery.whisper(to, &datagram);
            }
            Output::Deliver(delivery) => self.deliver(delivery),
            Output::Acknowledged { .. } => {}
            Output::Asked { from, ask, question } => self.on_asked(from, ask, &question),
            Output::Answered { ask, answer } => self.on_answered(ask, &answer),
            Output::Accepted { first, readings, .. } => {
                self.counters.accept(
                    self.node.contact().member.inc,
                    first,
                    readings.len(),
                    self.now,
                );
                self.on_accepted(first, readings.len());
            }
            Output::Published { first, last, place, outcome } => {
                let inc = self.node.contact().member.inc;
                self.counters.order(inc, first, last);
                self.confirmations.on_published(
                    inc,
                    (first, last),
                    place.as_ref(),
                    outcome,
                    &self.door,
                );
            }
            Output::Refused { place, why } => {
                self.counters.refuse(why);
                self.on_refused(why);
                self.refused.push((place, why));
            }
            Output::Persist { incarnation, has_history } => {
                self.narrator.set_incarnation(incarnation);
                if has_history {
                    self.past = Past::Veteran;
                }
                self.store(incarnation);
            }
            Output::Note(note) => {
                self.has_news = true;
                let is_view = matches!(note, Note::View { .. });
                self.chronicle.note(&note, clock::utc_micros());
                self.counters.note(&note);
                if note.level() <= Level::Info {
                    self.door.stir();
                }
                self.narrator.tell(note);
                if is_view {
                    self.view_since = self.now;
                    self.remember_contacts();
                }
            }
            Output::Stop(reason) => self.stop = Some(reason),
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        if let Delivery::Run(run) = &delivery {
            // If each reading is reported, anyone can compare them.
            self.deliveries.count(self.now, run, !self.narrator.tells_readings());
        }
        match &delivery {
            Delivery::Lost { origin, from, to, .. } if *origin == self.node.contact().member => {
                self.confirmations.on_lost(*from, *to, &self.door);
            }
            Delivery::View(standing) => self.company.meet(&standing.view, clock::utc_micros()),
            _ => {}
        }
        self.chronicle.deliver(&delivery, clock::utc_micros());
        self.counters.deliver(&delivery, &self.id, self.now);
        self.delivered.push(delivery);
    }
}

fn poll(poll: &mut Poll, events: &mut Events, patience: Option<Duration>) -> io::Result<()> {
    match poll.poll(events, patience) {
        // A signal arrived; it has an event of its own.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        other => other,
    }
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::new(UNAVAILABLE, format!("{what}: {error}"))
}

const SIGNALS: Token = Token(5);
const WAKER: Token = Token(6);
const PACER: Token = Token(7);
const EVENTS_MAX: usize = 1_024;
/// A loop later than this reads everything before it judges a deadline.
const LATE: Duration = Duration::from_millis(20);
/// A larger change of the wall clock is told to the node.
const CLOCK_DRIFT_MICROS: u64 = 2_000;
const CATCH_UP_TURNS: usize = 256;
