//! Searches events and log lines for a pattern and continues where the last search ended. Near
//! misses are kept as well: they are the best evidence for why a match is missing.

use std::borrow::Cow;
use std::collections::BTreeMap;

use promises::Bindings;
use promises::history::Record;
use promises::world::GroundTruth;
use protocol::note::Note;
use protocol::time::Time;
use regex::Regex;
use serde_json::Value as Json;

use super::shown;
use crate::observed::{LogLine, Observed};
use crate::scenario::{EventPattern, What};

/// The window of a search.
#[derive(Clone, Debug)]
pub struct Window {
    /// Its beginning.
    pub from: Time,
    /// Its end.
    pub until: Time,
    /// The length of each log at `from`; a log that is not listed is searched from its start.
    pub marks: BTreeMap<String, u64>,
}

/// The matches in a window, by process.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The number of matches, by process.
    pub count: BTreeMap<String, u64>,
    /// The first few matching lines, oldest first.
    pub lines: Vec<String>,
    /// Near misses: the same event with other fields, or too late.
    pub near: Vec<String>,
    /// A field of the pattern that such events do not have.
    pub no_field: Option<String>,
}

/// Searches a window and continues where it ended when there is more to search.
#[derive(Debug)]
pub struct Search {
    pattern: Pattern,
    bindings: Bindings,
    window: Window,
    /// The matches so far.
    pub found: Found,
    next_event: usize,
    next_line: BTreeMap<String, usize>,
}

#[derive(Debug)]
enum Pattern {
    Event(EventPattern),
    Line(Regex),
    Nothing,
}

impl Search {
    /// A search that has not started yet.
    #[must_use]
    pub fn new(what: &What, bindings: &Bindings, window: Window) -> Self {
        let mut found = Found::default();
        let pattern = match what {
            What::Event(pattern) => Pattern::Event(pattern.clone()),
            What::Log(pattern) => match pattern.compile(|name| bindings.get(name).cloned()) {
                Ok(regex) => Pattern::Line(regex),
                // The pattern compiled when the file was checked; only a gigantic binding could
                // exceed the size limit.
                Err(error) => {
                    found.no_field = Some(error.to_string());
                    Pattern::Nothing
                }
            },
            What::Unordered(_) => Pattern::Nothing,
        };
        Self {
            pattern,
            bindings: bindings.clone(),
            window,
            found,
            next_event: 0,
            next_line: BTreeMap::new(),
        }
    }

    /// A search through all observations so far.
    #[must_use]
    pub fn over(observed: &Observed, what: &What, bindings: &Bindings, window: Window) -> Found {
        let mut search = Self::new(what, bindings, window);
        search.go_on(observed);
        search.found
    }

    /// Searches what has come since the last call.
    pub fn go_on(&mut self, observed: &Observed) {
        let Self { pattern, bindings, window, found, next_event, next_line } = self;
        match pattern {
            Pattern::Event(pattern) => {
                for (process, record) in &observed.events[*next_event..] {
                    look_at_event(process, record, pattern, bindings, window, found);
                }
                *next_event = observed.events.len();
            }
            Pattern::Line(regex) => {
                for (process, lines) in &observed.logs {
                    let next = next_line.entry(process.clone()).or_default();
                    let mark = window.marks.get(process).copied().unwrap_or(0);
                    for line in lines[*next..]
                        .iter()
                        .filter(|line| line.offset >= mark && regex.is_match(&line.text))
                    {
                        found_line(process, line, window, found);
                    }
                    *next = lines.len();
                }
            }
            Pattern::Nothing => {}
        }
    }
}

