//! The world `processes`: real peers on loopback. Signals control them, pipes feed them, and their
//! files are read.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use promises::fault::Fault;
use promises::history::{Line, Record, parse_line};
use promises::world::WorldEvent;
use protocol::id::PeerId;
use protocol::note::Note;
use protocol::time::Time;
use socket2::{Domain, Protocol, Socket, Type};

use crate::clock::{self, WallClock};
use crate::folder::Folder;
use crate::holdings::Holdings;
use crate::pages::Pages;
use crate::printer::Printer;
use crate::supervisor::{Ended, Outfit, Supervisor};
use crate::world::{Seen, World, WorldError};
use chaos::tail::{self, Tail};

/// Real peers on loopback.
#[derive(Debug)]
pub struct Processes {
    supervisor: Supervisor,
    folder: Folder,
    tails: BTreeMap<String, Tails>,
    /// The port that each process was bound to, so that it gets the same port again.
    ports: BTreeMap<String, u16>,
    truth: File,
    wall: WallClock,
    /// The discovery port of this run, and the socket that reserves it; none in the world `hosts`.
    lease: Option<(Socket, u16)>,
    grace: Duration,
    /// The pages of the peers, and the printer that announces them.
    pages: Option<(Pages, Printer)>,
}

/// The two growing files of a process.
#[derive(Debug)]
struct Tails {
    events: Tail,
    log: Tail,
}

impl Processes {
    /// A world in which no process runs yet. `grace` is how long a peer may take to leave at the
    /// end.
    ///
    /// # Errors
    /// If a port cannot be leased or a file cannot be made.
    pub fn new(
        folder: Folder,
        program: std::path::PathBuf,
        flags: Vec<String>,
        grace: Duration,
    ) -> io::Result<Self> {
        let lease = Some(lease()?);
        Self::on(lease, folder, program, flags, grace)
    }

    /// The same for processes that get their place on the network from the caller.
    /// # Errors
    /// If a file cannot be made.
    pub(crate) fn elsewhere(
        folder: Folder,
        program: std::path::PathBuf,
        flags: Vec<String>,
        grace: Duration,
    ) -> io::Result<Self> {
        Self::on(None, folder, program, flags, grace)
    }

    fn on(
        lease: Option<(Socket, u16)>,
        folder: Folder,
        program: std::path::PathBuf,
        flags: Vec<String>,
        grace: Duration,
    ) -> io::Result<Self> {
        let truth = OpenOptions::new()
            .create(true)
            .append(true)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(folder.events(TRUTH))?;
        let supervisor = Supervisor::new(Outfit { program, flags }, folder.clone())?;
        let wall = WallClock::measure();
        Ok(Self {
            supervisor,
            folder,
            tails: BTreeMap::new(),
            ports: BTreeMap::new(),
            truth,
            wall,
            lease,
            grace,
            pages: None,
        })
    }

    /// The same, with a page for each peer.
    #[must_use]
    pub fn with_pages(self, pages: Pages, printer: Printer) -> Self {
        pages.clear();
        Self { pages: Some((pages, printer)), ..self }
    }

    /// The data folder of a process.
    pub(crate) fn data(&self, process: &str) -> std::path::PathBuf {
        self.folder.data(process)
    }

    /// Starts a process with these flags for its place on the network.
    pub(crate) fn start_at(
        &mut self,
        process: &str,
        peer: &PeerId,
        place: &[String],
        unread: bool,
    ) -> Result<u32, WorldError> {
        let pid = self
            .supervisor
            .start(process, peer, place, unread)
            .map_err(|source| error(&format!("start {process}"), source))?;
        self.folder.link_log(process).map_err(|source| error("link the log", source))?;
        let folder = &self.folder;
        self.tails.entry(process.to_owned()).or_insert_with(|| Tails {
            events: Tail::new(&folder.events(process)),
            log: Tail::new(&folder.log(process)),
        });
        Ok(pid)
    }

    /// Signals all processes before checking the effect on any: when three are killed at once, no
    /// survivor may react between the first and the last signal.
    fn signal(&mut self, processes: &[String], signal: Signal) -> Result<bool, WorldError> {
        let mut all = true;
        for process in processes {
            let told = self
                .supervisor
                .signal(process, signal)
                .map_err(|source| error(&format!("signal {process}"), source))?;
            // A process that has ended counts as stopped.
            all &= told || signal == Signal::SIGSTOP;
        }
        // A few microseconds as a rule; the limit is for an overloaded machine.
        let deadline = Instant::now() + CONFIRM;
        while !processes.iter().all(|process| self.supervisor.is_done(process, signal)) {
            if Instant::now() > deadline {
                return Ok(false);
            }
            std::thread::yield_now();
        }
        Ok(all)
    }

    fn read(&mut self, seen: &mut Vec<Seen>) -> Result<(), WorldError> {
        let mut lines = Vec::new();
        for (process, tails) in &mut self.tails {
            tails
                .events
                .read(&mut lines)
                .map_err(|source| error(&format!("read the events of {process}"), source))?;
            for line in lines.drain(..) {
                match parse_line(&line.text) {
                    Ok(Line::Record(record) | Line::Glued(_, record)) => {
                        if let Record::Peer(event) = &record
                            && let Note::Start { address, .. } = &event.note
                            && let Ok(address) = address.parse::<SocketAddrV4>()
                        {
                            self.ports.insert(process.clone(), address.port());
                        }
                        seen.push(Seen::Event { process: process.clone(), record });
                    }
                    Ok(Line::Blank) => {}
                    Err(why) => seen.push(Seen::Unreadable { process: process.clone(), why }),
                }
            }
            tails
                .log
                .read(&mut lines)
                .map_err(|source| error(&format!("read the log of {process}"), source))?;
            for tail::Line { offset, text } in lines.drain(..) {
                let time = self.wall.time_of(&text).unwrap_or_else(clock::now);
                seen.push(Seen::Line { process: process.clone(), offset, time, text });
            }
        }
        Ok(())
    }

