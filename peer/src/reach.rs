//! Peers that are heard by datagram and cannot be reached by connection: evidence of a network
//! fault.
//!
//! A silent peer may just have ended. A peer that is heard and does not answer TCP is alive behind
//! a firewall, a NAT or a wrong address. That is reported after `heartbeat_timeout`, and at each
//! doubling of the time.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use protocol::id::PeerId;
use protocol::note::Note;
use protocol::time::Time;
use serde::{Deserialize, Serialize};

use crate::links::Obstacle;

/// A peer that is heard and cannot be reached, for `peer status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreachable {
    /// Its name.
    pub peer: PeerId,
    /// The address that it announces.
    pub address: SocketAddrV4,
    /// For how long there has been no connection, in milliseconds.
    pub for_ms: u64,
    /// What is wrong, and what to check.
    pub why: String,
}

/// The peers heard, and the reports made.
#[derive(Debug)]
pub struct Reach {
    after: Duration,
    heard: BTreeMap<SocketAddrV4, (PeerId, Time)>,
    /// Since when an address cannot be reached, and the duration at which it is reported again.
    told: BTreeMap<SocketAddrV4, (Time, Duration)>,
    look_at: Time,
    /// Peers that cannot be reached now.
    now: Vec<Unreachable>,
}

impl Reach {
    /// Reports problems that have lasted for that long.
    #[must_use]
    pub fn new(after: Duration) -> Self {
        Self {
            after,
            heard: BTreeMap::new(),
            told: BTreeMap::new(),
            look_at: Time::ZERO,
            now: Vec::new(),
        }
    }

    /// A datagram of this peer has arrived, which announces this address.
    pub fn hear(&mut self, now: Time, peer: &PeerId, address: SocketAddrV4) {
        if self.heard.len() >= HEARD_MAX && !self.heard.contains_key(&address) {
            let patience = self.patience();
            self.heard.retain(|_, (_, at)| now.since(*at) < patience);
            if self.heard.len() >= HEARD_MAX {
                return;
            }
        }
        self.heard.insert(address, (peer.clone(), now));
    }

    /// Examines unreachable addresses; returns the notes to report.
    pub fn look<'a>(
        &mut self,
        now: Time,
        failing: impl Iterator<Item = (SocketAddrV4, Time, &'a Obstacle)>,
    ) -> Vec<Note> {
        if now < self.look_at {
            return Vec::new();
        }
        self.look_at = now + self.after / 4;
        self.now.clear();
        let mut notes = Vec::new();
        let mut seen = BTreeMap::new();
        let failing: Vec<_> = failing.collect();
        let fails = |address: &SocketAddrV4| failing.iter().any(|(other, _, _)| other == address);
        for (address, since, obstacle) in &failing {
            let (address, since) = (*address, *since);
            let lasted = now.since(since);
            let Some((peer, heard_at)) = self.heard.get(&address) else { continue };
            // If it was heard before the first attempt, it may have ended or moved since.
            let is_there = *heard_at > since && now.since(*heard_at) <= self.patience();
            // A peer with several addresses need not be reachable at each.
            let elsewhere = self.heard.iter().any(|(other, (name, at))| {
                name == peer
                    && *other != address
                    && now.since(*at) <= self.patience()
                    && !fails(other)
            });
            if lasted < self.after || !is_there || elsewhere || self.now.len() >= TOLD_MAX {
                continue;
            }
            let for_ms = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX);
            let unreachable =
                Unreachable { peer: peer.clone(), address, for_ms, why: words(address, obstacle) };
            let next = self
                .told
                .get(&address)
                .filter(|(told, _)| *told == since)
                .map_or(self.after, |(_, next)| *next);
            if lasted >= next {
                let Unreachable { peer, why, .. } = unreachable.clone();
                notes.push(Note::Unreachable { peer, address: address.to_string(), for_ms, why });
            }
            seen.insert(address, (since, if lasted >= next { lasted * 2 } else { next }));
            self.now.push(unreachable);
        }
        self.told = seen;
        notes
    }

    /// The unreachable peers at present.
    #[must_use]
    pub fn unreachable(&self) -> &[Unreachable] {
        &self.now
    }

    /// When to examine again, while there is a failure.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.look_at
    }

    /// A peer that was silent for that long does not count as heard.
    fn patience(&self) -> Duration {
        (self.after * 4).max(HEARD_FOR)
    }
}

