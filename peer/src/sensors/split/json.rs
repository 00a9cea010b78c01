//! JSON objects: those that sensors print, and the canonical one that is published.
//!
//! `serde_json` checks the grammar; the order of keys, duplicate keys and number tokens are kept,
//! which its own value type would lose.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Draft, Origin, Value, Why};

/// Parses an object printed by a sensor. Keys of nested objects are joined by `.`; `sensor`, `time`
/// and `tags` are taken out if they have the expected type. A `null` value was not measured, and is
/// no field.
pub(super) fn any(text: &str, payload_max: usize) -> Result<Draft<'_>, Why> {
    let Entries(entries) = parse(text)?;
    let mut draft = Draft { names_left: payload_max, ..Draft::default() };
    if is_canonical(&entries) {
        for (name, raw) in entries {
            if name == "fields" {
                flatten(&mut draft, None, raw, 0)?
            } else {
                take(&mut draft, name, raw)?
            }
        }
        return Ok(draft);
    }
    entries.into_iter().try_for_each(|(name, raw)| take(&mut draft, name, raw))?;
    Ok(draft)
}

/// Parses the canonical object, and no other one.
pub(super) fn canonical(text: &str) -> Option<Draft<'_>> {
    let Entries(entries) = parse(text).ok()?;
    let mut draft = Draft::default();
    let mut seen = [false; 4];
    for (name, raw) in entries {
        let at = ["sensor", "time", "fields", "tags"].iter().position(|key| *key == name)?;
        if std::mem::replace(&mut seen[at], true) {
            return None;
        }
        match at {
            0 => draft.sensor = Some(string(raw)?).filter(|sensor| !sensor.is_empty()),
            1 => draft.time = Some(string(raw)?),
            2 => {
                for (name, raw) in parse(raw.get()).ok()?.0 {
                    scalar(&mut draft, name, raw)?;
                }
            }
            _ => draft.tags = tags(raw)?,
        }
    }
    draft.sensor.is_some().then_some(draft)
}

/// The canonical object: `sensor`, `time`, `fields`, `tags`, without blanks.
pub(super) fn write(draft: &Draft<'_>, origin: &Origin<'_>) -> String {
    let mut text = String::from("{\"sensor\":");
    put(&mut text, draft.sensor.as_deref().unwrap_or(origin.sensor));
    if let Some(time) = &draft.time {
        text.push_str(",\"time\":");
        put(&mut text, time);
    }
    text.push_str(",\"fields\":{");
    for (at, (name, value)) in draft.values.iter().enumerate() {
        put_name(&mut text, at, name);
        match value {
            Value::Number(token) => text.push_str(token),
            Value::Text(value) => put(&mut text, value),
            Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        }
    }
    text.push('}');
    let own = draft.tags.iter().map(|(name, tag)| (name.as_ref(), tag.as_ref()));
    let given =
        origin.tags.iter().filter(|(name, _)| draft.tags.iter().all(|(own, _)| own != name));
    let tags: Vec<(&str, &str)> =
        own.chain(given.map(|(name, tag)| (name.as_str(), tag.as_str()))).collect();
    if !tags.is_empty() {
        text.push_str(",\"tags\":{");
        for (at, (name, tag)) in tags.into_iter().enumerate() {
            put_name(&mut text, at, name);
            put(&mut text, tag);
        }
        text.push('}');
    }
    text.push('}');
    text
}

fn put_name(text: &mut String, at: usize, name: &str) {
    if at > 0 {
        text.push(',');
    }
    put(text, name);
    text.push(':');
}

fn put(text: &mut String, string: &str) {
    text.push_str(&serde_json::to_string(string).expect("every text is a JSON string"));
}

