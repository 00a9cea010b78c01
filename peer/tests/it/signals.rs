//! Signals: what was ignored stays ignored, what comes together counts once, and SIGHUP opens files
//! anew.

use std::process::Command;

use nix::sys::signal::Signal;
use protocol::note::Note;

use crate::bench::{Bench, PEER, until};

#[test]
fn what_was_ignored_at_the_start_stays_ignored() {
    let bench = Bench::new();
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP INT; exec \"$0\" \"$@\"", PEER]);
    let mut one = bench.start_as(shell, "peer1", &[]);
    until("it to lead", || one.members() == 1);
    let status = std::fs::read_to_string(format!("/proc/{}/status", one.child.id())).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    let caught = u64::from_str_radix(mask.trim(), 16).unwrap();
    assert_eq!(caught & 0b11, 0, "it has no handler for SIGHUP (1) and SIGINT (2): {mask}");
    [Signal::SIGHUP, Signal::SIGINT].iter().for_each(|signal| one.signal(*signal));
    one.signal(Signal::SIGTERM);
    assert!(one.wait().success());
    assert!(one.log().contains("left the group") && !one.log().contains("SIGHUP"), "{}", one.log());
}

#[test]
fn two_signals_of_one_moment_are_one_request() {
    let bench = Bench::new();
    let mut leads = bench.start("peer2", &[]);
    until("it to lead", || leads.members() == 1);
    for _ in 0..3 {
        let mut one = bench.start("peer1", &[]);
        until("one view", || one.members() == 2 && leads.members() == 2);
        one.signal(Signal::SIGINT);
        one.signal(Signal::SIGTERM);
        assert!(one.wait().success());
        let last = one.events().pop().unwrap().note;
        assert!(
            matches!(&last, Note::Stop { reason } if reason.contains("left the group")),
            "{last:?}"
        );
        until("it to be gone", || leads.members() == 1);
    }
    leads.signal(Signal::SIGTERM);
    assert!(leads.wait().success());
}

#[test]
fn a_hang_up_opens_the_event_file_anew_and_ends_nothing() {
    let bench = Bench::new();
    let mut one = bench.start("peer1", &[]);
    until("it to lead", || one.members() == 1);
    let aside = bench.path("aside.jsonl");
    std::fs::rename(&one.events, &aside).unwrap();
    one.signal(Signal::SIGHUP);
    until("it to have a new file", || one.events.exists());
    one.signal(Signal::SIGTERM);
    assert!(one.wait().success());
    assert!(matches!(one.events().pop().unwrap().note, Note::Stop { .. }));
    assert!(std::fs::read_to_string(&aside).unwrap().contains("\"ev\":\"start\""));
}
