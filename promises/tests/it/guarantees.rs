//! The user's page names every promise, with the invariants that it stands for, and no command that
//! is not there.

use std::fs;
use std::path::{Path, PathBuf};

use promises::{CATALOGUE, Demand};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

fn page() -> String {
    fs::read_to_string(root().join("docs/GUARANTEES.md")).expect("the page is there")
}

/// The cells of the page's table of promises.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let table = page.split("| Promise | Invariants |").nth(1).expect("the table is there");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

#[test]
fn the_page_names_every_promise_as_the_catalogue_does() {
    let page = page();
    let told: Vec<[String; 4]> =
        rows(&page).iter().map(|row| [row[0], row[1], row[2], row[3]].map(str::to_owned)).collect();
    let known: Vec<[String; 4]> = CATALOGUE
        .iter()
        .map(|promise| {
            let invariants = if promise.invariants.is_empty() {
                "–".to_owned()
            } else {
                promise.invariants.join(", ")
            };
            let held_as = match promise.demand {
                Demand::Law => "law".to_owned(),
                Demand::Level { broken_max } => format!("level, {broken_max}"),
            };
            [format!("`{}`", promise.id), invariants, promise.statement.to_owned(), held_as]
        })
        .collect();
    assert_eq!(told, known);
}

#[test]
fn the_page_explains_every_invariant() {
    let page = page();
    let list = page.split("The invariants are those").nth(1).expect("the list is there");
    for number in 1..=22 {
        let word = format!("I{number}");
        assert!(
            list.split(|c: char| !c.is_ascii_alphanumeric()).any(|other| other == word),
            "{word}"
        );
    }
}

#[test]
fn every_scenario_on_the_page_is_there() {
    let page = page();
    let named: Vec<&str> = page
        .split("`cargo xtask scenario ")
        .skip(1)
        .filter_map(|rest| rest.split('`').next())
        .collect();
    assert!(named.len() > CATALOGUE.len() / 2, "{named:?}");
    for name in named.iter().filter(|name| **name != "NAME") {
        let file = root().join("scenarios").join(format!("{name}.toml"));
        assert!(file.exists(), "{}", file.display());
    }
}
