//! The hand: does something to a process, sees that it worked, and writes it down as ground truth.
//!
//! The act bears the moment before the signal was sent, because the group may react before anything
//! is written; the end of a pause bears the moment after. A process is touched only if it is the
//! very one that wrote its `start`.

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

/// Why nothing was done, or nobody knows of it.
#[derive(Debug, Error)]
pub enum FaultError {
    /// The process is gone; whoever has its pid now is somebody else.
    #[error("{process} (pid {pid}) does not run any more")]
    Gone {
        /// Its name.
        process: String,
        /// The pid that it had.
        pid: u32,
    },
    /// The kernel does not let us.
    #[error("{process} (pid {pid}) cannot be signalled: {source}")]
    Forbidden {
        /// Its name.
        process: String,
        /// Its pid.
        pid: u32,
        /// The kernel's word.
        source: io::Error,
    },
    /// That is not done with a signal.
    #[error("{fault} is not done to a process that runs")]
    NoSignal {
        /// What was asked.
        fault: &'static str,
    },
    /// What was done could not be written down.
    #[error("cannot write down what was done, in {path}: {source}")]
    Untold {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// The hand, with the file in which it tells what it does.
#[derive(Debug)]
pub struct FaultInjector {
    writer: String,
    path: String,
    file: File,
    told: u64,
}

impl FaultInjector {
    /// A hand that writes into `events/_chaos.<pid>.jsonl` of a run.
    ///
    /// # Errors
    /// [`FaultError::Untold`] if that file cannot be opened; then nothing should be done either.
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

    /// Does it, waits until it can be seen, and writes it down. True if it was seen in time.
    ///
    /// # Errors
    /// [`FaultError`]; but for `Untold` nothing was done.
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

    /// Writes down something that was done or seen.
    ///
    /// # Errors
    /// [`FaultError::Untold`].
    pub fn tell(&mut self, at: Time, what: GroundTruth) -> Result<(), FaultError> {
        self.told += 1;
        let event = WorldEvent::new(at, &self.writer, self.told, what);
        let mut line =
            serde_json::to_vec(&event).expect("an event has only text keys and writes to memory");
        line.push(b'\n');
        // One write a line, so that a reader never sees two halves of different lines.
        self.file
            .write_all(&line)
            .map_err(|source| FaultError::Untold { path: self.path.clone(), source })
    }
}

/// Sends the signals that do it, if the process is still the same.
///
/// # Errors
/// [`FaultError`], never `Untold`; then nothing was done.
pub fn send(stand: &Stand, fault: &Fault) -> Result<(), FaultError> {
    let signals: &[Signal] = match fault {
        Fault::Kill => &[Signal::SIGKILL],
        // A process that stands still would not hear that it is to leave.
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

/// Whether it shows that it was done.
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
