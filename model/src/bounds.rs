//! The bounds of a search: which events may happen, and how often.

use std::fmt;

/// The bounds of a search. Once a bound is used up, a path continues without that event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Peers.
    pub peers: u8,
    /// Processes that die.
    pub crashes: u8,
    /// Readings that are published.
    pub readings: u8,
    /// Connections that break, with all messages in flight on them.
    pub resets: u8,
    /// Deadlines that pass while a message is in flight.
    pub passes: u8,
    /// Deadlines that pass while none is.
    pub rests: u8,
    /// Processes that are paused for longer than any peer waits.
    pub pauses: u8,
    /// Rounds of epochs, those before the start included; a situation in which a peer has promised
    /// a higher round is not expanded.
    pub rounds: u64,
    /// Whether datagrams arrive; otherwise all of them are lost.
    pub datagrams: bool,
    /// Whether delivery is `safe` (the knob `delivery`).
    pub safe: bool,
    /// The greatest number of visited situations.
    pub states: usize,
    /// The limit of a search in seconds.
    pub seconds: u64,
    /// The limit of the process's memory in MiB, for all of its searches together.
    pub memory: u64,
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            peers,
            crashes,
            readings,
            resets,
            passes,
            rests,
            pauses,
            rounds,
            datagrams,
            safe,
            ..
        } = self;
        write!(
            f,
            "{peers} peers, {crashes} crashes, {readings}{} readings, {resets} resets, {passes} \
             early and {rests} late deadlines, ",
            if *safe { " safe" } else { "" }
        )?;
        write!(f, "{pauses} pauses, epochs up to {rounds}")?;
        f.write_str(if *datagrams { ", datagrams heard" } else { ", datagrams lost" })
    }
}
