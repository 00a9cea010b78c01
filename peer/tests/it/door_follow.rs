//! Subscriptions against real peers: each record once, in order, or a named gap; a slow subscriber
//! is told where to continue, and affects no other client.

use std::io::Write as _;
use std::process::ChildStdin;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bench::{Bench, Running, until};
use crate::talk::{Talk, alone, assert_whole, pair, ticks};

const STDIN: [&str; 2] = ["--sensor", "stdin"];

fn feed(stdin: &mut ChildStdin, numbers: std::ops::Range<u64>) {
    let lines: String =
        numbers.map(|number| format!("DATA|s{}|t|n={number}\n", number % 2)).collect();
    stdin.write_all(lines.as_bytes()).unwrap();
}

/// The numbers in readings that were fed.
fn numbers(records: &[Value]) -> Vec<u64> {
    let number = |record: &Value| record["payload"].as_str()?.rsplit_once("n=")?.1.parse().ok();
    records.iter().filter_map(number).collect()
}

/// Checks that these are all numbers of a range, in order, each once; reports the first wrong one.
#[track_caller]
fn check_all(numbers: &[u64], expected: std::ops::Range<u64>) {
    let wrong = numbers.iter().zip(expected.clone()).find(|(number, expected)| *number != expected);
    assert!(
        wrong.is_none() && numbers.len() as u64 == expected.end - expected.start,
        "{wrong:?}, and {} of {expected:?}",
        numbers.len()
    );
}

fn delivered(bench: &Bench, id: &str, count: u64) {
    until(&format!("{count} readings at {id}"), || {
        bench.report(id).is_some_and(|report| report.deliveries.count >= count)
    });
}

/// The records from that place on.
#[track_caller]
fn read(talk: &mut Talk, from: Value, more: Value) -> (Vec<Value>, Value) {
    let mut request = json!({"id": 9, "do": "subscribe", "from": from, "until": "now"});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    talk.say(&request);
    talk.until_end(9)
}

#[test]
fn a_subscription_begins_at_every_place_that_has_a_name() {
    let bench = Bench::new();
    let mut one = alone(
        &bench,
        "peer1",
        &[
            &STDIN[..],
            &[
                "--retain-entries",
                "1000",
                "--max-lag-entries",
                "500",
                "--window-entries",
                "500",
                "--merge-retain-entries",
                "500",
            ],
        ]
        .concat(),
    );
    let mut stdin = one.child.stdin.take().unwrap();
    feed(&mut stdin, 0..500);
    delivered(&bench, "peer1", 500);
    let mut talk = Talk::with(&bench, "peer1");
    let (all, end) = read(&mut talk, json!("start"), json!({}));
    check_all(&numbers(&all), 0..500);
    assert_eq!((&all[0]["kind"], end["end"].as_str()), (&json!("view"), Some("done")));
    let log = end["log"].clone();
    assert_eq!(
        end["next"].as_u64(),
        Some(all.last().unwrap()["seq"].as_u64().unwrap() + 1),
        "{end}"
    );
    // The readings follow the view, so that the one of number 100 is at position 102.
    let (some, _) = read(&mut talk, json!({"log": log, "seq": 102}), json!({}));
    check_all(&numbers(&some), 100..500);
    let (some, _) =
        read(&mut talk, json!({"log": log, "seq": 102, "epoch": end["epoch"]}), json!({}));
    check_all(&numbers(&some), 100..500);
    let (some, _) = read(&mut talk, json!("last 3"), json!({}));
    assert_eq!(numbers(&some), [497, 498, 499]);
    let (some, _) = read(&mut talk, json!("last 3"), json!({"sensor": "s0"}));
    assert_eq!(numbers(&some), [494, 496, 498]);
    let (some, _) = read(&mut talk, json!("last 3"), json!({"sensor": "nothing*"}));
    assert!(numbers(&some).is_empty());
    let (some, _) = read(&mut talk, json!("last 0"), json!({}));
    assert!(some.is_empty(), "{some:?}");
    let (some, _) = read(
        &mut talk,
        json!("last 18446744073709551615"),
        json!({"origin": "peer?", "kinds": ["reading"]}),
    );
    assert_eq!(some.len(), 500);
    let (some, _) = read(&mut talk, json!({"since": "1h"}), json!({"kinds": ["view"]}));
    assert_eq!(some.len(), 1);
    let (some, _) = read(&mut talk, json!({"since": "2100-01-01T00:00:00Z"}), json!({}));
    assert!(some.is_empty());
    let (some, end) = read(&mut talk, json!("start"), json!({"count": 7, "sensor": "s1"}));
    assert_eq!(numbers(&some), [1, 3, 5, 7, 9, 11, 13]);
    assert_eq!((end["end"].as_str(), end["next"].as_u64()), (Some("done"), Some(16)));
    let (rest, _) =
        read(&mut talk, json!({"log": log, "seq": end["next"]}), json!({"sensor": "s1"}));
    assert_eq!(numbers(&rest)[0], 15, "what was told as next is the next one");
    let (some, _) = read(&mut talk, json!({"log": log, "seq": 0}), json!({"count": 1}));
    assert_eq!(numbers(&some), [0], "positions are counted from 1");
    assert!(some.iter().all(|record| record["kind"] != "gap"), "{some:?}");
    let until_ten = json!({"until": {"log": log, "seq": 10}});
    let (some, _) = read(&mut talk, json!("start"), until_ten);
    check_all(&numbers(&some), 0..9);
    // Records that are not retained are a gap with both ends; records of another log one without an
    // end.
    feed(&mut stdin, 500..3_000);
    delivered(&bench, "peer1", 3_000);
    let (some, _) = read(&mut talk, json!({"log": log, "seq": 102}), json!({}));
    let first = numbers(&some)[0];
    assert_eq!(
        (&some[0]["kind"], &some[0]["from"], some[0]["to"].as_u64()),
        (&json!("gap"), &json!(102), Some(first + 1)),
        "{:?}",
        some[0]
    );
    assert!(first > 1_500, "{first}");
    check_all(&numbers(&some), first..3_000);
    let (some, _) = read(&mut talk, json!({"log": "1.nobody#7", "seq": 5}), json!({}));
    assert_eq!(
        (&some[0]["kind"], &some[0]["log"], &some[0]["from"]),
        (&json!("gap"), &json!("1.nobody#7"), &json!(5))
    );
    assert_eq!(some[0].get("to"), None);
    check_all(&numbers(&some), first..3_000);
    // One in the future waits for it.
    talk.say(&json!({"id": 5, "do": "subscribe", "from": {"log": log, "seq": 3_012}, "count": 2}));
    assert_eq!(talk.hear()["ok"]["next"], 3_012);
    feed(&mut stdin, 3_000..3_100);
    let (some, _) = talk.until_end(5);
    assert_eq!(numbers(&some), [3_010, 3_011]);
    assert_whole(&bench, &mut [one]);
}

