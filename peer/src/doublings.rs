//! What happens again and again is told at the 1st, 2nd, 4th, 8th … time, with its count, so that
//! it is neither hidden nor fills a log; also if it is over for a moment in between.

/// Counts occurrences of one thing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Doublings(u64);

impl Doublings {
    /// It has happened once more. How often, if that is worth telling.
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
