//! The state of a sensor, with the details that a user needs to find out why it is silent.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::note::escape;
use protocol::time::Time;
use serde::{Deserialize, Serialize};

use crate::clock::{self, Stamp, utc_micros};
use crate::settings::SensorSettings;

/// The state of one sensor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SensorReport {
    /// Its name.
    pub name: String,
    /// `host`, `synthetic`, `stdin`, `exec` or `file`.
    pub kind: String,
    /// Its state.
    pub state: SensorState,
    /// The reason, unless all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How many readings it has made for this peer to publish.
    pub readings: u64,
    /// How many of them could not be split, and are published verbatim.
    #[serde(default)]
    pub verbatim: u64,
    /// How many lines were too long, and how many measurements found no room in the group.
    #[serde(default)]
    pub refused: u64,
    /// How many values look like numbers and stay text.
    #[serde(default)]
    pub kept_as_text: u64,
    /// How often it has failed, or been missed.
    #[serde(default)]
    pub failures: u64,
    /// The time of its last reading, by the clock of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<String>,
    /// The age of that reading, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_ms: Option<u64>,
    /// The units of its fields.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub units: BTreeMap<String, String>,
}

/// The state of a sensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SensorState {
    /// It has made no reading yet, and nothing is wrong.
    #[default]
    Starting,
    /// Its last reading has fields.
    Ok,
    /// Its last line could not be split, or was too long.
    Unsplit,
    /// It waits: for its file, or for room in the group.
    Waiting,
    /// It runs silently.
    Silent,
    /// It cannot measure, or its command fails.
    Failing,
    /// Its input has ended.
    Ended,
    /// A state of a newer build.
    #[serde(other)]
    Other,
}

/// The state of one sensor, shared by the thread that has it and the loop. Clones share it.
#[derive(Clone, Debug)]
pub struct Gauge(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    report: SensorReport,
    /// The time of the last reading, by both clocks.
    last: Option<(Time, u64)>,
    trouble: Option<(SensorState, String)>,
    unsplit: Option<String>,
    is_held_up: bool,
}

impl Gauge {
    /// The gauge of a sensor that has not begun.
    #[must_use]
    pub fn new(settings: &SensorSettings) -> Self {
        let (name, kind) = (settings.name.clone(), settings.kind().to_owned());
        let report =
            SensorReport { name, kind, units: settings.units.clone(), ..SensorReport::default() };
        Self(Arc::new(Mutex::new(Inner {
            report,
            last: None,
            trouble: None,
            unsplit: None,
            is_held_up: false,
        })))
    }

    /// Counts a reading; `unsplit` says why it is not split, if it is not.
    pub fn count(&self, unsplit: Option<String>, kept_as_text: u64) {
        let mut inner = self.lock();
        inner.last = Some((clock::now(), utc_micros()));
        inner.report.readings += 1;
        inner.report.verbatim += u64::from(unsplit.is_some());
        inner.report.kept_as_text += kept_as_text;
        inner.unsplit = unsplit;
    }

    /// Counts a line or measurement that is not published.
    pub fn refuse(&self, why: Option<String>) {
        let mut inner = self.lock();
        inner.report.refused += 1;
        if why.is_some() {
            inner.unsplit = why;
        }
    }

    /// A problem of the sensor, until [`Self::recover`].
    pub fn trouble(&self, state: SensorState, why: String) {
        let mut inner = self.lock();
        inner.report.failures += u64::from(state == SensorState::Failing);
        inner.trouble = Some((state, why));
    }

    /// The problem is over; true if there was one.
    pub fn recover(&self) -> bool {
        self.lock().trouble.take().is_some()
    }

    /// Whether it waits for room in the group.
    pub fn hold_up(&self, is_held_up: bool) {
        self.lock().is_held_up = is_held_up;
    }

