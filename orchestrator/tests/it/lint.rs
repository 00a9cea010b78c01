//! What the linter says, word for word: every `tests/lint/*.toml` beside its `*.txt`. `UPDATE=1`
//! rewrites the texts, and the difference is what gets reviewed.

use std::fs;
use std::path::{Path, PathBuf};

use orchestrator::scenario::diagnostic::{Diagnostic, Source};
use orchestrator::scenario::{Cell, Profile, Scenario, cells, parse};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn scenarios(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds no scenario", folder.display());
    files
}

fn source(path: &Path) -> Source {
    // Named without its folder, so that the texts do not depend on where the checkout lies.
    Source::new(Path::new(path.file_name().unwrap()), fs::read_to_string(path).unwrap())
}

fn read(source: &Source) -> Result<(Scenario, Vec<Diagnostic>), Vec<Diagnostic>> {
    let cell = cells(source)?.into_iter().next().unwrap();
    parse(source, &cell, None)
}

#[test]
fn mistakes_are_told_word_for_word() {
    for path in scenarios(&root().join("tests/lint")) {
        let source = source(&path);
        let found = match read(&source) {
            Ok((_, warnings)) => warnings,
            Err(found) => found,
        };
        let told: String = found.iter().map(|one| one.render(&source, false) + "\n\n").collect();
        let expected = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&expected, &told).unwrap();
        }
        let text = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(
            told,
            text,
            "{}: run with UPDATE=1 and review the difference",
            expected.display()
        );
    }
}

#[test]
fn every_scenario_of_the_project_is_sound() {
    for path in scenarios(&root().join("../scenarios")) {
        let source = source(&path);
        let (scenario, warnings) =
            read(&source).unwrap_or_else(|found| panic!("{}", found[0].render(&source, false)));
        assert!(warnings.is_empty(), "{}", warnings[0].render(&source, false));
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert_eq!(scenario.name, stem);
    }
}

#[test]
fn the_default_variants_run_with_the_default_knobs() {
    for name in ["leader_election_default", "fail_stop_member_default"] {
        let source = source(&root().join("../scenarios").join(name).with_extension("toml"));
        let (scenario, _) = read(&source).unwrap();
        assert_eq!(scenario.cluster.profile, Profile::Default);
        assert_eq!(scenario.cluster.knobs, protocol::config::Knobs::default());
    }
}

#[test]
fn a_matrix_makes_a_case_of_every_combination() {
    let text = "[scenario]\nname = 'm'\n[matrix]\nn = ['2', '3']\ntiming = ['fast', \
                'default']\n[cluster]\npeers = '${n}'\ntiming = '${timing}'\n";
    let source = Source::new(Path::new("m.toml"), text.to_owned());
    let all: Vec<Cell> = cells(&source).unwrap();
    assert_eq!(all.len(), 4);
    let made: Vec<(usize, Profile)> = all
        .iter()
        .map(|cell| {
            let (scenario, _) = parse(&source, cell, None).unwrap();
            let orchestrator::scenario::Ids::Given(ids) = scenario.cluster.ids else {
                panic!("ids are numbered")
            };
            (ids.len(), scenario.cluster.profile)
        })
        .collect();
    assert_eq!(
        made,
        [(2, Profile::Fast), (2, Profile::Default), (3, Profile::Fast), (3, Profile::Default)]
    );
}
