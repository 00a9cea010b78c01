//! The shape of what a peer says of itself as JSON: what is not there is left out, and every reader
//! gets every number exactly.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::{Bench, Running, until};
use crate::http::connect;
use crate::page::base;
use crate::talk::{Talk, alone, pair};

/// Every whole number up to here is a 64-bit float, which is all that browsers and jq know.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Everything that a peer says of itself: by its command, over its socket, and to its page.
#[track_caller]
fn check(bench: &Bench, id: &str, one: &Running) -> Value {
    let command = |name: &str| {
        let output = bench.command(&[name, "--id", id, "--json"]).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let status = command("status");
    let mut said = vec![status.clone(), command("members"), command("why"), state(&base(one))];
    let mut talk = Talk::with(bench, id);
    for request in ["status", "members", "why"] {
        said.push(talk.ask(&json!({"id": request, "do": request})));
    }
    said.iter().for_each(|value| look(value, value));
    status
}

#[track_caller]
fn look(value: &Value, whole: &Value) {
    match value {
        Value::Null => panic!("something is null in {whole}"),
        Value::Number(number) => {
            assert!(number.as_f64().unwrap().abs() <= EXACT_MAX, "{number} in {whole}")
        }
        Value::Array(values) => values.iter().for_each(|value| look(value, whole)),
        Value::Object(values) => values.values().for_each(|value| look(value, whole)),
        Value::Bool(_) | Value::String(_) => {}
    }
}

/// What the page is told of how things are.
#[track_caller]
fn state(base: &str) -> Value {
    use std::io::{BufRead as _, BufReader, Write as _};

    let mut stream = connect(base);
    let host = base.strip_prefix("http://").unwrap();
    write!(stream, "GET /events HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut is_state = false;
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        is_state |= line == "event: state";
        if let Some(data) = line.strip_prefix("data: ").filter(|_| is_state) {
            return serde_json::from_str(data).unwrap();
        }
    }
    panic!("the stream has ended")
}

/// Whether these fields are there.
#[track_caller]
fn has(status: &Value, fields: &[&str], expected: bool) {
    for field in fields {
        assert_eq!(status.get(field).is_some(), expected, "{field} in {status}");
    }
}

#[test]
fn every_member_knows_the_units_of_the_sensors_of_all() {
    let bench = Bench::new();
    let start = |id: &str| {
        let file = bench.path(&format!("{id}.toml"));
        let units = format!("units = {{ celsius = '°C', turns = 'turns of {id}' }}");
        std::fs::write(
            &file,
            format!("[[sensor]]\nname = 'meter'\nkind = 'synthetic'\nevery = '50ms'\n{units}\n"),
        )
        .unwrap();
        bench.start(id, &["--config", file.to_str().unwrap(), "--http", "127.0.0.1:0"])
    };
    let mut group = ["peer1", "peer2", "peer3"].map(start);
    until("the three to be one group", || group.iter().all(|one| one.members() == 3));
    let units = |id: &str, row: &str| {
        let members = Talk::with(&bench, id).ask(&json!({"id": 1, "do": "members"}));
        let rows = members["ok"]["members"].as_array().cloned().unwrap_or_default();
        rows.into_iter()
            .find(|one| one["peer"] == row)
            .map(|one| one["units"]["meter"].clone())
            .unwrap_or_default()
    };
    let all_know = || {
        for (asked, of) in ["peer1", "peer2", "peer3"]
            .iter()
            .flat_map(|asked| ["peer1", "peer2", "peer3"].map(|of| (asked, of)))
        {
            let expected = json!({"celsius": "°C", "turns": format!("turns of {of}")});
            until(&format!("{asked} to know the units of {of}"), || units(asked, of) == expected);
        }
    };
    all_know();
    for (id, one) in ["peer1", "peer2", "peer3"].iter().zip(&group) {
        check(&bench, id, one);
    }
    // A leader that was started again knows nothing of what it was told before.
    let leader = || {
        bench
            .report("peer1")
            .and_then(|report| report.status.leader)
            .map(|leader| leader.to_string())
    };
    let first = leader().unwrap();
    let place = ["peer1", "peer2", "peer3"].iter().position(|id| *id == first).unwrap();
    group[place].signal(Signal::SIGKILL);
    group[place].wait();
    until("another one to lead", || {
        group.iter().enumerate().all(|(n, one)| n == place || one.members() == 2)
    });
    group[place] = start(&first);
    until("the three to be one group", || group.iter().all(|one| one.members() == 3));
    for id in ["peer1", "peer2", "peer3"].iter().filter(|id| **id != first) {
        Talk::with(&bench, id).ask(&json!({"id": 1, "do": "demote"}));
    }
    until("the first to lead again", || leader().as_ref() == Some(&first));
    all_know();
}

const OF_A_GROUP: [&str; 11] = [
    "leader",
    "log",
    "epoch",
    "epoch_inc",
    "promised",
    "promised_inc",
    "view_id",
    "view_since",
    "contiguous",
    "delivered",
    "stable",
];
const FLAGS: [&str; 6] = ["--http", "127.0.0.1:0", "--sensor", "synthetic", "--interval", "50ms"];

#[test]
fn a_peer_alone_says_what_it_has_and_nothing_else() {
    let bench = Bench::new();
    let one = alone(&bench, "peer1", &FLAGS);
    until("it to have delivered something", || {
        bench.report("peer1").is_some_and(|report| report.deliveries.count > 0)
    });
    let status = check(&bench, "peer1", &one);
    has(&status, &OF_A_GROUP, true);
    has(&status, &["blocked"], false);
    let inc = one.events()[0].inc.to_string();
    assert_eq!(
        (&status["inc"], &status["epoch_inc"], &status["promised_inc"]),
        (&json!(inc), &json!(inc), &json!(inc))
    );
    has(&status["deliveries"], &["hash", "latency"], false);
    let none = bench.start(
        "peer9",
        &["--log-deliveries", "off", "--http", "127.0.0.1:0", "--cluster", "other"],
    );
    until("it to lead alone", || none.members() == 1);
    let status = check(&bench, "peer9", &none);
    has(&status["deliveries"], &["first", "first_at", "last_at", "hash"], false);
    assert_eq!(Talk::with(&bench, "peer9").publish("one")["ok"]["is"], "safe");
    has(
        &check(&bench, "peer9", &none)["deliveries"],
        &["first", "first_at", "last_at", "hash"],
        true,
    );
}

#[test]
fn members_of_a_group_say_what_they_have_and_nothing_else() {
    let bench = Bench::new();
    let group = pair(&bench, &FLAGS);
    // The lowest priority there is lies below what a 64-bit float holds exactly.
    let demoted = Talk::with(&bench, "peer1").ask(&json!({"id": 1, "do": "demote"}));
    assert_eq!(demoted["ok"]["priority"], json!(i64::MIN.to_string()), "{demoted}");
    let lowest =
        |row: &Value| row["peer"] == "peer1" && row["priority"] == json!(i64::MIN.to_string());
    until("both to know the priority", || {
        ["peer1", "peer2"].iter().all(|id| {
            let members = Talk::with(&bench, id).ask(&json!({"id": 1, "do": "members"}));
            members["ok"]["members"].as_array().is_some_and(|rows| rows.iter().any(lowest))
        })
    });
    for (id, one) in ["peer1", "peer2"].iter().zip(&group) {
        has(&check(&bench, id, one), &OF_A_GROUP, true);
    }
}

#[test]
fn a_peer_that_looks_for_a_group_says_no_place_in_one() {
    let bench = Bench::new();
    let flags = ["--mode", "primary", "--bootstrap", "peer1,peer2,peer3"];
    let one = bench.start("peer1", &[&FLAGS[..], &flags].concat());
    drop(Talk::with(&bench, "peer1"));
    until("it to say what it lacks", || {
        bench.report("peer1").is_some_and(|report| report.status.blocked.is_some())
    });
    let status = check(&bench, "peer1", &one);
    has(&status, &OF_A_GROUP, false);
    has(&status, &["blocked", "inc"], true);
    assert_eq!((&status["role"], &status["members"]), (&json!("joining"), &json!([])));
    let members = Talk::with(&bench, "peer1").ask(&json!({"id": 1, "do": "members"}));
    has(&members["ok"], &["view", "epoch", "leader"], false);
}
