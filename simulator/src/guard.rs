//! The determinism guard: a rolling digest of everything that nodes handle and request, one value
//! per step.

use std::fmt::{self, Write as _};

use protocol::id::PeerId;
use protocol::io::{Input, Output};
use protocol::time::Time;

use crate::watch::Watch;

/// Digests every input and output.
#[derive(Debug, Default)]
pub struct Guard {
    state: u64,
    steps: Vec<(Time, u64)>,
}

impl Guard {
    /// The first moment at which two runs differ, with the number of the step; none if they are
    /// equal.
    #[must_use]
    pub fn parting(&self, other: &Self) -> Option<(usize, Time)> {
        let step = self.steps.iter().zip(&other.steps).position(|(one, two)| one != two);
        let shorter = self.steps.len().min(other.steps.len());
        let step = step.or((self.steps.len() != other.steps.len()).then_some(shorter))?;
        let time = self.steps.get(step).or(other.steps.get(step)).map_or(Time::ZERO, |step| step.0);
        Some((step, time))
    }

    fn mix(&mut self, now: Time, what: fmt::Arguments<'_>) {
        // Debug texts are slow, but complete; the guard runs on request only.
        self.write_fmt(what).expect("digesting cannot fail");
        self.steps.push((now, self.state));
    }
}

impl fmt::Write for Guard {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.state = (self.state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        Ok(())
    }
}

impl Watch for Guard {
    fn input(&mut self, now: Time, who: &PeerId, _from: Option<&PeerId>, input: &Input) {
        self.mix(now, format_args!("{now}{who}{input:?}"));
    }

    fn output(&mut self, now: Time, who: &PeerId, output: &Output) {
        self.mix(now, format_args!("{now}{who}{output:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::Guard;
    use protocol::time::Time;

    #[test]
    fn the_first_difference_is_found() {
        let run = |words: &[&str]| {
            let mut guard = Guard::default();
            words.iter().enumerate().for_each(|(at, word)| {
                guard.mix(Time::from_micros(at as u64), format_args!("{word}"))
            });
            guard
        };
        assert_eq!(run(&["a", "b"]).parting(&run(&["a", "b"])), None);
        assert_eq!(
            run(&["a", "b", "c"]).parting(&run(&["a", "x", "c"])),
            Some((1, Time::from_micros(1)))
        );
        assert_eq!(run(&["a", "b"]).parting(&run(&["a"])), Some((1, Time::from_micros(1))));
    }
}
