//! The command from the users' point of view: real processes on loopback.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use peer::status::Deliveries;
use protocol::digest::Digest;
use protocol::note::{Event, Note};

use crate::bench::{Bench, PEER, Running, until};

fn is_ready(note: &Note) -> bool {
    matches!(note, Note::Ready)
}

#[test]
fn two_peers_form_a_group_and_deliver_in_one_order() {
    let bench = Bench::new();
    let data = bench.path("data");
    let mut one = bench.start("peer1", &["--sensor", "synthetic", "--interval", "10ms"]);
    let mut two = bench.start(
        "peer2",
        &[
            "--sensor",
            "synthetic",
            "--interval",
            "10ms",
            "--csv",
            "--data-dir",
            data.to_str().unwrap(),
        ],
    );
    until("both to be in one view and to have delivered", || {
        one.members() == 2
            && two.members() == 2
            && one.delivered().len() > 50
            && two.delivered().len() > 50
    });
    let report = bench.report("peer2").unwrap();
    assert_eq!(report.status.members.len(), 2);
    assert_eq!((report.pid, report.build.as_str()), (two.child.id(), peer::BUILD));
    one.signal(Signal::SIGTERM);
    assert!(one.wait().success(), "leaving is an orderly end");
    until("the other to be alone", || two.members() == 1);
    two.signal(Signal::SIGINT);
    assert!(two.wait().success());
    let (first, second) = (one.delivered(), two.delivered());
    let start = second
        .iter()
        .position(|digest| *digest == first[0])
        .or_else(|| first.iter().position(|digest| *digest == second[0]));
    assert!(start.is_some(), "they have nothing in common");
    let common: Vec<_> = first.iter().filter(|digest| second.contains(digest)).collect();
    let others: Vec<_> = second.iter().filter(|digest| first.contains(digest)).collect();
    assert!(
        common.len() > 30 && common == others,
        "{} and {} in common",
        common.len(),
        others.len()
    );
    let kept = std::fs::read_to_string(data.join("ordered.jsonl")).unwrap();
    let readings = kept.lines().filter(|line| line.starts_with(r#"{"kind":"reading","#)).count();
    assert_eq!(readings, second.len(), "what is delivered is kept, to the last one");
    assert!(data.join("peer1.synthetic.csv").exists() && data.join("peer2.synthetic.csv").exists());
    assert!(matches!(one.events().last().unwrap().note, Note::Stop { .. }));
    let numbers: Vec<u64> = one.events().iter().map(|event| event.n).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "no event is missing");
}

#[test]
fn a_killed_leader_is_replaced() {
    let bench = Bench::new();
    let one = bench.start("peer1", &[]);
    let two = bench.start("peer2", &[]);
    until("one view", || one.members() == 2 && two.members() == 2);
    let leader = bench.report("peer1").unwrap().status.leader.unwrap();
    let (leads, stays) = if leader.as_str() == "peer1" { (&one, &two) } else { (&two, &one) };
    leads.signal(Signal::SIGKILL);
    until("the survivor to lead alone", || {
        stays.members() == 1 && stays.has(|note| matches!(note, Note::LeaderElected { .. }))
    });
    assert!(
        stays.log().contains("became the Group Leader via election."),
        "the sentence of the log"
    );
}

#[test]
fn lines_of_standard_input_are_readings_and_none_is_lost() {
    let bench = Bench::new();
    // Far more lines than the window takes at once.
    let mut one = bench.start("peer1", &["--sensor", "stdin", "--window-entries", "16"]);
    let mut input = one.child.stdin.take().unwrap();
    let text: String = (0..5_000).map(|number| format!("line {number}\n")).collect();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    until("all lines to be delivered", || one.delivered().len() == 5_000);
    let expected: Vec<Digest> =
        (0..5_000).map(|number| Digest::of(format!("line {number}").as_bytes())).collect();
    assert!(one.delivered() == expected, "in order");
    assert!(
        !one.has(|note| matches!(note, Note::Refused { .. })),
        "whoever waits for room is not refused"
    );
    assert_eq!(
        one.child.try_wait().unwrap(),
        None,
        "the end of the input is not the end of the peer"
    );
}

#[test]
fn the_first_event_is_enough_to_find_the_process() {
    let bench = Bench::new();
    let one = bench.start("peer1", &["--priority", "-3"]);
    until("it to be ready", || one.has(is_ready));
    let events = one.events();
    let Note::Start { pid, pid_start, log, address, build, priority, status, .. } = &events[0].note
    else {
        panic!("{events:?}")
    };
    assert_eq!((*pid, *priority, build.as_str()), (one.child.id(), -3, peer::BUILD));
    assert_eq!(log.as_deref().map(Path::new), Some(one.log.as_path()));
    assert!(TcpStream::connect(address).is_ok(), "it listens at {address}");
    assert!(Path::new(status.as_ref().unwrap()).exists());
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let field = stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap();
    assert_eq!(field.parse(), Ok(*pid_start));
}

#[test]
fn a_taken_port_is_one_clear_error() {
    let bench = Bench::new();
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let mut one = bench.start("peer1", &["--port", &port]);
    assert_eq!(one.wait().code(), Some(69));
    assert!(one.log().contains(&format!("cannot listen on 127.0.0.1:{port}")), "{}", one.log());
}

#[test]
fn mistakes_on_the_command_line_have_their_codes() {
    let bench = Bench::new();
    let code = |flags: &[&str]| bench.command(flags).output().unwrap().status.code();
    assert_eq!(code(&["run", "--no-such-flag"]), Some(64));
    assert_eq!(code(&["run", "--id", "not an id"]), Some(64));
    assert_eq!(code(&["run", "--config", "/no/such/file.toml"]), Some(65));
    assert_eq!(code(&["status"]), Some(69));
    assert_eq!(code(&["run", "--die-with", "1"]), Some(69));
    assert_eq!(code(&["--help"]), Some(0));
    let version = bench.command(&["--version"]).output().unwrap();
    assert_eq!(String::from_utf8(version.stdout).unwrap().trim(), format!("peer {}", peer::BUILD));
}

#[test]
fn a_second_peer_of_the_same_name_is_refused_and_told_both_addresses() {
    let bench = Bench::new();
    let one = bench.start("twin", &[]);
    until("it to lead", || one.members() == 1);
    let second = Bench {
        folder: tempfile::tempdir().unwrap(),
        lease: bench.lease.try_clone().unwrap(),
        port: bench.port,
    };
    let mut two = second.start("twin", &[]);
    assert_eq!(two.wait().code(), Some(1));
    let address = |running: &Running| {
        running.events().iter().find_map(|event| {
            if let Note::Start { address, .. } = &event.note { Some(address.clone()) } else { None }
        })
    };
    let log = two.log();
    for address in [address(&one).unwrap(), address(&two).unwrap()] {
        assert!(log.contains(&address), "{address} is not named in\n{log}");
    }
    assert_eq!(one.members(), 1);
}

#[test]
fn garbage_on_every_socket_is_counted_and_the_peer_goes_on() {
    let bench = Bench::new();
    let one = bench.start("peer1", &[]);
    until("it to lead", || one.members() == 1);
    let address = bench.report("peer1").unwrap().status.address;
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    stranger.set_broadcast(true).unwrap();
    stranger.send_to(b"hello?", address).unwrap();
    stranger.send_to(&[0xD5; 512], ("127.255.255.255", bench.port)).unwrap();
    TcpStream::connect(address).unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    until("all three to be turned away", || bench.report("peer1").unwrap().rejected == 3);
    assert!(one.log().contains("Rejected from somebody"), "{}", one.log());
    let _two = bench.start("peer2", &[]);
    until("somebody to join all the same", || one.members() == 2);
}

#[test]
fn without_descriptors_a_peer_waits_for_better_times() {
    let bench = Bench::new();
    let one = bench.start_limited("peer1", 26);
    until("it to lead", || one.members() == 1);
    let address = bench.report("peer1").unwrap().status.address;
    let strangers: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    until("descriptors to run out", || one.log().contains("Cannot accept connections"));
    drop(strangers);
    let two = bench.start("peer2", &[]);
    until("somebody to join all the same", || one.members() == 2 && two.members() == 2);
    assert_eq!(one.log().matches("Cannot accept connections").count(), 1, "told once");
}

#[test]
fn a_data_folder_has_one_peer() {
    let bench = Bench::new();
    let data = bench.path("data");
    let flags = ["--data-dir", data.to_str().unwrap()];
    let one = bench.start("peer1", &flags);
    until("it to be ready", || one.has(is_ready));
    let mut two = bench.start("peer2", &flags);
    assert_eq!(two.wait().code(), Some(69));
    assert!(two.log().contains("another running peer uses this folder"), "{}", two.log());
}

#[test]
fn without_telling_readings_their_hash_is_kept() {
    let bench = Bench::new();
    let mut one = bench.start("peer1", &["--log-deliveries", "off"]);
    let mut two = bench.start("peer2", &["--log-deliveries", "off", "--sensor", "stdin"]);
    until("one view", || one.members() == 2 && two.members() == 2);
    let mut input = two.child.stdin.take().unwrap();
    (0..1_000).for_each(|number| writeln!(input, "{number}").unwrap());
    let deliveries = |id: &str| bench.report(id).unwrap().deliveries;
    until("all to be delivered", || {
        deliveries("peer1").count == 1_000 && deliveries("peer2").count == 1_000
    });
    let same = |id: &str| {
        let Deliveries { count, bytes, first, hash, .. } = deliveries(id);
        (count, bytes, first, hash)
    };
    assert_eq!(same("peer1"), same("peer2"));
    assert!(deliveries("peer1").hash.is_some());
    for running in [&mut one, &mut two] {
        running.signal(Signal::SIGTERM);
        assert!(running.wait().success());
        assert_eq!(running.delivered().len(), 0);
        assert!(!running.log().contains("Delivered #"));
    }
}

#[test]
fn a_disk_that_takes_nothing_stops_nobody() {
    let bench = Bench::new();
    // A file where the data folder should be: as good as read-only, also for root.
    let data = bench.path("data");
    std::fs::write(&data, "").unwrap();
    let mut one = bench.start(
        "peer1",
        &["--sensor", "synthetic", "--interval", "5ms", "--data-dir", data.to_str().unwrap()],
    );
    let told = |running: &Running| {
        running.log().lines().filter(|line| line.contains("ordered.jsonl")).count()
    };
    until("it to be told", || told(&one) == 1);
    let before = one.delivered().len();
    until("more readings to be delivered", || one.delivered().len() > before + 20);
    assert_eq!(told(&one), 1, "told once");
    one.signal(Signal::SIGTERM);
    assert!(one.wait().success());
}

#[test]
fn a_restart_takes_a_larger_incarnation_even_if_the_clock_was_set_back() {
    let bench = Bench::new();
    let data = bench.make_folder("data");
    // Beyond 2026 and within what a clock can have shown; in the form of older builds.
    let future = 2_500_000_000_000_u64;
    std::fs::write(data.join("incarnation"), format!("{future}\n")).unwrap();
    let one = bench.start("peer1", &["--data-dir", data.to_str().unwrap()]);
    until("it to be ready", || one.has(is_ready));
    assert_eq!(one.events()[0].inc.0, future + 1);
    let memory = std::fs::read_to_string(data.join("incarnation")).unwrap();
    assert!(memory.starts_with(&format!("peer-memory 2 {} fresh peer1 ", future + 1)), "{memory}");
}

#[test]
fn a_peer_dies_with_its_parent() {
    let bench = Bench::new();
    let events = bench.path("orphan.jsonl");
    // A shell in between, which is killed; `$$` is its pid.
    let line = format!(
        "{PEER} run --id orphan --address 127.0.0.1 --sensor none --broadcast-port {} --events {} \
         --die-with $$; true",
        bench.port,
        events.display()
    );
    let mut shell = Command::new("sh")
        .args(["-c", &line])
        .stdout(Stdio::null())
        .env("PEER_SOCKETS", bench.folder.path())
        .spawn()
        .unwrap();
    let mut pid = None;
    until("it to start", || {
        let text = std::fs::read_to_string(&events).unwrap_or_default();
        pid =
            text.lines().next().and_then(|line| serde_json::from_str::<Event>(line).ok()).and_then(
                |event| if let Note::Start { pid, .. } = event.note { Some(pid) } else { None },
            );
        pid.is_some()
    });
    shell.kill().unwrap();
    shell.wait().unwrap();
    let stat = format!("/proc/{}/stat", pid.unwrap());
    // Gone, or a zombie.
    until("it to die", || {
        std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
    });
}

#[test]
fn a_second_signal_ends_a_peer_that_waits_for_an_answer() {
    let bench = Bench::new();
    // So patient that only the signal ends the wait.
    let patience = ["--election-timeout", "30s", "--heartbeat-timeout", "60s"];
    let [mut one, mut two] = ["peer1", "peer2"].map(|id| bench.start(id, &patience));
    until("one view", || one.members() == 2 && two.members() == 2);
    let leader = bench.report("peer1").unwrap().status.leader.unwrap();
    let (leads, follows) =
        if leader.as_str() == "peer1" { (&mut one, &mut two) } else { (&mut two, &mut one) };
    leads.signal(Signal::SIGSTOP);
    follows.signal(Signal::SIGTERM);
    until("it to say that it leaves", || follows.has(|note| matches!(note, Note::Leave)));
    assert_eq!(follows.child.try_wait().unwrap(), None, "nobody has let it go");
    // Signals of one moment are one request, so it is asked until the moment is over.
    until("a second request to end it", || {
        follows.signal(Signal::SIGINT);
        follows.child.try_wait().unwrap().is_some()
    });
    assert!(follows.wait().success());
    assert!(follows.log().contains("A second signal: stopping at once"), "{}", follows.log());
    let last = follows.events().pop().unwrap().note;
    assert!(matches!(&last, Note::Stop { reason } if reason.contains("second signal")), "{last:?}");
    leads.signal(Signal::SIGCONT);
}

#[test]
fn lines_may_say_when_they_are_to_be_handed_over() {
    let bench = Bench::new();
    let mut one = bench.start("peer1", &["--sensor", "stdin", "--stdin-commands"]);
    let mut plain = bench.start("peer2", &["--sensor", "stdin"]);
    until("one view", || one.members() == 2 && plain.members() == 2);
    one.child.stdin.take().unwrap().write_all(b"!safe one\n!!two\n!saef three\nfour\n").unwrap();
    until("three readings", || plain.delivered().len() == 3);
    plain.child.stdin.take().unwrap().write_all(b"!safe five\n").unwrap();
    until("one more", || one.delivered().len() == 4);
    let handed: Vec<(Digest, bool)> = one
        .events()
        .into_iter()
        .filter_map(|event| {
            if let Note::Deliver { digest, safe, .. } = event.note {
                Some((digest, safe))
            } else {
                None
            }
        })
        .collect();
    let digest = |text: &str| Digest::of(text.as_bytes());
    let expected = [("one", true), ("!two", false), ("four", false), ("!safe five", false)]
        .map(|(text, safe)| (digest(text), safe));
    assert_eq!(handed, expected);
    assert!(one.log().contains("no command is called !saef"), "{}", one.log());
    let acknowledged: Vec<u64> = one
        .events()
        .into_iter()
        .filter_map(|event| {
            if let Note::Acknowledged { oseq, .. } = event.note { Some(oseq.0) } else { None }
        })
        .collect();
    assert_eq!(acknowledged, [1], "whoever asked for it to be safe hears that it is");
    assert!(one.log().contains("Reading 1 is safe at #"), "{}", one.log());
    let report = bench.command(&["status", "--id", "peer1"]).output().unwrap();
    assert!(
        String::from_utf8(report.stdout).unwrap().contains("mode: available, delivery: agreed")
    );
}

#[test]
fn synthetic_load_begins_with_its_members_is_counted_and_timed() {
    let bench = Bench::new();
    let listens = ["--log-deliveries", "off", "--load-latency", "--sensor", "none"];
    let one = bench.start("peer1", &listens);
    let load = [
        "--log-deliveries",
        "off",
        "--load-latency",
        "--sensor",
        "load",
        "--load-bytes",
        "64",
        "--load-count",
        "2000",
    ];
    let two = bench.start("peer2", &[&load[..], &["--load-members", "3"]].concat());
    until("one view", || one.members() == 2 && two.members() == 2);
    let deliveries = |id: &str| bench.report(id).unwrap().deliveries;
    assert_eq!(deliveries("peer2").count, 0, "it waits for a third one");
    let _three = bench.start("peer3", &listens);
    until("all to be delivered", || {
        ["peer1", "peer2", "peer3"].iter().all(|id| deliveries(id).count == 2_000)
    });
    for id in ["peer1", "peer2", "peer3"] {
        let Deliveries { bytes, hash, latency, .. } = deliveries(id);
        let latency = latency.unwrap();
        assert_eq!((bytes, hash), (2_000 * 64, deliveries("peer1").hash), "{id}");
        assert!(
            latency.count == 2_000
                && latency.p50_us <= latency.p99_us
                && latency.p99_us <= latency.max_us,
            "{latency:?}"
        );
    }
}

#[test]
fn who_is_alone_names_the_seed_that_says_nothing() {
    let bench = Bench::new();
    // Another process holds the port, and never answers.
    let seed = bench.lease.local_addr().unwrap().to_string();
    let mut alone = bench.start("peer1", &["--seeds", &seed]);
    until("it to name the seed", || alone.log().contains(&format!("no word from the seed {seed}")));
    assert!(alone.log().contains("check the address"), "{}", alone.log());
    alone.signal(Signal::SIGTERM);
    assert!(alone.wait().success());
}
