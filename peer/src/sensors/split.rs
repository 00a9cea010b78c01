//! Fields are split once, at the origin, and stay typed to the end.
//!
//! A line of a sensor may have one of four forms: `DATA|sensor|time|field=value|…`, a JSON object,
//! influx line protocol, or `key=value` pairs. [`at_origin`] recognises the form and makes the
//! payload that is published; [`read`] gives every later reader the same fields. Between the two
//! there are only two forms on the wire: `DATA` lines, which travel as they are, and one canonical
//! JSON object, `{"sensor":…,"time":…,"fields":{…},"tags":{…}}`.
//!
//! Nothing is guessed. A line whose fields are not clear is published verbatim, with the reason.
//! Numbers are never computed with: a token goes from the line to the reader unchanged, so `21.50`
//! stays `21.50`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use protocol::note::escape;

use self::number::Kind;
use super::payload::{self, Misfit};

mod influx;
mod json;
mod number;
mod pairs;
#[cfg(test)]
mod tests;

/// The context of [`at_origin`]: the sensor of the line.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The sensor id of a line without a sensor.
    pub sensor: &'a str,
    /// Tags of every reading of the sensor. A line's own tag of the same name wins.
    pub tags: &'a [(String, String)],
    /// The longest payload, in bytes.
    pub payload_max: usize,
}

/// The result of splitting a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Split {
    /// [`read`] finds the fields in this payload.
    Typed {
        /// The published payload.
        payload: Bytes,
        /// How many values look like numbers and stay text: `NaN`, `21,5`, more than 15 digits.
        kept_as_text: u64,
    },
    /// The line itself is published, and [`read`] finds nothing in it.
    Verbatim {
        /// The published payload.
        payload: Bytes,
        /// Why it is not split.
        why: Why,
    },
    /// The line is longer than a payload may be, and is not published.
    TooLong {
        /// Its length, in bytes.
        length: usize,
    },
}

/// Why a line is not split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is not UTF-8.
    NotText,
    /// It begins with `DATA|` and is malformed after that.
    Data(Misfit),
    /// It begins with `{` and is no JSON.
    Json(String),
    /// A value is a list.
    List(String),
    /// Its objects are nested too deeply.
    TooDeep,
    /// The joined names of its fields alone are longer than a payload may be.
    Unfolds,
    /// It has no value.
    NoFields,
    /// A field has no name.
    NoName,
    /// Two fields, or two tags, have the same name.
    Twice(String),
    /// It contains `=`, and is neither line protocol nor pairs.
    Neither {
        /// Why it is no line protocol.
        line_protocol: &'static str,
        /// Why it is no row of pairs.
        pairs: &'static str,
    },
    /// It has none of the forms.
    NoForm,
    /// The payload would be longer than permitted.
    Grows {
        /// Its length, in bytes.
        length: usize,
    },
}

/// A parsed reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The sensor; never empty.
    pub sensor: Cow<'a, str>,
    /// The time, in the sensor's own form.
    pub time: Option<Cow<'a, str>>,
    /// The fields, in the sensor's order: names and values. Never empty, and no name occurs twice.
    pub values: Vec<(Cow<'a, str>, Value<'a>)>,
    /// Names and texts that describe the sensor. No name occurs twice.
    pub tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number in JSON syntax, verbatim, with at most 15 significant digits: a 64-bit float
    /// represents it exactly.
    Number(&'a str),
    /// Anything else that is text.
    Text(Cow<'a, str>),
    /// True or false.
    Bool(bool),
}

/// Makes the payload of a line. Never panics, for any bytes.
#[must_use]
pub fn at_origin(line: &Bytes, origin: &Origin<'_>) -> Split {
    let bare = line.slice_ref(payload::trim(line));
    if bare.len() > origin.payload_max {
        return Split::TooLong { length: bare.len() };
    }
    match typed(&bare, origin) {
        Ok((payload, kept_as_text)) => Split::Typed { payload, kept_as_text },
        Err(why) => Split::Verbatim { payload: bare, why },
    }
}

/// Parses a payload, whoever published it: a `DATA` line, or the canonical JSON object. None for
/// everything else.
#[must_use]
pub fn read(payload: &[u8]) -> Option<Fields<'_>> {
    let text = str::from_utf8(payload).ok()?;
    let draft = if text.starts_with('{') { json::canonical(text)? } else { data(text).ok()? };
    let draft = draft.checked().ok()?;
    Some(Fields { sensor: draft.sensor?, time: draft.time, values: draft.values, tags: draft.tags })
}

/// The sensor of a payload that [`read`] parses; empty for any other.
#[must_use]
pub fn sensor(payload: &[u8]) -> Cow<'_, str> {
    read(payload).map_or(Cow::Borrowed(""), |fields| fields.sensor)
}

/// Whether [`sensor`] can find a name in it, judging by its first byte.
#[must_use]
pub fn may_have_sensor(payload: &[u8]) -> bool {
    matches!(payload.first(), Some(b'D' | b'{' | 0xef))
}

