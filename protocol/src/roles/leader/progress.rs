//! What a leader knows of a follower: how far it is, when it last answered, and how it came in.
//!
//! Here are the facts and what they say by themselves. Who is too slow is judged in `slow`, who is
//! silent in `sequencer`, and what is sent to whom in `stream`.

use std::time::Duration;

use crate::detector::{Liveness, Started};
use crate::id::{Contact, Seq};
use crate::time::Time;

/// What a leader knows of a member.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Progress {
    pub(crate) contact: Contact,
    /// The last position that it has acknowledged in this epoch.
    pub(crate) acked: Seq,
    /// The last position that it has been sent on the present link.
    pub(crate) cursor: Seq,
    /// Whether it has adopted this epoch, so that entries may be streamed to it.
    pub(crate) adopted: bool,
    /// Where it came in, and when: from there on it is to keep up.
    pub(crate) since: Seq,
    since_at: Time,
    /// Whether it has said in this epoch, since it came in, how far it is.
    said: bool,
    pub(crate) liveness: Liveness,
    /// The last beat that it has answered.
    pub(crate) echo: Option<u64>,
    /// The heartbeats that it was sent out of turn, when a link was new or it had asked who leads,
    /// and when. Each may be the one that it answers: a candidate lets heartbeats go by.
    pub(crate) greetings: Started,
    /// The question by which it came in; none where it was in the group before this leader led.
    pub(crate) ask: Option<u64>,
    /// Whether it was given time anew without having answered.
    renewed: bool,
    /// Since when it has been too far behind.
    pub(crate) lag_since: Option<Time>,
    /// Since when it has acknowledged nothing beyond that position, while a reading beyond it waits
    /// to be safe.
    pub(crate) mute_since: Option<(Seq, Time)>,
    /// With how many heartbeats in a row it has kept up.
    pub(crate) steady: u32,
    /// Whether readings of its have not been taken, so that it is to send them again.
    pub(crate) turned_away: bool,
    /// What it had acknowledged at the last beat, and for how many beats nothing has come of what
    /// it was sent.
    pub(crate) stuck: (Seq, u32),
}

impl Progress {
    pub(crate) fn new(contact: Contact, since: Seq, now: Time) -> Self {
        Self {
            contact,
            acked: Seq::ZERO,
            cursor: Seq::ZERO,
            adopted: false,
            since,
            since_at: now,
            said: false,
            liveness: Liveness::new(now),
            echo: None,
            greetings: Started::default(),
            ask: None,
            renewed: false,
            lag_since: None,
            mute_since: None,
            steady: 0,
            turned_away: false,
            stuck: (Seq::ZERO, 0),
        }
    }

    /// A newcomer: let in by that question, with the view that stands at `since`.
    pub(crate) fn newcomer(contact: Contact, ask: u64, since: Seq, now: Time) -> Self {
        Self { ask: Some(ask), ..Self::new(contact, since, now) }
    }

    /// Admitted by that question, and sent everything above `start` up to `high`. By another
    /// question than before it has begun anew: it may not hold any more what it acknowledged, and
    /// is given as much time as at first. But only once without a word of its own: one that does
    /// not hear us asks again and again.
    pub(crate) fn admit(&mut self, ask: u64, start: Seq, high: Seq, now: Time) {
        self.adopted = true;
        self.cursor = start;
        if self.ask != Some(ask) {
            if self.has_answered() || !self.renewed {
                self.renewed = !self.has_answered();
                self.liveness = Liveness::new(now);
            }
            self.ask = Some(ask);
            self.acked = Seq::ZERO;
            self.said = false;
            (self.since, self.since_at) = (high, now);
        }
    }

    /// It has this epoch's log up to there, and is sent what comes after.
    pub(crate) fn begin_at(&mut self, contiguous: Seq) {
        self.adopted = true;
        self.cursor = contiguous;
    }

    /// It holds everything up to there. If this is where it came in, it has answered what it was
    /// sent then.
    pub(crate) fn acknowledge(&mut self, contiguous: Seq) {
        if contiguous >= self.since {
            self.liveness.prove(self.since_at);
        }
        self.acked = self.acked.max(contiguous);
        self.said = true;
    }

    /// Sends again what it has been sent and does not say that it has. Who is silent about it
    /// builds its log still, and asks for it again by itself.
    pub(crate) fn resume(&mut self) {
        if self.said {
            self.cursor = self.acked;
        }
    }

    /// Whether it has acknowledged anything since it came in.
    pub(crate) fn has_answered(&self) -> bool {
        self.acked > Seq::ZERO
    }

    /// When it has been silent for that long.
    pub(crate) fn lost_at(&self, patience: Duration) -> Time {
        self.liveness.lost_at(patience)
    }
}

#[cfg(test)]
mod tests {
    use super::Progress;
    use crate::harness::peer;
    use crate::id::Seq;
    use crate::time::Time;
    use std::time::Duration;

    fn at(second: u64) -> Time {
        Time::from_micros(second * 1_000_000)
    }

    #[track_caller]
    fn check_proven(progress: &Progress, second: u64) {
        assert_eq!(progress.lost_at(Duration::ZERO), at(second));
    }

    #[test]
    fn who_asks_again_without_a_word_gets_time_anew_but_once() {
        let mut progress = Progress::newcomer(peer(2), 1, Seq(4), at(1));
        for (ask, second, proven) in [(1, 1, 1), (1, 2, 1), (2, 3, 3), (3, 4, 3)] {
            progress.admit(ask, Seq(3), Seq(4), at(second));
            check_proven(&progress, proven);
        }
        progress.acknowledge(Seq(4));
        check_proven(&progress, 4);
        for (ask, second, proven) in [(4, 20, 20), (5, 21, 21), (6, 22, 21)] {
            progress.admit(ask, Seq(3), Seq(4), at(second));
            check_proven(&progress, proven);
            assert!(!progress.has_answered(), "it has begun anew");
        }
    }

    #[test]
    fn who_holds_less_than_what_let_it_in_has_proven_nothing() {
        let mut progress = Progress::new(peer(2), Seq(4), at(0));
        progress.admit(1, Seq(3), Seq(9), at(5));
        progress.admit(2, Seq(3), Seq(9), at(7));
        progress.acknowledge(Seq(8));
        check_proven(&progress, 5);
        progress.acknowledge(Seq(9));
        check_proven(&progress, 7);
        progress.acknowledge(Seq(3));
        assert_eq!(progress.acked, Seq(9), "an old word takes nothing back");
    }

    #[test]
    fn what_is_sent_again_begins_at_what_it_says_it_holds() {
        let mut progress = Progress::new(peer(2), Seq(4), at(0));
        progress.admit(1, Seq(3), Seq(9), at(5));
        progress.cursor = Seq(9);
        progress.resume();
        assert_eq!(
            progress.cursor,
            Seq(9),
            "it says nothing: it builds its log, and asks by itself"
        );
        progress.acknowledge(Seq(6));
        progress.resume();
        assert_eq!(progress.cursor, Seq(6));
    }
}
