//! Drawing a plan from a seed, the swarm's way: each seed first draws *which* kinds of fault exist for it and how often
//! they come, then the faults themselves. A little of everything, everywhere, finds less.

use std::time::Duration;

use promises::fault::Identity;
use protocol::config::Knobs;
use protocol::draw::draw_below;

use crate::plan::{Act, Back, Load, Plan, Shape, Start, Timed, Who};
use crate::weather::{OneIn, Weather};

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn drawn(seed: u64) -> Self {
        let dice = Dice { seed };
        let knobs = dice.knobs();
        let unit = micros(knobs.heartbeat_timeout);
        let size = dice.pick("size", 0, &[1, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 6, 6, 7, 8, 9]);
        let chaos_us = unit * (6 + dice.below("chaos", 0, 20));
        let boot_us = if dice.one_in("boot slowly", 0, 3) { chaos_us / 2 } else { unit / 4 };
        let mut peers: Vec<Start> = (0..size)
            .map(|n| Start {
                name: format!("p{}", n + 1),
                priority: if dice.one_in("explicit", 0, 5) { dice.below("priority", n as u64, 3).cast_signed() - 1 } else { 0 },
                at_us: if dice.one_in("at once", 0, 3) { 0 } else { dice.below("start", n as u64, boot_us) },
            })
            .collect();
        if dice.one_in("latecomers", 0, 4) {
            for (n, peer) in peers.iter_mut().enumerate().filter(|(n, _)| dice.one_in("latecomer", *n as u64, 3)) {
                peer.at_us = chaos_us / 2 + dice.below("late by", n as u64, chaos_us / 2);
            }
        }
        let faults = dice.faults(size, unit, chaos_us);
        let flood = dice.one_in("flood", 0, 16);
        if size > 1 && dice.one_in("twin", 0, 16) {
            let of = dice.host("twin of", 0, size);
            let at_us = unit * 2 + dice.below("twin at", 0, chaos_us);
            peers.push(Start { name: peers[of].name.clone(), at_us, ..peers[of] });
        }
        Self {
            seed,
            chaos_us,
            revive: dice.one_in("revive", 0, 2),
            bytes: dice.one_in("bytes", 0, 4),
            capacity: if flood { 1 << 10 } else { dice.pick("capacity", 0, &[1 << 10, 16 << 10, 1 << 20, 1 << 20]) },
            rude: OneIn(dice.pick("rude", 0, &[0, 1, 2])),
            timer_late_us: dice.pick("timer", 0, &[0, 1_000, 1_000, 5_000]),
            turn_us: dice.pick("turn", 0, &[0, 0, 20, 500]),
            weather: dice.weather("usual", 0, 20_000),
            loads: if flood { dice.flood(peers.len(), unit, chaos_us) } else { dice.loads(peers.len(), chaos_us) },
            knobs,
            peers,
            faults,
        }
    }
}

struct Dice {
    seed: u64,
}

impl Dice {
    fn below(&self, purpose: &str, counter: u64, bound: u64) -> u64 {
        draw_below(self.seed, purpose, counter, bound)
    }

    fn one_in(&self, purpose: &str, counter: u64, n: u64) -> bool {
        self.below(purpose, counter, n) == 0
    }

    fn pick<T: Copy>(&self, purpose: &str, counter: u64, from: &[T]) -> T {
        from[usize::try_from(self.below(purpose, counter, from.len() as u64)).expect("below a length")]
    }

    fn host(&self, purpose: &str, counter: u64, hosts: usize) -> usize {
        usize::try_from(self.below(purpose, counter, hosts as u64)).expect("below a count of hosts")
    }

    fn who(&self, purpose: &str, counter: u64, hosts: usize) -> Who {
        match self.below(purpose, counter, 6) {
            0 | 1 => Who::Leader,
            2 => Who::Successor,
            _ => Who::Peer(self.host(purpose, counter + 1_000, hosts)),
        }
    }

    fn knobs(&self) -> Knobs {
        let mut knobs = if self.one_in("default knobs", 0, 5) { Knobs::default() } else { Knobs::fast() };
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
        if self.one_in("no join batch", 0, 6) {
            knobs.join_batch = Duration::ZERO;
        }
        knobs
    }

