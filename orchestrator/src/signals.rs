//! Ctrl-C and its relatives, asked for instead of handled: once means stop gracefully and still judge, twice means now.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The wish of somebody outside to stop.
#[derive(Debug)]
pub struct Interrupts {
    signals: Signals,
    count: usize,
}

impl Interrupts {
    /// From here on SIGINT, SIGTERM and SIGHUP are wishes and do not end this process.
    ///
    /// # Errors
    /// If the handlers cannot be installed.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { signals: Signals::new([SIGINT, SIGTERM, SIGHUP])?, count: 0 })
    }

    /// Whether anybody has wished to stop so far.
    pub fn poll(&mut self) -> bool {
        self.count += self.signals.pending().count();
        self.count > 0
    }

    /// How often.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }
}
