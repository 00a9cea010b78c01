//! The contents of one peer's event file, as it grows.

use std::io;
use std::path::Path;

use chaos::Tail;
use promises::history::{Line, Record, parse_line};
use protocol::id::{Epoch, Incarnation, Oseq, PeerId, ViewId};
use protocol::note::{Event, Note};
use protocol::time::Time;

/// The identity of a reading.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Its origin.
    pub origin: PeerId,
    /// The incarnation of the origin.
    pub inc: Incarnation,
    /// Its number at the origin.
    pub oseq: Oseq,
}

/// A view, as one peer reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its number.
    pub id: ViewId,
    /// Its leader.
    pub leader: PeerId,
    /// Its members.
    pub members: Vec<PeerId>,
}

/// The relevant part of an event.
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
    /// A reading was delivered.
    Delivered {
        /// When.
        at: Time,
        /// Which.
        key: Key,
        /// The epoch in which it was ordered.
        epoch: Epoch,
    },
}

impl Seen {
    /// The relevant part of an event, if it has one.
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
    /// An event file that need not exist yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { tail: Tail::new(path) }
    }

    /// All events since the last call.
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
                    // A killed process may leave an incomplete line. The judge of the whole run
                    // reports other unreadable lines.
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
