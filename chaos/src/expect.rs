//! Waits for a pattern in the human logs, in lines written after the watch was set up.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use promises::Stand;
use regex::Regex;

use crate::patience;
use crate::run_folder::RunFolder;
use crate::tail::Tail;

/// A log line that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The process that wrote the line.
    pub process: String,
    /// The line.
    pub text: String,
}

/// Watches the logs of some processes from a given moment on.
#[derive(Debug)]
pub struct LogWatch {
    tails: BTreeMap<String, Tail>,
}

impl LogWatch {
    /// Watches the logs of these processes from now on. A line that has begun already does not
    /// count.
    ///
    /// # Errors
    /// Those of reading the logs.
    pub fn new<'a>(
        folder: &RunFolder,
        stands: impl IntoIterator<Item = &'a Stand>,
    ) -> io::Result<Self> {
        let mut tails = BTreeMap::new();
        for stand in stands {
            tails.insert(stand.process.clone(), Tail::at_end(&log_of(folder, stand))?);
        }
        Ok(Self { tails })
    }

    /// Returns the first line that matches, if one appears within this time.
    ///
    /// # Errors
    /// Those of reading the logs.
    pub fn wait(&mut self, pattern: &Regex, within: Duration) -> io::Result<Option<Match>> {
        patience::until(within, || self.find(pattern))
    }

    fn find(&mut self, pattern: &Regex) -> io::Result<Option<Match>> {
        let mut lines = Vec::new();
        for (process, tail) in &mut self.tails {
            lines.clear();
            tail.read(&mut lines)?;
            if let Some(line) = lines.drain(..).find(|line| pattern.is_match(&line.text)) {
                return Ok(Some(Match { process: process.clone(), text: line.text }));
            }
        }
        Ok(None)
    }
}

/// Where the human log of a process is: in the run folder, otherwise at the path that the process
/// itself reported.
#[must_use]
pub fn log_of(folder: &RunFolder, stand: &Stand) -> PathBuf {
    let usual = folder.log(&stand.process);
    match &stand.log {
        Some(log) if !usual.exists() => PathBuf::from(log),
        Some(_) | None => usual,
    }
}
