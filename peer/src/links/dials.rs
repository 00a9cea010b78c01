//! Attempts to connect: one at a time per address, only a few at once for longer than a moment, and
//! their results.
//!
//! The kernel tries silently for two minutes. A peer knows better: an address without an answer
//! within seconds is tried again later, and the time since its first failure is kept, because only
//! that distinguishes a firewall from a short outage.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use protocol::id::LinkId;
use protocol::time::Time;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// No answer at all.
    Silence,
    /// "Connection refused": no process listens there.
    Refused,
    /// The kernel has no route.
    NoWay(String),
}

/// All attempts that are open or have failed.
#[derive(Debug)]
pub(super) struct Dials {
    patience: Duration,
    attempts: BTreeMap<SocketAddrV4, Attempt>,
    /// How many are open.
    open: usize,
}

#[derive(Debug)]
struct Attempt {
    /// The open attempt.
    link: Option<LinkId>,
    /// Since when it is open, or when it may begin.
    began: Time,
    /// Whether it waits until `began`.
    waits: bool,
    /// Since when no attempt has succeeded.
    failing_since: Option<Time>,
    /// Attempts abandoned without an answer: when the first began, and how long all of them were
    /// open.
    unanswered: Option<(Time, Duration)>,
    /// When the last one failed, or was abandoned.
    failed_at: Time,
    wait: Duration,
    obstacle: Obstacle,
}

/// What to do about a wanted connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Connect now.
    Now,
    /// The open attempt of that link continues for the new one.
    TakeOver(LinkId),
    /// Later: see [`Dials::due`].
    Later,
}

