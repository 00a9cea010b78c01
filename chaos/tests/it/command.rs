//! The command, driven against processes that stand in for peers: each is a `cat`, with the events
//! that a peer would have written.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use chaos::procfs;
use promises::{Fault, GroundTruth, Record, history};
use protocol::id::{Epoch, Incarnation, Member, PeerId, Seq, ViewId};
use protocol::note::{EVENT_VERSION, Event, Note};
use protocol::time::Time;

/// Three processes in one view, led by p3, as their event files tell it.
struct Run {
    folder: tempfile::TempDir,
    peers: Vec<(String, Child)>,
}

impl Run {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        fs::create_dir(folder.path().join("events")).expect("it is writable");
        let names = ["p1", "p2", "p3"].map(|name| PeerId::new(name).expect("a name"));
        let mut peers = Vec::new();
        for name in &names {
            let child = Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .expect("there is a cat");
            let pid = child.id();
            let leader = names[2].clone();
            let epoch =
                Epoch { round: 1, owner: Member { id: leader.clone(), inc: Incarnation(1) } };
            let start = Note::Start {
                pid,
                pid_start: procfs::start_time(pid).expect("it runs"),
                log: None,
                address: "127.0.0.1:1".to_owned(),
                build: String::new(),
                birth: 0,
                priority: 0,
                status: None,
                omits_readings: false,
            };
            let view = Note::View {
                view_id: ViewId(1),
                epoch,
                seq: Seq(1),
                leader,
                members: names.to_vec(),
                incs: vec![Incarnation(1); 3],
                log: "1.p3#1".parse().expect("a log"),
            };
            let mut text = String::new();
            for (n, note) in (1..).zip([start, view]) {
                let event = Event {
                    v: EVENT_VERSION,
                    t: Time::from_micros(n),
                    p: name.clone(),
                    inc: Incarnation(1),
                    n,
                    note,
                };
                text += &(Record::Peer(event).line() + "\n");
            }
            fs::write(folder.path().join(format!("events/{name}.jsonl")), text)
                .expect("it is writable");
            fs::write(
                folder.path().join(format!("{name}_log.txt")),
                "Peer p2 became the Group Leader via election.\n",
            )
            .expect("it is writable");
            peers.push((name.to_string(), child));
        }
        Self { folder, peers }
    }

    fn chaos(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
        command
            .arg("--run")
            .arg(self.folder.path())
            .args(arguments)
            .output()
            .expect("the command runs")
    }

    fn child(&mut self, name: &str) -> &mut Child {
        &mut self.peers.iter_mut().find(|(known, _)| known == name).expect("one of three").1
    }

    fn faults(&self) -> Vec<(Fault, Vec<String>, bool)> {
        let files = fs::read_dir(self.folder.path().join("events")).expect("it is there");
        let files = files.map(|entry| entry.expect("it is there").path());
        let told = files.filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("_chaos."))
        });
        let lines: Vec<String> = told
            .flat_map(|path| text(&path).lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let records = lines.iter().map(|line| history::parse_line(line).expect("an event"));
        records
            .filter_map(|line| match line {
                history::Line::Record(Record::World(event)) => match event.what {
                    GroundTruth::Fault { fault, who, confirmed, .. } => {
                        Some((fault, who, confirmed))
                    }
                    _ => None,
                },
                _ => None,
            })
            .collect()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        for (_, child) in &mut self.peers {
            let _gone_already = child.kill();
            let _reaped_already = child.wait();
        }
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("it can be read")
}

#[track_caller]
fn check(output: &Output, code: i32, words: &str) {
    let told = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(code) && told.contains(words),
        "{:?}: {told}",
        output.status
    );
}

#[test]
fn the_leader_is_found_killed_and_written_down() {
    let mut run = Run::new();
    check(&run.chaos(&["kill", "leader"]), 0, "kill p3");
    assert!(run.child("p3").wait().expect("it was ours").code().is_none());
    assert!(run.child("p1").try_wait().expect("it is ours").is_none());
    assert_eq!(run.faults(), [(Fault::Kill, vec!["p3".to_owned()], true)]);
    check(&run.chaos(&["kill", "p3"]), 69, "does not run any more");
    check(&run.chaos(&["kill", "leader", "--within", "10ms"]), 69, "p3 led last and is dead");
}

#[test]
fn a_pause_is_seen_and_ends() {
    let run = Run::new();
    check(&run.chaos(&["pause", "p2"]), 0, "pause p2");
    check(&run.chaos(&["status"]), 0, "paused");
    check(&run.chaos(&["resume", "p2"]), 0, "resume p2");
    let status = run.chaos(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!(status["leader"], "p3");
    let states: Vec<&str> = status["peers"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| row["state"].as_str().expect("text"))
        .collect();
    assert_eq!(states, ["alive", "alive", "alive"]);
    let faults: Vec<Fault> = run.faults().into_iter().map(|(fault, ..)| fault).collect();
    assert!(faults.contains(&Fault::Pause) && faults.contains(&Fault::Resume));
}

#[test]
fn only_lines_written_after_the_act_count() {
    let run = Run::new();
    let expected = ["kill", "member", "--expect", "became the Group Leader", "--within", "50ms"];
    check(&run.chaos(&expected), 1, "no line matched");
    let log = run.folder.path().join("p3_log.txt");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Written again and again, because the start of the watch is not reported.
            for _ in 0..200 {
                let mut file = fs::OpenOptions::new().append(true).open(&log).expect("it is there");
                file.write_all(b"Peer p3 became the Group Leader via election.\n")
                    .expect("it is writable");
                std::thread::park_timeout(std::time::Duration::from_millis(5));
            }
        });
        let output = run.chaos(&["pause", "p1", "p1"]);
        check(&output, 64, "unexpected argument");
        let expected = [
            "pause",
            "leader",
            "--expect",
            "Peer p3 became the Group Leader",
            "--on",
            "leader",
            "--within",
            "30s",
        ];
        check(&run.chaos(&expected), 0, "p3: Peer p3 became the Group Leader via election.");
    });
}

