//! Draws aimed faults: each waits for the instant that matters and strikes then.
//!
//! Most of a protocol's critical instants, such as a claimant that sleeps between its question and
//! the answers, last only microseconds, and a fault at a random time hits one in a million. Aimed
//! faults wait for a message or a phase, let a drawn number of them pass, and strike a drawn moment
//! later. Several strikes belong together if one alone has no effect: readings published in the
//! middle of a claim, and the leave of their publisher right after them.

use promises::fault::Identity;
use promises::shape::{Over, Shape};
use protocol::activity::Activity;

use super::dice::Dice;
use crate::marks::WORDS;
use crate::plan::{Act, Back, Timed, Who};

impl Dice {
    /// The aimed strikes of a seed, if it has any.
    pub(super) fn aimed(&self, size: usize, unit: u64, chaos_us: u64) -> Vec<Timed> {
        if size < 2 || !self.one_in("aimed", 0, 3) {
            return vec![];
        }
        let strikes = 1 + self.below("strikes", 0, 3);
        (0..strikes).flat_map(|n| self.strike(AIMED + n * 64, size, unit, chaos_us)).collect()
    }

    fn strike(&self, n: u64, size: usize, unit: u64, chaos_us: u64) -> Vec<Timed> {
        let at_us = unit + self.below("aim at", n, chaos_us / 2);
        match self.below("strike", n, 10) {
            0 => self.oversleep(n, at_us, unit),
            1 => self.stumble(n, size, unit, chaos_us),
            2 => self.die_without_a_word(n, at_us, unit),
            3 => self.leave_in_the_middle(n, at_us, unit),
            4 => self.trouble_for_a_leaver(n, at_us, size, unit),
            5 => self.ghost(n, at_us, unit),
            6 => self.merge_and_leave(n, at_us, size, unit),
            7 => self.left_behind(n, at_us, unit),
            8 => self.numbered_unheard(n, at_us, unit),
            _ => self.publish_in_the_middle(n, at_us, unit),
        }
    }

    /// A peer that asks, claims or announces is paused at once, for about as long as the others
    /// wait for it, or its clock jumps.
    fn oversleep(&self, n: u64, at_us: u64, unit: u64) -> Vec<Timed> {
        let verb = self.pick(
            "sleeps at",
            n,
            &[
                "ELECTION",
                "SEQ_SYNC_REQUEST",
                "SEQ_SYNC_REQUEST",
                "MISSING_SEQ_REQUEST",
                "SEQ_SYNC_FINAL",
                "COORDINATOR",
                "NEW_PEER_REQUEST",
            ],
        );
        let span_us = unit / 16 * self.pick("sleeps for", n, &[1, 2, 4, 6, 8, 12, 16, 32, 64]);
        let act = match self.below("sleeps how", n, 6) {
            0 => Act::Clock { who: Who::It, jump_us: span_us },
            1 => Act::Slow { who: Who::It, step_us: unit / 16, span_us: span_us * 2 },
            _ => Act::Pause { who: Who::It, span_us },
        };
        vec![self.said(n, verb, at_us, unit, act)]
    }

    /// Many short pauses of changing peers, and clocks that jump a little.
    fn stumble(&self, n: u64, size: usize, unit: u64, chaos_us: u64) -> Vec<Timed> {
        let stumbles = 4 + self.below("stumbles", n, 12);
        let jumps = self.one_in("stumbles by clock", n, 3);
        let each = |nth: u64| {
            let key = n << 8 | nth;
            let who = if self.one_in("the leader stumbles", key, 2) {
                Who::Leader
            } else {
                Who::Peer(self.host("stumbles", key, size))
            };
            let span_us = unit / 32 * (1 + self.below("stumbles for", key, 32));
            let act = if jumps {
                Act::Clock { who, jump_us: span_us }
            } else {
                Act::Pause { who, span_us }
            };
            Timed::at(unit + self.below("stumbles at", key, chaos_us - unit), act)
        };
        (0..stumbles).map(each).collect()
    }

    /// A peer's connections break at a message, one way or both ways, including those being
    /// established; and so do the connections on which it repeats the message.
    fn die_without_a_word(&self, n: u64, at_us: u64, unit: u64) -> Vec<Timed> {
        let verb = self.pick("dies at", n, &WORDS);
        let times = 1 + self.below("dies so often", n, 4);
        let other = self
            .one_in("dies to one", n, 2)
            .then(|| self.pick("dies to", n, &[Who::Leader, Who::Successor, Who::Lowest]));
        let one_way = self.one_in("dies one way", n, 2);
        (0..times)
            .map(|nth| {
                self.said(n + nth, verb, at_us, unit, Act::Forget { who: Who::It, other, one_way })
            })
            .collect()
    }

