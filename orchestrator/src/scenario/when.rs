//! The comparison of `when`, and the points of `after` and `before`.

use super::Point;
use super::diagnostic::Placed;
use super::tree::{TomlTable, Walk};

/// `when = "left == right"` or `"left != right"`; variables in both sides are replaced first.
pub(super) fn condition_holds(table: &TomlTable<'_, '_>, walk: &mut Walk<'_>) -> Option<bool> {
    let Some(value) = table.get("when") else { return Some(true) };
    let text = walk.string(value)?;
    let split = |operator| {
        text.value
            .split_once(operator)
            .map(|(left, right): (&str, &str)| (left.trim().to_owned(), right.trim().to_owned()))
    };
    if let Some((left, right)) = split("==") {
        return Some(left == right);
    }
    if let Some((left, right)) = split("!=") {
        return Some(left != right);
    }
    walk.diagnostics
        .error("S005", &text.span, "expected a comparison")
        .help("for example: when = \"${mode} == primary\"");
    None
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
