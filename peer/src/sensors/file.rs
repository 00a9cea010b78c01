//! Follows a file as `tail -F` does: across rotation by rename and by truncation, and waits for a
//! file that does not exist yet.
//!
//! The file is polled a few times a second, because no notification of the kernel works on every
//! file system. So two events are missed: a file that is truncated and grows beyond its old length
//! between two polls, and a file that appears at the path and disappears between two polls. The
//! thread waits while the group accepts no more; the file keeps the appended data.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;

use super::gauge::SensorState;
use super::intake::{Gone, Intake};
use super::lines::Assembler;
use crate::settings::FileSettings;

/// Follows the file on a thread of its own.
///
/// # Errors
/// Those of starting a thread.
pub fn start(settings: FileSettings, intake: Intake) -> io::Result<()> {
    let name = format!("file {}", intake.name());
    let assembler = Assembler::new(intake.payload_max());
    let mut follower = Follower { settings, intake, assembler, skips: false, trouble: None };
    thread::Builder::new().name(name).spawn(move || {
        let Err(Gone) = follower.follow();
    })?;
    Ok(())
}

struct Follower {
    settings: FileSettings,
    intake: Intake,
    assembler: Assembler,
    /// Whether bytes up to the next line end belong to a line that began before the start.
    skips: bool,
    /// The last reported problem, so that it is reported once.
    trouble: Option<String>,
}

/// The current file.
struct Current {
    file: File,
    /// Its identity.
    identity: (u64, u64),
    /// How much of it has been read.
    position: u64,
}

impl Follower {
    fn follow(&mut self) -> Result<std::convert::Infallible, Gone> {
        let mut current = match open(&self.settings.path) {
            Ok(mut current) => {
                if !self.settings.from_start
                    && let Err(error) = self.go_to_end(&mut current)
                {
                    self.fail(&error);
                }
                Some(current)
            }
            Err(error) => {
                self.fail(&error);
                None
            }
        };
        loop {
            if let Some(file) = &mut current {
                let outcome = self.read(file)?;
                match outcome.and_then(|()| self.look(file)) {
                    Ok(None) => {}
                    Ok(Some(next)) => {
                        // Data appended to the old file before its writer closed it.
                        if let Err(error) = self.read(file)? {
                            self.fail(&error);
                        }
                        self.end_line()?;
                        log::info!(
                            "Sensor {}: {} is another file now; it is read from its beginning.",
                            self.intake.name(),
                            self.path()
                        );
                        current = Some(next);
                        continue;
                    }
                    Err(error) => self.fail(&error),
                }
            } else {
                match open(&self.settings.path) {
                    Ok(file) => {
                        self.is_well();
                        current = Some(file);
                        continue;
                    }
                    Err(error) => self.fail(&error),
                }
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Skips existing data at the start, and the rest of a partial line.
    fn go_to_end(&mut self, current: &mut Current) -> io::Result<()> {
        current.position = current.file.seek(SeekFrom::End(0))?;
        if let Some(last) = current.position.checked_sub(1) {
            let mut byte = [0];
            current.file.read_exact_at(&mut byte, last)?;
            self.skips = byte != *b"\n";
        }
        Ok(())
    }

    /// Reads the available data.
    fn read(&mut self, current: &mut Current) -> Result<io::Result<()>, Gone> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let length = match current.file.read(&mut piece) {
                Ok(0) => return Ok(Ok(())),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Err(error)),
            };
            current.position += length as u64;
            let mut piece = &piece[..length];
            if self.skips {
                let Some(end) = piece.iter().position(|byte| *byte == b'\n') else { continue };
                self.skips = false;
                piece = &piece[end + 1..];
            }
            let mut lines = Vec::new();
            self.assembler.push(piece, |line| lines.push(line));
            for line in lines {
                self.take(line)?;
            }
            self.intake.flush()?;
        }
    }

    /// Checks whether the path still leads to this file, and whether the file was truncated.
    /// Returns the new file at the path, if it is another one.
    fn look(&mut self, current: &mut Current) -> io::Result<Option<Current>> {
        let now = fs::metadata(&self.settings.path)?;
        if identity(&now) != current.identity {
            return open(&self.settings.path).map(Some);
        }
        if now.len() < current.position {
            log::info!(
                "Sensor {}: {} was cut; it is read from its beginning.",
                self.intake.name(),
                self.path()
            );
            self.assembler.clear();
            self.skips = false;
            current.position = current.file.seek(SeekFrom::Start(0))?;
        }
        self.is_well();
        Ok(None)
    }

    /// The last line has no end and will not be finished.
    fn end_line(&mut self) -> Result<(), Gone> {
        self.skips = false;
        self.is_well();
        if let Some(line) = self.assembler.finish() {
            self.take(line)?;
        }
        self.intake.flush().map(drop)
    }

    fn take(&mut self, line: super::lines::Line) -> Result<(), Gone> {
        if !line.is_blank() {
            self.intake.take(line, None);
        }
        if self.intake.is_full() { self.intake.flush().map(drop) } else { Ok(()) }
    }

    fn fail(&mut self, error: &io::Error) {
        let path = self.path();
        let (state, why) = match error.kind() {
            io::ErrorKind::NotFound => {
                (SensorState::Waiting, format!("{path} is not there; it is waited for"))
            }
            _ => {
                (SensorState::Failing, format!("{path} cannot be read: {error}; it is tried again"))
            }
        };
        if self.trouble.as_ref() != Some(&why) {
            self.intake.trouble(state, why.clone());
            self.trouble = Some(why);
        }
    }

    fn is_well(&mut self) {
        if self.trouble.take().is_some() {
            self.intake.recover();
        }
    }

    fn path(&self) -> String {
        protocol::note::printable(&self.settings.path.display().to_string()).into_owned()
    }
}

/// Opens a regular file. A pipe or a device would block, or have two readers.
fn open(path: &Path) -> io::Result<Current> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other(
            "it is no regular file; use exec = [\"cat\", …] for a pipe or a device",
        ));
    }
    Ok(Current { file, identity: identity(&metadata), position: 0 })
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

const LOOK_INTERVAL: Duration = Duration::from_millis(200);
const PIECE_BYTES: usize = 64 << 10;
