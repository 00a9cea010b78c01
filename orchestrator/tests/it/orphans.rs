//! Nothing outlives an orchestrator, whatever kills it: SIGKILL at twenty points, and a second
//! later nobody who carries the run's mark is left.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chaos::procfs;
use protocol::draw::draw_below;

use crate::living::{Victim, await_that, marked};

/// A run that pauses one of its peers and then goes on for longer than any test.
const STORY: &str = r#"
[scenario]
name    = "NAME"
timeout = "60s"

[cluster]
peers   = 3
stagger = "100ms"

[workload]
sensors = { rate = "50/s" }

[[step]]
pause = "peer1"

[[step]]
wait   = { event = "panic" }
within = "50s"
"#;

/// Peers are another crate's program, which `cargo test` does not build for this one.
pub(crate) fn build_peer() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", "peer"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(built.success());
}

fn start(folder: &Path, name: &str) -> Victim {
    let file = folder.join(format!("{name}.toml"));
    fs::write(&file, STORY.replace("NAME", name)).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_orchestrator"))
        .arg("run")
        .arg(&file)
        .arg("--logs")
        .arg(folder.join("logs"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Victim(child)
}

#[test]
fn nobody_survives_a_killed_orchestrator() {
    build_peer();
    let folder = tempfile::tempdir().unwrap();
    for point in 0..20_u64 {
        let name = format!("orphans_{}_{point}", std::process::id());
        let mut victim = start(folder.path(), &name);
        let mark = format!("{name}-");
        assert!(
            await_that(Duration::from_secs(20), || !marked(&mark).is_empty()),
            "no peer was started; the orchestrator: {:?}",
            victim.0.try_wait()
        );
        match point {
            // The first peer was started just now and has hardly begun to run.
            0 => {}
            // One of them stands still.
            1 => assert!(
                await_that(Duration::from_secs(20), || marked(&mark)
                    .iter()
                    .any(|pid| procfs::state(*pid) == Some('T'))),
                "no peer was stopped"
            ),
            // Anywhere else: while others start, while they look for each other, while readings
            // flow.
            _ => {
                let delay = Duration::from_micros(draw_below(7, "orphans", point, 900_000));
                let over = Instant::now() + delay;
                await_that(delay, || Instant::now() >= over);
            }
        }
        victim.0.kill().unwrap();
        victim.0.wait().unwrap();
        assert!(
            await_that(Duration::from_secs(1), || marked(&mark).is_empty()),
            "point {point}: {:?} are left",
            marked(&mark)
        );
    }
    // What such a run leaves is recognised: its owner is dead, so its lock is taken away.
    let cleaned = Command::new(env!("CARGO_BIN_EXE_orchestrator"))
        .args(["clean", "--logs"])
        .arg(folder.path().join("logs"))
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&cleaned.stdout).contains("20 dead runs cleaned"),
        "{}",
        String::from_utf8_lossy(&cleaned.stdout)
    );
}

#[test]
fn an_interrupted_run_is_judged_and_leaves_nobody() {
    build_peer();
    let folder = tempfile::tempdir().unwrap();
    let name = format!("interrupted_{}", std::process::id());
    let mut victim = start(folder.path(), &name);
    let mark = format!("{name}-");
    assert!(
        await_that(Duration::from_secs(20), || marked(&mark).len() == 3),
        "three peers were not started; the orchestrator: {:?}",
        victim.0.try_wait()
    );
    victim.signal(nix::sys::signal::Signal::SIGINT);
    let status = victim.0.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(marked(&mark).is_empty());
    let verdict = fs::read_to_string(folder.path().join("logs/latest/verdict.json")).unwrap();
    assert!(verdict.contains("\"outcome\": \"interrupted\""), "{verdict}");
    assert!(!folder.path().join("logs/latest/lock.json").exists());
}

