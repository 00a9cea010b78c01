//! Attempts to connect: one at a time to an address, few in all for longer than a moment, and what came of them.
//!
//! The kernel tries for two minutes and says nothing meanwhile. A peer knows better: an address that has not answered within
//! seconds is tried again later, and how long it has been so is kept, because only that tells a firewall from a moment.

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
    /// "Connection refused": nobody listens there.
    Refused,
    /// The kernel knows no way there.
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
    /// The open one.
    link: Option<LinkId>,
    /// Since when it is open, or waits to be.
    began: Time,
    /// Whether it waits until `began`.
    waits: bool,
    /// Since when none has succeeded.
    failing_since: Option<Time>,
    /// When the last one failed.
    failed_at: Time,
    wait: Duration,
    obstacle: Obstacle,
}

/// What is to be done about a wish to connect.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Connect now.
    Now,
    /// The open attempt of that link goes on for the new one.
    TakeOver(LinkId),
    /// Later: see [`Dials::due`].
    Later,
}

impl Dials {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, attempts: BTreeMap::new(), open: 0 }
    }

    /// Somebody wants a connection there.
    pub(super) fn begin(&mut self, now: Time, link: LinkId, to: SocketAddrV4) -> Plan {
        self.attempts.retain(|_, attempt| attempt.link.is_some() || now.since(attempt.failed_at) < FORGOTTEN_AFTER);
        let attempt = self.attempts.entry(to).or_insert_with(|| Attempt {
            link: None,
            began: now,
            waits: false,
            failing_since: None,
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

    /// One that has waited long enough; it is open from now on.
    pub(super) fn due(&mut self, now: Time) -> Option<(LinkId, SocketAddrV4)> {
        let (to, attempt) = self.attempts.iter_mut().find(|(_, attempt)| attempt.waits && attempt.began <= now)?;
        attempt.waits = false;
        attempt.began = now;
        self.open += 1;
        Some((attempt.link?, *to))
    }

    /// One that has been open for too long, or for a moment while too many others are.
    pub(super) fn overdue(&self, now: Time) -> Option<LinkId> {
        let patience = if self.open > OPEN_MOST { MOMENT } else { self.patience };
        let open = self.attempts.values().filter(|attempt| !attempt.waits && attempt.link.is_some());
        open.filter(|attempt| now.since(attempt.began) >= patience).min_by_key(|attempt| attempt.began)?.link
    }

    /// When one becomes due or overdue.
    pub(super) fn deadline(&self) -> Option<Time> {
        let patience = if self.open > OPEN_MOST { MOMENT } else { self.patience };
        let pending = self.attempts.values().filter(|attempt| attempt.link.is_some());
        pending.map(|attempt| if attempt.waits { attempt.began } else { attempt.began + patience }).min()
    }

    /// There is a connection: nothing is wrong with that address.
    pub(super) fn succeed(&mut self, link: LinkId) {
        if let Some(to) = self.close(link) {
            self.attempts.remove(&to);
        }
    }

    /// Nobody wants it any more; what is known of the address stays.
    pub(super) fn abandon(&mut self, now: Time, link: LinkId) {
        let Some(to) = self.close(link) else { return };
        let patience = self.patience;
        let Some(attempt) = self.attempts.get_mut(&to) else { return };
        // An attempt that was given up early says nothing, one that lasted says that nobody answers.
        if now.since(attempt.began) >= patience.min(MOMENT) {
            attempt.failing_since.get_or_insert(attempt.began);
            attempt.obstacle = Obstacle::Silence;
            attempt.failed_at = now;
        } else if attempt.failing_since.is_none() {
            self.attempts.remove(&to);
        }
    }

    /// It has come to nothing.
    pub(super) fn fail(&mut self, now: Time, link: LinkId, obstacle: Obstacle) {
        let Some(to) = self.close(link) else { return };
        let Some(attempt) = self.attempts.get_mut(&to) else { return };
        attempt.failing_since.get_or_insert(attempt.began);
        attempt.failed_at = now;
        // A refusal is an answer, and whoever wants the connection decides when to ask again.
        let silent = obstacle == Obstacle::Silence;
        attempt.wait = if silent { (attempt.wait * 2).clamp(WAIT_FIRST, WAIT_MOST) } else { Duration::ZERO };
        attempt.obstacle = obstacle;
    }

    /// Addresses to which there has been no connection since then, although one was wanted lately.
    pub(super) fn failing(&self, now: Time) -> impl Iterator<Item = (SocketAddrV4, Time, &Obstacle)> {
        let lately = move |attempt: &Attempt| attempt.link.is_some() || now.since(attempt.failed_at) < LATELY;
        let failing = self.attempts.iter().filter(move |(_, attempt)| lately(attempt));
        failing.filter_map(|(to, attempt)| {
            // An attempt that nobody has answered yet counts from its beginning.
            let open = attempt.link.filter(|_| !attempt.waits).map(|_| attempt.began);
            Some((*to, attempt.failing_since.or(open)?, &attempt.obstacle))
        })
    }

    fn close(&mut self, link: LinkId) -> Option<SocketAddrV4> {
        let (to, attempt) = self.attempts.iter_mut().find(|(_, attempt)| attempt.link == Some(link))?;
        attempt.link = None;
        self.open -= usize::from(!std::mem::take(&mut attempt.waits));
        Some(*to)
    }
}

/// So many may be open for longer than a moment.
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
        assert_eq!(dials.begin(at(2_010), three, address(1)), Plan::Later, "not at once after a silence");
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
        dials.begin(at(200), LinkId::dialled(2), address(1));
        dials.abandon(at(900), LinkId::dialled(2));
        assert_eq!(failing(&dials, at(900)), [(address(1), at(200))]);
        assert_eq!(failing(&dials, at(9_000)), [], "nobody has wanted it lately");
    }
}
