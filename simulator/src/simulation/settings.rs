//! What a simulation is made with.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::config::Config;

use crate::weather::{OneIn, Weather};

/// What a simulation is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of every draw.
    pub seed: u64,
    /// The knobs of every node.
    pub config: Config,
    /// How the network behaves at first.
    pub weather: Weather,
    /// Whether bytes travel, cut at drawn places, or messages as values.
    pub bytes: bool,
    /// How much a kernel buffers for one direction of a connection, in bytes.
    pub capacity: usize,
    /// How often a dying process's last frames are lost.
    pub rude: OneIn,
    /// How long a kernel tries to connect before it gives up.
    pub connect_timeout: Duration,
    /// How late a timer may be, in microseconds.
    pub timer_late_us: u32,
    /// How long a turn of a process's loop takes, in microseconds: what it has to say is written at
    /// its end, control before bulk. At 0 every input is a turn of its own.
    pub turn_us: u32,
    /// How many datagrams a host holds that it has not read yet; of more, drawn ones are lost. 0 is
    /// any number.
    pub datagrams: usize,
    /// The datagrams that are lost whatever the weather: sender, and which of its.
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
            // What a kernel waits that sends the first packet seven times.
            connect_timeout: Duration::from_secs(127),
            timer_late_us: 0,
            turn_us: 0,
            datagrams: 0,
            lost: BTreeSet::new(),
        }
    }
}
