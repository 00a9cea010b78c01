//! The files that a peer's sinks wrote (`ordered.jsonl`, and a CSV for each sensor), as data: the
//! caller reads the files.

use std::collections::BTreeMap;

use protocol::draw::digest;
use protocol::id::{Epoch, Incarnation, Oseq, PeerId, Seq, ViewId};
use protocol::log_id::LogId;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::history::{BadLine, Torn};

mod table;

pub use self::table::{Measured, Row};

/// The files of one process's sinks, over all of its lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// The name of the process.
    pub process: String,
    /// The lines of `ordered.jsonl`, in order.
    pub lines: Vec<DiskLine>,
    /// A last line that its writer did not finish, and unfinished lines of earlier lives.
    pub torn: Vec<Torn>,
    /// Unreadable lines.
    pub unreadable: Vec<BadLine>,
    /// The rows of each sensor's table, in order; ids are escaped.
    pub tables: BTreeMap<String, Vec<Row>>,
    /// How many records of the tables are unreadable.
    pub tables_unreadable: usize,
}

/// One line of `ordered.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskLine {
    /// A reading.
    Reading {
        /// Its position.
        place: Place,
        /// Its origin.
        origin: PeerId,
        /// The incarnation of the origin.
        inc: Incarnation,
        /// Its number at the origin.
        oseq: Oseq,
        /// The digest of its payload.
        digest: u64,
        /// Its fields, if it has the form of a reading with a table.
        measured: Option<Measured>,
    },
    /// A view.
    View {
        /// Its position.
        place: Place,
        /// Its number.
        view: ViewId,
    },
    /// A gap.
    Gap {
        /// The log.
        log: LogId,
        /// The first position missing.
        from: Seq,
        /// The last position missing.
        to: Seq,
    },
    /// The lines above at these positions differ from the group's log.
    Diverged {
        /// The log.
        log: LogId,
        /// The first position.
        from: Seq,
        /// The last position.
        to: Seq,
    },
    /// The group of this process merged into another one.
    Merged {
        /// The log that it leaves.
        log: LogId,
        /// The last position that both logs share.
        at: Seq,
        /// The log that it continues in.
        into: LogId,
    },
    /// Positions whose readings were delivered before.
    Repeat {
        /// The first of them.
        place: Place,
        /// The last of them.
        last: Seq,
    },
    /// Readings that their origin has declared lost.
    Lost {
        /// The position of the declaration.
        place: Place,
        /// The origin.
        origin: PeerId,
        /// The incarnation of the origin.
        inc: Incarnation,
        /// The first of its numbers.
        from: Oseq,
        /// The last of its numbers.
        to: Oseq,
    },
}

/// A position: numbers begin anew in each log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Place {
    /// The log.
    pub log: LogId,
    /// The epoch, with its owner's incarnation.
    #[serde(deserialize_with = "epoch")]
    pub epoch: Epoch,
    /// The number.
    pub seq: Seq,
}

/// An epoch is written as the name of the log that it would found.
fn epoch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Epoch, D::Error> {
    LogId::deserialize(deserializer).map(LogId::into_epoch)
}

impl Disk {
    /// Reads the text of an `ordered.jsonl`.
    #[must_use]
    pub fn read(process: &str, text: &str) -> Self {
        let mut disk = Self { process: process.to_owned(), ..Self::default() };
        for (at, raw) in text.split_inclusive('\n').enumerate() {
            let line = raw.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                continue;
            }
            let torn =
                |text: &str| Torn { file: process.to_owned(), line: at + 1, text: text.to_owned() };
            // As in event files: a killed life leaves no line end, and the first line of the next
            // life follows directly.
            let glued = || {
                line.rfind("{\"")
                    .filter(|from| *from > 0)
                    .and_then(|from| Some((from, parse(&line[from..]).ok()?)))
            };
            match parse(line) {
                Ok(parsed) => disk.lines.push(parsed),
                Err(_) if !raw.ends_with('\n') => disk.torn.push(torn(line)),
                Err(why) => match glued() {
                    Some((from, parsed)) => {
                        disk.torn.push(torn(&line[..from]));
                        disk.lines.push(parsed);
                    }
                    None => disk.unreadable.push(BadLine {
                        file: process.to_owned(),
                        line: at + 1,
                        why,
                    }),
                },
            }
        }
        disk
    }

    /// Takes the text of a table. Each row names its sensor; the file name may be an escaped form
    /// of that name.
    pub fn read_table(&mut self, text: &str) {
        let (rows, unreadable) = table::read(text);
        for (sensor, row) in rows {
            self.tables.entry(sensor).or_default().push(row);
        }
        self.tables_unreadable += unreadable;
    }
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

