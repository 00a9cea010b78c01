//! One table per sensor, in long form: a row for each field of each reading, so that sensors with
//! other fields need no other columns.
//!
//! Cells contain foreign text, and are safe for programs that interpret their input: a row is
//! always one line, invisible characters are escaped, and no cell begins as a formula. All of that
//! can be undone (see `docs/DATA.md`).

use std::borrow::Cow;
use std::fmt::Write as _;

use protocol::io::Reading;
use protocol::note::escape;

use crate::clock::Stamp;
use crate::sensors::payload::{self, Misfit};
use crate::sensors::split::{self, Fields, Value};

/// The first line of each table.
pub(super) const HEAD: &str = "time,log,epoch,seq,origin,inc,oseq,sensor,field,value\n";

/// The sensor of a reading and its rows.
///
/// # Errors
/// Why it has none.
pub(super) fn rows<'a>(
    reading: &Reading<'a>,
    names: &Names,
) -> Result<(Cow<'a, [u8]>, String), Misfit> {
    match payload::read(reading.payload) {
        Ok(data) => {
            let rows = write(
                reading,
                names,
                data.sensor,
                data.fields.into_iter().map(|(field, value)| (field, Cow::Borrowed(value))),
            );
            Ok((data.sensor.into(), rows))
        }
        Err(Misfit::Start) => {
            let Fields { sensor, values, .. } =
                split::read(reading.payload).ok_or(Misfit::Start)?;
            let fields = values.iter().map(|(field, value)| (field.as_bytes(), bytes_of(value)));
            let rows = write(reading, names, sensor.as_bytes(), fields);
            let sensor = match sensor {
                Cow::Borrowed(sensor) => sensor.as_bytes().into(),
                Cow::Owned(sensor) => sensor.into_bytes().into(),
            };
            Ok((sensor, rows))
        }
        Err(misfit) => Err(misfit),
    }
}

fn bytes_of<'a>(value: &'a Value<'_>) -> Cow<'a, [u8]> {
    match value {
        Value::Number(token) => token.as_bytes().into(),
        Value::Text(text) => text.as_bytes().into(),
        Value::Bool(value) => if *value { &b"true"[..] } else { b"false" }.into(),
    }
}

fn write<'a>(
    reading: &Reading<'_>,
    names: &Names,
    sensor: &[u8],
    fields: impl Iterator<Item = (&'a [u8], Cow<'a, [u8]>)>,
) -> String {
    let sensor = cell(sensor);
    let mut rows = String::new();
    for (field, value) in fields {
        let (time, seq, oseq) = (Stamp(reading.time), reading.seq, reading.oseq);
        let (Names { log, epoch, origin }, inc) = (names, reading.run.origin.inc);
        let (field, value) = (cell(field), cell(&value));
        writeln!(rows, "{time},{log},{epoch},{seq},{origin},{inc},{oseq},{sensor},{field},{value}")
            .expect("writing to a String cannot fail");
    }
    rows
}

/// The cells that all readings of a run share.
pub(super) struct Names {
    pub(super) log: String,
    pub(super) epoch: String,
    pub(super) origin: String,
}

