//! The map of the workspace (`ARCHITECTURE.md`) draws what the manifests say, names files that are
//! there, and gives its decisions one form.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A file of the workspace.
fn page(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

type Arrows = BTreeSet<(String, String)>;

/// The dependencies of the members of the workspace on each other, and those that only tests have.
fn dependencies() -> (Arrows, Arrows) {
    let root: toml::Table = page("Cargo.toml").parse().expect("a manifest");
    let members: Vec<&str> = root["workspace"]["members"]
        .as_array()
        .expect("the list of members")
        .iter()
        .map(|m| m.as_str().expect("a name"))
        .collect();
    let (mut all, mut tests) = (Arrows::new(), Arrows::new());
    for member in &members {
        let manifest: toml::Table =
            page(&format!("{member}/Cargo.toml")).parse().expect("a manifest");
        for (section, arrows) in [("dependencies", &mut all), ("dev-dependencies", &mut tests)] {
            let names = manifest.get(section).and_then(toml::Value::as_table);
            let names = names.into_iter().flat_map(toml::Table::keys);
            arrows.extend(
                names
                    .filter(|name| members.contains(&name.as_str()))
                    .map(|name| ((*member).to_owned(), name.clone())),
            );
        }
    }
    let tests = tests.difference(&all).cloned().collect();
    (all, tests)
}

/// Without those that others imply.
fn needed(arrows: &Arrows) -> Arrows {
    let mut below: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    // A chain of dependencies is no longer than there are members.
    for _ in 0..arrows.len() {
        for (from, to) in arrows {
            let further = below.get(to.as_str()).cloned().unwrap_or_default();
            let reached = below.entry(from).or_default();
            reached.insert(to);
            reached.extend(further);
        }
    }
    let is_implied = |from: &str, to: &str| {
        let others = arrows.iter().filter(|(other, middle)| other == from && middle != to);
        others.into_iter().any(|(_, middle)| {
            below.get(middle.as_str()).is_some_and(|reached| reached.contains(to))
        })
    };
    arrows.iter().filter(|(from, to)| !is_implied(from, to)).cloned().collect()
}

#[test]
fn the_map_draws_the_dependencies_of_the_crates() {
    let map = page("ARCHITECTURE.md");
    let picture = map.split("flowchart TD\n").nth(1).unwrap().split("```").next().unwrap();
    let drawn = |arrow: &str| -> Arrows {
        let arrows = picture.lines().filter_map(|line| line.trim().split_once(arrow));
        arrows.map(|(from, to)| (from.to_owned(), to.to_owned())).collect()
    };
    let (all, tests) = dependencies();
    assert_eq!(drawn(" --> "), needed(&all));
    assert_eq!(drawn(" -.-> "), tests);
}

#[test]
fn the_decisions_have_one_form_and_name_plans_that_are_there() {
    let map = page("ARCHITECTURE.md");
    let decisions = map.split("## Fifteen decisions\n").nth(1).unwrap();
    let decisions = decisions.split("\n## ").next().unwrap();
    let each: Vec<&str> = decisions.split("\n### ").skip(1).collect();
    assert_eq!(each.len(), 15);
    for (place, decision) in each.iter().enumerate() {
        assert!(decision.starts_with(&format!("{}. ", place + 1)), "{decision}");
        let labels: Vec<&str> =
            decision.split("\n- **").skip(1).filter_map(|rest| rest.split("**").next()).collect();
        assert_eq!(
            labels,
            ["Problem.", "Rule.", "Rejected.", "Enforced.", "Revisit."],
            "{decision}"
        );
        let enforced =
            decision.split("- **Enforced.**").nth(1).unwrap().split("\n- **").next().unwrap();
        let is_a_plan = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        for plan in enforced.split('`').skip(1).step_by(2).filter(is_a_plan) {
            // Panics where it is not there.
            page(&format!("simulator/regressions/{plan}.toml"));
        }
    }
}

#[test]
fn the_files_that_pages_name_are_there() {
    let files = sources(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
    assert!(files.len() > 100, "{} files", files.len());
    for path in ["ARCHITECTURE.md", "README.md", "docs/PROTOCOL.md", "docs/GUARANTEES.md"] {
        let page = page(path);
        let named = page.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs"));
        for name in named {
            let is_it = |file: &&String| file.ends_with(&format!("/{name}"));
            assert!(files.iter().any(|file| is_it(&file)), "{path}: there is no {name}");
        }
    }
}

/// Every Rust file below a folder, as a path that begins with a slash.
fn sources(root: &Path) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the workspace") {
            let path = entry.expect("an entry of it").path();
            if path.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let below = path.strip_prefix(root).expect("it was found below the root");
                found.push(format!("/{}", below.display()));
            }
        }
    }
    found
}
