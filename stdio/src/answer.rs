//! The answer of a command, on standard output. If it cannot be written, the command has failed,
//! and its exit code says so.

use std::fmt;
use std::io::{self, ErrorKind, Write as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The exit code of a command whose answer could not be written (EX_IOERR).
pub const UNSAID: u8 = 74;

/// An answer that could not be written.
#[derive(Debug)]
pub struct Unsaid(pub io::Error);

impl Unsaid {
    /// Whether the reader has closed the pipe, as `head` does: then an error has no reader.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.kind() == ErrorKind::BrokenPipe
    }
}

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write to standard output: {}; the answer is incomplete", self.0)
    }
}

impl std::error::Error for Unsaid {}

impl From<io::Error> for Unsaid {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

/// Writes text to standard output, all of it.
///
/// # Errors
/// [`Unsaid`].
pub fn answer(text: &str) -> Result<(), Unsaid> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    Ok(output.flush()?)
}

/// Writes a line to standard error, and waits at most for this time, because the reader may be
/// gone. For a process that is about to end.
pub fn last_words(line: &str, patience: Duration) {
    let text = format!("{line}\n");
    let (done, finished) = mpsc::sync_channel(1);
    let writer = thread::Builder::new().name("last words".to_owned()).spawn(move || {
        let _closed = io::stderr().write_all(text.as_bytes());
        let _nobody_waits_any_more = done.try_send(());
    });
    if writer.is_ok() {
        let _too_late = finished.recv_timeout(patience);
    }
}

#[cfg(test)]
mod tests {
    use super::Unsaid;
    use std::io;

    #[test]
    fn a_reader_that_has_gone_is_told_from_a_full_disk() {
        assert!(Unsaid(io::ErrorKind::BrokenPipe.into()).is_closed());
        let full = Unsaid(io::ErrorKind::StorageFull.into());
        assert!(!full.is_closed() && full.to_string().contains("standard output"), "{full}");
    }
}
