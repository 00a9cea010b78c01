//! Starts peers, sends signals to them, and ensures that no peer outlives the run.
//!
//! Every peer is a process group of its own, carries the run's mark in its environment, and dies
//! with this process (`--die-with`), however this process ends. Children are tracked by their
//! handles until they are reaped; no process is ever looked up by program name.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, OpenOptions};
use std::io::{self, PipeReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use chaos::procfs;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use protocol::id::PeerId;

use crate::folder::Folder;
use crate::strays::{RUN_ID, end_helpers};

/// What every peer of a run is started with.
#[derive(Clone, Debug)]
pub struct Outfit {
    /// The program.
    pub program: PathBuf,
    /// Further flags of `peer run`, the same for all.
    pub flags: Vec<String>,
}

/// The children of a run.
#[derive(Debug)]
pub struct Supervisor {
    outfit: Outfit,
    folder: Folder,
    processes: BTreeMap<String, Process>,
}

/// One child, living or dead.
#[derive(Debug)]
struct Process {
    peer: PeerId,
    child: Child,
    stdin: Option<ChildStdin>,
    /// Bytes to write to its stdin.
    queue: VecDeque<u8>,
    ended: Option<ExitStatus>,
    /// The other end of its standard output, which nothing reads.
    _unread: Option<PipeReader>,
}

/// A child that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The name of the process.
    pub process: String,
    /// The peer it was.
    pub peer: PeerId,
    /// Its process id.
    pub pid: u32,
    /// Its status, if it ended by itself.
    pub status: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
}

impl Supervisor {
    /// A supervisor without children.
    ///
    /// # Errors
    /// If this process cannot be made the one that inherits orphans.
    pub fn new(outfit: Outfit, folder: Folder) -> io::Result<Self> {
        // A grandchild whose parent dies is adopted by this process instead of init.
        nix::sys::prctl::set_child_subreaper(true)?;
        Ok(Self { outfit, folder, processes: BTreeMap::new() })
    }