/// The result of [`sensor`], or possibly a name if that result is empty: found without parsing
/// beyond the name, if possible.
#[must_use]
pub fn sensor_at_most(payload: &[u8]) -> Cow<'_, str> {
    if !may_have_sensor(payload) {
        return Cow::Borrowed("");
    }
    let until = |rest: &'_ [u8], end: u8| rest.iter().position(|byte| *byte == end);
    if let Some(rest) = payload::trim_front(payload).strip_prefix(b"DATA|") {
        let name = until(rest, b'|').map_or(rest, |end| &rest[..end]);
        return str::from_utf8(name).unwrap_or_default().into();
    }
    if let Some(rest) = payload.strip_prefix(b"{\"sensor\":\"")
        && let Some(name) = until(rest, b'"').map(|end| &rest[..end])
        && !name.contains(&b'\\')
    {
        return str::from_utf8(name).unwrap_or_default().into();
    }
    sensor(payload)
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            |name: &str| escape(name.as_bytes().get(..SHOWN_BYTES).unwrap_or(name.as_bytes()));
        match self {
            Self::NotText => f.write_str("it is not UTF-8"),
            Self::Data(misfit) => write!(f, "{misfit}"),
            Self::Json(error) => {
                write!(f, "it begins with {{ and is no JSON: {}", escape(error.as_bytes()))
            }
            Self::List(field) => write!(
                f,
                "the value of {} is a list; print a field for each of \
                                            its values",
                name(field)
            ),
            Self::TooDeep => {
                write!(f, "it has objects within objects, more than {} of them", json::DEPTH_MAX)
            }
            Self::Unfolds => f.write_str(
                "the names of its fields, joined by dots, are longer than \
                                          payload_max",
            ),
            Self::NoFields => f.write_str("there is no value in it"),
            Self::NoName => f.write_str("a field or a tag in it has no name"),
            Self::Twice(field) => write!(f, "{} is named twice", name(field)),
            Self::Neither { line_protocol, pairs } => {
                write!(
                    f,
                    "it is no influx line protocol ({line_protocol}) and no row of key=value \
                           pairs ({pairs})"
                )
            }
            Self::NoForm => f.write_str(
                "it is no DATA|… line, no JSON object, no influx line \
                                         protocol and no row of key=value pairs",
            ),
            Self::Grows { length } => write!(
                f,
                "as JSON it would have {length} bytes, which is \
                                                 more than payload_max"
            ),
        }
    }
}

/// The fields found in a line, before it is known whether they are valid together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Draft<'a> {
    sensor: Option<Cow<'a, str>>,
    time: Option<Cow<'a, str>>,
    values: Vec<(Cow<'a, str>, Value<'a>)>,
    tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// How many values look like numbers and stay text.
    kept_as_text: u64,
    /// The room left for joined names, in bytes.
    names_left: usize,
}

impl<'a> Draft<'a> {
    /// An unquoted value, typed by its form.
    fn put_bare(&mut self, name: Cow<'a, str>, text: &'a str) {
        let value = match number::kind(text) {
            Kind::Number => Value::Number(text),
            kind => {
                self.kept_as_text += u64::from(kind == Kind::Nearly);
                Value::Text(text.into())
            }
        };
        self.values.push((name, value));
    }

    /// The same, if it is not empty and every name is unique.
    fn checked(self) -> Result<Self, Why> {
        if self.values.is_empty() {
            return Err(Why::NoFields);
        }
        unique(self.values.iter().map(|(name, _)| name))?;
        unique(self.tags.iter().map(|(name, _)| name))?;
        Ok(self)
    }
}

fn unique<'a>(names: impl Iterator<Item = &'a Cow<'a, str>>) -> Result<(), Why> {
    let mut seen = BTreeSet::new();
    for name in names {
        if name.is_empty() {
            return Err(Why::NoName);
        }
        if !seen.insert(name.as_ref()) {
            return Err(Why::Twice(name.as_ref().to_owned()));
        }
    }
    Ok(())
}

/// The payload of a line that can be split, and how many of its values stay text.
fn typed(line: &Bytes, origin: &Origin<'_>) -> Result<(Bytes, u64), Why> {
    let text = str::from_utf8(line).map_err(|_| Why::NotText)?;
    let (draft, is_data) = if text.starts_with("DATA|") {
        (data(text).map_err(Why::Data)?, true)
    } else if text.trim_start().starts_with('{') {
        (json::any(text, origin.payload_max)?, false)
    } else {
        (influx_or_pairs(text)?, false)
    };
    let draft = draft.checked()?;
    let kept_as_text = draft.kept_as_text;
    if is_data && origin.tags.is_empty() {
        return Ok((line.clone(), kept_as_text));
    }
    let payload = json::write(&draft, origin);
    if payload.len() > origin.payload_max {
        Err(Why::Grows { length: payload.len() })
    } else {
        Ok((payload.into(), kept_as_text))
    }
}

/// The fields of a `DATA` line.
fn data(text: &str) -> Result<Draft<'_>, Misfit> {
    let data = payload::read(text.as_bytes())?;
    // The separators are ASCII, so the parts of a string are strings.
    let part = |bytes| str::from_utf8(bytes).map_err(|_| Misfit::NoField);
    let mut draft = Draft { sensor: Some(part(data.sensor)?.into()), ..Draft::default() };
    draft.time = Some(part(data.timestamp)?).filter(|time| !time.is_empty()).map(Cow::Borrowed);
    for (name, value) in data.fields {
        draft.put_bare(part(name)?.into(), part(value)?);
    }
    Ok(draft)
}

fn influx_or_pairs(text: &str) -> Result<Draft<'_>, Why> {
    if !text.contains('=') {
        return Err(Why::NoForm);
    }
    influx::parse(text).or_else(|line_protocol| {
        pairs::parse(text).map_err(|pairs| Why::Neither { line_protocol, pairs })
    })
}

/// How much of a name is shown.
const SHOWN_BYTES: usize = 64;
