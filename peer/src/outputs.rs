//! The outputs of a peer that could block: the log, the events, the recording. Their state, the
//! wait at the end, and reopening their files.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use stdio::Outlet;

use crate::events::EventFile;
use crate::gate::Gate;
use crate::inputs::Recorder;
use crate::journal;

/// All outputs with a thread of their own.
#[derive(Debug, Default)]
pub struct Outputs {
    named: Vec<(String, Outlet)>,
    gate: Gate,
}

/// An output that is stuck or has dropped lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputReport {
    /// Its name.
    pub name: String,
    /// Lines (of a recording: records) that wait.
    pub waiting_lines: u64,
    /// Bytes of them.
    pub waiting_bytes: u64,
    /// Lines that were dropped so far.
    pub dropped_lines: u64,
    /// For how long it has accepted nothing, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck_ms: Option<u64>,
    /// Why writing to it fails at present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
    /// Whether nothing is written to it any more.
    pub ended: bool,
}

impl Outputs {
    /// The log, and these outputs.
    #[must_use]
    pub fn new(events: Option<&EventFile>, recorder: Option<&Recorder>) -> Self {
        let mut outputs = Self::default();
        outputs
            .named
            .extend(journal::outlet().map(|outlet| ("standard output".to_owned(), outlet.clone())));
        if let Some(events) = events {
            outputs.add(
                format!("--events {}", events.path().display()),
                events.outlet(),
                events.is_regular(),
            );
        }
        if let Some(recorder) = recorder {
            outputs.add(
                format!("--inputs {}", recorder.path().display()),
                recorder.outlet(),
                recorder.is_regular(),
            );
        }
        outputs
    }

    fn add(&mut self, name: String, outlet: &Outlet, is_regular: bool) {
        if is_regular {
            self.gate.add(name.clone(), outlet.clone());
        }
        self.named.push((name, outlet.clone()));
    }

    /// The gate: what has to be written before any dependent data leaves.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Reopens the files by their paths.
    pub fn reopen(&self) {
        self.named.iter().for_each(|(_, outlet)| outlet.reopen());
    }

    /// Waits until everything is written, or the time is over.
    pub fn settle(&self, patience: Duration) {
        let until = Instant::now() + patience;
        for (_, outlet) in &self.named {
            let _too_slow = outlet.settle(until.saturating_duration_since(Instant::now()));
        }
    }

    /// How many bytes wait for each output, under a name without a path.
    pub fn waiting(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.named.iter().map(|(name, outlet)| (kind(name), outlet.health().waiting_bytes as u64))
    }

    /// The outputs that are or were in trouble.
    #[must_use]
    pub fn report(&self) -> Vec<OutputReport> {
        self.named.iter().filter_map(|(name, outlet)| OutputReport::of(name, outlet)).collect()
    }
}

impl OutputReport {
    fn of(name: &str, outlet: &Outlet) -> Option<Self> {
        let health = outlet.health();
        let stuck = health.stuck.filter(|stuck| *stuck >= STUCK);
        let is_well =
            stuck.is_none() && health.dropped == 0 && health.failing.is_none() && !health.ended;
        (!is_well).then(|| Self {
            name: name.to_owned(),
            waiting_lines: health.waiting_lines as u64,
            waiting_bytes: health.waiting_bytes as u64,
            dropped_lines: health.dropped,
            stuck_ms: stuck.map(|stuck| u64::try_from(stuck.as_millis()).unwrap_or(u64::MAX)),
            failing: health.failing,
            ended: health.ended,
        })
    }
}

impl fmt::Display for OutputReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output {}:", self.name)?;
        if let Some(millis) = self.stuck_ms {
            let stuck = humantime::format_duration(Duration::from_secs(millis / 1_000));
            write!(f, " has taken nothing for {stuck};")?;
        }
        if let Some(why) = &self.failing {
            write!(f, " cannot be written ({why});")?;
        }
        if self.ended {
            write!(f, " is not written any more;")?;
        }
        write!(f, " {} lines wait, {} were dropped", self.waiting_lines, self.dropped_lines)
    }
}

fn kind(name: &str) -> &'static str {
    if name.starts_with("--events") {
        "events"
    } else if name.starts_with("--inputs") {
        "inputs"
    } else {
        "log"
    }
}

/// An output that accepts nothing for less than this is only slow.
const STUCK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::{OutputReport, Outputs};

    #[test]
    fn outputs_that_are_well_are_not_spoken_of() {
        assert_eq!(Outputs::new(None, None).report(), []);
        let report = OutputReport {
            name: "standard output".to_owned(),
            waiting_lines: 300,
            dropped_lines: 20,
            stuck_ms: Some(12_345),
            ..OutputReport::default()
        };
        assert_eq!(
            report.to_string(),
            "Output standard output: has taken nothing for 12s; 300 lines wait, 20 were dropped"
        );
    }
}
