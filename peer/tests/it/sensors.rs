//! Sensors that are commands and files: their output becomes readings, and a problem of one affects
//! no other.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use peer::sensors::gauge::{SensorReport, SensorState};
use protocol::digest::Digest;
use serde_json::value::RawValue;

use crate::bench::{Bench, PEER, Running, until};

/// A peer with this configuration, which keeps what it is given.
fn start(bench: &Bench, configuration: &str, flags: &[&str]) -> Running {
    start_as(bench, Command::new(PEER), configuration, flags)
}

fn start_as(bench: &Bench, command: Command, configuration: &str, flags: &[&str]) -> Running {
    let (file, data) = (bench.path("peer.toml"), bench.path("data"));
    fs::write(&file, configuration).unwrap();
    let flags =
        [&["--config", file.to_str().unwrap(), "--data-dir", data.to_str().unwrap()], flags]
            .concat();
    bench.start_as(command, "peer1", &flags)
}

/// A `[[sensor]]` that is a shell script.
fn script(name: &str, script: &str, more: &str) -> String {
    format!("[[sensor]]\nname = '{name}'\nexec = ['sh', '-c', '''{script}''']\n{more}\n")
}

fn payloads(bench: &Bench) -> Vec<String> {
    let text = fs::read_to_string(bench.path("data/ordered.jsonl")).unwrap_or_default();
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).filter_map(payload).collect()
}

/// The payload of a record: verbatim, or assembled from its parts.
fn payload(record: &str) -> Option<String> {
    /// Tokens of numbers stay as they are.
    #[derive(serde::Deserialize)]
    struct Record {
        kind: String,
        payload: Option<String>,
        sensor: Option<Box<RawValue>>,
        measured: Option<Box<RawValue>>,
        fields: Option<Box<RawValue>>,
        tags: Option<Box<RawValue>>,
    }
    let Record { kind, payload, sensor, measured, fields, tags } =
        serde_json::from_str(record).unwrap();
    let part = |key: &str, raw: &Option<Box<RawValue>>| {
        raw.as_ref().map(|raw| format!(",\"{key}\":{raw}")).unwrap_or_default()
    };
    let canonical = |sensor| {
        format!(
            "{{\"sensor\":{sensor}{}{}{}}}",
            part("time", &measured),
            part("fields", &fields),
            part("tags", &tags)
        )
    };
    (kind == "reading").then(|| payload.or_else(|| sensor.map(canonical)))?
}

fn sensors(bench: &Bench) -> BTreeMap<String, SensorReport> {
    let report = bench.report("peer1");
    report
        .into_iter()
        .flat_map(|report| report.sensors)
        .map(|sensor| (sensor.name.clone(), sensor))
        .collect()
}

#[track_caller]
fn until_sensor(bench: &Bench, name: &str, what: &str, wanted: impl Fn(&SensorReport) -> bool) {
    until(&format!("{name} to {what}: {:?}", sensors(bench)), || {
        sensors(bench).get(name).is_some_and(&wanted)
    });
}

