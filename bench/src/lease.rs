//! A reserved discovery port, held for as long as a group lives, so that no other run on this
//! machine finds its peers.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use socket2::{Domain, Socket, Type};

/// Holds the port; the peers bind it as well.
#[derive(Debug)]
pub struct Lease {
    port: u16,
    _held: Socket,
}

impl Lease {
    /// Reserves a free port.
    ///
    /// # Errors
    /// There is none.
    pub fn take() -> io::Result<Self> {
        let held = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        held.set_reuse_address(true)?;
        held.bind(&SocketAddrV4::new(LOOPBACK_BROADCAST, 0).into())?;
        let own = held
            .local_addr()?
            .as_socket_ipv4()
            .ok_or_else(|| io::Error::other("an IPv4 socket without an IPv4 address"))?;
        Ok(Self { port: own.port(), _held: held })
    }

    /// The flags by which a peer uses this port, stays on loopback, and dies with this process.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        let own = std::process::id();
        let flags =
            ["--address", "127.0.0.1", "--port", "0", "--broadcast-port"].map(str::to_owned);
        let rest = [
            self.port.to_string(),
            "--cluster".to_owned(),
            format!("bench-{own}-{}", self.port),
            "--die-with".to_owned(),
            own.to_string(),
        ];
        flags.into_iter().chain(rest).collect()
    }
}

const LOOPBACK_BROADCAST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);
/// A peer reads this variable; the bench uses the port of its lease instead.
pub const BROADCAST_PORT: &str = "BROADCAST_PORT";
