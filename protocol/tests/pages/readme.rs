//! The README's table of knobs says what the code says.

use std::collections::BTreeMap;

use protocol::config::Knobs;
use serde_json::Value;

const README: &str = include_str!("../../../README.md");

/// Knob, default and fast profile, as the README tells them.
fn told() -> BTreeMap<String, (String, String)> {
    let table = README
        .lines()
        .skip_while(|line| !line.starts_with("| Knob |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let rows = table.map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let fast = if cells[3] == "same" { cells[2] } else { cells[3] };
        (cells[1].trim_matches('`').to_owned(), (cells[2].to_owned(), fast.to_owned()))
    });
    rows.collect()
}

/// A value as the README writes it: durations and names as they are, large round sizes in MiB.
fn written(knob: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::Array(names) if names.is_empty() => "none".to_owned(),
        other => {
            let number = other.as_u64().expect("a knob is a text or a whole number");
            let is_size = knob.ends_with("_bytes") || knob == "payload_max";
            if is_size { format!("{} MiB", number >> 20) } else { number.to_string() }
        }
    }
}

#[test]
fn the_readme_has_every_knob_with_its_values() {
    let values = |knobs: Knobs| match serde_json::to_value(knobs) {
        Ok(Value::Object(map)) => map,
        other => panic!("knobs are an object: {other:?}"),
    };
    let fast = values(Knobs::fast());
    let known: BTreeMap<String, (String, String)> = values(Knobs::default())
        .iter()
        .map(|(knob, default)| (knob.clone(), (written(knob, default), written(knob, &fast[knob]))))
        .collect();
    assert_eq!(told(), known);
}
