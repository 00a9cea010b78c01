//! The distribution of measured times: minimum, median, high percentile, maximum.

use std::fmt;
use std::time::Duration;

/// Times, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    sorted: Vec<Duration>,
}

impl Spread {
    /// Of these.
    #[must_use]
    pub fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self { sorted: times }
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The `percent` percentile (nearest rank); zero if there are no times.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.sorted.len() * percent.min(100)).div_ceil(100);
        self.sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// The maximum.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.percentile(100)
    }

    /// The median.
    #[must_use]
    pub fn median(&self) -> Duration {
        self.percentile(50)
    }
}

/// Milliseconds, as a number.
#[must_use]
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// One row of a table: smallest, median, 90 %, worst, in milliseconds.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for percent in COLUMNS {
            write!(f, "{:>9.2}", milliseconds(self.percentile(percent)))?;
        }
        Ok(())
    }
}

/// The column heads of a row.
#[must_use]
pub fn heads() -> String {
    COLUMNS
        .iter()
        .map(|percent| match percent {
            0 => format!("{:>9}", "min"),
            50 => format!("{:>9}", "median"),
            100 => format!("{:>9}", "max"),
            percent => format!("{:>9}", format!("{percent} %")),
        })
        .collect()
}

const COLUMNS: [usize; 4] = [0, 50, 90, 100];

#[cfg(test)]
mod tests {
    use super::{Spread, heads};
    use std::time::Duration;

    fn spread(ms: impl IntoIterator<Item = u64>) -> Spread {
        Spread::new(ms.into_iter().map(Duration::from_millis).collect())
    }

    #[test]
    fn ranks_are_the_nearest() {
        let ten = spread([10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(ten.percentile(0), Duration::from_millis(1));
        assert_eq!(ten.median(), Duration::from_millis(5));
        assert_eq!(ten.percentile(90), Duration::from_millis(9));
        assert_eq!(ten.max(), Duration::from_millis(10));
        assert_eq!(spread([7]).median(), Duration::from_millis(7));
        assert_eq!(spread([]).max(), Duration::ZERO);
    }

    #[test]
    fn a_row_stands_under_its_heads() {
        let row = spread([1, 2, 30]).to_string();
        assert_eq!(row, "     1.00     2.00    30.00    30.00");
        assert_eq!(row.len(), heads().len());
    }
}
