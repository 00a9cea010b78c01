//! Outputs that are unread, full or closed: the peer continues, answers, and ends when it is asked
//! to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use peer::failure::UNSAID;
use peer::outputs::OutputReport;
use protocol::note::{Event, Note};

use crate::bench::{Bench, until};

/// Kills a process that a failed test leaves behind.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Starts a peer that reads lines, without an event file of the bench's own.
fn listening(bench: &Bench, flags: &[&str]) -> Command {
    let mut command =
        bench.command(&["run", "--id", "peer1", "--address", "127.0.0.1", "--timing", "fast"]);
    command.args(["--die-with", &std::process::id().to_string()]).args(flags).stdin(Stdio::piped());
    command
}

fn ask_to_leave(child: &Child) {
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
}

fn report_of(bench: &Bench, name: &str) -> Option<OutputReport> {
    bench.report("peer1")?.outputs.into_iter().find(|output| output.name.starts_with(name))
}

/// Publishes until this many lines were dropped.
fn publish_until_dropped(bench: &Bench, child: &mut Child, name: &str) -> u64 {
    let mut input = child.stdin.take().unwrap();
    let line = "x".repeat(2_000);
    until(&format!("{name} to be behind"), || {
        (0..500).for_each(|_| writeln!(input, "{line}").unwrap());
        report_of(bench, name).is_some_and(|output| output.dropped_lines > 0)
    });
    bench.report("peer1").unwrap().deliveries.count
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing_and_says_what_it_lacks() {
    let bench = Bench::new();
    let (reader, writer) = std::io::pipe().unwrap();
    // The command holds the other end of the pipe, and has to end before the reader can see the
    // end.
    let mut one = {
        let mut command = listening(&bench, &["--sensor", "stdin", "--log-level", "debug"]);
        Guarded(command.stdout(writer).stderr(Stdio::null()).spawn().unwrap())
    };
    until("it to lead", || {
        bench.report("peer1").is_some_and(|report| report.status.role == "leader")
    });
    let delivered = publish_until_dropped(&bench, &mut one.0, "standard output");
    assert!(delivered > 1_000, "it delivers although nobody reads its log: {delivered}");
    let text = bench.command(&["status", "--id", "peer1"]).output().unwrap();
    assert!(String::from_utf8(text.stdout).unwrap().contains("Output standard output:"));
    // Once it is read again, it continues, and marks the missing lines in their place.
    let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains(" WARN ")
        && line.contains("lines were dropped while nobody read this output")));
    let rest = std::thread::spawn(move || lines.last());
    until("nothing to wait any more", || {
        report_of(&bench, "standard output").is_none_or(|output| output.waiting_lines == 0)
    });
    ask_to_leave(&one.0);
    assert!(one.0.wait().unwrap().success());
    assert!(
        rest.join().unwrap().is_some_and(|last| last.contains("left the group")),
        "the last line is there, too"
    );
}

#[test]
fn a_peer_whose_outputs_are_all_stuck_ends_when_it_is_asked_to() {
    let bench = Bench::new();
    let events = bench.path("events");
    let inputs = bench.path("inputs");
    [&events, &inputs]
        .iter()
        .for_each(|path| nix::unistd::mkfifo(path.as_path(), Mode::S_IRWXU).unwrap());
    let (_reader, writer) = std::io::pipe().unwrap();
    let files = ["--events", events.to_str().unwrap(), "--inputs", inputs.to_str().unwrap()];
    let mut command = listening(&bench, &[&["--sensor", "stdin"], &files[..]].concat());
    let error = writer.try_clone().unwrap();
    let mut one = Guarded(command.stdout(writer).stderr(error).spawn().unwrap());
    until("it to lead", || {
        bench.report("peer1").is_some_and(|report| report.status.role == "leader")
    });
    let _delivered = publish_until_dropped(&bench, &mut one.0, "--events");
    ask_to_leave(&one.0);
    let mut status = None;
    until("it to end", || {
        status = one.0.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success());
}

#[test]
fn events_that_nobody_read_for_a_while_are_missing_by_number_and_by_word() {
    let bench = Bench::new();
    let events = bench.path("events");
    nix::unistd::mkfifo(&events, Mode::S_IRWXU).unwrap();
    let mut command =
        listening(&bench, &["--sensor", "stdin", "--events", events.to_str().unwrap()]);
    let mut one = Guarded(command.stdout(Stdio::null()).spawn().unwrap());
    until("it to lead", || {
        bench.report("peer1").is_some_and(|report| report.status.role == "leader")
    });
    publish_until_dropped(&bench, &mut one.0, "--events");
    let pipe = std::fs::File::open(&events).unwrap();
    let (mut last, mut missing, mut told) = (0, 0, None);
    for line in BufReader::new(pipe).lines() {
        let event: Event = serde_json::from_str(&line.unwrap()).unwrap();
        missing += event.n - last - 1;
        last = event.n;
        if let Note::EventsLost { events } = event.note {
            told = Some(events);
            break;
        }
    }
    assert_eq!(told, Some(missing), "as many as its numbers say");
}

#[test]
fn a_reader_that_goes_away_ends_no_peer() {
    let bench = Bench::new();
    let mut command = listening(&bench, &["--sensor", "synthetic", "--interval", "5ms"]);
    let mut one = Guarded(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut first = [0; 40];
    one.0.stdout.take().unwrap().read_exact(&mut first).unwrap();
    until("lines to be dropped", || {
        report_of(&bench, "standard output").is_some_and(|output| output.dropped_lines > 10)
    });
    let count = || bench.report("peer1").unwrap().deliveries.count;
    let before = count();
    until("it to go on", || count() > before + 10);
    ask_to_leave(&one.0);
    assert!(one.0.wait().unwrap().success());
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let bench = Bench::new();
    let _one = bench.start("peer1", &[]);
    until("it to lead", || {
        bench.report("peer1").is_some_and(|report| report.status.role == "leader")
    });
    for flags in
        [&["status"][..], &["status", "--json"], &["--help"], &["run", "--help"], &["--version"]]
    {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = bench.command(flags).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(UNSAID.into()), "{flags:?}: {output:?}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = bench.command(flags).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(UNSAID.into()), "{flags:?}: {output:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
    }
}
