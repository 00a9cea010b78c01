//! The resources used by a process: processor time and memory, from `/proc`.

use std::fs;
use std::io;
use std::time::Duration;

/// The resources used by one process since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, in user and kernel mode; in steps of 10 ms.
    pub cpu: Duration,
    /// The highest resident memory, in bytes.
    pub peak: u64,
}

/// The resources of the process with this pid.
///
/// # Errors
/// There is no such process, or no `/proc`.
pub fn of(pid: u32) -> io::Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let cpu = ticks(&stat).ok_or_else(|| {
        io::Error::other(format!("/proc/{pid}/stat is not of the form that proc(5) says"))
    })?;
    Ok(Usage { cpu: TICK * cpu, peak: kibibytes(&status, "VmHWM:").unwrap_or(0) << 10 })
}

/// The processor time of a process in nanoseconds; finer than [`of`], and without the time of
/// threads that have ended.
///
/// # Errors
/// There is no such process.
pub fn nanoseconds(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let text = fs::read_to_string(task.path().join("schedstat"))?;
        sum += text
            .split_ascii_whitespace()
            .next()
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or(0);
    }
    Ok(sum)
}

/// The memory of a process in bytes, with its proportional share of shared pages (PSS).
///
/// # Errors
/// There is no such process.
pub fn pss(pid: u32) -> io::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(kibibytes(&rollup, "Pss:").unwrap_or(0) << 10)
}

/// The number of open descriptors of a process.
///
/// # Errors
/// There is no such process.
pub fn descriptors(pid: u32) -> io::Result<u64> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64)
}

/// The sum of the times in user and in kernel mode. The name of the program, in brackets, may
/// contain any character.
fn ticks(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u32>().ok();
    Some(next()? + next()?)
}

fn kibibytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The unit of `/proc/PID/stat` (`USER_HZ`), which is a hundredth of a second on all our platforms.
const TICK: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::{kibibytes, nanoseconds, of, pss, ticks};

    #[test]
    fn a_name_with_brackets_moves_no_field() {
        assert_eq!(ticks("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0"), Some(42));
        assert_eq!(ticks("7"), None);
        assert_eq!(kibibytes("Name:\tx\nVmHWM:\t  42 kB\n", "VmHWM:"), Some(42));
    }

    #[test]
    fn this_very_process_uses_something() {
        let own = std::process::id();
        assert!(
            of(own).unwrap().peak > 0 && nanoseconds(own).unwrap() > 0 && pss(own).unwrap() > 0
        );
    }
}
