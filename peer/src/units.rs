//! The units of the fields of sensors, as the configuration of each peer names them.
//!
//! A unit is no part of a reading. Each member tells its leader its units once, with its build;
//! whoever asks who is in the group hears the units of all, so that every page shows them. How many
//! bytes a peer may tell is bounded here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sensors::gauge::SensorReport;

/// The units of one peer's sensors: by the name of the sensor (as in `peer.toml`), then by field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Units(BTreeMap<String, BTreeMap<String, String>>);

impl Units {
    /// Those of these sensors; of the last ones nothing, where all together are too many to be
    /// told.
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

    /// As another peer tells them; nothing where they are more than a peer may tell.
    #[must_use]
    pub fn told(self) -> Self {
        if self.bytes() > BYTES_MOST { Self::default() } else { self }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes they are in JSON.
    #[must_use]
    pub fn bytes(&self) -> usize {
        serde_json::to_vec(self).expect("texts are what JSON can say").len()
    }
}

/// What one peer may tell.
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
