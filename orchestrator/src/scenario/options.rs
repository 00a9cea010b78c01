//! Knobs and flags by name, with the values that a peer accepts.

use protocol::config::Knobs;
use serde_json::Value as Json;
use toml::de::DeValue;

use super::tree::{TomlTable, Walk};

/// Knobs and flags by name; each becomes a flag of `peer run`.
pub(super) fn read_options(
    table: &TomlTable<'_, '_>,
    knobs: &mut Knobs,
    flags: &mut Vec<(String, String)>,
    walk: &mut Walk<'_>,
) {
    let Ok(Json::Object(mut raw)) = serde_json::to_value(&*knobs) else {
        unreachable!("knobs are a table of plain values")
    };
    for (key, value) in table.entries() {
        let text = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().to_owned(),
            DeValue::Boolean(is) => is.to_string(),
            DeValue::String(_) => match walk.string(value) {
                Some(text) => text.value,
                None => continue,
            },
            DeValue::Array(_) => match walk.strings(value) {
                Some(texts) => {
                    texts.into_iter().map(|text| text.value).collect::<Vec<_>>().join(",")
                }
                None => continue,
            },
            _ => {
                walk.wrong_type(value, "a number, a string, a boolean, or a list of strings");
                continue;
            }
        };
        let flag = key.value.replace('_', "-");
        if OTHER_FLAGS.contains(&key.value.as_str()) {
            match bad_flag(&key.value, &text) {
                None => flags.push((flag, text)),
                Some(why) => drop(walk.diagnostics.error(
                    "S005",
                    &value.span(),
                    format!("`{}` cannot be that: {why}", key.value),
                )),
            }
            continue;
        }
        let Some(old) = raw.get(&key.value).cloned() else {
            let known = raw.keys().map(String::as_str).chain(OTHER_FLAGS);
            walk.diagnostics
                .error("S002", &key.span, format!("unknown knob `{}`", key.value))
                .suggest(&key.value, known.collect::<Vec<_>>());
            continue;
        };
        let plain = || Json::String(text.clone());
        let new = match old {
            Json::Number(_) => text.parse::<u64>().map_or_else(|_| plain(), Json::from),
            Json::Bool(_) => text.parse::<bool>().map_or_else(|_| plain(), Json::from),
            Json::Array(_) => text.split(',').map(str::to_owned).collect(),
            _ => plain(),
        };
        raw.insert(key.value.clone(), new);
        match serde_json::from_value::<Knobs>(Json::Object(raw.clone())) {
            Ok(changed) => {
                *knobs = changed;
                flags.push((flag, text));
            }
            Err(error) => {
                raw.insert(key.value.clone(), old);
                walk.diagnostics.error(
                    "S005",
                    &value.span(),
                    format!("`{}` cannot be that: {error}", key.value),
                );
            }
        }
    }
}

/// Why a peer would refuse a flag, so that the error points to the file.
fn bad_flag(name: &str, text: &str) -> Option<String> {
    match name {
        "rotate_bytes" => {
            let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];
            let (number, unit) = units
                .iter()
                .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
                .unwrap_or((text, 1));
            let bytes =
                number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
            match bytes {
                None => Some("expected a number of bytes, or one with KiB, MiB or GiB".to_owned()),
                Some(bytes) => (bytes < ROTATE_BYTES_MIN)
                    .then(|| format!("the least is {ROTATE_BYTES_MIN} bytes")),
            }
        }
        _ => {
            let known = ["off", "error", "warn", "info", "debug", "trace"];
            (!known.contains(&text.to_ascii_lowercase().as_str()))
                .then(|| format!("expected one of {}", known.join(", ")))
        }
    }
}

/// Flags of `peer run` that may be set although they are no knobs of the protocol.
const OTHER_FLAGS: [&str; 6] =
    ["rotate_bytes", "log_level", "port", "seeds", "advertise", "address"];
/// The least value of `--rotate-bytes` that a peer accepts.
const ROTATE_BYTES_MIN: u64 = 4 << 10;
