//! Output for people: tables, and records as lines.

use std::fmt;

use protocol::note::printable;
use serde_json::{Map, Value};
use time::{OffsetDateTime, UtcOffset};

/// Rows of text in columns of the needed width.
#[derive(Debug)]
pub struct TextTable {
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// A table with these heads.
    #[must_use]
    pub fn new(heads: &[&str]) -> Self {
        Self { rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl fmt::Display for TextTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.push_str(&" ".repeat(width - cell.chars().count() + 3));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Records as lines for people.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    /// The offset of local time.
    offset: UtcOffset,
    is_coloured: bool,
}

impl Lines {
    /// In local time, if it is known; to be called while the process has one thread.
    #[must_use]
    pub fn new(is_coloured: bool) -> Self {
        Self { offset: UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC), is_coloured }
    }

    /// One record, without a line end.
    #[must_use]
    pub fn line(&self, record: &Map<String, Value>) -> String {
        let text = |key: &str| record.get(key).and_then(Value::as_str).unwrap_or_default();
        let number = |key: &str| record.get(key).and_then(Value::as_u64).unwrap_or_default();
        match text("kind") {
            "reading" => self.reading(record),
            "view" => {
                let joined = names(record, "joined");
                let left = names(record, "left");
                let mut what = Vec::new();
                if !joined.is_empty() {
                    what.push(format!("{joined} joined"));
                }
                if !left.is_empty() {
                    what.push(format!("{left} left"));
                }
                let what =
                    if what.is_empty() { String::new() } else { format!(": {}", what.join(", ")) };
                self.aside(&format!(
                    "view {}{what}; {} leads {}",
                    number("view"),
                    text("leader"),
                    names(record, "members")
                ))
            }
            "gap" => {
                let to = record
                    .get("to")
                    .and_then(Value::as_u64)
                    .map_or_else(|| "…".to_owned(), |to| format!("#{to}"));
                self.aside(&format!(
                    "gap: #{} to {to} are missing here: {}",
                    number("from"),
                    text("why")
                ))
            }
            "lost" => {
                let (origin, from, to) = (text("origin"), number("from"), number("to"));
                self.aside(&format!(
                    "#{}: readings {from} to {to} of {origin} are lost",
                    number("seq")
                ))
            }
            "diverged" => self.aside(&format!(
                "#{} to #{} above are not what the group has there; that follows",
                number("from"),
                number("to")
            )),
            "merged" => {
                self.aside(&format!("the group has merged into that of {}", text("leader")))
            }
            "repeat" => self.aside(&format!(
                "#{} to #{} hold readings that were delivered before",
                number("seq"),
                number("last")
            )),
            other => self.aside(&format!("a record of an unknown kind: {other}")),
        }
    }

    fn reading(&self, record: &Map<String, Value>) -> String {
        let text = |key: &str| record.get(key).and_then(Value::as_str);
        let seq = record.get("seq").and_then(Value::as_u64).unwrap_or_default();
        let time = self.time(text("time").unwrap_or_default());
        let origin = text("origin").unwrap_or_default();
        let (sensor, what) = match record.get("fields").and_then(Value::as_object) {
            Some(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{name} {}", word(value))).collect();
                (text("sensor").unwrap_or(origin).to_owned(), fields.join("   "))
            }
            None => {
                let bytes = || format!("base64 {}", text("payload_base64").unwrap_or_default());
                (origin.to_owned(), text("payload").map_or_else(bytes, ToOwned::to_owned))
            }
        };
        let (sensor, what) = (printable(&sensor), printable(&what).replace('\n', "\\n"));
        let place = self.dim(&format!("#{seq}"));
        format!("{}  {sensor:<20}  {what:<40}  {place}", self.dim(&time))
    }

    fn aside(&self, text: &str) -> String {
        let text = printable(text).replace('\n', "\\n");
        if self.is_coloured {
            format!("\u{1b}[33m— {text} —\u{1b}[0m")
        } else {
            format!("— {text} —")
        }
    }

    fn dim(&self, text: &str) -> String {
        if self.is_coloured { format!("\u{1b}[2m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// The time of day.
    fn time(&self, stamp: &str) -> String {
        let Ok(at) = OffsetDateTime::parse(stamp, &time::format_description::well_known::Rfc3339)
        else {
            return stamp.to_owned();
        };
        let at = at.to_offset(self.offset);
        format!("{:02}:{:02}:{:02}.{:03}", at.hour(), at.minute(), at.second(), at.millisecond())
    }
}

/// A value for people.
fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn names(record: &Map<String, Value>, key: &str) -> String {
    let names = record.get(key).and_then(Value::as_array).into_iter().flatten();
    names.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}