#[test]
fn outputs_that_nobody_reads_do_not_keep_a_run_from_being_ended() {
    build_peer();
    let folder = tempfile::tempdir().unwrap();
    let name = format!("unread_{}", std::process::id());
    let file = folder.path().join(format!("{name}.toml"));
    fs::write(&file, STORY.replace("NAME", &name)).unwrap();
    // A pipe that is full from the start.
    let (_reader, mut writer) = std::io::pipe().unwrap();
    let flags = nix::fcntl::OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
    while writer.write(&[b'x'; 4_096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_orchestrator"));
    command.args(["run", "--follow"]).arg(&file).arg("--logs").arg(folder.path().join("logs"));
    let child = command.stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
    let mut victim = Victim(child);
    let mark = format!("{name}-");
    assert!(
        await_that(Duration::from_secs(20), || marked(&mark).len() == 3),
        "three peers were not started"
    );
    victim.signal(nix::sys::signal::Signal::SIGINT);
    let status = victim
        .end_within(Duration::from_secs(30))
        .expect("it ends although nobody reads what it says");
    assert_eq!(status.code(), Some(130));
    assert!(marked(&mark).is_empty());
    assert!(
        fs::read_to_string(folder.path().join("logs/latest/verdict.json"))
            .unwrap()
            .contains("interrupted")
    );
}

#[test]
fn an_endless_run_is_told_once_and_ends_well_with_an_interruption() {
    const ENDLESS: &str = "[scenario]\nname = 'NAME'\n[cluster]\npeers = 3\ntiming = \
                           'default'\n[workload]\nsensors = { host = '100ms' }\n[[step]]\nwait = \
                           'interrupt'\n";
    build_peer();
    let folder = tempfile::tempdir().unwrap();
    let name = format!("endless_{}", std::process::id());
    fs::write(folder.path().join("endless.toml"), ENDLESS.replace("NAME", &name)).unwrap();
    let told = folder.path().join("told");
    let child = Command::new(env!("CARGO_BIN_EXE_orchestrator"))
        .current_dir(folder.path())
        .args(["run", "--follow", "--http", "127.0.0.1:0", "endless.toml"])
        .stdout(Stdio::null())
        .stderr(fs::File::create(&told).unwrap())
        .spawn()
        .unwrap();
    let mut victim = Victim(child);
    let read = || fs::read_to_string(&told).unwrap();
    assert!(
        await_that(Duration::from_secs(20), || read().matches("3/3").count() >= 6),
        "{}",
        read()
    );
    // Each has its page, and one page has the links to all of them.
    let ask = |url: &str| {
        let at = url.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = std::net::TcpStream::connect(at).unwrap();
        stream
            .write_all(
                format!("GET / HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").as_bytes(),
            )
            .unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
        text
    };
    let told = read();
    let urls = |mark: &str| {
        told.lines()
            .filter(|line| line.contains(mark))
            .filter_map(|line| line.split(' ').next_back())
            .collect::<Vec<_>>()
    };
    let (index, pages) = (urls("PAGES http"), urls("PAGE peer"));
    assert_eq!((index.len(), pages.len()), (1, 3), "{told}");
    let links = ask(index[0]);
    for page in pages {
        assert!(links.contains(page) && ask(page).contains("seen from"), "{page}: {links}");
    }
    // Another process has stopped one of them: it leaves nevertheless.
    let stopped = marked(&format!("{name}-"))[0];
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(stopped).unwrap()),
        nix::sys::signal::Signal::SIGSTOP,
    )
    .unwrap();
    victim.signal(nix::sys::signal::Signal::SIGINT);
    let status = victim.end_within(Duration::from_secs(10)).expect("it ends");
    let verdict = fs::read_to_string(folder.path().join("logs/latest/verdict.json")).unwrap();
    assert_eq!(status.code(), Some(0), "{verdict}");
    assert!(verdict.contains("\"outcome\": \"pass\""), "{verdict}");
    assert!(marked(&format!("{name}-")).is_empty());
    let told = read();
    let numbers: Vec<&str> =
        told.lines().filter_map(|line| line.split_once(" #")?.1.split(' ').next()).collect();
    let mut once = numbers.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), numbers.len(), "{told}");
    assert_eq!(told.matches("became the Group Leader").count(), 1, "{told}");
}
