//! Strangers: who is known by datagram alone, and how much is done for them.
//!
//! A datagram proves nothing: its words may be anybody's, and its source may be forged. Yet a word
//! that shows its speaker to be behind has to be answered, because the speaker may be heard and
//! hear nobody. So whoever hears a stranger for as long as it would wait for a silent leader
//! answers it, where the word came from, and again after pauses that double. Where both sides hear
//! each other they have found each other by then, and nothing is said.
//!
//! Everything here has a bound: how many strangers are remembered, how many datagrams a second go
//! to them, and how often the address of one is dialled.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::time::Time;

/// What is remembered of strangers.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Strangers {
    /// By the address that a datagram came from.
    heard: BTreeMap<SocketAddrV4, Heard>,
    /// When the present second of answers began, and how many there were in it.
    answers: Option<(Time, u32)>,
    /// By the address that was dialled in vain: how often, and when last.
    dialled: BTreeMap<SocketAddrV4, (u32, Time)>,
}

#[derive(Clone, Debug, Hash)]
struct Heard {
    since: Time,
    last: Time,
    pause: Backoff,
}

impl Strangers {
    /// A stranger is heard: whether it has been for so long that it is to be answered (again).
    pub(crate) fn is_due(&mut self, now: Time, source: SocketAddrV4, patience: Duration) -> bool {
        let gap = GAP.max(8 * patience);
        if !self.heard.contains_key(&source) && self.heard.len() >= HEARD_MOST {
            self.heard.retain(|_, heard| now.since(heard.last) <= gap);
            if self.heard.len() >= HEARD_MOST {
                return false;
            }
        }
        let heard = self.heard.entry(source).or_insert(Heard {
            since: now,
            last: now,
            pause: Backoff::default(),
        });
        if now.since(heard.last) > gap {
            heard.since = now;
        }
        heard.last = now;
        let due = now.since(heard.since) >= patience && heard.pause.is_over(now);
        if due {
            heard.pause.begin(now, patience, 4 * patience);
        }
        due
    }

    /// Whether one more datagram may be answered now.
    pub(crate) fn may_answer(&mut self, now: Time) -> bool {
        let (since, count) =
            self.answers.filter(|(since, _)| now.since(*since) < SECOND).unwrap_or((now, 0));
        let may = count < ANSWERS_A_SECOND;
        self.answers = Some((since, count + u32::from(may)));
        may
    }

    /// So many dials to somebody that was known by datagram alone have come to nothing.
    pub(crate) fn on_vain_dials(&mut self, now: Time, address: SocketAddrV4, dials: u32) {
        if self.dialled.len() >= DIALLED_MOST {
            self.dialled.retain(|_, (_, last)| now.since(*last) < FORGOTTEN);
        }
        if self.dialled.len() < DIALLED_MOST || self.dialled.contains_key(&address) {
            let (count, last) = self.dialled.entry(address).or_insert((0, now));
            let before = if now.since(*last) < FORGOTTEN { *count } else { 0 };
            (*count, *last) = (before.saturating_add(dials), now);
        }
    }

    /// Whether somebody that asks from there may be dialled.
    pub(crate) fn may_dial(&self, now: Time, address: SocketAddrV4) -> bool {
        match self.dialled.get(&address) {
            Some((count, last)) => *count < DIALS_EACH || now.since(*last) >= FORGOTTEN,
            None => {
                self.dialled.len() < DIALLED_MOST
                    || self.dialled.values().any(|(_, last)| now.since(*last) >= FORGOTTEN)
            }
        }
    }
}

/// How many that ask to be admitted are known by datagram alone at a time.
pub(crate) const ENTRANTS_BY_DATAGRAM: usize = 64;
/// Dials to somebody that is known by datagram alone; after that a leader forgets it for a minute,
/// and everybody else dials it once a second at most.
pub(crate) const DIALS_EACH: u32 = 3;
const FORGOTTEN: Duration = Duration::from_secs(60);
const DIALLED_MOST: usize = 1_024;
const HEARD_MOST: usize = 64;
/// Whoever has not been heard for that long is heard anew; a joining peer speaks every two seconds
/// at least, and who answers pauses for four times its patience at most.
const GAP: Duration = Duration::from_secs(4);
const SECOND: Duration = Duration::from_secs(1);
const ANSWERS_A_SECOND: u32 = 1_024;

#[cfg(test)]
mod tests {
    use super::{ANSWERS_A_SECOND, DIALLED_MOST, DIALS_EACH, HEARD_MOST, Strangers};
    use crate::time::Time;
    use std::net::{Ipv4Addr, SocketAddrV4};
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_millis(600);

    fn at(milli: u64) -> Time {
        Time::from_micros(milli * 1_000)
    }

    fn from(n: usize) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), u16::try_from(n).expect("a port"))
    }

    #[test]
    fn a_stranger_is_answered_after_a_while_and_then_ever_less_often() {
        let mut strangers = Strangers::default();
        let due: Vec<u64> = (0..100)
            .filter(|n| strangers.is_due(at(n * 100), from(1), PATIENCE))
            .map(|n| n * 100)
            .collect();
        assert_eq!(due, [600, 1_200, 2_400, 4_800, 7_200, 9_600]);
        assert!(!strangers.is_due(at(20_000), from(1), PATIENCE), "it was away, and is heard anew");
        assert!(strangers.is_due(at(20_600), from(1), PATIENCE));
    }

    #[test]
    fn only_so_many_strangers_are_remembered_and_answered() {
        let mut strangers = Strangers::default();
        for milli in [0, 600] {
            let due = (0..2 * HEARD_MOST)
                .filter(|n| strangers.is_due(at(milli), from(*n), PATIENCE))
                .count();
            assert_eq!(due, if milli == 0 { 0 } else { HEARD_MOST });
        }
        assert!(
            !strangers.is_due(at(9_000), from(900), PATIENCE) && strangers.heard.len() == 1,
            "the others have not been heard lately"
        );
        let answered = |strangers: &mut Strangers, milli| {
            (0..2_000).filter(|_| strangers.may_answer(at(milli))).count()
        };
        assert_eq!(
            [0, 999, 1_000].map(|milli| answered(&mut strangers, milli)),
            [ANSWERS_A_SECOND as usize, 0, ANSWERS_A_SECOND as usize]
        );
    }

    #[test]
    fn who_was_dialled_in_vain_is_forgotten_for_a_minute() {
        let mut strangers = Strangers::default();
        strangers.on_vain_dials(at(0), from(1), 1);
        assert!(strangers.may_dial(at(0), from(1)));
        strangers.on_vain_dials(at(10), from(1), DIALS_EACH);
        assert!(
            !strangers.may_dial(at(60_009), from(1)) && strangers.may_dial(at(60_010), from(1))
        );
        assert!(strangers.may_dial(at(10), from(2)));
        (0..2 * DIALLED_MOST).for_each(|n| strangers.on_vain_dials(at(10), from(n), 1));
        assert_eq!(strangers.dialled.len(), DIALLED_MOST);
        assert!(
            !strangers.may_dial(at(20), from(5_000)) && strangers.may_dial(at(61_000), from(5_000))
        );
    }
}
