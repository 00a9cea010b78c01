//! TCP: the listener, and the links that the node knows by number.
//!
//! mio reports each change once, so a link with bytes left stays on our own list of ready ones, and
//! every turn reads a bounded share of each: one busy peer cannot starve the others. The output of
//! a turn is queued and written at its end in as few system calls as possible, control frames
//! first, and little of it waits unsent in the kernel (`TCP_NOTSENT_LOWAT`), so that bulk never
//! delays a heartbeat for long.
//!
//! The links decide nothing: the node decides who dials whom, and what a lost link means. Only
//! limits outside of the protocol are set here: how many strangers may connect, how long they may
//! stay silent, and what to do without descriptors.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4};
use std::time::Duration;

use bytes::Bytes;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use protocol::frame::encode_shared;
use protocol::id::LinkId;
use protocol::io::{Down, Input};
use protocol::message::Message;
use protocol::time::Time;

pub use self::dials::Obstacle;
use self::dials::{Dials, Plan};
pub use self::limits::Limits;
use self::link::{Link, State};
use self::tokens::Tokens;
use crate::clock;
use crate::doublings::Doublings;
use crate::gate::Gate;
use crate::rejects::{Reject, RejectReason};
use crate::status::Traffic;
use crate::voice::Voice;

mod dials;
mod incoming;
mod limits;
mod link;
mod listener;
mod outgoing;
mod tokens;

/// A result of the links.
#[derive(Debug)]
pub enum Found {
    /// An input for the node.
    Input(Input),
    /// Something rejected.
    Reject(Reject),
    /// A large frame has begun to arrive, and waits until [`Links::allow_large`] or
    /// [`Links::refuse_large`] decides about it.
    Large(LinkId),
}

/// All links of one peer.
#[derive(Debug)]
pub struct Links {
    registry: Registry,
    limits: Limits,
    listener: TcpListener,
    /// Whether connections may wait to be accepted.
    calling: bool,
    /// When to accept again after descriptors ran out.
    accept_at: Option<Time>,
    /// Whether descriptors have run out, and how often before.
    starved: bool,
    starvations: Doublings,
    accepted: u64,
    tokens: Tokens,
    links: HashMap<LinkId, Link>,
    /// Links that may have bytes, or an end, to read.
    ready: VecDeque<LinkId>,
    /// How many more reads this turn may do.
    reads_left: usize,
    /// Links with something to write.
    dirty: Vec<LinkId>,
    found: VecDeque<Found>,
    /// Accepted links without a first message, and hung-up ones that are being emptied, by their
    /// deadline.
    expiring: BTreeSet<(Time, LinkId)>,
    buffer: Box<[u8]>,
    /// Bytes of all incomplete frames, and how many such frames have begun.
    half_received: usize,
    begun: u64,
    sent: Traffic,
    gate: Gate,
    dials: Dials,
    voice: Voice,
    /// Whether a connection was established since the last call of [`Self::by_address`].
    grown: bool,
}

