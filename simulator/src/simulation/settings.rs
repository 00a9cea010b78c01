//! The settings of a simulation.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::config::Config;

use crate::weather::{OneIn, Weather};

/// The settings of a simulation.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The seed of every draw.
    pub seed: u64,
    /// The knobs of every node.
    pub config: Config,
    /// The usual weather.
    pub weather: Weather,
    /// Whether links carry bytes, cut at drawn places, or messages as values.
    pub bytes: bool,
    /// How much a kernel buffers for one direction of a connection, in bytes.
    pub capacity: usize,
    /// How often a dying process's last frames are lost.
    pub rude: OneIn,
    /// How long a kernel tries to connect before it gives up.
    pub connect_timeout: Duration,
    /// How late a timer may be, in microseconds.
    pub timer_late_us: u32,
    /// How long a turn of a process's loop takes, in microseconds: its output is written at the end
    /// of the turn, control before bulk. At 0 every input is a turn of its own.
    pub turn_us: u32,
    /// How many unread datagrams a host holds; if more arrive, drawn ones are lost. 0 is unlimited.
    pub datagrams: usize,
    /// The datagrams that are lost whatever the weather: the sender, and the number among its
    /// datagrams.
    pub lost: BTreeSet<(usize, u64)>,
}

impl Settings {
    /// Settings of a calm simulation.
    #[must_use]
    pub fn calm(seed: u64, config: Config) -> Self {
        Self {
            seed,
            config,
            weather: Weather::calm(),
            bytes: false,
            capacity: 1 << 20,
            rude: OneIn(0),
            // The time after which a kernel that sends the first packet seven times gives up.
            connect_timeout: Duration::from_secs(127),
            timer_late_us: 0,
            turn_us: 0,
            datagrams: 0,
            lost: BTreeSet::new(),
        }
    }
}
