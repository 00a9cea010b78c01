//! The start of a peer: acquires everything that the loop needs, and reports what should be known
//! before.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::path::Path;
use std::sync::Arc;

use mio::{Interest, Poll, Waker};
use protocol::config::{Config, Knobs, Mode};
use protocol::id::{Contact, Member, PeerId};
use protocol::message::WIRE_VERSION;
use protocol::node::Node;
use protocol::note::Note;
use protocol::time::Time;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use socket2::{Domain, Protocol, Socket, Type};
use stdio::signals::{Requests, heeded};

use super::door::Desk;
use super::memory::{self, Recalled};
use super::queries::Queries;
use super::tally::Tally;
use super::{PACER, SIGNALS, Shell, WAKER, failed};
use crate::address::Surroundings;
use crate::chronicle::Chronicle;
use crate::clock;
use crate::company::Company;
use crate::contacts::{self, Contacts};
use crate::counters::Counters;
use crate::descriptors;
use crate::discovery::Discovery;
use crate::door::Door;
use crate::door::confirmations::Confirmations;
use crate::events::EventFile;
use crate::failure::{Failure, UNAVAILABLE, USAGE};
use crate::identity;
use crate::incarnation::Past;
use crate::inputs::{self, Life, Recorder};
use crate::keeper::Keeper;
use crate::links::{Limits, Links};
use crate::meter::Meter;
use crate::names::Names;
use crate::narrator::Narrator;
use crate::network::Network;
use crate::notify::Notify;
use crate::outputs::Outputs;
use crate::pacer::Pacer;
use crate::reach::Reach;
use crate::refusals::Refusals;
use crate::rejects::Rejects;
use crate::reload::Reloader;
use crate::scout::{Scout, Watch};
use crate::seed_addresses::SeedAddress;
use crate::sensors::gauge::Gauge;
use crate::sensors::load::Load;
use crate::sensors::{Common, Sensors};
use crate::settings::Settings;
use crate::silence::Silence;
use crate::sinks::Sinks;
use crate::stamps::Stamps;
use crate::tokens::Tokens;
use crate::units::Units;
use crate::web::Opened;
use crate::worker::{Duties, Worker};

/// The data of earlier lives, and the files of this one.
struct Kept {
    recalled: Recalled,
    recorder: Option<Recorder>,
    outputs: Outputs,
    page: Option<Opened>,
}

impl Shell {
    /// Binds everything, and reports the start and the readiness.
    ///
    /// # Errors
    /// [`Failure`]: the address or the port is unavailable, or a file cannot be opened.
    pub fn start(settings: Settings) -> Result<Self, Failure> {
        let birth = identity::random();
        let around = if settings.address.is_some_and(|address| address.is_loopback()) {
            Ok(Surroundings::default())
        } else {
            Surroundings::look()
        };
        let around = around.unwrap_or_else(|error| {
            log::warn!("Cannot look up the addresses of this machine: {error}. It is tried again.");
            Surroundings::default()
        });
        let advertised = settings.advertise.as_ref().and_then(SeedAddress::literal);
        let mut network = Network::new(settings.address, advertised, around);
        let listener = listen(network.listens_on(), settings.port).map_err(|error| {
            let at = SocketAddrV4::new(network.listens_on(), settings.port);
            Failure::new(
                UNAVAILABLE,
                format!(
                    "cannot listen on {at}: {error}; choose another \
                                               --port (0 takes a free one) or --address"
                ),
            )
        })?;
        let SocketAddr::V4(bound) =
            listener.local_addr().map_err(|error| failed("the listener", &error))?
        else {
            unreachable!("an IPv4 address was bound");
        };
        let page = settings.http.as_ref().map(Opened::bind).transpose()?;
        let listener = descriptors::on_top(listener, descriptors::raise_limit());
        let recalled = memory::recall(&settings, birth)?;
        let (id, inc) = (recalled.id.clone(), recalled.incarnation);
        let events = settings.events.as_deref().map(open_events).transpose()?;
        let recorder = settings.inputs.as_deref().map(open_recorder).transpose()?;
        let outputs = Outputs::new(events.as_ref(), recorder.as_ref());
        let narrator = Narrator::new(id.clone(), inc, events, settings.log_deliveries);
        narrator.tell_panics(recorder.as_ref().map(Recorder::path));
        network.listen(bound.port(), birth);
        let me = Contact {
            member: Member { id, inc },
            birth,
            address: network.contact(),
            explicit: settings.priority,
        };
        let kept = Kept { recalled, recorder, outputs, page };
        Self::assemble(settings, me, listener, network, narrator, kept)
            .map_err(|error| failed("the peer", &error))
    }

