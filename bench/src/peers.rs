//! The measured peers: the program that ships, without events, observed through its local socket
//! and `/proc`.
//!
//! Each process dies with this one (`--die-with`), so no process is left behind, however a bench
//! ends.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use peer::client::{Connection, PATIENCE};
use peer::clock;
use peer::status::Report;
use protocol::time::Time;
use tempfile::TempDir;

use crate::lease::{BROADCAST_PORT, Lease};
use crate::usage::{self, Usage};

/// A set of peer processes.
#[derive(Debug)]
pub struct Peers {
    program: PathBuf,
    folder: PathBuf,
    lease: Lease,
    /// The folder of their local sockets, apart from those of other peers on this machine.
    sockets: TempDir,
    peers: Vec<(String, Child)>,
}

impl Peers {
    /// An empty set; the logs go to this folder.
    ///
    /// # Errors
    /// The folder cannot be made, or there is no free port.
    pub fn new(program: &Path, folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            lease: Lease::take()?,
            sockets: tempfile::tempdir()?,
            peers: Vec::new(),
        })
    }

    /// Starts a peer.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(&mut self, id: &str, flags: &[String]) -> io::Result<()> {
        let log = File::create(self.folder.join(format!("{id}_log.txt")))?;
        let child = Command::new(&self.program)
            .args(["run", "--id", id])
            .args(self.lease.flags())
            .args(flags)
            .env_remove(BROADCAST_PORT)
            .env(SOCKETS, self.sockets.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.peers.push((id.to_owned(), child));
        Ok(())
    }

    /// The report of each peer; none for a peer that does not answer yet.
    ///
    /// # Errors
    /// A peer has ended unexpectedly.
    pub fn reports(&mut self) -> io::Result<Vec<Option<Report>>> {
        self.peers
            .iter_mut()
            .map(|(id, child)| ask(id, child, &self.folder, self.sockets.path()))
            .collect()
    }

    /// Waits until all reports meet a condition, and returns them.
    ///
    /// # Errors
    /// They did not meet it in time; `what` names the condition.
    pub fn wait(
        &mut self,
        what: &str,
        patience: Duration,
        is_so: impl Fn(&[Report]) -> bool,
    ) -> io::Result<Vec<Report>> {
        let deadline = Instant::now() + patience;
        loop {
            let reports: Option<Vec<Report>> = self.reports()?.into_iter().collect();
            if let Some(reports) = reports.as_ref().filter(|reports| is_so(reports)) {
                return Ok(reports.clone());
            }
            if Instant::now() >= deadline {
                let said: Vec<String> = reports
                    .iter()
                    .flatten()
                    .map(|report| format!("{} of {}", report.status, report.deliveries.count))
                    .collect();
                let folder = self.folder.display();
                return Err(io::Error::other(format!(
                    "{what} took longer than {patience:?}; see {folder}\n{}",
                    said.join("\n")
                )));
            }
            thread::sleep(POLL);
        }
    }

    /// Waits until each report meets a condition, one peer after the other: to poll hundreds of
    /// peers would take most of the machine's time.
    ///
    /// # Errors
    /// A report did not meet it in time; `what` names the condition. Or a peer has ended
    /// unexpectedly.
    pub fn wait_each(
        &mut self,
        what: &str,
        patience: Duration,
        is_so: impl Fn(&Report) -> bool,
    ) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        for (id, child) in &mut self.peers {
            loop {
                let report = ask(id, child, &self.folder, self.sockets.path())?;
                if report.as_ref().is_some_and(&is_so) {
                    break;
                }
                if Instant::now() >= deadline {
                    let said = report.map_or_else(
                        || format!("{id} does not answer"),
                        |report| report.status.to_string(),
                    );
                    return Err(io::Error::other(format!(
                        "{what} took longer than {patience:?}: {said}"
                    )));
                }
                thread::sleep(POLL);
            }
        }
        Ok(())
    }

    /// What each peer has used so far.
    ///
    /// # Errors
    /// A process does not exist any more.
    pub fn usage(&self) -> io::Result<Vec<Usage>> {
        self.peers.iter().map(|(_, child)| usage::of(child.id())).collect()
    }

    /// The folder of the peers' local sockets.
    #[must_use]
    pub fn sockets(&self) -> &Path {
        self.sockets.path()
    }

    /// The names of the peers.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.peers.iter().map(|(id, _)| id.as_str())
    }

    /// Connects to a peer.
    ///
    /// # Errors
    /// It does not listen yet, or not any more.
    pub fn connect(&self, id: &str) -> io::Result<Connection> {
        connect(self.sockets.path(), id)
    }

    /// The pids of the processes.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.peers.iter().map(|(_, child)| child.id())
    }

    /// Kills a peer and takes it out of the set; returns the moment right before the kill.
    ///
    /// # Errors
    /// There is no peer of that name, or it cannot be killed.
    pub fn kill(&mut self, id: &str) -> io::Result<Time> {
        let at = self.peers.iter().position(|(name, _)| name == id).ok_or(ErrorKind::NotFound)?;
        let (_, mut child) = self.peers.swap_remove(at);
        let before = clock::now();
        child.kill()?;
        child.wait()?;
        Ok(before)
    }

    /// Sends a signal to a peer.
    ///
    /// # Errors
    /// There is no peer of that name, or it has ended.
    pub fn signal(&self, id: &str, signal: Signal) -> io::Result<()> {
        let (_, child) =
            self.peers.iter().find(|(name, _)| name == id).ok_or(ErrorKind::NotFound)?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        Ok(kill(Pid::from_raw(pid), signal)?)
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        for (_, child) in &mut self.peers {
            // It may be dead already, which is fine.
            let _ = child.kill();
        }
        for (_, child) in &mut self.peers {
            let _ = child.wait();
        }
    }
}

/// The report of a peer; none if it does not answer yet.
fn ask(id: &str, child: &mut Child, folder: &Path, sockets: &Path) -> io::Result<Option<Report>> {
    match connect(sockets, id).and_then(|mut peer| peer.report()) {
        Ok(report) => Ok(Some(report)),
        Err(error) => match child.try_wait()? {
            Some(status) => {
                let folder = folder.display();
                Err(io::Error::other(format!(
                    "{id} ended by itself ({status}); see {folder}/{id}_log.txt"
                )))
            }
            None if is_busy(&error) => Ok(None),
            None => Err(error),
        },
    }
}

/// Connects to the peer of that name, by its socket in that folder.
///
/// # Errors
/// It does not listen yet, or not any more.
pub fn connect(sockets: &Path, id: &str) -> io::Result<Connection> {
    Connection::open(&sockets.join(format!("{id}.sock")), PATIENCE)
}

/// Whether it does not listen yet, or is busy.
fn is_busy(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::ConnectionRefused
            | ErrorKind::WouldBlock
            | ErrorKind::TimedOut
    )
}

/// The environment variable of a peer with the folder of its socket.
pub const SOCKETS: &str = "PEER_SOCKETS";
/// How often an unmet condition is checked. It does not affect the results: times come from the
/// peers.
const POLL: Duration = Duration::from_millis(20);
