//! The `[[expect]]` tables: an event or a log line, by whom, from when, until when, how often.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::diagnostic::Placed;
use super::step::{COUNT_MAX, condition_holds, selector};
use super::tree::{Table, Value, Walk};
use super::{EventPattern, Expectation, LogPattern, Point, What};

/// Every event that a peer or the bench itself can tell of; a test keeps it in step with the types.
pub(super) const EVENTS: [&str; 57] = [
    "start",
    "ready",
    "stop",
    "panic",
    "events_lost",
    "moved",
    "unreachable",
    "unanswered",
    "send",
    "recv",
    "reject",
    "suspect",
    "peer_added",
    "peer_removed",
    "failed",
    "left",
    "view",
    "election_started",
    "election_ok",
    "vetoed",
    "claim",
    "leader_elected",
    "coordinator",
    "follows",
    "step_down",
    "publish",
    "acknowledged",
    "blocked",
    "refused",
    "deliver",
    "dup_suppressed",
    "left_behind",
    "gap",
    "state_transfer",
    "stale_epoch",
    "persist",
    "sometimes",
    "promised",
    "cut",
    "stable",
    "diverged",
    "merged",
    "lost",
    "leave",
    "status",
    "spawn",
    "exit",
    "step",
    "fault",
    "heal",
    "quiet",
    "expect",
    "lag",
    "verdict",
    "drop",
    "delay",
    "dup",
];

/// One expectation.
pub(super) fn expectation(table: &Table<'_, '_>, walk: &mut Walk<'_>) -> Option<Expectation> {
    let before_it = walk.mentions.clone();
    let on = table.get("on").map(|on| selector(on, walk));
    let after = table.string("after", walk).map(|text| point(&text, walk));
    let before = table.string("before", walk).map(|text| point(&text, walk));
    let within = table.positive_duration("within", walk);
    let when = condition_holds(table, walk);
    let never = table.get("never");
    let counted = table.get("count").map(|count| bounds(count, walk));
    let what = what(table, never, walk);
    table.refuse_the_rest(walk);
    let count = match (never, counted) {
        (Some(_), Some(_)) => {
            walk.diagnostics.error(
                "S018",
                &table.key_span("count"),
                "`never` is a count already: zero",
            );
            return None;
        }
        (Some(_), None) => (0, 0),
        (None, Some(counted)) => counted?,
        (None, None) => (1, u64::MAX),
    };
    let what = what?;
    if matches!(what, What::Unordered(_)) && after.is_none() {
        walk.missing(&table.span, "after", "after = \"crash\"");
        return None;
    }
    if let (Some(within), None) = (&within, &after) {
        walk.diagnostics.warning(
            "S032",
            &within.span,
            "`within` without `after` counts from the start of the run",
        );
    }
    if !when? {
        walk.mentions = before_it;
        return None;
    }
    Some(Expectation {
        span: table.span.clone(),
        what,
        on: flatten(on)?,
        after: flatten(after)?,
        before: flatten(before)?,
        within: within.map(|within| within.value),
        count,
    })
}

/// A key that is there and wrong spoils the whole table; one that is not there does not.
fn flatten<T>(key: Option<Option<T>>) -> Option<Option<T>> {
    match key {
        Some(Some(value)) => Some(Some(value)),
        Some(None) => None,
        None => Some(None),
    }
}

