//! The exposition, parsed as strictly as the text format of OpenMetrics demands; by Prometheus' own
//! tool; and by the dashboard.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::{Bench, Running, until};
use crate::http::get;
use crate::page::base;
use crate::talk::{Talk, alone, assert_whole, pair};

/// One family: its kind, and its samples by name and labels.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// Reads an exposition, and accepts nothing that the format does not.
#[track_caller]
fn read(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut now = String::new();
    let mut seen = BTreeSet::new();
    let body = text.strip_suffix("# EOF\n").expect("it ends with its end");
    assert!(!body.contains("# EOF") && !body.contains("\n\n") && !body.contains('\r'));
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!families.contains_key(name), "{name} stands twice");
            now = name.to_owned();
            families.insert(now.clone(), Family { help: help.to_owned(), ..Family::default() });
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, now);
            families.get_mut(name).unwrap().kind = kind.to_owned();
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').unwrap();
            assert!(name == now && name.ends_with(&format!("_{unit}")), "{line}");
        } else {
            assert!(!line.starts_with('#'), "{line}");
            let (head, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = head
                .split_once('{')
                .map_or((head, ""), |(name, rest)| (name, rest.strip_suffix('}').unwrap()));
            let family = families.get_mut(&now).unwrap();
            let ends: &[&str] = match family.kind.as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                "info" => &["_info"],
                "histogram" => &["_bucket", "_sum", "_count"],
                other => panic!("{other} is no kind of metric"),
            };
            assert!(ends.iter().any(|end| name == format!("{now}{end}")), "{name} in {now}");
            assert!(seen.insert(head.to_owned()), "{head} stands twice");
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(value.is_finite() && value >= 0.0, "{line}");
            family.samples.push((name.to_owned(), labels_of(labels), value));
        }
    }
    for (name, family) in &families {
        assert!(!family.help.is_empty() && !family.kind.is_empty(), "{name}");
        assert!(
            name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit()),
            "{name}"
        );
        if family.kind == "histogram" {
            let buckets: Vec<_> =
                family.samples.iter().filter(|(sample, ..)| sample.ends_with("_bucket")).collect();
            assert!(buckets.windows(2).all(|pair| pair[0].2 <= pair[1].2), "{name}: buckets fall");
            assert_eq!(buckets.last().unwrap().1["le"], "+Inf");
            let count =
                family.samples.iter().find(|(sample, ..)| sample.ends_with("_count")).unwrap();
            assert!((count.2 - buckets.last().unwrap().2).abs() < 0.5, "{name}");
        }
    }
    families
}

fn labels_of(text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (key, after) = rest.split_once("=\"").unwrap();
        let end = after
            .char_indices()
            .find(|(at, c)| *c == '"' && !after[..*at].ends_with('\\'))
            .unwrap()
            .0;
        assert!(labels.insert(key.to_owned(), after[..end].to_owned()).is_none(), "{text}");
        rest = after[end + 1..].strip_prefix(',').unwrap_or(&after[end + 1..]);
    }
    labels
}

fn value(
    families: &BTreeMap<String, Family>,
    name: &str,
    label: Option<(&str, &str)>,
) -> Option<f64> {
    let has = |labels: &BTreeMap<String, String>| {
        label.is_none_or(|(key, value)| labels.get(key).is_some_and(|is| is == value))
    };
    families
        .values()
        .flat_map(|family| &family.samples)
        .find(|(sample, labels, _)| sample == name && has(labels))
        .map(|(.., value)| *value)
}

