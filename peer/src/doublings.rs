//! A recurring event is reported at the 1st, 2nd, 4th, 8th … time, with its count, so that it is
//! neither hidden nor fills a log; also if it pauses in between.

/// Counts the occurrences of one event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Doublings(u64);

impl Doublings {
    /// Counts one more; returns the count if it should be reported.
    pub fn count(&mut self) -> Option<u64> {
        self.0 = self.0.saturating_add(1);
        self.0.is_power_of_two().then_some(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Doublings;

    #[test]
    fn a_thousand_times_are_ten_lines() {
        let mut doublings = Doublings::default();
        let told: Vec<u64> = (0..1_000).filter_map(|_| doublings.count()).collect();
        assert_eq!(told, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
    }
}
