//! What /proc tells of a process: when it started (a pid alone may have been handed on), and in which state it is.

use std::fs;

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
    use super::{start_time, state};

    #[test]
    fn this_process_runs_and_has_a_start() {
        let pid = std::process::id();
        assert!(start_time(pid).is_some_and(|start| start > 0));
        assert!(matches!(state(pid), Some('R' | 'S')));
    }
}
