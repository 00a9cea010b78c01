//! The form of a reading: `DATA|sensor_id|timestamp|field=value|…`. Any bytes may be published; a
//! reading of this form gets rows in a table of its own in the sinks.
//!
//! Sensors are third-party programs and devices, so the form is parsed leniently where nothing is
//! ambiguous: an id may be any text, values may be any bytes, and a byte order mark, carriage
//! returns and one `|` at the ends are ignored. If the fields are ambiguous, as with a `|` inside a
//! value, the reading has another form, with a reason.

use std::fmt::{self, Write as _};

use bytes::Bytes;
use protocol::id::{PEER_ID_MAX, PeerId};

use crate::clock::Stamp;

/// A parsed reading of this form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// The sensor; never empty.
    pub sensor: &'a [u8],
    /// The time, in the sensor's own form.
    pub timestamp: &'a [u8],
    /// The fields; never empty, and each has a name.
    pub fields: Vec<(&'a [u8], &'a [u8])>,
}

/// Why a reading is not of this form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// It does not begin with `DATA|`.
    Start,
    /// The sensor id is empty.
    NoSensor,
    /// There is nothing after the sensor and the time.
    NoFields,
    /// A part after the time is no `field=value`.
    NoField,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "it does not begin with DATA|",
            Self::NoSensor => "its sensor id is empty",
            Self::NoFields => "it has no field=value behind its sensor id and its time",
            Self::NoField => "a part of it is no field=value; a | cannot stand in a value",
        })
    }
}

/// Formats a reading.
#[must_use]
pub fn write(sensor: &str, at: Stamp, fields: &[(String, String)]) -> Bytes {
    let mut text = format!("DATA|{sensor}|{at}");
    for (field, value) in fields {
        write!(text, "|{field}={value}").expect("writing to a String cannot fail");
    }
    text.into()
}

/// Parses a reading.
///
/// # Errors
/// Why it has another form.
pub fn read(payload: &[u8]) -> Result<Data<'_>, Misfit> {
    let text = trim(payload).strip_prefix(b"DATA|").ok_or(Misfit::Start)?;
    let text = text.strip_suffix(b"|").unwrap_or(text);
    let mut parts = text.split(|byte| *byte == b'|');
    let sensor = parts.next().filter(|sensor| !sensor.is_empty()).ok_or(Misfit::NoSensor)?;
    let timestamp = parts.next().ok_or(Misfit::NoFields)?;
    let fields = parts.map(field).collect::<Option<Vec<_>>>().ok_or(Misfit::NoField)?;
    if fields.is_empty() { Err(Misfit::NoFields) } else { Ok(Data { sensor, timestamp, fields }) }
}

/// A line without the additions of editors and serial lines: a leading byte order mark and trailing
/// carriage returns.
#[must_use]
pub fn trim(line: &[u8]) -> &[u8] {
    let line = trim_front(line);
    let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
    &line[..end]
}

/// A line without a leading byte order mark.
#[must_use]
pub fn trim_front(line: &[u8]) -> &[u8] {
    line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line)
}

fn field(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = part.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
    Some((&part[..equals], &part[equals + 1..]))
}

/// The id of a peer's own sensor; a long peer id is cut so that it fits.
#[must_use]
pub fn sensor_id(peer: &PeerId, kind: &str) -> String {
    // Both are ASCII, so it can be cut anywhere.
    let room = PEER_ID_MAX - kind.len() - 1;
    let name = peer.as_str();
    format!("{}.{kind}", &name[..name.len().min(room)])
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::{Data, Misfit, PeerId, Stamp, read, sensor_id, trim, write};

    #[test]
    fn what_is_written_can_be_read() {
        let fields = [("cpu".to_owned(), "7.5".to_owned()), ("note".to_owned(), "a=b".to_owned())];
        let payload = write("p1.host", Stamp(0), &fields);
        assert_eq!(&payload[..], b"DATA|p1.host|1970-01-01T00:00:00.000000Z|cpu=7.5|note=a=b");
        let fields: Vec<(&[u8], &[u8])> = vec![(b"cpu", b"7.5"), (b"note", b"a=b")];
        let data = Data { sensor: b"p1.host", timestamp: b"1970-01-01T00:00:00.000000Z", fields };
        assert_eq!(read(&payload), Ok(data));
    }

    #[track_caller]
    fn check(payload: &[u8], sensor: &[u8], field: &[u8], value: &[u8]) {
        let data = read(payload).unwrap();
        assert_eq!((data.sensor, data.fields.as_slice()), (sensor, [(field, value)].as_slice()));
    }

    #[test]
    fn nearly_right_lines_are_right_where_nothing_is_guessed() {
        check(b"DATA|porch|t|hum=1\r", b"porch", b"hum", b"1");
        check(b"DATA|porch|t|hum=1\r\r", b"porch", b"hum", b"1");
        check(b"DATA|porch|t|hum=1|\r", b"porch", b"hum", b"1");
        check(b"\xef\xbb\xbfDATA|bom|t|x=1", b"bom", b"x", b"1");
        check(b"DATA|A4:C1:38|t|x=1", b"A4:C1:38", b"x", b"1");
        check(b"DATA|living room|t|x=1", b"living room", b"x", b"1");
        check(b"DATA|../../etc|t|x=1", b"../../etc", b"x", b"1");
        check("DATA|größe|t|x=1".as_bytes(), "größe".as_bytes(), b"x", b"1");
        check(b"DATA|latin|t|unit=\xb0C", b"latin", b"unit", b"\xb0C");
        check(b"DATA|no time||x=", b"no time", b"x", b"");
    }

    #[test]
    fn what_would_have_to_be_guessed_says_why_it_is_not_read() {
        let check =
            |payload: &[u8], why: Misfit| assert_eq!(read(payload), Err(why), "{payload:?}");
        for other in ["", "DATA", "data|a|t|f=1", " DATA|a|t|f=1", "21.5", "{\"a\":1}"] {
            check(other.as_bytes(), Misfit::Start);
        }
        check(b"DATA||t|f=1", Misfit::NoSensor);
        check(b"DATA|", Misfit::NoSensor);
        for other in ["DATA|a", "DATA|a|t", "DATA|a|t|", "DATA|a|f=1"] {
            check(other.as_bytes(), Misfit::NoFields);
        }
        for other in [
            "DATA|a|t|f",
            "DATA|a|t|f=1|g",
            "DATA|a|t|note=a|b|f=1",
            "DATA|a|t|=1",
            "DATA|a|t|f=1||",
            "DATA|a|t||f=1",
        ] {
            check(other.as_bytes(), Misfit::NoField);
        }
    }

    #[test]
    fn only_the_ends_of_a_line_are_trimmed() {
        assert_eq!(trim(b"a\rb\r\r"), b"a\rb");
        assert_eq!(trim(b"\xef\xbb\xbf\xef\xbb\xbfa"), b"\xef\xbb\xbfa");
        assert_eq!(trim(b"\r"), b"");
    }

    #[test]
    fn sensor_ids_fit() {
        let long = PeerId::new(&"x".repeat(64)).unwrap();
        assert_eq!(sensor_id(&long, "host").len(), 64);
        assert_eq!(sensor_id(&PeerId::new("p1").unwrap(), "host"), "p1.host");
    }
}
