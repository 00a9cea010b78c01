//! Children, and the signals that are meant for them.
//!
//! Each child gets a process group of its own, and every request to stop is passed on to that group
//! exactly once, whether it came from the terminal or from another process. We outlive the child,
//! so nothing is left behind, and the caller still gets to print a last word. Should we be killed,
//! which nobody can pass on, the kernel asks the child to stop: it starts as this program again,
//! arranges that for itself, and then becomes what it is meant to be.

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
    // The link still leads to this very program when a build has put another one in its place.
    let mut command = Command::new("/proc/self/exe");
    command.args(["child", &std::process::id().to_string(), "--"]).arg(program);
    command
}

/// The other side of [`command`]. Returns only if it fails.
pub(crate) fn become_child(parent: i32, command: &[OsString]) -> Result<ExitCode, Failure> {
    set_pdeathsig(Signal::SIGTERM)
        .map_err(|error| Failure::io("cannot tie a child to its parent")(error.into()))?;
    // The parent may have died before the kernel knew that it matters.
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

/// Runs a command to its end; what it says on standard output comes back, line by line.
pub(crate) fn lines(command: &mut Command) -> io::Result<(ExitStatus, Vec<String>)> {
    run_with(command.stdout(Stdio::piped()), |child| {
        let output = child.stdout.take().expect("its standard output was piped a line above");
        BufReader::new(output).lines().map_while(Result::ok).collect()
    })
}

/// Runs a command to its end; `meanwhile` may read what it says.
fn run_with<T>(
    command: &mut Command,
    meanwhile: impl FnOnce(&mut Child) -> T,
) -> io::Result<(ExitStatus, T)> {
    listen()?;
    let (mut child, pid) = {
        // Held while the child starts: a signal that comes now is passed on as soon as there is
        // somebody to pass it to.
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.process_group(0).spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id of Linux fits"));
        *current = Some(pid);
        (child, pid)
    };
    let told = meanwhile(&mut child);
    // Waits without reaping, so that the id still names the child while a signal could be passed on
    // to it.
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
        == Err(nix::errno::Errno::EINTR)
    {}
    *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = None;
    Ok((child.wait()?, told))
}

/// Whether somebody has asked us to stop.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// From now on requests to stop are noted and passed on, instead of ending us.
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
                // Fails only if the group is empty already, and then there is nobody to tell.
                let _ = killpg(group, signal);
            }
        }
    })?;
    // Only the main thread calls this, so nobody can have been quicker.
    let _ = LISTENING.set(());
    Ok(())
}

static LISTENING: OnceLock<()> = OnceLock::new();
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// The process group of the child that runs now.
static CURRENT: Mutex<Option<Pid>> = Mutex::new(None);
