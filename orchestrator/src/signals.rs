//! Ctrl-C and related signals, polled instead of handled: the first request means stop gracefully
//! and still judge; a second one, at least a second later, means stop at once. A signal that was
//! ignored at the start stays ignored.

use std::io;
use std::time::Instant;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use stdio::signals::{Requests, heeded};

/// Requests from outside to stop.
#[derive(Debug)]
pub struct Interrupts {
    signals: Signals,
    began: Instant,
    requests: Requests,
}

impl Interrupts {
    /// From here on SIGINT, SIGTERM and SIGHUP count as requests and do not end this process;
    /// signals that were ignored stay ignored.
    ///
    /// # Errors
    /// If the handlers cannot be installed.
    pub fn listen() -> io::Result<Self> {
        let signals = Signals::new(heeded(&[SIGINT, SIGTERM, SIGHUP]).signals)?;
        Ok(Self { signals, began: Instant::now(), requests: Requests::default() })
    }

    /// Whether a request to stop has arrived so far.
    pub fn poll(&mut self) -> bool {
        for _ in self.signals.pending() {
            self.requests.note(self.began.elapsed());
        }
        self.count() > 0
    }

    /// The number of requests.
    #[must_use]
    pub fn count(&self) -> usize {
        self.requests.count()
    }
}
