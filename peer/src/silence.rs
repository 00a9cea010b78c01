//! Silent seed addresses while a peer is alone: the most common reason why it stays alone.
//!
//! In company, a seed address may well be obsolete. A peer that is alone was configured to contact
//! a peer that does not answer: the address is wrong, no peer runs there, or a firewall drops the
//! requests or the answers. That is reported after one and a half `heartbeat_timeout`s, and at each
//! doubling.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddrV4;
use std::time::Duration;

use protocol::time::Time;

/// The seed addresses, and how long they have been silent.
#[derive(Debug)]
pub struct Silence {
    after: Duration,
    addresses: BTreeMap<SocketAddrV4, Since>,
}

#[derive(Clone, Copy, Debug)]
struct Since {
    /// When it was last heard, when this peer was last in company, or when it was configured.
    at: Time,
    /// The duration at which it is reported (again).
    next: Duration,
}

/// A seed address that has been silent for that long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silent {
    address: SocketAddrV4,
    lasted: Duration,
}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, lasted } = self;
        write!(
            f,
            "Alone, and no word from the seed {address} for {:.1} s: check the address, whether a \
             peer of this cluster runs there, and \
             whether a firewall on the way lets UDP port {} through and its answers back.",
            lasted.as_secs_f64(),
            address.port()
        )
    }
}

impl Silence {
    /// Reports silences of one and a half times as long.
    #[must_use]
    pub fn new(heartbeat_timeout: Duration) -> Self {
        Self { after: heartbeat_timeout * 3 / 2, addresses: BTreeMap::new() }
    }

    /// Watches these seed addresses from now on; those watched before keep their time.
    pub fn watch(&mut self, now: Time, addresses: impl Iterator<Item = SocketAddrV4>) {
        let before = std::mem::take(&mut self.addresses);
        let anew = Since { at: now, next: self.after };
        self.addresses = addresses
            .take(SEEDS_MAX)
            .map(|address| (address, before.get(&address).copied().unwrap_or(anew)))
            .collect();
    }

    /// A datagram of a peer of this cluster has arrived from there.
    pub fn hear(&mut self, now: Time, source: SocketAddrV4) {
        if let Some(since) = self.addresses.get_mut(&source) {
            *since = Since { at: now, next: self.after };
        }
    }

    /// The seed addresses to report.
    pub fn look(&mut self, now: Time, is_alone: bool) -> Vec<Silent> {
        let mut silent = Vec::new();
        for (&address, since) in &mut self.addresses {
            if !is_alone {
                *since = Since { at: now, next: self.after };
            }
            let lasted = now.since(since.at);
            if lasted >= since.next {
                since.next = lasted * 2;
                silent.push(Silent { address, lasted });
            }
        }
        silent
    }
}

/// How many seed addresses are watched.
const SEEDS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::{Duration, Silence, SocketAddrV4, Time};

    fn at(second: u64) -> Time {
        Time::from_micros((100 + second) * 1_000_000)
    }

    #[test]
    fn a_silent_seed_is_told_at_each_doubling_while_nobody_else_is_there() {
        let addresses: [SocketAddrV4; 2] =
            ["10.0.0.1:7000".parse().unwrap(), "10.0.0.2:7000".parse().unwrap()];
        let mut silence = Silence::new(Duration::from_secs(10));
        silence.watch(at(0), addresses.into_iter());
        let mut told = Vec::new();
        for second in 0..100 {
            silence.hear(at(second), addresses[1]);
            silence.watch(at(second), addresses.into_iter());
            let silent = silence.look(at(second), true);
            assert!(
                silent.iter().all(|silent| silent.address == addresses[0]),
                "the other one is heard"
            );
            told.extend(silent.iter().map(|silent| (second, silent.to_string())));
        }
        assert_eq!(told.iter().map(|(second, _)| *second).collect::<Vec<u64>>(), [15, 30, 60]);
        assert!(
            told[0].1.contains("the seed 10.0.0.1:7000 for 15.0 s")
                && told[0].1.contains("UDP port 7000"),
            "{}",
            told[0].1
        );
        assert_eq!(silence.look(at(200), false), []);
        assert_eq!(silence.look(at(214), true), [], "it has been in company until a moment ago");
        assert_eq!(silence.look(at(215), true).len(), 2);
    }
}
