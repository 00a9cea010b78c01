//! Whole scenes: a group, a start and faults that belong together, because independent draws would
//! hardly ever produce them.

use promises::fault::Identity;
use promises::shape::{Over, Shape};
use protocol::config::Mode;
use protocol::id::PeerId;

use super::dice::Dice;
use crate::plan::{Act, Back, Fate, Outside, Plan, Start, Timed, Who};

impl Dice {
    /// Sets a scene in some seeds, on a symmetric network.
    pub(super) fn scene(&self, plan: &mut Plan, unit: u64) {
        if plan.peers.len() < 3 || !plan.hearing.is_whole() || !self.one_in("scene", 0, 6) {
            return;
        }
        match self.below("which scene", 0, 8) {
            0 => self.full_group(plan),
            1 => self.crowd(plan, unit),
            2 => self.deaths(plan, unit),
            3 => self.returns(plan, unit),
            4 => self.lonely_tail(plan, unit),
            5 => self.held_up_cut(plan, unit),
            6 => self.ghostly_word(plan, unit),
            _ => self.cut_without_a_view(plan, unit),
        }
        plan.faults.sort_by_key(|fault| fault.at_us);
    }

    /// In some seeds more than half of the group is asked to leave, nearly at once.
    pub(super) fn exodus(&self, plan: &mut Plan, unit: u64) {
        let size = plan.peers.len();
        if size < 4 || !self.one_in("exodus", 0, 40) {
            return;
        }
        let at_us = plan.chaos_us / 2 + self.below("exodus at", 0, plan.chaos_us / 4);
        let (first, many) = (self.host("first to leave", 0, size), size / 2 + 1);
        if plan.hearing.is_whole() && self.one_in("exodus of a quorum", 0, 2) {
            // The leavers receive the permission, and their answers come too late.
            found_by_all(plan);
            let leavers = (0..many).map(|n| (first + n) % size);
            let pairs = leavers
                .flat_map(|from| (0..size).filter(move |to| *to != from).map(move |to| (from, to)))
                .collect();
            let act = Act::Cut {
                shape: Shape::Pairs(pairs),
                over: Over::Streams,
                span_us: unit * 2,
                breaks: false,
            };
            let past =
                u32::try_from(many).expect("a few") - self.pick("exodus past", 0, &[1, 1, 2]);
            let later_us = self.below("exodus cut later", 0, 20_000);
            plan.faults.push(Timed {
                says: Some("LEAVE".to_owned()),
                past,
                later_us,
                ..Timed::at(at_us, act)
            });
        }
        for n in 0..many {
            let key = n as u64;
            let back =
                self.back(7_000 + key, unit).filter(|_| self.one_in("comes back from it", key, 2));
            let act = Act::Leave { who: Who::Peer((first + n) % size), back };
            plan.faults.push(Timed::at(at_us + self.below("leaves later", key, 20_000), act));
        }
        plan.faults.sort_by_key(|fault| fault.at_us);
    }

    /// One peer more than the group admits; when the chaos ends, one has to be gone.
    fn full_group(&self, plan: &mut Plan) {
        let most = plan.peers.len() - 1;
        if plan.knobs.bootstrap.len() > most {
            plan.knobs.bootstrap.pop();
        }
        plan.knobs.members_max = most as u64;
        plan.outside = vec![Outside {
            peer: self.host("one too many", 0, plan.peers.len()),
            fate: Fate::Dead,
        }];
    }

