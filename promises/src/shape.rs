//! Shapes of trouble: who cannot reach whom, by name, as a directed table.
//!
//! The most valuable ones are those that look well from one side: a leader that shouts and hears
//! nothing, the highest peer deaf, two halves with one member in both.

use serde::{Deserialize, Serialize};

/// Whom a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// The peer of that number, counted from 0.
    Peer(usize),
    /// Whoever leads by then.
    Leader,
    /// The best of the living that do not lead.
    Successor,
    /// The best of the living.
    Highest,
    /// The last of the living.
    Lowest,
    /// The one whose doing this fault has waited for.
    It,
}

/// Who cannot reach whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// These and all others: neither way.
    Split(Vec<usize>),
    /// This one and all others: neither way.
    Isolate(Who),
    /// It speaks, and hears nobody.
    Deaf(Who),
    /// It hears, and nobody hears it.
    Mute(Who),
    /// The lower half and the upper half.
    Halves,
    /// The lower third and the rest.
    MinorityThird,
    /// Two halves, joined by this one only.
    Bridge(usize),
    /// Everybody reaches only the next and the one before, in a ring.
    Ring,
    /// Everybody reaches just a majority, and no two the same one.
    MajorityRing,
    /// Everybody reaches only the next and the one before, and the ends nobody beyond.
    Chain,
    /// Everybody reaches only this one.
    Star(Who),
    /// From the first of each pair to the second.
    Pairs(Vec<(usize, usize)>),
}

/// What is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// Everything.
    #[default]
    All,
    /// Datagrams only: nobody is discovered, connections live.
    Datagrams,
    /// Connections only: everybody is heard of, and nobody can be talked to.
    Streams,
    /// Broadcasts only.
    Broadcasts,
    /// Unicast datagrams only.
    Unicasts,
    /// Dials only: what stands lives on.
    Dials,
    /// A firewall between them answers every segment with a reset, for the other end: connections
    /// break, and dials are refused.
    Resets,
}

impl Shape {
    /// The directed pairs, for so many hosts; `find` resolves who is meant.
    #[must_use]
    pub fn pairs(&self, hosts: usize, find: impl Fn(Who) -> Option<usize>) -> Vec<(usize, usize)> {
        let all = (0..hosts)
            .flat_map(|from| (0..hosts).filter(move |to| *to != from).map(move |to| (from, to)));
        let apart = |side: &dyn Fn(usize) -> bool| {
            all.clone().filter(|&(from, to)| side(from) != side(to)).collect()
        };
        let of = |who: &Who, touches: fn(usize, usize, usize) -> bool| {
            find(*who).map_or_else(Vec::new, |one| {
                all.clone().filter(|&(from, to)| touches(one, from, to)).collect()
            })
        };
        let around = |from: usize, to: usize| from.abs_diff(to).min(hosts - from.abs_diff(to));
        match self {
            Self::Split(side) => apart(&|host| side.contains(&host)),
            Self::Halves => apart(&|host| host < hosts / 2),
            Self::MinorityThird => apart(&|host| host < hosts.div_ceil(3)),
            Self::Isolate(who) => of(who, |one, from, to| from == one || to == one),
            Self::Deaf(who) => of(who, |one, _, to| to == one),
            Self::Mute(who) => of(who, |one, from, _| from == one),
            Self::Star(who) => of(who, |one, from, to| from != one && to != one),
            Self::Bridge(one) => {
                let left = |host: usize| host < hosts / 2;
                all.filter(|&(from, to)| from != *one && to != *one && left(from) != left(to))
                    .collect()
            }
            Self::Ring => all.filter(|&(from, to)| around(from, to) > 1).collect(),
            // A majority of n is itself and n / 2 others, half of them on each side.
            Self::MajorityRing => {
                all.filter(|&(from, to)| around(from, to) > (hosts / 2).div_ceil(2)).collect()
            }
            Self::Chain => all.filter(|&(from, to)| from.abs_diff(to) > 1).collect(),
            Self::Pairs(pairs) => pairs
                .iter()
                .copied()
                .filter(|&(from, to)| from < hosts && to < hosts && from != to)
                .collect(),
        }
    }

