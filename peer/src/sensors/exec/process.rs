//! One run of a command, behind a guard (see [`crate::guard`]): its two pipes and its end.

use std::fmt;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mio::unix::pipe::Receiver;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use protocol::time::Time;

use crate::clock;

/// A running command, or one whose end has not been reported yet.
pub(super) struct Process {
    guard: Child,
    poll: Poll,
    events: Events,
    printed: Pipe<Receiver>,
    said: Pipe<Receiver>,
    /// The reports of the guard; the end of this stream is the end of the guard.
    lifeline: Pipe<mio::net::UnixStream>,
    words: Vec<u8>,
    /// When to kill a guard that was asked to end.
    kill_at: Option<Time>,
    /// Whether the guard has ended.
    is_over: bool,
    /// Which pipe was read first last time.
    error_first: bool,
}

/// The progress of a command.
pub(super) enum Progress {
    /// It has printed this.
    Printed(Vec<u8>),
    /// It has written this to standard error.
    Said(Vec<u8>),
    /// It has ended, and all of its output has been returned.
    Ended(End),
    /// The time is over.
    Nothing,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, with this status.
    Exited(i32),
    /// By a signal.
    Signal(i32),
    /// It exceeded its timeout.
    TimedOut(Duration),
    /// It did not start.
    NotStarted(String),
    /// Unknown.
    Lost(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "its command has ended with code {code}"),
            Self::Signal(number) => {
                let name = Signal::try_from(*number)
                    .map_or_else(|_| format!("signal {number}"), |signal| signal.to_string());
                write!(f, "its command was ended by {name}")
            }
            Self::TimedOut(timeout) => {
                write!(
                    f,
                    "its command took longer than its timeout of {}, and was killed",
                    humantime::format_duration(*timeout)
                )
            }
            Self::NotStarted(why) => write!(f, "its command cannot be started: {why}"),
            Self::Lost(why) => write!(f, "its command was lost: {why}"),
        }
    }
}

/// A source of bytes, and whether it may have some.
struct Pipe<T> {
    source: T,
    is_ready: bool,
    is_open: bool,
}

impl<T: Read> Pipe<T> {
    fn new(source: T) -> Self {
        Self { source, is_ready: true, is_open: true }
    }

