//! A peer as a service: reports to its manager, its configuration, and SIGHUP.

use std::collections::VecDeque;
use std::fs;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::bench::{Bench, PEER, Running, until};

/// A service manager that listens.
struct Manager {
    socket: UnixDatagram,
    heard: VecDeque<String>,
}

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, heard: VecDeque::new() }
    }

    /// The next message with this line.
    #[track_caller]
    fn hear(&mut self, line: &str) -> String {
        let mut found = None;
        until(&format!("the manager to hear {line}"), || {
            let mut buffer = [0; 4_096];
            while let Ok(count) = self.socket.recv(&mut buffer) {
                self.heard.push_back(String::from_utf8(buffer[..count].to_vec()).unwrap());
            }
            while let Some(words) = self.heard.pop_front() {
                if words.lines().any(|said| said.starts_with(line)) {
                    found = Some(words);
                    return true;
                }
            }
            false
        });
        found.unwrap()
    }
}

fn managed(bench: &Bench, socket: &str, flags: &[&str]) -> Running {
    let mut command = Command::new(PEER);
    command.env("NOTIFY_SOCKET", socket);
    bench.start_as(command, "peer1", flags)
}

#[test]
fn a_manager_hears_when_it_is_ready_reloads_and_stops() {
    let bench = Bench::new();
    let path = bench.path("notify");
    let mut manager = Manager::at(&path);
    let mut one = managed(&bench, path.to_str().unwrap(), &[]);
    let ready = manager.hear("READY=1");
    assert!(ready.contains("\nSTATUS=1 member, led by peer1, in view 1 of epoch "), "{ready}");
    // The events are written by a thread of their own, which may be behind.
    until("the view to be written", || one.members() == 1);
    let mut two = bench.start("peer2", &[]);
    manager.hear("STATUS=2 members, led by ");
    one.signal(Signal::SIGHUP);
    let words = manager.hear("RELOADING=1");
    let micros = words
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="))
        .and_then(|number| number.parse::<u64>().ok());
    assert!(micros.is_some_and(|micros| micros > 0), "{words}");
    manager.hear("READY=1");
    one.signal(Signal::SIGTERM);
    manager.hear("STOPPING=1");
    manager.hear("STATUS=left the group");
    assert!(one.wait().success());
    two.signal(Signal::SIGTERM);
    assert!(two.wait().success());
}

#[test]
fn a_blocked_peer_is_not_ready_and_says_what_it_lacks() {
    let bench = Bench::new();
    let name = format!("{}", bench.path("notify").display());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut manager = Manager { socket, heard: VecDeque::new() };
    let data = bench.path("data");
    let flags =
        ["--mode", "primary", "--bootstrap", "peer1,peer2", "--data-dir", data.to_str().unwrap()];
    let mut one = managed(&bench, &format!("@{name}"), &flags);
    let lonely = manager.hear("STATUS=");
    assert!(
        lonely.contains("STATUS=Looking for a group") || lonely.contains("STATUS=Blocked: "),
        "{lonely}"
    );
    let other = bench.path("other");
    let mut two = bench.start(
        "peer2",
        &["--mode", "primary", "--bootstrap", "peer1,peer2", "--data-dir", other.to_str().unwrap()],
    );
    let ready = manager.hear("READY=1");
    assert!(ready.contains("STATUS=2 members"), "it is ready with the other only: {ready}");
    two.signal(Signal::SIGKILL);
    manager.hear("STATUS=Blocked: ");
    one.signal(Signal::SIGKILL);
    assert!(!one.wait().success() && !two.wait().success());
}

#[test]
fn the_watchdog_is_fed_while_nothing_happens() {
    let bench = Bench::new();
    let path = bench.path("notify");
    let mut manager = Manager::at(&path);
    let mut command = Command::new(PEER);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let mut one = bench.start_as(
        command,
        "peer1",
        &["--heartbeat-interval", "1h", "--heartbeat-timeout", "3h"],
    );
    for _ in 0..10 {
        manager.hear("WATCHDOG=1");
    }
    one.signal(Signal::SIGSTOP);
    one.signal(Signal::SIGKILL);
    assert!(!one.wait().success());
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(PEER).args(arguments).envs(variables.iter().copied()).output().unwrap()
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_configuration_is_written_checked_and_never_lost() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("peer.toml");
    let path = file.to_str().unwrap();
    let init = run(&["config", "init", path], &[]);
    assert!(init.status.success(), "{}", words(&init.stderr));
    assert_eq!(
        fs::read(&file).unwrap(),
        run(&["config", "init"], &[]).stdout,
        "without a file it goes to standard output"
    );
    assert!(run(&["config", "check", path], &[]).status.success());
    fs::write(&file, "id = \"mine\"\n").unwrap();
    let again = run(&["config", "init", path], &[]);
    assert_eq!(again.status.code(), Some(69));
    assert!(words(&again.stderr).contains("--force"), "{}", words(&again.stderr));
    assert_eq!(fs::read_to_string(&file).unwrap(), "id = \"mine\"\n");
    assert!(run(&["config", "init", "--force", path], &[]).status.success());
    assert!(fs::read_to_string(&file).unwrap().contains("# heartbeat_interval = \"5s\"\n"));
}

