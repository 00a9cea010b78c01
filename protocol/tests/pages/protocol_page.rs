//! `docs/PROTOCOL.md` says what the code does, as far as that can be compared.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::config::{Config, Knobs};
use serde_json::Value;

use crate::answers::{ROLES, recorded};
use crate::source::{core, page, quoted, table, verbs};

const PAGE: &str = "docs/PROTOCOL.md";

#[test]
fn its_functions_exist() {
    let core = core();
    let is_defined = |name: &str| {
        let ends = |rest: &str| rest.starts_with(['(', '<']);
        core.split(&format!("fn {name}")).skip(1).any(ends)
    };
    for path in [PAGE, "ARCHITECTURE.md"] {
        let page = page(path);
        let functions: Vec<&str> =
            quoted(&page).filter_map(|name| name.strip_suffix("()")).collect();
        assert!(functions.len() > 50, "{path}: {functions:?}");
        for name in functions {
            assert!(is_defined(name), "{path}: there is no function {name}()");
        }
    }
}

#[test]
fn the_types_that_pages_name_exist() {
    let core = core();
    let words: BTreeSet<&str> = core.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    for path in [PAGE, "docs/GLOSSARY.md"] {
        let page = page(path);
        let types: Vec<&str> = quoted(&page).filter(|name| is_a_type(name)).collect();
        assert!(types.len() > 20, "{path}: {types:?}");
        for name in types {
            assert!(words.contains(name), "{path}: there is no type {name}");
        }
    }
}

fn is_a_type(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(char::is_alphanumeric)
        && name.contains(|c: char| c.is_ascii_lowercase())
}

#[test]
fn its_verbs_are_those_of_the_wire() {
    let (page, core) = (page(PAGE), core());
    let known = verbs(&core);
    assert!(known.len() > 20, "{known:?}");
    let told: Vec<(u8, String)> = table(&page, "| Code | Verb |")
        .iter()
        .map(|row| (row[0].parse().expect("a code"), row[1].trim_matches('`').to_owned()))
        .collect();
    assert_eq!(told, known);
    let in_roles: Vec<&str> =
        table(&page, "| Verb | Joining |").iter().map(|row| row[0].trim_matches('`')).collect();
    let names: Vec<&str> = known.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(in_roles, names);
}

#[test]
fn its_roles_answer_as_they_are_recorded_to() {
    let (page, core) = (page(PAGE), core());
    let names: Vec<String> = verbs(&core).into_iter().map(|(_, name)| name).collect();
    let said = recorded(&names);
    let mut compared = 0;
    for row in table(&page, "| Verb | Joining |") {
        assert_eq!(row.len(), 1 + ROLES.len(), "{row:?}");
        let verb = row[0].trim_matches('`').to_owned();
        for (role, cell) in ROLES.into_iter().zip(&row[1..]) {
            // The cell to the left says it, too.
            let cell = if *cell == "the same" { row[1] } else { cell };
            let told: BTreeSet<String> = quoted(cell).map(str::to_owned).collect();
            if cell.starts_with("ignores") {
                assert!(told.is_empty(), "{verb} to {role}: ignored, and answered: {cell}");
            }
            if let Some(said) = said.get(&(verb.clone(), role)) {
                compared += 1;
                let untold: Vec<&String> = said.difference(&told).collect();
                assert!(untold.is_empty(), "{verb} to {role}: not told: {untold:?}");
            }
        }
    }
    assert!(compared > 70, "{compared} cells compared");
}

#[test]
fn its_roles_ignore_what_the_code_ignores() {
    let (page, roles) = (page(PAGE), page("protocol/ROLES.md"));
    let told = table(&page, "| Verb | Joining |");
    let known = table(&roles, "| Verb | joining |");
    assert_eq!(told.len(), known.len() + 1, "all but HELLO, which no role hears");
    for row in known {
        let cells = told.iter().find(|cells| cells[0] == row[0]).expect("the verb");
        for (cell, takes) in cells[1..].iter().zip(&row[1..]) {
            if *takes != "**takes**" {
                // What it does may come first: the gate's part, and what builds a log.
                let ignores = format!("ignores: it {takes}");
                assert!(cell.ends_with(&ignores), "{}: {cell}, not {ignores}", row[0]);
            }
        }
    }
}