/// A reading in its written form. It keeps number tokens, which needs a type of its own:
/// deserialising into an untagged type would lose them.
#[derive(Deserialize)]
struct Reading {
    log: LogId,
    #[serde(deserialize_with = "epoch")]
    epoch: Epoch,
    seq: Seq,
    origin: PeerId,
    inc: String,
    oseq: Oseq,
    payload: Option<String>,
    payload_base64: Option<String>,
    sensor: Option<Box<RawValue>>,
    measured: Option<Box<RawValue>>,
    fields: Option<Box<RawValue>>,
    tags: Option<Box<RawValue>>,
}

/// All other lines in their written form.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Written {
    View {
        #[serde(flatten)]
        place: Place,
        view: ViewId,
    },
    Gap {
        log: LogId,
        from: Seq,
        to: Seq,
    },
    Diverged {
        log: LogId,
        from: Seq,
        to: Seq,
    },
    Merged {
        log: LogId,
        at: Seq,
        into: LogId,
    },
    Repeat {
        #[serde(flatten)]
        place: Place,
        last: Seq,
    },
    Lost {
        #[serde(flatten)]
        place: Place,
        origin: PeerId,
        inc: String,
        from: Oseq,
        to: Oseq,
    },
}

fn parse(line: &str) -> Result<DiskLine, String> {
    let unreadable = |error: serde_json::Error| error.to_string();
    let Kind { kind } = serde_json::from_str(line).map_err(unreadable)?;
    if kind == "reading" {
        return reading(serde_json::from_str(line).map_err(unreadable)?);
    }
    Ok(match serde_json::from_str(line).map_err(unreadable)? {
        Written::View { place, view } => DiskLine::View { place, view },
        Written::Gap { log, from, to } => DiskLine::Gap { log, from, to },
        Written::Diverged { log, from, to } => DiskLine::Diverged { log, from, to },
        Written::Merged { log, at, into } => DiskLine::Merged { log, at, into },
        Written::Repeat { place, last } => DiskLine::Repeat { place, last },
        Written::Lost { place, origin, inc, from, to } => {
            DiskLine::Lost { place, origin, inc: incarnation(&inc)?, from, to }
        }
    })
}

fn reading(written: Reading) -> Result<DiskLine, String> {
    let Reading {
        log,
        epoch,
        seq,
        origin,
        inc,
        oseq,
        payload,
        payload_base64,
        sensor,
        measured,
        fields,
        tags,
    } = written;
    let bytes = match (payload, payload_base64, sensor.zip(fields)) {
        (Some(text), None, _) => text.into_bytes(),
        (None, Some(text), None) => base64(&text).ok_or("payload_base64 is not base64")?,
        (None, None, Some((sensor, fields))) => {
            canonical(&sensor, measured.as_deref(), &fields, tags.as_deref()).into_bytes()
        }
        _ => {
            return Err(
                "a reading has either payload, or payload_base64, or sensor and fields".to_owned()
            );
        }
    };
    let (inc, digest, measured) = (incarnation(&inc)?, digest(&bytes), Measured::read(&bytes));
    Ok(DiskLine::Reading { place: Place { log, epoch, seq }, origin, inc, oseq, digest, measured })
}

fn incarnation(text: &str) -> Result<Incarnation, String> {
    text.parse().map(Incarnation).map_err(|error| format!("inc: {error}"))
}