#[test]
fn mistakes_in_a_configuration_have_a_file_a_line_and_a_column() {
    let folder = tempfile::tempdir().unwrap();
    let check = |text: &str, place: &str, mend: &str| {
        let file = folder.path().join("peer.toml");
        fs::write(&file, text).unwrap();
        let output = run(&["config", "check", file.to_str().unwrap()], &[]);
        let said = words(&output.stderr);
        assert_eq!(output.status.code(), Some(65), "{text}: {said}");
        assert!(
            said.contains("peer.toml") && said.contains(place) && said.contains(mend),
            "{text}: {said}"
        );
    };
    check("id = \"a\"\nintervall = \"1s\"\n", "line 2, column 1", "unknown field `intervall`");
    check("id = \"a\"\n  interval = \"soon\"\n", "line 2, column 14", "100ms or 15s");
    check("port = 70000\n", "line 1, column 8", "u16");
    check("id = \"a\"\nid = \"b\"\n", "line 2", "duplicate key");
    // What is wrong with the whole, and not with its form.
    check("\n id = \"a b\"\n", "line 2, column 2", "' '");
    check("# x\nheartbeat_interval = \"1h\"\n", "line 2, column 1", "heartbeat_timeout");
    check("interval = \"0s\"\n", "line 1, column 1", "make it");
    check("mode = \"primary\"\n", "line 1, column 1", "bootstrap");
    let none = run(&["config", "check", folder.path().join("none").to_str().unwrap()], &[]);
    assert_eq!(none.status.code(), Some(65));
    assert!(words(&none.stderr).contains("No such file"), "{}", words(&none.stderr));
}

#[test]
fn a_wrong_variable_ends_the_start_with_its_name() {
    let output = run(&["run"], &[("PEER_HEARTBEAT_INTERVAL", "often")]);
    assert_eq!(output.status.code(), Some(64));
    assert!(
        words(&output.stderr).contains("the variable PEER_HEARTBEAT_INTERVAL: "),
        "{}",
        words(&output.stderr)
    );
    let help = words(&run(&["run", "--help"], &[]).stdout);
    assert!(
        help.contains("[env: PEER_DATA_DIR]")
            && help.contains("[env: PEER_BROADCAST_PORT or BROADCAST_PORT]"),
        "{help}"
    );
}

#[test]
fn a_hang_up_takes_over_what_it_can_and_names_the_rest() {
    let bench = Bench::new();
    let file = bench.path("peer.toml");
    fs::write(&file, "log_level = \"info\"\n").unwrap();
    let mut one = bench.start("peer1", &["--config", file.to_str().unwrap()]);
    until("it to lead", || one.members() == 1);
    let hang_up = |text: &str, told: &str| {
        let before = one.log().matches(told).count();
        fs::write(&file, text).unwrap();
        one.signal(Signal::SIGHUP);
        until(told, || one.log().matches(told).count() > before);
    };
    hang_up(
        "heartbeat_interval = [\n",
        "SIGHUP: nothing has changed, because the configuration is broken: ",
    );
    assert!(
        one.log().contains("peer.toml") && one.log().contains("line 1, column"),
        "{}",
        one.log()
    );
    hang_up("log_level = \"info\"\nport = 0\n", "says nothing new");
    hang_up(
        "heartbeat_timeout = \"30s\"\ncluster = \"other\"\n",
        "SIGHUP: cluster, heartbeat_timeout need a restart",
    );
    hang_up("interval = \"20s\"\n", "SIGHUP: interval needs a restart");
    // A seed that is named while it runs is asked.
    let seed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    seed.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    hang_up(
        &format!("seeds = [\"{}\"]\n", seed.local_addr().unwrap()),
        "was read again; seeds changed",
    );
    let mut two = bench.start("peer2", &[]);
    until("a view of both", || one.members() == 2);
    two.signal(Signal::SIGKILL);
    two.wait();
    seed.recv(&mut [0; 2_048]).expect("the seed is asked once somebody is looked for");
    hang_up("log_level = \"warn\"\n", "log_level and seeds changed");
    one.signal(Signal::SIGHUP);
    one.signal(Signal::SIGTERM);
    assert!(one.wait().success());
    assert!(
        !one.log().contains("left the group"),
        "that is told at the level info, and the level is warn by now: {}",
        one.log()
    );
}

#[test]
fn the_journal_is_spared_a_line_for_each_reading() {
    use std::os::unix::fs::MetadataExt as _;
    for (journal, flags, tells) in [
        (true, &[][..], false),
        (false, &[], true),
        (true, &["--log-deliveries", "on"], true),
        (false, &["--log-deliveries", "off"], false),
    ] {
        let bench = Bench::new();
        // Its output is the file that the bench makes.
        let log = fs::File::create(bench.path("peer1.log")).unwrap().metadata().unwrap();
        let inode = if journal { log.ino() } else { log.ino() + 1 };
        let mut command = Command::new(PEER);
        command.env("JOURNAL_STREAM", format!("{}:{inode}", log.dev()));
        let mut one = bench.start_as(
            command,
            "peer1",
            &[&["--sensor", "synthetic", "--interval", "5ms"], flags].concat(),
        );
        until("it to deliver", || {
            bench.report("peer1").is_some_and(|report| report.deliveries.count > 3)
        });
        one.signal(Signal::SIGTERM);
        assert!(one.wait().success());
        assert_eq!(
            !one.delivered().is_empty(),
            tells,
            "JOURNAL_STREAM {journal}, {flags:?}: {}",
            one.log()
        );
    }
}

#[test]
fn the_example_of_the_packages_is_the_template_with_a_place_for_the_data() {
    let template = words(&run(&["config", "init"], &[]).stdout);
    let example = template.replace("\n# data_dir = ", "\ndata_dir = ");
    assert_ne!(example, template);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/peer.toml");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &example).unwrap();
    }
    let words = "contrib/peer.toml is not what `peer config init` writes; UPDATE=1 cargo test -p \
                 peer the_example rewrites it";
    assert!(fs::read_to_string(&path).unwrap() == example, "{words}");
    assert!(run(&["config", "check", path.to_str().unwrap()], &[]).status.success());
}
