//! Which processes have ever held which part of which log.
//!
//! A position of an epoch has one entry, and one history below it. So a process that has held the
//! last position of an epoch has held everything below, and one number per epoch suffices. Entries
//! covered by a snapshot count as held: whether the snapshot covered only stable entries is a
//! separate question.

use std::collections::BTreeMap;

use protocol::id::{Epoch, Member, Seq};
use protocol::node::Node;
use protocol::view::View;

/// All processes that ever ran.
#[derive(Debug, Default)]
pub(super) struct Holders {
    all: Vec<Holder>,
    by_member: BTreeMap<Member, usize>,
}

/// The entries that one process has held.
#[derive(Debug)]
struct Holder {
    /// Its present name.
    member: Member,
    /// The last position of each epoch that it has held.
    held: BTreeMap<Epoch, Seq>,
    /// Whether it still runs.
    lives: bool,
    /// The end of its log at the last look.
    end: (Epoch, Seq),
}

impl Holders {
    /// Adds a process that has held nothing yet; returns its number.
    pub(super) fn begin(&mut self, member: &Member) -> usize {
        self.all.push(Holder {
            member: member.clone(),
            held: BTreeMap::new(),
            lives: true,
            end: (Epoch::none(), Seq::ZERO),
        });
        let number = self.all.len() - 1;
        self.by_member.insert(member.clone(), number);
        number
    }

    /// Examines the log of a process.
    pub(super) fn look(&mut self, number: usize, node: &Node) {
        let holder = &mut self.all[number];
        let member = &node.contact().member;
        if holder.member != *member {
            holder.member = member.clone();
            self.by_member.insert(member.clone(), number);
        }
        let mut covers = node.covers().rev();
        let Some((epoch, _, last)) = covers.next() else { return };
        if holder.end.1 == last && holder.end.0 == *epoch {
            return;
        }
        let is_new = holder.end.0 != *epoch;
        holder.end = (epoch.clone(), last);
        // Within an epoch only its own row changes. If the log was replaced, the epoch differs or
        // the end is lower.
        holder.hold(epoch, last);
        if is_new {
            covers.for_each(|(epoch, _, last)| holder.hold(epoch, last));
        }
    }

    /// A process is gone.
    pub(super) fn end(&mut self, number: usize) {
        self.all[number].lives = false;
    }

    /// The number of a process.
    pub(super) fn number(&self, member: &Member) -> Option<usize> {
        self.by_member.get(member).copied()
    }

    /// Whether a process still runs.
    pub(super) fn is_there(&self, member: &Member) -> bool {
        self.by_member.get(member).is_some_and(|number| self.all[*number].lives)
    }

    /// Whether no process has ever had that name: a liar made it up, and only the liar knows what
    /// it holds.
    pub(super) fn is_stranger(&self, member: &Member) -> bool {
        self.by_member.keys().all(|known| known.id != member.id)
    }

    /// How much of that node's log another process has held: the last position.
    pub(super) fn reach(&self, member: &Member, of: &Node) -> Seq {
        let Some(holder) = self.by_member.get(member).map(|number| &self.all[*number]) else {
            return Seq::ZERO;
        };
        of.covers()
            .rev()
            .find_map(|(epoch, first, last)| {
                let held = holder.held.get(epoch)?;
                (*held >= first).then(|| last.min(*held))
            })
            .unwrap_or(Seq::ZERO)
    }

    /// Whether a process has held a position of an epoch: by that epoch itself, or by a later epoch
    /// in a node's log.
    pub(super) fn has_held(&self, member: &Member, of: &Node, epoch: &Epoch, seq: Seq) -> bool {
        let Some(holder) = self.by_member.get(member).map(|number| &self.all[*number]) else {
            return false;
        };
        holder.held.get(epoch).is_some_and(|held| *held >= seq) || self.reach(member, of) >= seq
    }

    /// Whether a process has adopted an epoch, with or without an entry in it.
    pub(super) fn has_begun(&self, member: &Member, epoch: &Epoch) -> bool {
        self.by_member.get(member).is_some_and(|number| self.all[*number].held.contains_key(epoch))
    }

    /// Whether the holders of that position of a node's log are a quorum of a view: more than half
    /// of it, or half of it including its leader.
    pub(super) fn is_quorum(&self, view: &View, of: &Node, seq: Seq) -> bool {
        is_quorum(view, |member| *member == of.contact().member || self.reach(member, of) >= seq)
    }
}

/// Whether the members for which `counts` is true are more than half of a view, or half of it
/// including its leader.
pub(super) fn is_quorum(view: &View, counts: impl Fn(&Member) -> bool) -> bool {
    let count = view.members.iter().filter(|contact| counts(&contact.member)).count();
    2 * count > view.size()
        || 2 * count == view.size()
            && view.leader_contact().is_some_and(|leader| counts(&leader.member))
}

impl Holder {
    fn hold(&mut self, epoch: &Epoch, last: Seq) {
        if epoch.is_none() {
            return;
        }
        match self.held.get_mut(epoch) {
            Some(held) => *held = last.max(*held),
            None => drop(self.held.insert(epoch.clone(), last)),
        }
    }
}
