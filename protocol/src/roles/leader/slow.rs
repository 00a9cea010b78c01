//! Members that cannot keep up: first everybody waits for them, then the group goes on without
//! them.
//!
//! A member lags by what it has not acknowledged of the entries since it came in. Beyond
//! `max_lag_entries` for `slow_timeout` it is evicted, by name and with numbers; it may come back
//! as soon as it has caught up, and lacks nothing as long as the entries are retained. Until then
//! the log grows, so beyond the middle between `max_lag_entries` and `retain_entries` (or beyond
//! twice `retain_bytes`) the leader takes no more readings before the slowest has come back below
//! the lower bound or is out: the senders' windows fill, and their sensors hear that. Its own
//! readings fill half of that room only. So no member, stopped or slow, makes anybody hold more
//! than that and what was in flight. In mode `primary` the slowest go first, and none without whom
//! there would be no quorum: the group goes as slowly as those.
//!
//! A member that acknowledges nothing for `slow_timeout`, while a reading waits to be safe that it
//! lacks, is evicted as well: it answers heartbeats, and everybody would wait for it for as long as
//! it does.
//!
//! Silence is another matter (see `detector`).

use crate::env::Env;
use crate::id::{Member, Seq};
use crate::report::note::Evidence;
use crate::roles::follower::millis;
use crate::roles::leader::Leader;
use crate::roles::leader::progress::Progress;
use crate::roles::turn::Turn;
use crate::time::Time;
use crate::wire::message::Reason;

impl Progress {
    /// How many entries it has not acknowledged, of those since it came in.
    fn lag(&self, high: Seq) -> u64 {
        high.above(self.acked.max(self.since))
    }
}

impl Leader {
    /// Whether it takes readings now.
    pub(crate) fn takes_readings(&self) -> bool {
        self.is_numbering() && !self.under_pressure
    }

    /// Evicts who has been too far behind, or has kept everybody waiting, for too long.
    pub(crate) fn evict_slow(&mut self, turn: &mut Turn<'_>) {
        let knobs = turn.env.config.knobs();
        let (high, awaited) = (turn.env.log.contiguous(), turn.env.log.unsafe_from());
        // What everybody has was discarded down to the bound, so whatever is above it is held for
        // the slowest.
        let heavy =
            turn.env.log.weight() > knobs.retain_bytes.saturating_add(knobs.retain_bytes / 2);
        // A leader in doubt numbers no view: whoever has caught up by the time that it does stays.
        let decides = self.doubt.is_none();
        let slowest = self.progress.values().map(|progress| progress.lag(high)).max().unwrap_or(0);
        let mut slow = Vec::new();
        for progress in self.progress.values_mut() {
            let lag = progress.lag(high);
            let behind = lag > knobs.max_lag_entries || (heavy && lag > 0 && lag == slowest);
            progress.lag_since = behind.then(|| progress.lag_since.unwrap_or(turn.now));
            let waits = awaited.is_some_and(|at| progress.acked < at);
            progress.mute_since = waits
                .then(|| progress.mute_since.filter(|(acked, _)| *acked == progress.acked))
                .flatten();
            if waits {
                progress.mute_since = progress.mute_since.or(Some((progress.acked, turn.now)));
            }
            let acked = progress.acked;
            let for_too_long =
                |since: &Time| decides && turn.now.since(*since) >= knobs.slow_timeout;
            let evidence = if let Some(since) = progress.lag_since.filter(for_too_long) {
                Evidence::Slow {
                    log: turn.env.log.name(),
                    behind: lag,
                    acked,
                    high,
                    for_ms: millis(turn.now.since(since)),
                }
            } else if let Some(((_, since), awaited)) =
                progress.mute_since.zip(awaited).filter(|((_, since), _)| for_too_long(since))
            {
                Evidence::Unacknowledged {
                    log: turn.env.log.name(),
                    acked,
                    awaited,
                    high,
                    for_ms: millis(turn.now.since(since)),
                }
            } else {
                continue;
            };
            slow.push((lag, progress.contact.clone(), evidence));
        }
        slow.sort_by_key(|(lag, ..)| std::cmp::Reverse(*lag));
        for (_, contact, evidence) in slow {
            // A leader that sent its quorum away would have to go itself. It waits, and takes no
            // more readings than they do.
            if self.lacks_without(turn, Some(&contact.member)).is_none() {
                self.evict(turn, &contact, &evidence);
            }
        }
    }

