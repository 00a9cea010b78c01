//! Patterns: events by name and fields, and log lines by regular expression.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::diagnostic::Placed;
use super::tree::{Value, Walk};
use super::{EventPattern, LogPattern};

/// Every event of a peer or of the test bench; a test keeps it in step with the types.
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

/// An event by its name, with its required fields.
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
    // Any name will do: only the expression around the names is checked here.
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
    /// The names that it uses as `$name`.
    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.expand(|name| names.push(name.to_owned()), |_| {});
        names
    }

    /// The regular expression, with each `$name` replaced by any of its bound values.
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
                // An unbound name stands for no value, so nothing matches; `[^\s\S]` is the empty
                // class.
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
        // `$` before a letter starts a name; any other `$` is an anchor.
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

/// A greater count is a typing mistake and would never be reached.
pub(super) const COUNT_MAX: u64 = 1_000_000_000;

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
