//! Drawing the faults of a plan.

use promises::fault::Identity;
use protocol::activity::Activity;

use super::dice::Dice;
use crate::plan::{Act, Back, Timed, Who};
use promises::shape::{Over, Shape};

impl Dice {
    /// First the kinds of faults, then how many, then each fault.
    pub(super) fn faults(&self, size: usize, unit: u64, chaos_us: u64) -> Vec<Timed> {
        if self.one_in("no faults", 0, 100) {
            return vec![];
        }
        let mut kinds: Vec<u64> = (0..KINDS).filter(|kind| self.one_in("kind", *kind, 4)).collect();
        if kinds.is_empty() {
            kinds.push(KILL);
        }
        let count = 1 + self.below("count", 0, 12);
        let first = unit.min(chaos_us / 4);
        let waiting = self.one_in("some wait", 0, 2);
        let mut faults: Vec<Timed> = (0..count)
            .map(|n| {
                let when = (waiting && self.one_in("waits", n, 2))
                    .then(|| self.pick("waits for", n, &MOMENTS));
                let at_us = first + self.below("at", n, chaos_us - first);
                // A fault that waits for something needs time to see it.
                let at_us = if when.is_some() { at_us / 2 } else { at_us };
                Timed {
                    when,
                    ..Timed::at(
                        at_us,
                        self.act(self.pick("which", n, &kinds), n, size, unit, when.is_some()),
                    )
                }
            })
            .collect();
        // A group that never loses its leader tests little; nearly every seed removes it at least
        // once.
        if !self.one_in("leader stays", 0, 100) {
            // Late enough for a leader to exist.
            let at_us = chaos_us / 3 + self.below("behead", 0, chaos_us - chaos_us / 3);
            let act = if kinds.contains(&PAUSE) && self.one_in("behead by pause", 0, 2) {
                Act::Pause {
                    who: Who::Leader,
                    span_us: unit * 2 + self.below("behead for", 0, unit * 2),
                }
            } else {
                Act::Kill { who: Who::Leader, back: self.back(1_000, unit) }
            };
            faults.push(Timed::at(at_us, act));
        }
        if self.one_in("all together", 0, 10) {
            faults.extend(self.all_together(size, unit, chaos_us));
        }
        if size > 2 && self.one_in("swizzle", 0, 12) {
            faults.extend(self.swizzle(size, unit, chaos_us));
        }
        if self.one_in("cut until the end", 0, 12) {
            // Long enough for a kernel to pause for long before the retransmission after its end.
            let (at_us, shape) = (
                chaos_us / 8 + self.below("cut long at", 0, chaos_us / 4),
                self.shape(4_000, size, false),
            );
            faults.push(Timed::at(
                at_us,
                Act::Cut { shape, over: Over::All, span_us: chaos_us, breaks: false },
            ));
        }
        if size > 1 && self.one_in("hearing changes", 0, 10) {
            faults.extend(self.changing_hearing(size, unit, chaos_us));
        }
        if size > 2 && self.one_in("split and split again", 0, 10) {
            faults.extend(self.splits(size, unit, chaos_us));
        }
        faults.sort_by_key(|fault| fault.at_us);
        faults
    }

    /// Hearing and dialling between pairs change again and again, for longer than any peer waits.
    fn changing_hearing(&self, size: usize, unit: u64, chaos_us: u64) -> Vec<Timed> {
        let each = |n: u64| {
            let over = self.pick(
                "hearing of",
                n,
                &[Over::Datagrams, Over::Broadcasts, Over::Unicasts, Over::Dials],
            );
            let span_us = unit * 2 + self.below("hearing for", n, unit * 8);
            let act =
                Act::Cut { shape: self.one_way(n, size, false), over, span_us, breaks: false };
            Timed::at(unit + self.below("hearing at", n, chaos_us - unit), act)
        };
        (7_000..7_002 + self.below("hearing changes so often", 0, 5)).map(each).collect()
    }

    /// The group splits, and at the moment at which it could merge again it splits along another
    /// line; a peer may be killed at each of these moments and restart at once, on another side
    /// than before.
    fn splits(&self, size: usize, unit: u64, chaos_us: u64) -> Vec<Timed> {
        let mut at_us = chaos_us / 5 + self.below("split at", 0, chaos_us / 4);
        let mut faults = vec![];
        for n in 3_000..3_002 + self.below("splits", 0, 3) {
            let side = (0..size)
                .filter(|&host| self.one_in("split side", n << 8 | host as u64, 2))
                .collect();
            let span_us = unit * 2 + self.below("split for", n, unit * 4);
            let act =
                Act::Cut { shape: Shape::Split(side), over: Over::All, span_us, breaks: false };
            faults.push(Timed::at(at_us, act));
            if self.one_in("killed at a split", n, 2) {
                let back = Some(Back::after(
                    2_000 + self.below("back on a side", n, unit),
                    Identity::Same,
                ));
                let act = Act::Kill { who: Who::Peer(self.host("split from", n, size)), back };
                faults.push(Timed::at(at_us, act));
            }
            at_us += span_us;
        }
        faults
    }

