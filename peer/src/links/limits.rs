//! Limits of a peer's connections, in number, bytes and time.

use std::time::Duration;

use protocol::config::Knobs;

/// The limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many connections there may be; further ones are closed at once.
    pub links: usize,
    /// How long an accepted connection may be silent.
    pub silence: Duration,
    /// Queued bytes at which a link counts as backed up; at a quarter of it, it does not any more.
    pub backlog: usize,
    /// Queued bytes at which a link is dropped.
    pub queue: usize,
    /// How long an attempt to connect may take.
    pub dial: Duration,
    /// Bytes of all incomplete frames together; beyond it the oldest of them is dropped, with its
    /// link.
    pub half_received: usize,
    /// How long a connection may acknowledge nothing before the kernel ends it.
    pub dead: Duration,
}

impl Limits {
    /// The limits of a peer with these knobs. An attempt to connect ends before TCP's own timer,
    /// which tries for two minutes. A connection ends after two `heartbeat_timeout`s without a sign
    /// of life, which is long after the node has repeated its request on another one.
    #[must_use]
    pub fn of(knobs: &Knobs) -> Self {
        let dead = (knobs.heartbeat_timeout * 2).max(Duration::from_secs(2));
        Self { dead, dial: knobs.heartbeat_timeout.clamp(DIAL_FIRST, DIAL_MOST), ..Self::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            links: 8_192,
            silence: Duration::from_secs(10),
            backlog: 4 << 20,
            queue: 256 << 20,
            dial: DIAL_MOST,
            half_received: 256 << 20,
            dead: Duration::from_secs(20),
        }
    }
}

/// The shortest and the longest time for an attempt to connect.
const DIAL_FIRST: Duration = Duration::from_secs(1);
const DIAL_MOST: Duration = Duration::from_secs(5);
