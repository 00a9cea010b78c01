//! What a peer's sinks have written (`ordered.jsonl`, and a CSV for each sensor), as data: the caller reads the files.

use std::collections::BTreeMap;

use protocol::draw::digest;
use protocol::id::{Incarnation, Oseq, PeerId, Seq};
use serde::Deserialize;

use crate::history::{BadLine, Torn};

mod table;

pub use self::table::{Measured, Row};

/// The sink of one process, over all of its lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// The name of the process.
    pub process: String,
    /// What stands there, in order.
    pub lines: Vec<DiskLine>,
    /// A last line that its writer did not live to finish, and the beginnings of lines in earlier lives.
    pub torn: Vec<Torn>,
    /// Lines that cannot be read.
    pub unreadable: Vec<BadLine>,
    /// The rows of each sensor's table, in order.
    pub tables: BTreeMap<String, Vec<Row>>,
    /// How many records of the tables cannot be read.
    pub tables_unreadable: usize,
}

/// One line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskLine {
    /// A reading.
    Reading {
        /// The epoch, written `3.peer1`.
        epoch: String,
        /// Its position.
        seq: Seq,
        /// Who published it.
        origin: PeerId,
        /// In which life.
        inc: Incarnation,
        /// Its number among the origin's.
        oseq: Oseq,
        /// The digest of its payload.
        digest: u64,
        /// What it measured, if it has the form of a reading that has a table.
        measured: Option<Measured>,
    },
    /// A hole.
    Gap {
        /// The first position missing.
        from: Seq,
        /// The last position missing.
        to: Seq,
    },
    /// Readings that their origin has declared lost.
    Lost,
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
            let torn = |text: &str| Torn { file: process.to_owned(), line: at + 1, text: text.to_owned() };
            // As in event files: a life that was cut off leaves no line end, and the next one's first line follows.
            let glued = || line.rfind("{\"").filter(|from| *from > 0).and_then(|from| Some((from, parse(&line[from..]).ok()?)));
            match parse(line) {
                Ok(parsed) => disk.lines.push(parsed),
                Err(_) if !raw.ends_with('\n') => disk.torn.push(torn(line)),
                Err(why) => match glued() {
                    Some((from, parsed)) => {
                        disk.torn.push(torn(&line[..from]));
                        disk.lines.push(parsed);
                    }
                    None => disk.unreadable.push(BadLine { file: process.to_owned(), line: at + 1, why }),
                },
            }
        }
        disk
    }

    /// Takes in the text of a sensor's table, after what there is of it already.
    pub fn read_table(&mut self, sensor: &str, text: &str) {
        let (rows, unreadable) = table::read(text);
        self.tables.entry(sensor.to_owned()).or_default().extend(rows);
        self.tables_unreadable += unreadable;
    }
}

fn parse(line: &str) -> Result<DiskLine, String> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Reading {
            epoch: String,
            seq: Seq,
            origin: PeerId,
            inc: Incarnation,
            oseq: Oseq,
            #[serde(flatten)]
            payload: Payload,
        },
        Gap {
            gap: (Seq, Seq),
        },
        Lost {
            #[serde(rename = "lost")]
            _lost: serde::de::IgnoredAny,
        },
    }
    #[derive(Deserialize)]
    enum Payload {
        #[serde(rename = "payload")]
        Text(String),
        #[serde(rename = "payload_base64")]
        Base64(String),
    }
    let written: Written = serde_json::from_str(line).map_err(|error| error.to_string())?;
    Ok(match written {
        Written::Gap { gap: (from, to) } => DiskLine::Gap { from, to },
        Written::Lost { .. } => DiskLine::Lost,
        Written::Reading { epoch, seq, origin, inc, oseq, payload } => {
            let (digest, measured) = match payload {
                Payload::Text(text) => (digest(text.as_bytes()), Measured::read(&text)),
                // What is no UTF-8 has no table.
                Payload::Base64(text) => (digest(&base64(&text).ok_or("payload_base64 is not base64")?), None),
            };
            DiskLine::Reading { epoch, seq, origin, inc, oseq, digest, measured }
        }
    })
}

/// RFC 4648 base64, with or without padding; a few lines, so no dependency.
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
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(base64("Z!"), None);
    }

    #[test]
    fn a_sink_is_read_with_its_scars() {
        let reading = r#"{"epoch":"3.peer1","view_id":2,"seq":9,"origin":"peer1","inc":1,"oseq":4,"time":7,"payload":"a{\"b"}"#;
        let text = format!("{reading}\n{{\"gap\":[10,12]}}\n{{\"epoch\":\"3.pe{reading}\nnonsense\n{{\"epo");
        let disk = Disk::read("peer2", &text);
        assert_eq!(disk.lines.len(), 3);
        assert!(matches!(&disk.lines[0], DiskLine::Reading { digest: d, .. } if *d == digest(b"a{\"b")));
        assert_eq!(disk.lines[1], DiskLine::Gap { from: Seq(10), to: Seq(12) });
        assert_eq!(disk.lines[2], disk.lines[0]);
        assert_eq!((disk.torn.len(), disk.unreadable.len()), (2, 1));
    }
}
