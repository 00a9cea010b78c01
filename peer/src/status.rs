//! `peer status`: a running peer answers on a Unix socket of its own, and a client finds it.
//!
//! The answer is one JSON object, sent to whoever connects; nothing is asked, so nothing can be asked wrongly. The
//! sockets lie in one folder of the user's, so that a client needs no address where one peer runs.

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use protocol::config::{Guarantee, Mode};
use protocol::id::PeerId;
use protocol::status::Status;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, UNAVAILABLE, USAGE};

/// What a peer says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Where it stands in the group.
    #[serde(flatten)]
    pub status: Status,
    /// Its process.
    pub pid: u32,
    /// Its build.
    pub build: String,
    /// What it and its group were told to be.
    #[serde(flatten)]
    pub choices: Choices,
    /// For how long it has been running, in milliseconds.
    pub uptime_ms: u64,
    /// How many TCP links it has.
    pub links: usize,
    /// How much it has turned away unread.
    pub rejected: u64,
    /// How many of its own readings were refused.
    pub refused: u64,
    /// What it has handed over so far, in order.
    pub deliveries: Deliveries,
}

/// What a peer and its group were told to be: alike everywhere in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choices {
    /// Its cluster.
    pub cluster: String,
    /// What a partition does to the group.
    pub mode: Mode,
    /// When a reading is handed over.
    pub delivery: Guarantee,
}

/// The sequence of what was delivered, as numbers that can be compared between peers that joined at the same place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliveries {
    /// How many readings.
    pub count: u64,
    /// How many bytes of payload.
    pub bytes: u64,
    /// The position of the first; 0 before it.
    pub first: u64,
    /// A rolling hash over position, origin, number and payload, hex; kept where single readings are not told.
    pub hash: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = &self.status;
        writeln!(f, "{status}")?;
        writeln!(f, "Role: {}{}", status.role, if status.leaving { " (leaving)" } else { "" })?;
        writeln!(f, "Epoch: {} (promised {})", status.epoch, status.promised)?;
        writeln!(f, "Log: holds up to #{}, delivered #{}, stable #{}", status.contiguous, status.delivered, status.stable)?;
        writeln!(f, "Own readings: {} published, {} ordered, {} refused", status.published, status.ordered, self.refused)?;
        writeln!(f, "Delivered here: {} readings, {} bytes", self.deliveries.count, self.deliveries.bytes)?;
        let Choices { cluster, mode, delivery } = &self.choices;
        writeln!(f, "Cluster: {cluster}, mode: {mode}, delivery: {delivery}")?;
        writeln!(f, "Links: {}, turned away: {}", self.links, self.rejected)?;
        let seconds = Duration::from_secs(self.uptime_ms / 1_000);
        write!(f, "Process: {}, up for {}, build {}", self.pid, humantime::format_duration(seconds), self.build)
    }
}

/// The server's end, inside the loop.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    listener: UnixListener,
    clients: VecDeque<(UnixStream, Vec<u8>)>,
}

impl Server {
    /// Listens on a socket of its own in the user's folder.
    ///
    /// # Errors
    /// Those of the operating system; a peer can live without.
    pub fn start(registry: &Registry, pid: u32, birth: u64) -> io::Result<Self> {
        Self::start_in(&folder(), registry, pid, birth)
    }

