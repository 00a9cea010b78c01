//! A group of peer processes on loopback, in a folder of its own: started, watched, killed,
//! stopped.
//!
//! Each process dies with this one (`--die-with`), so no process is left behind, however a bench
//! ends.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::lease::{BROADCAST_PORT, Lease};
use crate::observed::{EventFile, Seen, View};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use peer::clock;
use promises::{Fault, GroundTruth, Record, WorldEvent};
use protocol::id::PeerId;
use protocol::time::Time;

/// The group.
#[derive(Debug)]
pub struct Group {
    program: PathBuf,
    folder: PathBuf,
    flags: Vec<String>,
    lease: Lease,
    peers: BTreeMap<PeerId, Inmate>,
    /// The ground truth, for the judge of the run.
    truth: File,
    written: u64,
}

/// One name of the group, and its present process.
#[derive(Debug)]
struct Inmate {
    process: Option<Child>,
    events: EventFile,
    view: Option<View>,
    /// Readings delivered since the view came into force.
    delivered: u64,
    /// Whether it is stopped (SIGSTOP).
    frozen: bool,
}

impl Inmate {
    fn lives(&self) -> bool {
        self.process.is_some() && !self.frozen
    }
}

impl Group {
    /// An empty group, whose files go to this folder; each peer is started with these flags besides
    /// its own.
    ///
    /// # Errors
    /// The folder cannot be made, or there is no free port.
    pub fn new(program: &Path, folder: &Path, flags: &[&str]) -> io::Result<Self> {
        fs::create_dir_all(folder.join("events"))?;
        let truth = File::options()
            .create(true)
            .append(true)
            .open(folder.join("events").join(format!("{WRITER}.jsonl")))?;
        let lease = Lease::take()?;
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        Ok(Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            flags,
            lease,
            peers: BTreeMap::new(),
            truth,
            written: 0,
        })
    }

    /// Starts a process under this name, with the product's default settings; returns the pipe to
    /// its sensor.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(&mut self, id: &PeerId) -> io::Result<ChildStdin> {
        let events = self.folder.join("events").join(format!("{id}.jsonl"));
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("{id}_log.txt")))?;
        let at = clock::now();
        let mut child = Command::new(&self.program)
            .args(["run", "--id", id.as_str(), "--sensor", "stdin"])
            .args(self.lease.flags())
            .args(&self.flags)
            .arg("--events")
            .arg(&events)
            .env_remove(BROADCAST_PORT)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let stdin = child.stdin.take().expect("it was piped a few lines above");
        let inmate = self.peers.entry(id.clone()).or_insert_with(|| Inmate {
            process: None,
            events: EventFile::new(&events),
            view: None,
            delivered: 0,
            frozen: false,
        });
        let pid = child.id();
        inmate.process = Some(child);
        inmate.view = None;
        self.record(at, GroundTruth::Spawn { peer: id.clone(), process: id.to_string(), pid })?;
        Ok(stdin)
    }

    /// Reads the new events of all files, and passes them to `look`.
    ///
    /// # Errors
    /// A file cannot be read; or a process ended that nobody told to.
    pub fn read(&mut self, mut look: impl FnMut(&PeerId, &Seen)) -> io::Result<()> {
        for (id, inmate) in &mut self.peers {
            for seen in inmate.events.read()? {
                look(id, &seen);
                match seen {
                    Seen::Started => inmate.view = None,
                    Seen::View(view) => {
                        inmate.view = Some(view);
                        inmate.delivered = 0;
                    }
                    Seen::Delivered { .. } => inmate.delivered += 1,
                    Seen::Published { .. } => {}
                }
            }
            if let Some(process) = &mut inmate.process
                && let Some(status) = process.try_wait()?
            {
                inmate.process = None;
                return Err(io::Error::other(format!(
                    "{id} ended by itself ({status}); see {}",
                    self.folder.display()
                )));
            }
        }
        Ok(())
    }

    /// The view with exactly the live peers that all of them are in, once each has delivered
    /// `readings` in it.
    #[must_use]
    pub fn settled(&self, readings: u64) -> Option<&View> {
        let mut living = self.peers.values().filter(|inmate| inmate.lives());
        let view = living.next()?.view.as_ref()?;
        let members: Vec<&PeerId> = self.living();
        let same_members = view.members.len() == members.len()
            && members.iter().all(|id| view.members.contains(id));
        let agreed = self
            .peers
            .values()
            .filter(|inmate| inmate.lives())
            .all(|inmate| inmate.view.as_ref() == Some(view) && inmate.delivered >= readings);
        (same_members && agreed).then_some(view)
    }

    /// The live peers.
    #[must_use]
    pub fn living(&self) -> Vec<&PeerId> {
        self.peers.iter().filter(|(_, inmate)| inmate.lives()).map(|(id, _)| id).collect()
    }

    /// The beliefs of the peers, for the report of a group that did not settle.
    #[must_use]
    pub fn beliefs(&self) -> String {
        let words = self.peers.iter().map(|(id, inmate)| match (&inmate.process, &inmate.view) {
            (None, _) => format!("{id} is dead"),
            (Some(_), None) => format!("{id} is in no view"),
            (Some(_), Some(view)) => {
                let members: Vec<&str> = view.members.iter().map(PeerId::as_str).collect();
                format!(
                    "{id} is in view {} of {} under {} ({} readings)",
                    view.id,
                    members.join(" "),
                    view.leader,
                    inmate.delivered
                )
            }
        });
        words.collect::<Vec<_>>().join("; ")
    }

    /// Kills a peer with SIGKILL; returns the moment right before.
    ///
    /// # Errors
    /// It is dead already, or cannot be killed.
    pub fn kill(&mut self, id: &PeerId) -> io::Result<Time> {
        let inmate =
            self.peers.get_mut(id).ok_or_else(|| io::Error::other(format!("there is no {id}")))?;
        let mut process = inmate
            .process
            .take()
            .ok_or_else(|| io::Error::other(format!("{id} is dead already")))?;
        let at = clock::now();
        process.kill()?;
        let status = process.wait()?;
        if status.signal() != Some(Signal::SIGKILL as i32) {
            return Err(io::Error::other(format!(
                "{id} ended by itself ({status}) before it was killed"
            )));
        }
        self.record(
            at,
            GroundTruth::Fault {
                id: format!("kill-{id}"),
                fault: Fault::Kill,
                who: vec![id.to_string()],
                confirmed: true,
            },
        )?;
        self.record_end(id, process.id(), status, true)?;
        Ok(at)
    }

    /// Stops a peer (SIGSTOP); returns the moment right before.
    ///
    /// # Errors
    /// It is dead, or cannot be told.
    pub fn freeze(&mut self, id: &PeerId) -> io::Result<Time> {
        let at = clock::now();
        self.tell(id, Signal::SIGSTOP, true)?;
        self.record(
            at,
            GroundTruth::Fault {
                id: format!("freeze-{id}"),
                fault: Fault::Pause,
                who: vec![id.to_string()],
                confirmed: true,
            },
        )?;
        Ok(at)
    }

    /// Resumes a stopped peer.
    ///
    /// # Errors
    /// It is dead, or cannot be told.
    pub fn thaw(&mut self, id: &PeerId) -> io::Result<()> {
        self.tell(id, Signal::SIGCONT, false)?;
        self.record(clock::now(), GroundTruth::Heal { id: format!("freeze-{id}") })
    }

    fn tell(&mut self, id: &PeerId, signal: Signal, frozen: bool) -> io::Result<()> {
        let inmate =
            self.peers.get_mut(id).ok_or_else(|| io::Error::other(format!("there is no {id}")))?;
        let process = inmate
            .process
            .as_ref()
            .ok_or_else(|| io::Error::other(format!("{id} is dead already")))?;
        kill(
            Pid::from_raw(i32::try_from(process.id()).expect("a process id of Linux fits")),
            signal,
        )?;
        inmate.frozen = frozen;
        Ok(())
    }

    /// Stops all live peers, with SIGTERM first.
    ///
    /// # Errors
    /// One could not be waited for.
    pub fn stop(&mut self) -> io::Result<()> {
        let living = self
            .peers
            .iter_mut()
            .filter_map(|(id, inmate)| Some((id.clone(), inmate.process.take()?)));
        let mut processes: Vec<(PeerId, Child)> = living.collect();
        let at = clock::now();
        for (_, process) in &processes {
            let pid =
                Pid::from_raw(i32::try_from(process.id()).expect("a process id of Linux fits"));
            // It may have ended just now, which is fine.
            let _ = kill(pid, Signal::SIGTERM);
        }
        let who = processes.iter().map(|(id, _)| id.to_string()).collect();
        self.record(
            at,
            GroundTruth::Fault { id: "stop".to_owned(), fault: Fault::Stop, who, confirmed: true },
        )?;
        let deadline = Instant::now() + GRACE;
        for (id, process) in &mut processes {
            let status = loop {
                if let Some(status) = process.try_wait()? {
                    break status;
                }
                if Instant::now() >= deadline {
                    process.kill()?;
                    break process.wait()?;
                }
                thread::sleep(POLL);
            };
            self.record_end(id, process.id(), status, status.success())?;
        }
        Ok(())
    }

    fn record_end(
        &mut self,
        peer: &PeerId,
        pid: u32,
        status: ExitStatus,
        expected: bool,
    ) -> io::Result<()> {
        let (peer, process) = (peer.clone(), peer.to_string());
        self.record(
            clock::now(),
            GroundTruth::Exit {
                peer,
                process,
                pid,
                status: status.code(),
                signal: status.signal(),
                expected,
            },
        )
    }

    fn record(&mut self, at: Time, what: GroundTruth) -> io::Result<()> {
        self.written += 1;
        let line = Record::World(WorldEvent::new(at, WRITER, self.written, what)).line() + "\n";
        self.truth.write_all(line.as_bytes())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for process in self.peers.values_mut().filter_map(|inmate| inmate.process.as_mut()) {
            // It may be dead already, which is fine.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The name under which the bench records events.
const WRITER: &str = "_bench";
/// How long a peer may take to leave.
const GRACE: Duration = Duration::from_secs(5);
/// How often an unmet condition is checked. It does not affect the results: times come from the
/// events.
pub const POLL: Duration = Duration::from_millis(10);
