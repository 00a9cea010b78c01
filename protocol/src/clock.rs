//! A peer's own time: it stands still while the peer does.
//!
//! The core reads no clock. It knows when it wanted to be called and when it was, and that tells a
//! pause of the process, a busy machine, or a jump of the clock from silence of the others. A peer
//! hears no other peer during its own pause, and accuses none for it: it takes the pause off the
//! time that it lives by. Every moment that the core stores is of that time, so none has to be
//! moved after a pause, and none can be forgotten.
//!
//! Own time meets the caller's in three places: `handle` begins with [`Node::advance`], `deadline`
//! gives the caller's time, and `identity` looks from the own present. Only the wall clock is real.
//! The ages of others stand still as well: what was heard before a pause looks fresh after it. That
//! costs a timeout and no promise.

use std::time::Duration;

use crate::node::Node;
use crate::roles::Role;
use crate::time::Time;

/// How own time lies behind the caller's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// What all pauses together have taken off.
    behind: Duration,
    /// Own time during the last call.
    last: Time,
    /// When nothing was overdue last: at a call in time, or after a wake-up.
    level: Time,
    /// What has been taken off since then.
    stood: Duration,
    /// What the wall clock showed when this peer was last told, and when that was in the caller's
    /// time.
    wall: Option<(Time, u64)>,
}

/// How late a call is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lateness {
    /// In all, since what was due.
    late: Duration,
    /// What this call takes off own time.
    lag: Duration,
}

impl Clock {
    pub(crate) fn new(now: Time) -> Self {
        Self { behind: Duration::ZERO, last: now, level: now, stood: Duration::ZERO, wall: None }
    }

    /// Own time, where no more is taken off.
    fn own(&self, now: Time) -> Time {
        Time::ZERO + now.since(Time::ZERO + self.behind)
    }

    /// The caller's time of a moment of own time.
    fn outside(&self, own: Time) -> Time {
        own + self.behind
    }

    /// Moves own time on to a call. What was `due` stays due until the next wake-up, which comes
    /// after everything that waits has been read. There may be several calls before it, with a
    /// pause before each or with one that drags on: beyond what is tolerated in all, own time
    /// stands still until the wake-up.
    fn advance(&mut self, now: Time, due: Option<Time>, tolerated: Duration) -> Lateness {
        let own = self.own(now);
        assert!(own >= self.last, "the caller's time runs backwards");
        let Some(due) = due.filter(|due| *due < own) else {
            self.last = own;
            self.rest();
            return Lateness::default();
        };
        if due > self.last {
            self.stood = Duration::ZERO;
        }
        // An earlier deadline may show itself, because what stood before it is gone, or one may be
        // set into the past; that one made nobody late.
        let late = own.since(due.max(self.level)) + self.stood;
        if late <= tolerated {
            self.last = own;
            return Lateness { late, lag: Duration::ZERO };
        }
        // Own time never runs backwards.
        self.last = self.last.max(due);
        let lag = own.since(self.last);
        self.behind += lag;
        self.stood += lag;
        Lateness { late, lag }
    }

    /// Nothing is overdue any more: this call came in time, or it is a wake-up.
    pub(crate) fn rest(&mut self) {
        self.level = self.last;
        self.stood = Duration::ZERO;
    }

    pub(crate) fn set_wall(&mut self, now: Time, utc: u64) {
        self.wall = Some((now, utc));
    }

    /// What the wall clock shows. It does not stand still with the peer.
    pub(crate) fn utc(&self, now: Time) -> Option<u64> {
        self.wall
            .map(|(then, utc)| utc.saturating_add(now.as_micros()).saturating_sub(then.as_micros()))
    }
}

impl Node {
    /// Begins a call; own time during it.
    pub(crate) fn advance(&mut self, now: Time) -> Time {
        let (due, tolerated) = (self.due(), self.env.config.tick());
        let Lateness { late, lag } = self.env.clock.advance(now, due, tolerated);
        let own = self.env.clock.last;
        self.env.lag = self.env.lag.max(late);
        if lag > Duration::ZERO {
            // For less than a beat nobody elects another leader.
            let is_long = late > self.env.config.knobs().heartbeat_interval;
            self.role.on_pause(own, lag, is_long);
        }
        own
    }

