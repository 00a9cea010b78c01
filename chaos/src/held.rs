//! A handle of a process (a pidfd), so that a signal reaches this process and no other.
//!
//! The kernel gives a pid to another process once its owner has ended. So a handle is opened first,
//! then the start time of the process is compared with the expected one, and the signal is sent
//! through the handle. If the process has ended by then, the signal reaches no process.

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

use crate::procfs;

/// A handle of a process.
#[derive(Debug)]
pub struct Held {
    pid: Pid,
    /// None where the kernel has no pidfd (before Linux 5.3, or forbidden by a sandbox): then
    /// signals go to the pid.
    handle: Option<OwnedFd>,
}

impl Held {
    /// The process with this pid, if it runs and started at this time (in clock ticks since boot);
    /// none if it has ended.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn of(pid: u32, start: u64) -> io::Result<Option<Self>> {
        let Some(held) = Self::whichever(pid)? else { return Ok(None) };
        Ok((procfs::start_time(pid) == Some(start)).then_some(held))
    }

    /// The process that has this pid now; the caller compares it with the expected one.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn whichever(pid: u32) -> io::Result<Option<Self>> {
        // 0 and negative numbers denote process groups.
        let Some(number) = i32::try_from(pid).ok().filter(|number| *number > 0) else {
            return Ok(None);
        };
        let Some(named) = rustix::process::Pid::from_raw(number) else { return Ok(None) };
        let handle = match pidfd_open(named, PidfdFlags::empty()) {
            Ok(handle) => Some(handle),
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Some(Self { pid: Pid::from_raw(number), handle }))
    }

    /// Sends a signal to the process; false if it has ended.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        let sent = match (&self.handle, rustix::process::Signal::from_named_raw(signal as i32)) {
            (Some(handle), Some(named)) => {
                pidfd_send_signal(handle, named).map_err(io::Error::from)
            }
            _ => kill(self.pid, signal).map_err(io::Error::from),
        };
        match sent {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Held;
    use crate::procfs::start_time;
    use nix::sys::signal::Signal;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Stdio};

    #[test]
    fn only_the_very_process_is_signalled() {
        let mut child =
            Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let start = start_time(child.id()).unwrap();
        assert!(
            Held::of(child.id(), start + 1).unwrap().is_none(),
            "another process that had this pid"
        );
        let held = Held::of(child.id(), start).unwrap().unwrap();
        assert!(held.signal(Signal::SIGTERM).unwrap());
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGTERM as i32));
        assert!(!held.signal(Signal::SIGTERM).unwrap(), "it has ended, whoever has its pid now");
        assert!(Held::of(child.id(), start).unwrap().is_none());
        assert!(
            Held::whichever(0).unwrap().is_none() && Held::whichever(u32::MAX).unwrap().is_none()
        );
    }
}
