//! Very many clients: those without room are told, the others are served, and the group is
//! unaffected.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bench::{Bench, until};
use crate::talk::{Talk, alone, assert_whole, descriptors, pair, socket};

#[test]
fn of_a_thousand_at_once_each_is_greeted_or_turned_away_in_words() {
    let bench = Bench::new();
    let mut group = pair(&bench, &[]);
    let path = socket(&bench, "peer1");
    let before = descriptors(&group[0]);
    let crowd: Vec<_> = (0..1_000)
        .map(|_| {
            let path = path.clone();
            std::thread::Builder::new()
                .stack_size(64 << 10)
                .spawn(move || {
                    let mut stream = UnixStream::connect(path).unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                    let mut text = Vec::new();
                    let mut byte = [0];
                    while !text.ends_with(b"\n") {
                        assert_eq!(
                            stream.read(&mut byte).unwrap(),
                            1,
                            "{}",
                            String::from_utf8_lossy(&text)
                        );
                        text.extend_from_slice(&byte);
                    }
                    (String::from_utf8(text).unwrap(), stream)
                })
                .unwrap()
        })
        .collect();
    let heard: Vec<(String, UnixStream)> =
        crowd.into_iter().map(|one| one.join().unwrap()).collect();
    let greeted = heard.iter().filter(|(text, _)| text.contains("\"speaks\":1")).count();
    let turned_away = "{\"error\":{\"code\":\"too_many_connections\",\"say\":\"64 clients are \
                       connected to this socket";
    let told = heard.iter().filter(|(text, _)| text.starts_with(turned_away)).count();
    assert_eq!((greeted, told), (64, 936));
    assert!(group[0].log().matches("was turned away").count() <= 11, "{}", group[0].log());
    // A command reports that there is no room now, and that this is temporary.
    let output = bench.command(&["status", "--id", "peer1"]).output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{words}");
    assert!(words.contains("takes nobody in now: 64 clients are connected"), "{words}");
    // The group goes on.
    assert_eq!(Talk::with(&bench, "peer2").publish("meanwhile")["ok"]["is"], "safe");
    drop(heard);
    until("the descriptors to be given back", || descriptors(&group[0]) <= before);
    assert_whole(&bench, &mut group);
}

#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    let bench = Bench::new();
    let mut group = [alone(&bench, "peer1", &[])];
    let before = descriptors(&group[0]);
    for round in 0..200_u32 {
        let mut talk = Talk::begin(&bench, "peer1");
        match round % 4 {
            0 => drop(talk.hear()),
            1 => talk.say(&json!({"id": 1, "do": "subscribe", "from": "start"})),
            2 => talk.say(&json!({"id": 1, "do": "publish", "payload": "x", "wait": "safe"})),
            _ => talk.say_bytes(b"{\"id\":"),
        }
    }
    until("the descriptors to be given back", || descriptors(&group[0]) <= before);
    assert_whole(&bench, &mut group);
}

#[test]
fn readers_leave_room_for_those_who_may_do_everything() {
    let bench = Bench::new();
    let mut group = [alone(&bench, "peer1", &["--read-socket"])];
    let path = bench.path("peer1.read.sock");
    let crowd: Vec<UnixStream> = (0..64).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let mut last = String::new();
    until("one to be turned away", || {
        last.clear();
        UnixStream::connect(&path).unwrap().take(120).read_to_string(&mut last).unwrap();
        last.contains("too_many_connections")
    });
    assert!(last.contains("48 clients are connected to this socket"), "{last}");
    assert_eq!(Talk::with(&bench, "peer1").publish("by its owner")["ok"]["is"], "safe");
    drop(crowd);
    assert_whole(&bench, &mut group);
}

#[test]
fn clients_that_ask_and_never_read_are_bounded_and_wait_alone() {
    let bench = Bench::new();
    let mut group = [alone(&bench, "peer1", &[])];
    // Each asks for more than it is ever sent, and reads no answer.
    let asks: String =
        (0..2_000).map(|id| format!("{{\"id\":{id},\"do\":\"status\"}}\n")).collect();
    let crowd: Vec<UnixStream> = (0..60)
        .map(|_| {
            let mut stream = UnixStream::connect(socket(&bench, "peer1")).unwrap();
            stream.set_nonblocking(true).unwrap();
            let _as_much_as_it_takes = std::io::Write::write(&mut stream, asks.as_bytes());
            stream
        })
        .collect();
    // Clients that read are served meanwhile, in time.
    for round in 0..20 {
        let begun = Instant::now();
        assert_eq!(Talk::with(&bench, "peer1").publish(&round.to_string())["ok"]["is"], "safe");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", group[0].child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let memory: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(memory < 100 << 10, "{line}");
    // There is nothing to do for them until they read, and nothing is done.
    std::thread::sleep(Duration::from_millis(300));
    let before = crate::talk::ticks(&group[0]);
    std::thread::sleep(Duration::from_secs(1));
    let used = crate::talk::ticks(&group[0]) - before;
    assert!(used < 20, "{used} ticks in a second in which nothing can be done");
    drop(crowd);
    assert_whole(&bench, &mut group);
}
