//! Draws a plan from a seed by swarm testing: each seed first draws *which* kinds of faults exist
//! in its run and how often they come, then the faults themselves. A little of every kind in every
//! run finds less.

mod aimed;
mod dice;
mod faults;
mod hearing;
mod scenes;

use std::time::Duration;

use protocol::config::{Guarantee, Knobs, LateJoin, Mode};
use protocol::id::PeerId;

use crate::hearing::Hearing;
use crate::plan::{Fate, Lies, Load, Outside, Plan, Start};
use crate::weather::{OneIn, Weather};
use dice::Dice;

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn drawn(seed: u64) -> Self {
        let dice = Dice { seed };
        let mut knobs = dice.knobs();
        let unit = micros(knobs.heartbeat_timeout);
        let size = if dice.one_in("alone", 0, 80) { 1 } else { dice.pick("size", 0, &SIZES) };
        let chaos_us = unit * (6 + dice.below("chaos", 0, 20));
        let mut peers = dice.peers(size, unit, chaos_us);
        if knobs.mode == Mode::Primary {
            knobs.bootstrap = dice.bootstrap(&peers, chaos_us);
        }
        let mut faults = dice.faults(size, unit, chaos_us);
        faults.extend(dice.aimed(size, unit, chaos_us));
        faults.sort_by_key(|fault| fault.at_us);
        let flood = dice.one_in("flood", 0, 16);
        let has_twin = size > 1 && dice.one_in("twin", 0, 16);
        // A twin of a founder has an empty disk, and would found another group.
        let of = dice.host("twin of", 0, size);
        // On an asymmetric network each peer may be the one that connects the others.
        let hearing = if has_twin { Hearing::default() } else { dice.hearing(size) };
        let has_twin = has_twin && knobs.bootstrap.iter().all(|id| id.as_str() != peers[of].name);
        if has_twin {
            // With equal clocks, two peers that start at the same moment take the same incarnation.
            let later_us = unit * 2 + dice.below("twin at", 0, chaos_us);
            let at_us = if dice.one_in("twin at once", 0, 3) { peers[of].at_us } else { later_us };
            peers.push(Start { name: peers[of].name.clone(), at_us, ..peers[of] });
        }
        let mut plan = Self {
            seed,
            chaos_us,
            revive: dice.one_in("revive", 0, 2) || !hearing.is_whole(),
            bytes: dice.one_in("bytes", 0, 4),
            capacity: if flood {
                1 << 10
            } else {
                dice.pick("capacity", 0, &[1 << 10, 16 << 10, 1 << 20, 1 << 20])
            },
            rude: OneIn(dice.pick("rude", 0, &[0, 1, 2])),
            timer_late_us: dice.pick("timer", 0, &[0, 1_000, 1_000, 5_000]),
            turn_us: dice.pick("turn", 0, &[0, 0, 20, 500]),
            datagrams: dice.pick("datagrams", 0, &[0, 0, 0, 0, 2, 8]),
            lost: vec![],
            weather: dice.weather("usual", 0, 20_000),
            loads: if flood {
                dice.flood(peers.len(), unit, chaos_us)
            } else {
                dice.loads(peers.len(), chaos_us)
            },
            // Two live holders of one name, one of them out of reach, are no group that could
            // settle.
            outside: if has_twin || !hearing.is_whole() { vec![] } else { dice.outside(size) },
            hearing,
            lies: None,
            knobs,
            peers,
            faults,
        };
        if !has_twin {
            dice.scene(&mut plan, unit);
            dice.exodus(&mut plan, unit);
        }
        plan
    }
}

