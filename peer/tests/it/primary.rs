//! Mode `primary` from the users' point of view: a blocked peer says so, refuses readings that it
//! cannot keep, and can be told to start afresh.

use std::io::Write as _;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use protocol::note::{Note, Refusal};

use crate::bench::{Bench, Running, until};
use crate::replay::check_retold;

const GROUP: [&str; 3] = ["peer1", "peer2", "peer3"];

fn data(bench: &Bench, id: &str) -> PathBuf {
    bench.path(&format!("{id}.data"))
}

fn inputs(bench: &Bench, id: &str) -> PathBuf {
    bench.path(&format!("{id}.bin"))
}

fn start(bench: &Bench, id: &str) -> Running {
    let (data, inputs) = (data(bench, id), inputs(bench, id));
    let files = ["--data-dir", data.to_str().unwrap(), "--inputs", inputs.to_str().unwrap()];
    bench.start(
        id,
        &[
            ["--mode", "primary", "--bootstrap", "peer1,peer2,peer3"].as_slice(),
            &["--sensor", "stdin"],
            &files,
        ]
        .concat(),
    )
}

fn founded(bench: &Bench) -> [Running; 3] {
    let group = GROUP.map(|id| start(bench, id));
    until("the three to found their group", || group.iter().all(|one| one.members() == 3));
    group
}

#[test]
fn who_is_blocked_says_why_and_accounts_for_what_it_refuses() {
    let bench = Bench::new();
    let [mut one, two, three] = founded(&bench);
    [&two, &three].iter().for_each(|paused| paused.signal(Signal::SIGSTOP));
    until("it to be blocked", || one.has(|note| matches!(note, Note::Blocked { .. })));
    let mut stdin = one.child.stdin.take().unwrap();
    (0..100).for_each(|number| writeln!(stdin, "{number}").unwrap());
    until("all to be refused", || bench.report("peer1").unwrap().refused == 100);
    let report = bench.report("peer1").unwrap();
    let why = report.status.blocked.clone().unwrap();
    assert!(why.contains("1 of the 3 members"), "{why}");
    assert!(
        report.to_string().contains("mode: primary")
            && report.to_string().contains(&format!("Blocked: {why}")),
        "{report}"
    );
    let refused = one
        .events()
        .iter()
        .filter(|event| matches!(event.note, Note::Refused { why: Refusal::NoQuorum, .. }))
        .count();
    assert_eq!(refused, 100, "each of them is accounted for");
    assert!(one.log().matches("A reading was refused").count() <= 7, "and few of them are told");
    [&two, &three].iter().for_each(|paused| paused.signal(Signal::SIGCONT));
    until("it to go on", || {
        bench.report("peer1").is_some_and(|report| report.status.leader.is_some())
    });
    writeln!(stdin, "at last").unwrap();
    until("a reading to be handed over", || two.has(|note| matches!(note, Note::Deliver { .. })));
    assert!(one.log().contains("taken again; 100 were refused"), "{}", one.log());
    assert_eq!(bench.report("peer1").unwrap().status.blocked, None);
    for mut ended in [one, two, three] {
        ended.signal(Signal::SIGTERM);
        assert!(ended.wait().success());
    }
    GROUP.iter().for_each(|id| check_retold(&bench.events(id), &inputs(&bench, id)));
}

#[test]
fn a_group_that_is_lost_for_good_is_given_up_by_its_operator() {
    let bench = Bench::new();
    let mut group = founded(&bench);
    group.iter().for_each(|one| one.signal(Signal::SIGKILL));
    for one in &mut group {
        one.wait();
    }
    // All have forgotten the log: no peer founds a second one by itself.
    let mut forgetful = start(&bench, "peer1");
    until("it to say what it waits for", || {
        forgetful.log().contains("waiting for the group that it was in before it was restarted")
    });
    // It may never be admitted: its readings are refused and counted, not accepted and lost.
    let mut stdin = forgetful.child.stdin.take().unwrap();
    (0..10).for_each(|number| writeln!(stdin, "{number}").unwrap());
    until("all to be refused", || bench.report("peer1").unwrap().refused == 10);
    assert!(
        forgetful.log().contains("A reading was refused: this peer reaches no quorum"),
        "{}",
        forgetful.log()
    );
    let folder = data(&bench, "peer1");
    let recover = || {
        bench
            .command(&["recover", "--new-log", "--data-dir", folder.to_str().unwrap()])
            .output()
            .unwrap()
    };
    assert_eq!(recover().status.code(), Some(69), "its peer runs");
    forgetful.signal(Signal::SIGTERM);
    assert!(forgetful.wait().success());
    let marked = recover();
    assert_eq!(marked.status.code(), Some(0));
    assert!(String::from_utf8(marked.stdout).unwrap().contains("NEW LOG"));
    let mut founder = start(&bench, "peer1");
    until("it to lead alone", || {
        bench.report("peer1").is_some_and(|report| report.status.role == "leader")
    });
    assert!(founder.log().contains("RECOVERY: "), "{}", founder.log());
    let others = ["peer2", "peer3"].map(|id| start(&bench, id));
    until("the others to join", || {
        bench.report("peer1").is_some_and(|report| report.status.members.len() == 3)
    });
    drop(others);
    // The mark has served its purpose: from now on it is an ordinary member.
    founder.signal(Signal::SIGKILL);
    founder.wait();
    check_retold(&founder.events(), &inputs(&bench, "peer1"));
    let memory = std::fs::read_to_string(folder.join("incarnation")).unwrap();
    assert!(memory.contains(" veteran peer1 "), "{memory}");
}
