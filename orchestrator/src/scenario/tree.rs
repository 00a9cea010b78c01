//! Walks the TOML tree with its spans. Every key is read by name, so a key that was never read is
//! unknown and refused, and every leaf with a wrong type is reported with its place. Mistakes are
//! collected; none ends the walk.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostics, Placed, Span};
use super::references::Mentions;
use super::span_of_time::SpanOfTime;

/// The state of a walk.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    /// The mistakes so far.
    pub(crate) diagnostics: Diagnostics,
    /// What `${name}` is replaced by.
    pub(crate) variables: &'a BTreeMap<String, String>,
    /// The references so far.
    pub(crate) mentions: Mentions,
}

/// One table, and the keys that were read.
#[derive(Debug)]
pub(crate) struct TomlTable<'t, 'i> {
    table: &'t DeTable<'i>,
    /// Where it stands.
    pub(crate) span: Span,
    asked: RefCell<BTreeSet<&'static str>>,
}

/// One value and its place in the tree.
pub(crate) type Value<'i> = Spanned<DeValue<'i>>;

impl<'t, 'i> TomlTable<'t, 'i> {
    pub(crate) fn new(table: &'t DeTable<'i>, span: Span) -> Self {
        Self { table, span, asked: RefCell::default() }
    }

    /// The value under a key, which counts as known from now on.
    pub(crate) fn get(&self, key: &'static str) -> Option<&'t Value<'i>> {
        self.asked.borrow_mut().insert(key);
        self.table.get(key)
    }

    /// Where a key itself stands.
    pub(crate) fn key_span(&self, key: &str) -> Span {
        self.table.get_key_value(key).map_or_else(|| self.span.clone(), |(key, _)| key.span())
    }

    /// Refuses every key that was not read.
    pub(crate) fn refuse_the_rest(&self, walk: &mut Walk<'_>) {
        let asked = self.asked.borrow();
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if !asked.contains(name) {
                walk.diagnostics
                    .error("S002", &key.span(), format!("unknown key `{name}`"))
                    .suggest(name, asked.iter().copied());
            }
        }
    }

    /// A string under a key.
    pub(crate) fn string(&self, key: &'static str, walk: &mut Walk<'_>) -> Option<Placed<String>> {
        walk.string(self.get(key)?)
    }

    /// A duration under a key.
    pub(crate) fn duration(
        &self,
        key: &'static str,
        walk: &mut Walk<'_>,
    ) -> Option<Placed<SpanOfTime>> {
        walk.duration(self.get(key)?)
    }

    /// A duration under a key; zero is refused as a mistake.
    pub(crate) fn positive_duration(
        &self,
        key: &'static str,
        walk: &mut Walk<'_>,
    ) -> Option<Placed<SpanOfTime>> {
        walk.positive_duration(self.get(key)?)
    }

    /// A whole number from `least` to `most` under a key.
    pub(crate) fn count(
        &self,
        key: &'static str,
        least: u64,
        most: u64,
        walk: &mut Walk<'_>,
    ) -> Option<Placed<u64>> {
        walk.count(self.get(key)?, least, most)
    }

    /// A table under a key.
    pub(crate) fn table(&self, key: &'static str, walk: &mut Walk<'_>) -> Option<Self> {
        walk.table(self.get(key)?)
    }

    /// An array of tables under a key; empty if there is none.
    pub(crate) fn tables(&self, key: &'static str, walk: &mut Walk<'_>) -> Vec<Self> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            walk.wrong_type(value, &format!("an array of tables: write [[{key}]]"));
            return Vec::new();
        };
        items.iter().filter_map(|item| walk.table(item)).collect()
    }

    /// Every key and value, for tables whose keys are names.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Placed<String>, &'t Value<'i>)> {
        self.table.iter().map(|(key, value)| {
            (Placed { value: key.get_ref().to_string(), span: key.span() }, value)
        })
    }
}

impl<'a> Walk<'a> {
    pub(crate) fn new(diagnostics: Diagnostics, variables: &'a BTreeMap<String, String>) -> Self {
        Self { diagnostics, variables, mentions: Mentions::default() }
    }
}