fn words(address: SocketAddrV4, obstacle: &Obstacle) -> String {
    let port = address.port();
    match obstacle {
        Obstacle::Silence => format!(
            "does not answer TCP: check whether its firewall lets TCP port {port} in (and UDP \
             {port})"
        ),
        Obstacle::Refused => {
            format!(
                "refuses TCP: check whether a firewall rejects port {port}, or a NAT is in between \
                 (then give it --advertise)"
            )
        }
        Obstacle::NoWay(error) => format!(
            "cannot be dialled ({error}): check its --address or --advertise, and the routes to it"
        ),
    }
}

const HEARD_MAX: usize = 256;
/// How many peers are reported at a time.
const TOLD_MAX: usize = 8;
const HEARD_FOR: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::{Duration, HEARD_MAX, Obstacle, PeerId, Reach, SocketAddrV4, TOLD_MAX, Time};

    fn at(second: u64) -> Time {
        Time::from_micros((100 + second) * 1_000_000)
    }

    fn address(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new([10, 0, 0, 4].into(), port)
    }

    fn told(reach: &mut Reach, now: Time, failing: &[(SocketAddrV4, Time)]) -> usize {
        reach.look(now, failing.iter().map(|(to, since)| (*to, *since, &Obstacle::Silence))).len()
    }

    #[test]
    fn it_is_told_once_and_at_each_doubling() {
        let mut reach = Reach::new(Duration::from_secs(10));
        let kitchen = PeerId::new("kitchen").unwrap();
        let failing = [(address(9_001), at(0))];
        let mut moments = Vec::new();
        for second in 1..100 {
            reach.hear(at(second), &kitchen, address(9_001));
            if told(&mut reach, at(second), &failing) > 0 {
                moments.push(second);
            }
        }
        assert_eq!(moments.len(), 4, "{moments:?}");
        assert!(
            moments[0] <= 12 && moments.windows(2).all(|pair| pair[1] >= 2 * pair[0]),
            "{moments:?}"
        );
        let why = &reach.unreachable()[0].why;
        assert!(why.contains("firewall") && why.contains("9001"), "{why}");
        assert_eq!(told(&mut reach, at(103), &[]), 0);
        assert!(reach.unreachable().is_empty(), "it has been reached");
    }

    #[test]
    fn who_is_not_heard_may_have_ended() {
        let mut reach = Reach::new(Duration::from_secs(1));
        assert_eq!(told(&mut reach, at(9), &[(address(9_001), at(0))]), 0);
        reach.hear(at(9), &PeerId::new("kitchen").unwrap(), address(9_001));
        assert_eq!(told(&mut reach, at(10), &[(address(9_001), at(0))]), 1);
        assert_eq!(told(&mut reach, at(30), &[(address(9_001), at(0))]), 0);
    }

    #[test]
    fn strangers_fill_neither_memory_nor_log() {
        let mut reach = Reach::new(Duration::from_secs(1));
        let ports = 1..2 * HEARD_MAX as u16;
        for port in ports.clone() {
            reach.hear(at(9), &PeerId::new(&format!("p{port}")).unwrap(), address(port));
        }
        assert_eq!(reach.heard.len(), HEARD_MAX);
        let failing: Vec<_> = ports.map(|port| (address(port), at(0))).collect();
        assert_eq!(told(&mut reach, at(9), &failing), TOLD_MAX);
        assert_eq!(told(&mut reach, at(10), &failing), 0);
    }
}
