//! A pause between two attempts that doubles while they come to nothing one after the other.
//!
//! What would otherwise be tried at every heartbeat (asking a group that hears nothing of us,
//! handing over to somebody who keeps dying) is tried ever less often, so that it does not stand in
//! the way of what would succeed. After a quiet of as long as the longest pause it starts small
//! again; a shorter one may be no more than an attempt that takes its time.

use std::time::Duration;

use crate::time::Time;

/// Until when the next attempt waits; nothing while there was none lately.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Backoff {
    /// When the pause ends, how long it is, and for how much longer it counts.
    pause: Option<(Time, Duration, Duration)>,
}

impl Backoff {
    /// Whether the next attempt may be made.
    pub(crate) fn is_over(&self, now: Time) -> bool {
        self.pause.is_none_or(|(until, ..)| until <= now)
    }

    /// Whether the last attempt is so long ago that it does not count any more.
    pub(crate) fn is_forgotten(&self, now: Time) -> bool {
        self.pause.is_none_or(|(until, _, counts)| until + counts <= now)
    }

    /// An attempt is made, or has come to nothing: the next one waits for `first`, or twice as long
    /// as the last one did.
    pub(crate) fn begin(&mut self, now: Time, first: Duration, most: Duration) {
        let last = self.pause.filter(|_| !self.is_forgotten(now));
        let most = most.max(first);
        let pause = last.map_or(first, |(_, pause, _)| (pause * 2).clamp(first, most));
        self.pause = Some((now + pause, pause, most));
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use crate::time::Time;
    use std::time::Duration;

    fn at(second: u64) -> Time {
        Time::from_micros(second * 1_000_000)
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_are_forgotten_after_a_quiet() {
        let (first, most) = (Duration::from_secs(2), Duration::from_secs(5));
        let mut backoff = Backoff::default();
        assert!(backoff.is_over(at(0)) && backoff.is_forgotten(at(0)));
        backoff.begin(at(10), first, most);
        assert!(
            !backoff.is_over(at(11)) && backoff.is_over(at(12)) && !backoff.is_forgotten(at(13))
        );
        backoff.begin(at(15), first, most);
        assert!(
            !backoff.is_over(at(18)) && backoff.is_over(at(19)),
            "an attempt of 3 s is no quiet"
        );
        backoff.begin(at(19), first, most);
        assert!(!backoff.is_over(at(23)) && backoff.is_over(at(24)), "5 s at most");
        assert!(!backoff.is_forgotten(at(28)) && backoff.is_forgotten(at(29)));
        backoff.begin(at(30), first, most);
        assert!(backoff.is_over(at(32)), "small again");
    }
}
