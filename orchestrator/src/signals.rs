//! Ctrl-C and its relatives, asked for instead of handled: one request means stop gracefully and
//! still judge, a second one, at least a second later, means now. What was ignored at the start
//! stays ignored.

use std::io;
use std::time::Instant;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use stdio::signals::{Requests, heeded};

/// The request of somebody outside to stop.
#[derive(Debug)]
pub struct Interrupts {
    signals: Signals,
    began: Instant,
    requests: Requests,
}

impl Interrupts {
    /// From here on SIGINT, SIGTERM and SIGHUP are requests and do not end this process; those that
    /// were ignored stay so.
    ///
    /// # Errors
    /// If the handlers cannot be installed.
    pub fn listen() -> io::Result<Self> {
        let signals = Signals::new(heeded(&[SIGINT, SIGTERM, SIGHUP]).signals)?;
        Ok(Self { signals, began: Instant::now(), requests: Requests::default() })
    }

    /// Whether anybody has asked to stop so far.
    pub fn poll(&mut self) -> bool {
        for _ in self.signals.pending() {
            self.requests.note(self.began.elapsed());
        }
        self.count() > 0
    }

    /// How often.
    #[must_use]
    pub fn count(&self) -> usize {
        self.requests.count()
    }
}
