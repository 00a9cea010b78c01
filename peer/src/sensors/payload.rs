//! The form of a reading: `DATA|sensor_id|timestamp|field=value|…`. Any bytes may be published; what has this form gets
//! a table of its own in the sinks.

use std::fmt::Write as _;

use bytes::Bytes;
use protocol::id::{PEER_ID_MAX, PeerId};

use crate::clock::Stamp;

/// A reading of this form, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// Who measured: `[A-Za-z0-9._-]{1,64}`.
    pub sensor: &'a str,
    /// When, by the sensor's own words.
    pub timestamp: &'a str,
    /// What.
    pub fields: Vec<(&'a str, &'a str)>,
}

/// Puts a reading into its form.
#[must_use]
pub fn write(sensor: &str, at: Stamp, fields: &[(String, String)]) -> Bytes {
    let mut text = format!("DATA|{sensor}|{at}");
    for (field, value) in fields {
        write!(text, "|{field}={value}").expect("writing to a String cannot fail");
    }
    text.into()
}

/// Takes a reading apart; none if it has another form.
#[must_use]
pub fn read(payload: &[u8]) -> Option<Data<'_>> {
    let text = std::str::from_utf8(payload).ok()?.strip_prefix("DATA|")?;
    let mut parts = text.split('|');
    let (sensor, timestamp) = (parts.next()?, parts.next()?);
    // The rules of a sensor's id are those of a peer's.
    PeerId::new(sensor).ok()?;
    let fields = parts.map(|part| part.split_once('=')).collect::<Option<Vec<_>>>()?;
    Some(Data { sensor, timestamp, fields })
}

/// The id of a peer's own sensor; a long peer id is cut so that it fits.
#[must_use]
pub fn sensor_id(peer: &PeerId, kind: &str) -> String {
    // Both are ASCII, so any place is a good one to cut.
    let room = PEER_ID_MAX - kind.len() - 1;
    let name = peer.as_str();
    format!("{}.{kind}", &name[..name.len().min(room)])
}

#[cfg(test)]
mod tests {
    use super::{Data, PeerId, Stamp, read, sensor_id, write};

    #[test]
    fn what_is_written_can_be_read() {
        let fields = [("cpu".to_owned(), "7.5".to_owned()), ("note".to_owned(), "a=b".to_owned())];
        let payload = write("p1.host", Stamp(0), &fields);
        assert_eq!(&payload[..], b"DATA|p1.host|1970-01-01T00:00:00.000000Z|cpu=7.5|note=a=b");
        let data = Data { sensor: "p1.host", timestamp: "1970-01-01T00:00:00.000000Z", fields: vec![("cpu", "7.5"), ("note", "a=b")] };
        assert_eq!(read(&payload), Some(data));
    }

    #[test]
    fn other_forms_are_left_alone() {
        for other in ["", "DATA", "DATA|", "DATA|a", "data|a|t|f=1", "DATA|../../etc|t|f=1", "DATA||t|f=1", "DATA|a|t|f"] {
            assert_eq!(read(other.as_bytes()), None, "{other}");
        }
        assert_eq!(read(b"DATA|a|t|f=\xff"), None);
    }

    #[test]
    fn sensor_ids_fit() {
        let long = PeerId::new(&"x".repeat(64)).unwrap();
        assert_eq!(sensor_id(&long, "host").len(), 64);
        assert_eq!(sensor_id(&PeerId::new("p1").unwrap(), "host"), "p1.host");
    }
}
