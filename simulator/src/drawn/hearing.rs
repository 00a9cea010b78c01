//! Draws which peers hear which: mostly all hear all; some seeds get an asymmetric network.

use super::dice::Dice;
use crate::hearing::Hearing;

impl Dice {
    /// A network for this many hosts on which a group is still demanded.
    pub(super) fn hearing(&self, size: usize) -> Hearing {
        if size < 2 || !self.one_in("one-way hearing", 0, 4) {
            return Hearing::default();
        }
        let mut hearing = Hearing::default();
        match self.below("hearing", 0, 8) {
            0 | 1 => self.one_seed(size, &mut hearing),
            2 => self.two_subnets(size, &mut hearing),
            3 => self.firewalls(size, &mut hearing, true),
            4 => self.firewalls(size, &mut hearing, false),
            5 => self.closed(size, &mut hearing),
            _ => self.at_random(size, &mut hearing),
        }
        if self.one_in("one-way dials", 0, 3) {
            // Of each affected pair one side can dial.
            for (one, other) in pairs(size).filter(|(one, other)| one < other) {
                let key = key(one, other);
                if self.one_in("one-way dial", key, 3)
                    && !hearing
                        .no_dial
                        .iter()
                        .any(|pair| [(one, other), (other, one)].contains(pair))
                {
                    let first = self.one_in("dialled by the first", key, 2);
                    hearing.no_dial.push(if first { (one, other) } else { (other, one) });
                }
            }
        }
        let hosts: Vec<usize> = (0..size).collect();
        // More seeds, then fewer obstacles, until a group is demanded.
        for n in 0.. {
            if hearing.connects(&hosts) {
                break;
            }
            let (one, other) = (self.host("mended", n, size), self.host("mended with", n, size));
            if one != other && !hearing.seeds.contains(&(one, other)) {
                hearing.seeds.push((one, other));
            }
            if n > 16 {
                hearing.no_unicast.pop();
            }
            if n > 64 {
                hearing.no_dial.pop();
                hearing.no_broadcast.pop();
            }
        }
        hearing
    }

    /// No broadcast, and one peer is the seed address of all others.
    fn one_seed(&self, size: usize, hearing: &mut Hearing) {
        hearing.no_broadcast = pairs(size).collect();
        let seed = self.host("the seed", 0, size);
        hearing.seeds = (0..size).filter(|&host| host != seed).map(|host| (host, seed)).collect();
    }

    /// Two subnets, and one peer of one of them has a seed address in the other.
    fn two_subnets(&self, size: usize, hearing: &mut Hearing) {
        let other = |host: usize| self.one_in("in the other subnet", host as u64, 2);
        hearing.no_broadcast = pairs(size).filter(|&(one, two)| other(one) != other(two)).collect();
        let holder = self.host("holds the seed", 0, size);
        let across: Vec<usize> = (0..size).filter(|&host| other(host) != other(holder)).collect();
        if !across.is_empty() {
            hearing.seeds.push((holder, across[self.host("across", 0, across.len())]));
        }
    }

    /// Some hosts accept no broadcast, or no datagram at all.
    fn firewalls(&self, size: usize, hearing: &mut Hearing, unicast_passes: bool) {
        let walled: Vec<usize> =
            (0..size).filter(|&host| self.one_in("walled", host as u64, 2)).collect();
        hearing.no_broadcast = pairs(size).filter(|(_, to)| walled.contains(to)).collect();
        if !unicast_passes {
            hearing.no_unicast = hearing.no_broadcast.clone();
        }
    }

    /// One host accepts only answers: from its seed addresses, and on its own connections.
    fn closed(&self, size: usize, hearing: &mut Hearing) {
        let closed = self.host("closed", 0, size);
        let others = || (0..size).filter(|&host| host != closed);
        hearing.no_broadcast = others().map(|host| (host, closed)).collect();
        hearing.no_dial = hearing.no_broadcast.clone();
        let is_seed = |host: &usize| self.one_in("seed of the closed", *host as u64, 2);
        hearing.seeds = others().filter(is_seed).map(|host| (closed, host)).collect();
        hearing.no_unicast =
            others().filter(|host| !is_seed(host)).map(|host| (host, closed)).collect();
    }

    /// Any pair may hear neither way, one way or both ways.
    fn at_random(&self, size: usize, hearing: &mut Hearing) {
        let share = self.pick("deaf share", 0, &[2, 3, 5]);
        let lost = |purpose: &str, share: u64| {
            pairs(size).filter(|&(one, two)| self.one_in(purpose, key(one, two), share)).collect()
        };
        hearing.no_broadcast =
            if share == 2 { pairs(size).collect() } else { lost("does not hear", 2) };
        hearing.seeds = lost("has as a seed", share * 2);
        if self.one_in("unicast is lost, too", 0, 2) {
            hearing.no_unicast = lost("does not hear unicast", share * 2);
        }
    }
}

fn pairs(size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..size)
        .flat_map(move |one| (0..size).map(move |two| (one, two)))
        .filter(|(one, two)| one != two)
}

fn key(one: usize, two: usize) -> u64 {
    (one << 8 | two) as u64
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn a_group_is_owed_on_every_network_that_is_drawn() {
        let drawn = (0..2_000).map(|seed| {
            (seed, Dice { seed }.hearing(2 + usize::try_from(seed % 7).expect("small")))
        });
        let mut lopsided = 0;
        for (seed, hearing) in drawn {
            let hosts: Vec<usize> = (0..2 + usize::try_from(seed % 7).expect("small")).collect();
            assert!(hearing.connects(&hosts), "seed {seed}: {hearing:?}");
            lopsided += usize::from(!hearing.is_whole());
        }
        assert!((400..600).contains(&lopsided), "{lopsided}");
    }
}
