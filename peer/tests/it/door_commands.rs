//! The commands from the users' point of view: their output, their exit codes, and their errors.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::bench::{Bench, until};
use crate::talk::{Talk, alone, assert_whole, pair};

/// A command that goes on running.
struct Going {
    child: Child,
    out: BufReader<ChildStdout>,
    told: Arc<Mutex<String>>,
}

impl Going {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (out, told) = (BufReader::new(child.stdout.take().unwrap()), Arc::default());
        let (err, text): (ChildStderr, Arc<Mutex<String>>) =
            (child.stderr.take().unwrap(), Arc::clone(&told));
        std::thread::spawn(move || {
            let mut err = BufReader::new(err);
            let mut line = String::new();
            while err.read_line(&mut line).is_ok_and(|count| count > 0) {
                text.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        Self { child, out, told }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line
    }

    fn has_told(&self, words: &str) -> bool {
        self.told.lock().unwrap().contains(words)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// The exit code.
    fn end(&mut self) -> Option<i32> {
        let mut code = None;
        until("the command to end", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code()
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The output of a command with this input.
fn fed(bench: &Bench, flags: &[&str], input: Vec<u8>) -> Output {
    let mut command = bench.command(flags);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output
}

#[test]
fn who_finds_nobody_or_several_is_told_what_to_do() {
    let bench = Bench::new();
    for command in [
        &["status"][..],
        &["members"],
        &["tail"],
        &["publish", "x"],
        &["leave"],
        &["log-level", "debug"],
        &["why"],
    ] {
        let output = bench.command(command).output().unwrap();
        assert_eq!(output.status.code(), Some(69), "{command:?}: {}", words(&output));
        assert!(
            words(&output).contains("No peer answers on this machine.")
                && words(&output).contains("Start one with `peer run`")
        );
    }
    let mut group = pair(&bench, &[]);
    let several = bench.command(&["status"]).output().unwrap();
    assert_eq!(several.status.code(), Some(64));
    assert!(
        words(&several).contains("several peers run here; choose one with --id:")
            && words(&several).contains("peer2 (process ")
    );
    let wrong = bench.command(&["tail", "--id", "peer3"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(69));
    assert!(
        words(&wrong).contains(
            "No peer called peer3 answers on this machine.\n  These answer: peer1 (process "
        ),
        "{}",
        words(&wrong)
    );
    for usage in [
        &["status", "--id", "p/1"][..],
        &["tail", "--from", "yonder"],
        &["log-level", "loud"],
        &["publish", "--token", "t", "a", "b"],
    ] {
        let output = bench.command(usage).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{usage:?}: {}", words(&output));
    }
    for usage in [
        &["--since", "yesterday"][..],
        &["--sensor", "["],
        &["--kinds", "readings"],
        &["--count", "0"],
    ] {
        let output = bench.command(&[&["tail", "--id", "peer1"], usage].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{usage:?}: {}", words(&output));
        assert!(words(&output).lines().count() == 1, "{}", words(&output));
    }
    group[1].signal(Signal::SIGSTOP);
    let begun = Instant::now();
    for command in [
        &["status", "--id", "peer2"][..],
        &["members", "--id", "peer2"],
        &["tail", "--id", "peer2"],
        &["leave", "--id", "peer2"],
    ] {
        let output = bench.command(command).output().unwrap();
        assert_eq!(output.status.code(), Some(69), "{command:?}: {}", words(&output));
        assert!(words(&output).contains("stands still, or is very busy"), "{}", words(&output));
    }
    assert!(begun.elapsed() < Duration::from_secs(4 * 5), "{:?}", begun.elapsed());
    group[1].signal(Signal::SIGCONT);
    until("the two to be one group", || {
        ["peer1", "peer2"]
            .iter()
            .all(|id| bench.report(id).is_some_and(|report| report.status.members.len() == 2))
    });
    assert_whole(&bench, &mut group);
}

#[test]
fn a_pipe_of_a_hundred_thousand_lines_is_published_line_by_line() {
    let bench = Bench::new();
    let mut group = [alone(&bench, "peer1", &[])];
    let mut input = Vec::new();
    for number in 0..100_000 {
        writeln!(input, "{number}").unwrap();
    }
    let output = fed(&bench, &["publish"], input);
    assert!(output.status.success(), "{}", words(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("100000 readings ordered, #2 to #100001, in "), "{text}");
    let (long, controls) = ("x".repeat((1 << 20) + 1), "\u{1}".repeat(1 << 20));
    let odd = [
        b"\n\r\nwith CR\r\nbytes \xff\xfe\n".as_slice(),
        long.as_bytes(),
        b"\n",
        controls.as_bytes(),
        b"\nlast, without an end",
    ]
    .concat();
    let output = fed(&bench, &["publish", "--safe"], odd);
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    let told = words(&output);
    assert!(
        told.contains("reading 5 was not published: it has 1048577 bytes; 1048576 are the most"),
        "{told}"
    );
    assert!(told.contains("1 of 7 readings were not published by peer1"), "{told}");
    let tail = bench.command(&["tail", "--json", "--no-follow", "--last", "6"]).output().unwrap();
    let payloads: Vec<Value> = String::from_utf8(tail.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|record| {
            if record["payload"].is_string() {
                record["payload"].clone()
            } else {
                record["payload_base64"].clone()
            }
        })
        .collect();
    assert_eq!(
        payloads[..4],
        ["", "", "with CR", "Ynl0ZXMg//4="],
        "an empty line is an empty reading, as from the sensor `stdin`"
    );
    assert_eq!(
        (payloads[4].as_str().map(str::len), payloads[5].as_str()),
        (Some(1 << 20), Some("last, without an end"))
    );
    // Each of them in JSON, by the number of its line.
    let output = fed(&bench, &["publish", "--json", "--wait", "accepted"], b"a\nb\n".to_vec());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (lines.len(), &lines[1]["reading"], &lines[1]["is"]),
        (2, &2.into(), &"accepted".into()),
        "{text}"
    );
    let empty = fed(&bench, &["publish"], Vec::new());
    assert_eq!((empty.status.code(), empty.stdout.len()), (Some(0), 0), "{}", words(&empty));
    assert_whole(&bench, &mut group);
}

#[test]
fn a_tail_goes_on_when_its_peer_comes_back_and_says_what_it_cannot_get() {
    let bench = Bench::new();
    let mut keeper = alone(&bench, "peer1", &[]);
    let mut other = bench.start("peer2", &[]);
    until("the two to be one group", || other.members() == 2);
    let mut tail =
        Going::start(bench.command(&["tail", "--id", "peer2", "--json", "--from", "now"]));
    until("it to follow", || {
        // Lines sent before it subscribes must not matter to it.
        Talk::with(&bench, "peer1").publish("first");
        std::thread::sleep(Duration::from_millis(20));
        tail.child.try_wait().unwrap().is_some()
            || bench.report("peer2").is_some_and(|report| report.deliveries.count > 3)
    });
    let mut last = 0;
    let mut read = |tail: &mut Going, words: &str| loop {
        let record: Value = serde_json::from_str(&tail.line()).unwrap();
        let position = record["seq"].as_u64().or(record["from"].as_u64()).unwrap();
        assert!(
            position > last || record["kind"] == "gap",
            "nothing twice: {record} after #{last}"
        );
        last = position;
        if record["payload"] == words || record["kind"] == words {
            return record;
        }
    };
    read(&mut tail, "first");
    Talk::with(&bench, "peer1").publish("second");
    read(&mut tail, "second");
    other.signal(Signal::SIGTERM);
    assert!(other.wait().success());
    until("it to wait", || tail.has_told("waiting for peer2 to come back"));
    Talk::with(&bench, "peer1").publish("missed");
    let mut other = bench.start("peer2", &[]);
    until("it to be back", || tail.has_told("peer2 is back."));
    let gap = read(&mut tail, "gap");
    assert!(gap["to"].as_u64() >= gap["from"].as_u64(), "{gap}");
    Talk::with(&bench, "peer1").publish("third");
    read(&mut tail, "third");
    // A killed peer says nothing; the command knows its position.
    other.signal(Signal::SIGKILL);
    other.wait();
    until("it to wait again", || {
        tail.told.lock().unwrap().matches("waiting for peer2").count() == 2
    });
    let other = bench.start("peer2", &[]);
    until("it to be back again", || {
        tail.told.lock().unwrap().matches("peer2 is back.").count() == 2
    });
    until("the two to be one group", || other.members() == 2);
    Talk::with(&bench, "peer1").publish("fourth");
    read(&mut tail, "fourth");
    tail.signal(Signal::SIGINT);
    assert_eq!(tail.end(), Some(0));
    until("it to sum up", || tail.has_told(" readings, up to #"));
    // While it waits, too.
    let mut waiting = Going::start(bench.command(&["tail", "--id", "peer1"]));
    assert!(!waiting.line().is_empty());
    keeper.signal(Signal::SIGKILL);
    keeper.wait();
    until("it to wait", || waiting.has_told("waiting for peer1 to come back"));
    waiting.signal(Signal::SIGINT);
    assert_eq!(waiting.end(), Some(0));
    assert!(other.child.id() > 0);
}

#[test]
fn a_tail_whose_reader_has_enough_ends_without_a_word() {
    let bench = Bench::new();
    let mut group = [alone(
        &bench,
        "peer1",
        &["--sensor", "load", "--load-rate", "2000", "--load-bytes", "100"],
    )];
    let mut tail = Going::start(bench.command(&["tail", "--json"]));
    let first: Value = serde_json::from_str(&tail.line()).unwrap();
    assert!(first["kind"].is_string());
    tail.out = BufReader::new({
        let mut cat = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
        cat.wait().unwrap();
        cat.stdout.take().unwrap()
    });
    tail.end();
    assert!(tail.told.lock().unwrap().is_empty(), "{}", tail.told.lock().unwrap());
    let shell = format!("'{}' tail --json | head -1", crate::bench::PEER);
    let mut command = Command::new("sh");
    command.args(["-c", &shell]);
    let output = bench.furnish(command).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", words(&output));
    assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 1);
    // A client that does not read at all can still end it.
    let mut stuck = bench.command(&["tail", "--from", "now"]);
    let mut stuck = stuck.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    kill(Pid::from_raw(i32::try_from(stuck.id()).unwrap()), Signal::SIGINT).unwrap();
    until("it to end", || stuck.try_wait().unwrap().is_some());
    assert_whole(&bench, &mut group);
}

#[test]
fn the_level_of_the_log_changes_what_is_told() {
    let bench = Bench::new();
    let mut group = [alone(&bench, "peer1", &[])];
    let publish =
        |words: &str| assert_eq!(Talk::with(&bench, "peer1").publish(words)["ok"]["is"], "safe");
    publish("quiet");
    assert_eq!(group[0].log().matches(" DEBUG ").count(), 0);
    let level = |level: &str| {
        let output = bench.command(&["log-level", level]).output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(level("debug"), "The log of peer1 tells debug now; before it was info.\n");
    publish("loud");
    until("more to be told", || group[0].log().contains(" DEBUG "));
    assert_eq!(level("off"), "The log of peer1 tells off now; before it was debug.\n");
    let told = group[0].log().len();
    publish("silent");
    assert_eq!(group[0].log().len(), told);
    assert_eq!(level("info"), "The log of peer1 tells info now; before it was off.\n");
    assert_whole(&bench, &mut group);
    let output = bench.command(&["leave"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
    assert!(group[0].wait().success());
}

#[test]
fn who_publishes_to_a_peer_that_is_killed_is_told_what_is_not_known() {
    let bench = Bench::new();
    let mut one = alone(&bench, "peer1", &[]);
    let mut command = bench.command(&["publish"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "first").unwrap();
    until("it to be there", || {
        bench.report("peer1").is_some_and(|report| report.deliveries.count == 1)
    });
    one.signal(Signal::SIGSTOP);
    writeln!(stdin, "second").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    one.signal(Signal::SIGKILL);
    one.wait();
    drop(stdin);
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(69), "{told}");
    assert!(told.contains("what became of 1 readings is not known"), "{told}");
}

#[test]
fn a_tail_that_is_held_up_goes_on_where_it_was() {
    let bench = Bench::new();
    let mut group = [alone(
        &bench,
        "peer1",
        &["--sensor", "load", "--load-rate", "20000", "--load-bytes", "100"],
    )];
    let mut tail =
        Going::start(bench.command(&["tail", "--json", "--from", "now", "--kinds", "reading,gap"]));
    let first: Value = serde_json::from_str(&tail.line()).unwrap();
    // The output stays unread for longer than the peer tolerates, and until the missing records are
    // not retained any more.
    std::thread::sleep(Duration::from_millis(4_500));
    let mut next = first["seq"].as_u64().unwrap() + 1;
    let until_then = bench.report("peer1").unwrap().deliveries.count;
    while next < until_then {
        let record: Value = serde_json::from_str(&tail.line()).unwrap();
        if record["kind"] == "gap" {
            assert_eq!(record["from"], next, "{record}");
            next = record["to"].as_u64().unwrap() + 1;
        } else {
            assert_eq!(record["seq"], next, "{record}");
            next += 1;
        }
    }
    assert!(tail.has_told("too slow for peer1: "), "{}", tail.told.lock().unwrap());
    // It is ended while its output is unread: it cannot print a summary, and is not waited for.
    std::thread::sleep(Duration::from_millis(500));
    tail.signal(Signal::SIGINT);
    assert_eq!(tail.end(), None, "it ends by the signal");
    assert_whole(&bench, &mut group);
}