    /// Starts a process; replaces an ended one of that name. `place` are the flags for its place on
    /// the network; with `unread` nothing reads its standard output.
    /// # Errors
    /// If the program cannot be started, or its files cannot be opened.
    pub fn start(
        &mut self,
        process: &str,
        peer: &PeerId,
        place: &[String],
        unread: bool,
    ) -> io::Result<u32> {
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(self.folder.log(process))?;
        if log.metadata()?.len() > 0 {
            writeln!(log, "---- started again, {} ----", crate::clock::rfc3339())?;
        }
        let data = self.folder.data(process);
        // Accessible to its user only, whatever the umask: a peer refuses a folder that others can
        // write.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&data)?;
        let (stdout, reader) = if unread {
            let (reader, writer) = io::pipe()?;
            // As short as a pipe can be, so that it fills soon.
            fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PIPE_LEAST))?;
            (Stdio::from(writer), Some(reader))
        } else {
            (Stdio::from(log.try_clone()?), None)
        };
        let mut child = Command::new(&self.outfit.program)
            .args(["run", "--id", peer.as_str(), "--sensor", "stdin"])
            .args(place)
            .args(["--die-with", &std::process::id().to_string()])
            .arg("--events")
            .arg(self.folder.events(process))
            .arg("--inputs")
            .arg(self.folder.inputs(process))
            .arg("--csv")
            .arg("--data-dir")
            .arg(data)
            .args(&self.outfit.flags)
            .env(RUN_ID, self.folder.run_id())
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", self.outfit.program.display()))
            })?;
        let pid = child.id();
        let stdin = child.stdin.take();
        if let Some(stdin) = &stdin {
            // A paused peer must not block this process.
            let flags = OFlag::from_bits_truncate(fcntl(stdin.as_fd(), FcntlArg::F_GETFL)?);
            fcntl(stdin.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        }
        let started = Process {
            peer: peer.clone(),
            child,
            stdin,
            queue: VecDeque::new(),
            ended: None,
            _unread: reader,
        };
        self.processes.insert(process.to_owned(), started);
        Ok(pid)
    }

    /// Wipes the data of a process. The data is moved aside, not deleted: the judge of the run
    /// needs it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn wipe(&self, process: &str) -> io::Result<()> {
        let free =
            (1..).map(|count| self.folder.former_data(process, count)).find(|path| !path.exists());
        match fs::rename(
            self.folder.data(process),
            free.expect("there are more numbers than folders"),
        ) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether a process of that name runs.
    #[must_use]
    pub fn is_alive(&self, process: &str) -> bool {
        self.processes.get(process).is_some_and(|process| process.ended.is_none())
    }

    /// The names of the running processes.
    #[must_use]
    pub fn living(&self) -> Vec<String> {
        self.processes
            .iter()
            .filter(|(_, process)| process.ended.is_none())
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The pid of a process.
    #[must_use]
    pub fn pid(&self, process: &str) -> Option<u32> {
        self.processes.get(process).map(|process| process.child.id())
    }

    /// Sends a signal to a process and its group; false if it has ended already.
    ///
    /// # Errors
    /// Those of the system, except that the group is gone.
    pub fn signal(&self, process: &str, signal: Signal) -> io::Result<bool> {
        let Some(found) = self.processes.get(process).filter(|found| found.ended.is_none()) else {
            return Ok(false);
        };
        match killpg(group(found.child.id()), signal) {
            Ok(()) => {}
            Err(Errno::ESRCH) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    /// Whether a signal has taken effect: a killed process is gone, a stopped one is stopped or has
    /// ended.
    #[must_use]
    pub fn is_done(&self, process: &str, signal: Signal) -> bool {
        let Some(found) = self.processes.get(process) else { return true };
        let state = if found.ended.is_some() { None } else { procfs::state(found.child.id()) };
        match signal {
            Signal::SIGKILL => matches!(state, None | Some('Z' | 'X')),
            Signal::SIGSTOP => matches!(state, None | Some('T' | 'Z' | 'X')),
            Signal::SIGCONT => !matches!(state, Some('T')),
            _ => true,
        }
    }

    /// Queues a line for the stdin of a process; false if it does not run.
    pub fn feed(&mut self, process: &str, line: &str) -> bool {
        let Some(found) = self
            .processes
            .get_mut(process)
            .filter(|found| found.ended.is_none() && found.stdin.is_some())
        else {
            return false;
        };
        found.queue.extend(line.as_bytes());
        found.queue.push_back(b'\n');
        true
    }

    /// How many bytes wait to be written to the stdin of a process.
    #[must_use]
    pub fn backlog(&self, process: &str) -> usize {
        self.processes.get(process).map_or(0, |process| process.queue.len())
    }

    /// Writes to the pipes as much as they accept, and reaps ended children.
    ///
    /// # Errors
    /// Those of waiting for children.
    pub fn turn(&mut self) -> io::Result<Vec<Ended>> {
        let mut ended = Vec::new();
        for (name, process) in &mut self.processes {
            if process.ended.is_some() {
                continue;
            }
            process.write();
            if let Some(status) = process.child.try_wait()? {
                process.ended = Some(status);
                process.stdin = None;
                process.queue.clear();
                let (status, signal) = (status.code(), status.signal());
                ended.push(Ended {
                    process: name.clone(),
                    peer: process.peer.clone(),
                    pid: process.child.id(),
                    status,
                    signal,
                });
            }
        }
        Ok(ended)
    }

    /// Ends all processes: resumes paused ones, asks all to leave, waits for `grace` or until
    /// `hurry` is true, kills the rest, and waits until every process group is empty. Returns the
    /// processes that ended, and the names of those that had to be killed.
    ///
    /// # Errors
    /// Those of the system.
    pub fn stop_all(
        &mut self,
        grace: Duration,
        hurry: &mut dyn FnMut() -> bool,
    ) -> io::Result<(Vec<Ended>, Vec<String>)> {
        for process in self.living() {
            // Something else may have stopped it, and a stopped process cannot leave.
            self.signal(&process, Signal::SIGCONT)?;
            self.signal(&process, Signal::SIGTERM)?;
        }
        let mut ended = self.wait_for_all(grace, hurry)?;
        let stubborn = self.living();
        for process in &stubborn {
            self.signal(process, Signal::SIGKILL)?;
        }
        ended.extend(self.wait_for_all(KILL_GRACE, &mut || false)?);
        self.empty_groups()?;
        Ok((ended, stubborn))
    }

    fn wait_for_all(
        &mut self,
        limit: Duration,
        hurry: &mut dyn FnMut() -> bool,
    ) -> io::Result<Vec<Ended>> {
        let deadline = Instant::now() + limit;
        let mut ended = self.turn()?;
        while !self.living().is_empty() && Instant::now() < deadline && !hurry() {
            std::thread::sleep(POLL);
            ended.extend(self.turn()?);
        }
        Ok(ended)
    }

    /// A peer may have started helpers in its process group: they are ended too, and reaped here as
    /// orphans.
    fn empty_groups(&mut self) -> io::Result<()> {
        let ended: Vec<u32> = self
            .processes
            .values()
            .filter(|process| process.ended.is_some())
            .map(|process| process.child.id())
            .collect();
        let deadline = Instant::now() + KILL_GRACE;
        while end_helpers(&ended, self.folder.run_id()) > 0 && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        ended.iter().try_for_each(|pid| reap_orphans(group(*pid)))
    }
}

impl Process {
    fn write(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        while !self.queue.is_empty() {
            match stdin.write(self.queue.as_slices().0) {
                Ok(count) => drop(self.queue.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The reader is gone; this turn notices the end of its process.
                Err(_) => {
                    self.queue.clear();
                    self.stdin = None;
                    break;
                }
            }
        }
    }
}

impl Drop for Supervisor {
    /// The last line of defence after an error: an aborted run leaves no process behind.
    fn drop(&mut self) {
        for process in self.processes.values_mut().filter(|process| process.ended.is_none()) {
            // Both can only fail because the process has ended already.
            let _ = killpg(group(process.child.id()), Signal::SIGKILL);
            let _ = process.child.wait();
        }
    }
}

fn group(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("the kernel hands out process ids below 2^22"))
}

fn reap_orphans(group: Pid) -> io::Result<()> {
    loop {
        match waitpid(Pid::from_raw(-group.as_raw()), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The shortest pipe that Linux makes, in bytes.
const PIPE_LEAST: i32 = 4_096;
/// How often children are polled while there is nothing else to do.
const POLL: Duration = Duration::from_millis(2);
/// How long the kernel may take for a SIGKILL.
const KILL_GRACE: Duration = Duration::from_secs(5);