    /// Shapes that say the same more simply, or nearly; for this many hosts.
    #[must_use]
    pub fn simpler(&self, hosts: usize) -> Vec<Self> {
        match self {
            Self::Split(side) if side.len() > 1 => {
                side.iter().map(|host| Self::Isolate(Who::Peer(*host))).collect()
            }
            Self::Halves
            | Self::MinorityThird
            | Self::Bridge(_)
            | Self::Ring
            | Self::MajorityRing
            | Self::Chain => (0..hosts).map(|host| Self::Isolate(Who::Peer(host))).collect(),
            Self::Pairs(pairs) if pairs.len() > 1 => {
                pairs.iter().map(|pair| Self::Pairs(vec![*pair])).collect()
            }
            Self::Deaf(_) | Self::Mute(_) | Self::Star(_) => {
                let reaches = self
                    .pairs(hosts, |who| if let Who::Peer(peer) = who { Some(peer) } else { None });
                reaches.into_iter().map(|pair| Self::Pairs(vec![pair])).collect()
            }
            Self::Isolate(_) | Self::Split(_) | Self::Pairs(_) => vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Shape, Who};

    fn pairs(shape: &Shape, hosts: usize) -> Vec<(usize, usize)> {
        shape.pairs(hosts, |who| if let Who::Peer(n) = who { Some(n) } else { None })
    }

    #[track_caller]
    fn check(shape: Shape, cut: &[(usize, usize)]) {
        assert_eq!(pairs(&shape, 4), cut, "{shape:?}");
    }

    #[test]
    fn shapes_are_directed_pairs() {
        check(Shape::Deaf(Who::Peer(1)), &[(0, 1), (2, 1), (3, 1)]);
        check(Shape::Mute(Who::Peer(1)), &[(1, 0), (1, 2), (1, 3)]);
        check(Shape::Split(vec![3]), &[(0, 3), (1, 3), (2, 3), (3, 0), (3, 1), (3, 2)]);
        check(Shape::Isolate(Who::Peer(3)), &[(0, 3), (1, 3), (2, 3), (3, 0), (3, 1), (3, 2)]);
        check(Shape::Halves, &[(0, 2), (0, 3), (1, 2), (1, 3), (2, 0), (2, 1), (3, 0), (3, 1)]);
        check(
            Shape::MinorityThird,
            &[(0, 2), (0, 3), (1, 2), (1, 3), (2, 0), (2, 1), (3, 0), (3, 1)],
        );
        check(Shape::Bridge(0), &[(1, 2), (1, 3), (2, 1), (3, 1)]);
        check(Shape::Ring, &[(0, 2), (1, 3), (2, 0), (3, 1)]);
        check(Shape::Chain, &[(0, 2), (0, 3), (1, 3), (2, 0), (3, 0), (3, 1)]);
        check(Shape::Star(Who::Peer(0)), &[(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)]);
        check(Shape::Pairs(vec![(0, 1), (0, 9), (2, 2)]), &[(0, 1)]);
        check(Shape::Isolate(Who::Leader), &[]);
    }

    #[test]
    fn a_majority_ring_leaves_everybody_a_majority_of_its_own() {
        for hosts in 4..=9 {
            let cut = pairs(&Shape::MajorityRing, hosts);
            let reach = |one: usize| {
                (0..hosts).filter(|&other| !cut.contains(&(one, other))).collect::<Vec<_>>()
            };
            let all: Vec<_> = (0..hosts).map(reach).collect();
            assert!(
                all.iter().all(|reached| reached.len() > hosts / 2 && reached.len() < hosts
                    || hosts == 4 && reached.len() == 3),
                "{hosts}: {all:?}"
            );
            assert!((1..hosts).all(|other| all[other] != all[0]), "{hosts}: {all:?}");
        }
    }
}
