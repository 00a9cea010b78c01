//! A process that is held on to, so that a signal reaches this one and no other.
//!
//! A pid is handed on to another process when its owner has ended. So the process is taken hold of
//! first (a pidfd), then it is compared with the one that is meant (by the time at which it
//! started), and the signal goes through what is held. If the process has ended by then, the signal
//! reaches nobody.

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

use crate::procfs;

/// A process that is held on to.
#[derive(Debug)]
pub struct Held {
    pid: Pid,
    /// None where the kernel has no pidfd (before Linux 5.3, or forbidden by a sandbox): then the
    /// pid has to do.
    handle: Option<OwnedFd>,
}

impl Held {
    /// The process of this pid, if it runs and started at that time (clock ticks since boot). None
    /// if it does not run any more.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn of(pid: u32, start: u64) -> io::Result<Option<Self>> {
        let Some(held) = Self::whichever(pid)? else { return Ok(None) };
        Ok((procfs::start_time(pid) == Some(start)).then_some(held))
    }

    /// Whichever process has this pid now; the caller compares it with the one that is meant.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn whichever(pid: u32) -> io::Result<Option<Self>> {
        // 0 and negative numbers stand for groups of processes.
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

    /// Sends it a signal; false if it has ended.
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