    /// The available bytes, bounded, without waiting.
    fn take(&mut self) -> Option<Vec<u8>> {
        if !(self.is_open && self.is_ready) {
            return None;
        }
        let mut piece = vec![0; PIECE_BYTES];
        match self.source.read(&mut piece) {
            Ok(length) if length > 0 => {
                piece.truncate(length);
                return Some(piece);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_ready = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => self.is_open = false,
        }
        None
    }

    fn may_have_more(&self) -> bool {
        self.is_open && self.is_ready
    }
}

impl Process {
    /// Starts the command.
    pub(super) fn start(command: &[String]) -> io::Result<Self> {
        // Everything that may fail for lack of descriptors comes before the process starts.
        let poll = Poll::new()?;
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut guard = Command::new("/proc/self/exe")
            .arg0("peer")
            .args(["guard", "--"])
            .args(command)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("this very program, as its guard: {error}"))
            })?;
        let (stdout, stderr) = guard
            .stdout
            .take()
            .zip(guard.stderr.take())
            .expect("both were piped a few lines above");
        let (mut printed, mut said) = (Receiver::from(stdout), Receiver::from(stderr));
        let mut lifeline = mio::net::UnixStream::from_std(ours);
        printed.set_nonblocking(true)?;
        said.set_nonblocking(true)?;
        poll.registry().register(&mut printed, PRINTED, Interest::READABLE)?;
        poll.registry().register(&mut said, SAID, Interest::READABLE)?;
        poll.registry().register(&mut lifeline, LIFELINE, Interest::READABLE)?;
        Ok(Self {
            guard,
            poll,
            events: Events::with_capacity(8),
            printed: Pipe::new(printed),
            said: Pipe::new(said),
            lifeline: Pipe::new(lifeline),
            words: Vec::new(),
            kill_at: None,
            is_over: false,
            error_first: false,
        })
    }

    /// Waits for the next event, at most for this time.
    pub(super) fn wait(&mut self, patience: Option<Duration>) -> io::Result<Progress> {
        let until = patience.map(|patience| clock::now() + patience);
        loop {
            let now = clock::now();
            if self.kill_at.is_some_and(|at| now >= at) {
                self.kill_at = None;
                self.kill();
            }
            if let Some(words) = self.lifeline.take() {
                self.words.extend(words);
                self.words.truncate(WORDS_MAX);
            }
            if !self.lifeline.is_open && !std::mem::replace(&mut self.is_over, true) {
                // Everything that was ever printed is readable now, noticed or not.
                (self.printed.is_ready, self.said.is_ready) = (true, true);
            }
            // In turn, so that a flood on one of them does not hide the other.
            self.error_first = !self.error_first;
            for error in [self.error_first, !self.error_first] {
                if error && let Some(piece) = self.said.take() {
                    return Ok(Progress::Said(piece));
                }
                if !error && let Some(piece) = self.printed.take() {
                    return Ok(Progress::Printed(piece));
                }
            }
            if !self.lifeline.is_open {
                // A process that still holds the pipes was missed by the guard, and is not waited
                // for.
                let is_drained = !self.printed.may_have_more() && !self.said.may_have_more();
                if is_drained {
                    return self.end().map(Progress::Ended);
                }
                continue;
            }
            if until.is_some_and(|until| now >= until) {
                return Ok(Progress::Nothing);
            }
            let is_busy = self.printed.may_have_more()
                || self.said.may_have_more()
                || self.lifeline.may_have_more();
            let due = until.into_iter().chain(self.kill_at).min().map(|due| due.since(now));
            match self.poll.poll(&mut self.events, if is_busy { Some(Duration::ZERO) } else { due })
            {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &self.events {
                match event.token() {
                    PRINTED => self.printed.is_ready = true,
                    SAID => self.said.is_ready = true,
                    _ => self.lifeline.is_ready = true,
                }
            }
        }
    }

    /// Makes the guard kill the command; the end is reported later.
    pub(super) fn stop(&mut self) {
        // Fails if the guard has just ended, which is noticed anyway.
        let _gone = self.lifeline.source.shutdown(Shutdown::Write);
        self.kill_at = Some(clock::now() + GUARD_PATIENCE);
    }

    fn end(&mut self) -> io::Result<End> {
        // A killed guard could not clean up. Its pid is the number of the group until it is reaped.
        self.kill();
        let status = self.guard.wait()?;
        let words = String::from_utf8_lossy(&self.words);
        let number = |text: &str| text.parse::<i32>().ok();
        let said = match words.trim_end().split_once(' ') {
            Some(("exit", code)) => number(code).map(End::Exited),
            Some(("signal", signal)) => number(signal).map(End::Signal),
            Some(("failed", why)) => Some(End::NotStarted(why.to_owned())),
            _ => None,
        };
        Ok(said.unwrap_or_else(|| End::Lost(format!("its guard has ended too early ({status})"))))
    }

    /// Kills the guard and the command, which are one group.
    fn kill(&self) {
        if let Ok(group) = i32::try_from(self.guard.id()) {
            let _none = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.guard.try_wait(), Ok(None)) {
            // Asked through its lifeline, which is closed now; the guard cleans up and ends within
            // a moment.
            let _gone = self.lifeline.source.shutdown(Shutdown::Both);
            let _reaped = self.guard.wait();
        }
    }
}

const PRINTED: Token = Token(0);
const SAID: Token = Token(1);
const LIFELINE: Token = Token(2);
const PIECE_BYTES: usize = 16 << 10;
/// More than a guard ever reports.
const WORDS_MAX: usize = 4 << 10;
/// How long a guard may take to clean up.
const GUARD_PATIENCE: Duration = Duration::from_secs(3);
