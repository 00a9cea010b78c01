//! The filter of a subscription: by kind, by sensor, by origin.
//!
//! Subscriptions with equal filters share one ([`Filters`]), and it caches its results: a delivery
//! without a wanted record is examined once, however many subscriptions share the filter.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use globset::{Glob, GlobMatcher};
use protocol::io::Delivery;

use super::history::{History, Item, Sensors};
use crate::sensors::split;

/// A filter of records.
#[derive(Debug, Default)]
pub(super) struct Filter {
    kinds: Option<Vec<Kind>>,
    sensor: Option<Names>,
    origin: Option<GlobMatcher>,
    /// The numbers of deliveries without a wanted record, as last found.
    unwanted: Mutex<Range<u64>>,
}

/// The filters of all present subscriptions.
#[derive(Debug, Default)]
pub(super) struct Filters {
    all: Vec<Weak<Filter>>,
}

impl Filters {
    /// Returns the filter, or an equal one of another subscription.
    pub(super) fn share(&mut self, filter: Arc<Filter>) -> Arc<Filter> {
        self.all.retain(|known| known.strong_count() > 0);
        if let Some(same) =
            self.all.iter().filter_map(Weak::upgrade).find(|known| known.wants_same(&filter))
        {
            return same;
        }
        self.all.push(Arc::downgrade(&filter));
        filter
    }
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

/// A pattern of sensor names, and its cached results.
#[derive(Debug)]
struct Names {
    pattern: GlobMatcher,
    known: Mutex<HashMap<String, bool>>,
}

impl Names {
    fn wants(&self, sensor: &str) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(sensor) {
            return *known;
        }
        let wanted = self.pattern.is_match(sensor);
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
    /// A filter of these kinds (all if none are named), and of readings whose sensor and origin
    /// match the patterns.
    ///
    /// # Errors
    /// What is wrong with a pattern.
    pub(super) fn new(
        kinds: Option<Vec<Kind>>,
        sensor: Option<&str>,
        origin: Option<&str>,
    ) -> Result<Self, String> {
        let glob = |key: &str, pattern: &str| {
            // A longer pattern may become a larger automaton than the library permits.
            if pattern.len() > PATTERN_MAX {
                return Err(format!(
                    "{key}: the pattern has {} bytes; {PATTERN_MAX} are the most",
                    pattern.len()
                ));
            }
            let glob = Glob::new(pattern).map_err(|error| {
                format!("{key}: {error}; * stands for any text, ? for one character")
            })?;
            Ok::<_, String>(glob.compile_matcher())
        };
        let sensor = sensor.map(|pattern| glob("sensor", pattern)).transpose()?;
        // Each kind once, however often it is named.
        let kinds = kinds.map(|mut kinds| {
            kinds.sort_unstable();
            kinds.dedup();
            kinds
        });
        let sensor = sensor.map(|pattern| Names { pattern, known: Mutex::default() });
        Ok(Self {
            kinds,
            sensor,
            origin: origin.map(|pattern| glob("origin", pattern)).transpose()?,
            unwanted: Mutex::default(),
        })
    }

    fn wants_same(&self, other: &Self) -> bool {
        let pattern = |glob: Option<&GlobMatcher>| glob.map(|glob| glob.glob().glob().to_owned());
        let sensor = |filter: &Self| pattern(filter.sensor.as_ref().map(|names| &names.pattern));
        self.kinds == other.kinds
            && sensor(self) == sensor(other)
            && pattern(self.origin.as_ref()) == pattern(other.origin.as_ref())
    }

    /// Finds the first delivery at or after `from` with a possibly wanted record, or the end of the
    /// history. It examines at most `most` deliveries that it has not examined before, and stops
    /// there.
    pub(super) fn skip(&self, history: &History, from: u64, most: u64) -> u64 {
        let mut unwanted = self.unwanted.lock().unwrap_or_else(PoisonError::into_inner);
        if from < unwanted.start || from > unwanted.end {
            *unwanted = from..from;
        }
        let last = unwanted.end.saturating_add(most);
        while unwanted.end < last
            && history.item(unwanted.end).is_some_and(|item| !self.may_want(item))
        {
            unwanted.end += 1;
        }
        unwanted.end
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

    /// Whether it wants a reading of a delivery with possibly wanted records.
    pub(super) fn wants_reading(&self, payload: &[u8]) -> bool {
        self.sensor.as_ref().is_none_or(|names| names.wants(&split::sensor(payload)))
    }
}

/// How many sensor names a pattern caches.
const KNOWN_MOST: usize = 1_024;
/// The longest name that it caches.
const KNOWN_BYTES: usize = 128;
/// The longest pattern.
const PATTERN_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::{Arc, Filter, Filters, Kind};
    use crate::door::fixtures::{gap, history, run};

    fn filter(kinds: &[Kind], sensor: Option<&str>, origin: Option<&str>) -> Arc<Filter> {
        let kinds = Some(kinds.to_vec()).filter(|kinds| !kinds.is_empty());
        Arc::new(Filter::new(kinds, sensor, origin).unwrap())
    }

    #[test]
    fn those_who_want_the_same_share_a_filter_as_long_as_there_are_any() {
        let mut filters = Filters::default();
        let one = filters.share(filter(&[Kind::View, Kind::Gap], Some("s*"), None));
        let same = filters.share(filter(&[Kind::Gap, Kind::View, Kind::Gap], Some("s*"), None));
        assert!(Arc::ptr_eq(&one, &same));
        for other in [
            filter(&[], Some("s*"), None),
            filter(&[Kind::View, Kind::Gap], Some("s"), None),
            filter(&[], None, Some("s*")),
        ] {
            assert!(!Arc::ptr_eq(&one, &filters.share(other)));
        }
        drop((one, same));
        filters.share(filter(&[], None, None));
        assert_eq!(filters.all.len(), 1, "what nobody has any more is forgotten");
    }

    #[test]
    fn what_nobody_wants_is_passed_by_wherever_somebody_begins() {
        let history = history(
            4,
            vec![run("a", 1, 1..=4), run("a", 1, 5..=6), gap(7, 9), run("a", 2, 10..=10)],
        );
        let skip = |filter: &Filter, from: u64, most: u64| filter.skip(&history, from, most);
        let gaps = filter(&[Kind::Gap], None, None);
        let even = filter(&[Kind::Reading], Some("s[0]"), None);
        let none = filter(&[Kind::Reading], Some("nothing"), None);
        for _ in 0..2 {
            // The first one is dropped.
            assert_eq!([1, 2, 3, 4].map(|from| skip(&gaps, from, 9)), [2, 2, 4, 4]);
            assert_eq!([1, 2, 3, 4].map(|from| skip(&even, from, 9)), [1, 3, 3, 4]);
            assert_eq!([3, 1, 4].map(|from| skip(&none, from, 9)), [4, 4, 4]);
        }
        let fresh = filter(&[Kind::Reading], Some("nothing"), None);
        assert_eq!([skip(&fresh, 1, 2), skip(&fresh, 1, 2)], [3, 4], "a little at a time");
    }
}
