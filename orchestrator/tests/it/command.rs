//! The command line: exit codes and what it refuses. Nothing is started here.

use std::process::{Command, Output};

fn orchestrator(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_orchestrator")).args(arguments).output().unwrap()
}

#[track_caller]
fn check(arguments: &[&str], code: i32, words: &str) {
    let output = orchestrator(arguments);
    let told = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{told}");
    assert!(told.contains(words), "{told}");
}

const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios");
const MISTAKES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lint/many_mistakes.toml");

#[test]
fn usage_is_64_and_help_is_0() {
    check(&["--help"], 0, "Exit codes: 0 pass");
    check(&["rnu"], 64, "unrecognized subcommand");
    check(&["run", "--seed", "many"], 64, "invalid value");
    check(&["list", SCENARIOS, "--tag", "no-such-tag"], 64, "no scenario is left");
}

#[test]
fn a_bad_file_is_65_and_tells_every_mistake() {
    check(&["check", MISTAKES], 65, "did you mean `heartbeats`?");
    check(&["check", MISTAKES], 65, "unknown key `abuot`");
    check(&["run", MISTAKES], 65, "many_mistakes.toml");
    check(&["check", "/no/such/file.toml"], 65, "/no/such/file.toml");
}

#[test]
fn no_peer_is_69_and_names_the_command_that_makes_one() {
    let file = format!("{SCENARIOS}/three_peers.toml");
    check(&["run", &file, "--peer", "/no/such/peer"], 69, "cargo build --package peer");
    // A program that is there and is something else.
    check(&["run", &file, "--peer", "/bin/true"], 69, "does not say that it is one");
}

#[test]
fn scenarios_are_listed_and_planned() {
    check(&["list", SCENARIOS, "--tag", "demo"], 0, "three_peers");
    check(&["check", SCENARIOS], 0, "no errors");
    let file = format!("{SCENARIOS}/leader_election.toml");
    check(&["plan", &file], 0, "heartbeat_timeout 500.0 ms");
    check(&["plan", &file, "--timing", "default"], 0, "heartbeat_timeout 10.000 s");
}

#[test]
fn an_answer_that_cannot_be_written_is_74() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios");
    let file = format!("{folder}/leader_election.toml");
    for arguments in
        [&["--help"][..], &["--version"], &["check", folder], &["list", folder], &["plan", &file]]
    {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (reader, closed) = std::io::pipe().unwrap();
        drop(reader);
        for output in [std::process::Stdio::from(full), closed.into()] {
            let output = Command::new(env!("CARGO_BIN_EXE_orchestrator"))
                .args(arguments)
                .stdout(output)
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(74), "{arguments:?}: {output:?}");
            assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
        }
    }
}