fn what(table: &Table<'_, '_>, never: Option<&Value<'_>>, walk: &mut Walk<'_>) -> Option<What> {
    let fields = table.get("where");
    let mut found = Vec::new();
    if let Some(event) = table.get("event") {
        found.push(event_pattern(event, fields, walk).map(What::Event));
    }
    if let Some(log) = table.get("log") {
        found.push(log_pattern(log, walk).map(What::Log));
    }
    if let Some(least) = table.count("unordered", 1, COUNT_MAX, walk) {
        found.push(Some(What::Unordered(least.value)));
    }
    match never.map(|never| (never, never.get_ref())) {
        Some((never, DeValue::String(_))) => {
            found.push(event_pattern(never, fields, walk).map(What::Event))
        }
        Some((never, DeValue::Table(_))) => {
            let inner = walk.table(never)?;
            if let Some(log) = inner.get("log") {
                found.push(log_pattern(log, walk).map(What::Log));
            }
            if let Some(event) = inner.get("event") {
                found.push(event_pattern(event, inner.get("where"), walk).map(What::Event));
            }
            inner.refuse_the_rest(walk);
        }
        Some((_, DeValue::Boolean(true))) | None => {}
        Some((never, _)) => walk.wrong_type(
            never,
            "the name of an event, { log = … }, or true beside `event` or `log`",
        ),
    }
    if found.len() != 1 {
        let message = if found.is_empty() {
            "this expects nothing"
        } else {
            "an expectation looks for one thing"
        };
        walk.diagnostics.error("S016", &table.span, message).help(
            "one of: event = \"view\", log = 'a regular expression', never = \"election_started\"",
        );
        return None;
    }
    found.into_iter().flatten().next()
}

