//! Watching a simulation go by: what a trace, a script's transcript and the determinism guard have in
//! common.
//!
//! A watcher gets values, never text, so that a run nobody watches formats nothing.

use std::fmt;

use protocol::id::PeerId;
use protocol::io::{Input, Output};
use protocol::message::{Datagram, Message};
use protocol::time::Time;

/// Told of everything; each method does nothing unless it is written.
pub trait Watch {
    /// A node is about to handle something; `from` is who is behind it, where somebody is.
    fn input(&mut self, now: Time, who: &PeerId, from: Option<&PeerId>, input: &Input) {
        let _ = (now, who, from, input);
    }

    /// A node has asked for something.
    fn output(&mut self, now: Time, who: &PeerId, output: &Output) {
        let _ = (now, who, output);
    }

    /// A node has sent a frame; once for each receiver.
    fn sent(&mut self, now: Time, who: &PeerId, to: &PeerId, message: &Message) {
        let _ = (now, who, to, message);
    }

    /// A node has sent a datagram, to one address or to everybody.
    fn called(&mut self, now: Time, who: &PeerId, to: Option<&PeerId>, datagram: &Datagram) {
        let _ = (now, who, to, datagram);
    }

    /// The hand behind the simulation has done something.
    fn act(&mut self, now: Time, what: fmt::Arguments<'_>) {
        let _ = (now, what);
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {}
