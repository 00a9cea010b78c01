//! UDP: how peers that know nothing of one another meet.
//!
//! A *shared* socket for each network in which others are met: it is bound to the broadcast address
//! on the discovery port, so it hears what is broadcast there and nothing else; any number of peers
//! on one machine bind it side by side. The *own* one has the number of the TCP port; everything is
//! sent from it, and answers come back to it. On loopback the broadcast address is 127.255.255.255,
//! and nothing of it ever leaves the machine.
//!
//! Each broadcast goes out in each of the networks, and says the own address there (see
//! [`crate::voice`]). Seeds, and peers that were in the group not long ago, get every broadcast by
//! unicast as well, for networks that carry no broadcast.

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
    /// How often sending has begun to fail.
    failures: Doublings,
    /// Peers that were in the group, and are not now.
    missing: Vec<SocketAddrV4>,
    /// Where sending or binding has failed, so that a lasting failure is told once.
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

/// One network in which others are met.
#[derive(Debug)]
struct Shared {
    place: Place,
    /// None while it cannot be bound.
    ear: Option<Ear>,
}

impl Discovery {
    /// Binds the own socket.
    ///
    /// # Errors
    /// Those of the operating system on the own socket, when not even an ephemeral port can be
    /// bound.
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

    /// Meets others in these networks from now on, and says its addresses like this. A shared port
    /// that cannot be bound is a warning: such a peer still asks, and finds others through seeds.
    pub fn meet(&mut self, places: Vec<Place>, voice: Voice) {
        self.voice = voice;
        let mut before = std::mem::take(&mut self.shared);
        for place in places.into_iter().take(PLACES_MAX) {
            // An address that went and came back is another one to the kernel in everything but its
            // number.
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
        // Places in their order have tokens in their order; those that stay may have moved.
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

    /// Binds what could not be bound before; true if nothing is left over.
    pub fn bind(&mut self) -> bool {
        let mut done = true;
        let mut heard: BTreeSet<Ipv4Addr> = self
            .shared
            .iter()
            .filter(|shared| shared.ear.is_some())
            .map(|s| s.place.broadcast)
            .collect();
        for (slot, shared) in self.shared.iter_mut().enumerate() {
            // Two interfaces in one network hear the same.
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

    /// From now on these get every broadcast by unicast.
    pub fn set_seed_addresses(&mut self, addresses: Vec<SocketAddrV4>) {
        self.seed_addresses = addresses;
    }

    /// The same for peers that were in the group.
    pub fn set_missing(&mut self, missing: Vec<SocketAddrV4>) {
        self.missing = missing;
    }

    /// Takes note of an event of one of the sockets.
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

    /// The next thing heard; none when this turn's share is used up.
    pub fn next_found(&mut self) -> Option<Found> {
        while self.reads_left > 0 {
            let shared = self.shared.iter_mut().filter_map(|shared| shared.ear.as_mut());
            let ear = std::iter::once(&mut self.own).chain(shared).find(|ear| ear.ready)?;
            self.reads_left -= 1;
            match ear.socket.recv_from(&mut self.buffer) {
                Ok((count, SocketAddr::V4(from))) => {
                    // One's own broadcasts come back.
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
                // The echo of an earlier sending to a port where nobody listens; it says nothing
                // about the next one.
                Err(_) => {}
            }
        }
        None
    }

    /// Whether this peer itself listens there.
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

    /// Whether there is more to do without waiting for an event.
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

    /// Sends to everyone on each network, to the seeds, and to those that are missing.
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

    /// A failure is told unless that is expected: where somebody was once, there may be no network
    /// now.
    fn send(&mut self, bytes: &[u8], to: SocketAddrV4, place: Option<&Place>, told: bool) {
        // A refusal is the echo of an earlier sending; this one has not been tried yet.
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

    /// What is broadcast in a network leaves through its interface, from the address there: which
    /// route the kernel would take says nothing of who is to hear it.
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

/// The socket on the number of the TCP port or, where that is taken, on any: a peer can be answered
/// on either.
fn bind_own(address: SocketAddrV4) -> io::Result<std::net::UdpSocket> {
    let bind = |address: SocketAddrV4| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        // The address may still have to come, or come back.
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

/// Whether a token is that of one of the sockets.
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

/// The own socket's token.
pub const OWN: Token = Token(1);
/// The first shared socket's token; the others follow.
pub const SHARED: Token = Token(64);
const READS_PER_TURN: usize = 64;
const DATAGRAM_BYTES: usize = 64 << 10;
/// Addresses of which it is remembered that sending to them failed.
const FAILING_MAX: usize = 64;