    fn weather(&self, purpose: &str, counter: u64, slow_us_max: u64) -> Weather {
        let key = counter << 4;
        Weather {
            delay_us: self.pick(purpose, key, &[20, 100, 100, 500, 2_000]),
            spread_us: self.pick(purpose, key + 1, &[0, 50, 200, 1_000, 5_000]),
            slow: OneIn(self.pick(purpose, key + 2, &[0, 0, 200, 50, 10])),
            slow_us: u32::try_from(self.below(purpose, key + 3, slow_us_max)).expect("a span below an hour"),
            loss: OneIn(self.pick(purpose, key + 4, &[0, 0, 100, 10, 3])),
            repeat: OneIn(self.pick(purpose, key + 5, &[0, 0, 50, 5])),
            corruption: OneIn(self.pick(purpose, key + 6, &[0, 0, 50, 5])),
        }
    }

    fn loads(&self, peers: usize, chaos_us: u64) -> Vec<Load> {
        let per_seed = self.pick("readings", 0, &[100, 300, 300, 600, 1_200]);
        let burst = self.pick("burst", 0, &[1, 1, 2, 10, 50]);
        let each = (per_seed / peers as u64 / burst).max(1);
        (0..peers)
            .filter(|&peer| !self.one_in("silent", peer as u64, 6))
            .map(|peer| Load {
                peer,
                from_us: self.below("load from", peer as u64, chaos_us / 4),
                every_us: chaos_us / each + self.below("load every", peer as u64, chaos_us / each / 4 + 1),
                bursts: each,
                burst,
                bytes: self.pick("bytes", peer as u64, &[1, 20, 100, 100, 100, 1_500]),
            })
            .collect()
    }