#[test]
fn there_are_sixteen_subscriptions_and_each_can_be_cancelled() {
    let bench = Bench::new();
    let mut group = [alone(&bench, "peer1", &[])];
    let mut talk = Talk::with(&bench, "peer1");
    for id in 1..=16 {
        let answer = talk.ask(&json!({"id": id, "do": "subscribe", "kinds": ["reading"]}));
        assert!(answer["ok"]["next"].is_u64(), "{answer}");
    }
    let mut code = |request: Value| {
        talk.ask(&request)["error"]["code"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(code(json!({"id": 17, "do": "subscribe"})), "too_many_subscriptions");
    assert_eq!(code(json!({"id": 3, "do": "subscribe"})), "id_in_use");
    assert_eq!(code(json!({"id": 3, "do": "status"})), "id_in_use");
    assert_eq!(code(json!({"id": 99, "do": "cancel"})), "no_such_request");
    let end = talk.ask(&json!({"id": 3, "do": "cancel"}));
    assert_eq!((end["end"].as_str(), end["next"].is_u64()), (Some("cancelled"), true), "{end}");
    assert!(talk.ask(&json!({"id": 17, "do": "subscribe"}))["ok"].is_object());
    let answer = talk.publish("for all sixteen");
    assert_eq!(answer["ok"]["is"], "safe", "{answer}");
    assert_whole(&bench, &mut group);
}

#[test]
fn a_subscriber_that_never_reads_is_told_where_to_go_on_and_disturbs_nobody() {
    let bench = Bench::new();
    let mut group = pair(&bench, &STDIN);
    let mut stdin = group[0].child.stdin.take().unwrap();
    let follow = json!({"id": 1, "do": "subscribe", "kinds": ["reading"]});
    let mut idle = Talk::with(&bench, "peer2");
    let mut twice = json!({"id": 2, "do": "subscribe", "sensor": "s1"});
    twice["kinds"] = json!(["reading"]);
    let begin = idle.ask(&follow)["ok"].clone();
    assert!(idle.ask(&twice)["ok"].is_object());
    let mut attentive = Talk::with(&bench, "peer2");
    attentive.ask(&follow);
    let reader = std::thread::spawn(move || {
        let mut records = Vec::new();
        while records.len() < 100_000 {
            let line = attentive.hear();
            assert!(line.get("end").is_none(), "{line} after {}", records.len());
            records.push(line["record"].clone());
        }
        records
    });
    for piece in 0..100 {
        feed(&mut stdin, piece * 1_000..(piece + 1) * 1_000);
    }
    let records = reader.join().unwrap();
    check_all(&numbers(&records), 0..100_000);
    // Longer than a subscriber of live deliveries may take.
    std::thread::sleep(Duration::from_millis(2_500));
    let mut had: Vec<Vec<u64>> = vec![Vec::new(); 3];
    let mut ends = Vec::new();
    while ends.len() < 2 {
        let mut line = idle.hear();
        let id = usize::try_from(line["id"].as_u64().unwrap()).unwrap();
        if line.get("end").is_some() {
            ends.push(line);
        } else {
            had[id].extend(numbers(&[line["record"].take()]));
        }
    }
    assert!(had[1].len() < 50_000, "{} records wait for one that does not read", had[1].len());
    ends.sort_by_key(|end| end["id"].as_u64());
    for (end, step) in ends.iter().zip([1, 2]) {
        assert_eq!(end["end"], "too_slow", "{end}");
        // From there on it continues, without an unnamed loss, and without repeats.
        let place = json!({"log": end["log"], "seq": end["next"], "epoch": end.get("epoch")});
        let place: Value = place
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let (rest, _) = read(
            &mut Talk::with(&bench, "peer2"),
            place,
            if step == 2 { json!({"sensor": "s1"}) } else { json!({}) },
        );
        let had = &had[step];
        let next = had.last().map_or(step as u64 - 1, |last| last + step as u64);
        let rest_numbers = numbers(&rest);
        match rest.iter().find(|record| record["kind"] == "gap") {
            Some(gap) => {
                assert_eq!(gap["from"], end["next"], "{gap}");
                let first = rest.iter().find(|record| record["kind"] != "gap").unwrap();
                assert!(
                    first["seq"].as_u64().unwrap() > gap["to"].as_u64().unwrap()
                        && first["seq"].as_u64().unwrap()
                            <= gap["to"].as_u64().unwrap() + step as u64,
                    "{gap} {first}"
                );
            }
            None => assert_eq!(rest_numbers.first(), Some(&next), "{end}"),
        }
        assert_eq!(rest_numbers.last(), Some(&99_999));
        assert!(rest_numbers.windows(2).all(|two| two[1] == two[0] + step as u64));
    }
    assert!(begin["next"].is_u64());
    assert_whole(&bench, &mut group);
}

#[test]
fn a_subscriber_that_reads_slowly_has_all_or_is_told() {
    let bench = Bench::new();
    let mut one = alone(&bench, "peer1", &STDIN);
    let mut stdin = one.child.stdin.take().unwrap();
    feed(&mut stdin, 0..20_000);
    delivered(&bench, "peer1", 20_000);
    // It reads the past at its own pace: longer than a live subscriber may take, and never cut off.
    let mut slow = Talk::with(&bench, "peer1");
    slow.say(
        &json!({"id": 1, "do": "subscribe", "from": "start", "until": "now", "kinds": ["reading"]}),
    );
    let begun = Instant::now();
    let mut had = Vec::new();
    let end = loop {
        let line = slow.hear();
        if line.get("end").is_some() {
            break line;
        }
        had.extend(numbers(&[line["record"].clone()]));
        if had.len() % 1_000 == 0 {
            std::thread::sleep(Duration::from_millis(150));
        }
    };
    assert!(begun.elapsed() > Duration::from_millis(2_500));
    assert_eq!(end["end"], "done", "{end}");
    check_all(&had, 0..20_000);
    assert_whole(&bench, &mut [one]);
}

#[test]
fn an_idle_peer_with_idle_followers_hardly_wakes() {
    let bench = Bench::new();
    // A leader without members sends no heartbeats.
    let one = alone(&bench, "peer1", &[]);
    let mut talks: Vec<Talk> = (0..63).map(|_| Talk::with(&bench, "peer1")).collect();
    talks
        .iter_mut()
        .for_each(|talk| assert!(talk.ask(&json!({"id": 1, "do": "subscribe"}))["ok"].is_object()));
    let gone = Talk::with(&bench, "peer1");
    gone.hush();
    let (before, used) = (wake_ups(&one), ticks(&one));
    std::thread::sleep(Duration::from_secs(3));
    let woken = wake_ups(&one) - before;
    assert!((1..=5).contains(&woken), "the thread of the socket has woken {woken} times in 3 s");
    assert!(ticks(&one) - used < 30, "{}", ticks(&one) - used);
    assert_whole(&bench, &mut [one]);
}

/// How often the thread that serves the socket has slept and woken.
fn wake_ups(one: &Running) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", one.child.id()))
        .unwrap()
        .map(|task| task.unwrap().path());
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let door = tasks.into_iter().find(|task| read(task.join("comm")).trim() == "door").unwrap();
    let status = read(door.join("status"));
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
