//! Processes that live: found by the mark of their run, awaited, signalled, and ended with the test
//! that started them.

use std::fs;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use chaos::procfs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orchestrator::strays::RUN_ID;

/// The processes whose mark begins so.
pub(crate) fn marked(prefix: &str) -> Vec<u32> {
    let mark = format!("{RUN_ID}={prefix}");
    let pids = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(mark.as_bytes()))
            && procfs::start_time(*pid).is_some()
    })
    .collect()
}

/// Whether something comes true in time.
pub(crate) fn await_that(limit: Duration, mut met: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !met() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// A child of a test, which does not outlive it.
pub(crate) struct Victim(pub(crate) Child);

impl Victim {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }

    /// How it ended, if that happens in time.
    pub(crate) fn end_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let mut status = None;
        await_that(limit, || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // Ended already unless an assertion has failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
