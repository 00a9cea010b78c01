//! The `[[expect]]` tables: an event or a log line, with its processes, time window and count.

use toml::de::DeValue;

use super::pattern::{COUNT_MAX, event_pattern, log_pattern};
use super::target::selector;
use super::tree::{TomlTable, Value, Walk};
use super::when::{condition_holds, point};
use super::{Expectation, What};

/// One expectation.
pub(super) fn expectation(table: &TomlTable<'_, '_>, walk: &mut Walk<'_>) -> Option<Expectation> {
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

/// A wrong key spoils the whole table; an absent one does not.
fn flatten<T>(key: Option<Option<T>>) -> Option<Option<T>> {
    match key {
        Some(Some(value)) => Some(Some(value)),
        Some(None) => None,
        None => Some(None),
    }
}

fn what(table: &TomlTable<'_, '_>, never: Option<&Value<'_>>, walk: &mut Walk<'_>) -> Option<What> {
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
