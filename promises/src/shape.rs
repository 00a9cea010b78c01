//! Shapes of partitions: which peers cannot reach which, by name, as directed pairs.
//!
//! The most valuable shapes look healthy from one side: a leader that sends and receives nothing,
//! the highest peer deaf, two halves with one member in both.

use serde::{Deserialize, Serialize};

/// The target of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// The peer of that number, counted from 0.
    Peer(usize),
    /// The leader at that moment.
    Leader,
    /// The highest live peer that does not lead.
    Successor,
    /// The highest live peer.
    Highest,
    /// The lowest live peer.
    Lowest,
    /// The peer whose activity this fault has waited for.
    It,
}

/// Which peers cannot reach which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// These and all others, both ways.
    Split(Vec<usize>),
    /// This one and all others, both ways.
    Isolate(Who),
    /// It can send, and receives nothing.
    Deaf(Who),
    /// It receives, and can send nothing.
    Mute(Who),
    /// The lower half and the upper half.
    Halves,
    /// The lower third and the rest.
    MinorityThird,
    /// Two halves, joined only by this peer.
    Bridge(usize),
    /// Each peer reaches only its two neighbours in a ring.
    Ring,
    /// Each peer reaches a bare majority, and no two peers the same one.
    MajorityRing,
    /// Each peer reaches only its neighbours in a chain.
    Chain,
    /// Every peer reaches only this one.
    Star(Who),
    /// From the first of each pair to the second.
    Pairs(Vec<(usize, usize)>),
}

/// What a cut affects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// Everything.
    #[default]
    All,
    /// Datagrams only: discovery fails, connections live.
    Datagrams,
    /// Connections only: every peer is discovered, and none can be talked to.
    Streams,
    /// Broadcasts only.
    Broadcasts,
    /// Unicast datagrams only.
    Unicasts,
    /// Dials only: existing connections live on.
    Dials,
    /// A firewall between them answers every segment with a reset in the name of the other end:
    /// connections break, and dials are refused.
    Resets,
}

impl Shape {
    /// The directed pairs, for this number of hosts; `find` resolves the targets.
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

    /// Shapes that are simpler and have nearly the same effect, for this number of hosts.
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