    fn assemble(
        mut settings: Settings,
        me: Contact,
        listener: TcpListener,
        network: Network,
        narrator: Narrator,
        kept: Kept,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let waker = Arc::new(Waker::new(registry, WAKER)?);
        let Kept { recalled, mut recorder, outputs, page } = kept;
        let door = Door::start(
            me.id().clone(),
            settings.config.knobs(),
            settings.opening.clone(),
            page,
            Arc::clone(&waker),
        )?;
        let start = identity::start_note(&me, door.path(), !settings.log_deliveries);
        narrator.tell(start.clone());
        advise(&settings, &me);
        if recalled.past == Past::NewLog {
            settings.config = recover(settings.config, me.id());
        }
        let mut signals = signals()?;
        registry.register(&mut signals, SIGNALS, Interest::READABLE)?;
        let SocketAddr::V4(bound) = listener.local_addr()? else {
            unreachable!("an IPv4 address was bound")
        };
        let mut links =
            Links::new(registry.try_clone()?, listener, Limits::of(settings.config.knobs()))?;
        links.wait_for(outputs.gate().clone());
        let discovery = Discovery::new(registry.try_clone()?, bound, settings.broadcast_port)?;
        let kept_contacts = settings.data.as_ref().map(|data| data.folder.join(contacts::FILE));
        let remembered = kept_contacts.as_deref().map(Contacts::load).unwrap_or_default();
        let watch = Watch {
            around: network.changes().then(|| network.surroundings().clone()),
            contacts: kept_contacts,
        };
        let scout = Scout::start(watch, Arc::clone(&waker))?;
        let source = std::mem::take(&mut settings.source);
        // A file that is read again may name seed addresses.
        let named =
            !settings.seeds.is_empty() || settings.advertise.is_some() || source.file().is_some();
        let names = named
            .then(|| Names::start(settings.seeds, settings.advertise, Arc::clone(&waker)))
            .transpose()?;
        let Recalled { store, past, stored, .. } = recalled;
        let folder = settings.data.as_ref().map(|data| data.folder.clone());
        let mut confirmations = Confirmations::default();
        let tokens = folder.map(|folder| Tokens::start(&folder, Arc::clone(&waker))).transpose()?;
        let tokens = tokens.map(|(tokens, known)| {
            confirmations.recall(known);
            tokens
        });
        let common = Common {
            peer: me.id(),
            seed: me.birth,
            interval: settings.interval,
            payload_max: usize::try_from(settings.config.knobs().payload_max).unwrap_or(usize::MAX),
            stdin_commands: settings.stdin_commands,
            waker: &waker,
        };
        let Sensors { asked, publisher: lines, gauges } =
            Sensors::start(settings.sensors, &common)?;
        let duties = Duties {
            sensors: asked,
            sinks: settings.data.zip(store.clone()).map(|(data, store)| Sinks::new(data, store)),
        };
        let paced = settings.load.is_some_and(|load| load.rate.is_some());
        let pacer = paced.then(|| Pacer::start(registry, PACER)).transpose()?;
        let worker = Worker::start(duties, Arc::clone(&waker))?;
        let reloader = Reloader::new(source, Arc::clone(&waker));
        let keeper = store.map(|store| Keeper::start(store, Arc::clone(&waker))).transpose()?;
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
                stores: stored,
                veteran: past == Past::Veteran,
                log_level: settings.log_level,
                torn: recorder.torn(),
            });
        }
        let knobs = settings.config.knobs();
        let (patience, payload_max) = (knobs.heartbeat_timeout, knobs.payload_max);
        let (cluster, delivery) = (knobs.cluster.clone(), knobs.delivery);
        let cluster_digest = settings.config.cluster();
        let node = Node::new(me.clone(), settings.config, me.birth, now);
        let mut shell = Self {
            poll,
            signals,
            out: Vec::new(),
            now,
            view_since: Time::ZERO,
            links,
            discovery,
            network,
            scout,
            names,
            reach: Reach::new(patience),
            silence: Silence::new(patience),
            contacts: remembered,
            worker,
            lines,
            units: Units::of(gauges.iter().map(Gauge::report)),
            gauges,
            stamps: Stamps::default(),
            load: settings.load.map(Load::new),
            pacer,
            door,
            desk: Desk::default(),
            confirmations,
            tokens,
            company: Company::default(),
            chronicle: Chronicle::new(me.id().clone(), clock::utc_micros()),
            counters: Counters::default(),
            queries: Queries::default(),
            answers: Vec::new(),
            clock_offset: None,
            priority: me.explicit,
            payload_max,
            meter: Meter::default(),
            notify: Notify::from_environment(),
            has_news: true,
            reloader,
            narrator,
            rejects: Rejects::default(),
            keeper,
            id: me.id().clone(),
            past,
            recorder,
            outputs,
            delivered: Vec::new(),
            deliveries: Tally::new(settings.load_latency),
            refused: Vec::new(),
            broken: None,
            refusals: Refusals::default(),
            cluster,
            cluster_digest,
            delivery,
            started: now,
            requests: Requests::default(),
            hurry: false,
            stop: None,
            node: if past == Past::Veteran { node.with_history() } else { node },
        };
        shell.discovery.set_missing(shell.contacts.missing());
        shell.settle_network();
        if stored {
            shell.narrator.tell(Note::Persist { incarnation: me.member.inc });
        }
        shell.narrator.tell(Note::Ready);
        Ok(shell)
    }
}

