//! The table of one sensor (a CSV), in long form: one row per field of each reading.

use protocol::id::{Incarnation, Oseq, Seq};
use protocol::log_id::LogId;
use protocol::note::escape;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Place;

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// The position of the reading.
    pub place: Place,
    /// The origin of the reading.
    pub origin: String,
    /// The incarnation of the origin.
    pub inc: Incarnation,
    /// Its number at the origin.
    pub oseq: Oseq,
    /// The name of the field, escaped.
    pub field: String,
    /// Its value, escaped.
    pub value: String,
}

/// A reading that has a table: of the form `DATA|sensor|timestamp|field=value|…`, or a JSON object
/// of a sensor and its fields. All texts are escaped as in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The sensor.
    pub sensor: String,
    /// Its fields and their values.
    pub fields: Vec<(String, String)>,
}

impl Measured {
    /// Parses a payload; none if it has another form. The judge has its own parser, so that it does
    /// not share the mistakes of the product's.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        if payload.starts_with(b"{") {
            return Self::read_object(payload);
        }
        let mut text = payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload);
        while let [rest @ .., b'\r'] = text {
            text = rest;
        }
        let text = text.strip_prefix(b"DATA|")?;
        let text = text.strip_suffix(b"|").unwrap_or(text);
        let mut parts = text.split(|byte| *byte == b'|');
        let (sensor, _timestamp) = (parts.next()?, parts.next()?);
        let field = |part: &[u8]| {
            let at = part.iter().position(|byte| *byte == b'=')?;
            (at > 0).then(|| (escape(&part[..at]), escape(&part[at + 1..])))
        };
        let fields: Vec<(String, String)> = parts.map(field).collect::<Option<_>>()?;
        (!sensor.is_empty() && !fields.is_empty()).then(|| Self { sensor: escape(sensor), fields })
    }

    fn read_object(payload: &[u8]) -> Option<Self> {
        let Object { sensor, fields: Fields(fields), .. } = serde_json::from_slice(payload).ok()?;
        let value = |raw: &RawValue| match raw.get().as_bytes() {
            [b'"', ..] => serde_json::from_str::<String>(raw.get()).ok(),
            [b'{' | b'[', ..] => None,
            _ => Some(raw.get().to_owned()),
        };
        let fields = fields.into_iter().filter(|(_, raw)| raw.get() != "null");
        let fields: Vec<(String, String)> = fields
            .map(|(name, raw)| Some((escape(name.as_bytes()), escape(value(&raw)?.as_bytes()))))
            .collect::<Option<_>>()?;
        (!sensor.is_empty() && !fields.is_empty())
            .then(|| Self { sensor: escape(sensor.as_bytes()), fields })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    sensor: String,
    #[serde(default, rename = "time")]
    _time: String,
    fields: Fields,
    #[serde(default, rename = "tags")]
    _tags: std::collections::BTreeMap<String, String>,
}

/// Names and values in their written order.
struct Fields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = vec![];
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// Reads the text of a table, including the head lines of its parts: rows, each with its sensor.
/// The second value counts the invalid records, not including a last record that its writer did not
/// finish.
pub(super) fn read(text: &str) -> (Vec<(String, Row)>, usize) {
    let (mut rows, mut unreadable) = (vec![], 0);
    for (record, is_whole) in records(text) {
        if record.first().is_some_and(|cell| cell == "time") || record.iter().all(String::is_empty)
        {
            continue;
        }
        match row(record) {
            Some(row) => rows.push(row),
            None => unreadable += usize::from(is_whole),
        }
    }
    (rows, unreadable)
}

fn row(cells: Vec<String>) -> Option<(String, Row)> {
    // A text that a spreadsheet would execute is written behind a `'`, and so is a text that begins
    // with `'`.
    let cells =
        cells.into_iter().map(|cell| cell.strip_prefix('\'').map(str::to_owned).unwrap_or(cell));
    let cells: Vec<String> = cells.collect();
    let [_time, log, epoch, seq, origin, inc, oseq, sensor, field, value] =
        <[String; 10]>::try_from(cells).ok()?;
    let place = Place {
        log: log.parse().ok()?,
        epoch: epoch.parse::<LogId>().ok()?.into_epoch(),
        seq: Seq(seq.parse().ok()?),
    };
    let (inc, oseq) = (Incarnation(inc.parse().ok()?), Oseq(oseq.parse().ok()?));
    Some((sensor, Row { place, origin, inc, oseq, field, value }))
}

/// The records of a CSV (RFC 4180), each with whether its line end is present.
fn records(text: &str) -> Vec<(Vec<String>, bool)> {
    let (mut records, mut record, mut cell) = (vec![], vec![], String::new());
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut cell)),
            '\n' if !quoted => {
                record.push(std::mem::take(&mut cell));
                records.push((std::mem::take(&mut record), true));
            }
            '\r' if !quoted && chars.peek() == Some(&'\n') => {}
            _ => cell.push(c),
        }
    }
    if !record.is_empty() || !cell.is_empty() {
        record.push(cell);
        records.push((record, false));
    }
    records
}

#[cfg(test)]
mod tests {
    use super::{Measured, read};

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let head = "time,log,epoch,seq,origin,inc,oseq,sensor,field,value\n";
        let stem = |seq: u64| format!("t,1.p1#4,3.p2#5,{seq},p2,5,9,s1");
        let text = format!(
            "{head}{},a,1\n{},b,\"x,\"\"y\"\"\nz\"\n{head}nonsense\n{},c,'=1\n{},a",
            stem(18),
            stem(18),
            stem(19),
            stem(20)
        );
        let (rows, unreadable) = read(&text);
        assert_eq!(unreadable, 1);
        let told: Vec<(u64, &str, &str)> = rows
            .iter()
            .map(|(_, row)| (row.place.seq.0, row.field.as_str(), row.value.as_str()))
            .collect();
        assert_eq!(told, [(18, "a", "1"), (18, "b", "x,\"y\"\nz"), (19, "c", "=1")]);
        assert!(rows.iter().all(|(sensor, _)| sensor == "s1"));
    }

    #[test]
    fn only_readings_of_that_form_have_a_table() {
        let check = |payload: &[u8], sensor: &str, fields: usize| {
            let measured = Measured::read(payload).unwrap();
            assert_eq!((measured.sensor.as_str(), measured.fields.len()), (sensor, fields));
        };
        check(b"DATA|s1|2026|a=1|b=x=y", "s1", 2);
        check(b"\xef\xbb\xbfDATA|a:b c|t|a=1|\r", "a:b c", 1);
        check(b"DATA|s1|t|a=\xb0", "s1", 1);
        check(
            br#"{"sensor":"s1","time":"t","fields":{"b":21.50,"a":"x"},"tags":{"room":"k"}}"#,
            "s1",
            2,
        );
        let value = Measured::read(br#"{"sensor":"s1","fields":{"b":21.50}}"#).unwrap().fields;
        assert_eq!(value, [("b".to_owned(), "21.50".to_owned())], "verbatim");
        for other in
            ["{}", r#"{"sensor":"a"}"#, r#"{"sensor":"a","fields":{"x":[1]}}"#, r#"{"celsius":1}"#]
        {
            assert_eq!(Measured::read(other.as_bytes()), None, "{other}");
        }
        for other in
            ["hello", "DATA||t|a=1", "DATA|s1", "DATA|s1|t", "DATA|s1|t|a", "DATA|s1|t|a=1|b"]
        {
            assert_eq!(Measured::read(other.as_bytes()), None, "{other}");
        }
    }
}
