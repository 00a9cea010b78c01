//! The command from outside: its exit codes and its output.

use std::process::{Command, Output};

fn simulator(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simulator"))
        .args(arguments)
        .output()
        .expect("the command runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "takes a while; the judge of `cargo xtask mutants`"]
fn hundreds_of_seeds_pass() {
    let output = simulator(&["run", "--seeds", "300", "--jobs", "1", "--failures", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_sweep_says_what_it_saw() {
    let output = simulator(&["run", "--seeds", "40"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for words in [
        "40 seeds and ",
        " events a second, ",
        "an election after the first in ",
        "frames lost ",
        "vetoes ",
        "0 seeds failed",
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
}

#[test]
fn a_sweep_for_programs_says_which_seeds_broke_what_and_how_many_were_run() {
    for until in [&["--until"][..], &["--until", "fifo,gap-free"]] {
        let output = simulator(&[&["run", "--seeds", "20"], until].concat());
        assert_eq!((output.status.code(), text(&output).as_str()), (Some(0), "20 seeds run\n"));
    }
}

#[test]
fn one_seed_is_one_run() {
    let output = simulator(&["run", "--seeds", "20", "--from", "1000", "--check"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn a_plan_can_be_kept_and_replayed() {
    let plan = text(&simulator(&["plan", "--seed", "7"]));
    let file = std::env::temp_dir().join(format!("simulator-plan-{}.toml", std::process::id()));
    std::fs::write(&file, &plan).unwrap();
    let kept = simulator(&["replay", "--plan", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    let seed = simulator(&["replay", "--seed", "7"]);
    assert_eq!(text(&kept), text(&seed));
    assert_eq!(kept.status.code(), Some(0), "{}", text(&kept));
    let traced = text(&simulator(&["replay", "--seed", "7", "--trace"]));
    assert!(
        traced.contains("became the Group Leader via election."),
        "a trace tells what happened"
    );
}

#[test]
fn a_token_names_a_seed_and_what_it_drew() {
    let plan = text(&simulator(&["plan", "--seed", "7"]));
    let token = simulator::plan::Plan::drawn(7).token();
    assert_eq!(plan.trim_end(), simulator::plan::Plan::drawn(7).text().trim_end());
    let replayed = simulator(&["replay", &token]);
    assert_eq!(text(&replayed), text(&simulator(&["replay", "--seed", "7"])));
    let changed = simulator(&["replay", "S1-7-00000000"]);
    assert_eq!(changed.status.code(), Some(65));
    let words = String::from_utf8_lossy(&changed.stderr).into_owned();
    assert!(words.contains("the generator has changed") && words.contains(&token), "{words}");
    assert_eq!(simulator(&["replay", "seven"]).status.code(), Some(65));
    assert_eq!(simulator(&["replay", &token, "--seed", "7"]).status.code(), Some(64));
}

#[test]
fn mistakes_have_their_own_exit_codes() {
    assert_eq!(simulator(&["run", "--seeds", "many"]).status.code(), Some(64));
    assert_eq!(simulator(&["run", "--until", "fifo", "--failures", "3"]).status.code(), Some(64));
    assert_eq!(simulator(&["replay"]).status.code(), Some(64));
    assert_eq!(simulator(&["--help"]).status.code(), Some(0));
    let missing = simulator(&["replay", "--plan", "no-such-plan.toml"]);
    assert_eq!(missing.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no-such-plan.toml"));
}
