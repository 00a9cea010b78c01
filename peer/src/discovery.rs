//! UDP discovery: how peers without any knowledge of each other meet.
//!
//! There is a *shared* socket for each network: it is bound to the broadcast address on the
//! discovery port, so it receives only broadcasts there; any number of peers on one machine bind it
//! side by side. The *own* socket has the number of the TCP port; everything is sent from it, and
//! answers come back to it. On loopback the broadcast address is 127.255.255.255, and no datagram
//! ever leaves the machine.
//!
//! Each broadcast goes out in every network, with the own address there (see [`crate::voice`]).
//! Seed addresses, and recent members of the group, get every broadcast by unicast as well, for
//! networks without broadcast.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd;

use bytes::Bytes;
use mio::event::Event;
use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use protocol::frame::{decode_datagram, encode_datagram};
use protocol::io::Input;
use protocol::message::Datagram;
use socket2::{Domain, Protocol, Socket, Type};

use crate::doublings::Doublings;
use crate::links::Found;
use crate::network::{PLACES_MAX, Place};
use crate::rejects::{Reject, RejectReason};
use crate::status::Traffic;
use crate::voice::Voice;

/// The sockets.
#[derive(Debug)]
pub struct Discovery {
    registry: Registry,
    /// The discovery port.
    port: u16,
    own: Ear,
    own_address: SocketAddrV4,
    shared: Vec<Shared>,
    voice: Voice,
    seed_addresses: Vec<SocketAddrV4>,
    /// How often a series of send errors has begun.
    failures: Doublings,
    /// Former members that are not in the view now.
    missing: Vec<SocketAddrV4>,
    /// Targets of failed sends or binds, so that a lasting failure is reported once.
    failing: BTreeSet<SocketAddr>,
    sent: Traffic,
    reads_left: usize,
    buffer: Box<[u8]>,
}

#[derive(Debug)]
struct Ear {
    socket: UdpSocket,
    ready: bool,
}

/// One network for discovery.
#[derive(Debug)]
struct Shared {
    place: Place,
    /// None while binding fails.
    ear: Option<Ear>,
}

impl Discovery {
    /// Binds the own socket.
    ///
    /// # Errors
    /// Those of the operating system on the own socket, if not even an ephemeral port can be bound.
    pub fn new(registry: Registry, own: SocketAddrV4, port: u16) -> io::Result<Self> {
        let socket = bind_own(own)?;
        let SocketAddr::V4(own_address) = socket.local_addr()? else {
            unreachable!("an IPv4 address was bound")
        };
        let own = listen(&registry, socket, OWN)?;
        Ok(Self {
            registry,
            port,
            own,
            own_address,
            shared: Vec::new(),
            voice: Voice::of_one_address(),
            seed_addresses: Vec::new(),
            failures: Doublings::default(),
            missing: Vec::new(),
            failing: BTreeSet::new(),
            sent: Traffic::default(),
            reads_left: 0,
            buffer: vec![0; DATAGRAM_BYTES].into_boxed_slice(),
        })
    }

    /// Uses these networks from now on, and announces these addresses. A shared port that cannot be
    /// bound is a warning: such a peer still sends requests, and finds others through seed
    /// addresses.
    pub fn meet(&mut self, places: Vec<Place>, voice: Voice) {
        self.voice = voice;
        let mut before = std::mem::take(&mut self.shared);
        for place in places.into_iter().take(PLACES_MAX) {
            // For the kernel an address that disappeared and returned is another one, although its
            // number is the same.
            let kept = before
                .iter()
                .position(|shared| shared.place == place)
                .and_then(|index| before.swap_remove(index).ear);
            self.shared.push(Shared { place, ear: kept });
        }
        for ear in before.iter_mut().filter_map(|shared| shared.ear.as_mut()) {
            let _not_registered = self.registry.deregister(&mut ear.socket);
        }
        drop(before);
        // The order of places and tokens is the same; remaining places may have moved.
        for (slot, shared) in self.shared.iter_mut().enumerate() {
            if let Some(ear) = &mut shared.ear {
                let moved =
                    self.registry.reregister(&mut ear.socket, token(slot), Interest::READABLE);
                ear.ready = true;
                if moved.is_err() {
                    shared.ear = None;
                }
            }
        }
        self.bind();
    }