impl Plan {
    /// The plan of a seed with a liar: a member in most seeds, in the others a stranger.
    #[must_use]
    pub fn drawn_with_a_liar(seed: u64) -> Self {
        let (mut plan, dice) = (Self::drawn(seed), Dice { seed });
        let size = plan.peers.len();
        let unit = micros(plan.knobs.heartbeat_timeout);
        let member = (!dice.one_in("a stranger", 0, 4)).then(|| dice.host("liar", 0, size));
        if member.is_some() {
            // Bounds that are never reached are never tested.
            plan.knobs.payload_max = 2 << 10;
            plan.knobs.window_bytes = 64 << 10;
            plan.knobs.merge_retain_bytes = 64 << 10;
            plan.knobs.members_max = dice.pick("members", 0, &[8, 64]);
            // As little as possible, or somewhat more.
            let views = 8 * (64 + 160 * plan.knobs.members_max);
            plan.knobs.retain_bytes =
                plan.knobs.payload_max + views * dice.pick("retained bytes", 0, &[1, 4]);
        }
        let every_us = unit / dice.pick("lies", 0, &[10, 100, 1_000]);
        plan.lies = Some(Lies {
            member,
            from_us: dice.below("first lie", 0, plan.chaos_us / 2),
            every_us: every_us.max(1),
        });
        plan
    }
}

impl Dice {
    fn peers(&self, size: usize, unit: u64, chaos_us: u64) -> Vec<Start> {
        let boot_us = if self.one_in("boot slowly", 0, 3) { chaos_us / 2 } else { unit / 4 };
        let drifts = self.one_in("clocks drift", 0, 4);
        let mut peers: Vec<Start> = (0..size)
            .map(|n| Start {
                name: format!("p{}", n + 1),
                priority: if self.one_in("explicit", 0, 5) {
                    self.below("priority", n as u64, 3).cast_signed() - 1
                } else {
                    0
                },
                at_us: if self.one_in("at once", 0, 3) {
                    0
                } else {
                    self.below("start", n as u64, boot_us)
                },
                drift_ppm: if drifts {
                    self.pick("drift", n as u64, &[0, 200, -200, 20_000, -20_000])
                } else {
                    0
                },
            })
            .collect();
        if self.one_in("latecomers", 0, 4) {
            for (n, peer) in
                peers.iter_mut().enumerate().filter(|(n, _)| self.one_in("latecomer", *n as u64, 3))
            {
                peer.at_us = chaos_us / 2 + self.below("late by", n as u64, chaos_us / 2);
            }
        }
        peers
    }

    /// The founders of the group: all peers that start in time, or some of them.
    fn bootstrap(&self, peers: &[Start], chaos_us: u64) -> Vec<PeerId> {
        let some = self.one_in("some found", 0, 4);
        let soonest = peers.iter().map(|peer| peer.at_us).min();
        let founds = |(n, peer): &(usize, &Start)| {
            Some(peer.at_us) == soonest
                || peer.at_us < chaos_us / 2 && !(some && self.one_in("founds not", *n as u64, 2))
        };
        let founders = peers.iter().enumerate().filter(founds);
        founders.map(|(_, peer)| PeerId::new(&peer.name).expect("a drawn name is one")).collect()
    }

    /// In some seeds, some peers are dead or out of reach for good, in every asymmetric way.
    fn outside(&self, size: usize) -> Vec<Outside> {
        if size < 2 || !self.one_in("outside", 0, 3) {
            return vec![];
        }
        let one = self.host("first outside", 0, size);
        let share = self.pick("share outside", 0, &[2, 4, 8]);
        let is_outside = |peer: usize| peer == one || self.one_in("is outside", peer as u64, share);
        let (out, core): (Vec<usize>, Vec<usize>) = (0..size).partition(|peer| is_outside(*peer));
        let (out, core) = if core.is_empty() { (core, out) } else { (out, core) };
        let fate = |peer: usize| {
            let n = peer as u64;
            let (hears, heard_by) = match self.below("fate", n, 6) {
                0 => return Fate::Dead,
                1 => (vec![], vec![]),
                2 => (vec![], core.clone()),
                3 => (core.clone(), vec![]),
                _ => {
                    let side = |other: &usize| self.below("which way", n << 8 | *other as u64, 3);
                    let (hears, rest): (Vec<usize>, Vec<usize>) =
                        core.iter().partition(|other| side(other) == 0);
                    (hears, rest.into_iter().filter(|other| side(other) == 1).collect())
                }
            };
            Fate::Apart { hears, heard_by }
        };
        out.into_iter().map(|peer| Outside { peer, fate: fate(peer) }).collect()
    }

