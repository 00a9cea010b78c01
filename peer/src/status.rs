//! `peer status`: a running peer answers on a Unix socket of its own, and a client finds it.
//!
//! The answer is one JSON object, sent to whoever connects; nothing is asked, so nothing can be asked wrongly. The
//! sockets lie in one folder of the user's (see [`folders()`]), so that a client needs no address where one peer runs. A folder
//! that is cleaned while the peer runs gets another socket; the scout notices.

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use protocol::config::Guarantee;
use protocol::status::Status;
use protocol::time::Time;
use serde::{Deserialize, Serialize};

use crate::folder::Folder;
use crate::outputs::OutputReport;
use crate::reach::Unreachable;
use crate::sensors::gauge::SensorReport;

pub use self::client::{ask, ask_process};
pub use self::folders::folders;

mod client;
mod elsewhere;
mod folders;

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
    /// Its cluster.
    pub cluster: String,
    /// When a reading is handed over, unless its publisher says otherwise.
    pub delivery: Guarantee,
    /// For how long it has been running, in milliseconds.
    pub uptime_ms: u64,
    /// How many TCP links it has.
    pub links: usize,
    /// What it has said so far.
    pub traffic: Traffic,
    /// When the newest view came into force here (CLOCK_MONOTONIC, in microseconds); 0 before the first.
    pub view_since: Time,
    /// How much it has turned away unread.
    pub rejected: u64,
    /// Peers that it hears and cannot reach.
    #[serde(default)]
    pub unreachable: Vec<Unreachable>,
    /// How it stands with its networks.
    #[serde(default)]
    pub networks: String,
    /// How many of its own readings were refused.
    pub refused: u64,
    /// How many readings it keeps in `ordered.jsonl` and in no table, because they have another form or there are too many sensors.
    #[serde(default)]
    pub without_a_row: u64,
    /// What it has handed over so far, in order.
    pub deliveries: Deliveries,
    /// Outputs that take nothing, or have taken less than there was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputReport>,
    /// How its sensors are doing.
    #[serde(default)]
    pub sensors: Vec<SensorReport>,
}

/// What a peer has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Frames, on links.
    pub frames: u64,
    /// Datagrams.
    pub datagrams: u64,
    /// Bytes of both.
    pub bytes: u64,
}

impl Traffic {
    /// One message more.
    pub(crate) fn add(&mut self, bytes: usize, datagram: bool) {
        *if datagram { &mut self.datagrams } else { &mut self.frames } += 1;
        self.bytes += bytes as u64;
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let (frames, datagrams) = (self.frames + other.frames, self.datagrams + other.datagrams);
        Self { frames, datagrams, bytes: self.bytes + other.bytes }
    }
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
    /// When the first was delivered (CLOCK_MONOTONIC, in microseconds).
    pub first_at: Time,
    /// When the last was.
    pub last_at: Time,
    /// A rolling hash over position, origin, number and payload, hex; kept where single readings are not told.
    pub hash: Option<String>,
    /// How long synthetic load took, from when it was due; where that is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

/// How long readings took, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// Half of them no longer than this.
    pub p50_us: u64,
    /// 99 of 100.
    pub p99_us: u64,
    /// 999 of 1,000.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
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
        if self.without_a_row > 0 {
            writeln!(f, "Without a row in a CSV table: {} readings (`ordered.jsonl` has them)", self.without_a_row)?;
        }
        writeln!(f, "Cluster: {}, mode: {}, delivery: {}", self.cluster, status.mode, self.delivery)?;
        let Traffic { frames, datagrams, bytes } = self.traffic;
        writeln!(f, "Sent: {frames} frames, {datagrams} datagrams, {bytes} bytes")?;
        writeln!(f, "Links: {}, turned away: {}", self.links, self.rejected)?;
        self.outputs.iter().try_for_each(|output| writeln!(f, "{output}"))?;
        self.sensors.iter().try_for_each(|sensor| writeln!(f, "{sensor}"))?;
        writeln!(f, "Networks: {}", self.networks)?;
        for Unreachable { peer, address, for_ms, why } in &self.unreachable {
            writeln!(f, "Cannot reach: {peer} at {address}, heard by UDP, for {} s it {why}", for_ms / 1_000)?;
        }
        let seconds = Duration::from_secs(self.uptime_ms / 1_000);
        write!(f, "Process: {}, up for {}, build {}", self.pid, humantime::format_duration(seconds), self.build)
    }
}