fn look_at_event(
    process: &str,
    record: &Record,
    pattern: &EventPattern,
    bindings: &Bindings,
    window: &Window,
    found: &mut Found,
) {
    let time = record.time();
    if time < window.from || name_of(record) != pattern.name {
        return;
    }
    // Most of a history is deliveries; those that are only counted are not formatted.
    let is_plain = pattern.fields.is_empty() && matches!(record, Record::Peer(_));
    if is_plain && time <= window.until && found.lines.len() >= EVIDENCE_MAX {
        *found.count.entry(process.to_owned()).or_default() += 1;
        return;
    }
    let line = record.line();
    let Ok(Json::Object(fields)) = serde_json::from_str::<Json>(&line) else { return };
    let is_wanted = |(key, wanted): (&String, &Vec<String>)| {
        fields
            .get(key)
            .is_none_or(|field| wanted.iter().any(|wanted| field_is(field, wanted, bindings)))
    };
    if let Some(missing) = pattern.fields.keys().find(|key| !fields.contains_key(*key)) {
        // Events of one name may have kinds with different fields: an event of another kind just
        // does not match.
        if !pattern.fields.iter().all(is_wanted) {
            return;
        }
        let known: Vec<&str> = fields.keys().map(String::as_str).collect();
        found.no_field = Some(format!(
            "`{}` events have no field `{missing}`; they have: {}",
            pattern.name,
            known.join(", ")
        ));
        return;
    }
    // An event of the test bench about a process counts as that process's.
    let owner = if process.starts_with('_') {
        fields.get("process").and_then(Json::as_str).unwrap_or(process)
    } else {
        process
    };
    let fits = pattern
        .fields
        .iter()
        .all(|(key, wanted)| wanted.iter().any(|wanted| field_is(&fields[key], wanted, bindings)));
    let in_time = time <= window.until;
    if fits && in_time {
        *found.count.entry(owner.to_owned()).or_default() += 1;
        keep(&mut found.lines, || line);
    } else if fits {
        keep(&mut found.near, || format!("{} too late: {line}", shown(time.since(window.until))));
    } else if in_time {
        keep(&mut found.near, || line);
    }
}

fn found_line(process: &str, line: &LogLine, window: &Window, found: &mut Found) {
    let text = || format!("{process}: {}", line.text);
    if line.time <= window.until {
        *found.count.entry(process.to_owned()).or_default() += 1;
        keep(&mut found.lines, text);
    } else {
        keep(&mut found.near, || {
            format!("{} too late: {}", shown(line.time.since(window.until)), text())
        });
    }
}

/// The name of an event; names of frequent events without serde.
fn name_of(record: &Record) -> Cow<'static, str> {
    match record {
        Record::Peer(event) => match &event.note {
            Note::Deliver { .. } => "deliver".into(),
            Note::Publish { .. } => "publish".into(),
            Note::Stable { .. } => "stable".into(),
            Note::Send { .. } => "send".into(),
            Note::Recv { .. } => "recv".into(),
            Note::Status(_) => "status".into(),
            other => tag(other).into(),
        },
        Record::World(event) => match &event.what {
            GroundTruth::Sample { .. } => "sample".into(),
            other => tag(other).into(),
        },
    }
}

fn tag(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value["ev"].as_str().unwrap_or_default().to_owned()
}

fn field_is(field: &Json, wanted: &str, bindings: &Bindings) -> bool {
    if let Some(name) = wanted.strip_prefix('$') {
        return bindings
            .get(name)
            .is_some_and(|bound| bound.iter().any(|one| field_is(field, one, bindings)));
    }
    match field {
        Json::String(text) => text == wanted,
        Json::Array(items) => items.iter().any(|item| field_is(item, wanted, bindings)),
        Json::Null => wanted == "none",
        Json::Bool(is) => wanted == if *is { "true" } else { "false" },
        Json::Number(number) => number.to_string().as_str() == wanted,
        Json::Object(_) => false,
    }
}

fn keep(lines: &mut Vec<String>, line: impl FnOnce() -> String) {
    if lines.len() < EVIDENCE_MAX {
        lines.push(line());
    }
}

/// How many lines of evidence are kept.
const EVIDENCE_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use promises::history::{Line, parse_line};

    use super::name_of;

    #[test]
    fn names_that_are_not_asked_for_are_those_that_are_written() {
        for (rest, name) in [
            (
                r#""p":"p1","inc":1,"ev":"send","m":"p1/1/u/1","to":"*","kind":"COORDINATOR""#,
                "send",
            ),
            (r#""p":"p1","inc":1,"ev":"recv","m":"p1/1/u/1","kind":"COORDINATOR""#, "recv"),
            (r#""p":"p1","inc":1,"ev":"publish","oseq":1,"digest":"9f""#, "publish"),
            (r#""p":"p1","inc":1,"ev":"ready""#, "ready"),
            (
                r#""p":"_","ev":"sample","process":"p1","pid":1,"descriptors":9,"memory":4096"#,
                "sample",
            ),
            (r#""p":"_","ev":"heal","id":"cut""#, "heal"),
        ] {
            let line = format!(r#"{{"v":1,"t":1,"n":1,{rest}}}"#);
            let Ok(Line::Record(record)) = parse_line(&line) else { panic!("{line}") };
            assert_eq!(name_of(&record), name);
        }
    }
}
