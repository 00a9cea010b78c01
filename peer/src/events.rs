//! The event file: one JSON object a line, one `write` a line, appended to a regular file.
//!
//! Written at once, from the loop itself: an event that is told after the message it speaks of has left would be no
//! evidence when the process is killed in between. The page cache takes it in microseconds. A full disk is told once,
//! and again when it is over; the events between are missing, which their numbers show.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use protocol::note::Event;

/// An open event file.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
    line: Vec<u8>,
    /// Whether the file ends in the middle of a line.
    torn: bool,
    failing: bool,
}

impl EventFile {
    /// Opens it for appending.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        // A predecessor that was killed may have left half a line; a line of our own must not grow out of it.
        let torn = ends_torn(path);
        Ok(Self { path: path.to_owned(), file, line: Vec::new(), torn, failing: false })
    }

    /// Appends one event.
    pub fn write(&mut self, event: &Event) {
        self.line.clear();
        if self.torn {
            self.line.push(b'\n');
        }
        serde_json::to_writer(&mut self.line, event).expect("an event is made of what JSON can say");
        self.line.push(b'\n');
        match self.file.write(&self.line) {
            Ok(written) if written == self.line.len() => {
                self.torn = false;
                if std::mem::take(&mut self.failing) {
                    log::warn!("Events go to {} again; some are missing.", self.path.display());
                }
            }
            outcome => {
                if let Ok(written) = outcome {
                    self.torn = written > 0 || self.torn;
                }
                if !std::mem::replace(&mut self.failing, true) {
                    let error = outcome.err().unwrap_or_else(|| Errno::ENOSPC.into());
                    log::error!("Cannot write events to {}: {error}. Going on without.", self.path.display());
                }
            }
        }
    }
}

/// Whether a file ends in the middle of a line; one that cannot be read is taken for whole.
#[must_use]
pub fn ends_torn(path: &Path) -> bool {
    let last = || -> io::Result<u8> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        Ok(byte[0])
    };
    last().is_ok_and(|byte| byte != b'\n')
}

#[cfg(test)]
mod tests {
    use super::EventFile;
    use protocol::id::{Incarnation, PeerId};
    use protocol::note::{EVENT_VERSION, Event, Note};
    use protocol::time::Time;

    fn event(n: u64) -> Event {
        let p = PeerId::new("peer1").unwrap();
        Event { v: EVENT_VERSION, t: Time::from_micros(n), p, inc: Incarnation(1), n, note: Note::Ready }
    }

    #[test]
    fn a_torn_line_of_a_predecessor_stays_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        std::fs::write(&path, "{\"v\":1,\"t\"").unwrap();
        let mut file = EventFile::open(&path).unwrap();
        file.write(&event(1));
        file.write(&event(2));
        let text = std::fs::read_to_string(&path).unwrap();
        let whole: Vec<Event> = text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(whole, [event(1), event(2)]);
    }

    #[test]
    fn a_full_disk_stops_nobody() {
        let mut file = EventFile::open(std::path::Path::new("/dev/full")).unwrap();
        file.write(&event(1));
        file.write(&event(2));
        assert!(file.failing);
    }
}
