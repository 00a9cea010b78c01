//! What the event file of one peer shows, as it grows.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use protocol::id::{Epoch, Incarnation, Oseq, PeerId, ViewId};
use protocol::note::{Event, Note};
use protocol::time::Time;

/// A reading, wherever it is seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Who published it.
    pub origin: PeerId,
    /// In which life.
    pub inc: Incarnation,
    /// Its number there.
    pub oseq: Oseq,
}

/// A view, as one peer told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its number.
    pub id: ViewId,
    /// Who leads it.
    pub leader: PeerId,
    /// Who is in it.
    pub members: Vec<PeerId>,
}

/// What a bench wants to know of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A process began.
    Started,
    /// A view came into force.
    View(View),
    /// A reading got its number at its origin.
    Published {
        /// When.
        at: Time,
        /// Which.
        key: Key,
    },
    /// A reading was handed over.
    Delivered {
        /// When.
        at: Time,
        /// Which.
        key: Key,
        /// In which epoch it was ordered.
        epoch: Epoch,
    },
}

impl Seen {
    /// What a line of an event file shows, if it is of interest here.
    ///
    /// # Errors
    /// The line is no event.
    pub fn of(line: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        let Event { t: at, p, inc, note, .. } = serde_json::from_slice(line)?;
        #[expect(clippy::wildcard_enum_match_arm, reason = "a bench looks at a few kinds only")]
        Ok(match note {
            Note::Start { .. } => Some(Self::Started),
            Note::View { view_id: id, epoch, leader, members, .. } => Some(Self::View(View { epoch, id, leader, members })),
            Note::Publish { oseq, .. } => Some(Self::Published { at, key: Key { origin: p, inc, oseq } }),
            Note::Deliver { epoch, origin, origin_inc: inc, oseq, .. } => {
                Some(Self::Delivered { at, key: Key { origin, inc, oseq }, epoch })
            }
            _ => None,
        })
    }
}

/// The event file of one process name, read as it grows; a line counts once its end is there.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: Option<File>,
    rest: Vec<u8>,
}

impl EventFile {
    /// Of a file that may not be there yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, rest: Vec::new() }
    }

    /// What came since the last time.
    ///
    /// # Errors
    /// Those of reading; a line that is no event is invalid data.
    pub fn read(&mut self) -> io::Result<Vec<Seen>> {
        if self.file.is_none() {
            match File::open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            }
        }
        let Some(file) = &mut self.file else { return Ok(Vec::new()) };
        file.read_to_end(&mut self.rest)?;
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        let mut seen = Vec::new();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            // A killed process may leave half a line; its successor goes on below it.
            match Seen::of(line) {
                Ok(fact) => seen.extend(fact),
                Err(_) if !line.ends_with(b"}") => {}
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", self.path.display()))),
            }
        }
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::{EventFile, Key, Seen};
    use protocol::id::{Incarnation, Oseq, PeerId};
    use protocol::time::Time;
    use std::io::Write as _;

    const PUBLISH: &str = r#"{"v":1,"t":7,"p":"peer1","inc":3,"n":2,"ev":"publish","oseq":5,"digest":"00"}"#;

    #[test]
    fn only_whole_lines_count_and_torn_ones_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peer1.jsonl");
        let mut events = EventFile::new(&path);
        assert_eq!(events.read().unwrap(), []);
        let mut file = std::fs::File::create(&path).unwrap();
        let (head, tail) = PUBLISH.split_at(20);
        file.write_all(head.as_bytes()).unwrap();
        assert_eq!(events.read().unwrap(), []);
        file.write_all(format!("{tail}\n{head}\n{PUBLISH}\n").as_bytes()).unwrap();
        let key = Key { origin: PeerId::new("peer1").unwrap(), inc: Incarnation(3), oseq: Oseq(5) };
        let published = Seen::Published { at: Time::from_micros(7), key };
        assert_eq!(events.read().unwrap(), [published.clone(), published]);
        file.write_all(b"{\"v\":1}\n").unwrap();
        assert_eq!(events.read().unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    }
}