    /// Reads until nothing is left, at the end when all writers have ended.
    fn read_out(&mut self, seen: &mut Vec<Seen>) -> Result<(), WorldError> {
        loop {
            let before = seen.len();
            self.read(seen)?;
            if seen.len() == before {
                return Ok(());
            }
        }
    }
}

impl World for Processes {
    fn name(&self) -> &'static str {
        "processes"
    }

    fn now(&self) -> Time {
        clock::now()
    }

    fn start(&mut self, process: &str, peer: &PeerId) -> Result<u32, WorldError> {
        let port = self.ports.get(process).copied().unwrap_or(0);
        let discovery = self.lease.as_ref().map_or(0, |(_, port)| *port);
        let place = [
            "--address",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--broadcast-port",
            &discovery.to_string(),
        ];
        let mut place = place.map(str::to_owned).to_vec();
        if let Some((pages, printer)) = &self.pages {
            let at = pages
                .place(process)
                .map_err(|source| error(&format!("give {process} a page"), source))?;
            place.extend(["--http".to_owned(), at.to_string()]);
            if !self.tails.contains_key(process) {
                printer.remark(&format!("    PAGE {process} http://{at}/\n"));
            }
        }
        self.start_at(process, peer, &place, false)
    }

    fn wipe(&mut self, process: &str) -> Result<(), WorldError> {
        self.ports.remove(process);
        self.supervisor
            .wipe(process)
            .map_err(|source| error(&format!("wipe the data of {process}"), source))
    }

    fn act(&mut self, fault: &Fault, processes: &[String]) -> Result<bool, WorldError> {
        match fault {
            Fault::Kill => {
                // This process may be descheduled between two signals, and a survivor could react
                // to the first death. So all are stopped before the first is killed.
                if processes.len() > 1 {
                    self.signal(processes, Signal::SIGSTOP)?;
                }
                self.signal(processes, Signal::SIGKILL)
            }
            Fault::Stop => self.signal(processes, Signal::SIGTERM),
            Fault::Pause => self.signal(processes, Signal::SIGSTOP),
            Fault::Resume => self.signal(processes, Signal::SIGCONT),
            Fault::Restart { .. }
            | Fault::Spawn
            | Fault::Partition { .. }
            | Fault::Link { .. }
            | Fault::Host { .. } => Err(WorldError::Impossible { what: fault.to_string() }),
        }
    }

    fn publish(&mut self, process: &str, reading: &str) -> bool {
        self.supervisor.feed(process, reading)
    }

    fn backlog(&self, process: &str) -> usize {
        self.supervisor.backlog(process)
    }

    fn holdings(&self, process: &str) -> Option<(u32, Holdings)> {
        let pid = self.supervisor.pid(process)?;
        Holdings::of(pid).map(|held| (pid, held))
    }

    fn living(&self) -> Vec<String> {
        self.supervisor.living()
    }

    fn marks(&self) -> Vec<(String, u64)> {
        self.tails.iter().map(|(process, tails)| (process.clone(), tails.log.length())).collect()
    }

    fn pass(&mut self, span: Duration) {
        std::thread::sleep(span);
    }

    fn turn(&mut self, seen: &mut Vec<Seen>) -> Result<(), WorldError> {
        let before = seen.len();
        let ended = self.supervisor.turn().map_err(|source| error("wait for children", source))?;
        self.read(seen)?;
        // A process that has ended has written everything by now; its last events come before its
        // end.
        seen.extend(ended.into_iter().map(Seen::from));
        if seen.len() == before {
            std::thread::sleep(IDLE);
        }
        Ok(())
    }

    fn record(&mut self, event: &WorldEvent) -> Result<(), WorldError> {
        let line = Record::World(event.clone()).line() + "\n";
        self.truth
            .write_all(line.as_bytes())
            .map_err(|source| error("write the events of the run", source))
    }

    fn end(
        &mut self,
        hurry: &mut dyn FnMut() -> bool,
        seen: &mut Vec<Seen>,
    ) -> Result<Vec<String>, WorldError> {
        let (ended, stubborn) = self
            .supervisor
            .stop_all(self.grace, hurry)
            .map_err(|source| error("end the processes", source))?;
        self.read_out(seen)?;
        seen.extend(ended.into_iter().map(Seen::from));
        Ok(stubborn)
    }
}

impl From<Ended> for Seen {
    fn from(Ended { process, peer, pid, status, signal }: Ended) -> Self {
        Self::Ended { process, peer, pid, status, signal }
    }
}

/// Reserves a discovery port that no other process uses: bound by this process for the whole run,
/// and shared with the peers.
fn lease() -> io::Result<(Socket, u16)> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    // First bound without sharing: the kernel assigns a port that no process has.
    socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into())?;
    let address = socket
        .local_addr()?
        .as_socket_ipv4()
        .ok_or_else(|| io::Error::other("an IPv4 socket has an IPv4 address"))?;
    // Shared from here on. On 127.0.0.1 the reserving socket receives no broadcast, so its buffer
    // stays empty.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    Ok((socket, address.port()))
}

fn error(doing: &str, source: io::Error) -> WorldError {
    WorldError::System { doing: doing.to_owned(), source }
}

/// The name under which the test bench itself records events.
const TRUTH: &str = "_";
/// How long to wait before looking again when nothing was seen.
const IDLE: Duration = Duration::from_millis(1);
/// How long the effect of a signal may take.
const CONFIRM: Duration = Duration::from_secs(2);
