//! Influx line protocol: `measurement,tag=value field=value,field=value time`.
//!
//! It has a parser of its own, because existing ones convert values to floats and integers: `21.50`
//! would become `21.5`, and an integer beyond 2^53 would change. It is stricter in one point: a
//! measurement with a bare `=` is legal there, but programs that print `celsius=21.5 percent=48`
//! mean a row of pairs.

use std::borrow::Cow;

use super::number::{self, Kind};
use super::{Draft, Value};

/// Parses a line, or says why it has another form.
pub(super) fn parse(text: &str) -> Result<Draft<'_>, &'static str> {
    let text = text.trim_matches(' ');
    let (series, rest) = text
        .split_at(find(text, b" ").ok_or("there is no blank behind the measurement and its tags")?);
    let mut draft = series_of(series)?;
    let mut rest = rest.trim_start_matches(' ');
    loop {
        let equals = find(rest, b"= ,")
            .filter(|at| rest.as_bytes()[*at] == b'=')
            .ok_or("a field has no =")?;
        let (name, value) = (&rest[..equals], &rest[equals + 1..]);
        if name.is_empty() {
            return Err("a field has no name");
        }
        let name = plain(name, b", =");
        let after = if let Some(quoted) = value.strip_prefix('"') {
            let end = closing_quote(quoted).ok_or("a text has no closing quote")?;
            draft.values.push((name, Value::Text(plain(&quoted[..end], b"\"\\"))));
            &quoted[end + 1..]
        } else {
            let end = value.find([',', ' ']).unwrap_or(value.len());
            put(&mut draft, name, &value[..end])?;
            &value[end..]
        };
        match after.as_bytes().first() {
            Some(b',') => rest = &after[1..],
            None | Some(b' ') => {
                let time = after.trim_start_matches(' ');
                if !time.is_empty() {
                    let digits = time.strip_prefix('-').unwrap_or(time);
                    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                        return Err("what follows the fields is no whole number of a time");
                    }
                    draft.time = Some(time.into());
                }
                return Ok(draft);
            }
            Some(_) => return Err("something follows a closing quote"),
        }
    }
}

/// The measurement and the tags.
fn series_of(series: &str) -> Result<Draft<'_>, &'static str> {
    let mut draft = Draft::default();
    let end = find(series, b",").unwrap_or(series.len());
    let measurement = &series[..end];
    if measurement.is_empty() {
        return Err("there is no measurement");
    }
    if find(measurement, b"=").is_some() {
        return Err("its measurement has a =");
    }
    draft.sensor = Some(plain(measurement, b", ="));
    let mut rest = &series[end..];
    while let Some(tags) = rest.strip_prefix(',') {
        let end = find(tags, b",").unwrap_or(tags.len());
        let tag = &tags[..end];
        let equals = find(tag, b"=").ok_or("a tag has no =")?;
        let (name, value) = (&tag[..equals], &tag[equals + 1..]);
        if name.is_empty() || value.is_empty() || find(value, b"=").is_some() {
            return Err("a tag is no name=value");
        }
        draft.tags.push((plain(name, b", ="), plain(value, b", =")));
        rest = &tags[end..];
    }
    Ok(draft)
}

/// An unquoted value: a number, an integer that ends in `i` or `u`, or a boolean.
fn put<'a>(draft: &mut Draft<'a>, name: Cow<'a, str>, value: &'a str) -> Result<(), &'static str> {
    let is_integer = |text: &str| {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    match value {
        "t" | "T" | "true" | "True" | "TRUE" => draft.values.push((name, Value::Bool(true))),
        "f" | "F" | "false" | "False" | "FALSE" => draft.values.push((name, Value::Bool(false))),
        _ => {
            let integer = value.strip_suffix(['i', 'u']).filter(|integer| is_integer(integer));
            let token = integer.unwrap_or(value);
            if number::kind(token) == Kind::Other {
                return Err("a value is no number, no true or false and no text in quotes");
            }
            draft.put_bare(name, token);
        }
    }
    Ok(())
}

/// The offset of the first unescaped one of these bytes.
fn find(text: &str, wanted: &[u8]) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'\\'
            && bytes.get(at + 1).is_some_and(|next| matches!(next, b',' | b'=' | b' '))
        {
            at += 2;
        } else if wanted.contains(&bytes[at]) {
            return Some(at);
        } else {
            at += 1;
        }
    }
    None
}

fn closing_quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if matches!(bytes.get(at + 1), Some(b'"' | b'\\')) => at += 2,
            b'"' => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// The text without the backslashes before these characters; any other backslash is literal.
fn plain<'a>(text: &'a str, escaped: &[u8]) -> Cow<'a, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.next_if(|next| {
            c == '\\' && u8::try_from(*next).is_ok_and(|byte| escaped.contains(&byte))
        });
        plain.push(next.unwrap_or(c));
    }
    plain.into()
}
