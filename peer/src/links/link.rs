//! One TCP connection, and its state.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use protocol::frame::Cutter;
use protocol::time::Time;
use socket2::{SockRef, TcpKeepalive};

use super::outgoing::Outgoing;

#[derive(Debug)]
pub(super) struct Link {
    pub(super) stream: TcpStream,
    pub(super) remote: SocketAddr,
    /// The own address of this end, once it is known.
    local: Cell<Option<Ipv4Addr>>,
    pub(super) state: State,
    pub(super) cutter: Cutter,
    pub(super) queue: Outgoing,
    /// Whether it is in `Links::ready`.
    pub(super) ready: bool,
    /// Whether it is in `Links::dirty`.
    pub(super) dirty: bool,
    /// Whether the kernel accepts no more; an event reports when it does again.
    pub(super) blocked: bool,
    /// Whether the node has been told that it is backed up.
    pub(super) full: bool,
    /// Whether a first message has come.
    pub(super) spoken: bool,
    /// Whether the end of the stream was announced; data may still come before it.
    pub(super) ending: bool,
    /// Set when writing has failed; received data is still read.
    pub(super) broken: bool,
    /// Whether a large frame waits for the decision about it.
    pub(super) asking: bool,
    /// Bytes of incomplete frames at the last count.
    pub(super) held: usize,
    /// Its number among all incomplete frames, if it has one.
    pub(super) begun: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    Up,
    /// The node has hung up: the queue is written, received data is dropped, and the link closes at
    /// this time unless the other end accepts data meanwhile.
    Closing(Time),
}

impl Link {
    pub(super) fn new(stream: TcpStream, remote: SocketAddr, state: State) -> Self {
        Self {
            stream,
            remote,
            local: Cell::new(None),
            state,
            cutter: Cutter::wary(),
            queue: Outgoing::default(),
            ready: false,
            dirty: false,
            blocked: false,
            full: false,
            spoken: false,
            ending: false,
            broken: false,
            asking: false,
            held: 0,
            begun: None,
        }
    }

    /// The own address of this end.
    pub(super) fn local(&self) -> Option<Ipv4Addr> {
        if self.local.get().is_none() {
            let address = self.stream.local_addr().ok();
            let known = |address: SocketAddr| {
                if let SocketAddr::V4(address) = address { Some(*address.ip()) } else { None }
            };
            self.local.set(address.and_then(known).filter(|address| !address.is_unspecified()));
        }
        self.local.get()
    }

    /// Small frames go out at once, and little unsent data waits in the kernel. A connection that
    /// acknowledges neither data nor probes for `dead` ends: the node has dropped it before, and it
    /// should leave nothing behind. If the socket refuses an option, it is merely slower.
    pub(super) fn tune(&self, dead: Duration) {
        let socket = SockRef::from(&self.stream);
        let _slower = socket.set_tcp_nodelay(true);
        let _slower = socket.set_tcp_notsent_lowat(NOT_SENT_BYTES);
        let _later = socket.set_tcp_user_timeout(Some(dead));
        let probes = TcpKeepalive::new()
            .with_time(dead)
            .with_interval((dead / PROBES).max(Duration::from_secs(1)))
            .with_retries(PROBES);
        let _later = socket.set_tcp_keepalive(&probes);
    }
}

/// Probes of a silent connection before it ends.
const PROBES: u32 = 3;
/// How many unsent bytes the kernel holds at most, so that a control frame never waits behind more
/// than that.
const NOT_SENT_BYTES: u32 = 128 << 10;
