//! One death of a leader, as its survivors see it: how long each of them waited for news.
//!
//! News is a reading that was *published after* the death and ordered by *another peer* than the
//! dead leader. Readings in flight at the death are no news, however late they arrive.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::id::{Epoch, PeerId};
use protocol::time::Time;

use crate::observed::{Key, Seen};

/// One death under observation.
#[derive(Clone, Debug)]
pub struct Outage {
    began: Time,
    lost: Epoch,
    published: BTreeSet<Key>,
    delivered: BTreeMap<PeerId, Vec<(Time, Key)>>,
}

impl Outage {
    /// The leader of epoch `lost` was killed at `began`; these survive it.
    pub fn new(began: Time, lost: Epoch, survivors: impl IntoIterator<Item = PeerId>) -> Self {
        let delivered = survivors.into_iter().map(|peer| (peer, Vec::new())).collect();
        Self { began, lost, published: BTreeSet::new(), delivered }
    }

    /// Takes an event of `peer`.
    pub fn saw(&mut self, peer: &PeerId, seen: &Seen) {
        match seen {
            Seen::Published { at, key } if *at > self.began => {
                self.published.insert(key.clone());
            }
            Seen::Delivered { at, key, epoch } if *at > self.began && *epoch > self.lost => {
                if let Some(delivered) = self.delivered.get_mut(peer) {
                    delivered.push((*at, key.clone()));
                }
            }
            Seen::Started | Seen::View(_) | Seen::Published { .. } | Seen::Delivered { .. } => {}
        }
    }

    /// How long each survivor waited; `None` if it still waits.
    #[must_use]
    pub fn waits(&self) -> BTreeMap<PeerId, Option<Duration>> {
        let wait = |delivered: &[(Time, Key)]| {
            delivered
                .iter()
                .filter(|(_, key)| self.published.contains(key))
                .map(|(at, _)| at.since(self.began))
                .min()
        };
        self.delivered.iter().map(|(peer, delivered)| (peer.clone(), wait(delivered))).collect()
    }

    /// Whether every survivor has had news.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.waits().values().all(Option::is_some)
    }
}

#[cfg(test)]
mod tests {
    use super::Outage;
    use crate::observed::{Key, Seen};
    use protocol::id::{Epoch, Incarnation, Member, Oseq, PeerId};
    use protocol::time::Time;
    use std::time::Duration;

    fn id(name: &str) -> PeerId {
        PeerId::new(name).unwrap()
    }

    fn epoch(round: u64, owner: &str) -> Epoch {
        Epoch { round, owner: Member { id: id(owner), inc: Incarnation(1) } }
    }

    fn key(origin: &str, oseq: u64) -> Key {
        Key { origin: id(origin), inc: Incarnation(1), oseq: Oseq(oseq) }
    }

    fn published(at: u64, origin: &str, oseq: u64) -> (PeerId, Seen) {
        (id(origin), Seen::Published { at: Time::from_micros(at), key: key(origin, oseq) })
    }

    fn delivered(at: u64, peer: &str, origin: &str, oseq: u64, epoch: Epoch) -> (PeerId, Seen) {
        (id(peer), Seen::Delivered { at: Time::from_micros(at), key: key(origin, oseq), epoch })
    }

    #[track_caller]
    fn check(seen: &[(PeerId, Seen)], waits: [Option<u64>; 2]) {
        let mut outage =
            Outage::new(Time::from_micros(1_000), epoch(1, "p3"), [id("p1"), id("p2")]);
        seen.iter().for_each(|(peer, seen)| outage.saw(peer, seen));
        let expected: Vec<_> =
            waits.into_iter().map(|wait| wait.map(Duration::from_micros)).collect();
        assert_eq!(outage.waits().into_values().collect::<Vec<_>>(), expected);
        assert_eq!(outage.is_over(), waits.iter().all(Option::is_some));
    }

    #[test]
    fn the_first_news_counts_at_each_survivor() {
        let next = epoch(2, "p2");
        check(
            &[
                published(1_100, "p1", 5),
                delivered(1_900, "p1", "p1", 5, next.clone()),
                delivered(1_950, "p1", "p1", 6, next.clone()),
                delivered(2_100, "p2", "p1", 5, next),
            ],
            [Some(900), Some(1_100)],
        );
    }

    #[test]
    fn what_was_on_its_way_is_no_news() {
        let (old, next) = (epoch(1, "p3"), epoch(2, "p2"));
        check(
            &[
                published(900, "p1", 4),
                published(1_001, "p1", 5),
                // Published before the death, ordered after it.
                delivered(1_200, "p1", "p1", 4, next.clone()),
                // Published after the death, and yet ordered by the dead leader.
                delivered(1_002, "p2", "p1", 5, old),
                // A reading without a known publication.
                delivered(1_300, "p2", "p2", 9, next),
            ],
            [None, None],
        );
    }

    #[test]
    fn order_of_reading_the_files_does_not_matter() {
        let next = epoch(2, "p2");
        check(
            &[
                delivered(1_500, "p1", "p2", 1, next.clone()),
                published(1_100, "p2", 1),
                delivered(1_400, "p2", "p2", 1, next),
            ],
            [Some(500), Some(400)],
        );
    }
}