#[test]
fn metrics_say_what_is_so_and_leave_out_what_is_not_measured() {
    let bench = Bench::new();
    let mut group =
        pair(&bench, &["--http", "127.0.0.1:0", "--sensor", "synthetic", "--interval", "50ms"]);
    let bases = [base(&group[0]), base(&group[1])];
    for n in 0..50 {
        // The name of a foreign sensor is unbounded; it is no label.
        let payload = format!("DATA|strange{n}\"}} 1|t|n={n}");
        assert_eq!(Talk::with(&bench, "peer1").publish(&payload)["ok"]["is"], "safe");
    }
    let (mut leader, mut other) = (BTreeMap::new(), BTreeMap::new());
    until("the leader to have measured", || {
        let mut both = bases.iter().map(|base| {
            let answer = get(base, "/metrics");
            assert_eq!(answer.status, 200);
            assert!(
                answer
                    .header("content-type")
                    .unwrap()
                    .starts_with("application/openmetrics-text; version=1.0.0")
            );
            assert!(!answer.body.contains("strange"), "{}", answer.body);
            read(&answer.body)
        });
        (other, leader) = (both.next().unwrap(), both.next().unwrap());
        if value(&leader, "sensor_peers_role", Some(("role", "leader"))) != Some(1.0) {
            std::mem::swap(&mut leader, &mut other);
        }
        leader.contains_key("sensor_peers_member_rtt_seconds")
    });
    assert!(
        !other.contains_key("sensor_peers_member_rtt_seconds"),
        "only a leader measures; unmeasured is not zero"
    );
    for one in [&leader, &other] {
        assert_eq!(value(one, "sensor_peers_view_members", None), Some(2.0));
        assert_eq!(value(one, "sensor_peers_blocked", None), Some(0.0));
        assert!(value(one, "sensor_peers_readings_delivered_total", None) >= Some(50.0));
        assert!(value(one, "sensor_peers_log_seq", Some(("at", "delivered"))) >= Some(50.0));
        assert_eq!(value(one, "sensor_peers_sensor_up", Some(("sensor", "synthetic"))), Some(1.0));
        assert!(value(one, "sensor_peers_publish_to_deliver_seconds_count", None) > Some(0.0));
        assert!(value(one, "sensor_peers_loop_lag_seconds_count", None) > Some(0.0));
        assert!(value(one, "process_resident_memory_bytes", None) > Some(1e6));
        let published = value(one, "sensor_peers_readings_published_total", None).unwrap();
        let ordered = value(one, "sensor_peers_readings_ordered_total", None).unwrap();
        assert!(published >= ordered && ordered > 0.0, "{published} {ordered}");
    }
    let samples: usize = leader.values().map(|family| family.samples.len()).sum();
    assert!(samples < 150, "{samples} samples");
    assert_whole(&bench, &mut group);
}

/// Two peers in one view, each with a data folder.
fn pair_that_keeps(bench: &Bench) -> [Running; 2] {
    let group = ["peer1", "peer2"].map(|id| {
        let data = bench.path(&format!("{id}.data"));
        let flags = [
            "--http",
            "127.0.0.1:0",
            "--sensor",
            "synthetic",
            "--interval",
            "50ms",
            "--data-dir",
            data.to_str().unwrap(),
        ];
        bench.start(id, &flags)
    });
    until("the two to be one group", || group.iter().all(|one| one.members() == 2));
    group
}

#[test]
fn what_waits_is_told_by_queue_and_so_is_how_long_the_disk_takes() {
    let bench = Bench::new();
    let mut group = pair_that_keeps(&bench);
    let names = |families: &BTreeMap<String, Family>| -> BTreeSet<String> {
        families["sensor_peers_queue_bytes"]
            .samples
            .iter()
            .map(|(_, labels, _)| labels["queue"].clone())
            .collect()
    };
    let bases = [base(&group[0]), base(&group[1])];
    let families = read(&get(&bases[0], "/metrics").body);
    assert_eq!(
        names(&families),
        ["clients", "events", "links", "log", "publish", "sinks"].map(ToOwned::to_owned).into()
    );
    let syncs = |families: &BTreeMap<String, Family>| {
        value(families, "sensor_peers_disk_sync_seconds_count", None).unwrap()
    };
    let before = syncs(&families);
    assert!(before > 0.0, "the memory was stored at the start");
    Talk::with(&bench, "peer1")
        .ask(&json!({"id": 1, "do": "publish", "payload": "once", "token": "t"}));
    assert!(
        syncs(&read(&get(&bases[0], "/metrics").body)) > before,
        "a token is synced before its reading is published"
    );
    // While the leader is paused, the readings of the other peer have no place.
    let leader = bench.report("peer1").unwrap().status.leader.unwrap();
    let (leads, follows) = if leader.as_str() == "peer1" { (0, 1) } else { (1, 0) };
    group[leads].signal(Signal::SIGSTOP);
    let mut talk = Talk::with(&bench, ["peer1", "peer2"][follows]);
    talk.ask(&json!({"id": 1, "do": "publish", "payload": "x".repeat(50_000)}));
    let families = read(&get(&bases[follows], "/metrics").body);
    assert!(
        value(&families, "sensor_peers_queue_bytes", Some(("queue", "publish"))) >= Some(50_000.0),
        "{families:?}"
    );
    group[leads].signal(Signal::SIGCONT);
    until("it to have its place", || {
        value(
            &read(&get(&bases[follows], "/metrics").body),
            "sensor_peers_queue_bytes",
            Some(("queue", "publish")),
        ) < Some(50_000.0)
    });
    until("the two to be one group", || group.iter().all(|one| one.members() == 2));
    assert_whole(&bench, &mut group);
    drop(group);
    let alone = alone(&bench, "peer1", &["--http", "127.0.0.1:0"]);
    let families = read(&get(&base(&alone), "/metrics").body);
    assert!(!families.contains_key("sensor_peers_disk_sync_seconds"), "nothing is synced");
    assert!(!names(&families).contains("sinks"), "{:?}", names(&families));
}

