//! The units of sensors' fields, from the configuration of each peer.
//!
//! A unit is no part of a reading. Each member sends its units once to its leader, with its build;
//! the answer about the members of the group has the units of all, so that every page shows them.
//! The size of a peer's units is bounded here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sensors::gauge::SensorReport;

/// The units of one peer's sensors: by the name of the sensor (as in `peer.toml`), then by field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Units(BTreeMap<String, BTreeMap<String, String>>);

impl Units {
    /// The units of these sensors; those of the last ones are left out if all together are too
    /// large.
    #[must_use]
    pub fn of(sensors: impl IntoIterator<Item = SensorReport>) -> Self {
        let mut units = Self::default();
        for SensorReport { name, units: fields, .. } in
            sensors.into_iter().filter(|sensor| !sensor.units.is_empty())
        {
            units.0.insert(name.clone(), fields);
            if units.bytes() > BYTES_MOST {
                units.0.remove(&name);
            }
        }
        units
    }

    /// The units sent by another peer; empty if they are too large.
    #[must_use]
    pub fn told(self) -> Self {
        if self.bytes() > BYTES_MOST { Self::default() } else { self }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their size in JSON, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        serde_json::to_vec(self).expect("texts are what JSON can say").len()
    }
}

/// The greatest size of one peer's units.
const BYTES_MOST: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::{BYTES_MOST, SensorReport, Units};

    fn sensor(name: &str, unit: &str) -> SensorReport {
        SensorReport {
            name: name.to_owned(),
            units: [("value".to_owned(), unit.to_owned())].into(),
            ..SensorReport::default()
        }
    }

    #[test]
    fn a_peer_tells_no_more_than_it_may() {
        let units = Units::of([
            sensor("a", "°C"),
            SensorReport::default(),
            sensor("b", &"x".repeat(BYTES_MOST)),
            sensor("c", "%"),
        ]);
        assert_eq!(
            serde_json::to_string(&units).unwrap(),
            r#"{"a":{"value":"°C"},"c":{"value":"%"}}"#
        );
        assert_eq!(units.clone().told(), units);
        let many = Units([("b".to_owned(), sensor("b", &"x".repeat(BYTES_MOST)).units)].into());
        assert!(!many.is_empty() && many.told().is_empty());
    }
}