#[test]
fn mistakes_are_told_with_the_way_out() {
    let run = Run::new();
    check(&run.chaos(&["kill", "leeder"]), 69, "did you mean `leader`?");
    check(&run.chaos(&["kill", "nobody"]), 69, "in this run there is: p1, p2, p3");
    check(&run.chaos(&["kil", "leader"]), 64, "unrecognized subcommand");
    check(&run.chaos(&["kill", "p1", "--expect", "("]), 64, "regex parse error");
    check(&run.chaos(&["judge", "/nowhere/at/all"]), 65, "no run at");
    check(&run.chaos(&["judge", "--require", "world-peace"]), 64, "total-order");
    check(&run.chaos(&["--help"]), 0, "Exit codes");
    assert!(run.faults().is_empty());
}

#[test]
fn a_broken_promise_comes_with_the_way_to_go_through_it_again() {
    let run = Run::new();
    let p = PeerId::new("p1").expect("a name");
    let note = Note::Panic { message: "out of cheese".to_owned() };
    let panic = Record::Peer(Event {
        v: EVENT_VERSION,
        t: Time::from_micros(9),
        p,
        inc: Incarnation(1),
        n: 3,
        note,
    });
    let path = run.folder.path().join("events/p1.jsonl");
    fs::write(&path, text(&path) + &panic.line() + "\n").expect("it is writable");
    let unrecorded = run.chaos(&["judge"]);
    check(&unrecorded, 1, "out of cheese");
    assert!(
        !String::from_utf8_lossy(&unrecorded.stdout).contains("replay"),
        "nothing was recorded"
    );
    let inputs = run.folder.path().canonicalize().expect("it is there").join("inputs");
    fs::create_dir(&inputs).expect("it is writable");
    ["p1.bin", "p2.bin"]
        .iter()
        .for_each(|name| fs::write(inputs.join(name), "").expect("it is writable"));
    let judged = run.chaos(&["judge"]);
    check(
        &judged,
        1,
        &format!("step by step: cargo run -p peer -- replay {}/p1.bin --trace", inputs.display()),
    );
    assert!(
        !String::from_utf8_lossy(&judged.stdout).contains("p2.bin"),
        "only whoever the evidence is about"
    );
}

#[test]
fn a_foreign_process_under_the_same_pid_is_left_alone() {
    let mut run = Run::new();
    let path = run.folder.path().join("events/p1.jsonl");
    let forged = text(&path).replacen("\"pid_start\":", "\"pid_start\":1", 1);
    fs::write(&path, forged).expect("it is writable");
    check(&run.chaos(&["kill", "p1"]), 69, "does not run any more");
    assert!(run.child("p1").try_wait().expect("it is ours").is_none());
}

#[test]
fn a_run_is_judged_and_a_breach_is_shown() {
    let run = Run::new();
    check(&run.chaos(&["judge"]), 0, "pass");
    check(
        &run.chaos(&["judge", "--require", "total-order"]),
        2,
        "total-order is required, and saw nothing",
    );
    let path = run.folder.path().join("events/p2.jsonl");
    let crooked =
        text(&path).replace(r#""members":["p1","p2","p3"]"#, r#""members":["p2","p1","p3"]"#);
    fs::write(&path, crooked).expect("it is writable");
    let output = run.chaos(&["judge"]);
    check(&output, 1, "view 1 of epoch 1.p3 at p2#1 is another one than at p1#1");
    let output = run.chaos(&["judge", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((told["outcome"].as_str(), output.status.code()), (Some("broken"), Some(1)));
    fs::write(&path, text(&path) + "nonsense\n").expect("it is writable");
    check(&run.chaos(&["judge"]), 1, "p2.jsonl, line 3: not an event");
}

#[test]
fn an_answer_that_cannot_be_written_is_74_and_what_was_asked_for_is_done() {
    let mut run = Run::new();
    let own = run.folder.path().to_owned();
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").expect("every Linux has it");
    for arguments in
        [&["--help"][..], &["status"], &["status", "--json"], &["judge"], &["kill", "p1,p2"]]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
        let output = command
            .arg("--run")
            .arg(&own)
            .args(arguments)
            .stdout(full())
            .output()
            .expect("it is built");
        assert_eq!(output.status.code(), Some(74), "{arguments:?}: {output:?}");
    }
    for (_, child) in &mut run.peers[..2] {
        assert_eq!(child.wait().expect("it is ours").code(), None, "it was killed");
    }
}
