//! Signals: which ones were ignored when the process started, and which ones form one request to
//! stop.
//!
//! `nohup` and a shell that starts a program in the background pass on "ignore this signal". A
//! handler for such a signal would undo that, so none is installed. A terminal and a process
//! manager may both send a signal at the same moment; that is one request, not two.

use std::fs;
use std::time::Duration;

/// The signals that this process may install a handler for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heeded {
    /// The signals that were not ignored at the start.
    pub signals: Vec<i32>,
    /// Whether the ignored signals are known; if not, all are handled.
    pub known: bool,
}

/// Those of these signals that are not ignored at present. To be called before any handler is
/// installed.
#[must_use]
pub fn heeded(signals: &[i32]) -> Heeded {
    let mask = fs::read_to_string("/proc/self/status").ok().as_deref().and_then(ignored_in);
    let is_heeded = |signal: &i32| mask.is_none_or(|mask| mask >> (signal - 1) & 1 == 0);
    Heeded { signals: signals.iter().copied().filter(is_heeded).collect(), known: mask.is_some() }
}

/// The mask of ignored signals in the text of `/proc/PID/status`; the lowest bit is signal 1.
fn ignored_in(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

/// Counts requests to stop: signals within [`MOMENT`] of the first one of a request belong to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    last: Option<Duration>,
    count: usize,
}

impl Requests {
    /// A signal arrived at this time of any monotonic clock. Returns the number of requests so far.
    pub fn note(&mut self, at: Duration) -> usize {
        if self.last.is_none_or(|last| at.saturating_sub(last) >= MOMENT) {
            self.last = Some(at);
            self.count += 1;
        }
        self.count
    }

    /// The number of requests.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }
}

/// Signals that are closer together than this are one request to stop.
pub const MOMENT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::{Requests, heeded, ignored_in};
    use std::time::Duration;

    #[test]
    fn the_mask_of_the_kernel_is_read() {
        assert_eq!(ignored_in("Name:\tx\nSigIgn:\t0000000000001003\nSigCgt:\t0\n"), Some(0x1003));
        assert_eq!(ignored_in("Name:\tx\n"), None);
        assert_eq!(ignored_in("SigIgn:\tnonsense\n"), None);
    }

    #[test]
    fn what_is_not_ignored_is_heeded() {
        // Rust ignores SIGPIPE (13) in every program; nothing ignores SIGUSR2 (12) in this one.
        let heeded = heeded(&[12, 13]);
        assert!(heeded.known && heeded.signals == [12], "{heeded:?}");
    }

    #[test]
    fn signals_of_one_moment_are_one_request() {
        let mut requests = Requests::default();
        let counts = [5_000, 5_001, 5_999, 6_000, 6_500, 9_000]
            .map(|at| requests.note(Duration::from_millis(at)));
        assert_eq!(counts, [1, 1, 1, 2, 2, 3]);
        assert_eq!(requests.count(), 3);
    }
}