impl Walk<'_> {
    /// Reports that a value has a wrong type.
    pub(crate) fn wrong_type(&mut self, value: &Value<'_>, expected: &str) {
        let got = value.get_ref().type_str();
        self.diagnostics
            .error("S003", &value.span(), format!("expected {expected}"))
            .label(format!("this is {}", article(got)));
    }

    /// A string, its variables replaced.
    pub(crate) fn string(&mut self, value: &Value<'_>) -> Option<Placed<String>> {
        let DeValue::String(text) = value.get_ref() else {
            self.wrong_type(value, "a string");
            return None;
        };
        let value_text = self.substitute(text, &value.span())?;
        Some(Placed { value: value_text, span: value.span() })
    }

    /// A list of strings, or one string alone.
    pub(crate) fn strings(&mut self, value: &Value<'_>) -> Option<Vec<Placed<String>>> {
        match value.get_ref() {
            DeValue::String(_) => self.string(value).map(|one| vec![one]),
            DeValue::Array(items) => items.iter().map(|item| self.string(item)).collect(),
            _ => {
                self.wrong_type(value, "a string or a list of strings");
                None
            }
        }
    }

    /// A whole number, as a number or as a variable that stands for one.
    pub(crate) fn count(
        &mut self,
        value: &Value<'_>,
        least: u64,
        most: u64,
    ) -> Option<Placed<u64>> {
        let number = match value.get_ref() {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
            DeValue::String(_) => self.string(value)?.value.parse().ok(),
            _ => None,
        };
        let number = number
            .and_then(|number| u64::try_from(number).ok())
            .filter(|number| (least..=most).contains(number));
        if number.is_none() {
            let bounds = if most == u64::MAX {
                format!("{least} or more")
            } else {
                format!("{least} to {most}")
            };
            self.diagnostics.error(
                "S005",
                &value.span(),
                format!("expected a whole number, {bounds}"),
            );
        }
        Some(Placed { value: number?, span: value.span() })
    }

    /// A duration expression.
    pub(crate) fn duration(&mut self, value: &Value<'_>) -> Option<Placed<SpanOfTime>> {
        let text = self.string(value)?;
        self.duration_text(&text.value, &text.span).map(|value| Placed { value, span: text.span })
    }

    /// The same; zero is refused as a mistake.
    pub(crate) fn positive_duration(&mut self, value: &Value<'_>) -> Option<Placed<SpanOfTime>> {
        let found = self.duration(value)?;
        if found.value.is_zero() {
            self.diagnostics
                .error("S022", &found.span, "no time at all")
                .help("nothing can happen in that; for example \"10s\"");
            return None;
        }
        Some(found)
    }

    /// A duration expression that is a piece of a string.
    pub(crate) fn duration_text(&mut self, text: &str, span: &Span) -> Option<SpanOfTime> {
        match SpanOfTime::parse(text) {
            Ok(parsed) if parsed.is_absurd() => {
                self.diagnostics
                    .error("S022", span, "longer than a day")
                    .help("is it the unit? Units: ms, s, min");
                None
            }
            Ok(parsed) => Some(parsed),
            Err(error) => {
                let found = self.diagnostics.error("S006", span, error.to_string());
                if let Some(near) = error.near {
                    found.label(format!("did you mean `{near}`?"));
                }
                None
            }
        }
    }

    /// Two durations with `..` between them, the least and the most; one alone is both.
    pub(crate) fn range_of_time(
        &mut self,
        text: &Placed<String>,
    ) -> Option<(SpanOfTime, SpanOfTime)> {
        match text.value.split_once("..") {
            Some((least, most)) => Some((
                self.duration_text(least, &text.span)?,
                self.duration_text(most, &text.span)?,
            )),
            None => self.duration_text(&text.value, &text.span).map(|both| (both.clone(), both)),
        }
    }

    /// A table.
    pub(crate) fn table<'t, 'i>(&mut self, value: &'t Value<'i>) -> Option<TomlTable<'t, 'i>> {
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_type(value, "a table");
            return None;
        };
        Some(TomlTable::new(table, value.span()))
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(
        &mut self,
        word: &Placed<String>,
        known: &[(&'static str, T)],
    ) -> Option<T> {
        let found = known.iter().find(|(name, _)| *name == word.value);
        if found.is_none() {
            let names = known.iter().map(|(name, _)| *name);
            self.diagnostics
                .error("S005", &word.span, format!("unknown word `{}`", word.value))
                .suggest(&word.value, names);
        }
        found.map(|(_, value)| *value)
    }

    /// Reports a missing key.
    pub(crate) fn missing(&mut self, span: &Span, key: &str, example: &str) {
        self.diagnostics
            .error("S004", span, format!("`{key}` is missing"))
            .help(format!("for example: {example}"));
    }

    /// A text with its variables replaced.
    pub(crate) fn substitute(&mut self, text: &str, span: &Span) -> Option<String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let Some(end) = rest[start..].find('}') else { break };
            let name = &rest[start + 2..start + end];
            out.push_str(&rest[..start]);
            let Some(value) = self.variables.get(name) else {
                let known: Vec<&str> = self.variables.keys().map(String::as_str).collect();
                let found = self.diagnostics.error(
                    "S013",
                    span,
                    format!("`${{{name}}}` stands for nothing"),
                );
                if known.is_empty() {
                    found.help("variables are the keys of [matrix]");
                } else {
                    found.suggest(name, known);
                }
                return None;
            };
            out.push_str(value);
            rest = &rest[start + end + 1..];
        }
        out.push_str(rest);
        Some(out)
    }
}

fn article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}
