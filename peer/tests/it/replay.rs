//! A recording is true: real groups are recorded, and replayed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Output};

use nix::sys::signal::Signal;
use peer::inputs::{Entry, Reader};
use peer::replay::Twin;
use protocol::note::{Event, Note};
use serde_json::Value;

use crate::bench::{Bench, Running, until};

/// A peer that is recorded, and is fed lines.
struct Recorded {
    running: Running,
    stdin: ChildStdin,
    inputs: PathBuf,
}

impl Recorded {
    fn start(bench: &Bench, id: &str) -> Self {
        let (inputs, data) = (bench.path(&format!("{id}.bin")), bench.path(&format!("{id}.data")));
        let flags = [
            "--inputs",
            inputs.to_str().unwrap(),
            "--data-dir",
            data.to_str().unwrap(),
            "--sensor",
            "stdin",
        ];
        let mut running = bench.start(id, &flags);
        let stdin = running.child.stdin.take().unwrap();
        Self { running, stdin, inputs }
    }

    fn publish(&mut self, lines: std::ops::Range<u32>) {
        lines.for_each(|number| writeln!(self.stdin, "DATA|line|t|n={number}").unwrap());
    }
}

/// The facts in a recording, each with the number of the node's inputs by then; a list for each
/// life.
fn retold(inputs: &Path) -> Vec<Vec<(u64, Value)>> {
    let mut reader = Reader::open(inputs).unwrap();
    let mut twin: Option<Twin> = None;
    let (mut lives, mut given) = (Vec::new(), 0);
    while let Some(entry) = reader.next_entry().unwrap() {
        let notes = match entry {
            Entry::Life(life) => {
                lives.push(Vec::new());
                twin.insert(Twin::new(life).unwrap()).first_notes()
            }
            Entry::Told { note, .. } => vec![*note],
            Entry::Given { at, input, .. } => {
                given += 1;
                let twin = twin.as_mut().unwrap();
                twin.give(at, input).iter().flat_map(|output| twin.notes_of(output)).collect()
            }
        };
        lives
            .last_mut()
            .unwrap()
            .extend(notes.iter().map(|note| (given, serde_json::to_value(note).unwrap())));
    }
    lives
}

/// A recording contains the same facts as the events, life by life. A killed peer may have handled
/// one more input than its events show.
#[track_caller]
pub(crate) fn check_retold(events: &[Event], inputs: &Path) {
    let facts: Vec<Value> =
        events.iter().map(|event| serde_json::to_value(&event.note).unwrap()).collect();
    let told: Vec<&[Value]> = facts.chunk_by(|_, next| next["ev"] != "start").collect();
    let retold = retold(inputs);
    assert_eq!(told.len(), retold.len(), "lives");
    for (told, retold) in told.iter().zip(&retold) {
        for (told, (given, retold)) in told.iter().zip(retold) {
            assert_eq!(told, retold, "by input {given}");
        }
        let last = retold.last().unwrap().0;
        let unsaid = &retold[told.len()..];
        assert!(unsaid.iter().all(|(given, _)| *given == last), "{unsaid:?}");
        assert!(
            unsaid.is_empty() || told.last().unwrap()["ev"] != "stop",
            "an orderly end leaves nothing unsaid"
        );
    }
}

fn replay(bench: &Bench, inputs: &Path, flags: &[&str]) -> Output {
    bench.command(&[&["replay", inputs.to_str().unwrap()], flags].concat()).output().unwrap()
}