    /// Newcomers ask all together, and are gone at the message that admits them, or right before:
    /// none of them ever acknowledges what was sent to it.
    fn crowd(&self, plan: &mut Plan, unit: u64) {
        let size = plan.peers.len();
        let old = 1 + self.host("how many old", 0, size - 2);
        let from_us = plan.chaos_us / 3 + self.below("crowd at", 0, plan.chaos_us / 4);
        if !self.one_in("crowd in any mode", 0, 4) {
            found_by(plan, old);
        } else if plan.knobs.mode == Mode::Primary {
            return; // its founders have been drawn
        }
        plan.peers[..old].iter_mut().for_each(|peer| peer.at_us /= 4);
        // They have to find a group of its founders, and not of each other.
        let (verb, past) = self.pick(
            "crowd goes at",
            0,
            &[("ADDED TO NETWORK", 0), ("ADDED TO NETWORK", 0), ("NEW_PEER_REQUEST", 2)],
        );
        let at_once = self.one_in("crowd goes at once", 0, 2);
        for (n, peer) in plan.peers.iter_mut().enumerate().skip(old) {
            peer.at_us = from_us + self.below("crowd later", n as u64, 15_000);
            if self.one_in("stays in the crowd", n as u64, 6) {
                continue;
            }
            let who = Who::Peer(n);
            let act = match self.below("crowd goes how", n as u64, 4) {
                0 => Act::Kill { who, back: None },
                1 => Act::Pause { who, span_us: plan.chaos_us },
                _ => Act::Outage { who, back: None },
            };
            let later_us =
                if at_once { 0 } else { self.below("crowd goes later", n as u64, unit / 50) };
            plan.faults.push(Timed {
                says: Some(verb.to_owned()),
                past,
                later_us,
                ..Timed::at(from_us, act)
            });
        }
        if !self.one_in("crowd comes back", 0, 3) {
            plan.outside = (old..size).map(|peer| Outside { peer, fate: Fate::Dead }).collect();
        }
    }

    /// Two members are away, one longer than the other. Soon only the other one holds what the
    /// longer-absent one has missed; it has returned, and leads when the longer-absent one returns.
    fn returns(&self, plan: &mut Plan, unit: u64) {
        let size = plan.peers.len();
        let (first, second) = (self.host("away longer", 0, size), self.host("away", 0, size - 1));
        let second = if second < first { second } else { second + 1 };
        plan.peers.iter_mut().for_each(|peer| peer.at_us = peer.at_us.min(plan.chaos_us / 8));
        let away_us = plan.chaos_us / 4 + self.below("away at", 0, unit);
        let back_us = away_us + unit * 3 + self.below("back at", 0, unit);
        let dead_us = back_us + unit + self.below("dead at", 0, unit * 3);
        let last_us = dead_us + unit + self.below("last back at", 0, unit * 3);
        let away = |peer: usize, from_us: u64, to_us: u64| {
            let shape = Shape::Isolate(Who::Peer(peer));
            Timed::at(
                from_us,
                Act::Cut { shape, over: Over::All, span_us: to_us - from_us, breaks: false },
            )
        };
        plan.faults.extend([
            away(first, away_us, last_us),
            away(second, away_us + self.below("away later", 0, unit), back_us),
        ]);
        for peer in (0..size).filter(|peer| ![first, second].contains(peer)) {
            let back = self
                .back(6_000 + peer as u64, unit)
                .filter(|_| self.one_in("dead come back", peer as u64, 2));
            plan.faults.push(Timed::at(
                dead_us + self.below("dead later", peer as u64, unit / 2),
                Act::Kill { who: Who::Peer(peer), back },
            ));
        }
        for n in 0..8 {
            let at_us = away_us + (last_us - away_us) / 8 * n;
            plan.faults
                .push(Timed::at(at_us, Act::Publish { who: Who::Leader, readings: 3, bytes: 50 }));
        }
    }

