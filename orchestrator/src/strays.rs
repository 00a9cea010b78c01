//! Processes that outlived a run: found by the mark that every process of a run carries in its environment, and by
//! nothing else.

use std::fs;

use chaos::procfs::start_time;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The variable that every process of a run carries.
pub const RUN_ID: &str = "SENSOR_RUN_ID";

/// The processes that carry this run's mark, zombies left out.
#[must_use]
pub fn of_run(run_id: &str) -> Vec<u32> {
    let mark = format!("{RUN_ID}={run_id}");
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) && start_time(*pid).is_some()
    })
    .collect()
}

/// Ends whatever carries the mark of a run, and says what it was.
#[must_use]
pub fn reap(run_id: &str) -> Vec<String> {
    let own = std::process::id();
    let strays = of_run(run_id).into_iter().filter(|pid| *pid != own);
    strays
        .map(|pid| {
            let words = format!("{} (pid {pid})", name(pid));
            // It may have ended by itself in the meantime, which is all that is wanted.
            let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX)), Signal::SIGKILL);
            words
        })
        .collect()
}

/// The name under which a process runs.
fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).map_or_else(|_| "?".to_owned(), |name| name.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{RUN_ID, of_run};
    use chaos::procfs::{start_time, state};
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_found_by_its_mark_and_not_after_its_end() {
        let mark = format!("procfs-test-{}", std::process::id());
        let mut child = Command::new("cat").env(RUN_ID, &mark).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let pid = child.id();
        assert_eq!(of_run(&mark), [pid]);
        assert!(start_time(pid).is_some());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(of_run(&mark), [0_u32; 0]);
        assert_eq!((start_time(pid), state(pid)), (None, None));
    }
}
