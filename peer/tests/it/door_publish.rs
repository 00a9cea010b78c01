//! Publishing over the local socket: every confirmation is true, and no reading is published twice.

use std::collections::BTreeMap;
use std::io::Write as _;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::{Bench, until};
use crate::talk::{Talk, alone, assert_whole, pair};

#[track_caller]
fn readings(bench: &Bench, id: &str) -> Vec<Value> {
    let mut talk = Talk::with(bench, id);
    talk.say(
        &json!({"id": 1, "do": "subscribe", "from": "start", "until": "now", "kinds": ["reading"]}),
    );
    talk.until_end(1).0
}

#[test]
fn what_is_said_of_a_reading_is_so() {
    let bench = Bench::new();
    let mut group = pair(&bench, &[]);
    for id in ["peer1", "peer2"] {
        let mut talk = Talk::with(&bench, id);
        for wait in ["accepted", "ordered", "safe"] {
            let payload = format!("{id} {wait}");
            talk.say(&json!({"id": 1, "do": "publish", "payload": payload, "wait": wait}));
            let mut said = Vec::new();
            let last = loop {
                let line = talk.hear();
                said.push(line["ok"]["is"].as_str().unwrap_or_else(|| panic!("{line}")).to_owned());
                if said.last().unwrap() == wait || said.last().unwrap() == "safe" {
                    break line["ok"].clone();
                }
            };
            assert!(said.is_sorted(), "first accepted, then ordered, then safe: {said:?}");
            // It is in the log before this peer delivers it.
            let mut record = Value::Null;
            until(&format!("{payload}, which is {last}"), || {
                let found =
                    readings(&bench, id).into_iter().find(|record| record["payload"] == payload);
                record = found.unwrap_or_default();
                !record.is_null()
            });
            for key in ["inc", "oseq", "log", "epoch", "seq"] {
                assert!(wait == "accepted" || record[key] == last[key], "{key}: {record} {last}");
            }
        }
    }
    assert_whole(&bench, &mut group);
}

