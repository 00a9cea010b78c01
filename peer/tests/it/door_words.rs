//! The examples of `SOCKET.md` match the lines of a peer, and the example clients keep their
//! promises.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::bench::{Bench, until};
use crate::talk::{Talk, alone, socket};

/// A file of this repository.
fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A program that talks with a peer, killed when the test is over.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// The output, line by line.
fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        BufReader::new(from).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
    });
    lines
}

fn next(lines: &Receiver<String>, what: &str) -> String {
    lines
        .recv_timeout(Duration::from_secs(20))
        .unwrap_or_else(|_| panic!("nothing came for {what}"))
}

/// Whether a text matches the page, which has `…` for parts that differ between runs.
fn fits(pattern: &str, text: &str) -> bool {
    let parts: Vec<&str> = pattern.split('…').collect();
    let (first, last) = (parts[0], parts[parts.len() - 1]);
    if parts.len() == 1 {
        return pattern == text;
    }
    let Some(mut rest) = text.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else {
        return false;
    };
    parts[1..parts.len() - 1].iter().all(|part| {
        let found = rest.find(part);
        rest = &rest[found.map_or(rest.len(), |at| at + part.len())..];
        found.is_some()
    })
}

#[test]
fn placeholders_stand_for_any_text() {
    assert!(
        fits("a…c", "abbc")
            && fits("a…", "a")
            && fits("…", "")
            && fits("{…,\"x\":…}", "{1,\"x\":2}")
    );
    assert!(!fits("a…c", "abb") && !fits("a", "ab") && !fits("a…x…c", "abc"));
}

#[test]
fn the_session_of_the_page_happens_word_for_word() {
    let page = fs::read_to_string(file("peer/SOCKET.md")).unwrap();
    let session =
        page.split("```session\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let bench = Bench::new();
    let mut one = alone(&bench, "kitchen", &[]);
    let path = socket(&bench, "kitchen");
    let socat = Command::new("socat")
        .args(["-", &format!("UNIX-CONNECT:{}", path.display())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let (mut speak, heard, _socat): (Box<dyn Write>, _, _) = match socat {
        Ok(mut socat) => {
            let (stdin, stdout) = (socat.stdin.take().unwrap(), socat.stdout.take().unwrap());
            (Box::new(stdin), lines(stdout), Some(Program(socat)))
        }
        Err(_) => {
            eprintln!(
                "not run: socat is not on this machine (apt-get install socat); the session is run \
                 over a socket of the test"
            );
            let stream = UnixStream::connect(&path).unwrap();
            (Box::new(stream.try_clone().unwrap()), lines(stream), None)
        }
    };
    let mut said = 0;
    for line in session.lines() {
        if let Some(request) = line.strip_prefix("-> ") {
            writeln!(speak, "{request}").unwrap();
            said += 1;
        } else if let Some(pattern) = line.strip_prefix("<- ") {
            let text = next(&heard, pattern);
            assert!(fits(pattern, &text), "\nthe page: {pattern}\nthe peer: {text}");
            let _it_is_json: Value = serde_json::from_str(&text).unwrap();
        } else {
            assert!(line.starts_with("$ socat"), "{line}");
        }
    }
    assert!(said >= 9, "{said}");
    assert!(one.wait().success());
}

#[test]
fn the_page_lists_every_code_that_there_is() {
    let page = fs::read_to_string(file("peer/SOCKET.md")).unwrap();
    let mut sources = vec![file("peer/src/shell/door.rs"), file("peer/src/door.rs")];
    for folder in ["peer/src/door", "peer/src/door/service"] {
        let within = fs::read_dir(file(folder)).unwrap().map(|entry| entry.unwrap().path());
        sources.extend(within.filter(|path| path.is_file()));
    }
    let mut codes = std::collections::BTreeSet::new();
    for source in sources {
        let text = fs::read_to_string(source).unwrap();
        for (at, begin) in
            text.match_indices("Fault::new(").chain(text.match_indices("Self::new(\""))
        {
            let rest = text[at + begin.len() - usize::from(begin.ends_with('"'))..].trim_start();
            codes.extend(
                rest.strip_prefix('"')
                    .and_then(|rest| rest.split('"').next())
                    .map(ToOwned::to_owned),
            );
        }
    }
    assert!(codes.len() >= 15, "{codes:?}");
    for code in codes {
        assert!(page.contains(&format!("| `{code}` |")), "SOCKET.md does not say what {code} is");
    }
}

/// Publishes and subscribes across restarts with one of the example clients.
fn check_client(program: &str, name: &str) {
    let is_there = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !is_there {
        eprintln!("not run: there is no {program} on this machine");
        return;
    }
    let client = file("contrib/clients").join(name);
    let bench = Bench::new();
    let keeper = alone(&bench, "peer1", &[]);
    let mut other = bench.start("peer2", &[]);
    until("the two to be one group", || other.members() == 2 && keeper.members() == 2);
    let path = socket(&bench, "peer2");
    let publish = |text: &str| {
        let output = Command::new(program)
            .arg(&client)
            .arg("publish")
            .arg(socket(&bench, "peer1"))
            .arg(text)
            .output()
            .unwrap();
        let (said, told) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success() && said.starts_with("safe at "), "{said}{told}");
    };
    publish("first");
    let mut follower = Command::new(program);
    follower.arg(&client).arg("follow").arg(&path).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut follower = Program(follower.spawn().unwrap());
    let records = lines(follower.0.stdout.take().unwrap());
    let mut names = std::collections::BTreeSet::new();
    let mut read = |payload: &str| {
        let mut kinds = Vec::new();
        loop {
            let record: Value = serde_json::from_str(&next(&records, payload)).unwrap();
            kinds.push(record["kind"].as_str().unwrap().to_owned());
            if record["kind"] == "reading" {
                assert!(
                    names.insert((record["origin"].to_string(), record["oseq"].to_string())),
                    "twice: {record}"
                );
            }
            if record["payload"] == payload {
                return kinds;
            }
        }
    };
    read("first");
    publish("second");
    read("second");
    other.signal(Signal::SIGTERM);
    assert!(other.wait().success());
    publish("while it is away");
    let mut other = bench.start("peer2", &[]);
    until("it to be back", || other.members() == 2 && path.exists());
    publish("third");
    assert!(read("third").contains(&"gap".to_owned()), "what it did not get is named");
    other.signal(Signal::SIGKILL);
    other.wait();
    let other = bench.start("peer2", &[]);
    until("it to be back again", || other.members() == 2 && path.exists());
    publish("fourth");
    read("fourth");
    drop(Talk::with(&bench, "peer2"));
    // No peer listens there: that is reported as a failure.
    let output = Command::new(program)
        .arg(&client)
        .args(["publish", "/tmp/no-such-peer.sock", "x"])
        .output()
        .unwrap();
    assert!(!output.status.success());
}

#[test]
fn the_client_in_python_publishes_and_follows_over_restarts() {
    check_client("python3", "follow_and_publish.py");
}

#[test]
fn the_client_in_node_publishes_and_follows_over_restarts() {
    check_client("node", "follow_and_publish.mjs");
}
