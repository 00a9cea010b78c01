//! What /proc tells of processes: when one started (a pid alone may have been handed on), and which ones carry the
//! mark of a run in their environment.

use std::fs;

/// The variable that every process of a run carries.
pub const RUN_ID: &str = "SENSOR_RUN_ID";

/// When a process started, in clock ticks since boot; none if there is no such process or it is a zombie.
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    let (state, start) = stat(pid)?;
    (state != 'Z' && state != 'X').then_some(start)
}

/// The state letter of a process, `T` for one that was stopped.
#[must_use]
pub fn state(pid: u32) -> Option<char> {
    stat(pid).map(|(state, _)| state)
}

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

/// The name under which a process runs.
#[must_use]
pub fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).map_or_else(|_| "?".to_owned(), |name| name.trim_end().to_owned())
}

/// State and start time. The name of the command may hold anything, blanks and brackets included, so fields are
/// counted from the last closing bracket.
fn stat(pid: u32) -> Option<(char, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // Field 22; the state is field 3.
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{RUN_ID, of_run, start_time, state};
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