impl Dials {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, attempts: BTreeMap::new(), open: 0 }
    }

    /// A connection to an address is wanted.
    pub(super) fn begin(&mut self, now: Time, link: LinkId, to: SocketAddrV4) -> Plan {
        self.attempts.retain(|_, attempt| {
            attempt.link.is_some() || now.since(attempt.failed_at) < attempt.remembered_for()
        });
        let attempt = self.attempts.entry(to).or_insert_with(|| Attempt {
            link: None,
            began: now,
            waits: false,
            failing_since: None,
            unanswered: None,
            failed_at: now,
            wait: Duration::ZERO,
            obstacle: Obstacle::Silence,
        });
        match attempt.link.replace(link) {
            Some(_) if attempt.waits => Plan::Later,
            Some(before) => Plan::TakeOver(before),
            None => {
                let at = attempt.failed_at + attempt.wait;
                attempt.waits = at > now;
                attempt.began = at.max(now);
                self.open += usize::from(!attempt.waits);
                if attempt.waits { Plan::Later } else { Plan::Now }
            }
        }
    }

    /// An attempt that has waited long enough; it is open from now on.
    pub(super) fn due(&mut self, now: Time) -> Option<(LinkId, SocketAddrV4)> {
        let (to, attempt) =
            self.attempts.iter_mut().find(|(_, attempt)| attempt.waits && attempt.began <= now)?;
        attempt.waits = false;
        attempt.began = now;
        self.open += 1;
        Some((attempt.link?, *to))
    }

    /// An attempt that has been open for too long, or for a moment while too many others are.
    pub(super) fn overdue(&self, now: Time) -> Option<LinkId> {
        let patience = if self.open > OPEN_MOST { MOMENT } else { self.patience };
        let open =
            self.attempts.values().filter(|attempt| !attempt.waits && attempt.link.is_some());
        open.filter(|attempt| now.since(attempt.began) >= patience)
            .min_by_key(|attempt| attempt.began)?
            .link
    }

    /// When the next one becomes due or overdue.
    pub(super) fn deadline(&self) -> Option<Time> {
        let patience = if self.open > OPEN_MOST { MOMENT } else { self.patience };
        let pending = self.attempts.values().filter(|attempt| attempt.link.is_some());
        pending
            .map(|attempt| if attempt.waits { attempt.began } else { attempt.began + patience })
            .min()
    }

    /// A connection was established: the address works.
    pub(super) fn succeed(&mut self, link: LinkId) {
        if let Some(to) = self.close(link) {
            self.attempts.remove(&to);
        }
    }

    /// An attempt is abandoned; the facts about the address stay. The node abandons attempts that
    /// it does not need any more, and attempts that are overdue by its own measure, to begin
    /// another: each proves little, together they prove that the address does not answer.
    pub(super) fn abandon(&mut self, now: Time, link: LinkId) {
        let waits =
            self.attempts.values().any(|attempt| attempt.link == Some(link) && attempt.waits);
        let Some(to) = self.close(link).filter(|_| !waits) else { return };
        let enough = self.patience.min(MOMENT);
        let Some(attempt) = self.attempts.get_mut(&to) else { return };
        let (since, before) = attempt.unanswered.unwrap_or((attempt.began, Duration::ZERO));
        let lasted = before + now.since(attempt.began);
        attempt.unanswered = Some((since, lasted));
        attempt.failed_at = now;
        // The caller that abandons it decides when to try again.
        attempt.wait = Duration::ZERO;
        if lasted >= enough {
            attempt.failing_since.get_or_insert(since);
            attempt.obstacle = Obstacle::Silence;
        }
    }

    /// An attempt has failed.
    pub(super) fn fail(&mut self, now: Time, link: LinkId, obstacle: Obstacle) {
        let Some(to) = self.close(link) else { return };
        let Some(attempt) = self.attempts.get_mut(&to) else { return };
        let since = attempt.unanswered.take().map_or(attempt.began, |(since, _)| since);
        attempt.failing_since.get_or_insert(since);
        attempt.failed_at = now;
        // A refusal is an answer, and the caller decides when to try again.
        let silent = obstacle == Obstacle::Silence;
        attempt.wait =
            if silent { (attempt.wait * 2).clamp(WAIT_FIRST, WAIT_MOST) } else { Duration::ZERO };
        attempt.obstacle = obstacle;
    }

    /// Wanted addresses without a connection since that time.
    pub(super) fn failing(
        &self,
        now: Time,
    ) -> impl Iterator<Item = (SocketAddrV4, Time, &Obstacle)> {
        let lately = move |attempt: &Attempt| {
            attempt.link.is_some() || now.since(attempt.failed_at) < LATELY
        };
        let failing = self.attempts.iter().filter(move |(_, attempt)| lately(attempt));
        failing.filter_map(|(to, attempt)| {
            // An attempt without an answer yet counts from its beginning.
            let open = attempt.link.filter(|_| !attempt.waits).map(|_| attempt.began);
            Some((*to, attempt.failing_since.or(open)?, &attempt.obstacle))
        })
    }

    fn close(&mut self, link: LinkId) -> Option<SocketAddrV4> {
        let (to, attempt) =
            self.attempts.iter_mut().find(|(_, attempt)| attempt.link == Some(link))?;
        attempt.link = None;
        self.open -= usize::from(!std::mem::take(&mut attempt.waits));
        Some(*to)
    }
}

impl Attempt {
    /// How long the facts about an address without a dial are kept: weak evidence only while more
    /// may follow.
    fn remembered_for(&self) -> Duration {
        if self.failing_since.is_some() { FORGOTTEN_AFTER } else { LATELY }
    }
}