    /// More than the links of the group can carry, for a while, so that members fall behind and windows fill.
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
            })
            .collect()
    }

    /// First which kinds there are, then how many, then each.
    fn faults(&self, size: usize, unit: u64, chaos_us: u64) -> Vec<Timed> {
        if self.one_in("no faults", 0, 40) {
            return vec![];
        }
        let mut kinds: Vec<u64> = (0..KINDS).filter(|kind| self.one_in("kind", *kind, 3)).collect();
        if kinds.is_empty() {
            kinds.push(KILL);
        }
        let count = 1 + self.below("count", 0, 12);
        let first = unit.min(chaos_us / 4);
        let mut faults: Vec<Timed> = (0..count)
            .map(|n| Timed {
                at_us: first + self.below("at", n, chaos_us - first),
                act: self.act(self.pick("which", n, &kinds), n, size, unit),
            })
            .collect();
        // A group that never loses its leader tests little; nearly every seed takes it away at least once.
        if !self.one_in("leader stays", 0, 40) {
            // Late enough for there to be one.
            let at_us = chaos_us / 3 + self.below("behead", 0, chaos_us - chaos_us / 3);
            let act = if kinds.contains(&PAUSE) && self.one_in("behead by pause", 0, 2) {
                Act::Pause { who: Who::Leader, span_us: unit + self.below("behead for", 0, unit * 2) }
            } else {
                Act::Kill { who: Who::Leader, back: self.back(1_000, unit) }
            };
            faults.push(Timed { at_us, act });
        }
        if self.one_in("all together", 0, 10) {
            faults.extend(self.all_together(size, unit, chaos_us));
        }
        faults.sort_by_key(|fault| fault.at_us);
        faults
    }

    /// The same thing happens to everybody within moments: a power cut, a roll-out, a machine that is suspended.
    fn all_together(&self, size: usize, unit: u64, chaos_us: u64) -> Vec<Timed> {
        let at_us = chaos_us / 3 + self.below("together at", 0, chaos_us / 2);
        let within = self.pick("together within", 0, &[1, 1, 20_000, unit / 2]);
        let kind = self.pick("together", 0, &[KILL, PAUSE, LEAVE, LEAVE]);
        let return_all = self.one_in("together back", 0, 2);
        let span_us = unit / 4 + self.below("together for", 0, unit * 3);
        (0..size)
            .map(|peer| {
                let (who, n) = (Who::Peer(peer), peer as u64 + 2_000);
                let back = self.back(n, unit).filter(|_| return_all);
                let act = match kind {
                    KILL => Act::Kill { who, back },
                    PAUSE => Act::Pause { who, span_us: span_us + self.below("together each", n, within) },
                    _ => Act::Leave { who, back },
                };
                Timed { at_us: at_us + self.below("together later", n, within), act }
            })
            .collect()
    }

    fn act(&self, kind: u64, n: u64, size: usize, unit: u64) -> Act {
        let who = self.who("who", n, size);
        let other = self.who("other", n, size);
        // Mostly around the time-outs, sometimes far shorter or longer.
        let span_us = match self.below("span", n, 4) {
            0 => self.below("short", n, unit / 4),
            1 | 2 => unit / 4 + self.below("middle", n, unit * 2),
            _ => self.below("long", n, unit * 8),
        };
        match kind {
            KILL => Act::Kill { who, back: self.back(n, unit) },
            PAUSE => Act::Pause { who, span_us },
            LEAVE => Act::Leave { who, back: self.back(n, unit) },
            RESET => Act::Reset { who, other },
            STALL => Act::Stall { who, other, span_us },
            CUT => Act::Cut { shape: self.shape(n, size), span_us, breaks: self.one_in("breaks", n, 4) },
            ONE_WAY => {
                let shape = match self.below("one way", n, 4) {
                    0 => Shape::Deaf(who),
                    1 => Shape::Mute(who),
                    2 => Shape::Deaf(Who::Leader),
                    _ => Shape::Pairs(vec![(self.host("from", n, size), self.host("to", n, size))]),
                };
                Act::Cut { shape, span_us, breaks: self.one_in("breaks", n, 4) }
            }
            STORM => Act::Storm { weather: self.weather("storm", n, unit / 4), span_us },
            _ => unreachable!("kinds end at {KINDS}"),
        }
    }

    fn shape(&self, n: u64, size: usize) -> Shape {
        match self.below("shape", n, 6) {
            0 => Shape::Isolate(self.who("isolated", n, size)),
            1 if size > 3 => Shape::Bridge(self.host("bridge", n, size)),
            2 if size > 3 => Shape::Ring,
            _ => Shape::Split((0..size).filter(|&host| self.one_in("side", n << 8 | host as u64, 2)).collect()),
        }
    }

    fn back(&self, n: u64, unit: u64) -> Option<Back> {
        let after_us = match self.below("back", n, 6) {
            0 | 1 => return None,
            // No process starts faster than that.
            2 => 2_000 + self.below("back at once", n, 50_000),
            3 => 2_000 + self.below("back soon", n, unit),
            _ => 2_000 + self.below("back late", n, unit * 4),
        };
        let identity = if self.one_in("fresh", n, 3) { Identity::Fresh } else { Identity::Same };
        Some(Back { after_us, identity })
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).expect("a checked knob is at most a day")
}

const KILL: u64 = 0;
const PAUSE: u64 = 1;
const LEAVE: u64 = 2;
const RESET: u64 = 3;
const STALL: u64 = 4;
const CUT: u64 = 5;
const ONE_WAY: u64 = 6;
const STORM: u64 = 7;
const KINDS: u64 = 8;

#[cfg(test)]
mod tests {
    use crate::plan::{Act, Plan};
    use protocol::config::Config;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_is_a_plan_and_a_plan_is_a_text() {
        for seed in 0..200 {
            let plan = Plan::drawn(seed);
            assert_eq!(plan, Plan::drawn(seed));
            let text = toml::to_string(&plan).expect("a plan can be printed");
            assert_eq!(toml::from_str::<Plan>(&text).expect("and read"), plan, "{text}");
            assert!(Config::try_from(plan.knobs.clone()).is_ok(), "seed {seed} drew knobs that are refused");
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
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["cut", "kill", "leave", "pause", "reset", "stall", "storm"]);
        let sizes: BTreeSet<usize> = plans.iter().map(|plan| plan.peers.len()).collect();
        assert!((1..=9).all(|size| sizes.contains(&size)), "{sizes:?}");
        assert!(plans.iter().any(|plan| plan.faults.is_empty()) && plans.iter().any(|plan| plan.bytes));
        let backs = plans.iter().flat_map(|plan| &plan.faults).filter(|fault| matches!(fault.act, Act::Kill { back: Some(_), .. }));
        assert!(backs.count() > 100);
    }
}
