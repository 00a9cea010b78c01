//! SIGHUP: reads the configuration file again while the peer runs.
//!
//! A thread reads it, since the file may be on a hanging disk. The loop adopts settings that can
//! change at run time, and names those that need a restart. A broken file changes nothing.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use mio::Waker;

use crate::failure::Failure;
use crate::settings::{Changes, Source};

/// Reads the file again on request.
#[derive(Debug)]
pub struct Reloader {
    source: Source,
    waker: Arc<Waker>,
    /// The reading in progress.
    open: Option<Receiver<Result<Changes, Failure>>>,
    /// Whether another request came meanwhile.
    again: bool,
}

impl Reloader {
    /// With the settings that the peer was started with.
    #[must_use]
    pub fn new(source: Source, waker: Arc<Waker>) -> Self {
        Self { source, waker, open: None, again: false }
    }

    /// Begins to read the file; false if there is none.
    /// # Errors
    /// Those of starting a thread.
    pub fn begin(&mut self) -> io::Result<bool> {
        if self.source.file().is_none() {
            return Ok(false);
        }
        if self.open.is_some() {
            self.again = true;
            return Ok(true);
        }
        let (outbox, outcome) = sync_channel(1);
        let (source, waker) = (self.source.clone(), Arc::clone(&self.waker));
        thread::Builder::new().name("reload".to_owned()).spawn(move || {
            let _nobody_waits = outbox.send(source.read_again());
            let _loop_is_gone = waker.wake();
        })?;
        self.open = Some(outcome);
        Ok(true)
    }

    /// The result of a reading, once; from now on it is the basis for comparison.
    pub fn outcome(&mut self) -> Option<Result<Changes, Failure>> {
        let outcome = self.open.as_ref()?.try_recv().ok()?;
        self.open = None;
        if std::mem::take(&mut self.again)
            && let Err(error) = self.begin()
        {
            log::warn!("The configuration is not read again: {error}; send SIGHUP once more.");
        }
        Some(outcome)
    }

    /// Whether the file is being read.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.open.is_some()
    }

    /// Adopts this setting from `new`.
    pub fn adopt(&mut self, name: &str, new: &Source) {
        self.source.adopt(name, new);
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.source.file()
    }
}