/// How many attempts may be open for longer than a moment.
const OPEN_MOST: usize = 8;
const MOMENT: Duration = Duration::from_millis(300);
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_MOST: Duration = Duration::from_secs(1);
const LATELY: Duration = Duration::from_secs(5);
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::{Dials, Duration, LinkId, OPEN_MOST, Obstacle, Plan, SocketAddrV4, Time};

    const PATIENCE: Duration = Duration::from_secs(2);

    fn at(milli: u64) -> Time {
        Time::from_micros(100_000_000 + milli * 1_000)
    }

    fn address(host: u8) -> SocketAddrV4 {
        SocketAddrV4::new([10, 0, 0, host].into(), 5_001)
    }

    fn failing(dials: &Dials, now: Time) -> Vec<(SocketAddrV4, Time)> {
        dials.failing(now).map(|(to, since, _)| (to, since)).collect()
    }

    #[test]
    fn there_is_one_attempt_to_an_address() {
        let [one, two, three] = [1, 2, 3].map(LinkId::dialled);
        let mut dials = Dials::new(PATIENCE);
        assert_eq!(dials.begin(at(0), one, address(1)), Plan::Now);
        assert_eq!(dials.begin(at(10), two, address(1)), Plan::TakeOver(one));
        assert_eq!((dials.overdue(at(1_999)), dials.overdue(at(2_000))), (None, Some(two)));
        dials.fail(at(2_000), two, Obstacle::Silence);
        assert_eq!(
            dials.begin(at(2_010), three, address(1)),
            Plan::Later,
            "not at once after a silence"
        );
        assert_eq!(dials.due(at(2_099)), None);
        assert_eq!(dials.due(at(2_100)), Some((three, address(1))));
        assert_eq!(failing(&dials, at(2_200)), [(address(1), at(0))]);
        dials.succeed(three);
        assert_eq!(failing(&dials, at(2_200)), []);
        assert_eq!((dials.deadline(), dials.open), (None, 0));
    }

    #[test]
    fn of_many_attempts_the_oldest_are_given_up_after_a_moment() {
        let mut dials = Dials::new(PATIENCE);
        for n in 0..20 {
            assert_eq!(dials.begin(at(n), LinkId::dialled(n), address(n as u8)), Plan::Now);
        }
        let mut given_up = 0;
        while let Some(link) = dials.overdue(at(1_000)) {
            dials.fail(at(1_000), link, Obstacle::Silence);
            given_up += 1;
        }
        assert_eq!((given_up, dials.open), (20 - OPEN_MOST, OPEN_MOST));
    }

    #[test]
    fn an_attempt_that_is_given_up_early_says_nothing() {
        let mut dials = Dials::new(PATIENCE);
        dials.begin(at(0), LinkId::dialled(1), address(1));
        dials.abandon(at(100), LinkId::dialled(1));
        assert_eq!(failing(&dials, at(100)), []);
        dials.begin(at(6_000), LinkId::dialled(2), address(1));
        dials.abandon(at(6_700), LinkId::dialled(2));
        assert_eq!(
            failing(&dials, at(6_700)),
            [(address(1), at(6_000))],
            "the first has been forgotten"
        );
        assert_eq!(failing(&dials, at(16_000)), [], "nobody has wanted it lately");
    }

    #[test]
    fn attempts_that_are_given_up_early_and_begun_again_say_that_nobody_answers() {
        let mut dials = Dials::new(PATIENCE);
        for n in 0..3 {
            assert_eq!(failing(&dials, at(n * 1_000)), [], "{n}");
            assert_eq!(dials.begin(at(n * 1_000), LinkId::dialled(n), address(1)), Plan::Now);
            dials.abandon(at(n * 1_000 + 100), LinkId::dialled(n));
        }
        assert_eq!(failing(&dials, at(2_100)), [(address(1), at(0))], "since the first");
        dials.begin(at(3_000), LinkId::dialled(3), address(1));
        dials.succeed(LinkId::dialled(3));
        dials.begin(at(4_000), LinkId::dialled(4), address(1));
        dials.abandon(at(4_100), LinkId::dialled(4));
        assert_eq!(
            (failing(&dials, at(4_100)), dials.open),
            (vec![], 0),
            "it was reached in between"
        );
    }

    #[test]
    fn one_that_waits_is_not_unanswered() {
        let [one, two, three] = [1, 2, 3].map(LinkId::dialled);
        let mut dials = Dials::new(PATIENCE);
        dials.begin(at(0), one, address(1));
        dials.fail(at(2_000), one, Obstacle::Silence);
        assert_eq!(dials.begin(at(2_010), two, address(1)), Plan::Later);
        dials.abandon(at(2_090), two);
        assert_eq!(
            dials.begin(at(2_100), three, address(1)),
            Plan::Now,
            "its turn has not been put off"
        );
        assert_eq!((failing(&dials, at(2_100)), dials.open), (vec![(address(1), at(0))], 1));
    }
}
