//! The table of one sensor (`<sensor>.csv`), in long form: a row for each field of each reading.

use protocol::id::{PeerId, Seq};

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// The epoch, written `3.peer1`.
    pub epoch: String,
    /// The position of the reading.
    pub seq: Seq,
    /// Who published it.
    pub origin: String,
    /// The name of the field.
    pub field: String,
    /// Its value.
    pub value: String,
}

/// A reading of the form `DATA|sensor|timestamp|field=value|…`, which has a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The sensor.
    pub sensor: String,
    /// Its fields and their values.
    pub fields: Vec<(String, String)>,
}

impl Measured {
    /// Takes a payload apart; none if it has another form.
    #[must_use]
    pub fn read(payload: &str) -> Option<Self> {
        let mut parts = payload.strip_prefix("DATA|")?.split('|');
        let (sensor, _timestamp) = (parts.next()?, parts.next()?);
        PeerId::new(sensor).ok()?;
        let field = |part: &str| part.split_once('=').map(|(field, value)| (field.to_owned(), value.to_owned()));
        Some(Self { sensor: sensor.to_owned(), fields: parts.map(field).collect::<Option<_>>()? })
    }
}

/// Reads the text of a table, heads of its parts included. The second value says how many records in it are none; a
/// last one that its writer did not live to finish is not among them.
pub(super) fn read(text: &str) -> (Vec<Row>, usize) {
    let (mut rows, mut unreadable) = (vec![], 0);
    for (record, is_whole) in records(text) {
        if record.first().is_some_and(|cell| cell == "time") || record.iter().all(String::is_empty) {
            continue;
        }
        match row(record) {
            Some(row) => rows.push(row),
            None => unreadable += usize::from(is_whole),
        }
    }
    (rows, unreadable)
}

fn row(cells: Vec<String>) -> Option<Row> {
    let [_time, epoch, seq, origin, _sensor, field, value] = <[String; 7]>::try_from(cells).ok()?;
    Some(Row { epoch, seq: Seq(seq.parse().ok()?), origin, field, value })
}

/// The records of a CSV (RFC 4180), each with whether its line end is there.
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
        let head = "time,epoch,seq,origin,sensor,field,value\n";
        let text = format!("{head}t,3.p2,18,p2,s1,a,1\nt,3.p2,18,p2,s1,b,\"x,\"\"y\"\"\nz\"\n{head}nonsense\nt,3.p2,19,p2,s1,a");
        let (rows, unreadable) = read(&text);
        assert_eq!(unreadable, 1);
        let told: Vec<(u64, &str, &str)> = rows.iter().map(|row| (row.seq.0, row.field.as_str(), row.value.as_str())).collect();
        assert_eq!(told, [(18, "a", "1"), (18, "b", "x,\"y\"\nz")]);
    }

    #[test]
    fn only_readings_of_that_form_have_a_table() {
        let measured = Measured::read("DATA|s1|2026|a=1|b=x=y").unwrap();
        assert_eq!((measured.sensor.as_str(), measured.fields.len()), ("s1", 2));
        for other in ["hello", "DATA|s 1|t|a=1", "DATA|s1", "DATA|s1|t|a"] {
            assert_eq!(Measured::read(other), None, "{other}");
        }
    }
}
