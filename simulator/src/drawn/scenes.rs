//! Whole scenes: what takes a certain group, a certain start and certain faults together, so that drawing each by itself would
//! hardly ever bring it about.

use promises::shape::{Over, Shape};
use protocol::config::Mode;
use protocol::id::PeerId;

use super::dice::Dice;
use crate::plan::{Act, Fate, Outside, Plan, Timed, Who};

impl Dice {
    /// Sets a scene in some seeds, where everybody hears everybody.
    pub(super) fn scene(&self, plan: &mut Plan, unit: u64) {
        if plan.peers.len() < 3 || !plan.hearing.is_whole() || !self.one_in("scene", 0, 8) {
            return;
        }
        match self.below("which scene", 0, 4) {
            0 => self.full_group(plan),
            1 => self.crowd(plan, unit),
            2 => self.deaths(plan, unit),
            _ => self.returns(plan, unit),
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
        for n in 0..many {
            let key = n as u64;
            let back = self.back(7_000 + key, unit).filter(|_| self.one_in("comes back from it", key, 2));
            let act = Act::Leave { who: Who::Peer((first + n) % size), back };
            plan.faults.push(Timed::at(at_us + self.below("leaves later", key, 20_000), act));
        }
        plan.faults.sort_by_key(|fault| fault.at_us);
    }

    /// One peer more than the group takes; when the chaos ends, one has to be gone.
    fn full_group(&self, plan: &mut Plan) {
        let most = plan.peers.len() - 1;
        if plan.knobs.bootstrap.len() > most {
            plan.knobs.bootstrap.pop();
        }
        plan.knobs.members_max = most as u64;
        plan.outside = vec![Outside { peer: self.host("one too many", 0, plan.peers.len()), fate: Fate::Dead }];
    }

    /// Newcomers ask all together, and are gone at the word that lets them in, or right before: none of them ever says that it
    /// has what was sent to it.
    fn crowd(&self, plan: &mut Plan, unit: u64) {
        let size = plan.peers.len();
        let old = 1 + self.host("how many old", 0, size - 2);
        let from_us = plan.chaos_us / 3 + self.below("crowd at", 0, plan.chaos_us / 4);
        if !self.one_in("crowd in any mode", 0, 4) {
            plan.knobs.mode = Mode::Primary;
            let founders = plan.peers[..old].iter();
            plan.knobs.bootstrap = founders.map(|peer| PeerId::new(&peer.name).expect("a drawn name is one")).collect();
        } else if plan.knobs.mode == Mode::Primary {
            return; // its founders have been drawn
        }
        plan.peers[..old].iter_mut().for_each(|peer| peer.at_us /= 4);
        // They have to find a group of its founders, and not of each other.
        let (verb, past) = self.pick("crowd goes at", 0, &[("ADDED TO NETWORK", 0), ("ADDED TO NETWORK", 0), ("NEW_PEER_REQUEST", 2)]);
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
            let later_us = self.below("crowd goes later", n as u64, unit / 50);
            plan.faults.push(Timed { says: Some(verb.to_owned()), past, later_us, ..Timed::at(from_us, act) });
        }
        if !self.one_in("crowd comes back", 0, 3) {
            plan.outside = (old..size).map(|peer| Outside { peer, fate: Fate::Dead }).collect();
        }
    }

    /// Two are away, one longer than the other; all that the longer one has missed is soon with the other one only, which has come
    /// back, and leads when that one comes.
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
            Timed::at(from_us, Act::Cut { shape, over: Over::All, span_us: to_us - from_us, breaks: false })
        };
        plan.faults.extend([away(first, away_us, last_us), away(second, away_us + self.below("away later", 0, unit), back_us)]);
        for peer in (0..size).filter(|peer| ![first, second].contains(peer)) {
            let back = self.back(6_000 + peer as u64, unit).filter(|_| self.one_in("dead come back", peer as u64, 2));
            plan.faults
                .push(Timed::at(dead_us + self.below("dead later", peer as u64, unit / 2), Act::Kill { who: Who::Peer(peer), back }));
        }
        for n in 0..8 {
            let at_us = away_us + (last_us - away_us) / 8 * n;
            plan.faults.push(Timed::at(at_us, Act::Publish { who: Who::Leader, readings: 3, bytes: 50 }));
        }
    }

    /// As many die at once as may, the leader among them, so that what is left is exactly a quorum; and then one more
    /// dies for each that has come back.
    fn deaths(&self, plan: &mut Plan, unit: u64) {
        let size = plan.peers.len();
        let many = (size - 1) / 2;
        let first = self.host("first to die", 0, size);
        let at_us = plan.chaos_us / 3 + self.below("deaths at", 0, plan.chaos_us / 3);
        let waits = self.pick(
            "deaths wait for",
            0,
            &[None, Some("COORDINATOR"), Some("ADDED TO NETWORK"), Some("SEQ_SYNC_REQUEST"), Some("SEQ_SYNC_FINAL")],
        );
        for n in 0..many {
            let key = n as u64;
            let who = if n == 0 && self.one_in("leader dies", 0, 2) { Who::Leader } else { Who::Peer((first + n) % size) };
            let back = self.back(5_000 + key, unit);
            let act = if self.one_in("dies by outage", key, 2) { Act::Outage { who, back } } else { Act::Kill { who, back } };
            let death = Timed::at(at_us + self.below("dies later", key, 3_000), act);
            plan.faults.push(Timed { says: waits.map(str::to_owned), ..death });
        }
    }
}
