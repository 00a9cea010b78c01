//! Writes a recording: each record in one `write`, before the node is given the input, so that whatever the peer did
//! in consequence, and even the input that it did not survive, is in the kernel's hands when the process is killed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use protocol::note::Note;
use protocol::seam::Input;
use protocol::time::Time;

use super::{Entry, Life, PREFIX, RECORD_MAX, reader};

/// An open recording.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    /// None after a write has failed: a recording with a hole would replay another life than this one.
    file: Option<File>,
    record: Vec<u8>,
    outputs: u64,
    torn: u64,
}

impl Recorder {
    /// Opens a recording, to begin it or to add a life to it; what a killed predecessor left torn at its end is cut off.
    ///
    /// # Errors
    /// Those of the operating system; and if somebody else records there, or the file holds something else.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::Error::other("another running peer records there")),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let length = file.metadata()?.len();
        let whole = reader::whole_length(&file, length)?;
        if whole < length {
            file.set_len(whole)?;
        }
        Ok(Self { path: path.to_owned(), file: Some(file), record: Vec::new(), outputs: 0, torn: length - whole })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it still records: not after a write has failed.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.file.is_some()
    }

    /// How many bytes were cut off when it was opened.
    #[must_use]
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// A node is made.
    pub fn begin(&mut self, life: &Life) {
        self.append(|out| Entry::write_life(life, out));
    }

    /// The node is about to be given this.
    pub fn give(&mut self, at: Time, input: &Input) {
        let outputs = self.outputs;
        self.append(|out| Entry::write_given(at, outputs, input, out));
    }

    /// So many outputs came of it.
    pub fn count(&mut self, outputs: usize) {
        self.outputs += outputs as u64;
    }

    /// The shell has told this by itself.
    pub fn tell(&mut self, at: Time, note: &Note) {
        self.append(|out| Entry::write_told(at, note, out));
    }

    fn append(&mut self, write: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let Some(file) = &mut self.file else { return };
        self.record.clear();
        self.record.extend_from_slice(&[0; PREFIX]);
        self.record = write(std::mem::take(&mut self.record));
        let length = self.record.len() - PREFIX;
        let done = match u32::try_from(length) {
            Ok(prefix) if u64::from(prefix) <= RECORD_MAX => {
                self.record[..PREFIX].copy_from_slice(&prefix.to_be_bytes());
                file.write_all(&self.record)
            }
            _ => Err(io::Error::other(format!("one input of {length} bytes"))),
        };
        if let Err(error) = done {
            log::error!("Cannot record inputs in {}: {error}. The recording ends here; the peer goes on.", self.path.display());
            self.file = None;
        }
        if self.record.capacity() > RECORD_KEPT {
            self.record = Vec::new();
        }
    }
}

/// A buffer that grew beyond this for one input is given back.
const RECORD_KEPT: usize = 1 << 20;
