//! A view: who is in the group, in which order, and who leads it. Views are entries of the log, so every member sees
//! the same views at the same places among the readings.
//!
//! Knows nothing of how a view comes about (see `membership`) or when it is believed (see `log`).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{Contact, Epoch, Incarnation, Member, PeerId, ViewId};

/// One view of the group. Equal `(epoch, view_id)` means equal members in equal order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct View {
    /// Rises by one with each view of a log.
    pub view_id: ViewId,
    /// The epoch in which it was numbered.
    pub epoch: Epoch,
    /// Who leads it.
    pub leader: PeerId,
    /// Everyone in it, lowest priority first: the `orderedPeerList`, with what the `groupView` says of each.
    pub members: Arc<Vec<Contact>>,
    /// Set in the last view of a group that dissolves into another one: whom to join.
    pub successor: Option<Contact>,
}

impl View {
    /// A view of these members, put into their order.
    #[must_use]
    pub fn new(view_id: ViewId, epoch: Epoch, leader: PeerId, mut members: Vec<Contact>) -> Self {
        members.sort_by_key(Contact::priority);
        Self { view_id, epoch, leader, members: Arc::new(members), successor: None }
    }

    /// What the view says of a peer of that name.
    #[must_use]
    pub fn find(&self, id: &PeerId) -> Option<&Contact> {
        self.members.iter().find(|contact| contact.id() == id)
    }

    /// Whether it names that very incarnation.
    #[must_use]
    pub fn names(&self, member: &Member) -> bool {
        self.find(&member.id).is_some_and(|contact| contact.member.inc == member.inc)
    }

    /// The incarnation it knows of that name.
    #[must_use]
    pub fn incarnation(&self, id: &PeerId) -> Option<Incarnation> {
        self.find(id).map(|contact| contact.member.inc)
    }

    /// What it says of its leader.
    #[must_use]
    pub fn leader_contact(&self) -> Option<&Contact> {
        self.find(&self.leader)
    }

    /// How many are in it.
    #[must_use]
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// The names, in the view's order.
    #[must_use]
    pub fn ids(&self) -> Vec<PeerId> {
        self.members.iter().map(|contact| contact.id().clone()).collect()
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "view {} of epoch {} led by {} [{}]", self.view_id, self.epoch, self.leader, Names(&self.ids()))
    }
}

/// Names with commas between them; at most 16, then how many more.
#[derive(Debug)]
pub struct Names<'a>(pub &'a [PeerId]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, id) in self.0.iter().take(NAMES_SHOWN).enumerate() {
            write!(f, "{}{id}", if at == 0 { "" } else { ", " })?;
        }
        match self.0.len().saturating_sub(NAMES_SHOWN) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

const NAMES_SHOWN: usize = 16;
