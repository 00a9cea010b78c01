//! How far a search goes: what may happen, and how often.

use std::fmt;

/// The bounds of a search. A path on which one of them is used up goes on without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Peers.
    pub peers: u8,
    /// Processes that die.
    pub crashes: u8,
    /// Readings that are published.
    pub readings: u8,
    /// Connections that break, with all that is on its way.
    pub resets: u8,
    /// Deadlines that pass while something is still on its way to somebody.
    pub passes: u8,
    /// Deadlines that pass while nothing is.
    pub rests: u8,
    /// Processes that stand still for longer than anybody waits.
    pub pauses: u8,
    /// Rounds of epochs, those before the start among them; a situation in which somebody has
    /// promised a higher one is not gone on from.
    pub rounds: u64,
    /// Whether datagrams arrive; otherwise all of them are lost.
    pub datagrams: bool,
    /// Whether readings are to be safe (the knob `delivery`).
    pub safe: bool,
    /// Situations visited at most.
    pub states: usize,
    /// Seconds at most.
    pub seconds: u64,
    /// MiB of memory that the process may have, all of its searches together.
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
