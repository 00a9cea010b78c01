//! Injects a fault into a process, confirms its effect, and records it as ground truth.
//!
//! The record of a fault bears the moment before the signal was sent, because the group may react
//! before the record is written. The end of a pause bears the moment after the signal. A signal
//! goes only to the very process that wrote its `start` event, never to a later process with the
//! same pid.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use promises::{Fault, GroundTruth, Stand, WorldEvent};
use protocol::time::Time;
use thiserror::Error;

use crate::clock;
use crate::group::{is_stopped, is_there};
use crate::held::Held;
use crate::patience;
use crate::run_folder::RunFolder;

/// Why a fault was not injected or not recorded.
#[derive(Debug, Error)]
pub enum FaultError {
    /// The process has ended; its pid may belong to another process by now.
    #[error(
        "{process} (pid {pid}) does not run any more; `chaos status` shows the processes that do"
    )]
    Gone {
        /// Its name.
        process: String,
        /// The pid that it had.
        pid: u32,
    },
    /// The kernel refused the signal.
    #[error("{process} (pid {pid}) cannot be signalled: {source}")]
    Forbidden {
        /// Its name.
        process: String,
        /// Its pid.
        pid: u32,
        /// The kernel's error.
        source: io::Error,
    },
    /// No signal causes this fault.
    #[error("{fault} cannot be injected into a running process with a signal")]
    NoSignal {
        /// The fault that was requested.
        fault: &'static str,
    },
    /// The fault could not be recorded.
    #[error("the fault was injected, but cannot be recorded in {path}: {source}")]
    Untold {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Injects faults and records them in an event file.
#[derive(Debug)]
pub struct FaultInjector {
    writer: String,
    path: String,
    file: File,
    told: u64,
}

impl FaultInjector {
    /// An injector that records into `events/_chaos.<pid>.jsonl` of a run.
    ///
    /// # Errors
    /// [`FaultError::Untold`] if that file cannot be opened; then inject no fault either.
    pub fn new(folder: &RunFolder) -> Result<Self, FaultError> {
        let writer = format!("_chaos.{}", std::process::id());
        let path = folder.event_file(&writer);
        let name = path.display().to_string();
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&path);
        let file = file.map_err(|source| FaultError::Untold { path: name.clone(), source })?;
        Ok(Self { writer, path: name, file, told: 0 })
    }

    /// Injects a fault, waits for its effect, and records it. Returns true if the effect was seen
    /// in time.
    ///
    /// # Errors
    /// [`FaultError`]; with every variant but `Untold` the process was left alone.
    pub fn act(
        &mut self,
        stand: &Stand,
        fault: &Fault,
        within: Duration,
    ) -> Result<bool, FaultError> {
        let began = clock::now();
        send(stand, fault)?;
        let Ok(seen) = patience::until(within, || {
            Ok::<_, std::convert::Infallible>(shows(stand, fault).then_some(()))
        });
        let at = if *fault == Fault::Resume { clock::now() } else { began };
        let id =
            format!("{}-{}-{}", self.writer.trim_start_matches('_'), fault.name(), self.told + 1);
        let what = GroundTruth::Fault {
            id,
            fault: fault.clone(),
            who: vec![stand.process.clone()],
            confirmed: seen.is_some(),
        };
        self.tell(at, what)?;
        Ok(seen.is_some())
    }

    /// Records a fault or an observation.
    ///
    /// # Errors
    /// [`FaultError::Untold`].
    pub fn tell(&mut self, at: Time, what: GroundTruth) -> Result<(), FaultError> {
        self.told += 1;
        let event = WorldEvent::new(at, &self.writer, self.told, what);
        let mut line =
            serde_json::to_vec(&event).expect("an event has only text keys and writes to memory");
        line.push(b'\n');
        // One write per line, so that a reader never sees two interleaved lines.
        self.file
            .write_all(&line)
            .map_err(|source| FaultError::Untold { path: self.path.clone(), source })
    }
}

/// Sends the signals of a fault, if the process is still the same one.
///
/// # Errors
/// [`FaultError`], never `Untold`; the process was left alone.
pub fn send(stand: &Stand, fault: &Fault) -> Result<(), FaultError> {
    let signals: &[Signal] = match fault {
        Fault::Kill => &[Signal::SIGKILL],
        // A stopped process cannot handle SIGTERM, so SIGCONT goes first.
        Fault::Stop => &[Signal::SIGCONT, Signal::SIGTERM],
        Fault::Pause => &[Signal::SIGSTOP],
        Fault::Resume => &[Signal::SIGCONT],
        Fault::Restart { .. }
        | Fault::Spawn
        | Fault::Partition { .. }
        | Fault::Link { .. }
        | Fault::Host { .. } => {
            return Err(FaultError::NoSignal { fault: fault.name() });
        }
    };
    let gone = || FaultError::Gone { process: stand.process.clone(), pid: stand.pid };
    let forbidden =
        |source| FaultError::Forbidden { process: stand.process.clone(), pid: stand.pid, source };
    let held = Held::of(stand.pid, stand.pid_start).map_err(forbidden)?.ok_or_else(gone)?;
    for signal in signals {
        if !held.signal(*signal).map_err(forbidden)? {
            return Err(gone());
        }
    }
    Ok(())
}

/// Whether the process shows the effect of the fault.
#[must_use]
pub fn shows(stand: &Stand, fault: &Fault) -> bool {
    match fault {
        Fault::Kill | Fault::Stop => !is_there(stand),
        Fault::Pause => is_stopped(stand),
        Fault::Resume => is_there(stand) && !is_stopped(stand),
        Fault::Restart { .. }
        | Fault::Spawn
        | Fault::Partition { .. }
        | Fault::Link { .. }
        | Fault::Host { .. } => false,
    }
}
