//! What `cargo xtask` owes the processes it starts, tried on the program itself; and what the map
//! of the workspace owes the workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const XTASK: &str = env!("CARGO_BIN_EXE_xtask");

#[test]
fn a_child_becomes_what_it_is_meant_to_be() {
    let status = Command::new(XTASK)
        .args(["child", &std::process::id().to_string(), "--", "sh", "-c", "exit 7"])
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(7));
}

#[test]
fn a_child_of_a_dead_parent_does_not_begin() {
    let status = Command::new(XTASK)
        .args(["child", "1", "--", "sh", "-c", "exit 0"])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(130));
}

#[test]
fn a_child_does_not_outlive_its_parent() {
    let script = r#""$0" child $$ -- sh -c 'echo $$; exec sleep 1000' & wait"#;
    let mut parent =
        Command::new("sh").args(["-c", script, XTASK]).stdout(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(parent.stdout.take().unwrap()).lines();
    let child = told.next().unwrap().unwrap();
    parent.kill().unwrap();
    parent.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while lives(&child) {
        assert!(Instant::now() < deadline, "{child} still runs");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Whether that process runs; one that nobody has reaped yet does not.
fn lives(pid: &str) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z')
}

#[test]
fn mistakes_are_told_and_are_64() {
    for arguments in [
        &["dance"][..],
        &["scenario"],
        &["scenario", "no_such_story"],
        &["bench"],
        &["mutants", "--deep"],
    ] {
        let output = Command::new(XTASK).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    let output = Command::new(XTASK).args(["scenario", "no_such_story"]).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        words.contains("no scenario `no_such_story`") && words.contains("leader_election"),
        "{words}"
    );
}

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