/// The name of a sensor's file: letters, digits, `_`, `-` and `.` unchanged, every other byte and a
/// leading dot as `%XX`. Two ids never share a name, and the id can be recovered; a name that is
/// too long is cut, and a digest is appended.
pub(super) fn file_name(sensor: &[u8]) -> String {
    let mut name = String::with_capacity(sensor.len() + 4);
    for (at, &byte) in sensor.iter().enumerate() {
        if name.len() > NAME_MAX {
            name.truncate(NAME_CUT);
            // Not inside an escape.
            name.truncate(name.rfind('%').filter(|at| at + 3 > name.len()).unwrap_or(name.len()));
            // No escape begins so.
            write!(name, "%~{:016x}", protocol::draw::digest(sensor))
                .expect("writing to a String cannot fail");
            break;
        }
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') || byte == b'.' && at > 0 {
            name.push(char::from(byte));
        } else {
            write!(name, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    name + ".csv"
}

/// A cell: escaped, protected from execution, and quoted if necessary (RFC 4180).
pub(super) fn cell(bytes: &[u8]) -> String {
    let text = unrun(escape(bytes));
    if text.contains([',', '"']) || text.starts_with(' ') || text.ends_with(' ') {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into_owned()
    }
}

/// A spreadsheet takes text with such a beginning for a formula and executes it; after a `'` it is
/// plain text. A cell that begins with `'` itself gets another one, so that each added `'` can be
/// removed again.
fn unrun(text: String) -> Cow<'static, str> {
    let first = text.trim_start().chars().next();
    let runs = first
        .is_some_and(|first| matches!(first, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠'));
    if text.starts_with('\'') || runs && !is_number(&text) {
        format!("'{text}").into()
    } else {
        text.into()
    }
}

/// A plain number with a sign, such as `-3.5e-7`, is no formula.
fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'))
}

/// A file name may have 255 bytes, and other programs append suffixes.
const NAME_MAX: usize = 160;
const NAME_CUT: usize = 120;

#[cfg(test)]
mod tests {
    use super::{Names, cell, file_name, rows};
    use crate::sensors::payload::Misfit;
    use bytes::Bytes;
    use protocol::id::{Epoch, Incarnation, Member, Oseq, PeerId, Seq, ViewId};
    use protocol::io::{Reading, Run};
    use protocol::readings::Readings;
    use std::collections::BTreeSet;

    #[test]
    fn a_row_for_each_field() {
        let origin = Member { id: PeerId::new("p2").unwrap(), inc: Incarnation(5) };
        let epoch = Epoch { round: 3, owner: origin.clone() };
        let readings = Readings::one(Bytes::from_static(b"DATA|p2.host|2026|a=1|b=x,y"), 0);
        let (view_id, first, oseq, guarantee) =
            (ViewId(7), Seq(18), Oseq(9), protocol::config::Guarantee::Agreed);
        let log = "1.p1#4".parse().unwrap();
        let run =
            Run { log, epoch, view_id, first, origin, oseq, guarantee, ordered: None, readings };
        let names =
            Names { log: "1.p1#4".to_owned(), epoch: "3.p2#5".to_owned(), origin: "p2".to_owned() };
        let reading = run.iter().next().unwrap();
        let stem = "1970-01-01T00:00:00.000000Z,1.p1#4,3.p2#5,18,p2,5,9,p2.host";
        let expected = format!("{stem},a,1\n{stem},b,\"x,y\"\n");
        assert_eq!(rows(&reading, &names), Ok((b"p2.host"[..].into(), expected.clone())));
        let payload =
            br#"{"sensor":"p2.host","time":"t","fields":{"a":1,"b":"x,y"},"tags":{"c":"d"}}"#;
        assert_eq!(
            rows(&Reading { payload, ..reading }, &names),
            Ok((b"p2.host"[..].into(), expected)),
            "the other form"
        );
        assert_eq!(rows(&Reading { payload: b"DATA|a", ..reading }, &names), Err(Misfit::NoFields));
        assert_eq!(rows(&Reading { payload: b"hello", ..reading }, &names), Err(Misfit::Start));
    }

    #[test]
    fn cells_are_one_line_and_quoted_where_they_must() {
        let check = |bytes: &[u8], written: &str| assert_eq!(cell(bytes), written);
        check(b"plain", "plain");
        check(b"say \"hi\"\n", "\"say \"\"hi\"\"\\n\"");
        check(b" padded", "\" padded\"");
        check(b"\xb0C\r", "\\xb0C\\r");
        check("a\u{202e}b".as_bytes(), "a\\u{202e}b");
        check(b"C:\\t", "C:\\\\t");
    }

    #[test]
    fn nothing_begins_as_a_formula_and_numbers_stay_numbers() {
        for run in [
            "=1+1", "+1+1", "-1-1", "@SUM(A1)", "=", "-", " =1", "＝1", "-5 %", "-inf", "+NaN",
            "'=1", "'",
        ] {
            let written = cell(run.as_bytes());
            let bare = written.trim_matches('"');
            assert_eq!(bare.strip_prefix('\''), Some(run), "{run}");
        }
        for run in ["\t=1", "\r=1"] {
            assert!(cell(run.as_bytes()).starts_with('\\'), "{run:?}");
        }
        for number in ["-3.5", "+3", "-.5", "-1e-7", "21", "0.0"] {
            assert_eq!(cell(number.as_bytes()), number);
        }
    }

    #[test]
    fn file_names_are_harmless_and_tell_ids_apart() {
        let check = |sensor: &str, name: &str| assert_eq!(file_name(sensor.as_bytes()), name);
        check("p1.host", "p1.host.csv");
        check("A4:C1:38", "A4%3AC1%3A38.csv");
        check("living room", "living%20room.csv");
        check("zigbee2mqtt/hall", "zigbee2mqtt%2Fhall.csv");
        check("..", "%2E..csv");
        check("ß", "%C3%9F.csv");
        check("a%3A", "a%253A.csv");
        let long = |end: &str| "/".repeat(70) + end;
        let names: BTreeSet<String> =
            ["", "a", "b"].map(|end| file_name(long(end).as_bytes())).into();
        assert_eq!(names.len(), 3);
        let huge: BTreeSet<String> =
            (0..100).map(|n| file_name(format!("{}{n}", "x".repeat(n + 150)).as_bytes())).collect();
        assert!(
            huge.len() == 100 && huge.iter().chain(&names).all(|name| name.len() < 220),
            "{huge:?}"
        );
    }
}