    /// As many members as permitted die at once, the leader among them, so that the rest is exactly
    /// a quorum; then one more dies for each that has returned.
    fn deaths(&self, plan: &mut Plan, unit: u64) {
        let size = plan.peers.len();
        let many = (size - 1) / 2;
        let first = self.host("first to die", 0, size);
        let at_us = plan.chaos_us / 3 + self.below("deaths at", 0, plan.chaos_us / 3);
        let waits = self.pick(
            "deaths wait for",
            0,
            &[
                None,
                Some("COORDINATOR"),
                Some("ADDED TO NETWORK"),
                Some("SEQ_SYNC_REQUEST"),
                Some("SEQ_SYNC_FINAL"),
            ],
        );
        for n in 0..many {
            let key = n as u64;
            let who = if n == 0 && self.one_in("leader dies", 0, 2) {
                Who::Leader
            } else {
                Who::Peer((first + n) % size)
            };
            let back = self.back(5_000 + key, unit);
            let act = if self.one_in("dies by outage", key, 2) {
                Act::Outage { who, back }
            } else {
                Act::Kill { who, back }
            };
            let death = Timed::at(at_us + self.below("dies later", key, 3_000), act);
            plan.faults.push(Timed { says: waits.map(str::to_owned), ..death });
        }
    }

    /// One peer receives the last messages of its leader, which no other peer receives, and is
    /// paused. Another peer promises the next leader its epoch, and never gets the cut. When the
    /// next leader is gone, the second peer chooses between a longer log and a later one.
    fn lonely_tail(&self, plan: &mut Plan, unit: u64) {
        grow_to(plan, 5);
        let size = plan.peers.len();
        let from = self.host("leads first", 0, size);
        let [first, next, chooser, hearer] = [0, 1, 2, 3].map(|n| (from + n) % size);
        for (n, peer) in plan.peers.iter_mut().enumerate() {
            peer.at_us = peer.at_us.min(plan.chaos_us / 8);
            peer.priority = [first, next, chooser]
                .iter()
                .position(|ranked| *ranked == n)
                .map_or(0, |place| [3, 2, 1][place]);
        }
        if self.one_in("lonely tail of a quorum", 0, 4) {
            found_by_all(plan);
        }
        let at_us = plan.chaos_us / 3 + self.below("last words at", 0, plan.chaos_us / 4);
        let dead_us = at_us + unit / 10;
        let is_deaf = |peer: &usize| ![first, hearer].contains(peer);
        let lose = |kind: &str, from: usize, to: usize| Act::Lose {
            kind: kind.to_owned(),
            from: Some(Who::Peer(from)),
            to: Some(Who::Peer(to)),
            times: 1_000,
            span_us: unit * 2,
        };
        plan.faults.extend(
            (0..size).filter(is_deaf).map(|to| Timed::at(at_us, lose("ORDERED", first, to))),
        );
        let readings = 3 + self.below("last words", 0, 20);
        let sleep_us = unit * 4 / 5 + self.below("sleeps over the next", 0, unit * 3 / 4);
        plan.faults.extend([
            Timed::at(at_us + 1_000, Act::Publish { who: Who::Peer(first), readings, bytes: 50 }),
            Timed::at(at_us, lose("SEQ_SYNC_FINAL", next, chooser)),
            Timed::at(dead_us, Act::Kill { who: Who::Peer(first), back: None }),
            Timed::at(dead_us, Act::Pause { who: Who::Peer(hearer), span_us: sleep_us }),
            Timed {
                says: Some("SEQ_SYNC_FINAL".to_owned()),
                later_us: unit / 50 + self.below("next is gone later", 0, unit / 8),
                ..Timed::at(dead_us, Act::Kill { who: Who::It, back: self.back(8_000, unit) })
            },
        ]);
    }

