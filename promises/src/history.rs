//! The history of a run: the reports of the peers and the ground truth, as one timeline.
//!
//! Made of the text of event files, or of records that the simulator kept. A line torn by a SIGKILL
//! is normal and kept as `torn`. Any other unreadable line, or a hole in a peer's own event
//! numbers, is lost evidence, and a judgement over lost evidence never says more than *unknown*.

use std::collections::BTreeMap;

use protocol::id::{Incarnation, PeerId};
use protocol::note::Event;
use protocol::time::Time;
use serde::Deserialize;
use serde::de::IgnoredAny;
use thiserror::Error;

use crate::world::WorldEvent;

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A report of a peer.
    Peer(Event),
    /// A fact of the ground truth.
    World(WorldEvent),
}

impl Record {
    /// Its time.
    #[must_use]
    pub fn time(&self) -> Time {
        match self {
            Self::Peer(event) => event.t,
            Self::World(event) => event.t,
        }
    }

    /// Its line in the event file.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::Peer(event) => serde_json::to_string(event),
            Self::World(event) => serde_json::to_string(event),
        }
        .expect("an event has only text keys and writes to memory")
    }
}

/// A line that is no event.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{file}, line {line}: not an event: {why}")]
pub struct BadLine {
    /// The file.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The parser's error.
    pub why: String,
}

/// The beginning of a line that its process did not finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The text so far.
    pub text: String,
}

/// Events that a peer has numbered and that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The peer.
    pub peer: PeerId,
    /// The peer's incarnation.
    pub inc: Incarnation,
    /// The first one missing.
    pub from: u64,
    /// The last one missing.
    pub to: u64,
}

/// The history of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// All records, oldest first; the records of one writer keep their order.
    pub records: Vec<Record>,
    /// Lines cut off by the end of their writer.
    pub torn: Vec<Torn>,
    /// Lines that could not be read.
    pub unreadable: Vec<BadLine>,
}

impl History {
    /// A history of these records, in any order that keeps the order of each writer.
    #[must_use]
    pub fn new(mut records: Vec<Record>) -> Self {
        // Stable, so that the records of one writer within a microsecond keep their order.
        records.sort_by_key(Record::time);
        Self { records, torn: vec![], unreadable: vec![] }
    }

    /// A history from the text of event files, each with its name.
    pub fn read<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let (mut records, mut torn, mut unreadable) = (vec![], vec![], vec![]);
        for (file, text) in files {
            for (at, line) in text.split_inclusive('\n').enumerate() {
                let line_number = at + 1;
                match parse_line(line) {
                    Ok(Line::Blank) => {}
                    Ok(Line::Record(record)) => records.push(record),
                    Ok(Line::Glued(head, record)) => {
                        torn.push(Torn { file: file.to_owned(), line: line_number, text: head });
                        records.push(record);
                    }
                    Err(_) if !line.ends_with('\n') => torn.push(Torn {
                        file: file.to_owned(),
                        line: line_number,
                        text: line.to_owned(),
                    }),
                    Err(why) => {
                        unreadable.push(BadLine { file: file.to_owned(), line: line_number, why })
                    }
                }
            }
        }
        Self { torn, unreadable, ..Self::new(records) }
    }

    /// The holes in the peers' own event numbers.
    #[must_use]
    pub fn holes(&self) -> Vec<Hole> {
        let mut last: BTreeMap<(&PeerId, Incarnation), u64> = BTreeMap::new();
        let mut holes = vec![];
        for record in &self.records {
            let Record::Peer(event) = record else { continue };
            let seen = last.entry((&event.p, event.inc)).or_insert(event.n);
            if event.n > seen.saturating_add(1) {
                holes.push(Hole {
                    peer: event.p.clone(),
                    inc: event.inc,
                    from: *seen + 1,
                    to: event.n - 1,
                });
            }
            // A twin of equal name and incarnation has its own numbers; it makes no hole.
            *seen = event.n.max(*seen);
        }
        holes
    }

    /// The time from the first record to the last.
    #[must_use]
    pub fn span(&self) -> std::time::Duration {
        match (self.records.first(), self.records.last()) {
            (Some(first), Some(last)) => last.time().since(first.time()),
            _ => std::time::Duration::ZERO,
        }
    }
}

/// The content of one line of an event file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Nothing.
    Blank,
    /// An event.
    Record(Record),
    /// The beginning of a line whose writer was killed, followed directly by the first line of its
    /// next life.
    Glued(String, Record),
}

/// Parses one line, with or without its line end.
///
/// # Errors
/// The parser's error.
pub fn parse_line(line: &str) -> Result<Line, String> {
    let line = line.trim_end_matches(['\n', '\r']);
    if line.is_empty() {
        return Ok(Line::Blank);
    }
    match parse_record(line) {
        Ok(record) => Ok(Line::Record(record)),
        Err(why) => {
            // Every line starts alike, and no string in a line can contain this text unescaped.
            let glued = line
                .rfind("{\"v\":")
                .filter(|at| *at > 0)
                .and_then(|at| Some((at, parse_record(&line[at..]).ok()?)));
            glued.map(|(at, record)| Line::Glued(line[..at].to_owned(), record)).ok_or(why)
        }
    }
}

fn parse_record(line: &str) -> Result<Record, String> {
    #[derive(Deserialize)]
    struct Probe {
        inc: Option<IgnoredAny>,
    }
    let probe: Probe = serde_json::from_str(line).map_err(|error| error.to_string())?;
    match probe.inc {
        Some(_) => serde_json::from_str(line).map(Record::Peer),
        None => serde_json::from_str(line).map(Record::World),
    }
    .map_err(|error| error.to_string())
}
