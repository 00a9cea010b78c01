//! The environment of the command's tests: peers on loopback, isolated from all other tests.

use std::fs::{DirBuilder, File};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use peer::status::Report;
use protocol::digest::Digest;
use protocol::note::{Event, Note};
use tempfile::TempDir;

/// The command.
pub(crate) const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// A folder, a discovery port and an environment that no other test shares.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    /// Held, so that no other process gets the port.
    pub(crate) lease: UdpSocket,
    pub(crate) port: u16,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let lease = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = lease.local_addr().unwrap().port();
        Self { folder: tempfile::tempdir().unwrap(), lease, port }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A data folder as a peer accepts it, whatever the umask.
    pub(crate) fn make_folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        DirBuilder::new().mode(0o700).create(&path).unwrap();
        path
    }

    /// The command, which sees the sockets of this bench only.
    pub(crate) fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(PEER);
        command.args(flags);
        self.furnish(command)
    }

    pub(crate) fn furnish(&self, mut command: Command) -> Command {
        command
            .env("PEER_SOCKETS", self.folder.path())
            .env("BROADCAST_PORT", self.port.to_string());
        command
    }

    /// Starts a peer with a name, with the fast profile, without sensors unless configured.
    pub(crate) fn start(&self, id: &str, flags: &[&str]) -> Running {
        self.start_as(Command::new(PEER), id, flags)
    }

    /// Starts a peer with at most this many descriptors.
    pub(crate) fn start_limited(&self, id: &str, descriptors: u32) -> Running {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\""), PEER]);
        self.start_as(shell, id, &[])
    }

    pub(crate) fn start_as(&self, command: Command, id: &str, flags: &[&str]) -> Running {
        self.launch(command, id, &[&["--address", "127.0.0.1"], flags].concat())
    }

    /// Starts a peer on loopback whose local socket is in the folder of the command's environment.
    pub(crate) fn launch_elsewhere(&self, mut command: Command, id: &str) -> Running {
        let (log, events) = (self.path(&format!("{id}.log")), self.path(&format!("{id}.jsonl")));
        let port = self.port.to_string();
        let own = std::process::id().to_string();
        command.env_remove("PEER_SOCKETS").args([
            "run",
            "--id",
            id,
            "--address",
            "127.0.0.1",
            "--timing",
            "fast",
        ]);
        command.args([
            "--broadcast-port",
            &port,
            "--sensor",
            "none",
            "--die-with",
            &own,
            "--events",
            events.to_str().unwrap(),
        ]);
        let file = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Running { child: command.spawn().unwrap(), events, log }
    }

    /// Starts a peer without address flags.
    pub(crate) fn launch(&self, command: Command, id: &str, flags: &[&str]) -> Running {
        let log = File::create(self.path(&format!("{id}.log"))).unwrap();
        let events = self.path(&format!("{id}.jsonl"));
        let own = std::process::id().to_string();
        let mut command = self.furnish(command);
        command.args(["run", "--id", id, "--timing", "fast", "--die-with", &own]);
        command.args(["--events", events.to_str().unwrap()]).args(flags);
        if !flags.contains(&"--sensor") && !flags.contains(&"--config") {
            command.args(["--sensor", "none"]);
        }
        command.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
        Running { child: command.spawn().unwrap(), events, log: self.path(&format!("{id}.log")) }
    }

    /// All events of a peer's lives.
    pub(crate) fn events(&self, id: &str) -> Vec<Event> {
        read_events(&self.path(&format!("{id}.jsonl")))
    }

    pub(crate) fn report(&self, id: &str) -> Option<Report> {
        let output = self.command(&["status", "--id", id, "--json"]).output().unwrap();
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }
}

/// A peer that is killed, if it still runs, when the test is over.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) events: PathBuf,
    pub(crate) log: PathBuf,
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        read_events(&self.events)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn has(&self, wanted: impl Fn(&Note) -> bool) -> bool {
        self.events().iter().any(|event| wanted(&event.note))
    }

    /// The number of members in the newest view in force here.
    pub(crate) fn members(&self) -> usize {
        let views = self.events().into_iter().filter_map(|event| {
            if let Note::View { members, .. } = event.note { Some(members.len()) } else { None }
        });
        views.last().unwrap_or(0)
    }

    /// The digests of what has been delivered, in order.
    pub(crate) fn delivered(&self) -> Vec<Digest> {
        let digest = |event: Event| {
            if let Note::Deliver { digest, .. } = event.note { Some(digest) } else { None }
        };
        self.events().into_iter().filter_map(digest).collect()
    }

    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until(&format!("{} to end", self.log.display()), || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}

fn read_events(path: &Path) -> Vec<Event> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Waits for something to become true.
#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < patience, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