    /// A peer leaves in the middle of a claim, an admission or a hand-over, right after it has
    /// published something.
    fn leave_in_the_middle(&self, n: u64, at_us: u64, unit: u64) -> Vec<Timed> {
        let act = Act::Leave { who: Who::It, back: self.back(n, unit) };
        let leave = if self.one_in("leaves at a phase", n, 2) {
            let activity = self.pick(
                "leaves in",
                n,
                &[
                    Activity::Asking,
                    Activity::Waiting,
                    Activity::Syncing,
                    Activity::Building,
                    Activity::Joining,
                ],
            );
            Timed {
                when: Some(activity),
                past: self.pick("leaves past", n, &PAST),
                later_us: self.later(n, unit),
                ..Timed::at(at_us, act)
            }
        } else {
            self.said(n, self.pick("leaves at", n, &WORDS), at_us, unit, act)
        };
        vec![self.published_before(n, &leave), leave]
    }

    /// A peer leaves with readings in flight, and at its `LEAVE` a fault hits it or its leader.
    fn trouble_for_a_leaver(&self, n: u64, at_us: u64, size: usize, unit: u64) -> Vec<Timed> {
        let leaver = self.who("troubled leaver", n, size, false);
        let span_us = unit / 8 * (1 + self.below("trouble for", n, 16));
        let act = match self.below("trouble", n, 8) {
            0 => Act::Kill { who: Who::Leader, back: self.back(n, unit) },
            1 => Act::Pause { who: Who::Leader, span_us },
            2 => {
                Act::Cut { shape: Shape::Isolate(Who::It), over: Over::All, span_us, breaks: false }
            }
            3 => Act::Forget {
                who: Who::It,
                other: None,
                one_way: self.one_in("trouble one way", n, 2),
            },
            4 => Act::Leave { who: Who::Leader, back: self.back(n, unit) },
            5 => Act::Leave { who: Who::Successor, back: self.back(n, unit) },
            6 => Act::Pause { who: Who::It, span_us },
            _ => Act::Kill { who: Who::Successor, back: self.back(n, unit) },
        };
        let trouble = self.said(n, "LEAVE", at_us, unit, act);
        let at_us = at_us + self.below("troubled later", n, unit);
        let publish = Timed::at(
            at_us,
            Act::Publish {
                who: leaver,
                readings: 1 + self.below("troubled readings", n, 20),
                bytes: 50,
            },
        );
        vec![
            trouble,
            publish,
            Timed::at(at_us, Act::Leave { who: leaver, back: self.back(n + 1, unit) }),
        ]
    }

    /// A peer's messages arrive after it was killed and restarted.
    fn ghost(&self, n: u64, at_us: u64, unit: u64) -> Vec<Timed> {
        let verb = self.pick(
            "last words",
            n,
            &[
                "SEQUENCER_REQUEST",
                "ORDERED_ACK",
                "HEARTBEAT_ACK",
                "LEAVE",
                "OK",
                "SEQ_SYNC_RESPONSE",
                "ELECTION",
            ],
        );
        let span_us = unit / 4 * (1 + self.below("ghostly for", n, 16));
        let to =
            self.pick("ghostly to", n, &[Who::Leader, Who::Leader, Who::Successor, Who::Lowest]);
        let stall =
            self.said(n, verb, at_us, unit, Act::Stall { who: Who::It, other: to, span_us });
        let back = Some(Back {
            behind: self.one_in("ghost is behind", n, 3),
            ..Back::after(2_000 + self.below("ghost back", n, unit / 2), self.identity(n))
        });
        let kill = Timed {
            later_us: stall.later_us + self.below("killed after", n, 2_000),
            ..stall.clone()
        };
        vec![stall, Timed { act: Act::Kill { who: Who::It, back }, ..kill }]
    }

    /// The group splits and merges again, and at that moment a peer that moves to the other part
    /// leaves.
    fn merge_and_leave(&self, n: u64, at_us: u64, size: usize, unit: u64) -> Vec<Timed> {
        let side = (0..size)
            .filter(|&host| self.one_in("merging side", n << 8 | host as u64, 2))
            .collect();
        let span_us = unit * 2 + self.below("apart for", n, unit * 2);
        let cut = Timed::at(
            at_us,
            Act::Cut { shape: Shape::Split(side), over: Over::All, span_us, breaks: false },
        );
        let (from_us, leave) =
            (at_us + span_us, Act::Leave { who: Who::It, back: self.back(n, unit) });
        let leave = if self.one_in("leader leaves its group", n, 3) {
            self.said(n, "REJECTED", from_us, unit, leave)
        } else {
            let past = self.pick("goes over past", n, &[0, 0, 1]);
            Timed {
                when: Some(Activity::Joining),
                past,
                later_us: self.later(n, unit),
                ..Timed::at(from_us, leave)
            }
        };
        vec![cut, self.published_before(n, &leave), leave]
    }

