//! Runs on hosts of their own. Where namespaces are not allowed, each test says so and does
//! nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use protocol::draw::draw_below;

use crate::living::{Victim, await_that, marked};
use crate::orphans::build_peer;

/// Whether this machine can make hosts; if not, says what is missing.
pub(crate) fn can_run(test: &str) -> bool {
    let told = Command::new(env!("CARGO_BIN_EXE_orchestrator")).arg("doctor").output().unwrap();
    let fits = told.status.code() == Some(0);
    if !fits {
        eprintln!("not run: {test}\n{}", String::from_utf8_lossy(&told.stdout));
    }
    fits
}

/// Runs a scenario with a seed, and returns what it said.
pub(crate) fn run(folder: &Path, name: &str, text: &str) -> Output {
    fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    Command::new(env!("CARGO_BIN_EXE_orchestrator"))
        .current_dir(folder)
        .args(["run", "--seed", "7", &format!("{name}.toml")])
        .output()
        .unwrap()
}

/// A little of everything that can be done to hosts.
const STORY: &str = r#"
[scenario]
name    = "everything"
timeout = "60s"

[cluster]
peers = 4
late  = ["peer4"]

[hosts.peer2]
interfaces = [{ name = "eth0" }, { name = "eth1", network = 1, default = false }]
disk_mib   = 4

[workload]
sensors = { rate = "50/s" }

[[step]]
wait = "stable"

[[step]]
id        = "cut"
partition = "peer1 -> peer2, peer3 -> peer2"
for       = "2 heartbeats"

[[step]]
id   = "slow"
link = { from = "peer1", both = true, loss = "5%", delay = "2ms", jitter = "5ms", duplicate = "5%", reorder = "5%", rate = "1 MB/s", mtu = 1500 }
for  = "5 heartbeats"

[[step]]
id        = "pulled"
interface = { who = "peer1", state = "no carrier" }
for       = "2 heartbeats"

[[step]]
id       = "deny"
firewall = { who = "peer3", rule = "default-deny" }

[[step]]
id   = "full"
disk = { who = "peer2", state = "full" }
for  = "2 heartbeats"

[[step]]
spawn = "peer4"

[[step]]
heal = "deny"

[[step]]
id     = "whole"
wait   = "stable"
after  = "pulled.end"
within = "10s"

[[expect]]
event = "fault"
where = { id = "cut", do = "partition", table = "peer1>peer2,peer3>peer2" }

[[expect]]
event = "fault"
where = { id = "slow", do = "link", loss = "50", segments = "50", delay_us = "7000", mtu = "1500" }

[[expect]]
event = "heal"
where = { id = ["cut", "slow", "pulled", "deny", "full"] }
count = 5

[invariants]
report  = ["disk-matches"]
because = "a disk that is full just before the end may not have told its hole"
"#;

#[test]
fn what_is_done_to_hosts_is_done_and_written_down() {
    if !can_run("what_is_done_to_hosts_is_done_and_written_down") {
        return;
    }
    build_peer();
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), "everything", STORY);
    let told = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let latest = folder.path().join("logs/latest");
    assert!(!latest.join("frames.pcapng").exists(), "a run that passes keeps no frames");
    assert!(
        latest.join("data/peer2/ordered.jsonl").exists(),
        "what was on the disk in memory is kept"
    );
    let events = fs::read_to_string(latest.join("events/peer1.jsonl")).unwrap();
    assert!(events.contains("\"address\":\"10.77.0.1:"), "a peer finds its address by itself");
}

#[test]
fn a_run_that_fails_keeps_the_last_frames() {
    if !can_run("a_run_that_fails_keeps_the_last_frames") {
        return;
    }
    build_peer();
    let folder = tempfile::tempdir().unwrap();
    let story = "[scenario]\nname = 'fails'\nneeds = ['hosts']\n[cluster]\npeers = \
                 2\n[[step]]\nwait = 'stable'\n[[expect]]\nevent = 'panic'\n";
    let output = run(folder.path(), "fails", story);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        told.contains("--world hosts"),
        "the command that runs it again names the world: {told}"
    );
    let frames = fs::read(folder.path().join("logs/latest/frames.pcapng")).unwrap();
    assert!(frames.len() > 1_000 && frames.starts_with(&0x0A0D_0D0A_u32.to_le_bytes()));
}

#[test]
fn nobody_survives_a_killed_orchestrator_on_hosts() {
    if !can_run("nobody_survives_a_killed_orchestrator_on_hosts") {
        return;
    }
    build_peer();
    let folder = tempfile::tempdir().unwrap();
    for point in 0..6_u64 {
        let name = format!("hosts_{}_{point}", std::process::id());
        let story = format!(
            "[scenario]\nname = '{name}'\ntimeout = '60s'\n[cluster]\npeers = \
             3\n[workload]\nsensors = {{ rate = '50/s' }}\n\
             [[step]]\nfirewall = {{ who = 'peer1', rule = 'rst' }}\n[[step]]\npartition = \
             'halves'\n\
             [[step]]\ninterface = {{ who = 'peer2', state = 'down' }}\n[[step]]\nwait = {{ event \
             = 'panic' }}\nwithin = '50s'\n"
        );
        let file = folder.path().join(format!("{name}.toml"));
        fs::write(&file, story).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_orchestrator"));
        command.arg("run").arg(&file).arg("--logs").arg(folder.path().join("logs"));
        let mut victim =
            Victim(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let mark = format!("{name}-");
        assert!(
            await_that(Duration::from_secs(20), || !marked(&mark).is_empty()),
            "no peer was started"
        );
        let delay = Duration::from_micros(draw_below(7, "hosts", point, 900_000));
        let over = Instant::now() + delay;
        await_that(delay, || Instant::now() >= over);
        victim.0.kill().unwrap();
        victim.0.wait().unwrap();
        assert!(
            await_that(Duration::from_secs(2), || marked(&mark).is_empty()),
            "point {point}: {:?} are left",
            marked(&mark)
        );
    }
}