    /// Retries failed binds; true if all are bound.
    pub fn bind(&mut self) -> bool {
        let mut done = true;
        let mut heard: BTreeSet<Ipv4Addr> = self
            .shared
            .iter()
            .filter(|shared| shared.ear.is_some())
            .map(|s| s.place.broadcast)
            .collect();
        for (slot, shared) in self.shared.iter_mut().enumerate() {
            // Two interfaces in one network receive the same broadcasts.
            if shared.ear.is_some() || heard.contains(&shared.place.broadcast) {
                continue;
            }
            let target = SocketAddrV4::new(shared.place.broadcast, self.port);
            match bind_shared(target).and_then(|socket| listen(&self.registry, socket, token(slot)))
            {
                Ok(ear) => {
                    shared.ear = Some(ear);
                    heard.insert(*target.ip());
                    self.failing.remove(&target.into());
                }
                Err(error) => {
                    done = false;
                    if self.failing.insert(target.into()) {
                        log::warn!(
                            "Cannot listen for broadcasts on {target}: {error}. Others are found \
                             only where they answer, and by --seeds."
                        );
                    }
                }
            }
        }
        done
    }

    /// From now on these addresses get every broadcast by unicast.
    pub fn set_seed_addresses(&mut self, addresses: Vec<SocketAddrV4>) {
        self.seed_addresses = addresses;
    }

    /// The same for former members.
    pub fn set_missing(&mut self, missing: Vec<SocketAddrV4>) {
        self.missing = missing;
    }

    /// Handles an event of one of the sockets.
    pub fn note(&mut self, event: &Event) {
        let ear = if event.token() == OWN {
            Some(&mut self.own)
        } else {
            let shared = slot(event.token()).and_then(|slot| self.shared.get_mut(slot));
            shared.and_then(|shared| shared.ear.as_mut())
        };
        if let Some(ear) = ear {
            ear.ready = true;
        }
    }

    /// Begins a turn, which reads a bounded number of datagrams.
    pub fn begin(&mut self) {
        self.reads_left = READS_PER_TURN;
    }

    /// The next received datagram; none when this turn's share is used up.
    pub fn next_found(&mut self) -> Option<Found> {
        while self.reads_left > 0 {
            let shared = self.shared.iter_mut().filter_map(|shared| shared.ear.as_mut());
            let ear = std::iter::once(&mut self.own).chain(shared).find(|ear| ear.ready)?;
            self.reads_left -= 1;
            match ear.socket.recv_from(&mut self.buffer) {
                Ok((count, SocketAddr::V4(from))) => {
                    // A socket receives its own broadcasts.
                    if self.is_this_peer(from) {
                        continue;
                    }
                    return Some(
                        match decode_datagram(&Bytes::copy_from_slice(&self.buffer[..count])) {
                            Ok(datagram) => {
                                Found::Input(Input::Heard { from, datagram: Box::new(datagram) })
                            }
                            Err(error) => Found::Reject(Reject {
                                from: from.into(),
                                why: RejectReason::Wire(error),
                            }),
                        },
                    );
                }
                Ok((_, SocketAddr::V6(_))) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => ear.ready = false,
                // The error belongs to an earlier send to a closed port; it says nothing about the
                // next datagram.
                Err(_) => {}
            }
        }
        None
    }

    /// Whether this peer itself listens at that address.
    #[must_use]
    pub fn is_this_peer(&self, address: SocketAddrV4) -> bool {
        address.port() == self.own_address.port() && self.is_own(*address.ip())
    }

    fn is_own(&self, address: Ipv4Addr) -> bool {
        if self.own_address.ip().is_unspecified() {
            self.voice.is_own(address)
        } else {
            address == *self.own_address.ip()
        }
    }