    fn start_in(folder: &Path, registry: &Registry, pid: u32, birth: u64) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // The birth keeps processes of several containers apart that share the folder and the number.
        let path = folder.join(format!("{pid}-{:08x}.sock", birth >> 32));
        let mut listener = UnixListener::bind(&path)?;
        registry.register(&mut listener, STATUS, Interest::READABLE)?;
        Ok(Self { path, listener, clients: VecDeque::new() })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers everyone who has connected, and goes on with answers that did not fit.
    pub fn serve(&mut self, registry: &Registry, report: impl Fn() -> Report) {
        while let Ok((mut client, _)) = self.listener.accept() {
            if registry.register(&mut client, CLIENT, Interest::WRITABLE).is_err() {
                continue;
            }
            let mut answer = serde_json::to_vec(&report()).expect("a report is made of what JSON can say");
            answer.push(b'\n');
            if self.clients.len() >= CLIENTS_MAX {
                self.clients.pop_front();
            }
            self.clients.push_back((client, answer));
        }
        self.clients.retain_mut(|(client, answer)| {
            while !answer.is_empty() {
                match client.write(answer) {
                    Ok(count) => drop(answer.drain(..count)),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return error.kind() == ErrorKind::WouldBlock,
                }
            }
            false
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A socket that stays behind is recognised by clients: nobody answers.
        let _gone = fs::remove_file(&self.path);
    }
}

/// Asks the peer of that name, or the only one there is.
///
/// # Errors
/// [`Failure`]: there is none, or there are several and none was named.
pub fn ask(id: Option<&PeerId>) -> Result<Report, Failure> {
    choose(ask_all(&folder()), id)
}

fn choose(mut reports: Vec<Report>, id: Option<&PeerId>) -> Result<Report, Failure> {
    if let Some(id) = id {
        reports.retain(|report| report.status.peer_id == *id);
    }
    let Some(last) = reports.pop() else {
        let who = id.map_or_else(|| "No peer".to_owned(), |id| format!("No peer called {id}"));
        return Err(Failure::new(UNAVAILABLE, format!("{who} of this user runs on this machine; start one with `peer run`.")));
    };
    if reports.is_empty() {
        return Ok(last);
    }
    reports.push(last);
    let list: Vec<String> = reports.iter().map(|report| format!("  {} (process {})", report.status.peer_id, report.pid)).collect();
    Err(Failure::new(USAGE, format!("Several peers run here; choose one with --id:\n{}", list.join("\n"))))
}

/// What every peer says whose socket lies in this folder.
fn ask_all(folder: &Path) -> Vec<Report> {
    let mut reports: Vec<Report> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sock"))
        .filter_map(|path| match ask_one(&path) {
            Ok(report) => Some(report),
            Err(error) => {
                if error.kind() == ErrorKind::ConnectionRefused {
                    // Its process was killed.
                    let _somebody_else_did = fs::remove_file(&path);
                }
                None
            }
        })
        .collect();
    reports.sort_by(|a, b| a.status.peer_id.cmp(&b.status.peer_id).then(a.pid.cmp(&b.pid)));
    reports
}

fn ask_one(path: &Path) -> io::Result<Report> {
    let mut stream = BlockingStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    Read::by_ref(&mut stream).take(ANSWER_MAX_BYTES).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

/// The folder of this user's sockets.
fn folder() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(runtime) => runtime.join("sensor-peers"),
        None => PathBuf::from(format!("/tmp/sensor-peers-{}", nix::unistd::geteuid())),
    }
}

/// The listener's token.
pub const STATUS: Token = Token(3);
/// The token of all clients; there are few, so each event looks at all of them.
pub const CLIENT: Token = Token(4);
const CLIENTS_MAX: usize = 16;
const PATIENCE: Duration = Duration::from_secs(2);
const ANSWER_MAX_BYTES: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::{BlockingStream, Choices, Deliveries, Guarantee, Mode, PeerId, Report, STATUS, Server, ask_all, choose};
    use crate::failure::{UNAVAILABLE, USAGE};
    use protocol::id::{Incarnation, Oseq, Seq, ViewId};
    use protocol::status::Status;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    fn report(name: &str, members: usize) -> Report {
        let peer_id = PeerId::new(name).unwrap();
        let status = Status {
            mode: protocol::config::Mode::Available,
            blocked: None,
            peer_id: peer_id.clone(),
            incarnation: Incarnation(1),
            address: "127.0.0.1:5001".parse().unwrap(),
            role: "leader".to_owned(),
            leaving: false,
            leader: Some(peer_id.clone()),
            epoch: "1.p1".to_owned(),
            promised: "1.p1".to_owned(),
            view_id: ViewId(1),
            members: vec![peer_id; members],
            contiguous: Seq(1),
            delivered: Seq(1),
            stable: Seq(1),
            published: Oseq(0),
            ordered: Oseq(0),
        };
        let choices = Choices { cluster: "sensors".to_owned(), mode: Mode::Available, delivery: Guarantee::Agreed };
        Report {
            status,
            pid: 7,
            build: crate::BUILD.to_owned(),
            choices,
            uptime_ms: 61_000,
            links: 0,
            rejected: 0,
            refused: 0,
            deliveries: Deliveries::default(),
        }
    }

    #[test]
    fn a_running_peer_is_found_and_asked_and_a_dead_one_is_cleared_away() {
        let folder = tempfile::tempdir().unwrap();
        let stale = folder.path().join("1-00000000.sock");
        drop(UnixListener::bind(&stale).unwrap());
        let mut poll = mio::Poll::new().unwrap();
        let mut server = Server::start_in(folder.path(), poll.registry(), 7, u64::MAX).unwrap();
        // Large enough that one write does not take it all.
        let expected = report("p1", 100_000);
        let asked = folder.path().to_owned();
        let client = std::thread::spawn(move || ask_all(&asked));
        let mut events = mio::Events::with_capacity(8);
        while !client.is_finished() {
            poll.poll(&mut events, Some(Duration::from_millis(10))).unwrap();
            server.serve(poll.registry(), || expected.clone());
        }
        assert_eq!(client.join().unwrap(), [expected]);
        assert!(!stale.exists());
        let path = server.path().to_owned();
        drop(server);
        assert!(!path.exists());
    }

    #[test]
    fn clients_that_never_read_do_not_pile_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut poll = mio::Poll::new().unwrap();
        let mut server = Server::start_in(folder.path(), poll.registry(), 7, 1).unwrap();
        let mut clients = Vec::new();
        let mut events = mio::Events::with_capacity(8);
        for _ in 0..3 * super::CLIENTS_MAX {
            clients.push(BlockingStream::connect(server.path()).unwrap());
            poll.poll(&mut events, None).unwrap();
            assert!(events.iter().any(|event| event.token() == STATUS));
            server.serve(poll.registry(), || report("p1", 100_000));
            assert!(server.clients.len() <= super::CLIENTS_MAX);
        }
        assert_eq!(server.clients.len(), super::CLIENTS_MAX, "the answers are larger than what a socket holds");
    }

    #[test]
    fn several_peers_need_a_name() {
        let all = || vec![report("p1", 1), report("p2", 1)];
        let p2 = PeerId::new("p2").unwrap();
        assert_eq!(choose(all(), Some(&p2)).unwrap().status.peer_id, p2);
        let failure = choose(all(), None).unwrap_err();
        assert_eq!(failure.code, USAGE);
        assert!(failure.text.contains("p1 (process 7)"), "{failure}");
        assert_eq!(choose(vec![], None).unwrap_err().code, UNAVAILABLE);
        assert_eq!(choose(all(), Some(&PeerId::new("p3").unwrap())).unwrap_err().code, UNAVAILABLE);
    }

    #[test]
    fn a_report_reads_well() {
        let text = report("p1", 1).to_string();
        assert!(text.contains("Is Group Leader: True") && text.contains("up for 1m 1s"), "{text}");
    }
}
