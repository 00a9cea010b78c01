//! The event file: one JSON object per line, appended.
//!
//! A thread writes it, so that a blocked output delays nothing else; [`crate::gate`] ensures that
//! an event is in a regular file before the corresponding message leaves. Dropped events are
//! missing in the numbers of the events, and are reported by an event of their own once there is
//! room again.
//!
//! The log gets its line before the event file gets the event. If both are regular files, the
//! event's thread waits for the log's thread, so that a program that reads an event and kills this
//! process finds the line in the log.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::note::Event;
use stdio::outlet::{Loss, Manner};
use stdio::{Drain, Outlet};

use crate::{journal, opening};

/// An open event file.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    outlet: Outlet,
    is_regular: bool,
    line: Vec<u8>,
}

impl EventFile {
    /// Opens it for appending.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = path.to_owned();
        let named = path.clone();
        let (file, is_regular) = opening::in_time(move || {
            let file = opening::append_to(&named)?;
            let is_regular = file.metadata()?.is_file();
            Ok((file, is_regular))
        })?;
        let log = journal::evidence().cloned();
        let outlet = Outlet::start(
            "events",
            EventDrain { path: path.clone(), file, log, is_behind: false },
            MANNER,
        )?;
        Ok(Self { path, outlet, is_regular, line: Vec::new() })
    }

    /// Appends one event. False if it was dropped.
    pub fn write(&mut self, event: &Event) -> bool {
        self.line.clear();
        serde_json::to_writer(&mut self.line, event)
            .expect("an event is made of what JSON can say");
        self.line.push(b'\n');
        self.outlet.put(&self.line)
    }

    /// How many events were dropped and not reported yet, once there is room to report it.
    pub fn take_lost(&self) -> Option<u64> {
        self.outlet.take_lost()
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
}

/// The file, on the outlet's thread.
struct EventDrain {
    path: PathBuf,
    file: File,
    /// The log, if it is waited for.
    log: Option<Outlet>,
    /// Whether a wait for the log failed; no further wait happens before the log has caught up.
    is_behind: bool,
}

impl Drain for EventDrain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(log) = &self.log {
            let patience = if self.is_behind { Duration::ZERO } else { LOG_PATIENCE };
            self.is_behind = !log.reach(log.position(), patience);
        }
        io::Write::write(&mut self.file, bytes)
    }

    fn reopen(&mut self) {
        match opening::append_to(&self.path) {
            Ok(file) => self.file = file,
            Err(error) => {
                let path = self.path.display();
                log::error!(
                    "Cannot open {path} anew: {error}. Events go on into the file that was open \
                     before."
                );
            }
        }
    }

    fn is_torn(&mut self) -> bool {
        // A killed predecessor may have left an incomplete line.
        self.file.metadata().is_ok_and(|metadata| metadata.is_file()) && ends_torn(&self.path)
    }

    fn failed(&mut self, error: &io::Error) {
        log::error!("Cannot write events to {}: {error}. Going on without.", self.path.display());
    }

    fn recovered(&mut self) {
        log::warn!("Events go to {} again; some are missing.", self.path.display());
    }
}

/// How long an event waits for the log.
const LOG_PATIENCE: Duration = Duration::from_millis(50);

/// Whether a file ends inside a line; an unreadable file counts as whole.
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

/// Room for minutes of a busy peer that reports every reading.
const MANNER: Manner = Manner { bytes_max: 32 << 20, lines_max: 1 << 17, loss: Loss::Ask };

#[cfg(test)]
mod tests {
    use super::EventFile;
    use protocol::id::{Incarnation, PeerId};
    use protocol::note::{EVENT_VERSION, Event, Note};
    use protocol::time::Time;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(60);

    fn event(n: u64) -> Event {
        let p = PeerId::new("peer1").unwrap();
        Event {
            v: EVENT_VERSION,
            t: Time::from_micros(n),
            p,
            inc: Incarnation(1),
            n,
            note: Note::Ready,
        }
    }

    #[test]
    fn a_torn_line_of_a_predecessor_stays_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        std::fs::write(&path, "{\"v\":1,\"t\"").unwrap();
        let mut file = EventFile::open(&path).unwrap();
        file.write(&event(1));
        file.write(&event(2));
        assert!(file.outlet.settle(LONG));
        let text = std::fs::read_to_string(&path).unwrap();
        let whole: Vec<Event> =
            text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(whole, [event(1), event(2)]);
    }

    #[test]
    fn a_full_disk_stops_nobody() {
        let mut file = EventFile::open(std::path::Path::new("/dev/full")).unwrap();
        for n in 1..3 {
            file.write(&event(n));
            assert!(file.outlet.settle(LONG));
        }
        let health = file.outlet.health();
        assert!(health.failing.is_some() && health.dropped == 2, "{health:?}");
        assert_eq!(file.take_lost(), None, "there is nowhere to tell it yet");
    }

    #[test]
    fn a_file_that_was_renamed_is_opened_anew_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside) =
            (folder.path().join("events.jsonl"), folder.path().join("events.jsonl.1"));
        let mut file = EventFile::open(&path).unwrap();
        file.write(&event(1));
        assert!(file.outlet.settle(LONG));
        std::fs::rename(&path, &aside).unwrap();
        file.write(&event(2));
        assert!(file.outlet.settle(LONG));
        file.outlet.reopen();
        file.write(&event(3));
        assert!(file.outlet.settle(LONG));
        let lines = |path| std::fs::read_to_string(path).unwrap().lines().count();
        assert_eq!((lines(&aside), lines(&path)), (2, 1));
    }
}
