//! How much the connections of a peer may take up, in number, bytes and time.

use std::time::Duration;

use protocol::config::Knobs;

/// How much the links may take up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections in all; more are closed as they come.
    pub links: usize,
    /// How long one that was accepted may say nothing.
    pub silence: Duration,
    /// Queued bytes at which a link counts as backed up; at a quarter of it, it does not any more.
    pub backlog: usize,
    /// Queued bytes at which a link is given up.
    pub queue: usize,
    /// How long an attempt to connect may take.
    pub dial: Duration,
    /// Bytes of all frames together that have come in part; beyond it the oldest of them goes, with
    /// its link.
    pub half_received: usize,
    /// How long a connection may acknowledge nothing before the kernel ends it.
    pub dead: Duration,
}

impl Limits {
    /// Those of a peer with these knobs. An attempt to connect ends before TCP's own timer, which
    /// tries for two minutes. A connection ends when two `heartbeat_timeout`s have brought no sign
    /// of life, which is long after the node has asked its question on another one.
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

/// How long an attempt to connect may take, at least and at most.
const DIAL_FIRST: Duration = Duration::from_secs(1);
const DIAL_MOST: Duration = Duration::from_secs(5);
