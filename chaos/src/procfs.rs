//! What /proc reports of a process: its start time (a pid alone may have been reused) and its
//! state.

use std::fs;

/// When a process started, in clock ticks since boot; none if there is no such process or it is a
/// zombie.
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    let (state, start) = stat(pid)?;
    (state != 'Z' && state != 'X').then_some(start)
}

/// The state letter of a process; `T` means stopped.
#[must_use]
pub fn state(pid: u32) -> Option<char> {
    stat(pid).map(|(state, _)| state)
}

/// The parent of a process, and its process group.
#[must_use]
pub fn parent_and_group(pid: u32) -> Option<(u32, u32)> {
    let fields = fields(pid)?;
    let mut fields = fields.split_ascii_whitespace();
    // Fields 4 and 5; the state is field 3.
    Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// State and start time.
fn stat(pid: u32) -> Option<(char, u64)> {
    let fields = fields(pid)?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // Field 22; the state is field 3.
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// The fields from the state on. The name of the command may contain any character, blanks and
/// brackets included, so the fields are counted from the last closing bracket.
fn fields(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.to_owned())
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
