//! A node as an exhaustive search sees it: whether it has been in this situation before, and what
//! its log holds.
//!
//! A search visits each situation once, so it has to tell two of them apart without comparing
//! everything with everything. Two situations of a node are one if they differ in nothing but: when
//! they are (each moment counts by its distance from now), what the node has counted without ever
//! deciding on it, and how many questions it has named before the ones that are still open (a name
//! that is used again is used for a new question, whatever it is).
//!
//! Changes nothing and decides nothing; the protocol does without it.

use std::hash::{Hash, Hasher};

use crate::id::{Epoch, Member, Oseq, Seq};
use crate::log::entry::Entry;
use crate::log::view::View;
use crate::node::Node;
use crate::roles::Role;
use crate::time::Time;

/// The identity of a value that holds no moments: a message, say.
#[must_use]
pub fn identity(value: &impl Hash) -> u128 {
    situation(value, Time::ZERO)
}

/// The identity of a value at a moment: what lies as far ahead, or as far back, is the same.
pub(crate) fn situation(value: &impl Hash, now: Time) -> u128 {
    let mut identity =
        Identity { now: i128::from(now.as_micros()), low: SEED_LOW, high: SEED_HIGH };
    value.hash(&mut identity);
    u128::from(identity.high) << 64 | u128::from(identity.low)
}

impl Node {
    /// The highest epoch that it has promised.
    #[must_use]
    pub fn promised(&self) -> &Epoch {
        &self.env.promised
    }

    /// The epoch of its log, the one in which it may append.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.env.log.epoch()
    }

    /// The name of its log: the first epoch of the lineage.
    #[must_use]
    pub fn log_id(&self) -> Epoch {
        self.env.log.log_id()
    }

    /// Whether it has never been in a view, as far as it knows (mode `primary`): only such peers
    /// found a group.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        !self.env.has_history && self.env.log.is_none()
    }

    /// Where its log ends.
    #[must_use]
    pub fn contiguous(&self) -> Seq {
        self.env.log.contiguous()
    }

    /// The position above which its log is retained.
    #[must_use]
    pub fn base(&self) -> Seq {
        self.env.log.base()
    }

    /// The position up to which it takes its log for stable.
    #[must_use]
    pub fn stable(&self) -> Seq {
        self.env.log.stable()
    }

    /// How many bytes the retained part of its log weighs.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.env.log.weight()
    }

    /// What each epoch of its log covers: the first position and the last; the last one ends where
    /// the log does.
    pub fn covers(&self) -> impl DoubleEndedIterator<Item = (&Epoch, Seq, Seq)> {
        let rows = self.env.log.lineage();
        let end = |at: usize| {
            rows.get(at + 1).map_or(self.env.log.contiguous(), |next| next.first.previous())
        };
        rows.iter().enumerate().map(move |(at, row)| (&row.epoch, row.first, end(at)))
    }

    /// The newest two views of its log and where they stand, newest first.
    #[must_use]
    pub fn last_views(&self) -> Vec<(Seq, View)> {
        self.env.log.last_views()
    }

    /// Where the view stands by which a member of the newest view came in last; none where it came
    /// in before what is retained.
    #[must_use]
    pub fn came_in(&self, member: &Member) -> Option<Seq> {
        self.env.log.came_in(member)
    }

    /// The last of a member's numbers that stands in its log.
    #[must_use]
    pub fn last_oseq(&self, member: &Member) -> Oseq {
        self.env.log.last_oseq(member)
    }

    /// What it retains between two positions, both included.
    pub fn between(&self, first: Seq, last: Seq) -> impl Iterator<Item = (Seq, Entry)> {
        self.env.log.between(first, last)
    }

    /// Of a leader: how much of its log it believes each of the others to hold.
    pub fn believes(&self) -> impl Iterator<Item = (&Member, Seq)> {
        let leader = if let Role::Leader(leader) = &self.role { Some(leader) } else { None };
        let progress = leader.into_iter().flat_map(|leader| leader.progress.values());
        progress.map(|progress| (&progress.contact.member, progress.acked))
    }

    /// Of a leader: those whose answers its epoch rests on, itself among them.
    #[must_use]
    pub fn rests_on(&self) -> Vec<Member> {
        if let Role::Leader(leader) = &self.role {
            leader.announced.list.clone()
        } else {
            Vec::new()
        }
    }

    /// Whether it leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Whether it follows a leader, in the epoch of its log.
    #[must_use]
    pub fn follows(&self) -> bool {
        matches!(&self.role, Role::Follower(follower) if self.env.log.is_in(&follower.epoch))
    }

    /// Whether it is in no group, and looks for one.
    #[must_use]
    pub fn joins(&self) -> bool {
        matches!(self.role, Role::Joining(_))
    }

    /// Whether it leads, and is about to lead on in a higher epoch.
    #[must_use]
    pub fn renews(&self) -> bool {
        matches!(&self.role, Role::Candidate(candidate) if candidate.is_standing())
    }

    /// Whether it led, has handed over, and has promised nothing to its heir yet.
    #[must_use]
    pub fn hands_over(&self) -> bool {
        matches!(&self.role, Role::Candidate(candidate) if candidate.handed_over)
    }

    /// Whether it is in no group, and claims the first view of one.
    #[must_use]
    pub fn founds(&self) -> bool {
        matches!(&self.role, Role::Candidate(candidate) if candidate.first_view)
    }

    /// Of a leader: whether it takes no readings because a member lags.
    #[must_use]
    pub fn is_under_pressure(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.under_pressure)
    }

    /// Of a leader: whether it is about to make way for another one.
    #[must_use]
    pub fn makes_way(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.retiring.is_some())
    }

    /// How many readings of its own it keeps.
    #[must_use]
    pub fn keeps_own(&self) -> u64 {
        self.env.outbox.readings().map(|(_, _, readings)| readings.len()).sum()
    }

    /// The position up to which it has handed its log over.
    #[must_use]
    pub fn delivered(&self) -> Seq {
        self.env.sinks.delivered()
    }

    /// What its log retains, position by position, with the epoch of each.
    pub fn entries(&self) -> impl Iterator<Item = (Seq, Epoch, Entry)> {
        let retained = self.env.log.between(self.env.log.base(), self.env.log.contiguous());
        retained.flat_map(move |(first, entry)| {
            let positions: Vec<Entry> = entry.singly().collect();
            (0_u64..).zip(positions).map(move |(place, entry)| {
                let seq = first.plus(place);
                (seq, self.env.log.epoch_at(seq), entry)
            })
        })
    }
}

