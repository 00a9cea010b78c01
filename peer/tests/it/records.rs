//! The records of readings, from the point of view of a reader of the files.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::bench::{Bench, PEER, Running, until};

/// The records of `ordered.jsonl`.
fn records(bench: &Bench) -> Vec<Value> {
    let text = std::fs::read_to_string(bench.path("data/ordered.jsonl")).unwrap_or_default();
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn start(bench: &Bench) -> Running {
    let data = bench.path("data");
    bench.start("peer1", &["--sensor", "stdin", "--csv", "--data-dir", data.to_str().unwrap()])
}

fn of_kind<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["kind"] == kind).collect()
}

#[test]
fn every_line_has_its_row_or_is_told_and_counted() {
    let bench = Bench::new();
    let mut one = start(&bench);
    let lines = [
        &b"DATA|porch|t|hum=710\r\n"[..],
        b"DATA|A4:C1:38|t|temp=711\nDATA|living \
          room|t|temp=712\nDATA|zigbee2mqtt/hall|t|temp=713\n",
        b"DATA|bar|t|temp=714|\nDATA|pipe|t|note=a|b|temp=715\n\xef\xbb\xbfDATA|bom|t|temp=716\nDATA|latin|t|unit=\xb0C|temp=717\n",
        "DATA|größe|t|temp=718\nDATA|..|t|temp=719\nDATA||t|temp=720\nDATA|short|t\nDATA|flag|t|on\n".as_bytes(),
        b"DATA|sheet|t|=1|x==1+1|y=-3.5\nDATA|sheet|t|x==1+1|y=-3.5\n",
    ];
    lines.iter().for_each(|line| one.child.stdin.as_mut().unwrap().write_all(line).unwrap());
    until("all to be kept", || of_kind(&records(&bench), "reading").len() == 15);
    one.signal(Signal::SIGTERM);
    assert!(one.wait().success());
    let check = |file: &str, ends: &[&str]| {
        let table = std::fs::read_to_string(bench.path("data").join(file)).unwrap();
        let rows: Vec<&str> = table.lines().skip(1).collect();
        assert!(
            rows.len() == ends.len() && rows.iter().zip(ends).all(|(row, end)| row.ends_with(end)),
            "{table}"
        );
        assert!(!table.contains('\r'), "{table:?}");
    };
    check("porch.csv", &[",porch,hum,710"]);
    check("A4%3AC1%3A38.csv", &[",A4:C1:38,temp,711"]);
    check("living%20room.csv", &[",living room,temp,712"]);
    check("zigbee2mqtt%2Fhall.csv", &[",zigbee2mqtt/hall,temp,713"]);
    check("bar.csv", &[",temp,714"]);
    check("bom.csv", &[",bom,temp,716"]);
    check("latin.csv", &[",unit,\\xb0C", ",temp,717"]);
    check("gr%C3%B6%C3%9Fe.csv", &[",größe,temp,718"]);
    check("%2E..csv", &[",..,temp,719"]);
    check("sheet.csv", &[",x,'=1+1", ",y,-3.5"]);
    let told: Vec<String> = one
        .log()
        .lines()
        .filter(|line| line.contains("has no row in a CSV table"))
        .map(str::to_owned)
        .collect();
    assert_eq!(told.len(), 3, "the 1st, 2nd and 4th of 5: {told:?}");
    assert!(
        told[0].contains("(DATA|pipe|t|note=a|b|temp=715)")
            && told[2].contains("4 without a row so far"),
        "{told:?}"
    );
}

#[test]
fn what_has_no_row_is_in_the_status() {
    let bench = Bench::new();
    let mut one = start(&bench);
    one.child.stdin.as_mut().unwrap().write_all(b"21.5\nDATA|s|t|a=1\n").unwrap();
    until("it to be counted", || {
        bench.report("peer1").is_some_and(|report| report.without_a_row == 1)
    });
    let report = bench.report("peer1").unwrap().to_string();
    assert!(report.contains("Without a row in a CSV table: 1 readings"), "{report}");
}

#[test]
fn no_position_of_two_lives_is_the_same_and_readings_have_times_of_their_own() {
    let bench = Bench::new();
    for life in 0..2 {
        let before = of_kind(&records(&bench), "reading").len();
        let mut one = start(&bench);
        let lines: String = (0..200).map(|number| format!("life {life} line {number}\n")).collect();
        one.child.stdin.as_mut().unwrap().write_all(lines.as_bytes()).unwrap();
        until("all to be kept", || of_kind(&records(&bench), "reading").len() == before + 200);
        one.signal(Signal::SIGKILL);
        one.wait();
    }
    let records = records(&bench);
    let views = of_kind(&records, "view");
    assert_eq!(views.len(), 2, "each life founds a log of its own");
    assert!(
        views[0]["log"] != views[1]["log"]
            && views.iter().all(|view| view["members"] == serde_json::json!(["peer1"]))
    );
    let mut places: BTreeMap<[String; 3], &Value> = BTreeMap::new();
    let mut names: BTreeMap<[String; 3], &Value> = BTreeMap::new();
    for record in &records {
        let place = ["log", "epoch", "seq"].map(|key| record[key].to_string());
        assert_eq!(places.insert(place, record), None, "{record}");
    }
    let readings = of_kind(&records, "reading");
    for reading in &readings {
        assert!(reading["inc"].is_string(), "a large number is a text: {reading}");
        let name = ["origin", "inc", "oseq"].map(|key| reading[key].to_string());
        assert_eq!(names.insert(name, reading), None, "{reading}");
    }
    let times: Vec<&str> =
        readings.iter().map(|reading| reading["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|one, next| one < next), "{times:?}");
}

#[test]
fn without_proc_nothing_is_made_up() {
    // In a mount namespace of its own, if the machine permits one.
    let can =
        Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "none", "/proc"]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        eprintln!("no mount namespace can be made here; nothing is tried");
        return;
    }
    let bench = Bench::new();
    let data = bench.path("data");
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-c", "mount -t tmpfs none /proc && exec \"$0\" \"$@\"", PEER]);
    let flags = [
        "--sensor",
        "host",
        "--sensor",
        "synthetic",
        "--interval",
        "50ms",
        "--data-dir",
        data.to_str().unwrap(),
    ];
    let mut one = bench.start_as(shell, "peer1", &flags);
    until("readings to be kept", || of_kind(&records(&bench), "reading").len() > 5);
    one.signal(Signal::SIGTERM);
    assert!(one.wait().success());
    for reading in of_kind(&records(&bench), "reading") {
        let payload = reading["payload"].as_str().unwrap();
        let made_up =
            ["cpu_", "memory_", "load_"].iter().any(|field| payload.contains(&format!("|{field}")));
        assert!(
            payload.contains("|peer1.synthetic|") || payload.contains("|peer1.host|") && !made_up,
            "{payload}"
        );
    }
}
