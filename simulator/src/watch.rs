//! Watching a simulation: the common interface of traces, script transcripts and the determinism
//! guard.
//!
//! A watcher gets values, never text, so that a run without a watcher formats nothing.

use std::fmt;

use protocol::id::PeerId;
use protocol::io::{Input, Output};
use protocol::message::{Datagram, Message};
use protocol::time::Time;

/// Gets every event; each method has an empty default.
pub trait Watch {
    /// A node is about to handle an input; `from` is the peer that sent it, if any.
    fn input(&mut self, now: Time, who: &PeerId, from: Option<&PeerId>, input: &Input) {
        let _ = (now, who, from, input);
    }

    /// A node has produced an output.
    fn output(&mut self, now: Time, who: &PeerId, output: &Output) {
        let _ = (now, who, output);
    }

    /// A node has sent a frame; once for each receiver.
    fn sent(&mut self, now: Time, who: &PeerId, to: &PeerId, message: &Message) {
        let _ = (now, who, to, message);
    }

    /// A node has sent a datagram, to one address or as a broadcast.
    fn called(&mut self, now: Time, who: &PeerId, to: Option<&PeerId>, datagram: &Datagram) {
        let _ = (now, who, to, datagram);
    }

    /// The simulation has executed an act of the plan.
    fn act(&mut self, now: Time, what: fmt::Arguments<'_>) {
        let _ = (now, what);
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {}
