//! Writes a recording. An input is queued before the node gets it, and [`crate::gate`] ensures that
//! it is in the file before any of its effects leaves the process. A thread does the writing, so
//! that a slow disk delays nothing else.
//!
//! A recording with a hole would replay another life, so it ends at the first failed write, or if
//! too much waits to be written.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use protocol::io::Input;
use protocol::note::Note;
use protocol::time::Time;
use stdio::outlet::{Loss, Manner};
use stdio::{Drain, Outlet};

use super::{Entry, Life, PREFIX, RECORD_MAX, reader};
use crate::opening;

/// An open recording.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    outlet: Outlet,
    is_regular: bool,
    /// Whether it was reported that too much waits.
    told: bool,
    record: Vec<u8>,
    outputs: u64,
    torn: u64,
}

impl Recorder {
    /// Opens a recording, to begin it or to add a life to it; a torn record of a killed predecessor
    /// is cut off.
    ///
    /// # Errors
    /// Those of the operating system; and if another process records there, or the file is no
    /// recording.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = path.to_owned();
        let named = path.clone();
        let (file, torn, is_regular) = opening::in_time(move || {
            let file = OpenOptions::new().create(true).read(true).append(true).open(&named)?;
            if !file.metadata()?.is_file() {
                return Ok((file, 0, false));
            }
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(io::Error::other("another running peer records there"));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            let length = file.metadata()?.len();
            let whole = reader::whole_length(&file, length)?;
            if whole < length {
                file.set_len(whole)?;
            }
            Ok((file, length - whole, true))
        })?;
        let outlet = Outlet::start("inputs", RecordingDrain { path: path.clone(), file }, MANNER)?;
        Ok(Self { path, outlet, is_regular, told: false, record: Vec::new(), outputs: 0, torn })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was a regular file when it was opened.
    #[must_use]
    pub fn is_regular(&self) -> bool {
        self.is_regular
    }

    /// The outlet that writes it.
    #[must_use]
    pub fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    /// How many bytes were cut off when it was opened.
    #[must_use]
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// A node is created.
    pub fn begin(&mut self, life: &Life) {
        self.append(|out| Entry::write_life(life, out));
    }

    /// The node is about to get this input.
    pub fn give(&mut self, at: Time, input: &Input) {
        let outputs = self.outputs;
        self.append(|out| Entry::write_given(at, outputs, input, out));
    }

    /// The input produced this many outputs.
    pub fn count(&mut self, outputs: usize) {
        self.outputs += outputs as u64;
    }

    /// The shell itself wrote this note.
    pub fn tell(&mut self, at: Time, note: &Note) {
        self.append(|out| Entry::write_told(at, note, out));
    }

    fn append(&mut self, write: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        self.record.clear();
        self.record.extend_from_slice(&[0; PREFIX]);
        self.record = write(std::mem::take(&mut self.record));
        let length = self.record.len() - PREFIX;
        let prefix = u32::try_from(length).ok().filter(|prefix| u64::from(*prefix) <= RECORD_MAX);
        let why = match prefix {
            Some(prefix) => {
                self.record[..PREFIX].copy_from_slice(&prefix.to_be_bytes());
                (!self.outlet.put(&self.record))
                    .then(|| "more waits than may wait, because the file takes nothing".to_owned())
            }
            None => Some(format!("one input has {length} bytes")),
        };
        if let Some(why) = why
            && !std::mem::replace(&mut self.told, true)
        {
            // A failed write was reported where it failed.
            if self.outlet.health().failing.is_none() {
                log::error!(
                    "Cannot record inputs in {}: {why}. The recording ends here; the peer goes on.",
                    self.path.display()
                );
            }
            self.outlet.end();
        }
        if self.record.capacity() > RECORD_KEPT {
            self.record = Vec::new();
        }
    }
}

/// The file, on the outlet's thread.
struct RecordingDrain {
    path: PathBuf,
    file: File,
}

impl Drain for RecordingDrain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut self.file, bytes)
    }

    fn reopen(&mut self) {
        let place = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let (open, named) =
            (self.file.metadata().map(place).ok(), std::fs::metadata(&self.path).map(place).ok());
        if open != named {
            let path = self.path.display();
            log::warn!(
                "{path} is another file now. The recording goes on in the one that was opened at \
                 the start, because a \
                 recording begins with a start of the peer."
            );
        }
    }

    fn failed(&mut self, error: &io::Error) {
        log::error!(
            "Cannot record inputs in {}: {error}. The recording ends here; the peer goes on.",
            self.path.display()
        );
    }
}

const MANNER: Manner = Manner { bytes_max: 64 << 20, lines_max: 1 << 20, loss: Loss::End };
/// A buffer that grew beyond this for one input is released.
const RECORD_KEPT: usize = 1 << 20;
