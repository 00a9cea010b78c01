//! Seed addresses: configured contacts `host:port`, for networks without broadcast.

use std::fmt;
use std::net::{SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::str::FromStr;

use serde::Deserialize;

/// The configured address of a peer: a host name or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SeedAddress {
    host: String,
    port: u16,
}

impl SeedAddress {
    /// The addresses of the host; asks the name service for a host name, and may block for long.
    #[must_use]
    pub fn resolve(&self) -> Vec<SocketAddrV4> {
        let addresses = (self.host.as_str(), self.port).to_socket_addrs();
        let v4 = |address| if let SocketAddr::V4(address) = address { Some(address) } else { None };
        addresses.map(|all| all.filter_map(v4).collect()).unwrap_or_default()
    }
}

impl SeedAddress {
    /// The address, if it needs no name service.
    #[must_use]
    pub fn literal(&self) -> Option<SocketAddrV4> {
        Some(SocketAddrV4::new(self.host.parse().ok()?, self.port))
    }
}

impl FromStr for SeedAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no host:port, such as 192.168.1.5:5001");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|&port| port != 0).ok_or_else(wrong)?;
        if host.is_empty() || host.contains([':', '/', ' ']) {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl TryFrom<String> for SeedAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for SeedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::SeedAddress;

    #[test]
    fn a_seed_is_a_host_and_a_port() {
        let seed: SeedAddress = "127.0.0.1:5001".parse().unwrap();
        assert_eq!(seed.resolve(), ["127.0.0.1:5001".parse().unwrap()]);
        for wrong in [
            "",
            "127.0.0.1",
            "127.0.0.1:",
            ":5001",
            "127.0.0.1:0",
            "127.0.0.1:70000",
            "::1:5001",
            "http://a:1",
        ] {
            assert!(wrong.parse::<SeedAddress>().is_err(), "{wrong}");
        }
    }
}
