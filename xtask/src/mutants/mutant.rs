//! One change of the core in one place, as `cargo-mutants` lists it.

use serde_json::Value;

/// A place in a page: line and column, both from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// From a place up to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: Place,
    pub(crate) end: Place,
}

/// A change: what is replaced, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mutant {
    /// Its place in the list, from 1.
    pub(crate) number: usize,
    /// File, place and change, in words.
    pub(crate) name: String,
    /// The page, relative to the checkout.
    pub(crate) file: String,
    /// The function around it, including everything before its name.
    pub(crate) function: Span,
    /// The replaced text.
    pub(crate) span: Span,
    pub(crate) replacement: String,
}

/// Reads a list; a mutant outside of any function is an error that names it.
pub(crate) fn read(list: &str) -> Result<Vec<Mutant>, String> {
    let list: Vec<Value> = serde_json::from_str(list).map_err(|error| error.to_string())?;
    let mutant = |(index, value): (usize, &Value)| {
        let name = value["name"].as_str().unwrap_or_default().to_owned();
        let read = || {
            Some(Mutant {
                number: index + 1,
                name: name.clone(),
                file: value["file"].as_str()?.to_owned(),
                function: span(&value["function"]["span"])?,
                span: span(&value["span"])?,
                replacement: value["replacement"].as_str()?.to_owned(),
            })
        };
        read().ok_or_else(|| format!("`{name}` is in no function"))
    };
    list.iter().enumerate().map(mutant).collect()
}

fn span(value: &Value) -> Option<Span> {
    let place = |value: &Value| {
        let number =
            |key: &str| value[key].as_u64().and_then(|number| usize::try_from(number).ok());
        Some(Place { line: number("line")?, column: number("column")? })
    };
    Some(Span { start: place(&value["start"])?, end: place(&value["end"])? })
}

#[cfg(test)]
mod tests {
    use super::{Mutant, Place, Span, read};

    #[test]
    fn a_list_is_read() {
        let span = r#"{"start": {"line": 2, "column": 3}, "end": {"line": 2, "column": 5}}"#;
        let entry = format!(
            r#"{{"name": "n", "file": "f.rs", "function": {{"span": {span}}}, "span": {span}, "replacement": "&&"}}"#
        );
        let place = Span { start: Place { line: 2, column: 3 }, end: Place { line: 2, column: 5 } };
        let wanted = Mutant {
            number: 1,
            name: "n".into(),
            file: "f.rs".into(),
            function: place,
            span: place,
            replacement: "&&".into(),
        };
        assert_eq!(read(&format!("[{entry}]")), Ok(vec![wanted]));
        let outside = format!(
            r#"[{{"name": "n", "file": "f.rs", "function": null, "span": {span}, "replacement": "&&"}}]"#
        );
        assert_eq!(read(&outside), Err("`n` is in no function".to_owned()));
        assert!(read("no list").is_err());
    }
}