/// Two sums over everything that is hashed, each of 64 bits: among so many million situations that
/// two fall together by chance is less likely than a flipped bit.
struct Identity {
    now: i128,
    low: u64,
    high: u64,
}

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.low
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word) ^ (chunk.len() as u64) << 56);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.low = (self.low ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        self.high =
            (self.high.rotate_left(23) ^ word).wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ self.low;
    }

    /// Only a [`Time`] hashes as a number of that size, which is how it is told from a count.
    fn write_i128(&mut self, moment: i128) {
        let distance = moment - self.now;
        self.write_u64(u64::from_le_bytes(
            i64::try_from(distance).unwrap_or(i64::MAX).to_le_bytes(),
        ));
    }
}

const SEED_LOW: u64 = 0x243F_6A88_85A3_08D3;
const SEED_HIGH: u64 = 0x1319_8A2E_0370_7344;

#[cfg(test)]
mod tests {
    use super::{identity, situation};
    use crate::config::{Config, Knobs};
    use crate::id::{Contact, Incarnation, Member, PeerId};
    use crate::io::{Input, Publication};
    use crate::node::Node;
    use crate::time::Time;
    use crate::wire::message::Message;
    use std::collections::BTreeSet;
    use std::time::Duration;

    fn node(now: Time) -> Node {
        let member = Member { id: PeerId::new("p1").unwrap(), inc: Incarnation(1) };
        let me = Contact { member, birth: 1, address: "127.0.0.1:1".parse().unwrap(), explicit: 0 };
        Node::new(me, Config::try_from(Knobs::fast()).unwrap(), 1, now)
    }

    #[test]
    fn the_same_situation_later_is_the_same_situation() {
        let (early, late) = (Time::from_micros(5), Time::from_micros(77_000_000));
        assert_eq!(node(early).identity(early), node(late).identity(late));
        assert_ne!(
            node(early).identity(early),
            node(early).identity(late),
            "its deadlines are nearer"
        );
    }

    #[test]
    fn what_a_node_knows_tells_its_situations_apart() {
        let now = Time::ZERO;
        let mut node = node(now);
        let mut seen = BTreeSet::from([node.identity(now)]);
        let publications = vec![Publication::one("21.5 C".into(), 0, None)];
        node.handle(now, Input::Publish { publications }, &mut Vec::new());
        assert!(seen.insert(node.identity(now)));
        while let Some(at) = node.deadline().filter(|_| node.status().role != "leader") {
            node.handle(at, Input::Wake, &mut Vec::new());
            assert!(seen.insert(node.identity(at)));
        }
        assert_eq!(node.entries().count(), 2, "the first view, and the reading");
    }

    #[test]
    fn moments_count_by_their_distance_and_numbers_as_they_are() {
        let now = Time::from_micros(1_000);
        let soon = |now: Time| situation(&(now + Duration::from_micros(3)), now);
        assert_eq!(soon(now), soon(now + Duration::from_secs(1)));
        assert_ne!(identity(&Message::Ok { ask: 1 }), identity(&Message::Ok { ask: 2 }));
        assert_ne!(identity(&"ab"), identity(&"ba"));
        assert_ne!(identity(&vec![0_u8, 1]), identity(&vec![0_u8, 1, 0]));
    }
}