/// An object with `fields` and only keys of the canonical object.
fn is_canonical(entries: &[(Cow<'_, str>, &RawValue)]) -> bool {
    let is = |name: &str, raw: &RawValue| match name {
        "fields" | "tags" => raw.get().starts_with('{'),
        "sensor" | "time" => !raw.get().starts_with(['{', '[']),
        _ => false,
    };
    entries.iter().filter(|(name, _)| name == "fields").count() == 1
        && entries.iter().all(|(name, raw)| is(name, raw))
}

/// A member of the outermost object: a description of the reading, or a field.
fn take<'a>(draft: &mut Draft<'a>, name: Cow<'a, str>, raw: &'a RawValue) -> Result<(), Why> {
    let twice = |name: &str| Err(Why::Twice(name.to_owned()));
    match &*name {
        "sensor" => {
            if let Some(sensor) = word(raw)? {
                return if draft.sensor.replace(sensor).is_some() {
                    twice("sensor")
                } else {
                    Ok(())
                };
            }
        }
        "time" => {
            if let Some(time) = word(raw)? {
                return if draft.time.replace(time).is_some() { twice("time") } else { Ok(()) };
            }
        }
        "tags" => {
            if let Some(tags) = tags(raw) {
                if !draft.tags.is_empty() {
                    return twice("tags");
                }
                draft.tags = tags;
                return Ok(());
            }
        }
        _ => {}
    }
    flatten(draft, Some(name), raw, 0)
}

/// A non-empty string or a number, verbatim.
fn word(raw: &RawValue) -> Result<Option<Cow<'_, str>>, Why> {
    match raw.get().as_bytes() {
        [b'"', ..] => Ok(Some(text(raw)?).filter(|word| !word.is_empty())),
        [b'-' | b'0'..=b'9', ..] => Ok(Some(raw.get().into())),
        _ => Ok(None),
    }
}

/// The fields in a value: one, or those of an object.
fn flatten<'a>(
    draft: &mut Draft<'a>,
    name: Option<Cow<'a, str>>,
    raw: &'a RawValue,
    depth: usize,
) -> Result<(), Why> {
    if !raw.get().starts_with('{') {
        let name = name.ok_or(Why::NoName)?;
        if raw.get().starts_with('[') {
            return Err(Why::List(name.into_owned()));
        }
        if raw.get().starts_with('"') {
            let value = text(raw)?;
            draft.values.push((name, Value::Text(value)));
            return Ok(());
        }
        return scalar(draft, name, raw).ok_or(Why::NoFields);
    }
    if depth >= DEPTH_MAX {
        return Err(Why::TooDeep);
    }
    for (key, raw) in parse(raw.get())?.0 {
        if key.is_empty() {
            return Err(Why::NoName);
        }
        let name = name.as_ref().map_or_else(|| key.clone(), |name| format!("{name}.{key}").into());
        // Otherwise a long key with many children would be copied again and again.
        draft.names_left = draft.names_left.checked_sub(name.len()).ok_or(Why::Unfolds)?;
        flatten(draft, Some(name), raw, depth + 1)?;
    }
    Ok(())
}

/// A value that is neither an object nor a list. `null` is no field.
fn scalar<'a>(draft: &mut Draft<'a>, name: Cow<'a, str>, raw: &'a RawValue) -> Option<()> {
    match raw.get() {
        "null" => {}
        "true" => draft.values.push((name, Value::Bool(true))),
        "false" => draft.values.push((name, Value::Bool(false))),
        token if token.starts_with('"') => draft.values.push((name, Value::Text(string(raw)?))),
        token if token.starts_with(['{', '[']) => return None,
        token => draft.put_bare(name, token),
    }
    Some(())
}

/// An object of texts.
fn tags(raw: &RawValue) -> Option<Vec<(Cow<'_, str>, Cow<'_, str>)>> {
    let Entries(entries) = raw.get().starts_with('{').then(|| parse(raw.get()).ok())??;
    entries.into_iter().map(|(name, raw)| Some((name, string(raw)?))).collect()
}

fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    raw.get().starts_with('"').then(|| text(raw).ok())?
}

fn text(raw: &RawValue) -> Result<Cow<'_, str>, Why> {
    serde_json::from_str::<Text<'_>>(raw.get())
        .map(|Text(text)| text)
        .map_err(|error| Why::Json(error.to_string()))
}

fn parse(text: &str) -> Result<Entries<'_>, Why> {
    serde_json::from_str(text).map_err(|error| Why::Json(error.to_string()))
}

/// The keys of an object and their verbatim values, in order.
struct Entries<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some((Text(name), raw)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    entries.push((name, raw));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A string, borrowed if it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(text.into()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(text.to_owned().into()))
            }
        }
        deserializer.deserialize_str(Words)
    }
}

/// The greatest nesting depth. Each level is parsed once more, so this bounds the work, too.
pub(super) const DEPTH_MAX: usize = 16;