#[test]
fn prometheus_own_tool_has_nothing_to_say() {
    let there = Command::new("promtool")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !there {
        eprintln!("NOT RUN: there is no promtool on this machine (apt-get install prometheus)");
        return;
    }
    let bench = Bench::new();
    let group = pair_that_keeps(&bench);
    let text = get(&base(&group[0]), "/metrics").body;
    // The tool parses the older format, in which a counter's family is named like its sample, and
    // which has neither units nor the kind `info`.
    let mut older = String::new();
    for line in
        text.lines().filter(|line| !line.starts_with("# UNIT") && !line.starts_with("# EOF"))
    {
        let kind = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(&format!("# TYPE {name} ")))
                .unwrap_or_default()
                .to_owned()
        };
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let line = match words[..] {
            ["#", what, name, rest] => match kind(name).as_str() {
                "counter" => format!("# {what} {name}_total {rest}"),
                "info" => {
                    format!("# {what} {name}_info {}", if what == "TYPE" { "gauge" } else { rest })
                }
                _ => line.to_owned(),
            },
            _ => line.to_owned(),
        };
        older.push_str(&line);
        older.push('\n');
    }
    let mut tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    tool.stdin.take().unwrap().write_all(older.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && told.is_empty(), "{told}");
}

#[test]
fn the_dashboard_and_the_docs_name_what_is_exported() {
    let bench = Bench::new();
    let group = pair_that_keeps(&bench);
    let mut exported = BTreeSet::new();
    for one in &group {
        let at = base(one);
        until("all that is measured to be there", || {
            let families = read(&get(&at, "/metrics").body);
            for (name, family) in &families {
                // Events that have not happened yet have no sample, and are exported nevertheless.
                exported.insert(if family.kind == "counter" {
                    format!("{name}_total")
                } else {
                    name.clone()
                });
                exported.extend(family.samples.iter().map(|(sample, ..)| sample.clone()));
            }
            families.contains_key("sensor_peers_sensor_up")
        });
    }
    until("the leader to have measured", || {
        group.iter().any(|one| {
            let families = read(&get(&base(one), "/metrics").body);
            exported.extend(families.keys().filter(|name| name.contains("_member_")).cloned());
            families.contains_key("sensor_peers_member_rtt_seconds")
        })
    });
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let dashboard = std::fs::read_to_string(root.join("contrib/grafana.json")).unwrap();
    let parsed: Value = serde_json::from_str(&dashboard).unwrap();
    let expressions: Vec<&str> = parsed["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .map(|target| target["expr"].as_str().unwrap())
        .chain(
            parsed["annotations"]["list"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["expr"].as_str().unwrap()),
        )
        .collect();
    assert!(expressions.len() > 10);
    let names = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words
            .filter(|word| word.starts_with("sensor_peers_") || word.starts_with("process_"))
            .map(ToOwned::to_owned)
            .collect()
    };
    let drawn = names(&expressions.join(" "));
    let unknown: Vec<&String> = drawn.difference(&exported).collect();
    assert!(unknown.is_empty(), "the dashboard draws what is not exported: {unknown:?}");
    let docs = std::fs::read_to_string(root.join("docs/PAGE.md")).unwrap();
    let told = names(&docs);
    let unknown: Vec<&String> = told.difference(&exported).collect();
    assert!(unknown.is_empty(), "the docs name what is not exported: {unknown:?}");
    let families = exported
        .iter()
        .filter(|name| !["_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end)));
    let untold: Vec<&String> =
        families.filter(|name| *name != "sensor_peers" && !told.contains(*name)).collect();
    assert!(untold.is_empty(), "the docs do not name {untold:?}");
}