    /// How many of its own readings a leader may number now. They fill half of the room between
    /// `max_lag_entries` and the bound above which it takes none. If they filled all of it, the
    /// leader would turn its members away each time that the slowest has caught up.
    pub(crate) fn own_room(&self, env: &Env) -> u64 {
        let knobs = env.config.knobs();
        if !self.takes_readings() {
            return 0;
        }
        let high = env.log.contiguous();
        let lag = self.progress.values().map(|progress| progress.lag(high)).max();
        let bound = knobs.max_lag_entries + (knobs.retain_entries - knobs.max_lag_entries) / 4;
        lag.map_or(u64::MAX, |lag| bound.max(1).saturating_sub(lag))
    }

    /// Looks whether the slowest member leaves room for more readings; when it does again, asks for
    /// those that were not taken.
    pub(crate) fn feel_pressure(&mut self, turn: &mut Turn<'_>) {
        let knobs = turn.env.config.knobs();
        let (max_lag, retain, retain_bytes) =
            (knobs.max_lag_entries, knobs.retain_entries, knobs.retain_bytes);
        let high = turn.env.log.contiguous();
        let lag = self.progress.values().map(|progress| progress.lag(high)).max().unwrap_or(0);
        let relief = max_lag + (retain - max_lag) / 2;
        let weight_bound = retain_bytes.saturating_mul(if self.under_pressure { 1 } else { 2 });
        if turn.env.log.weight() > weight_bound {
            let all_have = self.all_acked(high);
            turn.env.discard(all_have);
        }
        let heavy = turn.env.log.weight() > weight_bound;
        self.under_pressure =
            lag > 0 && (heavy || lag > if self.under_pressure { max_lag } else { relief });
        if self.takes_readings() {
            let progress = self.progress.values_mut();
            let owed: Vec<Member> = progress
                .filter_map(|progress| {
                    std::mem::take(&mut progress.turned_away)
                        .then(|| progress.contact.member.clone())
                })
                .collect();
            for member in owed {
                turn.env.refuse(turn.now, &member, None, Reason::Busy, turn.out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Knobs};
    use crate::harness::{Harness, peer};
    use crate::id::Seq;
    use crate::roles::leader::Leader;

    /// `p1` leads `p2` and `p3` and holds a few readings, which weigh a multiple of six in all; how
    /// much.
    fn three() -> (Harness, u64) {
        let mut harness = Harness::leader(Knobs::fast());
        for n in [2, 3] {
            harness.admit(&peer(n));
        }
        let texts = ["12345", "1", "1", "1", "1", "1", "1", "1", "1", "1", "1", "1"];
        for text in texts {
            harness.publish(text);
            if harness.node.env.log.weight().is_multiple_of(6) {
                break;
            }
        }
        let weight = harness.node.env.log.weight();
        assert!(weight.is_multiple_of(6), "{weight}");
        (harness, weight)
    }

    fn acknowledge(harness: &mut Harness, n: u16, behind: u64) {
        let high = harness.node.env.log.contiguous();
        harness.acknowledge(&peer(n), Seq(high.0 - behind));
    }

    fn retain(harness: &mut Harness, retain_bytes: u64) {
        harness.node.env.config =
            Config::unchecked(Knobs { retain_bytes, payload_max: 64, ..Knobs::fast() });
    }

    #[test]
    fn the_slowest_is_evicted_for_half_as_much_again_as_is_retained() {
        let evicted = |retained: fn(u64) -> u64, behind: &[(u16, u64)]| {
            let (mut harness, weight) = three();
            for (n, behind) in behind {
                acknowledge(&mut harness, *n, *behind);
            }
            retain(&mut harness, retained(weight));
            for at in [harness.now, harness.now + harness.node.env.config.knobs().slow_timeout] {
                harness.lead(at, Leader::evict_slow);
            }
            harness
                .leads()
                .failed
                .iter()
                .map(|(contact, _)| contact.id().to_string())
                .collect::<Vec<_>>()
        };
        let (bound, less) = (|weight| weight / 3 * 2, |weight| weight / 3 * 2 - 2);
        assert!(evicted(bound, &[(2, 1), (3, 0)]).is_empty());
        assert_eq!(evicted(less, &[(2, 1), (3, 0)]), ["p2"]);
        assert_eq!(evicted(less, &[(2, 0), (3, 1)]), ["p3"]);
        assert!(evicted(less, &[(2, 0), (3, 0)]).is_empty(), "nobody lags");
    }

    #[test]
    fn a_leader_in_doubt_puts_out_nobody_who_may_catch_up_meanwhile() {
        let evicted = |in_doubt: bool| {
            let (mut harness, weight) = three();
            acknowledge(&mut harness, 2, 1);
            acknowledge(&mut harness, 3, 0);
            retain(&mut harness, weight / 3 * 2 - 2);
            harness.leads().doubt = in_doubt.then_some(1_000);
            for at in [harness.now, harness.now + harness.node.env.config.knobs().slow_timeout] {
                harness.lead(at, Leader::evict_slow);
            }
            harness.leads().failed.len()
        };
        assert_eq!((evicted(false), evicted(true)), (1, 0));
    }

    #[test]
    fn what_its_leader_slept_through_makes_nobody_slow() {
        let evicted = |slept: bool| {
            let (mut harness, weight) = three();
            acknowledge(&mut harness, 2, 1);
            acknowledge(&mut harness, 3, 0);
            retain(&mut harness, weight / 3 * 2 - 2);
            harness.lead(harness.now, Leader::evict_slow);
            let slow_timeout = harness.node.env.config.knobs().slow_timeout;
            let mut at = harness.now + slow_timeout;
            if slept {
                at = harness.node.advance(at);
            }
            harness.lead(at, Leader::evict_slow);
            harness.leads().failed.len()
        };
        assert_eq!((evicted(false), evicted(true)), (1, 0));
    }

    #[test]
    fn no_readings_are_taken_while_twice_as_much_is_held_as_is_retained() {
        let under_pressure = |harness: &mut Harness, retained: u64| {
            retain(harness, retained);
            harness.lead(harness.now, Leader::feel_pressure);
            harness.leads().under_pressure
        };
        let mut harness = Harness::leader(Knobs::fast());
        harness.publish(
            "a reading that is not small at all, so that it weighs something beside a \
                        view of two and what is said of them",
        );
        harness.publish(
            "another one like that, for the same purpose: all of these are to be more \
                        than twice what is to be retained",
        );
        harness.admit(&peer(2));
        let weight = harness.node.env.log.weight();
        assert!(
            !under_pressure(&mut harness, weight / 2 - 1),
            "it has just come in, and lags by nothing"
        );
        let (mut harness, weight) = three();
        acknowledge(&mut harness, 3, 0);
        assert!(!under_pressure(&mut harness, weight / 2));
        assert!(under_pressure(&mut harness, weight / 2 - 1));
        assert!(under_pressure(&mut harness, weight - 1), "until no more is held than is retained");
        assert!(!under_pressure(&mut harness, weight));
        assert!(under_pressure(&mut harness, weight / 2 - 1));
        acknowledge(&mut harness, 2, 1);
        acknowledge(&mut harness, 3, 1);
        assert!(!under_pressure(&mut harness, weight / 2 - 1));
        assert!(harness.node.env.log.weight() < weight / 2, "what all have is let go at once");
        let (mut harness, weight) = three();
        acknowledge(&mut harness, 2, 0);
        acknowledge(&mut harness, 3, 0);
        assert!(!under_pressure(&mut harness, weight / 2));
        assert_eq!(harness.node.env.log.weight(), weight, "that is no more than twice as much");
    }
}
