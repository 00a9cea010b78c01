//! Hearing: which datagrams reach which host, and who can dial whom, on a network that is not the
//! same both ways.
//!
//! Examples: two subnets without a common broadcast and a seed on one side only; one seed for all
//! peers; a firewall that closes the discovery port, or all datagrams, or all dials from outside.
//! It lasts for the whole run and is no fault: the group owes its promises in spite of it. Each
//! pair is directed. An established connection carries frames both ways.

use serde::{Deserialize, Serialize};

/// A directed pair of hosts, counted from 0.
type Pair = (usize, usize);

/// Permanent obstacles between hosts, and the seed addresses that compensate for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hearing {
    /// Broadcasts of the first do not reach the second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_broadcast: Vec<Pair>,
    /// Unicast datagrams of the first do not reach the second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_unicast: Vec<Pair>,
    /// The first cannot dial the second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_dial: Vec<Pair>,
    /// The second is a seed address of the first: it gets each broadcast as a unicast datagram,
    /// too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<Pair>,
}

impl Hearing {
    /// Whether every host hears and can dial every other.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        *self == Self::default()
    }

    /// Its lists.
    pub(crate) fn lists(&mut self) -> [&mut Vec<Pair>; 4] {
        [&mut self.no_broadcast, &mut self.no_unicast, &mut self.no_dial, &mut self.seeds]
    }

    /// All pairs in the lists.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = Pair> {
        [&self.no_broadcast, &self.no_unicast, &self.no_dial, &self.seeds]
            .into_iter()
            .flatten()
            .copied()
    }

    /// Whether the second hears broadcasts of the first, by broadcast or as its seed address.
    #[must_use]
    pub fn hears(&self, from: usize, to: usize) -> bool {
        !self.no_broadcast.contains(&(from, to))
            || self.seeds.contains(&(from, to)) && self.answers(from, to)
    }

    /// Whether a unicast datagram passes.
    fn answers(&self, from: usize, to: usize) -> bool {
        !self.no_unicast.contains(&(from, to))
    }

    fn dials(&self, from: usize, to: usize) -> bool {
        !self.no_dial.contains(&(from, to))
    }

    /// Whether these hosts have to form a group: of any two, one can dial the other, and hearing
    /// connects them all. Hearing counts only if it can be answered: by a datagram, or by a dial if
    /// every host can dial every other. (The speaker may be a member, and its leader the one that
    /// has to be dialled.)
    #[must_use]
    pub fn connects(&self, hosts: &[usize]) -> bool {
        let pairs = || {
            hosts
                .iter()
                .flat_map(|&one| hosts.iter().map(move |&other| (one, other)))
                .filter(|(one, other)| one != other)
        };
        if !pairs().all(|(one, other)| self.dials(one, other) || self.dials(other, one)) {
            return false;
        }
        let all_dial = pairs().all(|(one, other)| self.dials(one, other));
        let leads_on = |speaker: usize, hearer: usize| {
            self.hears(speaker, hearer) && (all_dial || self.answers(hearer, speaker))
        };
        let mut reached: Vec<usize> = hosts.first().copied().into_iter().collect();
        let mut at = 0;
        while let Some(&here) = reached.get(at) {
            at += 1;
            let next = hosts.iter().copied().filter(|&other| {
                !reached.contains(&other) && (leads_on(here, other) || leads_on(other, here))
            });
            let next: Vec<usize> = next.collect();
            reached.extend(next);
        }
        reached.len() == hosts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Hearing;

    #[track_caller]
    fn check(hearing: &Hearing, connects: bool) {
        assert_eq!(hearing.connects(&[0, 1, 2]), connects, "{hearing:?}");
    }

    #[test]
    fn a_group_is_owed_where_hearing_leads_on_and_one_side_can_dial() {
        let all = || {
            (0..3)
                .flat_map(|a| (0..3).map(move |b| (a, b)))
                .filter(|(a, b)| a != b)
                .collect::<Vec<_>>()
        };
        check(&Hearing::default(), true);
        let silent = Hearing { no_broadcast: all(), ..Hearing::default() };
        check(&silent, false);
        let one_seed = Hearing { seeds: vec![(0, 1), (2, 1)], ..silent.clone() };
        check(&one_seed, true);
        check(&Hearing { no_unicast: vec![(1, 0), (1, 2)], ..one_seed.clone() }, true);
        check(&Hearing { no_unicast: vec![(0, 1)], ..one_seed.clone() }, false);
        check(&Hearing { no_dial: vec![(1, 0), (2, 0)], ..one_seed.clone() }, true);
        check(
            &Hearing {
                no_dial: vec![(1, 0), (2, 0)],
                no_unicast: vec![(1, 0)],
                ..one_seed.clone()
            },
            false,
        );
        check(&Hearing { no_dial: vec![(1, 0), (0, 1)], ..one_seed }, false);
        check(&Hearing { seeds: vec![(0, 1)], ..silent }, false);
    }
}
