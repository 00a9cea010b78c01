//! Pairs of the product and its reference, measured in turn in one run: on a shared machine only
//! their ratio is meaningful.

use serde::Serialize;
use serde_json::{Map, Value};

/// The product and its reference, measured one right after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The product.
    pub ours: f64,
    /// The reference.
    pub reference: f64,
}

/// Several pairs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pairs(Vec<Pair>);

impl Pairs {
    /// These.
    #[must_use]
    pub fn new(pairs: Vec<Pair>) -> Self {
        Self(pairs)
    }

    /// The median of the product.
    #[must_use]
    pub fn ours(&self) -> f64 {
        median(self.0.iter().map(|pair| pair.ours))
    }

    /// The median of the reference.
    #[must_use]
    pub fn reference(&self) -> f64 {
        median(self.0.iter().map(|pair| pair.reference))
    }

    /// The median of the ratios; not the ratio of the medians, because the two of a pair were
    /// measured at about the same time.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        median(self.ratios())
    }

    /// The smallest ratio and the largest.
    #[must_use]
    pub fn spread(&self) -> (f64, f64) {
        self.ratios()
            .fold((f64::INFINITY, 0.0), |(least, most), ratio| (ratio.min(least), ratio.max(most)))
    }

    fn ratios(&self) -> impl Iterator<Item = f64> {
        self.0.iter().map(|pair| pair.ours / pair.reference)
    }

    /// The pairs as a line for programs.
    #[must_use]
    pub fn line(&self, bench: &'static str, case: &str, unit: &'static str) -> Line {
        let (ratio_min, ratio_max) = self.spread();
        Line {
            bench,
            case: case.to_owned(),
            ours: Some(self.ours()),
            reference: Some(self.reference()),
            ratio: Some(self.ratio()),
            ratio_min: Some(ratio_min),
            ratio_max: Some(ratio_max),
            pairs: self.0.len(),
            unit,
            more: Map::new(),
        }
    }
}

/// The median; for an even number, the mean of the middle two; 0 for none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(half)) {
        (_, None) => 0.0,
        (1, Some(middle)) => *middle,
        (_, Some(middle)) => f64::midpoint(sorted[half - 1], *middle),
    }
}

/// A result for programs: one JSON object.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    bench: &'static str,
    case: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ours: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_max: Option<f64>,
    pairs: usize,
    unit: &'static str,
    #[serde(flatten)]
    more: Map<String, Value>,
}

impl Line {
    /// Adds a number.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// The line.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("names and numbers are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::{Pair, Pairs, median};

    #[test]
    fn the_ratio_is_that_of_the_middle_pair() {
        let pair = |ours, reference| Pair { ours, reference };
        let pairs = Pairs::new(vec![pair(1.0, 2.0), pair(30.0, 100.0), pair(4.0, 5.0)]);
        assert_eq!((pairs.ratio(), pairs.spread()), (0.5, (0.3, 0.8)));
        assert_eq!((pairs.ours(), pairs.reference()), (4.0, 5.0));
        assert_eq!(median([3.0, 1.0].into_iter()), 2.0);
        assert_eq!(median(std::iter::empty()), 0.0);
        let line = pairs.line("throughput", "one", "messages/s").with("cpu_us", 1.5).text();
        assert!(
            line.starts_with(
                r#"{"bench":"throughput","case":"one","ours":4.0,"reference":5.0,"ratio":0.5,"#
            ),
            "{line}"
        );
        assert!(line.ends_with(r#""unit":"messages/s","cpu_us":1.5}"#), "{line}");
    }
}