/// Signals that were ignored when the process started stay ignored, as nohup or a shell with
/// background jobs intends.
fn signals() -> io::Result<Signals> {
    let heeded = heeded(&[SIGTERM, SIGINT, SIGHUP]);
    if !heeded.known {
        log::warn!(
            "Which signals were ignored at the start is unknown: /proc/self/status cannot be read. \
             All are heeded."
        );
    }
    Signals::new(heeded.signals)
}

/// Listens, also on an address that no interface has yet.
fn listen(address: Ipv4Addr, port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_freebind_v4(true)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddrV4::new(address, port).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Advice to the user at the start.
fn advise(settings: &Settings, me: &Contact) {
    if !settings.address.is_some_and(|address| address.is_loopback()) {
        log::warn!(
            "NOTHING IS AUTHENTICATED YET: anyone who reaches port {} of this machine can join \
             this group, read it and publish. \
             --address 127.0.0.1 keeps it on this machine.",
            me.address.port()
        );
    }
    if settings.data.is_none() {
        log::info!("What is delivered is not kept; --data-dir FOLDER keeps it.");
    }
    let knobs = settings.config.knobs();
    if knobs.mode != Mode::Primary {
        return;
    }
    if settings.data.is_none() {
        log::warn!(
            "MODE PRIMARY WITHOUT A MEMORY: after a restart this peer does not know that it has \
             been in the group. Were all of \
             them to forget, they would found a second one. --data-dir FOLDER keeps it."
        );
    }
    if !knobs.bootstrap.contains(me.id()) {
        log::info!(
            "Peer {} is not named in bootstrap: it founds no group, and waits to be admitted.",
            me.id()
        );
    }
}

/// The effect of `peer recover --new-log`.
fn recover(config: Config, me: &PeerId) -> Config {
    if config.knobs().mode != Mode::Primary {
        log::warn!(
            "`peer recover --new-log` is for mode primary; in mode available this peer goes on by \
             itself anyway."
        );
        return config;
    }
    log::warn!(
        "RECOVERY: the group that this peer belonged to has been given up by its operator. Peer \
         {me} founds a NEW LOG, alone. \
         What only that group had ordered is lost; whoever still belongs to it has to be restarted."
    );
    let knobs = Knobs { bootstrap: vec![me.clone()], ..config.knobs().clone() };
    Config::try_from(knobs).expect("knobs that were sound are so with another founder")
}

fn open_events(path: &Path) -> Result<EventFile, Failure> {
    EventFile::open(path)
        .map_err(|error| Failure::new(USAGE, format!("--events {}: {error}", path.display())))
}

fn open_recorder(path: &Path) -> Result<Recorder, Failure> {
    Recorder::open(path)
        .map_err(|error| Failure::new(USAGE, format!("--inputs {}: {error}", path.display())))
}

const BACKLOG: i32 = 4_096;