    /// Whether there is more to read without waiting for an event.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.own.ready
            || self.shared.iter().filter_map(|shared| shared.ear.as_ref()).any(|ear| ear.ready)
    }

    /// What has been sent so far.
    #[must_use]
    pub fn sent(&self) -> Traffic {
        self.sent
    }

    /// Sends to all on each network, to the seed addresses, and to missing members.
    pub fn broadcast(&mut self, datagram: &Datagram) {
        for index in 0..self.shared.len() {
            let place = self.shared[index].place.clone();
            let address = SocketAddrV4::new(place.address, self.own_address.port());
            let bytes = encode_datagram(&self.voice.datagram(datagram, address));
            self.send(&bytes, SocketAddrV4::new(place.broadcast, self.port), Some(&place), true);
        }
        let mut targets: Vec<(SocketAddrV4, bool)> =
            self.seed_addresses.iter().map(|seed| (*seed, true)).collect();
        targets.extend(
            self.missing
                .iter()
                .filter(|missing| !self.seed_addresses.contains(missing))
                .map(|missing| (*missing, false)),
        );
        for (target, told) in targets {
            if !self.is_this_peer(target) {
                self.send_near(target, datagram, told);
            }
        }
    }

    /// Sends to one peer.
    pub fn whisper(&mut self, to: SocketAddrV4, datagram: &Datagram) {
        self.send_near(to, datagram, true);
    }

    fn send_near(&mut self, to: SocketAddrV4, datagram: &Datagram, told: bool) {
        let bytes = match self.voice.by_datagram(*to.ip()) {
            Some(address) => encode_datagram(&self.voice.datagram(datagram, address)),
            None => encode_datagram(datagram),
        };
        self.send(&bytes, to, None, told);
    }

    /// A failure is reported unless it is expected: a former member's network may not exist now.
    fn send(&mut self, bytes: &[u8], to: SocketAddrV4, place: Option<&Place>, told: bool) {
        // A refusal belongs to an earlier send; this one has not been tried yet.
        let sent = match self.send_once(bytes, to, place) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                self.send_once(bytes, to, place)
            }
            sent => sent,
        };
        let to = SocketAddr::V4(to);
        match sent {
            Ok(_) => {
                self.failing.remove(&to);
                self.sent.add(bytes.len(), true);
            }
            // A full socket loses a datagram, as any network may.
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => {
            }
            Err(error) => {
                if told
                    && self.failing.len() < FAILING_MAX
                    && self.failing.insert(to)
                    && let Some(count) = self.failures.count()
                {
                    log::warn!(
                        "Cannot send a datagram to {to}: {error}. Occurrence {count}; told at the \
                         1st, 2nd, 4th, 8th …."
                    );
                }
            }
        }
    }

    /// A broadcast leaves through the interface of its network, from the address there: the
    /// kernel's route does not tell who should receive it.
    fn send_once(
        &self,
        bytes: &[u8],
        to: SocketAddrV4,
        place: Option<&Place>,
    ) -> io::Result<usize> {
        let Some(place) = place.filter(|place| place.index != 0) else {
            return self.own.socket.send_to(bytes, to.into());
        };
        let source = libc::in_addr { s_addr: u32::from_ne_bytes(place.address.octets()) };
        let index = i32::try_from(place.index).map_err(io::Error::other)?;
        let through = libc::in_pktinfo {
            ipi_ifindex: index,
            ipi_spec_dst: source,
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let control = [ControlMessage::Ipv4PacketInfo(&through)];
        let socket = self.own.socket.as_raw_fd();
        Ok(sendmsg(
            socket,
            &[IoSlice::new(bytes)],
            &control,
            MsgFlags::empty(),
            Some(&SockaddrIn::from(to)),
        )?)
    }
}

fn listen(registry: &Registry, socket: std::net::UdpSocket, token: Token) -> io::Result<Ear> {
    let mut socket = UdpSocket::from_std(socket);
    registry.register(&mut socket, token, Interest::READABLE)?;
    Ok(Ear { socket, ready: true })
}

/// The socket on the number of the TCP port or, if that is taken, on any port: a peer can be
/// answered on either.
fn bind_own(address: SocketAddrV4) -> io::Result<std::net::UdpSocket> {
    let bind = |address: SocketAddrV4| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        // The address may still have to appear, or to return.
        socket.set_freebind_v4(true)?;
        socket.set_broadcast(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    bind(address).or_else(|error: io::Error| {
        log::warn!(
            "UDP port {} is taken ({error}); using another one. Seeds that name this peer \
                    will not reach it.",
            address.port()
        );
        bind(SocketAddrV4::new(*address.ip(), 0))
    })
}

fn bind_shared(address: SocketAddrV4) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Whether a token belongs to one of the sockets.
#[must_use]
pub fn is_ours(token: Token) -> bool {
    token == OWN || slot(token).is_some()
}

fn slot(token: Token) -> Option<usize> {
    token.0.checked_sub(SHARED.0).filter(|slot| *slot < PLACES_MAX)
}

fn token(slot: usize) -> Token {
    Token(SHARED.0 + slot)
}

/// The token of the own socket.
pub const OWN: Token = Token(1);
/// The token of the first shared socket; the others follow.
pub const SHARED: Token = Token(64);
const READS_PER_TURN: usize = 64;
const DATAGRAM_BYTES: usize = 64 << 10;
/// How many addresses with failed sends are remembered.
const FAILING_MAX: usize = 64;