    /// The present state.
    #[must_use]
    pub fn report(&self) -> SensorReport {
        let inner = self.lock();
        let quiet = inner.last.map(|(at, _)| clock::now().since(at));
        let last_at = inner.last.map(|(_, utc)| Stamp(utc).to_string());
        let (state, why) = match (&inner.trouble, &inner.unsplit) {
            (Some((state, why)), _) => (*state, Some(why.clone())),
            _ if inner.is_held_up => (
                SensorState::Waiting,
                Some("the group takes no more readings of this peer for now".to_owned()),
            ),
            (None, Some(why)) => (SensorState::Unsplit, Some(why.clone())),
            (None, None) if inner.report.readings == 0 => (SensorState::Starting, None),
            (None, None) => (SensorState::Ok, None),
        };
        let quiet_ms = quiet.map(|quiet| u64::try_from(quiet.as_millis()).unwrap_or(u64::MAX));
        SensorReport { state, why, last_at, quiet_ms, ..inner.report.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for SensorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Sensor {} ({}): {}, {} readings",
            self.name, self.kind, self.state, self.readings
        )?;
        if let Some(millis) = self.quiet_ms {
            write!(
                f,
                ", the last {} ago",
                humantime::format_duration(Duration::from_secs(millis / 1_000))
            )?;
        }
        for (count, what) in [
            (self.verbatim, "not split"),
            (self.refused, "not published"),
            (self.kept_as_text, "values kept as text"),
            (self.failures, "failures"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        self.why.as_ref().map_or(Ok(()), |why| write!(f, "; {why}"))
    }
}

impl fmt::Display for SensorState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Ok => "ok",
            Self::Unsplit => "unsplit",
            Self::Waiting => "waiting",
            Self::Silent => "silent",
            Self::Failing => "failing",
            Self::Ended => "ended",
            Self::Other => "in a state that this build does not know",
        })
    }
}

/// The beginning of a foreign text, on one line.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    let more = if bytes.len() > SHOWN_BYTES { " …" } else { "" };
    escape(&bytes[..bytes.len().min(SHOWN_BYTES)]) + more
}

const SHOWN_BYTES: usize = 200;

#[cfg(test)]
mod tests {
    use super::{Gauge, SensorReport, SensorState, shown};
    use crate::settings::{SensorSettings, SourceSettings};

    #[test]
    fn the_state_says_what_keeps_a_sensor_silent() {
        let source = SourceSettings::Host { every: None };
        let settings = SensorSettings {
            name: "m".to_owned(),
            source,
            tags: Vec::new(),
            units: [("c".to_owned(), "°C".to_owned())].into(),
        };
        let gauge = Gauge::new(&settings);
        let state = || (gauge.report().state, gauge.report().why);
        assert_eq!(state(), (SensorState::Starting, None));
        assert_eq!(gauge.report().to_string(), "Sensor m (host): starting, 0 readings");
        assert!(gauge.report().last_at.is_none() && gauge.report().units["c"] == "°C");
        gauge.count(None, 2);
        assert_eq!(state(), (SensorState::Ok, None));
        gauge.count(Some("it is text".to_owned()), 0);
        assert_eq!(state(), (SensorState::Unsplit, Some("it is text".to_owned())));
        gauge.hold_up(true);
        assert_eq!(state().0, SensorState::Waiting);
        gauge.trouble(SensorState::Failing, "exit code 3".to_owned());
        let report = gauge.report();
        assert_eq!(
            (report.readings, report.verbatim, report.kept_as_text, report.failures),
            (2, 1, 2, 1)
        );
        let text = report.to_string();
        assert!(
            text.contains(": failing, 2 readings, the last 0s ago, 1 not split")
                && text.ends_with("; exit code 3"),
            "{text}"
        );
        assert!(gauge.recover() && !gauge.recover());
        let json = serde_json::to_value(gauge.report()).unwrap();
        assert_eq!((&json["state"], &json["units"]["c"]), (&"waiting".into(), &"°C".into()));
    }

    #[test]
    fn a_report_of_another_build_can_be_read() {
        let report: SensorReport = serde_json::from_str(
            r#"{"name":"m","kind":"new","state":"newer","readings":1,"more":2}"#,
        )
        .unwrap();
        assert_eq!((report.state, report.readings, report.last_at), (SensorState::Other, 1, None));
    }

    #[test]
    fn what_others_wrote_is_short_and_on_one_line() {
        assert_eq!(shown(b"a\nb\xff"), "a\\nb\\xff");
        assert!(shown(&[b'x'; 1_000]).len() < 220);
    }
}
