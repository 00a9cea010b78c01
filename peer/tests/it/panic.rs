//! A panic, which no known input causes: reported as a bug, and the end of the process.

use std::path::Path;
use std::process::Command;

use log::LevelFilter;
use peer::events::EventFile;
use peer::narrator::Narrator;
use peer::{failure, journal};
use protocol::id::{Incarnation, PeerId};
use protocol::note::{Event, Note};

/// The variable with the event file of the process that panics.
const EVENTS: &str = "PANIC_TEST_EVENTS";

/// The hook ends the process, so the test needs one of its own: this very test, run again with a
/// variable set.
#[test]
fn a_panic_of_any_thread_is_told_three_times_and_ends_the_process() {
    if let Some(events) = std::env::var_os(EVENTS) {
        journal::start(LevelFilter::Info).unwrap();
        let events = EventFile::open(Path::new(&events)).unwrap();
        let narrator =
            Narrator::new(PeerId::new("peer1").unwrap(), Incarnation(1), Some(events), true);
        narrator.tell(Note::Ready);
        narrator.tell_panics(Some(Path::new("inputs/peer1.bin")));
        let outcome = std::thread::spawn(|| panic!("out of cheese")).join();
        unreachable!("the process goes on after a panic: {outcome:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let events = folder.path().join("events.jsonl");
    let own = std::env::current_exe().unwrap();
    let name = "panic::a_panic_of_any_thread_is_told_three_times_and_ends_the_process";
    let output = Command::new(own)
        .args(["--exact", name, "--nocapture"])
        .env(EVENTS, &events)
        .output()
        .unwrap();
    let (log, said) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(failure::BUG.into()), "{log}{said}");
    assert!(said.contains("peer: a bug: out of cheese (") && said.contains("panic.rs:"), "{said}");
    assert!(said.contains("peer: what led to it: peer replay inputs/peer1.bin --trace"), "{said}");
    assert!(log.contains(" ERROR Bug: out of cheese ("), "{log}");
    let text = std::fs::read_to_string(events).unwrap();
    let last: Event = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(
        matches!(&last.note, Note::Panic { message } if message.starts_with("out of cheese"))
            && last.n == 2,
        "{text}"
    );
}
