//! Targets of steps: selectors, the names bound to choices, and the ids of peers.

use promises::selector::Selector;
use protocol::id::PeerId;

use super::diagnostic::Placed;
use super::tree::{TomlTable, Value, Walk};
use super::{IfNone, Target};

/// A selector, alone or as a list.
pub(super) fn selector(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Placed<Selector>> {
    let texts = walk.strings(value)?;
    let mut parsed = Vec::new();
    for text in &texts {
        match text.value.parse::<Selector>() {
            Ok(one) => parsed.push(one),
            Err(error) => drop(walk.diagnostics.error("S012", &text.span, error.to_string())),
        }
    }
    if parsed.len() < texts.len() || parsed.is_empty() {
        return None;
    }
    let chosen = if parsed.len() == 1 { parsed.swap_remove(0) } else { Selector::List(parsed) };
    let placed = Placed { value: chosen, span: value.span() };
    walk.mentions.selectors.push(placed.clone());
    Some(placed)
}

pub(super) fn target(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Target> {
    if !value.get_ref().is_table() {
        return selector(value, walk).map(|who| Target { who, bind: None, if_none: IfNone::Wait });
    }
    let table = walk.table(value)?;
    let target = target_table(&table, "who", walk);
    table.refuse_the_rest(walk);
    target
}

pub(super) fn target_table(
    table: &TomlTable<'_, '_>,
    key: &'static str,
    walk: &mut Walk<'_>,
) -> Option<Target> {
    let bind = binding(table, walk);
    let if_none = table.string("if_none", walk);
    let if_none = if_none.map_or(Some(IfNone::Wait), |word| walk.word(&word, &IF_NONE));
    let Some(who) = table.get(key) else {
        walk.missing(&table.span, key, &format!("{key} = \"leader\""));
        return None;
    };
    let who = selector(who, walk)?;
    Some(Target { who, bind, if_none: if_none? })
}

/// The name bound to a choice.
pub(super) fn binding(table: &TomlTable<'_, '_>, walk: &mut Walk<'_>) -> Option<String> {
    let bind = table.string("as", walk)?;
    if !bind.value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        walk.diagnostics.error(
            "S005",
            &bind.span,
            "a name has letters, digits and underscores only",
        );
    }
    walk.mentions.bound.push(bind.value.clone());
    Some(bind.value)
}

/// A peer id.
pub(super) fn peer_id(name: &Placed<String>, walk: &mut Walk<'_>) -> Option<PeerId> {
    PeerId::new(&name.value)
        .map_err(|error| walk.diagnostics.error("S005", &name.span, error.to_string()))
        .ok()
}

const IF_NONE: [(&str, IfNone); 3] =
    [("wait", IfNone::Wait), ("skip", IfNone::Skip), ("fail", IfNone::Fail)];
