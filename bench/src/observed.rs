//! What the event file of one peer shows, as it grows.

use std::io;
use std::path::Path;

use chaos::Tail;
use promises::history::{Line, Record, parse_line};
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
    /// What an event shows, if it is of interest here.
    #[must_use]
    pub fn of(event: Event) -> Option<Self> {
        let Event { t: at, p, inc, note, .. } = event;
        #[expect(clippy::wildcard_enum_match_arm, reason = "a bench looks at a few kinds only")]
        match note {
            Note::Start { .. } => Some(Self::Started),
            Note::View { view_id: id, epoch, leader, members, .. } => {
                Some(Self::View(View { epoch, id, leader, members }))
            }
            Note::Publish { oseq, .. } => {
                Some(Self::Published { at, key: Key { origin: p, inc, oseq } })
            }
            Note::Deliver { epoch, origin, origin_inc: inc, oseq, .. } => {
                Some(Self::Delivered { at, key: Key { origin, inc, oseq }, epoch })
            }
            _ => None,
        }
    }
}

/// The event file of one process name, read as it grows.
#[derive(Debug)]
pub struct EventFile {
    tail: Tail,
}

impl EventFile {
    /// Of a file that may not be there yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { tail: Tail::new(path) }
    }

    /// Everything that came since the last time.
    ///
    /// # Errors
    /// Those of reading the file.
    pub fn read(&mut self) -> io::Result<Vec<Seen>> {
        let (mut lines, mut seen) = (Vec::new(), Vec::new());
        loop {
            self.tail.read(&mut lines)?;
            if lines.is_empty() {
                return Ok(seen);
            }
            for line in lines.drain(..) {
                match parse_line(&line.text) {
                    Ok(Line::Record(Record::Peer(event)) | Line::Glued(_, Record::Peer(event))) => {
                        seen.extend(Seen::of(event))
                    }
                    // A killed process may leave half a line. What else cannot be read, the judge
                    // of the whole run will tell.
                    Ok(
                        Line::Blank
                        | Line::Record(Record::World(_))
                        | Line::Glued(_, Record::World(_)),
                    )
                    | Err(_) => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EventFile, Key, Seen};
    use protocol::id::{Incarnation, Oseq, PeerId};
    use protocol::time::Time;
    use std::io::Write as _;

    const PUBLISH: &str =
        r#"{"v":1,"t":7,"p":"peer1","inc":3,"n":2,"ev":"publish","oseq":5,"digest":"00"}"#;

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
    }
}
