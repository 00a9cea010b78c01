//! How a peer starts: what has to be had before the loop can run, and what there is to say before anything happens.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpListener};
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

use super::tally::Tally;
use super::{PACER, SIGNALS, Shell, WAKER, failed};
use crate::address;
use crate::clock;
use crate::descriptors;
use crate::discovery::{Discovery, Meeting};
use crate::events::EventFile;
use crate::failure::{Failure, UNAVAILABLE, USAGE};
use crate::identity;
use crate::incarnation::{self, NoStore, Past, Store};
use crate::inputs::{self, Life, Recorder};
use crate::links::{Limits, Links};
use crate::narrator::Narrator;
use crate::pacer::Pacer;
use crate::publisher::Publisher;
use crate::refusals::Refusals;
use crate::rejects::Rejects;
use crate::sensors::Sensor;
use crate::sensors::load::Load;
use crate::settings::{SensorName, Settings};
use crate::sinks::Sinks;
use crate::stamps::Stamps;
use crate::status::Server;
use crate::worker::{Duties, Worker};

/// Files that outlive the process.
struct Kept {
    store: Option<Store>,
    past: Past,
    recorder: Option<Recorder>,
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
        let memory = store.as_ref().and_then(Store::load);
        let past = memory.map_or(Past::Fresh, |memory| memory.past);
        let inc = incarnation::choose(memory.map(|memory| memory.incarnation), clock::utc_micros() / 1_000);
        let events = settings.events.as_deref().map(open_events).transpose()?;
        let narrator = Narrator::new(id.clone(), inc, events, settings.log_deliveries);
        let recorder = settings.inputs.as_deref().map(open_recorder).transpose()?;
        narrator.tell_panics(recorder.as_ref().map(Recorder::path));
        let me = Contact { member: Member { id: id.clone(), inc }, birth, address: bound, explicit: settings.priority };
        Self::assemble(settings, me, listener, narrator, Kept { store, past, recorder }).map_err(|error| failed("the peer", &error))
    }

    fn assemble(mut settings: Settings, me: Contact, listener: TcpListener, narrator: Narrator, kept: Kept) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let status = Server::start(registry, std::process::id(), me.birth)
            .inspect_err(|error| log::warn!("`peer status` will not find this peer: {error}."))
            .ok();
        let start = identity::start_note(&me, status.as_ref().map(Server::path));
        narrator.tell(start.clone());
        advise(&settings, &me);
        if kept.past == Past::NewLog {
            settings.config = recover(settings.config, me.id());
        }
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
        let paced = settings.load.is_some_and(|load| load.rate.is_some());
        let pacer = paced.then(|| Pacer::start(registry, PACER)).transpose()?;
        let worker = Worker::start(duties, Arc::clone(&waker))?;
        let lines = settings
            .sensors
            .contains(&SensorName::Stdin)
            .then(|| Publisher::start(&settings.config, settings.stdin_commands, &waker))
            .transpose()?;
        let Kept { store, past, mut recorder } = kept;
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
                veteran: past == Past::Veteran,
                log_level: settings.log_level,
                torn: recorder.torn(),
            });
        }
        let knobs = settings.config.knobs();
        let (cluster, delivery) = (knobs.cluster.clone(), knobs.delivery);
        let node = Node::new(me.clone(), settings.config, me.birth, now);
        let mut shell = Self {
            poll,
            signals,
            out: Vec::new(),
            now,
            view_since: Time::ZERO,
            links,
            discovery,
            worker,
            lines,
            stamps: Stamps::default(),
            load: settings.load.map(Load::new),
            pacer,
            status,
            narrator,
            rejects: Rejects::default(),
            store,
            past,
            recorder,
            delivered: Vec::new(),
            deliveries: Tally::new(settings.load_latency),
            refused: Vec::new(),
            broken: None,
            refusals: Refusals::default(),
            cluster,
            delivery,
            started: now,
            leaving: false,
            hurry: false,
            stop: None,
            node: if past == Past::Veteran { node.veteran() } else { node },
        };
        shell.persist(me.member.inc);
        shell.narrator.tell(Note::Ready);
        Ok(shell)
    }
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
    let knobs = settings.config.knobs();
    if knobs.mode != Mode::Primary {
        return;
    }
    if settings.data.is_none() {
        log::warn!(
            "MODE PRIMARY WITHOUT A MEMORY: after a restart this peer does not know that it has been in the group. Were all of \
             them to forget, they would found a second one. --data-dir FOLDER keeps it."
        );
    }
    if !knobs.bootstrap.contains(me.id()) {
        log::info!("Peer {} is not named in bootstrap: it founds no group, and waits to be admitted.", me.id());
    }
}

/// What an operator has asked for with `peer recover --new-log`.
fn recover(config: Config, me: &PeerId) -> Config {
    if config.knobs().mode != Mode::Primary {
        log::warn!("`peer recover --new-log` is for mode primary; in mode available this peer goes on by itself anyway.");
        return config;
    }
    log::warn!(
        "RECOVERY: the group that this peer belonged to has been given up by its operator. Peer {me} founds a NEW LOG, alone. \
         What only that group had ordered is lost; whoever still belongs to it has to be restarted."
    );
    let knobs = Knobs { bootstrap: vec![me.clone()], ..config.knobs().clone() };
    Config::try_from(knobs).expect("knobs that were sound are so with another founder")
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
