//! The weather of the network: delays, losses and repeats, each a keyed draw.
//!
//! A probability is a whole number, "one in n", and 0 means never. Spans are microseconds. The
//! weather does not depend on the pair of peers; cuts between pairs are in `pairs`.

use std::time::Duration;

use protocol::draw::{draw, draw_below};
use serde::{Deserialize, Serialize};

/// A probability of one in this number; 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OneIn(pub u32);

impl OneIn {
    /// Whether it happens this time.
    #[must_use]
    pub fn happens(self, seed: u64, purpose: &str, counter: u64) -> bool {
        self.0 != 0 && draw_below(seed, purpose, counter, u64::from(self.0)) == 0
    }

    /// The same in thousandths, rounded up.
    #[must_use]
    pub fn thousandths(self) -> u64 {
        if self.0 == 0 { 0 } else { 1_000_u64.div_ceil(u64::from(self.0)) }
    }
}

/// The behaviour of the network between peers that can reach one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weather {
    /// The least delay, in microseconds.
    pub delay_us: u32,
    /// The greatest additional delay, in microseconds.
    pub spread_us: u32,
    /// How often a packet takes the slow path.
    pub slow: OneIn,
    /// The greatest delay of the slow path, in microseconds; short delays are more likely than long
    /// ones.
    pub slow_us: u32,
    /// How often a datagram is lost, independently for each receiver.
    pub loss: OneIn,
    /// How often a datagram arrives twice.
    pub repeat: OneIn,
    /// How often a datagram arrives with a changed byte (if links carry bytes).
    pub corruption: OneIn,
    /// How often a frame arrives damaged, which ends its connection (if links carry bytes).
    #[serde(default)]
    pub damage: OneIn,
}

impl Weather {
    /// A quiet local network.
    #[must_use]
    pub fn calm() -> Self {
        Self {
            delay_us: 100,
            spread_us: 100,
            slow: OneIn(0),
            slow_us: 0,
            loss: OneIn(0),
            repeat: OneIn(0),
            corruption: OneIn(0),
            damage: OneIn(0),
        }
    }

    /// The delay of a sender's `counter`-th packet, and whether it took the slow path.
    pub(crate) fn delay(&self, seed: u64, counter: u64) -> (Duration, bool) {
        // One draw serves the plain path; its high half is the spread, so that the common case
        // costs one mix.
        let spread =
            (u128::from(draw(seed, "delay", counter)) * u128::from(self.spread_us + 1)) >> 64;
        let plain = u64::from(self.delay_us)
            + u64::try_from(spread).expect("the high half of a product fits");
        if !self.slow.happens(seed, "slow", counter) {
            return (Duration::from_micros(plain), false);
        }
        // The square of a uniform draw has a tail: most slow frames are a little late, a few are
        // very late.
        let thousandth = draw_below(seed, "slow way", counter, 1_001);
        let extra = u64::from(self.slow_us) * thousandth * thousandth / 1_000_000;
        (Duration::from_micros(plain + extra), true)
    }
}

#[cfg(test)]
mod tests {
    use super::{OneIn, Weather};
    use std::time::Duration;

    #[test]
    fn chances_are_what_they_say() {
        let hits = (0..10_000).filter(|&n| OneIn(4).happens(1, "test", n)).count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
        assert!(
            (0..100).all(|n| !OneIn(0).happens(1, "test", n) && OneIn(1).happens(1, "test", n))
        );
    }

    #[test]
    fn delays_stay_within_their_bounds() {
        let weather = Weather { slow: OneIn(3), slow_us: 5_000, ..Weather::calm() };
        let delays: Vec<_> = (0..1_000).map(|n| weather.delay(7, n)).collect();
        assert!(delays.iter().all(|(d, slow)| *d >= Duration::from_micros(100)
            && *d <= Duration::from_micros(if *slow { 5_200 } else { 200 })));
        assert!(delays.iter().any(|(d, _)| *d > Duration::from_micros(3_000)), "the tail is there");
    }
}
