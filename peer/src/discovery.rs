//! UDP: how peers that know nothing of one another meet.
//!
//! Two sockets. The *shared* one is bound to the broadcast address of the peer's network on the discovery port, so it
//! hears what is broadcast there and nothing else; any number of peers on one machine bind it side by side. The *own*
//! one has the number of the TCP port; everything is sent from it, and answers come back to it. On loopback the
//! broadcast address is 127.255.255.255, and nothing of it ever leaves the machine. Seeds get every broadcast by
//! unicast as well, for networks that carry no broadcast.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use bytes::Bytes;
use mio::event::Event;
use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use protocol::frame::{decode_datagram, encode_datagram};
use protocol::message::Datagram;
use protocol::seam::Input;
use socket2::{Domain, Protocol, Socket, Type};

use crate::doublings::Doublings;
use crate::links::Found;
use crate::rejects::{Reject, RejectReason};
use crate::status::Traffic;

/// The sockets.
#[derive(Debug)]
pub struct Discovery {
    /// The own socket first, then the shared one where it could be bound.
    sockets: Vec<Ear>,
    own: SocketAddr,
    broadcast: Option<SocketAddr>,
    seeds: Vec<SocketAddrV4>,
    /// Whether the last sending failed, and how often that has begun.
    failing: bool,
    failures: Doublings,
    sent: Traffic,
    reads_left: usize,
    buffer: Box<[u8]>,
}

#[derive(Debug)]
struct Ear {
    socket: UdpSocket,
    ready: bool,
}

/// Where to meet others.
#[derive(Clone, Copy, Debug)]
pub struct Meeting {
    /// The own address: the TCP listener's.
    pub own: SocketAddrV4,
    /// The broadcast address of its network, if that has one.
    pub broadcast: Option<Ipv4Addr>,
    /// The discovery port.
    pub port: u16,
}

impl Discovery {
    /// Binds the sockets. A shared port that cannot be bound is a warning: such a peer still asks, and finds others through seeds.
    ///
    /// # Errors
    /// Those of the operating system on the own socket, when not even an ephemeral port can be bound.
    pub fn new(registry: &Registry, meeting: Meeting) -> io::Result<Self> {
        let own = bind_own(meeting.own)?;
        let own_address = own.local_addr()?;
        let mut sockets = vec![own];
        let target = meeting.broadcast.map(|ip| SocketAddrV4::new(ip, meeting.port));
        if let Some(target) = target {
            match bind_shared(target) {
                Ok(shared) => sockets.push(shared),
                Err(error) => {
                    log::warn!(
                        "Cannot listen for broadcasts on {target}: {error}. Others are found only where they answer, and by --seeds."
                    );
                }
            }
        } else {
            log::warn!("The network of {} has no broadcast address; other peers are found by --seeds only.", meeting.own.ip());
        }
        let mut ears = Vec::new();
        for (socket, token) in sockets.into_iter().zip([OWN, SHARED]) {
            let mut socket = UdpSocket::from_std(socket);
            registry.register(&mut socket, token, Interest::READABLE)?;
            ears.push(Ear { socket, ready: true });
        }
        Ok(Self {
            sockets: ears,
            own: own_address,
            broadcast: target.map(SocketAddr::V4),
            seeds: Vec::new(),
            failing: false,
            failures: Doublings::default(),
            sent: Traffic::default(),
            reads_left: 0,
            buffer: vec![0; DATAGRAM_BYTES].into_boxed_slice(),
        })
    }

    /// From now on these get every broadcast by unicast.
    pub fn set_seeds(&mut self, seeds: Vec<SocketAddrV4>) {
        self.seeds = seeds;
    }

    /// Takes note of an event of one of the sockets.
    pub fn note(&mut self, event: &Event) {
        let index = if event.token() == OWN { 0 } else { 1 };
        if let Some(ear) = self.sockets.get_mut(index) {
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
            let ear = self.sockets.iter_mut().find(|ear| ear.ready)?;
            self.reads_left -= 1;
            match ear.socket.recv_from(&mut self.buffer) {
                // One's own broadcasts come back.
                Ok((_, from)) if from == self.own => {}
                Ok((count, SocketAddr::V4(from))) => {
                    return Some(match decode_datagram(&Bytes::copy_from_slice(&self.buffer[..count])) {
                        Ok(datagram) => Found::Input(Input::Heard { from, datagram: Box::new(datagram) }),
                        Err(error) => Found::Reject(Reject { from: from.into(), why: RejectReason::Wire(error) }),
                    });
                }
                Ok((_, SocketAddr::V6(_))) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => ear.ready = false,
                // The echo of an earlier sending to a port where nobody listens; it says nothing about the next one.
                Err(_) => {}
            }
        }
        None
    }

    /// Whether there is more to do without waiting for an event.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.sockets.iter().any(|ear| ear.ready)
    }

    /// What has been sent so far.
    #[must_use]
    pub fn sent(&self) -> Traffic {
        self.sent
    }

    /// Sends to everyone on the network, and to the seeds.
    pub fn broadcast(&mut self, datagram: &Datagram) {
        let bytes = encode_datagram(datagram);
        let targets = self.broadcast.into_iter().chain(self.seeds.iter().copied().map(SocketAddr::V4));
        for target in targets.filter(|&target| target != self.own).collect::<Vec<_>>() {
            self.send(&bytes, target);
        }
    }

    /// Sends to one peer.
    pub fn whisper(&mut self, to: SocketAddrV4, datagram: &Datagram) {
        self.send(&encode_datagram(datagram), to.into());
    }

    fn send(&mut self, bytes: &[u8], to: SocketAddr) {
        let socket = &self.sockets[0].socket;
        // A refusal is the echo of an earlier sending; this one has not been tried yet.
        let sent = match socket.send_to(bytes, to) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => socket.send_to(bytes, to),
            sent => sent,
        };
        match sent {
            Ok(_) => {
                self.failing = false;
                self.sent.add(bytes.len(), true);
            }
            // A full socket loses a datagram, as any network may.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => {}
            Err(error) => {
                if !self.failing
                    && let Some(count) = self.failures.count()
                {
                    log::warn!("Cannot send a datagram to {to}: {error}. Occurrence {count}; told at the 1st, 2nd, 4th, 8th ….");
                }
                self.failing = true;
            }
        }
    }
}

/// The socket on the number of the TCP port or, where that is taken, on any: a peer can be answered on either.
fn bind_own(address: SocketAddrV4) -> io::Result<std::net::UdpSocket> {
    let socket = std::net::UdpSocket::bind(address).or_else(|error| {
        log::warn!("UDP port {} is taken ({error}); using another one. Seeds that name this peer will not reach it.", address.port());
        std::net::UdpSocket::bind((*address.ip(), 0))
    })?;
    socket.set_broadcast(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn bind_shared(address: SocketAddrV4) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// The own socket's token.
pub const OWN: Token = Token(1);
/// The shared socket's token.
pub const SHARED: Token = Token(2);
const READS_PER_TURN: usize = 64;
const DATAGRAM_BYTES: usize = 64 << 10;