    /// When to call again with [`Input::Wake`](crate::io::Input::Wake) if nothing else happens
    /// first.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.due().map(|due| self.env.clock.outside(due))
    }

    /// Own time at a moment of the caller's, and of the clock what counts then: how far it is
    /// behind tells no two situations apart, and what was taken off matters only while something
    /// is overdue.
    pub(crate) fn present(&self, now: Time) -> (Time, Option<(Time, Time, Duration)>) {
        let Clock { behind: _, last, level, stood, wall: _ } = self.env.clock;
        let overdue = self.due().is_some_and(|due| due <= last);
        (self.env.clock.own(now), overdue.then_some((last, level, stood)))
    }

    /// Sees to it that it is called often while it waits for answers.
    pub(crate) fn expect_a_tick(&mut self, now: Time) {
        let next = self.env.tick_at.unwrap_or(now + self.env.config.tick());
        self.env.tick_at = self.waits().then_some(next);
    }

    /// Whether this peer waits for answers that decide who leads.
    fn waits(&self) -> bool {
        match &self.role {
            Role::Joining(_) | Role::Candidate(_) => true,
            Role::Follower(follower) => follower.witness.is_some(),
            Role::Leader(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Lateness};
    use crate::config::{Config, Knobs};
    use crate::draw::draw_below;
    use crate::harness::{Harness, peer, request};
    use crate::id::{Contact, Incarnation, Member, PeerId};
    use crate::io::{Input, Output, Publication};
    use crate::node::Node;
    use crate::report::note::Note;
    use crate::roles::Role;
    use crate::time::Time;
    use std::time::Duration;

    #[test]
    fn a_leader_that_is_late_by_less_than_a_beat_accuses_nobody_for_that_time() {
        let mut harness = Harness::leader(Knobs::fast());
        harness.admit(&peer(2));
        harness.acknowledge(&peer(2), harness.node.env.log.contiguous());
        harness.out.clear();
        let beat = harness.node.env.config.knobs().heartbeat_interval;
        let began = harness.now;
        let suspects = |harness: &Harness| {
            harness.out.iter().any(|output| matches!(output, Output::Note(Note::Suspect { .. })))
        };
        while harness.now < began + harness.node.env.config.knobs().heartbeat_timeout * 3 / 2 {
            harness.now = harness.node.deadline().expect("it leads") + beat * 9 / 10;
            harness.give(Input::Wake);
        }
        assert!(!suspects(&harness), "half of the time it was not there");
        harness.rest(harness.node.env.config.knobs().heartbeat_timeout);
        assert!(suspects(&harness));
    }

    fn at(milli: u64) -> Time {
        Time::from_micros(milli * 1_000)
    }

    #[test]
    fn what_turns_out_to_have_been_due_long_ago_has_called_nobody_late() {
        let mut harness = Harness::member(Knobs::fast());
        harness.give(Input::Wake);
        let now = harness.now;
        harness.node.advance(now);
        // The earlier deadline that shows itself.
        harness.node.env.more_at = Some(Time::ZERO);
        assert_eq!(harness.node.advance(now + Duration::from_millis(1)), at(1) + now.since(at(0)));
        assert_eq!(harness.node.env.lag, Duration::from_millis(1));
    }

    #[test]
    fn own_time_stands_still_beyond_what_is_tolerated_until_the_wake_up() {
        let milli = Duration::from_millis;
        let check = |clock: &mut Clock, at_milli, due, (late, lag, own)| {
            let lateness = clock.advance(at(at_milli), Some(at(due)), milli(25));
            assert_eq!(lateness, Lateness { late: milli(late), lag: milli(lag) });
            assert_eq!(clock.last, at(own));
        };
        let mut clock = Clock::new(at(0));
        check(&mut clock, 10, 20, (0, 0, 10));
        check(&mut clock, 30, 20, (10, 0, 30));
        check(&mut clock, 45, 20, (25, 0, 45));
        // A drip: each call is late by little, and all together are late by much.
        check(&mut clock, 46, 20, (26, 1, 45));
        check(&mut clock, 47, 20, (27, 1, 45));
        // That is over where nothing of then is due any more.
        check(&mut clock.clone(), 57, 50, (5, 0, 55));
        check(&mut clock, 100, 20, (80, 53, 45));
        assert_eq!(clock.outside(at(45)), at(100));
        clock.rest();
        // What is due from before the wake-up has made nobody late since then.
        check(&mut clock, 120, 5, (20, 0, 65));
        check(&mut clock, 130, 5, (30, 10, 65));
    }

    #[test]
    fn own_time_never_runs_backwards_whatever_is_due() {
        let tolerated = Duration::from_micros(25);
        for seed in 0..100 {
            let (mut clock, mut now) = (Clock::new(Time::ZERO), Time::ZERO);
            for step in 0..200 {
                let below = |purpose, bound| draw_below(seed, purpose, step, bound);
                now += Duration::from_micros(below("passes", 60));
                let (last, behind) = (clock.last, clock.behind);
                // Often of the past: set there, or left over.
                let due = (below("has one", 5) > 0).then(|| {
                    Time::from_micros((now.as_micros() + 40).saturating_sub(below("due", 200)))
                });
                let Lateness { late, lag } = clock.advance(now, due, tolerated);
                assert!(clock.last >= last && clock.behind == behind + lag, "seed {seed}");
                assert_eq!(clock.outside(clock.last), now, "seed {seed}");
                assert!(late > tolerated || lag.is_zero(), "seed {seed}");
                if below("wakes", 3) == 0 {
                    clock.rest();
                }
            }
        }
    }

    #[test]
    fn a_joiner_that_stood_still_waits_on_for_the_better_one() {
        let mut harness = Harness::newcomer(Knobs::fast());
        harness.hear(&peer(3), request(&peer(3)));
        harness.rest(Duration::from_millis(250));
        let deferring = |harness: &Harness| {
            let Role::Joining(joining) = &harness.node.role else { panic!("it founds a group") };
            joining.deferring.is_some() && joining.let_down.is_empty()
        };
        assert!(deferring(&harness), "until 600 ms after it was born");
        harness.now += Duration::from_secs(5);
        harness.give(Input::Wake);
        assert!(deferring(&harness));
        harness.rest(Duration::from_millis(300));
        assert!(deferring(&harness));
        harness.rest(Duration::from_millis(100));
        assert!(!matches!(harness.node.role, Role::Joining(_)), "it has been let down");
    }

    #[test]
    fn how_far_it_is_behind_tells_no_two_situations_apart() {
        let mut harness = Harness::member(Knobs::fast());
        harness.give(Input::Wake);
        let (mut paused, mut out) = (harness.node.clone(), Vec::new());
        let due = harness.node.deadline().expect("it follows");
        let late = due + Duration::from_secs(7);
        harness.node.handle(due, Input::Wake, &mut out);
        paused.handle(late, Input::Wake, &mut out);
        assert_eq!(std::mem::take(&mut paused.env.lag), Duration::from_secs(7), "that it tells");
        assert_eq!(paused.identity(late), harness.node.identity(due));
        let rest = |node: &Node, now| node.deadline().map(|deadline| deadline.since(now));
        assert_eq!(rest(&paused, late), rest(&harness.node, due));
    }

    #[test]
    fn the_wall_clock_goes_on_while_the_peer_stands_still() {
        let mut harness = Harness::member(Knobs::fast());
        harness.give(Input::Clock { utc: 1_000_000 });
        harness.now += Duration::from_secs(5);
        harness.publish("x");
        assert_eq!(harness.node.env.utc, Some(6_000_000));
    }

    /// Calls a lone newcomer with that at these moments, and wakes it at last; whether it has
    /// claimed by then.
    #[track_caller]
    fn check_claims(
        call: &Input,
        at_millis: impl IntoIterator<Item = u64>,
        last: u64,
        claims: bool,
    ) {
        let me = Contact {
            member: Member { id: PeerId::new("p1").expect("a valid name"), inc: Incarnation(1) },
            birth: 1,
            address: "127.0.0.1:5001".parse().expect("an address"),
            explicit: 0,
        };
        let mut node = Node::new(me, Config::try_from(Knobs::fast()).expect("sound"), 1, at(0));
        let mut out = Vec::new();
        for milli in at_millis {
            node.handle(at(milli), call.clone(), &mut out);
        }
        node.handle(at(last), Input::Wake, &mut out);
        let claimed = out.iter().any(|output| matches!(output, Output::Note(Note::Claim { .. })));
        assert_eq!(claimed, claims);
    }

    #[test]
    fn each_moment_of_a_late_call_counts_once() {
        // Woken in time, it founds its group after `join_timeout`, which is 200 ms.
        check_claims(&Input::Wake, (0..10).map(|n| n * 60), 600, true);
        // One long pause, two in a row, and one that is made of many short ones: nobody could have
        // been heard.
        let publish = Input::Publish { publications: vec![Publication::one("x".into(), 0, None)] };
        check_claims(&publish, [], 600, false);
        check_claims(&publish, [300], 600, false);
        check_claims(&publish, (0..10).map(|n| n * 60), 600, false);
        // A drip: each gap alone is borne, and all of them together are a pause.
        check_claims(&publish, (0..30).map(|n| n * 20), 600, false);
        check_claims(&Input::Wake, (0..30).map(|n| n * 20), 600, true);
    }
}
