//! `peer guard`: stands between a peer and the command of one of its sensors, so that nothing of
//! the command outlives either of them.
//!
//! A peer that is killed cannot tidy up, and a kernel that kills a child with its parent
//! (PR_SET_PDEATHSIG) forgets the grandchildren. So the peer starts itself anew as this guard, and
//! holds one end of a socket pair whose other end is the guard's standard input. When that ends,
//! for whatever reason, the guard kills the command and everything that descends from it: it is the
//! reaper of them all, so whoever loses its parent becomes its child, also outside of the group.
//!
//! The guard and the command share one process group, whose number is that of the guard. So the
//! peer can always kill that group if the guard is killed. A command that signals its own group
//! (`trap 'kill 0' EXIT`) reaches the guard as well, which takes no notice of requests to end: it
//! ends with the command or with the peer.
//!
//! The guard says on the socket what became of the command: `exit CODE`, `signal NUMBER`,
//! `failed WHY` or `stopped early`.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use mio::net::UnixStream;
use mio::{Events, Interest, Poll, Token};
use nix::errno::Errno;
use nix::sys::prctl::{set_child_subreaper, set_name};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, close, getpgrp};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use crate::failure::{Failure, UNAVAILABLE};

/// The command to watch over.
#[derive(Args, Clone, Debug)]
pub struct Request {
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<std::ffi::OsString>,
}

/// Runs the command until it or the peer ends, and leaves no process of it behind.
///
/// # Errors
/// [`Failure`] if the guard itself cannot work; then nothing is started.
pub fn run(request: &Request) -> Result<(), Failure> {
    guard(request).map_err(|error| Failure::new(UNAVAILABLE, format!("guard: {error}")))
}

fn guard(request: &Request) -> io::Result<()> {
    close_what_was_inherited()?;
    // Killing every process named `peer` spares the guard, which cleans up.
    set_name(c"sensor-guard")?;
    set_child_subreaper(true)?;
    let mut poll = Poll::new()?;
    let mut signals = Signals::new([SIGCHLD, SIGTERM, SIGINT, SIGHUP])?;
    poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
    let lifeline = std::os::unix::net::UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    lifeline.set_nonblocking(true)?;
    let mut lifeline = UnixStream::from_std(lifeline);
    poll.registry().register(&mut lifeline, LIFELINE, Interest::READABLE)?;
    let (program, arguments) = request.command.split_first().expect("clap asks for at least one");
    let child = match Command::new(program).args(arguments).stdin(Stdio::null()).spawn() {
        Ok(child) => Pid::from_raw(i32::try_from(child.id()).expect("a process id of Linux fits")),
        Err(error) => return say(&mut lifeline, &format!("failed {}: {error}", program.display())),
    };
    let ended = watch(child, &mut poll, &mut signals, &mut lifeline);
    // Sent first: the next step may kill this process.
    let said = match &ended {
        Ok(Some(WaitStatus::Exited(_, code))) => say(&mut lifeline, &format!("exit {code}")),
        Ok(Some(WaitStatus::Signaled(_, signal, _))) => {
            say(&mut lifeline, &format!("signal {}", *signal as i32))
        }
        _ => say(&mut lifeline, "stopped early"),
    };
    kill_all();
    ended.and(said)
}

/// Waits until the command has ended and returns how, or until the peer closes the connection.
fn watch(
    child: Pid,
    poll: &mut Poll,
    signals: &mut Signals,
    lifeline: &mut UnixStream,
) -> io::Result<Option<WaitStatus>> {
    let mut events = Events::with_capacity(8);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        signals.pending().for_each(drop);
        let ended = reap_up_to(child);
        if ended.is_some() || !is_held(lifeline) {
            return Ok(ended);
        }
    }
}

/// Inherited descriptors that the peer itself does not know must not reach the command.
fn close_what_was_inherited() -> io::Result<()> {
    let mut open = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        open.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    // One of them was the folder itself, and is closed already.
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        let _closed = close(descriptor);
    }
    Ok(())
}

/// Whether the peer still holds the other end.
fn is_held(lifeline: &mut UnixStream) -> bool {
    match lifeline.read(&mut [0; 8]) {
        Ok(0) => false,
        Ok(_) => true,
        Err(error) => {
            matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
        }
    }
}

fn say(lifeline: &mut UnixStream, words: &str) -> io::Result<()> {
    // An empty socket has room for a few words; a peer that is gone needs none.
    match lifeline.write_all(format!("{words}\n").as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Reaps ended children, up to the command; returns how it ended.
fn reap_up_to(child: Pid) -> Option<WaitStatus> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::EINTR) => {}
            Err(_) | Ok(WaitStatus::StillAlive) => return None,
            Ok(status) if status.pid() == Some(child) => return Some(status),
            Ok(_) => {}
        }
    }
}

/// Kills every descendant of the command: the children of a dead process become children of this
/// one.
fn kill_all() {
    let until = Instant::now() + PATIENCE;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::EINTR) => {}
            Err(_) => return,
            Ok(WaitStatus::StillAlive) if Instant::now() < until => {
                for child in children() {
                    let _gone = kill(child, Signal::SIGKILL);
                }
                thread::sleep(PAUSE);
            }
            Ok(WaitStatus::StillAlive) => {
                // They multiply faster than they are found, or wait for a dead disk. The whole
                // group, this process included, is killed at once.
                let _itself = killpg(getpgrp(), Signal::SIGKILL);
                return;
            }
            Ok(_) => {}
        }
    }
}

/// The children of this process.
fn children() -> Vec<Pid> {
    let own = std::process::id().to_string();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let number =
        |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse::<i32>().ok();
    let is_ours = |pid: &i32| {
        // The name in parentheses may contain any character; the rest does not.
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| rest.split_ascii_whitespace().nth(1) == Some(&own))
        })
    };
    entries.filter_map(number).filter(is_ours).map(Pid::from_raw).collect()
}

const SIGNALS: Token = Token(0);
const LIFELINE: Token = Token(1);
/// How long killed processes may take to end.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2);