    /// The same fault hits every peer within moments: a power cut, a roll-out, a suspended machine.
    fn all_together(&self, size: usize, unit: u64, chaos_us: u64) -> Vec<Timed> {
        let at_us = chaos_us / 3 + self.below("together at", 0, chaos_us / 2);
        let within = self.pick("together within", 0, &[1, 1, 20_000, unit / 2]);
        let kind = self.pick("together", 0, &[KILL, OUTAGE, PAUSE, LEAVE, LEAVE]);
        let return_all = self.one_in("together back", 0, 2);
        let span_us = unit / 4 + self.below("together for", 0, unit * 3);
        (0..size)
            .map(|peer| {
                let (who, n) = (Who::Peer(peer), peer as u64 + 2_000);
                let back = self.back(n, unit).filter(|_| return_all);
                let act = match kind {
                    KILL => Act::Kill { who, back },
                    OUTAGE => Act::Outage { who, back },
                    PAUSE => Act::Pause {
                        who,
                        span_us: span_us + self.below("together each", n, within),
                    },
                    _ => Act::Leave { who, back },
                };
                Timed::at(at_us + self.below("together later", n, within), act)
            })
            .collect()
    }

    /// Some peers are cut off one by one, and return in another order.
    fn swizzle(&self, size: usize, unit: u64, chaos_us: u64) -> Vec<Timed> {
        let from = chaos_us / 4 + self.below("swizzle at", 0, chaos_us / 3);
        let (parting, mending) =
            (unit + self.below("parting", 0, unit * 2), unit + self.below("mending", 0, unit * 2));
        let those = (0..size).filter(|&peer| !self.one_in("not swizzled", peer as u64, 3));
        those
            .map(|peer| {
                let n = peer as u64;
                let at_us = from + self.below("parted", n, parting);
                let span_us =
                    (from + parting + self.below("mended", n, mending)).saturating_sub(at_us);
                let act = Act::Cut {
                    shape: Shape::Isolate(Who::Peer(peer)),
                    over: Over::All,
                    span_us,
                    breaks: self.one_in("breaks", n, 4),
                };
                Timed::at(at_us, act)
            })
            .collect()
    }

    fn act(&self, kind: u64, n: u64, size: usize, unit: u64, it: bool) -> Act {
        let who = self.who("who", n, size, it);
        let other = self.who("other", n, size, it);
        let breaks = self.one_in("breaks", n, 4);
        // Mostly around the time-outs, sometimes far shorter or longer.
        let span_us = match self.below("span", n, 4) {
            0 => self.below("short", n, unit / 4),
            1 | 2 => unit / 4 + self.below("middle", n, unit * 2),
            _ => self.below("long", n, unit * 8),
        };
        match kind {
            KILL => Act::Kill { who, back: self.back(n, unit) },
            OUTAGE => Act::Outage { who, back: self.back(n, unit) },
            PAUSE => Act::Pause { who, span_us },
            LEAVE => Act::Leave { who, back: self.back(n, unit) },
            RESET => Act::Reset { who, other },
            HALF_OPEN => Act::HalfOpen { who, other, span_us },
            STALL => Act::Stall { who, other, span_us },
            FORGET => Act::Forget {
                who,
                other: self.one_in("forgets one", n, 2).then_some(other),
                one_way: self.one_in("forgets one way", n, 3),
            },
            DRIP => Act::Drip { who, other, gap_us: 100 + self.below("gap", n, unit / 8), span_us },
            CUT => Act::Cut {
                shape: self.shape(n, size, it),
                over: self.pick("over", n, &OVER),
                span_us,
                breaks,
            },
            ONE_WAY => Act::Cut {
                shape: self.one_way(n, size, it),
                over: self.pick("over", n, &OVER),
                span_us,
                breaks,
            },
            STORM => Act::Storm { weather: self.weather("storm", n, unit / 4), span_us },
            LOSE => Act::Lose {
                kind: self.pick("of a kind", n, &VERBS).to_owned(),
                from: self.one_in("from one", n, 3).then_some(who),
                to: self.one_in("to one", n, 2).then_some(other),
                times: self.pick("times", n, &[1, 1, 2, 5]),
                span_us: unit + span_us,
            },
            CLOCK => Act::Clock { who, jump_us: span_us },
            DISK => Act::Disk { who, span_us: unit + span_us },
            DESCRIPTORS => Act::Descriptors { who, span_us },
            SLOW => Act::Slow { who, step_us: 100 + self.below("step", n, unit / 40), span_us },
            _ => unreachable!("kinds end at {KINDS}"),
        }
    }