/// Lines of a log without their times.
fn words(log: &[u8]) -> Vec<String> {
    let text = String::from_utf8(log.to_vec()).unwrap();
    text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

#[test]
fn a_replay_tells_what_the_run_told() {
    let bench = Bench::new();
    let mut group = ["peer1", "peer2", "peer3"].map(|id| Recorded::start(&bench, id));
    until("one view", || group.iter().all(|one| one.running.members() == 3));
    group.iter_mut().for_each(|one| one.publish(0..50));
    until("everything to be delivered", || {
        group.iter().all(|one| one.running.delivered().len() == 150)
    });
    let leader = bench.report("peer1").unwrap().status.leader.unwrap();
    let at = ["peer1", "peer2", "peer3"].iter().position(|id| *id == leader.as_str()).unwrap();
    group[at].running.signal(Signal::SIGKILL);
    group[at].running.wait();
    let mut stayed: Vec<&mut Recorded> = group
        .iter_mut()
        .enumerate()
        .filter(|(index, _)| *index != at)
        .map(|(_, one)| one)
        .collect();
    until("a view without the leader", || stayed.iter().all(|one| one.running.members() == 2));
    stayed.iter_mut().for_each(|one| one.publish(50..100));
    until("the rest to be delivered", || {
        stayed.iter().all(|one| one.running.delivered().len() == 250)
    });
    for one in &mut stayed {
        one.running.signal(Signal::SIGTERM);
        assert!(one.running.wait().success());
        check_retold(&one.running.events(), &one.inputs);
        let output = replay(&bench, &one.inputs, &[]);
        assert_eq!(
            (output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()),
            (Some(0), "")
        );
        assert!(
            words(&output.stdout) == words(one.running.log().as_bytes()),
            "log of {}",
            one.inputs.display()
        );
    }
    let killed = &group[at];
    assert!(killed.running.delivered().len() == 150);
    check_retold(&killed.running.events(), &killed.inputs);
}

#[test]
fn a_trace_shows_each_step_and_ends_where_it_is_told_to() {
    let bench = Bench::new();
    let mut one = Recorded::start(&bench, "peer1");
    until("it to lead", || one.running.members() == 1);
    one.publish(0..3);
    until("three readings", || one.running.delivered().len() == 3);
    one.running.signal(Signal::SIGKILL);
    one.running.wait();
    let trace = |flags: &[&str]| {
        let output = replay(&bench, &one.inputs, &[&["--trace"], flags].concat());
        assert_eq!(output.status.code(), Some(0));
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (all, _) = trace(&[]);
    for line in [
        "<- wake",
        "<- publish DATA|line|t|n=2",
        "-> [*] NEW_PEER_REQUEST:peer1",
        "-- Delivered #4: DATA|line|t|n=2",
    ] {
        assert!(all.contains(line), "{line:?} is not in\n{all}");
    }
    // They may have been read one by one or together.
    let last = [
        "-> reading 3 is ordered",
        "-> readings 1 to 3 are ordered",
        "-> readings 2 to 3 are ordered",
    ];
    assert!(
        last.iter().any(|line| all.contains(line)),
        "the last reading is not ordered in\n{all}"
    );
    let (start, remark) = trace(&["--until", "2"]);
    assert!(all.starts_with(&start) && start.contains("#2 ") && !start.contains("#3 "), "{start}");
    assert!(remark.contains("stopped behind input 2"), "{remark}");
}

#[test]
fn a_peer_that_comes_back_adds_a_life_and_a_torn_record_is_said() {
    let bench = Bench::new();
    for life in 1..=2 {
        let mut one = Recorded::start(&bench, "peer1");
        let starts =
            || one.running.events().iter().filter(|event| event.note == Note::Ready).count();
        until("it to be ready", || starts() == life);
        one.running.signal(Signal::SIGTERM);
        assert!(one.running.wait().success());
        // Half a record, as after a kill.
        let mut file = std::fs::OpenOptions::new().append(true).open(&one.inputs).unwrap();
        file.write_all(&[0, 0, 1, 0, 2]).unwrap();
    }
    let inputs = bench.path("peer1.bin");
    let output = replay(&bench, &inputs, &[]);
    assert_eq!(output.status.code(), Some(0));
    let (text, remarks) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(text.matches("Peer peer1 is ready").count(), 2, "{text}");
    assert!(
        remarks.contains("ended in the middle of a record (5 bytes)")
            && remarks.contains("the last record is torn"),
        "{remarks}"
    );
}

#[test]
fn what_cannot_be_replayed_is_said() {
    let bench = Bench::new();
    let missing = replay(&bench, &bench.path("none.bin"), &[]);
    assert_eq!(missing.status.code(), Some(65));
    let text = bench.path("text");
    std::fs::write(&text, "this is a text").unwrap();
    let wrong = replay(&bench, &text, &[]);
    assert_eq!(wrong.status.code(), Some(65));
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(said.contains("text, byte 0: no recording starts here"), "{said}");
    let mut refused = bench.start("peer1", &["--inputs", text.to_str().unwrap()]);
    assert_eq!(refused.wait().code(), Some(64));
    assert!(refused.log().contains("no recording starts here"), "{}", refused.log());
}
