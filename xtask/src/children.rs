//! Child processes, and the signals that are meant for them.
//!
//! Each child gets a process group of its own, and every request to stop is passed on to that group
//! exactly once, whether it came from the terminal or from another process. This process outlives
//! the child, so nothing is left behind, and the caller can still print a last message. If this
//! process is killed, which it cannot pass on, the kernel asks the child to stop: the child starts
//! as this program again, arranges that for itself, and then becomes the intended program.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, getppid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::Failure;

/// A command for [`run`].
pub(crate) fn command(program: &OsStr) -> Command {
    // The link still leads to this very program when a build has replaced the file.
    let mut command = Command::new("/proc/self/exe");
    command.args(["child", &std::process::id().to_string(), "--"]).arg(program);
    command
}

/// The other side of [`command`]. Returns only if it fails.
pub(crate) fn become_child(parent: i32, command: &[OsString]) -> Result<ExitCode, Failure> {
    set_pdeathsig(Signal::SIGTERM)
        .map_err(|error| Failure::io("cannot tie a child to its parent")(error.into()))?;
    // The parent may have ended before the kernel registered the signal.
    if getppid() != Pid::from_raw(parent) {
        return Err(Failure::Interrupted);
    }
    let (program, arguments) = command.split_first().expect("clap asks for at least one");
    let error = Command::new(program).args(arguments).exec();
    Err(Failure::io(format!("cannot start {}", program.display()))(error))
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> io::Result<ExitStatus> {
    run_with(command, |_| ()).map(|(status, ())| status)
}

/// Runs a command to its end; returns its standard output, line by line.
pub(crate) fn lines(command: &mut Command) -> io::Result<(ExitStatus, Vec<String>)> {
    run_with(command.stdout(Stdio::piped()), |child| {
        let output = child.stdout.take().expect("its standard output was piped a line above");
        BufReader::new(output).lines().map_while(Result::ok).collect()
    })
}

/// Runs a command to its end; `meanwhile` may read its output.
fn run_with<T>(
    command: &mut Command,
    meanwhile: impl FnOnce(&mut Child) -> T,
) -> io::Result<(ExitStatus, T)> {
    listen()?;
    let (mut child, pid) = {
        // Held while the child starts: a signal that arrives now is passed on as soon as the child
        // exists.
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.process_group(0).spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id of Linux fits"));
        *current = Some(pid);
        (child, pid)
    };
    let told = meanwhile(&mut child);
    // Waits without reaping, so that the pid still denotes the child while a signal could be passed
    // on to it.
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
        == Err(nix::errno::Errno::EINTR)
    {}
    *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = None;
    Ok((child.wait()?, told))
}

/// Whether a request to stop has arrived.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// From now on requests to stop are noted and passed on, instead of ending this process.
fn listen() -> io::Result<()> {
    if LISTENING.get().is_some() {
        return Ok(());
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for number in signals.forever() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            let current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
            if let (Some(group), Ok(signal)) = (*current, Signal::try_from(number)) {
                // Fails only if the group is empty already, and then no process needs the signal.
                let _ = killpg(group, signal);
            }
        }
    })?;
    // Only the main thread calls this, so there is no race.
    let _ = LISTENING.set(());
    Ok(())
}

static LISTENING: OnceLock<()> = OnceLock::new();
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// The process group of the running child.
static CURRENT: Mutex<Option<Pid>> = Mutex::new(None);