    fn knobs(&self) -> Knobs {
        let mut knobs =
            if self.one_in("default knobs", 0, 5) { Knobs::default() } else { Knobs::fast() };
        // Bounds that are never reached are never tested.
        if self.one_in("small retention", 0, 4) {
            knobs.retain_entries = self.pick("retain", 0, &[4, 16, 64]);
            knobs.max_lag_entries = knobs.retain_entries / 2;
        }
        if self.one_in("little patience with the slow", 0, 4) {
            knobs.slow_timeout = knobs.heartbeat_interval;
        }
        if self.one_in("small window", 0, 5) {
            knobs.window_entries = self.pick("window", 0, &[1, 4, 16]);
        }
        if self.one_in("small merge retention", 0, 6) {
            knobs.merge_retain_entries = self.pick("merge retain", 0, &[0, 1, 8]);
        }
        if self.one_in("few bytes", 0, 6) {
            knobs.payload_max = self.pick("payload max", 0, &[64, 256, 2_000]);
            knobs.window_bytes = knobs.payload_max * self.pick("window bytes", 0, &[1, 2, 8]);
            knobs.members_max = 16;
            knobs.retain_bytes =
                knobs.payload_max + (22 << 10) * self.pick("retain bytes", 0, &[1, 1, 4]);
            knobs.merge_retain_bytes =
                knobs.payload_max * self.pick("merge retain bytes", 0, &[0, 1, 16]);
        }
        if self.one_in("no join batch", 0, 6) {
            knobs.join_batch = Duration::ZERO;
        }
        if self.one_in("primary", 0, 4) {
            knobs.mode = Mode::Primary;
        }
        if self.one_in("safe", 0, 4) {
            knobs.delivery = Guarantee::Safe;
        }
        knobs.preempt = self.one_in("preempt", 0, 6);
        if self.one_in("join late", 0, 5) {
            knobs.late_join = LateJoin::Last(self.pick("last", 0, &[1, 10, 100, 10_000]));
        }
        knobs
    }

    fn weather(&self, purpose: &str, counter: u64, slow_us_max: u64) -> Weather {
        let key = counter << 4;
        Weather {
            delay_us: self.pick(purpose, key, &[20, 100, 100, 500, 2_000]),
            spread_us: self.pick(purpose, key + 1, &[0, 50, 200, 1_000, 5_000]),
            slow: OneIn(self.pick(purpose, key + 2, &[0, 0, 200, 50, 10])),
            slow_us: u32::try_from(self.below(purpose, key + 3, slow_us_max))
                .expect("a span below an hour"),
            loss: OneIn(self.pick(purpose, key + 4, &[0, 0, 100, 10, 3])),
            repeat: OneIn(self.pick(purpose, key + 5, &[0, 0, 50, 5])),
            corruption: OneIn(self.pick(purpose, key + 6, &[0, 0, 50, 5])),
            // It ends a connection each time: too much for every run.
            damage: OneIn(if purpose == "usual" {
                0
            } else {
                self.pick(purpose, key + 7, &[0, 0, 500, 50, 5])
            }),
        }
    }

    fn loads(&self, peers: usize, chaos_us: u64) -> Vec<Load> {
        let per_seed = self.pick("readings", 0, &[100, 300, 300, 600, 1_200]);
        let burst = self.pick("burst", 0, &[1, 1, 2, 10, 50]);
        let each = (per_seed / peers as u64 / burst).max(1);
        let goes_on = self.one_in("goes on", 0, 3);
        (0..peers)
            .filter(|&peer| !self.one_in("silent", peer as u64, 6))
            .map(|peer| Load {
                peer,
                from_us: self.below("load from", peer as u64, chaos_us / 4),
                every_us: chaos_us / each
                    + self.below("load every", peer as u64, chaos_us / each / 4 + 1),
                bursts: each,
                burst,
                bytes: self.pick("bytes", peer as u64, &[1, 20, 100, 100, 100, 1_500]),
                otherwise: OneIn(self.pick("otherwise", peer as u64, &[0, 0, 0, 10, 2, 1])),
                uneven: OneIn(self.pick("uneven", peer as u64, &[0, 0, 5, 2])),
                on: goes_on,
            })
            .collect()
    }