#[test]
fn its_durations_are_those_of_the_configuration() {
    let page = page(PAGE);
    let values = |knobs: Knobs| serde_json::to_value(knobs).expect("knobs are an object");
    let (default, fast) = (values(Knobs::default()), values(Knobs::fast()));
    let told = table(&page, "| Knob | Default |");
    for row in &told {
        let knob = row[0].trim_matches('`');
        let known = [&default[knob], &fast[knob]].map(Value::as_str);
        assert_eq!([row[1], row[2]].map(Some), known, "{knob}");
    }
    let is_duration =
        |value: &Value| value.as_str().is_some_and(|text| humantime::parse_duration(text).is_ok());
    let durations = default.as_object().expect("an object").values().filter(|v| is_duration(v));
    assert_eq!(told.len(), durations.count(), "every duration is told");

    let derived = |config: &Config, name: &str| match name {
        "witness_timeout" => config.witness_timeout(),
        "round" => config.round(),
        "quorum_timeout" => config.quorum_timeout(),
        "outcome_timeout" => config.outcome_timeout(),
        other => panic!("{other} is derived from nothing"),
    };
    let checked = |knobs: Knobs| Config::try_from(knobs).expect("sound knobs");
    let (default, fast) = (checked(Knobs::default()), checked(Knobs::fast()));
    for row in table(&page, "| Name | Formula |") {
        let name = row[0].trim_matches('`');
        let known = [&default, &fast].map(|config| derived(config, name));
        let told = [row[2], row[3]].map(|text| humantime::parse_duration(text).expect(text));
        assert_eq!(told, known, "{name}");
    }
}

#[test]
fn its_constants_are_those_of_the_code() {
    let (page, core) = (page(PAGE), core());
    for row in table(&page, "| Constant | Value |") {
        let name = row[0].trim_matches('`');
        let found: Vec<&str> = core
            .lines()
            .filter(|line| !line.starts_with(' ') && line.contains(&format!("const {name}:")))
            .filter_map(|line| line.split(" = ").nth(1))
            .collect();
        let [value] = found[..] else { panic!("{name} is defined {} times", found.len()) };
        assert_eq!(row[1], written(value.trim_end_matches(';')), "{name}");
    }
}

/// A value of the source as the page writes it.
fn written(value: &str) -> String {
    let number = |text: &str| text.replace('_', "").parse::<u64>().expect("a whole number");
    let span = |text: &str, unit: fn(u64) -> Duration| {
        let span = unit(number(text.trim_end_matches(')')));
        if span.subsec_millis() == 0 {
            format!("{} s", span.as_secs())
        } else {
            format!("{} ms", span.as_millis())
        }
    };
    if let Some(text) = value.strip_prefix("Duration::from_millis(") {
        return span(text, Duration::from_millis);
    }
    if let Some(text) = value.strip_prefix("Duration::from_secs(") {
        return span(text, Duration::from_secs);
    }
    if let Some(power) = value.strip_prefix("1 << ") {
        return format!("2^{power}");
    }
    let number = match value.split_once(" << ") {
        Some((factor, power)) => number(factor) << number(power),
        None => number(value),
    };
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).expect("digits"))
        .collect();
    groups.join(",")
}

#[test]
fn its_pictures_can_be_drawn_and_its_transcripts_are_there() {
    let page = page(PAGE);
    let pictures: Vec<&str> =
        page.split("```mermaid\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(pictures.len(), 7);
    for picture in pictures {
        assert!(!picture.contains(['#', ';']), "{picture}");
    }
    let transcripts: Vec<String> =
        quoted(&page).filter(|name| name.ends_with(".txt")).map(crate::source::page).collect();
    assert!(transcripts.len() > 4, "a transcript for each story");
}
