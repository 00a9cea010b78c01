//! Refused readings: counted, and summed up at the end of a blocked period.
//!
//! The node reports each refusal as an event, and a few of them as sentences. While a peer is
//! blocked (mode `primary`) there may be thousands, and a reader of the log needs their total in
//! the end.

use protocol::note::Refusal;

/// The counts of refused readings.
#[derive(Debug, Default)]
pub struct Refusals {
    total: u64,
    /// How many since this peer became blocked.
    blocked: u64,
}

impl Refusals {
    /// A reading was refused and dropped.
    pub fn refuse(&mut self, why: Refusal) {
        self.total += 1;
        if why == Refusal::NoQuorum {
            self.blocked += 1;
        }
    }

    /// A reading was accepted. Returns the sum, if this ends a blocked period.
    pub fn take(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.blocked)).filter(|count| *count > 0)
    }

    /// The total.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::{Refusal, Refusals};

    #[test]
    fn a_time_of_refusal_is_summed_up_once() {
        let mut refusals = Refusals::default();
        refusals.refuse(Refusal::TooLarge);
        assert_eq!(refusals.take(), None, "one that was too large says nothing of the next");
        (0..1_000).for_each(|_| refusals.refuse(Refusal::NoQuorum));
        assert_eq!(refusals.take(), Some(1_000));
        assert_eq!((refusals.take(), refusals.total()), (None, 1_001));
    }
}
