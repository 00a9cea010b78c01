//! The child processes of `cargo xtask`, tested on the program itself.

use std::fs;
use std::io::{BufRead as _, BufReader};
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

/// Whether that process runs; a zombie does not.
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
