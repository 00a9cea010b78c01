//! Faults that last: each ends by itself, also where the file ends before it does, and leaves its
//! trace in the history.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::living::Victim;
use crate::orphans::build_peer;

/// The last two steps are still in force when there is nothing more to do.
const STORY: &str = r#"
[scenario]
name    = "lasting"
timeout = "60s"

[cluster]
peers = 3

[workload]
sensors = { rate = "50/s" }

[[step]]
wait = "stable"

[[step]]
id    = "storm"
storm = { kill = 1, pause = 1, restart = 2, fresh = 1, every = "1 heartbeat", pauses = "1 heartbeat" }
for   = "30 heartbeats"

[[step]]
wait = "stable"

[[step]]
id     = "hunger"
starve = { who = "member", as = "slow", share = 50 }
for    = "5 heartbeats"

[[step]]
wait = { event = "deliver", on = "$slow", count = 5, as = "same" }

[[step]]
id    = "freeze"
pause = { who = "$same", as = "frozen" }
for   = "2 heartbeats"

[[expect]]
event  = "fault"
after  = "hunger"
where  = { do = "pause", who = "$frozen" }
within = "7 heartbeats"
count  = { min = 5 }

[[expect]]
event = "heal"
after = "hunger"
count = { min = 2 }
"#;

#[test]
fn what_lasts_longer_than_the_file_ends_all_the_same() {
    build_peer();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("lasting.toml"), STORY).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_orchestrator"))
        .current_dir(folder.path())
        .args(["run", "--seed", "7", "lasting.toml"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = Victim(child).end_within(Duration::from_secs(90)).expect("it ends");
    let verdict = fs::read_to_string(folder.path().join("logs/latest/verdict.json")).unwrap();
    assert_eq!(status.code(), Some(0), "{verdict}");
    let told = fs::read_to_string(folder.path().join("logs/latest/events/_.jsonl")).unwrap();
    for done in [
        r#""id":"storm","do":"kill""#,
        r#""id":"storm","do":"pause""#,
        r#""id":"storm","do":"restart""#,
    ] {
        assert!(told.contains(done), "{done}: {told}");
    }
}