    /// The successor falls behind without being missed, more is published than is retained, and
    /// then the leader dies.
    fn left_behind(&self, n: u64, at_us: u64, unit: u64) -> Vec<Timed> {
        let span_us = unit / 2 + self.below("behind for", n, unit / 2);
        let other = self.pick("falls behind", n, &[Who::Successor, Who::Successor, Who::Lowest]);
        let stall = Timed::at(at_us, Act::Stall { who: Who::Leader, other, span_us: span_us * 2 });
        let publish = |nth: u64| {
            let who = self.pick(
                "publishes meanwhile",
                n + nth,
                &[Who::Leader, Who::Lowest, Who::Successor],
            );
            Timed::at(
                at_us + span_us / 8 * (nth + 1),
                Act::Publish { who, readings: 10, bytes: 50 },
            )
        };
        let kill = Act::Kill { who: Who::Leader, back: self.back(n, unit) };
        let kill =
            Timed::at(at_us + span_us * self.pick("dies behind at", n, &[5, 7, 8]) / 8, kill);
        (0..6).map(publish).chain([stall, kill]).collect()
    }

    /// A member publishes and no longer receives messages of the leader; the leader numbers its
    /// readings. More is published than is retained before the member is back. It receives only a
    /// snapshot of the part of the log with its readings.
    fn numbered_unheard(&self, n: u64, at_us: u64, unit: u64) -> Vec<Timed> {
        let other = self.pick("is numbered unheard", n, &[Who::Successor, Who::Lowest]);
        let span_us = unit * 2 + self.below("unheard for", n, unit * 2);
        let publish = |key: u64, at_us: u64, who: Who, readings: u64| {
            let past = self.below("unheard at", n + key, unit / 16);
            Timed::at(at_us + past, Act::Publish { who, readings, bytes: 50 })
        };
        let own = publish(0, at_us, other, 1 + self.below("unheard readings", n, 5));
        let others = (1..8).map(|nth| publish(nth, at_us + span_us / 8 * nth, Who::Leader, 12));
        let over = self.pick("unheard over", n, &[Over::Streams, Over::Streams, Over::All]);
        let cut =
            Timed::at(at_us, Act::Cut { shape: Shape::Deaf(other), over, span_us, breaks: false });
        [cut, own].into_iter().chain(others).collect()
    }

    /// A peer publishes in the middle of some phase.
    fn publish_in_the_middle(&self, n: u64, at_us: u64, unit: u64) -> Vec<Timed> {
        let each = |nth: u64| {
            let key = n + nth;
            let readings = self.pick("so many in the middle", key, &[1, 5, 30]);
            let who = self.pick("publishes in the middle", key, &[Who::It, Who::It, Who::Leader]);
            self.said(
                key,
                self.pick("in the middle of", key, &WORDS),
                at_us,
                unit,
                Act::Publish { who, readings, bytes: 50 },
            )
        };
        (0..4).map(each).collect()
    }

    /// At a message, after a drawn number of its kind and a drawn moment later.
    fn said(&self, n: u64, verb: &str, at_us: u64, unit: u64, act: Act) -> Timed {
        let later_us = self.later(n, unit);
        Timed {
            says: Some(verb.to_owned()),
            past: self.pick("past", n, &PAST),
            later_us,
            ..Timed::at(at_us, act)
        }
    }

    fn later(&self, n: u64, unit: u64) -> u64 {
        match self.below("later", n, 4) {
            0 | 1 => 0,
            2 => self.below("a moment later", n, 1_000),
            _ => self.below("a while later", n, unit / 4),
        }
    }

    /// Readings of the same peer, at the same moment or right before.
    fn published_before(&self, n: u64, what: &Timed) -> Timed {
        let act = Act::Publish {
            who: Who::It,
            readings: 1 + self.below("published before", n, 10),
            bytes: 50,
        };
        Timed { later_us: self.below("before it", n, what.later_us + 1), act, ..what.clone() }
    }

    fn identity(&self, n: u64) -> Identity {
        if self.one_in("fresh ghost", n, 3) { Identity::Fresh } else { Identity::Same }
    }
}

/// The first key of these draws, disjoint from those of other faults.
const AIMED: u64 = 10_000;

/// How many are let pass first, mostly none.
const PAST: [u32; 7] = [0, 0, 0, 1, 2, 5, 20];
