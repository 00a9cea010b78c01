//! The user's page names every promise with its invariants, and no command that does not exist. The
//! README counts the promises and quotes some.

use std::fs;
use std::path::{Path, PathBuf};

use promises::{BEYOND, CATALOGUE, Demand};

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

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("the README is there")
}

/// The whole numbers that stand right before or behind these words.
fn counts(text: &str, before: &str, behind: &str) -> Vec<usize> {
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    let numbers = text.split(before).skip(1).filter_map(|rest| {
        let number = digits(rest);
        let is_it = !number.is_empty() && rest[number.len()..].starts_with(behind);
        is_it.then(|| number.parse().expect("digits"))
    });
    numbers.collect()
}

#[test]
fn the_readme_counts_the_promises() {
    let readme = readme();
    let laws = CATALOGUE.iter().filter(|promise| promise.demand == Demand::Law).count();
    let levels = CATALOGUE.len() - laws;
    for (before, behind, known) in [
        (" of ", " laws and ", laws),
        (" of ", " service levels held", levels),
        ("\n", " laws: ", laws),
        ("; ", " service levels: ", levels),
        ("; ", " more laws that no history shows", BEYOND.len()),
    ] {
        let told = counts(&readme, before, behind);
        assert!(!told.is_empty(), "the README counts nothing with {behind:?}");
        assert!(told.iter().all(|count| *count == known), "{behind:?}: {told:?}, not {known}");
    }
    let is_none = CATALOGUE.iter().all(|promise| promise.demand.allows(0) == 0);
    let words = readme.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(is_none, words.contains("simulated runs, which is none at present"));
}

#[test]
fn the_readme_quotes_the_promises() {
    let readme = readme();
    let mut quotes = 0;
    for line in readme.lines() {
        let mut words = line.split_whitespace();
        if !matches!(words.next(), Some("held" | "unknown"))
            || !matches!(words.next(), Some("law" | "level"))
        {
            continue;
        }
        let id = words.next().expect("a promise");
        let statement = CATALOGUE.iter().find(|promise| promise.id == id).map(|p| p.statement);
        let beyond = BEYOND.iter().find(|beyond| beyond.id == id).map(|beyond| beyond.why);
        let known = statement.or(beyond).unwrap_or_else(|| panic!("{id} is no promise"));
        let told = line.split("  ").last().expect("words").trim().trim_end_matches(" ...");
        let told = told.trim_start_matches("only the simulator can judge it: ");
        assert!(known.starts_with(told), "{id}: {told:?} is not how {known:?} begins");
        quotes += 1;
    }
    assert!(quotes > 4, "{quotes} quotes");
}
