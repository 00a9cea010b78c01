//! Which records a subscription wants: by kind, by sensor, by origin.

use std::cell::RefCell;
use std::collections::HashMap;

use globset::{Glob, GlobMatcher};
use protocol::seam::Delivery;

use super::history::{Item, Sensors};
use crate::sensors::split;

/// What a subscription wants.
#[derive(Debug, Default)]
pub(super) struct Filter {
    kinds: Option<Vec<Kind>>,
    sensor: Option<Names>,
    origin: Option<GlobMatcher>,
}

/// The kinds of records, as `docs/DATA.md` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Reading,
    View,
    Gap,
    Lost,
    Diverged,
    Merged,
    Repeat,
}

impl Kind {
    /// The kind of record that a delivery becomes.
    pub(super) fn of(delivery: &Delivery) -> Self {
        match delivery {
            Delivery::Run(_) => Self::Reading,
            Delivery::View(_) => Self::View,
            Delivery::Gap { .. } => Self::Gap,
            Delivery::Lost { .. } => Self::Lost,
            Delivery::Diverged { .. } => Self::Diverged,
            Delivery::Merged { .. } => Self::Merged,
            Delivery::Repeat { .. } => Self::Repeat,
        }
    }
}

/// A pattern of sensor names, and what it said of the names that it was asked about.
#[derive(Debug)]
struct Names {
    pattern: GlobMatcher,
    known: RefCell<HashMap<String, bool>>,
}

impl Names {
    fn wants(&self, sensor: &str) -> bool {
        if let Some(known) = self.known.borrow().get(sensor) {
            return *known;
        }
        let wanted = self.pattern.is_match(sensor);
        let mut known = self.known.borrow_mut();
        if known.len() >= KNOWN_MOST {
            known.clear();
        }
        if sensor.len() <= KNOWN_BYTES {
            known.insert(sensor.to_owned(), wanted);
        }
        wanted
    }
}

impl Filter {
    /// Of these kinds (all where none are named), and of readings those whose sensor and origin match the patterns.
    ///
    /// # Errors
    /// What is wrong with a pattern.
    pub(super) fn new(kinds: Option<Vec<Kind>>, sensor: Option<&str>, origin: Option<&str>) -> Result<Self, String> {
        let glob = |key: &str, pattern: &str| {
            // A longer one may become a machine that is larger than the library makes.
            if pattern.len() > PATTERN_MAX {
                return Err(format!("{key}: the pattern has {} bytes; {PATTERN_MAX} are the most", pattern.len()));
            }
            let glob = Glob::new(pattern).map_err(|error| format!("{key}: {error}; * stands for any text, ? for one character"))?;
            Ok::<_, String>(glob.compile_matcher())
        };
        let sensor = sensor.map(|pattern| glob("sensor", pattern)).transpose()?;
        // Each kind once, however often it is named.
        let kinds = kinds.map(|mut kinds| {
            kinds.sort_unstable();
            kinds.dedup();
            kinds
        });
        let sensor = sensor.map(|pattern| Names { pattern, known: RefCell::default() });
        Ok(Self { kinds, sensor, origin: origin.map(|pattern| glob("origin", pattern)).transpose()? })
    }

    /// Whether it may want any record of this delivery.
    pub(super) fn may_want(&self, item: &Item) -> bool {
        if self.kinds.as_ref().is_some_and(|kinds| !kinds.contains(&Kind::of(&item.delivery))) {
            return false;
        }
        let Delivery::Run(run) = &item.delivery else { return true };
        if self.origin.as_ref().is_some_and(|origin| !origin.is_match(run.origin.id.as_str())) {
            return false;
        }
        match (&self.sensor, item.sensors_if(self.sensor.is_some())) {
            (Some(names), Some(Sensors::Few(few))) => few.iter().any(|sensor| names.wants(sensor)),
            _ => true,
        }
    }

    /// Whether it wants a reading of a delivery that it may want.
    pub(super) fn wants_reading(&self, payload: &[u8]) -> bool {
        self.sensor.as_ref().is_none_or(|names| names.wants(&split::sensor(payload)))
    }
}

/// Names of sensors that a pattern remembers.
const KNOWN_MOST: usize = 1_024;
/// The longest name that it remembers.
const KNOWN_BYTES: usize = 128;
/// The longest pattern.
const PATTERN_MAX: usize = 256;