    fn shape(&self, n: u64, size: usize, it: bool) -> Shape {
        match self.below("shape", n, 12) {
            0 | 1 => Shape::Isolate(self.who("isolated", n, size, it)),
            2 if size > 3 => Shape::Bridge(self.host("bridge", n, size)),
            3 if size > 3 => Shape::Ring,
            4 if size > 3 => Shape::MajorityRing,
            5 if size > 2 => Shape::Chain,
            6 if size > 2 => Shape::Star(self.who("star", n, size, it)),
            7 => Shape::Halves,
            8 if size > 2 => Shape::MinorityThird,
            _ => Shape::Split(
                (0..size).filter(|&host| self.one_in("side", n << 8 | host as u64, 2)).collect(),
            ),
        }
    }

    fn one_way(&self, n: u64, size: usize, it: bool) -> Shape {
        match self.below("one way", n, 8) {
            0 => Shape::Deaf(Who::Leader),
            1 => Shape::Deaf(Who::Highest),
            2 => Shape::Mute(Who::Leader),
            3 => Shape::Deaf(self.who("deaf", n, size, it)),
            4 => Shape::Mute(self.who("mute", n, size, it)),
            5 => {
                let all = (0..size).flat_map(|from| (0..size).map(move |to| (from, to)));
                let drawn = |&(from, to): &(usize, usize)| {
                    from != to && self.one_in("pair", n << 16 | (from << 8 | to) as u64, 3)
                };
                Shape::Pairs(all.filter(drawn).collect())
            }
            _ => Shape::Pairs(vec![(self.host("from", n, size), self.host("to", n, size))]),
        }
    }

    pub(super) fn back(&self, n: u64, unit: u64) -> Option<Back> {
        let after_us = match self.below("back", n, 6) {
            0 | 1 => return None,
            // No process starts faster than that.
            2 => 2_000 + self.below("back at once", n, 50_000),
            3 => 2_000 + self.below("back soon", n, unit),
            _ => 2_000 + self.below("back late", n, unit * 4),
        };
        let identity = if self.one_in("fresh", n, 3) { Identity::Fresh } else { Identity::Same };
        Some(Back {
            behind: identity == Identity::Fresh && self.one_in("behind", n, 4),
            ..Back::after(after_us, identity)
        })
    }
}

/// The phases that a fault may wait for: too short to be hit by chance.
const MOMENTS: [Activity; 8] = [
    Activity::Joining,
    Activity::Asking,
    Activity::Waiting,
    Activity::Waiting,
    Activity::Syncing,
    Activity::Syncing,
    Activity::Building,
    Activity::Building,
];

/// Mostly all traffic is cut.
const OVER: [Over; 11] = [
    Over::All,
    Over::All,
    Over::All,
    Over::All,
    Over::All,
    Over::Datagrams,
    Over::Streams,
    Over::Broadcasts,
    Over::Unicasts,
    Over::Dials,
    Over::Resets,
];

/// The kinds of messages that may be lost alone.
const VERBS: [&str; 20] = [
    "NEW_PEER_REQUEST",
    "ADDED TO NETWORK",
    "HEARTBEAT",
    "HEARTBEAT_ACK",
    "ELECTION",
    "OK",
    "OK",
    "CLEAR",
    "COORDINATOR",
    "VIEW_SYNC_REQUEST",
    "SEQ_SYNC_REQUEST",
    "SEQ_SYNC_RESPONSE",
    "SEQ_SYNC_FINAL",
    "SEQUENCER_REQUEST",
    "ORDERED",
    "ORDERED_ACK",
    "MISSING_SEQ_REQUEST",
    "REJECTED",
    "HANDOVER",
    "HELLO",
];

const KILL: u64 = 0;
const PAUSE: u64 = 1;
const LEAVE: u64 = 2;
const RESET: u64 = 3;
const STALL: u64 = 4;
const CUT: u64 = 5;
const ONE_WAY: u64 = 6;
const STORM: u64 = 7;
const OUTAGE: u64 = 8;
const HALF_OPEN: u64 = 9;
const DRIP: u64 = 10;
const LOSE: u64 = 11;
const CLOCK: u64 = 12;
const DISK: u64 = 13;
const DESCRIPTORS: u64 = 14;
const SLOW: u64 = 15;
const FORGET: u64 = 16;
const KINDS: u64 = 17;
