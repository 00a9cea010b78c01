//! The human log: one line per record, on standard output, like `2026-11-23T08:15:02.345678Z INFO
//! Peer …`.
//!
//! Times are UTC with microseconds, so that logs of several peers sort as text. A line goes out in
//! one `write`. A closed or unread standard output stops nothing: a thread writes to it.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::OnceLock;
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use simplelog::{CombinedLogger, Config, SharedLogger};
use stdio::Outlet;
use stdio::outlet::{Loss, Manner};

use crate::clock::{Stamp, utc_micros};

/// Sends the log of this process to standard output from now on.
///
/// # Errors
/// Those of the operating system.
pub fn start(level: LevelFilter) -> io::Result<()> {
    // A descriptor of its own: the standard library's has a buffer and a lock, which would block at
    // the end.
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let is_regular = output.metadata().is_ok_and(|metadata| metadata.is_file());
    let outlet = Outlet::start("log", output, MANNER)?;
    // Only a second call in one process fails, and then the first one stays.
    let _already_started = CombinedLogger::init(vec![Box::new(Journal { outlet: outlet.clone() })]);
    set_level(level);
    let _already_started = OUTLET.set((outlet, is_regular));
    Ok(())
}

/// Changes the log level from now on.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// The outlet of the log, once it was started.
pub fn outlet() -> Option<&'static Outlet> {
    OUTLET.get().map(|(outlet, _)| outlet)
}

/// The same if the log goes to a regular file, which keeps the lines of a killed process.
pub fn evidence() -> Option<&'static Outlet> {
    OUTLET.get().filter(|(_, is_regular)| *is_regular).map(|(outlet, _)| outlet)
}

/// Waits a moment until the log is written.
pub fn settle(patience: Duration) {
    if let Some(outlet) = outlet() {
        let _too_slow = outlet.settle(patience);
    }
}

/// Only `log::max_level` decides what is logged; it can change while the peer runs.
struct Journal {
    outlet: Outlet,
}

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let lines = lines(Stamp(utc_micros()), record.level(), &record.args().to_string());
        let _dropped_and_counted = self.outlet.put(lines.as_bytes());
    }

    fn flush(&self) {}
}

impl SharedLogger for Journal {
    fn level(&self) -> LevelFilter {
        // The combined logger keeps its initial level; the level of the whole process decides, and
        // can change.
        LevelFilter::Trace
    }

    fn config(&self) -> Option<&Config> {
        None
    }

    fn as_log(self: Box<Self>) -> Box<dyn Log> {
        self
    }
}

/// A text as it is printed; a text of several lines becomes several records.
pub(crate) fn lines(stamp: Stamp, level: Level, text: &str) -> String {
    let mut lines = String::with_capacity(text.len() + 48);
    for line in text.lines() {
        writeln!(lines, "{stamp} {level} {line}").expect("writing to a String cannot fail");
    }
    lines
}

/// The line that replaces missing lines.
fn gap(dropped: u64) -> Vec<u8> {
    let text = format!(
        "{dropped} lines were dropped while nobody read this output, or while it took nothing."
    );
    lines(Stamp(utc_micros()), Level::Warn, &text).into_bytes()
}

static OUTLET: OnceLock<(Outlet, bool)> = OnceLock::new();
/// Room for minutes of a busy peer that reports every reading.
const MANNER: Manner = Manner { bytes_max: 4 << 20, lines_max: 1 << 15, loss: Loss::Tell(gap) };

#[cfg(test)]
mod tests {
    use super::{Level, Stamp, gap, lines};

    #[test]
    fn a_gap_reads_like_any_line() {
        let line = String::from_utf8(gap(17)).unwrap();
        assert!(
            line.contains("Z WARN 17 lines were dropped while nobody read this output")
                && line.ends_with('\n'),
            "{line}"
        );
    }

    #[test]
    fn each_line_has_its_own_stamp() {
        let text = lines(Stamp(0), Level::Info, "one\ntwo");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        for (line, end) in lines.iter().zip([" INFO one", " INFO two"]) {
            assert_eq!(line.len(), "2026-11-23T08:15:02.345678Z".len() + end.len(), "{line}");
            assert!(line.ends_with(end) && line.as_bytes()[26] == b'Z', "{line}");
        }
    }
}
