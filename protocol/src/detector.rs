//! Failure detection by silence: liveness is a **completed round trip, judged by its start**, at
//! both ends.
//!
//! Intuition: after a pause a socket is full of frames that look fresh and are not; what counts is
//! when the question was asked to which an answer has come. A leader judges a member by when the
//! acknowledged heartbeat was *sent*; a member judges its leader by when the ACK was sent that the
//! leader echoes, so a leader that does not hear a member is as silent to it as one that says
//! nothing.
//!
//! Pure arithmetic on times it is given. Connection loss is none of its business (see `links`).

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Time;

/// When which heartbeat (or ACK of one) was sent, for as many as can still be answered in time.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Started {
    ring: VecDeque<(u64, Time)>,
}

impl Started {
    pub(crate) fn note(&mut self, beat: u64, at: Time) {
        if self.ring.len() == RING {
            self.ring.pop_front();
        }
        self.ring.push_back((beat, at));
    }

    pub(crate) fn of(&self, beat: u64) -> Option<Time> {
        self.ring.iter().rev().find(|(noted, _)| *noted == beat).map(|(_, at)| *at)
    }

    pub(crate) fn newest(&self) -> Option<u64> {
        self.ring.back().map(|(noted, _)| *noted)
    }

    /// Those up to this one need not be known any more.
    pub(crate) fn forget_to(&mut self, beat: u64) {
        self.ring.retain(|(noted, _)| *noted > beat);
    }

    /// Whether one was sent after that moment, and so long ago at least.
    pub(crate) fn between(&self, after: Time, now: Time, age: Duration) -> bool {
        self.ring.iter().any(|(_, sent)| *sent > after && *sent + age <= now)
    }

    /// How many were sent after `at`.
    pub(crate) fn since(&self, at: Time) -> u64 {
        self.ring.iter().filter(|(_, sent)| *sent > at).count() as u64
    }
}

/// How long ago the last completed round trip started.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Liveness {
    proven_at: Time,
}

impl Liveness {
    pub(crate) fn new(now: Time) -> Self {
        Self { proven_at: now }
    }

    pub(crate) fn prove(&mut self, started: Time) {
        self.proven_at = self.proven_at.max(started);
    }

    pub(crate) fn proven_at(&self) -> Time {
        self.proven_at
    }

    pub(crate) fn lost_at(&self, patience: Duration) -> Time {
        self.proven_at + patience
    }
}

/// Enough for any timeout that is a sensible multiple of the interval; an older answer proves
/// nothing anyway.
const RING: usize = 64;

#[cfg(test)]
mod tests {
    use super::{Liveness, Started};
    use crate::time::Time;
    use std::time::Duration;

    fn at(second: u64) -> Time {
        Time::from_micros(second * 1_000_000)
    }

    #[test]
    fn a_late_answer_proves_only_that_its_question_was_asked() {
        let mut started = Started::default();
        for beat in 0..200 {
            started.note(beat, at(beat));
        }
        assert_eq!(started.of(5), None, "too old to be remembered");
        let mut liveness = Liveness::new(at(0));
        liveness.prove(started.of(190).expect("remembered"));
        liveness.prove(started.of(180).expect("remembered"));
        assert_eq!(liveness.lost_at(Duration::from_secs(10)), at(200));
        assert_eq!(started.since(at(190)), 9);
    }
}