fn is_gone(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_or(true, |stat| stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

/// The numbers that a script has written, once there are this many.
#[track_caller]
fn numbers(path: &Path, count: usize) -> Vec<i32> {
    let mut numbers = Vec::new();
    until(&format!("{count} numbers in {}", path.display()), || {
        let text = fs::read_to_string(path).unwrap_or_default();
        numbers = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
        text.ends_with('\n') && numbers.len() == count
    });
    numbers
}

#[test]
fn what_commands_print_is_split_and_tagged() {
    let bench = Bench::new();
    let configuration =
        script(
            "meter",
            "echo celsius=21.50 percent=48",
            "every = '50ms'\ntags = { room = 'k' }\nunits = { celsius = '°C' }",
        ) + &script("data", "echo 'DATA|porch|t|open=1'; echo; echo plain", "every = '50ms'")
            + "[[sensor]]\nkind = 'synthetic'\nevery = '20ms'\ntags = { where = 'nowhere' }\n"
            + "[[sensor]]\nkind = 'stdin'\n";
    let mut one = start(&bench, &configuration, &[]);
    one.child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"weather,at=roof temp=7i\nDATA|a|t|x=1\r\n")
        .unwrap();
    let wanted = [
        r#"{"sensor":"peer1.meter","fields":{"celsius":21.50,"percent":48},"tags":{"room":"k"}}"#,
        "DATA|porch|t|open=1",
        "plain",
        r#"{"sensor":"weather","fields":{"temp":7},"tags":{"at":"roof"}}"#,
        "DATA|a|t|x=1",
    ];
    until("all of them", || {
        let kept = payloads(&bench);
        wanted.iter().all(|wanted| kept.iter().any(|payload| payload == wanted))
    });
    until("the made-up one", || {
        payloads(&bench).iter().any(|payload| payload.ends_with(r#""tags":{"where":"nowhere"}}"#))
    });
    assert!(
        !payloads(&bench).iter().any(String::is_empty),
        "a blank line of a command is no reading"
    );
    until_sensor(&bench, "meter", "be well", |sensor| {
        sensor.state == SensorState::Ok && sensor.readings > 2 && sensor.verbatim == 0
    });
    until_sensor(&bench, "data", "be counted", |sensor| {
        sensor.state == SensorState::Unsplit && sensor.verbatim > 0
    });
    let report = bench.report("peer1").unwrap();
    assert_eq!(report.sensors[0].units["celsius"], "°C");
    let text = report.to_string();
    assert!(
        text.contains("Sensor meter (exec): ok")
            && text.contains("Sensor synthetic (synthetic): ok"),
        "{text}"
    );
    let told = one
        .log()
        .lines()
        .filter(|line| line.contains("Sensor data: a line is published as it stands"))
        .count() as u32;
    let plain = payloads(&bench).iter().filter(|payload| *payload == "plain").count() as u32;
    assert!(told >= 1 && told <= plain.ilog2() + 2, "{told} of {plain}");
}

#[test]
fn one_that_fails_is_told_counted_and_mended_and_disturbs_no_other() {
    let bench = Bench::new();
    let mended = bench.path("mended");
    let every = "every = '60ms'\ntimeout = '20s'";
    let configuration = script("good", "echo x=1", every)
        + &script(
            "fails",
            &format!("test -e {} || {{ echo no bus >&2; exit 3; }}; echo x=2", mended.display()),
            every,
        )
        + &script("hangs", "echo x=3; sleep 1000", "every = '60ms'\ntimeout = '200ms'")
        + &script("mute", "true", every)
        + &script("killed", "kill -9 $$", every)
        + "[[sensor]]\nname = 'missing'\nexec = ['/no/such/program']\nevery = '60ms'\n";
    let one = start(&bench, &configuration, &[]);
    let failing =
        |sensor: &SensorReport| sensor.state == SensorState::Failing && sensor.failures > 3;
    for (name, words) in [
        ("fails", "ended with code 3; it said last: no bus"),
        ("hangs", "longer than its timeout of 200ms"),
        ("killed", "SIGKILL"),
        ("missing", "cannot be started: /no/such/program: No such file"),
    ] {
        until_sensor(&bench, name, "fail", |sensor| {
            failing(sensor) && sensor.why.as_ref().unwrap().contains(words)
        });
        let count = one
            .log()
            .lines()
            .filter(|line| line.contains(" WARN ") && line.contains(&format!("Sensor {name}: ")))
            .count();
        let failures = sensors(&bench)[name].failures;
        assert!(
            count as u32 <= failures.ilog2() + 1,
            "{name} was told {count} times for {failures}"
        );
    }
    assert!(sensors(&bench)["hangs"].readings > 0, "what it printed before is kept");
    until_sensor(&bench, "mute", "be silent", |sensor| {
        sensor.state == SensorState::Silent && sensor.readings == 0
    });
    until_sensor(&bench, "good", "go on", |sensor| {
        sensor.state == SensorState::Ok && sensor.readings > 5
    });
    let before = sensors(&bench)["fails"].failures;
    // The end of a problem is reported only if the problem was.
    until("a failure that is told", || {
        one.log().matches("Sensor fails: ").count() > before.ilog2() as usize
    });
    fs::write(&mended, "").unwrap();
    until_sensor(&bench, "fails", "be well again", |sensor| {
        sensor.state == SensorState::Ok && sensor.readings > 1
    });
}

#[test]
fn one_that_goes_on_printing_is_missed_and_started_again() {
    let bench = Bench::new();
    let configuration = script("buffered", "sleep 1000", "")
        + &script("short", "echo x=1", "")
        + &script("long", "echo y=1; sleep 1000", "");
    let one = start(&bench, &configuration, &["--interval", "100ms"]);
    until_sensor(&bench, "buffered", "be missed", |sensor| {
        sensor.state == SensorState::Silent && sensor.why.as_ref().unwrap().contains("stdbuf -oL")
    });
    until("a second run of the other", || {
        payloads(&bench).iter().filter(|payload| payload.contains("short")).count() > 1
    });
    assert!(
        one.log()
            .contains("Sensor short: its command has ended with code 0; it is started again in 1s"),
        "{}",
        one.log()
    );
    until_sensor(&bench, "long", "be well", |sensor| {
        sensor.state == SensorState::Ok && sensor.readings == 1
    });
}

#[test]
fn a_flood_is_held_up_and_nothing_of_it_is_lost() {
    let bench = Bench::new();
    let configuration = script(
        "flood",
        "i=0; while [ $i -lt 20000 ]; do echo n=$i; i=$((i+1)); done; sleep 1000",
        "",
    ) + &script("other", "echo x=1", "every = '50ms'");
    let one = start(&bench, &configuration, &["--window-entries", "16"]);
    let of_flood =
        |number: usize| format!(r#"{{"sensor":"peer1.flood","fields":{{"n":{number}}}}}"#);
    until("all of it", || payloads(&bench).iter().any(|payload| *payload == of_flood(19_999)));
    let flood: Vec<String> =
        payloads(&bench).into_iter().filter(|payload| payload.contains("flood")).collect();
    assert_eq!(flood.len(), 20_000);
    assert!(
        flood.iter().enumerate().all(|(number, payload)| *payload == of_flood(number)),
        "in order"
    );
    assert!(
        one.delivered().contains(&Digest::of(br#"{"sensor":"peer1.other","fields":{"x":1}}"#)),
        "the other one had its turn"
    );
}

#[test]
fn a_command_inherits_nothing() {
    let bench = Bench::new();
    let configuration =
        "[[sensor]]\nname = 'lists'\nexec = ['ls', '-l', '/proc/self/fd']\nevery = '1h'\n";
    // The peer itself gets descriptors that it does not know.
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 7</dev/null 9</dev/null; exec \"$0\" \"$@\"", PEER]);
    let one = start_as(&bench, shell, configuration, &[]);
    let mut open = BTreeMap::new();
    until("the list", || {
        let lines = payloads(&bench);
        let links = lines.iter().filter_map(|line| line.split_once(" -> "));
        open = links
            .map(|(left, to)| (left.rsplit(' ').next().unwrap().to_owned(), to.to_owned()))
            .collect();
        // All lines of one run, or an extra descriptor could come later.
        open.len() >= 4 && sensors(&bench)["lists"].readings == lines.len() as u64
    });
    assert_eq!(open.keys().collect::<Vec<_>>(), ["0", "1", "2", "3"], "{open:?}");
    assert!(
        open["0"] == "/dev/null"
            && open["1"].starts_with("pipe:")
            && open["2"].starts_with("pipe:"),
        "{open:?}"
    );
    assert!(open["3"].ends_with("/fd"), "the folder that it lists: {open:?}");
    let own = format!("/proc/{}", one.child.id());
    assert!(fs::read_link(format!("{own}/fd/7")).is_ok(), "the peer has it, so the test can fail");
    // And descriptors that the peer itself opens would not be inherited by a child that closes
    // nothing.
    for entry in fs::read_dir(format!("{own}/fdinfo")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // Descriptors that this test inherited itself, and passed on.
        let to = |process: &str| fs::read_link(format!("{process}/fd/{name}")).ok();
        let is_given = to(&own).is_some_and(|target| {
            target == Path::new("/dev/null") || to("/proc/self") == Some(target)
        });
        if ["0", "1", "2"].contains(&name.as_str()) || is_given {
            continue;
        }
        let Ok(text) = fs::read_to_string(format!("{own}/fdinfo/{name}")) else { continue };
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        let flags = i32::from_str_radix(flags, 8).unwrap();
        assert!(
            flags & OFlag::O_CLOEXEC.bits() != 0,
            "{name} -> {:?}",
            fs::read_link(format!("{own}/fd/{name}"))
        );
    }
}

/// Children of the command, in its group and out of it.
fn family(pids: &Path) -> String {
    format!(
        "sleep 1000 & a=$!; setsid sleep 1000 & b=$!; (sleep 1000 & echo $! > {0}.c); echo $$ $a \
         $b $(cat {0}.c) > {0}; echo x=1; sleep 1000",
        pids.display()
    )
}

#[test]
fn the_whole_family_of_a_command_dies_with_the_peer() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let bench = Bench::new();
        let pids = bench.path("pids");
        let mut one = start(&bench, &script("family", &family(&pids), ""), &[]);
        let family = numbers(&pids, 4);
        assert!(family.iter().all(|pid| !is_gone(*pid)), "{family:?}");
        one.signal(signal);
        one.wait();
        until("all of them to be gone", || family.iter().all(|pid| is_gone(*pid)));
    }
}

#[test]
fn a_command_may_signal_its_own_group() {
    let bench = Bench::new();
    let _one = start(
        &bench,
        &script(
            "zero",
            "trap \"trap '' TERM; kill 0\" EXIT; sleep 1000 & echo x=1",
            "every = '50ms'\ntimeout = '20s'",
        ),
        &[],
    );
    until_sensor(&bench, "zero", "run again and again", |sensor| sensor.readings > 5);
    assert_eq!(sensors(&bench)["zero"].failures, 0, "it has ended well each time");
}

#[test]
fn a_timeout_kills_the_whole_family() {
    let bench = Bench::new();
    let pids = bench.path("pids");
    let _one =
        start(&bench, &script("family", &family(&pids), "every = '1h'\ntimeout = '1s'"), &[]);
    let family = numbers(&pids, 4);
    until("all of them to be gone", || family.iter().all(|pid| is_gone(*pid)));
    until_sensor(&bench, "family", "be told", |sensor| {
        sensor.state == SensorState::Failing && sensor.readings == 1
    });
}

#[test]
fn a_guard_that_is_killed_takes_the_command_along() {
    let bench = Bench::new();
    let pids = bench.path("pids");
    let line = format!("sleep 1000 & echo $$ $PPID $! > {}; echo x=1; sleep 1000", pids.display());
    let _one = start(&bench, &script("orphan", &line, ""), &[]);
    let [command, guard, child] = numbers(&pids, 3).try_into().unwrap();
    fs::remove_file(&pids).unwrap();
    assert_eq!(fs::read_to_string(format!("/proc/{guard}/comm")).unwrap().trim(), "sensor-guard");
    kill(Pid::from_raw(guard), Signal::SIGKILL).unwrap();
    until("both to be gone", || is_gone(command) && is_gone(child));
    numbers(&pids, 3);
    until_sensor(&bench, "orphan", "run again", |sensor| {
        sensor.state == SensorState::Ok && sensor.failures == 1 && sensor.readings == 2
    });
}

#[test]
fn a_file_is_followed_through_whatever_is_done_to_it() {
    let bench = Bench::new();
    let (path, late) = (bench.path("log"), bench.path("late"));
    fs::write(&path, "old=1\nhalf=").unwrap();
    let table = |name: &str, path: &Path, more: &str| {
        format!("[[sensor]]\nname = '{name}'\nfile = '{}'\n{more}\n", path.display())
    };
    let configuration = table("end", &path, "")
        + &table("start", &path, "from = 'start'")
        + &table("late", &late, "");
    let one = start(&bench, &configuration, &[]);
    let has = |sensor: &str, field: &str| {
        payloads(&bench)
            .contains(&format!(r#"{{"sensor":"peer1.{sensor}","fields":{{"{field}":1}}}}"#))
    };
    until("the old line", || has("start", "old"));
    until_sensor(&bench, "late", "wait", |sensor| {
        sensor.state == SensorState::Waiting
            && sensor.why.as_ref().unwrap().contains("is not there")
    });
    until_sensor(&bench, "end", "have begun", |sensor| sensor.state == SensorState::Starting);
    let append = |words: &str| {
        OpenOptions::new().append(true).open(&path).unwrap().write_all(words.as_bytes()).unwrap()
    };
    append("1\nnew=1\r\n");
    until("the new line", || has("start", "half") && has("start", "new") && has("end", "new"));
    assert!(!has("end", "half") && !has("end", "old"), "neither what was there nor the rest of it");
    // Rotated by rename: the old file is read to its end, including a line without an end.
    let mut old = OpenOptions::new().append(true).open(&path).unwrap();
    fs::rename(&path, bench.path("log.1")).unwrap();
    old.write_all(b"last=1").unwrap();
    until_sensor(&bench, "end", "miss it", |sensor| sensor.state == SensorState::Waiting);
    fs::write(&path, "next=1\n").unwrap();
    until("both", || {
        has("end", "last") && has("end", "next") && has("start", "last") && has("start", "next")
    });
    // Cut, as `copytruncate` does.
    File::create(&path).unwrap();
    until("it to be seen", || one.log().matches("was cut").count() == 2);
    append("cut=1\n");
    until("what follows", || has("end", "cut"));
    fs::write(&late, "late=1\n").unwrap();
    until("the late one", || has("late", "late"));
    until_sensor(&bench, "late", "be well", |sensor| sensor.state == SensorState::Ok);
    assert!(one.log().contains("Sensor late works again."), "{}", one.log());
    fs::remove_file(&late).unwrap();
    fs::create_dir(&late).unwrap();
    until_sensor(&bench, "late", "fail", |sensor| {
        sensor.state == SensorState::Failing
            && sensor.why.as_ref().unwrap().contains("no regular file")
    });
    let twice = payloads(&bench).iter().filter(|payload| payload.contains("next")).count();
    assert_eq!(twice, 2, "once for each sensor");
}

#[test]
fn a_line_that_is_too_long_is_refused_with_its_length() {
    let bench = Bench::new();
    let path = bench.path("log");
    fs::write(&path, format!("x={}\nx=1\n", "1".repeat(5_000))).unwrap();
    let configuration =
        format!("[[sensor]]\nname = 'long'\nfile = '{}'\nfrom = 'start'\n", path.display());
    let one = start(&bench, &configuration, &["--payload-max", "1000"]);
    until_sensor(&bench, "long", "be counted", |sensor| {
        sensor.refused == 1 && sensor.readings == 1 && sensor.state == SensorState::Ok
    });
    assert!(
        one.log().contains("a line of 5002 bytes is not published; payload_max is 1000"),
        "{}",
        one.log()
    );
}