#[test]
fn a_thousand_requests_in_flight_are_each_answered_once() {
    let bench = Bench::new();
    let mut group = pair(&bench, &[]);
    let mut talk = Talk::with(&bench, "peer2");
    let lines: String = (0..5_000)
        .map(|id| match id % 10 {
            0 => format!("{{\"id\":{id},\"do\":\"status\"}}\n"),
            _ => format!(
                "{{\"id\":{id},\"do\":\"publish\",\"payload\":\"{id}\",\"wait\":\"ordered\"}}\n"
            ),
        })
        .collect();
    let mut writer = talk.stream().try_clone().unwrap();
    let speaker = std::thread::spawn(move || {
        std::io::Write::write_all(&mut writer, lines.as_bytes()).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut last: BTreeMap<u64, u32> = BTreeMap::new();
    while let Some(line) = talk.next() {
        assert!(line.get("error").is_none(), "{line}");
        if line["ok"]["is"] != "accepted" {
            *last.entry(line["id"].as_u64().unwrap()).or_default() += 1;
        }
    }
    speaker.join().unwrap();
    assert_eq!((last.len(), last.values().all(|count| *count == 1)), (5_000, true));
    until("all to be delivered", || readings(&bench, "peer2").len() >= 4_500);
    let all = readings(&bench, "peer2");
    let numbers: Vec<u64> =
        all.iter().map(|record| record["payload"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(
        (numbers.len(), numbers.is_sorted()),
        (4_500, true),
        "in the order in which they were said"
    );
    assert_whole(&bench, &mut group);
}

#[test]
fn the_same_token_is_published_once_over_any_connection() {
    let bench = Bench::new();
    let mut group = pair(&bench, &[]);
    let request = |id: u64, wait: &str| json!({"id": id, "do": "publish", "payload": "once", "wait": wait, "token": "t"});
    let mut first = Talk::with(&bench, "peer2");
    // Both at once on one connection, and a third on another one.
    first.say(&request(1, "safe"));
    first.say(&request(2, "safe"));
    let mut second = Talk::with(&bench, "peer2");
    second.say(&request(1, "safe"));
    let settle = |talk: &mut Talk, id: u64| loop {
        let line = talk.hear();
        if line["id"] == id && (line["ok"]["is"] == "safe" || line.get("error").is_some()) {
            return line;
        }
    };
    let answers = [settle(&mut first, 1), settle(&mut second, 1)];
    let place = |answer: &Value| (answer["ok"]["oseq"].clone(), answer["ok"]["seq"].clone());
    assert!(
        answers
            .iter()
            .all(|answer| place(answer) == place(&answers[0]) && answer["ok"]["seq"].is_u64()),
        "{answers:?}"
    );
    // A publisher that dies does not know the fate of its reading, and asks again.
    let mut dying = Talk::with(&bench, "peer2");
    dying.say(&json!({"id": 1, "do": "publish", "payload": "again", "wait": "safe", "token": "u"}));
    drop(dying);
    until("it to be delivered", || {
        readings(&bench, "peer2").iter().any(|record| record["payload"] == "again")
    });
    second
        .say(&json!({"id": 5, "do": "publish", "payload": "again", "wait": "safe", "token": "u"}));
    let answer = settle(&mut second, 5);
    assert_eq!(answer["ok"]["again"], true, "{answer}");
    let all = readings(&bench, "peer1");
    assert_eq!(
        all.iter().map(|record| record["payload"].as_str().unwrap()).collect::<Vec<_>>(),
        ["once", "again"]
    );
    assert_whole(&bench, &mut group);
}

#[test]
fn a_token_outlives_its_peer_where_there_is_a_data_folder() {
    let bench = Bench::new();
    let data = bench.path("data");
    let flags = ["--data-dir", data.to_str().unwrap()];
    let request = |token: &str, wait: &str| json!({"id": 1, "do": "publish", "payload": "once", "wait": wait, "token": token});
    let mut peer = alone(&bench, "peer1", &flags);
    let mut talk = Talk::with(&bench, "peer1");
    talk.say(&request("t", "safe"));
    let first = talk.until_is("safe");
    // Its fate is on the disk before anything else is known.
    let stored = || std::fs::read_to_string(data.join("tokens.jsonl")).unwrap_or_default();
    until("it to be stored", || stored().contains(r#""is":"safe""#));
    peer.signal(Signal::SIGKILL);
    peer.wait();
    // A stored token without a known fate of its reading: the result of a kill in between.
    let mut file =
        std::fs::OpenOptions::new().append(true).open(data.join("tokens.jsonl")).unwrap();
    writeln!(file, r#"{{"token":"half","is":"begun"}}"#).unwrap();
    let _peer = alone(&bench, "peer1", &flags);
    let mut talk = Talk::with(&bench, "peer1");
    talk.say(&request("t", "safe"));
    let again = talk.hear();
    let place = |answer: &Value| {
        ["inc", "oseq", "log", "epoch", "seq"].map(|key| answer["ok"][key].clone())
    };
    assert_eq!((place(&again), &again["ok"]["again"]), (place(&first), &json!(true)), "{again}");
    talk.say(&request("half", "accepted"));
    assert_eq!(talk.hear()["error"]["code"], "unknown_fate");
    talk.say(&request("new", "safe"));
    assert!(
        talk.until_is("safe")["ok"].get("again").is_none(),
        "it is published, and is the only one of this life"
    );
    assert_eq!(readings(&bench, "peer1").len(), 1);
}

#[test]
fn a_peer_that_stops_leaves_no_token_of_unknown_fate() {
    let bench = Bench::new();
    let data = bench.path("data");
    let flags = ["--data-dir", data.to_str().unwrap()];
    let request = |n: u64| json!({"id": n, "do": "publish", "payload": format!("reading {n}"), "wait": "safe", "token": n.to_string()});
    let mut peer = alone(&bench, "peer1", &flags);
    let mut talk = Talk::with(&bench, "peer1");
    // It is asked to leave before it can have stored that many tokens, let alone published their
    // readings.
    let lines: String = (0..200)
        .map(request)
        .chain([json!({"id": "leave", "do": "leave"})])
        .map(|line| format!("{line}\n"))
        .collect();
    talk.say_bytes(lines.as_bytes());
    assert!(peer.wait().success());
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    for line in std::fs::read_to_string(data.join("tokens.jsonl")).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        last.insert(
            line["token"].as_str().unwrap().to_owned(),
            line["is"].as_str().unwrap().to_owned(),
        );
    }
    let count = |is: &str| last.values().filter(|fate| *fate == is).count();
    assert_eq!(count("safe") + count("refused"), last.len(), "{last:?}");
    let _peer = alone(&bench, "peer1", &flags);
    let mut talk = Talk::with(&bench, "peer1");
    for n in 0..200 {
        talk.say(&request(n));
        let answer = talk.until_is("safe");
        assert_eq!(
            answer["ok"].get("again").is_some(),
            last.get(&n.to_string()).is_some_and(|fate| fate == "safe"),
            "{answer}"
        );
    }
    let mut published: Vec<String> = Vec::new();
    until("all to be kept", || {
        let text = std::fs::read_to_string(data.join("ordered.jsonl")).unwrap();
        let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        published = records
            .filter_map(|record| record["payload"].as_str().map(ToOwned::to_owned))
            .collect();
        published.len() >= 200
    });
    published.sort();
    let mut expected: Vec<String> = (0..200).map(|n| format!("reading {n}")).collect();
    expected.sort();
    assert_eq!(published, expected, "each once, in one life or the other");
}

#[test]
fn a_token_that_cannot_be_stored_publishes_nothing() {
    let bench = Bench::new();
    let data = bench.path("data");
    let _peer = alone(&bench, "peer1", &["--data-dir", data.to_str().unwrap()]);
    std::fs::create_dir(data.join("tokens.jsonl")).unwrap();
    let mut talk = Talk::with(&bench, "peer1");
    let fault = talk.ask(&json!({"id": 1, "do": "publish", "payload": "once", "token": "t"}));
    assert_eq!(fault["error"]["code"], "not_stored", "{fault}");
    assert_eq!(talk.publish("without")["ok"]["is"], "safe");
    assert_eq!(readings(&bench, "peer1").len(), 1);
}

#[test]
fn bytes_of_any_kind_are_published_up_to_the_size_that_the_group_takes() {
    let bench = Bench::new();
    let mut group = [alone(&bench, "peer1", &["--payload-max", "1000"])];
    let mut talk = Talk::with(&bench, "peer1");
    let fault = talk.publish(&"x".repeat(1_001));
    assert_eq!(fault["error"]["code"], "too_large", "{fault}");
    assert!(
        fault["error"]["say"].as_str().unwrap().contains("1001 bytes; payload_max is 1000"),
        "{fault}"
    );
    assert_eq!(talk.publish(&"x".repeat(1_000))["ok"]["is"], "safe");
    talk.ask(&json!({"id": 1, "do": "publish", "payload_base64": "/wA="}));
    assert_eq!(talk.publish("a\u{0}b\n\"|")["ok"]["is"], "safe");
    let all = readings(&bench, "peer1");
    assert_eq!(
        (&all[1]["payload_base64"], &all[2]["payload"]),
        (&json!("/wA="), &json!("a\u{0}b\n\"|"))
    );
    assert_whole(&bench, &mut group);
}

#[test]
fn a_peer_that_is_blocked_says_so_and_one_without_an_answer_is_asked_no_longer_than_it_takes() {
    let bench = Bench::new();
    let mode = ["--mode", "primary", "--bootstrap", "peer1,peer2,peer3"];
    let mut group = ["peer1", "peer2", "peer3"].map(|id| bench.start(id, &mode));
    until("the three to found their group", || group.iter().all(|one| one.members() == 3));
    group[1..].iter().for_each(|paused| paused.signal(Signal::SIGSTOP));
    let mut talk = Talk::with(&bench, "peer1");
    let mut answer = Value::Null;
    until("it to be blocked", || {
        talk.say(&json!({"id": 1, "do": "publish", "payload": "in vain", "wait": "accepted"}));
        answer = talk.hear();
        answer["error"]["code"] == "blocked"
    });
    assert!(answer["error"]["say"].as_str().unwrap().contains("members"), "{answer}");
    let refused = bench.command(&["publish", "--id", "peer1", "in vain"]).output().unwrap();
    let words = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(75), "{words}");
    assert!(
        words.contains("not taken: ")
            && words.contains("1 of 1 readings were not published by peer1"),
        "{words}"
    );
    // A paused peer answers no client, and noticing that takes no longer than necessary.
    let begun = std::time::Instant::now();
    let silent = bench.command(&["publish", "--id", "peer2", "in vain"]).output().unwrap();
    let words = String::from_utf8(silent.stderr).unwrap();
    assert_eq!(silent.status.code(), Some(69), "{words}");
    assert!(words.contains("said nothing for 2s: it stands still, or is very busy"), "{words}");
    assert!(begun.elapsed().as_secs() < 8, "{:?}", begun.elapsed());
    group[1..].iter().for_each(|paused| paused.signal(Signal::SIGCONT));
    until("it to go on", || Talk::with(&bench, "peer1").publish("at last")["ok"]["is"] == "safe");
    until("all to be one group", || {
        bench.report("peer2").is_some_and(|report| report.status.members.len() == 3)
    });
    until("all to be one group", || {
        bench.report("peer3").is_some_and(|report| report.status.members.len() == 3)
    });
    assert_whole(&bench, &mut group);
}

#[test]
fn a_token_whose_reading_waits_for_room_is_not_taken_twice() {
    let bench = Bench::new();
    let mut group = pair(&bench, &["--window-entries", "1"]);
    let leader = bench.report("peer1").unwrap().status.leader.unwrap().to_string();
    let (leads, follows) = if leader == "peer1" { (0, "peer2") } else { (1, "peer1") };
    let mut talk = Talk::with(&bench, follows);
    group[leads].signal(Signal::SIGSTOP);
    talk.say(&json!({"id": 1, "do": "publish", "payload": "takes the room", "wait": "ordered"}));
    assert_eq!(talk.hear()["ok"]["is"], "accepted");
    talk.say(
        &json!({"id": 2, "do": "publish", "payload": "waits", "wait": "ordered", "token": "t"}),
    );
    talk.say(
        &json!({"id": 3, "do": "publish", "payload": "waits", "wait": "ordered", "token": "t"}),
    );
    // Questions are answered meanwhile.
    assert!(talk.ask(&json!({"id": 4, "do": "status"}))["ok"].is_object());
    group[leads].signal(Signal::SIGCONT);
    let mut places = BTreeMap::new();
    while places.len() < 2 {
        let line = talk.hear();
        assert!(line.get("error").is_none(), "{line}");
        if line["ok"]["is"] == "ordered" && line["id"] != 1 {
            places.insert(line["id"].to_string(), line["ok"]["seq"].clone());
        }
    }
    assert_eq!(places["2"], places["3"], "one reading, for whoever has asked for it");
    until("both to be delivered, once", || readings(&bench, follows).len() == 2);
    until("the two to be one group", || {
        ["peer1", "peer2"]
            .iter()
            .all(|id| bench.report(id).is_some_and(|report| report.status.members.len() == 2))
    });
    assert_whole(&bench, &mut group);
}