/// The payload of a reading that is written in parts instead of as payload: the canonical object of
/// `docs/DATA.md`.
fn canonical(
    sensor: &RawValue,
    time: Option<&RawValue>,
    fields: &RawValue,
    tags: Option<&RawValue>,
) -> String {
    let part = |key: &str, raw: Option<&RawValue>| {
        raw.map(|raw| format!(",\"{key}\":{raw}")).unwrap_or_default()
    };
    format!(
        "{{\"sensor\":{sensor}{},\"fields\":{fields}{}}}",
        part("time", time),
        part("tags", tags)
    )
}

/// RFC 4648 base64, with or without padding; it is a few lines, so no dependency.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut held, mut bits) = (0u32, 0u32);
    for c in text.trim_end_matches('=').bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = (held << 6) | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(((held >> bits) & 0xFF) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Disk, DiskLine, base64};
    use protocol::draw::digest;
    use protocol::id::Seq;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(base64("Z!"), None);
    }

    #[test]
    fn every_kind_of_record_is_read() {
        let at = r#""log":"1.p1#1","epoch":"3.p1#1","seq":9"#;
        for record in [
            format!(
                r#"{{"kind":"reading",{at},"view":1,"origin":"p1","inc":"1","oseq":4,"time":"t","payload_base64":"/w=="}}"#
            ),
            format!(
                r#"{{"kind":"view",{at},"view":2,"leader":"p1","members":[],"incs":[],"joined":[],"left":[],"new":1}}"#
            ),
            r#"{"kind":"gap","log":"1.p1#1","from":1,"to":2,"why":"it was away"}"#.to_owned(),
            r#"{"kind":"diverged","log":"1.p1#1","from":1,"to":2}"#.to_owned(),
            r#"{"kind":"merged","log":"1.p1#1","at":0,"into":"1.p2#1","leader":"p2"}"#.to_owned(),
            format!(
                r#"{{"kind":"repeat",{at},"last":10,"origin":"p1","inc":"1","from":4,"to":5}}"#
            ),
            format!(r#"{{"kind":"lost",{at},"origin":"p1","inc":"1","from":4,"to":5}}"#),
        ] {
            let disk = Disk::read("p1", &format!("{record}\n"));
            assert!(disk.unreadable.is_empty() && disk.lines.len() == 1, "{:?}", disk.unreadable);
        }
    }

    #[test]
    fn a_sink_is_read_with_its_scars() {
        let at = r#""log":"1.peer1#1","epoch":"3.peer1#1","seq":9"#;
        let canonical = r#"{"sensor":"s1","time":"t","fields":{"c":21.50}}"#;
        let parts = r#""origin":"p1","inc":"1","oseq":4,"time":"t","sensor":"s1","measured":"t","fields":{"c":21.50}"#;
        let line =
            format!(r#"{{"kind":"reading","log":"1.p1#1","epoch":"1.p1#1","seq":1,{parts}}}"#);
        assert!(
            matches!(super::parse(&line), Ok(DiskLine::Reading { digest: read, .. }) if read == digest(canonical.as_bytes()))
        );
        let rest = r#""view":2,"origin":"peer1","inc":"1","oseq":4,"time":"t","payload":"a{\"b"}"#;
        let reading = format!(r#"{{"kind":"reading",{at},{rest}"#);
        let gap = r#"{"kind":"gap","log":"1.peer1#1","from":10,"to":12}"#;
        let text = format!("{reading}\n{gap}\n{{\"kind\":\"rea{reading}\nnonsense\n{{\"kin");
        let disk = Disk::read("peer2", &text);
        assert_eq!(disk.lines.len(), 3);
        assert!(
            matches!(&disk.lines[0], DiskLine::Reading { digest: d, .. } if *d == digest(b"a{\"b"))
        );
        assert_eq!(
            disk.lines[1],
            DiskLine::Gap { log: "1.peer1#1".parse().unwrap(), from: Seq(10), to: Seq(12) }
        );
        assert_eq!(disk.lines[2], disk.lines[0]);
        assert_eq!((disk.torn.len(), disk.unreadable.len()), (2, 1));
    }
}