fn bounds(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<(u64, u64)> {
    if !value.get_ref().is_table() {
        return walk.count(value, 1, COUNT_MAX).map(|exact| (exact.value, exact.value));
    }
    let table = walk.table(value)?;
    let least = table.count("min", 0, COUNT_MAX, walk).map_or(0, |least| least.value);
    let most = table.count("max", 1, COUNT_MAX, walk).map_or(u64::MAX, |most| most.value);
    table.refuse_the_rest(walk);
    if least > most {
        walk.diagnostics.error(
            "S005",
            &table.span,
            format!("no count is at least {least} and at most {most}"),
        );
        return None;
    }
    Some((least, most))
}

/// An event by its name, with the fields it must have.
pub(super) fn event_pattern(
    name: &Value<'_>,
    fields: Option<&Value<'_>>,
    walk: &mut Walk<'_>,
) -> Option<EventPattern> {
    let name = walk.string(name)?;
    if !EVENTS.contains(&name.value.as_str()) {
        walk.diagnostics
            .error("S010", &name.span, format!("unknown event `{}`", name.value))
            .suggest(&name.value, EVENTS);
        return None;
    }
    let mut wanted = BTreeMap::new();
    if let Some(fields) = fields {
        let table = walk.table(fields)?;
        for (key, value) in table.entries() {
            wanted.insert(key.value, field(value, walk)?);
        }
    }
    Some(EventPattern { name: name.value, fields: wanted })
}

fn field(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Vec<String>> {
    match value.get_ref() {
        DeValue::String(_) => {
            let text = walk.string(value)?;
            if let Some(name) = text.value.strip_prefix('$') {
                walk.mentions.names.push(Placed { value: name.to_owned(), span: text.span });
            }
            Some(vec![text.value])
        }
        DeValue::Integer(number) => Some(vec![number.as_str().to_owned()]),
        DeValue::Boolean(is) => Some(vec![is.to_string()]),
        DeValue::Array(items) => items
            .iter()
            .map(|item| field(item, walk))
            .collect::<Option<Vec<_>>>()
            .map(|all| all.concat()),
        _ => {
            walk.wrong_type(value, "a string, a number, a boolean, or a list of them");
            None
        }
    }
}

/// A regular expression over log lines.
pub(super) fn log_pattern(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<LogPattern> {
    let text = walk.string(value)?;
    let pattern = LogPattern(text);
    let names =
        pattern.names().into_iter().map(|value| Placed { value, span: pattern.0.span.clone() });
    walk.mentions.names.extend(names);
    // Any name will do here: what matters is whether the expression around the names is one.
    if let Err(error) = pattern.compile(|_| Some(vec!["x".to_owned()])) {
        let message = error.to_string();
        let last = message
            .lines()
            .last()
            .unwrap_or("not a regular expression")
            .trim_start_matches("error: ")
            .to_owned();
        walk.diagnostics.error(
            "S014",
            &pattern.0.span,
            format!("not a regular expression: {last}"),
        );
        return None;
    }
    Some(pattern)
}

impl LogPattern {
    /// The names that it mentions as `$name`.
    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.expand(|name| names.push(name.to_owned()), |_| {});
        names
    }

    /// The regular expression, with each `$name` replaced by any of what it is bound to.
    ///
    /// # Errors
    /// If the result is not a regular expression.
    pub fn compile(
        &self,
        bound: impl Fn(&str) -> Option<Vec<String>>,
    ) -> Result<regex::Regex, regex::Error> {
        let out = std::cell::RefCell::new(String::new());
        self.expand(
            |name| {
                let choices = bound(name).unwrap_or_default();
                let escaped: Vec<String> =
                    choices.iter().map(|choice| regex::escape(choice)).collect();
                // An unbound name can stand for nothing, so nothing matches; `[^\s\S]` is the class
                // without members.
                let piece = if escaped.is_empty() {
                    "[^\\s\\S]".to_owned()
                } else {
                    format!("(?:{})", escaped.join("|"))
                };
                out.borrow_mut().push_str(&piece);
            },
            |text| out.borrow_mut().push_str(text),
        );
        regex::Regex::new(&out.into_inner())
    }

    fn expand(&self, mut on_name: impl FnMut(&str), mut on_text: impl FnMut(&str)) {
        let mut rest = self.0.value.as_str();
        // A `$` before a letter is a name; any other is the anchor it always is.
        while let Some(at) = rest.find('$') {
            let tail = &rest[at + 1..];
            let length =
                tail.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(tail.len());
            if length == 0 || rest[..at].ends_with('\\') {
                on_text(&rest[..=at]);
                rest = tail;
                continue;
            }
            on_text(&rest[..at]);
            on_name(&tail[..length]);
            rest = &tail[length..];
        }
        on_text(rest);
    }
}

/// A point in time: `crash`, `crash.start` or `crash.end`; a step alone means its start.
pub(super) fn point(text: &Placed<String>, walk: &mut Walk<'_>) -> Option<Point> {
    let (step, end) = match text.value.rsplit_once('.') {
        Some((step, "end")) => (step, true),
        Some((step, "start")) => (step, false),
        Some((_, other)) => {
            let message = format!("a step has a start and an end, not `{other}`");
            walk.diagnostics
                .error("S005", &text.span, message)
                .help("for example: after = \"crash.end\"");
            return None;
        }
        None => (text.value.as_str(), false),
    };
    let point = Point { step: step.to_owned(), end, span: text.span.clone() };
    walk.mentions.points.push(point.clone());
    Some(point)
}

#[cfg(test)]
mod tests {
    use super::super::diagnostic::Placed;
    use super::{EVENTS, LogPattern};
    use protocol::note::Note;

    fn pattern(text: &str) -> LogPattern {
        LogPattern(Placed { value: text.to_owned(), span: 0..0 })
    }

    #[test]
    fn every_event_of_a_peer_is_known() {
        // serde lists all the variants when it meets one that it does not know.
        let words = serde_json::from_str::<Note>(r#"{"ev":"?"}"#).unwrap_err().to_string();
        let told: Vec<&str> = words.split('`').skip(3).step_by(2).collect();
        assert!(told.len() > 30, "{words}");
        for name in told {
            assert!(EVENTS.contains(&name), "{name} is not listed");
        }
    }

    #[test]
    fn names_in_a_pattern_are_taken_literally() {
        let found = pattern("Peer $victim failed$")
            .compile(|_| Some(vec!["a.b".to_owned(), "c".to_owned()]))
            .unwrap();
        assert!(found.is_match("Peer a.b failed"));
        assert!(found.is_match("Peer c failed"));
        assert!(!found.is_match("Peer axb failed"));
        assert!(!found.is_match("Peer c failed, updated"));
        assert_eq!(pattern("$a \\$b $c_1$").names(), ["a", "c_1"]);
    }

    #[test]
    fn an_unbound_name_matches_nothing() {
        assert!(!pattern("^$nobody").compile(|_| None).unwrap().is_match("anything"));
    }
}
