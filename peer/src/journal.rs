//! The human log: one line a record, on standard output, like `2026-11-23T08:15:02.345678Z INFO Peer …`.
//!
//! Times are UTC with microseconds, so that logs of several peers sort by text. A line goes out in one `write`. A
//! standard output that has gone away (a closed pipe) stops nobody.

use std::fmt::Write as _;
use std::io::Write as _;

use log::{Level, LevelFilter, Log, Metadata, Record};
use simplelog::{CombinedLogger, Config, SharedLogger};

use crate::clock::{Stamp, utc_micros};

/// Sends what this process logs to standard output from now on.
pub fn start(level: LevelFilter) {
    // Only a second call in one process fails, and then the first one stands.
    let _already_started = CombinedLogger::init(vec![Box::new(Journal { level })]);
}

struct Journal {
    level: LevelFilter,
}

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let lines = lines(Stamp(utc_micros()), record.level(), &record.args().to_string());
        let _closed_pipe = std::io::stdout().lock().write_all(lines.as_bytes());
    }

    fn flush(&self) {
        let _closed_pipe = std::io::stdout().lock().flush();
    }
}

impl SharedLogger for Journal {
    fn level(&self) -> LevelFilter {
        self.level
    }

    fn config(&self) -> Option<&Config> {
        None
    }

    fn as_log(self: Box<Self>) -> Box<dyn Log> {
        self
    }
}

/// A text as it is printed; one of several lines becomes as many records.
pub(crate) fn lines(stamp: Stamp, level: Level, text: &str) -> String {
    let mut lines = String::with_capacity(text.len() + 48);
    for line in text.lines() {
        writeln!(lines, "{stamp} {level} {line}").expect("writing to a String cannot fail");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{Level, Stamp, lines};

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
