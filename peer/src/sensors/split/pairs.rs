//! `key=value` pairs separated by blanks, as shell scripts and microcontrollers print them.

use std::borrow::Cow;

use super::{Draft, Value};

/// Parses a line, or says why it is no row of pairs. `sensor` and `time` are taken out, since a row
/// has no other place for them; a key without a value was not measured, and is no field.
pub(super) fn parse(text: &str) -> Result<Draft<'_>, &'static str> {
    let mut draft = Draft::default();
    let mut rest = text.trim_matches(BLANKS);
    while !rest.is_empty() {
        let equals = rest
            .find(['=', ' ', '\t'])
            .filter(|at| rest.as_bytes()[*at] == b'=')
            .ok_or("a word has no =")?;
        let (name, value) = (&rest[..equals], &rest[equals + 1..]);
        if name.is_empty() || !name.chars().all(is_of_name) {
            return Err(
                "a key is empty, or has a character other than letters, digits and _-.:/%()[]",
            );
        }
        let (word, after) = if let Some(quoted) = value.strip_prefix('"') {
            let (text, after) = unquote(quoted).ok_or("a text has no closing quote")?;
            (Word::Quoted(text), after)
        } else {
            let end = value.find(BLANKS).unwrap_or(value.len());
            (bare(&value[..end])?, &value[end..])
        };
        if !after.is_empty() && !after.starts_with(BLANKS) {
            return Err("something follows a closing quote");
        }
        put(&mut draft, name, word)?;
        rest = after.trim_start_matches(BLANKS);
    }
    Ok(draft)
}

/// The text after a `=`.
enum Word<'a> {
    Bare(&'a str),
    Quoted(Cow<'a, str>),
}

fn put<'a>(draft: &mut Draft<'a>, name: &'a str, word: Word<'a>) -> Result<(), &'static str> {
    let place = match name {
        "sensor" => &mut draft.sensor,
        "time" => &mut draft.time,
        _ => {
            match word {
                Word::Bare("") => {}
                Word::Bare(text @ ("true" | "false")) => {
                    draft.values.push((name.into(), Value::Bool(text == "true")))
                }
                Word::Bare(text) => draft.put_bare(name.into(), text),
                Word::Quoted(text) => draft.values.push((name.into(), Value::Text(text))),
            }
            return Ok(());
        }
    };
    let word: Cow<'a, str> = match word {
        Word::Bare(text) => text.into(),
        Word::Quoted(text) => text,
    };
    if !word.is_empty() && place.replace(word).is_some() {
        Err("sensor or time is named twice")
    } else {
        Ok(())
    }
}

fn bare(value: &str) -> Result<Word<'_>, &'static str> {
    if value.contains(['=', '"']) {
        return Err("a value without quotes has a = or a quote in it");
    }
    if value.ends_with([',', ';']) {
        return Err("pairs are separated by blanks alone, without a comma");
    }
    Ok(Word::Bare(value))
}

/// The text up to the closing quote, and the rest.
fn unquote(quoted: &str) -> Option<(Cow<'_, str>, &str)> {
    let simple = quoted.find(['"', '\\'])?;
    if quoted.as_bytes()[simple] == b'"' {
        return Some((quoted[..simple].into(), &quoted[simple + 1..]));
    }
    let mut text = String::new();
    let mut rest = quoted.char_indices();
    while let Some((at, c)) = rest.next() {
        match c {
            '"' => return Some((text.into(), &quoted[at + 1..])),
            '\\' => match rest.next()?.1 {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                escaped @ ('"' | '\\') => text.push(escaped),
                other => text.extend(['\\', other]),
            },
            c => text.push(c),
        }
    }
    None
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || "_-.:/%()[]".contains(c)
}

const BLANKS: [char; 2] = [' ', '\t'];
