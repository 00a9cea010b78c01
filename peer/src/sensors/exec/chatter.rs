//! The standard error of a command, as lines of the log: bounded in length and number.

use std::time::Duration;

use protocol::time::Time;

use crate::clock;
use crate::sensors::gauge::shown;
use crate::sensors::lines::{Assembler, Line};

/// The standard error of one sensor's command.
#[derive(Debug)]
pub(super) struct Chatter {
    name: String,
    assembler: Assembler,
    /// The last line, shortened.
    last: Option<String>,
    since: Time,
    told: u32,
    left_out: u64,
}

impl Chatter {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            assembler: Assembler::new(LINE_MAX),
            last: None,
            since: clock::now(),
            told: 0,
            left_out: 0,
        }
    }

    /// The last line of the previous run.
    pub(super) fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// Takes the next piece.
    pub(super) fn hear(&mut self, piece: &[u8]) {
        let mut lines = Vec::new();
        self.assembler.push(piece, |line| lines.push(line));
        lines.into_iter().for_each(|line| self.tell(line, clock::now()));
    }

    /// The command has ended.
    pub(super) fn end(&mut self) {
        if let Some(line) = self.assembler.finish() {
            self.tell(line, clock::now());
        }
    }

    fn tell(&mut self, line: Line, now: Time) {
        let line = match line {
            Line::Whole(line) if line.trim_ascii().is_empty() => return,
            Line::Whole(line) => shown(&line),
            Line::TooLong(length) => format!("(a line of {length} bytes)"),
        };
        if now.since(self.since) > WINDOW {
            if self.left_out > 0 {
                log::info!(
                    "Sensor {} said {} more lines, which are left out.",
                    self.name,
                    self.left_out
                );
            }
            (self.since, self.told, self.left_out) = (now, 0, 0);
        }
        if self.told < LINES_MAX {
            self.told += 1;
            log::info!("Sensor {} says: {line}", self.name);
        } else {
            self.left_out += 1;
        }
        self.last = Some(line);
    }
}

/// A longer line is not kept.
const LINE_MAX: usize = 16 << 10;
/// How many lines are logged per interval.
const LINES_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::{Chatter, LINES_MAX, Line, Time, WINDOW};
    use bytes::Bytes;

    #[test]
    fn a_flood_is_counted_and_not_told() {
        let mut chatter = Chatter::new("m".to_owned());
        let now = Time::from_micros(1);
        chatter.since = now;
        for number in 0..1_000 {
            chatter.tell(Line::Whole(Bytes::from(format!("line {number}\x1b[2J"))), now);
        }
        assert_eq!((chatter.told, chatter.left_out), (LINES_MAX, 1_000 - u64::from(LINES_MAX)));
        assert_eq!(chatter.last(), Some("line 999\\u{1b}[2J"));
        chatter.tell(Line::TooLong(99_999), now + WINDOW + WINDOW);
        assert_eq!(
            (chatter.told, chatter.left_out, chatter.last()),
            (1, 0, Some("(a line of 99999 bytes)"))
        );
    }
}