    /// A new leader's cut is delayed, and comes again on another connection; its reader continues
    /// with it until that leader has no quorum any more and says so, and then the delayed cut
    /// arrives.
    fn held_up_cut(&self, plan: &mut Plan, unit: u64) {
        grow_to(plan, 6);
        found_by_all(plan);
        plan.peers.iter_mut().for_each(|peer| peer.at_us = peer.at_us.min(plan.chaos_us / 8));
        let mut ranked: Vec<usize> = (0..plan.peers.len()).collect();
        ranked.sort_by_key(|peer| (plan.peers[*peer].priority, plan.peers[*peer].name.clone()));
        let [reader, others @ .., _next, _first] = &ranked[..] else { return };
        let at_us = plan.chaos_us / 3 + self.below("cut at", 0, plan.chaos_us / 4);
        let with_us = unit / 4 + self.below("goes on with the cut for", 0, unit / 8);
        let held_us = with_us + unit + self.below("cut is held up for", 0, unit / 2);
        let on_cut = |later_us: u64, act: Act| Timed {
            says: Some("SEQ_SYNC_FINAL".to_owned()),
            later_us,
            ..Timed::at(at_us, act)
        };
        plan.faults.extend([
            Timed::at(at_us, Act::Kill { who: Who::Leader, back: None }),
            on_cut(0, Act::Stall { who: Who::It, other: Who::Peer(*reader), span_us: held_us }),
        ]);
        plan.faults.extend(others.iter().map(|peer| {
            on_cut(with_us, Act::Pause { who: Who::Peer(*peer), span_us: unit * 5 / 2 })
        }));
    }

    /// A peer's acknowledgement arrives when it is dead, and its next life is in the group and has
    /// acknowledged nothing.
    fn ghostly_word(&self, plan: &mut Plan, unit: u64) {
        plan.peers.iter_mut().for_each(|peer| peer.at_us = peer.at_us.min(plan.chaos_us / 8));
        let ghost = Who::Peer(self.host("ghostly word of", 0, plan.peers.len()));
        let at_us = plan.chaos_us / 3 + self.below("ghostly word at", 0, plan.chaos_us / 4);
        let dead_us = at_us + 10_000 + self.below("ghost dead after", 0, 10_000);
        let span_us = unit / 4 + self.below("ghostly word after", 0, unit / 2);
        let back = Some(Back::after(2_000, Identity::Same));
        plan.faults.extend([
            Timed::at(at_us, Act::Stall { who: ghost, other: Who::Leader, span_us }),
            Timed::at(at_us + 1_000, Act::Publish { who: Who::Leader, readings: 3, bytes: 50 }),
            Timed::at(dead_us, Act::Kill { who: ghost, back }),
            Timed {
                says: Some("ADDED TO NETWORK".to_owned()),
                ..Timed::at(dead_us, Act::Pause { who: ghost, span_us: unit })
            },
        ]);
    }

    /// The founders have adopted the cut of the first leader, and it is out of reach before it
    /// sends them its view.
    fn cut_without_a_view(&self, plan: &mut Plan, unit: u64) {
        if !self.one_in("cut without a view in any mode", 0, 4) {
            found_by_all(plan);
        }
        plan.peers.iter_mut().for_each(|peer| peer.at_us /= 8);
        let span_us = unit + self.below("without a view for", 0, unit * 3);
        let act = if self.one_in("without a view for a pause", 0, 3) {
            Act::Pause { who: Who::Leader, span_us }
        } else {
            Act::Cut { shape: Shape::Isolate(Who::Leader), over: Over::All, span_us, breaks: false }
        };
        plan.faults.push(Timed { says: Some("HEARTBEAT_ACK".to_owned()), ..Timed::at(0, act) });
    }
}

/// At least this many peers.
fn grow_to(plan: &mut Plan, least: usize) {
    while plan.peers.len() < least {
        let name = format!("p{}", plan.peers.len() + 1);
        plan.peers.push(Start { name, priority: 0, at_us: 0, drift_ppm: 0 });
    }
}

/// Mode `primary`: all peers found the group.
fn found_by_all(plan: &mut Plan) {
    found_by(plan, plan.peers.len());
}

/// Mode `primary`: this many peers found the group.
fn found_by(plan: &mut Plan, many: usize) {
    plan.knobs.mode = Mode::Primary;
    let founders = plan.peers[..many].iter();
    plan.knobs.bootstrap =
        founders.map(|peer| PeerId::new(&peer.name).expect("a drawn name is one")).collect();
}