impl Links {
    /// Listens on `listener`; its event token is [`LISTENER`], those of links are [`FIRST_LINK`]
    /// and above.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn new(
        registry: Registry,
        listener: std::net::TcpListener,
        limits: Limits,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            registry,
            limits,
            listener,
            calling: true,
            accept_at: None,
            starved: false,
            starvations: Doublings::default(),
            accepted: 0,
            tokens: Tokens::default(),
            links: HashMap::new(),
            ready: VecDeque::new(),
            reads_left: 0,
            dirty: Vec::new(),
            found: VecDeque::new(),
            expiring: BTreeSet::new(),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            half_received: 0,
            begun: 0,
            sent: Traffic::default(),
            gate: Gate::default(),
            dials: Dials::new(limits.dial),
            voice: Voice::of_one_address(),
            grown: false,
        })
    }

    /// From here on this gate has to pass before a link is written to.
    pub fn wait_for(&mut self, gate: Gate) {
        self.gate = gate;
    }

    /// Announces its addresses like this from now on.
    pub fn set_voice(&mut self, voice: Voice) {
        self.voice = voice;
    }

    /// Drops the connections whose own address is gone: nothing that they send arrives.
    pub fn give_up(&mut self, is_gone: impl Fn(Ipv4Addr) -> bool) {
        let gone = |link: &Link| link.local().is_some_and(&is_gone);
        let gone: Vec<LinkId> =
            self.links.iter().filter(|(_, link)| gone(link)).map(|(id, _)| *id).collect();
        for id in gone {
            match self.links.get(&id).map(|link| link.state) {
                Some(State::Connecting) => self.dial_fails(id, &ErrorKind::AddrNotAvailable.into()),
                Some(State::Up | State::Closing(_)) => self.end(id, Down::Reset),
                None => {}
            }
        }
    }

    /// How many connections to other machines there are for each own address, if one was
    /// established since the last call.
    pub fn by_address(&mut self) -> Option<BTreeMap<Ipv4Addr, usize>> {
        if !std::mem::take(&mut self.grown) {
            return None;
        }
        let mut counts = BTreeMap::new();
        for link in self.links.values().filter(|link| link.state == State::Up && link.spoken) {
            let here = link.local().filter(
                |_| matches!(link.remote.ip(), IpAddr::V4(remote) if !self.voice.is_own(remote)),
            );
            if let Some(here) = here {
                *counts.entry(here).or_default() += 1;
            }
        }
        Some(counts)
    }

    /// Wanted addresses that cannot be reached, since when, and why.
    pub fn failing(&self, now: Time) -> impl Iterator<Item = (SocketAddrV4, Time, &Obstacle)> {
        self.dials.failing(now)
    }

    /// Handles an event of the listener or of a link.
    pub fn note(&mut self, event: &Event) {
        if event.token() == LISTENER {
            self.calling = true;
            return;
        }
        let Some(id) = self.tokens.link(event.token()) else { return };
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.state == State::Connecting {
            self.finish_dial(id);
            return;
        }
        if event.is_writable() {
            link.blocked = false;
            if link.queue.bytes() > 0 {
                mark(&mut link.dirty, &mut self.dirty, id);
            }
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            link.ending |= event.is_read_closed() || event.is_error();
            self.mark_ready(id);
        }
    }

    /// Begins a turn: each ready link may be read a few times.
    pub fn begin(&mut self, now: Time) {
        self.reads_left = self.ready.len() * READS_PER_TURN;
        self.expire(now);
        while let Some(id) = self.dials.overdue(now) {
            self.dial_fails(id, &ErrorKind::TimedOut.into());
        }
        while let Some((id, to)) = self.dials.due(now) {
            self.connect(id, to);
        }
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
            self.calling = true;
        }
        if self.calling && self.accept_at.is_none() {
            self.accept(now);
        }
    }

    /// The next result; none when this turn's share is used up.
    pub fn next_found(&mut self) -> Option<Found> {
        loop {
            if let Some(found) = self.found.pop_front() {
                return Some(found);
            }
            if self.reads_left == 0 {
                return None;
            }
            let id = self.ready.pop_front()?;
            self.reads_left -= 1;
            self.read(id);
        }
    }

    /// Whether there is more to do without waiting for an event.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.ready.is_empty()
            || !self.found.is_empty()
            || !self.dirty.is_empty()
            || self.calling && self.accept_at.is_none()
    }

    /// When to begin a turn at the latest, without any event.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.expiring
            .first()
            .map(|&(at, _)| at)
            .into_iter()
            .chain(self.accept_at)
            .chain(self.dials.deadline())
            .min()
    }

    /// How many links there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// What has been queued for links so far.
    #[must_use]
    pub fn sent(&self) -> Traffic {
        self.sent
    }

    /// How many bytes wait to be written, to all links together.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.links.values().map(|link| link.queue.bytes() as u64).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Whether the kernel has taken everything.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.links.values().all(|link| link.queue.bytes() == 0)
    }

    /// Connects; `LinkUp` or `DialFailed` follows.
    pub fn dial(&mut self, id: LinkId, to: SocketAddrV4) {
        match self.dials.begin(clock::now(), id, to) {
            Plan::Now => self.connect(id, to),
            Plan::TakeOver(before) => {
                // The caller has forgotten the earlier dial, and wants the address again.
                self.found
                    .push_back(Found::Input(Input::DialFailed { link: before, refused: false }));
                let Some(mut link) = self.links.remove(&before) else { return };
                match self.registry.reregister(
                    &mut link.stream,
                    self.tokens.of(id),
                    Interest::READABLE | Interest::WRITABLE,
                ) {
                    Ok(()) => drop(self.links.insert(id, link)),
                    Err(error) => self.dial_fails(id, &error),
                }
            }
            Plan::Later => {}
        }
    }

    fn connect(&mut self, id: LinkId, to: SocketAddrV4) {
        let remote = SocketAddr::V4(to);
        let connected = TcpStream::connect(remote).and_then(|mut stream| {
            self.registry.register(
                &mut stream,
                self.tokens.of(id),
                Interest::READABLE | Interest::WRITABLE,
            )?;
            Ok(stream)
        });
        match connected {
            Ok(stream) => {
                self.links.insert(id, Link::new(stream, remote, State::Connecting));
            }
            Err(error) => self.dial_fails(id, &error),
        }
    }

    fn dial_fails(&mut self, id: LinkId, error: &io::Error) {
        let obstacle = match error.kind() {
            ErrorKind::ConnectionRefused => Obstacle::Refused,
            ErrorKind::TimedOut => Obstacle::Silence,
            _ => Obstacle::NoWay(error.to_string()),
        };
        let refused = obstacle == Obstacle::Refused;
        self.dials.fail(clock::now(), id, obstacle);
        self.forget(id);
        self.found.push_back(Found::Input(Input::DialFailed { link: id, refused }));
    }

    /// Closes a link after its queue has been written; the node has forgotten it already.
    pub fn hang_up(&mut self, id: LinkId) {
        let now = clock::now();
        let until = now + CLOSING_PATIENCE;
        self.dials.abandon(now, id);
        let Some(link) = self.links.get_mut(&id) else { return };
        match link.state {
            State::Connecting => self.forget(id),
            State::Up => {
                link.state = State::Closing(until);
                self.expiring.insert((until, id));
                mark(&mut link.dirty, &mut self.dirty, id);
                self.mark_ready(id);
            }
            State::Closing(_) => {}
        }
    }

    /// Queues a message for a link; a link that is gone drops it, and the node is being told so.
    pub fn send(&mut self, id: LinkId, message: &Message) {
        let Some(link) = self.links.get(&id) else { return };
        let address = match (link.local(), link.remote) {
            (Some(local), SocketAddr::V4(remote)) => self.voice.on_link(local, *remote.ip()),
            _ => None,
        };
        let said = address.and_then(|address| self.voice.message(message, address));
        let message = said.map_or(Cow::Borrowed(message), Cow::Owned);
        self.queue(id, encode_shared(&message), message.is_bulk());
    }

    /// Queues a message, encoded once, for several links.
    pub fn fan(&mut self, ids: &[LinkId], message: &Message) {
        let frame = encode_shared(message);
        for &id in ids {
            self.queue(id, frame.clone(), message.is_bulk());
        }
    }

    /// Writes the queues, as far as the kernel accepts it.
    pub fn flush(&mut self) {
        for id in std::mem::take(&mut self.dirty) {
            let Some(link) = self.links.get_mut(&id) else { continue };
            link.dirty = false;
            if !link.blocked {
                self.write(id);
            }
        }
    }

    fn queue(&mut self, id: LinkId, frame: Vec<Bytes>, bulk: bool) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.broken || matches!(link.state, State::Closing(_)) {
            return;
        }
        self.sent.add(frame.iter().map(Bytes::len).sum(), false);
        link.queue.push(frame, bulk);
        mark(&mut link.dirty, &mut self.dirty, id);
        // The receiver can read it while this peer continues with its turn.
        if bulk && !link.blocked && link.queue.bytes() >= PIECE_BYTES {
            self.write(id);
        }
        let Some(link) = self.links.get_mut(&id) else { return };
        let queued = link.queue.bytes();
        if queued > self.limits.queue {
            self.end(id, Down::Reset);
        } else if queued > self.limits.backlog && !link.full {
            link.full = true;
            self.found.push_back(Found::Input(Input::Backlog { link: id, full: true }));
        }
    }

    fn write(&mut self, id: LinkId) {
        let link = self.links.get_mut(&id).expect("the caller has just seen it");
        if link.state == State::Connecting {
            return;
        }
        let queued = link.queue.bytes();
        if queued > 0 {
            self.gate.pass();
        }
        let written = link.queue.write_to(&mut link.stream);
        if let State::Closing(until) = &mut link.state
            && link.queue.bytes() < queued
        {
            *until = clock::now() + CLOSING_PATIENCE;
        }
        match written {
            Ok(()) => {
                if matches!(link.state, State::Closing(_)) {
                    // The other end sees a proper end of stream. Its data until then is read and
                    // dropped, because closing over unread bytes would make the kernel drop our
                    // data as well.
                    let _already_gone = link.stream.shutdown(Shutdown::Write);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => link.blocked = true,
            Err(_) => {
                // The last data of the other end is still worth reading; reading also tells how it
                // ended.
                link.queue.clear();
                link.broken = true;
                self.mark_ready(id);
            }
        }
        let link = self.links.get_mut(&id).expect("writing removes no link");
        if link.full && link.queue.bytes() <= self.limits.backlog / 4 {
            link.full = false;
            if link.state == State::Up {
                self.found.push_back(Found::Input(Input::Backlog { link: id, full: false }));
            }
        }
    }

    fn finish_dial(&mut self, id: LinkId) {
        let link = self.links.get_mut(&id).expect("the caller has just seen it");
        let outcome = match link.stream.take_error() {
            Ok(Some(error)) | Err(error) => Err(error),
            Ok(None) => link.stream.peer_addr().and_then(|remote| {
                // A dial to a closed port of the ephemeral range can, by chance, connect to itself.
                let own = link.stream.local_addr()?;
                if own == remote { Err(ErrorKind::ConnectionRefused.into()) } else { Ok(()) }
            }),
        };
        match outcome {
            Ok(()) => {
                link.state = State::Up;
                link.spoken = true;
                link.tune(self.limits.dead);
                self.dials.succeed(id);
                self.grown = true;
                self.found.push_back(Found::Input(Input::LinkUp { link: id }));
                mark(&mut link.dirty, &mut self.dirty, id);
                self.mark_ready(id);
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => {}
            Err(error) => self.dial_fails(id, &error),
        }
    }

    /// Closes links that were silent, or half closed, for too long.
    fn expire(&mut self, now: Time) {
        while let Some(&(at, id)) = self.expiring.first() {
            if at > now {
                return;
            }
            self.expiring.pop_first();
            let Some(link) = self.links.get(&id) else { continue };
            match link.state {
                State::Closing(until) if until <= now => self.forget(id),
                // The other end has accepted data meanwhile.
                State::Closing(until) => {
                    self.expiring.insert((until, id));
                }
                State::Up if !link.spoken => {
                    self.found.push_back(Found::Reject(Reject {
                        from: link.remote,
                        why: RejectReason::SilentLink,
                    }));
                    self.end(id, Down::Garbage);
                }
                State::Connecting | State::Up => {}
            }
        }
    }

    /// A link is gone; the node is told unless it has hung up itself.
    fn end(&mut self, id: LinkId, how: Down) {
        let told = self.links.get(&id).is_some_and(|link| link.state == State::Up);
        self.forget(id);
        if told {
            self.found.push_back(Found::Input(Input::LinkDown { link: id, how }));
        }
    }

    fn forget(&mut self, id: LinkId) {
        if let Some(mut link) = self.links.remove(&id) {
            self.half_received -= link.held;
            // Closing the descriptor below removes it from the poll in any case.
            let _not_registered = self.registry.deregister(&mut link.stream);
        }
    }

    fn mark_ready(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if !link.ready {
            link.ready = true;
            self.ready.push_back(id);
        }
    }
}

fn mark(flag: &mut bool, list: &mut Vec<LinkId>, id: LinkId) {
    if !*flag {
        *flag = true;
        list.push(id);
    }
}

/// The listener's token.
pub const LISTENER: Token = Token(0);
/// The token of the first link; all higher ones are links as well.
pub const FIRST_LINK: Token = Token(1 << 10);
const READ_BYTES: usize = 64 << 10;
const READS_PER_TURN: usize = 8;
/// This many bytes are written at once, without waiting for the end of the turn.
const PIECE_BYTES: usize = 64 << 10;
const CLOSING_PATIENCE: Duration = Duration::from_secs(2);