/// The server's end, inside the loop.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    name: String,
    folders: Vec<PathBuf>,
    listener: UnixListener,
    clients: VecDeque<(UnixStream, Vec<u8>)>,
}

impl Server {
    /// Listens on a socket of its own in the first folder that will have one.
    ///
    /// # Errors
    /// Those of the operating system; a peer can live without.
    pub fn start(registry: &Registry, pid: u32, birth: u64) -> io::Result<Self> {
        Self::start_in(folders(), registry, pid, birth)
    }

    fn start_in(folders: Vec<PathBuf>, registry: &Registry, pid: u32, birth: u64) -> io::Result<Self> {
        // The birth keeps processes of several containers apart that share the folder and the number.
        let name = format!("{pid}-{:08x}.sock", birth >> 32);
        let (path, listener) = listen(&folders, &name, registry)?;
        Ok(Self { path, name, folders, listener, clients: VecDeque::new() })
    }

    /// Listens anew: somebody has removed the file.
    ///
    /// # Errors
    /// Those of the operating system; whoever is being answered is answered all the same.
    pub fn restore(&mut self, registry: &Registry) -> io::Result<()> {
        (self.path, self.listener) = listen(&self.folders, &self.name, registry)?;
        Ok(())
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

/// A socket of that name in the first of the folders that will have one.
fn listen(folders: &[PathBuf], name: &str, registry: &Registry) -> io::Result<(PathBuf, UnixListener)> {
    let mut outcome = Err(ErrorKind::NotFound.into());
    for folder in folders {
        let path = folder.join(name);
        let bound = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).and_then(|()| {
            // In /tmp somebody else may have made it before.
            Folder::open(folder).map_err(|why| io::Error::other(why.to_string()))?;
            // Another socket of this very name can only be this process's own, from before.
            if path.symlink_metadata().is_ok() {
                fs::remove_file(&path)?;
            }
            UnixListener::bind(&path)
        });
        match bound {
            Ok(mut listener) => {
                registry.register(&mut listener, STATUS, Interest::READABLE)?;
                return Ok((path, listener));
            }
            Err(error) => outcome = Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
        }
    }
    outcome
}

/// The listener's token.
pub const STATUS: Token = Token(3);
/// The token of all clients; there are few, so each event looks at all of them.
pub const CLIENT: Token = Token(4);
const CLIENTS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::client::{Answers, PATIENCE, ask_all, choose};
    use super::{Deliveries, Guarantee, Report, STATUS, Server, Time, Traffic};
    use crate::failure::{UNAVAILABLE, USAGE};
    use protocol::config::Mode;
    use protocol::id::{Incarnation, Oseq, PeerId, Seq, ViewId};
    use protocol::status::Status;
    use std::io::Write as _;
    use std::os::unix::net::{UnixListener, UnixStream as BlockingStream};
    use std::time::{Duration, Instant};

    fn report(name: &str, members: usize) -> Report {
        let peer_id = PeerId::new(name).unwrap();
        let status = Status {
            mode: Mode::Available,
            blocked: None,
            peer_id: peer_id.clone(),
            incarnation: Incarnation(1),
            address: "127.0.0.1:5001".parse().unwrap(),
            role: "leader".to_owned(),
            leaving: false,
            leader: Some(peer_id.clone()),
            log: "1.p1#1".parse().unwrap(),
            epoch: "1.p1".to_owned(),
            epoch_inc: Incarnation(1),
            promised: "1.p1".to_owned(),
            promised_inc: Incarnation(1),
            view_id: ViewId(1),
            members: vec![peer_id; members],
            contiguous: Seq(1),
            delivered: Seq(1),
            stable: Seq(1),
            published: Oseq(0),
            ordered: Oseq(0),
        };
        Report {
            status,
            pid: 7,
            build: crate::BUILD.to_owned(),
            cluster: "sensors".to_owned(),
            delivery: Guarantee::Agreed,
            uptime_ms: 61_000,
            links: 0,
            traffic: Traffic::default(),
            view_since: Time::ZERO,
            rejected: 0,
            unreachable: Vec::new(),
            networks: String::new(),
            refused: 0,
            without_a_row: 0,
            deliveries: Deliveries::default(),
            outputs: Vec::new(),
            sensors: Vec::new(),
        }
    }

