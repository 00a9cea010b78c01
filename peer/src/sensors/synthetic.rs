//! Synthetic weather, for machines without sensors and for tests. Every reading is labelled as
//! synthetic.

use protocol::draw::draw_below;

/// A source of synthetic weather.
#[derive(Clone, Debug)]
pub struct Synthetic {
    seed: u64,
    count: u64,
    /// In thousandths of their units, so that no float ever drifts.
    temperature: i64,
    humidity: i64,
    pressure: i64,
}

impl Synthetic {
    /// Weather that depends on the seed only.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, count: 0, temperature: 21_000, humidity: 45_000, pressure: 1_013_000 }
    }

    /// The next reading: each value takes a small step within plausible bounds.
    pub fn measure(&mut self) -> Vec<(String, String)> {
        self.temperature = self.step("temperature", self.temperature, 200).clamp(-20_000, 45_000);
        self.humidity = self.step("humidity", self.humidity, 500).clamp(5_000, 95_000);
        self.pressure = self.step("pressure", self.pressure, 300).clamp(960_000, 1_050_000);
        self.count += 1;
        vec![
            ("temperature_celsius".to_owned(), thousandths(self.temperature)),
            ("humidity_percent".to_owned(), thousandths(self.humidity)),
            ("pressure_hpa".to_owned(), thousandths(self.pressure)),
            ("synthetic".to_owned(), "true".to_owned()),
        ]
    }

    fn step(&self, what: &str, value: i64, most: u64) -> i64 {
        let drawn = draw_below(self.seed, what, self.count, 2 * most + 1);
        value.saturating_add_unsigned(drawn).saturating_sub_unsigned(most)
    }
}

fn thousandths(value: i64) -> String {
    format!(
        "{}{}.{:03}",
        if value < 0 { "-" } else { "" },
        value.abs() / 1_000,
        value.abs() % 1_000
    )
}

#[cfg(test)]
mod tests {
    use super::{Synthetic, thousandths};

    #[test]
    fn the_weather_changes_within_bounds() {
        let mut weather = Synthetic::new(7);
        let readings: Vec<_> = (0..10_000).map(|_| weather.measure()).collect();
        assert_ne!(readings[0], readings[1]);
        for reading in &readings {
            let celsius: f64 = reading[0].1.parse().unwrap();
            assert!((-20.0..=45.0).contains(&celsius), "{celsius}");
            assert_eq!(reading[3], ("synthetic".to_owned(), "true".to_owned()));
        }
        assert_eq!(Synthetic::new(7).measure(), readings[0]);
    }

    #[test]
    fn thousandths_keep_their_sign() {
        assert_eq!(thousandths(-500), "-0.500");
        assert_eq!(thousandths(21_050), "21.050");
    }
}
