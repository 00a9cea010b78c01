//! Runs of programs that call themselves peers and are none: what the bench does when nothing goes
//! as it should.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use orchestrator::folder::Owner;
use orchestrator::runner::BUILD;
use orchestrator::strays::{RUN_ID, reap};

use crate::living::{Victim, await_that, marked};

/// Waits for a leader that never appears. The wait begins on line 6.
const STORY: &str = "[scenario]
name    = 'NAME'
timeout = '60s'
[cluster]
peers   = 2
[[step]]
wait   = 'leader'
within = 'WITHIN'
";

/// A program that takes itself for a peer of this build, does nothing for a minute, and does this
/// before.
fn pretender(folder: &Path, before: &str) -> PathBuf {
    let path = folder.join("pretender");
    fs::write(
        &path,
        format!(
            "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'peer {BUILD}'; \
                              exit; fi\n{before}\nexec sleep 60\n"
        ),
    )
    .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn run(folder: &Path, name: &str, within: &str, peer: &Path) -> Command {
    let file = folder.join(format!("{name}.toml"));
    fs::write(&file, STORY.replace("NAME", name).replace("WITHIN", within)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_orchestrator"));
    command
        .current_dir(folder)
        .arg("run")
        .arg(file.file_name().unwrap())
        .arg("--peer")
        .arg(peer)
        .env_remove("GITHUB_ACTIONS");
    command
}

/// Ends what a test has left behind because an assertion failed.
struct Sweep(String);

impl Drop for Sweep {
    fn drop(&mut self) {
        for pid in marked(&self.0) {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap()),
                Signal::SIGKILL,
            );
        }
    }
}

#[test]
fn a_second_interruption_ends_at_once_what_does_not_leave() {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("hurry_{}", std::process::id());
    let _sweep = Sweep(format!("{name}-"));
    // An ignored signal stays ignored by the program that takes over.
    let peer = pretender(folder.path(), "trap '' TERM");
    let child = run(folder.path(), &name, "50s", &peer)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut victim = Victim(child);
    let log = folder.path().join("logs/latest/events/_.jsonl");
    let written = |words: &str| fs::read_to_string(&log).unwrap_or_default().contains(words);
    assert!(
        await_that(Duration::from_secs(20), || marked(&format!("{name}-")).len() == 2),
        "two peers were not started"
    );
    victim.signal(Signal::SIGINT);
    assert!(
        await_that(Duration::from_secs(5), || written("\"id\":\"end\"")),
        "nobody was asked to leave"
    );
    // They would be given five seconds.
    assert_eq!(victim.0.try_wait().unwrap(), None);
    // Signals of one moment are one request, so it is asked until the moment is over.
    let ended = await_that(Duration::from_secs(3), || {
        victim.signal(Signal::SIGINT);
        victim.0.try_wait().unwrap().is_some()
    });
    assert!(ended, "a second interruption is heeded at once");
    let status = victim.0.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(marked(&format!("{name}-")), [0_u32; 0]);
    let verdict = fs::read_to_string(folder.path().join("logs/latest/verdict.json")).unwrap();
    assert!(
        verdict.contains("\"outcome\": \"interrupted\"") && verdict.contains("did not leave"),
        "{verdict}"
    );
}

#[test]
fn a_forge_gets_the_place_in_the_file_of_what_failed() {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("annotated_{}", std::process::id());
    let _sweep = Sweep(format!("{name}-"));
    let peer = pretender(folder.path(), "");
    let told = |forge: bool| {
        let mut command = run(folder.path(), &name, "100ms", &peer);
        if forge {
            command.env("GITHUB_ACTIONS", "true");
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stdout).unwrap()
    };
    let annotation = format!(
        "::error file={name}.toml,line=6,title=step::waited 100.0 ms for wait for a leader: "
    );
    let with = told(true);
    assert!(with.lines().any(|line| line.starts_with(&annotation)), "{with}");
    let without = told(false);
    assert!(!without.contains("::error"), "{without}");
    assert!(without.contains(&format!("{name}.toml:6:1: step")), "{without}");
}

#[test]
fn clean_ends_strays_of_dead_runs_and_touches_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let stray = |run_id: &str| {
        Victim(
            Command::new("sleep")
                .arg("60")
                .env(RUN_ID, run_id)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        )
    };
    let own = std::process::id();
    let (dead, living) = (format!("clean-dead-{own}"), format!("clean-living-{own}"));
    let (mut of_dead, mut of_living) = (stray(&dead), stray(&living));
    // The pid of this process, handed on as it were: the start time tells that the owner was
    // another one.
    let start = chaos::procfs::start_time(own).unwrap();
    for (run_id, pid_start) in [(&dead, start - 1), (&living, start)] {
        let run = folder.path().join("logs/story").join(run_id);
        fs::create_dir_all(&run).unwrap();
        let owner = Owner { pid: own, pid_start, run_id: run_id.clone() };
        fs::write(run.join("lock.json"), serde_json::to_string(&owner).unwrap()).unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_orchestrator"))
        .current_dir(folder.path())
        .arg("clean")
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains(&format!("ended sleep (pid {})", of_dead.0.id())), "{told}");
    assert!(
        told.contains(&format!("still running (pid {own})"))
            && told.contains("1 dead runs cleaned"),
        "{told}"
    );
    assert!(of_dead.end_within(Duration::from_secs(5)).is_some(), "the stray still runs");
    assert_eq!(of_living.0.try_wait().unwrap(), None, "a living run lost a process");
    assert!(!folder.path().join("logs/story").join(&dead).join("lock.json").exists());
    assert!(folder.path().join("logs/story").join(&living).join("lock.json").exists());
    assert_eq!(reap(&living).len(), 1);
}