    /// For a while, more readings than the links of the group can carry, so that members fall
    /// behind and windows fill.
    fn flood(&self, peers: usize, unit: u64, chaos_us: u64) -> Vec<Load> {
        let floods = 1 + self.below("floods", 0, 2);
        (0..floods)
            .map(|n| Load {
                peer: self.host("flood of", n, peers),
                from_us: self.below("flood from", n, chaos_us / 2),
                every_us: unit / 100,
                bursts: 100 + self.below("flood for", n, 300),
                burst: self.pick("flood burst", n, &[2, 5, 10]),
                bytes: self.pick("flood bytes", n, &[100, 500, 1_500]),
                otherwise: OneIn(0),
                uneven: OneIn(self.pick("uneven flood", n, &[0, 0, 0, 2])),
                on: false,
            })
            .collect()
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).expect("a checked knob is at most a day")
}

/// Group sizes; more likely sizes appear more often.
const SIZES: [usize; 25] =
    [2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 6, 6, 7, 8, 9];

#[cfg(test)]
mod tests {
    use crate::marks::WORDS;
    use crate::plan::{Act, Fate, Plan};
    use protocol::config::Config;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_is_a_plan_and_a_plan_is_a_text() {
        for seed in 0..200 {
            let plan = Plan::drawn(seed);
            assert_eq!(plan, Plan::drawn(seed));
            let text = plan.text();
            assert_eq!(toml::from_str::<Plan>(&text).expect("and read"), plan, "{text}");
            assert!(
                Config::try_from(plan.knobs.clone()).is_ok(),
                "seed {seed} drew knobs that are refused"
            );
        }
    }

    #[test]
    fn the_swarm_draws_everything() {
        let plans: Vec<Plan> = (0..500).map(Plan::drawn).collect();
        let kinds: BTreeSet<String> = plans
            .iter()
            .flat_map(|plan| &plan.faults)
            .map(|fault| toml::Value::try_from(fault).unwrap()["do"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            kinds.into_iter().collect::<Vec<_>>(),
            [
                "clock",
                "cut",
                "descriptors",
                "disk",
                "drip",
                "forget",
                "half_open",
                "kill",
                "leave",
                "lose",
                "outage",
                "pause",
                "publish",
                "reset",
                "slow",
                "stall",
                "storm"
            ]
        );
        let sizes: BTreeSet<usize> = plans.iter().map(|plan| plan.peers.len()).collect();
        assert!((1..=9).all(|size| sizes.contains(&size)), "{sizes:?}");
        assert!(
            plans.iter().any(|plan| plan.faults.is_empty()) && plans.iter().any(|plan| plan.bytes)
        );
        let fates: Vec<&Fate> =
            plans.iter().flat_map(|plan| &plan.outside).map(|outside| &outside.fate).collect();
        let is_one_way = |fate: &&Fate| matches!(fate, Fate::Apart { hears, heard_by } if hears.is_empty() != heard_by.is_empty());
        assert!(fates.contains(&&Fate::Dead) && fates.iter().any(is_one_way), "{fates:?}");
        let waits: BTreeSet<_> =
            plans.iter().flat_map(|plan| &plan.faults).filter_map(|fault| fault.when).collect();
        assert_eq!(waits.len(), 5, "{waits:?}");
        let words: BTreeSet<&str> = plans
            .iter()
            .flat_map(|plan| &plan.faults)
            .filter_map(|fault| fault.says.as_deref())
            .collect();
        assert!(WORDS.into_iter().all(|word| words.contains(word)), "{words:?}");
        let is_full = |plan: &&Plan| plan.knobs.members_max < plan.peers.len() as u64;
        assert!(
            plans.iter().any(|plan| is_full(&plan))
                && plans
                    .iter()
                    .flat_map(|plan| &plan.loads)
                    .any(|load| load.on && load.uneven.0 > 0)
        );
        let backs = plans
            .iter()
            .flat_map(|plan| &plan.faults)
            .filter(|fault| matches!(fault.act, Act::Kill { back: Some(_), .. }));
        assert!(backs.count() > 100);
    }
}