    #[test]
    fn a_running_peer_is_found_and_asked_and_a_dead_one_is_cleared_away() {
        let folder = tempfile::tempdir().unwrap();
        let stale = folder.path().join("1-00000000.sock");
        drop(UnixListener::bind(&stale).unwrap());
        let mut poll = mio::Poll::new().unwrap();
        let mut server = Server::start_in(vec![folder.path().to_owned()], poll.registry(), 7, u64::MAX).unwrap();
        // Large enough that one write does not take it all.
        let expected = report("p1", 100_000);
        let asked = folder.path().to_owned();
        let client = std::thread::spawn(move || ask_all(&asked, None).reports);
        let mut events = mio::Events::with_capacity(8);
        while !client.is_finished() {
            poll.poll(&mut events, Some(Duration::from_millis(10))).unwrap();
            server.serve(poll.registry(), || expected.clone());
        }
        assert_eq!(client.join().unwrap(), [expected]);
        assert!(!stale.exists());
        let path = server.path().to_owned();
        // A cleaned folder gets another socket, at the same path.
        std::fs::remove_dir_all(folder.path()).unwrap();
        server.restore(poll.registry()).unwrap();
        assert_eq!((server.path(), path.exists()), (path.as_path(), true));
        drop(server);
        assert!(!path.exists());
    }

    #[test]
    fn the_first_folder_that_will_have_it_has_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let (file, good) = (folder.path().join("file"), folder.path().join("good"));
        std::fs::write(&file, "").unwrap();
        let poll = mio::Poll::new().unwrap();
        let server = Server::start_in(vec![file.join("sub"), good.clone()], poll.registry(), 7, 1).unwrap();
        assert!(server.path().starts_with(&good));
        assert!(Server::start_in(vec![file.join("sub")], poll.registry(), 7, 1).is_err_and(|error| error.to_string().contains("sub")));
    }

    #[test]
    fn clients_that_never_read_do_not_pile_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut poll = mio::Poll::new().unwrap();
        let mut server = Server::start_in(vec![folder.path().to_owned()], poll.registry(), 7, 1).unwrap();
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
        let all = || Answers { reports: vec![report("p1", 1), report("p2", 1)], ..Answers::default() };
        let p2 = PeerId::new("p2").unwrap();
        assert_eq!(choose(all(), Some(&p2)).unwrap().status.peer_id, p2);
        let failure = choose(all(), None).unwrap_err();
        assert_eq!(failure.code, USAGE);
        assert!(failure.text.contains("p1 (process 7)"), "{failure}");
        assert_eq!(choose(Answers::default(), None).unwrap_err().code, UNAVAILABLE);
        assert_eq!(choose(all(), Some(&PeerId::new("p3").unwrap())).unwrap_err().code, UNAVAILABLE);
    }

    #[test]
    fn who_stands_still_holds_up_nobody_and_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        // The kernel takes connections for a process that stands still.
        let _silent = UnixListener::bind(folder.path().join("1-00000000.sock")).unwrap();
        let answering = UnixListener::bind(folder.path().join("2-00000000.sock")).unwrap();
        let answer = serde_json::to_vec(&report("p2", 1)).unwrap();
        let server = std::thread::spawn(move || (0..2).for_each(|_| answering.accept().unwrap().0.write_all(&answer).unwrap()));
        let [p1, p2] = ["p1", "p2"].map(|name| PeerId::new(name).unwrap());
        let start = Instant::now();
        assert_eq!(choose(ask_all(folder.path(), Some(&p2)), Some(&p2)).unwrap().status.peer_id, p2);
        assert!(start.elapsed() < PATIENCE, "nobody waits for the silent one");
        let failure = choose(ask_all(folder.path(), Some(&p1)), Some(&p1)).unwrap_err();
        assert!(failure.code == UNAVAILABLE && failure.text.contains("process 1 said nothing"), "{failure}");
        server.join().unwrap();
    }

    #[test]
    fn a_report_reads_well() {
        let text = report("p1", 1).to_string();
        assert!(text.contains("Is Group Leader: True") && text.contains("up for 1m 1s"), "{text}");
    }
}
