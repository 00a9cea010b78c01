//! The node: inputs in, outputs out.

use crate::config::Config;
use crate::id::Contact;
use crate::seam::{Input, Output};
use crate::status::Status;
use crate::time::Time;

/// One peer of the group, as a value.
#[derive(Clone, Debug)]
pub struct Node {}

impl Node {
    /// A peer that is in no group yet; it announces itself at its first wake-up.
    /// `seed` feeds its jitter and nothing else.
    #[must_use]
    pub fn new(_me: Contact, _config: Config, _seed: u64, _now: Time) -> Self {
        Self {}
    }

    /// Advances the node to `now`. Never blocks, sleeps or reads a clock; same inputs, same outputs.
    pub fn handle(&mut self, _now: Time, _input: Input, _out: &mut Vec<Output>) {}

    /// When to call again with [`Input::Wake`] if nothing else happens first.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        None
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        unreachable!("the node is written next")
    }
}
