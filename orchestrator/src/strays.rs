//! Processes that outlived a run, identified only by the mark that every process of a run carries
//! in its environment.

use std::fs;

use chaos::Held;
use chaos::procfs::{parent_and_group, start_time};
use nix::sys::signal::Signal;

/// The variable that every process of a run carries.
pub const RUN_ID: &str = "SENSOR_RUN_ID";

/// The processes that carry this run's mark, zombies left out.
#[must_use]
pub fn of_run(run_id: &str) -> Vec<u32> {
    all().filter(|pid| is_of_run(*pid, run_id)).collect()
}

/// All visible processes.
fn all() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn is_of_run(pid: u32, run_id: &str) -> bool {
    let mark = format!("{RUN_ID}={run_id}");
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        && start_time(pid).is_some()
}

/// Ends the remaining processes of these process groups, whose leaders have ended; returns their
/// number. A group id may have been reused, so only descendants of this process (which adopts
/// orphans) and processes with the run's mark count.
pub fn end_helpers(groups: &[u32], run_id: &str) -> usize {
    let own = std::process::id();
    let is_helper = |pid: u32| {
        parent_and_group(pid).is_some_and(|(parent, group)| {
            groups.contains(&group) && (parent == own || is_of_run(pid, run_id))
        }) && start_time(pid).is_some()
    };
    all().filter(|pid| is_helper(*pid)).filter(|pid| end(*pid, is_helper)).count()
}

/// Opens a handle of a process, checks that it is meant, and kills it; true if it was meant.
fn end(pid: u32, is_meant: impl Fn(u32) -> bool) -> bool {
    let Ok(Some(held)) = Held::whichever(pid) else { return false };
    // It may have ended by itself in the meantime, which is fine.
    is_meant(pid) && held.signal(Signal::SIGKILL).is_ok()
}

/// Ends every process that carries the mark of a run; returns their descriptions.
#[must_use]
pub fn reap(run_id: &str) -> Vec<String> {
    let own = std::process::id();
    let strays = of_run(run_id).into_iter().filter(|pid| *pid != own);
    strays
        .map(|pid| {
            let words = format!("{} (pid {pid})", name(pid));
            end(pid, |pid| is_of_run(pid, run_id));
            words
        })
        .collect()
}

/// The name of a process.
fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .map_or_else(|_| "?".to_owned(), |name| name.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{RUN_ID, of_run};
    use chaos::procfs::{start_time, state};
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_found_by_its_mark_and_not_after_its_end() {
        let mark = format!("procfs-test-{}", std::process::id());
        let mut child = Command::new("cat")
            .env(RUN_ID, &mark)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id();
        // The kernel lets the parent continue a moment before the child's environment can be read.
        while of_run(&mark).is_empty() {
            assert!(child.try_wait().unwrap().is_none(), "it waits for its input");
            std::thread::yield_now();
        }
        assert_eq!(of_run(&mark), [pid]);
        assert!(start_time(pid).is_some());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(of_run(&mark), [0_u32; 0]);
        assert_eq!((start_time(pid), state(pid)), (None, None));
    }
}
