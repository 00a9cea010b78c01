//! A view: who is in the group, in which order, and who leads it. Views are entries of the log, so
//! every member sees the same views at the same places among the readings.
//!
//! Knows nothing of how a view comes about (see `membership`) or when it is believed (see `log`).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::bounded::{self, MEMBERS_MOST};
use crate::id::{Contact, Epoch, Incarnation, Member, PeerId, ViewId};
use crate::log::remarks::Remarks;

/// One view of the group. Equal `(epoch, view_id)` means equal members in equal order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct View {
    /// Rises by one with each view of a log.
    pub view_id: ViewId,
    /// The epoch in which it was numbered.
    pub epoch: Epoch,
    /// Who leads it.
    pub leader: PeerId,
    /// Everyone in it, lowest priority first: the `orderedPeerList`, with what the `groupView` says
    /// of each.
    pub members: Roster,
    /// Set in the last view of a group that dissolves into another one: whom to join.
    pub successor: Option<Contact>,
    /// What else is said of it, to people.
    #[serde(skip)]
    pub remarks: Remarks,
}

impl View {
    /// A view of these members, put into their order.
    #[must_use]
    pub fn new(view_id: ViewId, epoch: Epoch, leader: PeerId, mut members: Vec<Contact>) -> Self {
        members.sort_by_key(Contact::priority);
        Self {
            view_id,
            epoch,
            leader,
            members: Roster::new(members),
            successor: None,
            remarks: Remarks::default(),
        }
    }

    /// What the view says of a peer of that name.
    #[must_use]
    pub fn find(&self, id: &PeerId) -> Option<&Contact> {
        self.members.find(id)
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

    /// Roughly how many bytes a view of so many takes in memory.
    pub(crate) fn weight_of(size: usize) -> u64 {
        64 + size as u64 * 160
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
        write!(
            f,
            "view {} of epoch {} led by {} [{}]",
            self.view_id,
            self.epoch,
            self.leader,
            Names(&self.ids())
        )
    }
}

/// Who is in a view, in its order, and found by name: a large group asks for a name with every
/// message.
#[derive(Clone)]
pub struct Roster(Arc<Listed>);

struct Listed {
    contacts: Vec<Contact>,
    /// Their places, by name.
    by_name: Vec<u32>,
}

impl Roster {
    /// Of these, in this order.
    #[must_use]
    pub fn new(contacts: Vec<Contact>) -> Self {
        let mut by_name: Vec<u32> =
            (0..u32::try_from(contacts.len()).expect("a frame names no more")).collect();
        by_name.sort_unstable_by(|a, b| contacts[*a as usize].id().cmp(contacts[*b as usize].id()));
        Self(Arc::new(Listed { contacts, by_name }))
    }

    /// Whether a name stands in it twice.
    fn names_twice(&self) -> bool {
        let Listed { contacts, by_name } = &*self.0;
        by_name
            .windows(2)
            .any(|pair| contacts[pair[0] as usize].id() == contacts[pair[1] as usize].id())
    }

    /// What it says of a peer of that name.
    #[must_use]
    pub fn find(&self, id: &PeerId) -> Option<&Contact> {
        let Listed { contacts, by_name } = &*self.0;
        let place =
            by_name.binary_search_by(|place| contacts[*place as usize].id().cmp(id)).ok()?;
        Some(&contacts[by_name[place] as usize])
    }
}

impl Deref for Roster {
    type Target = [Contact];

    fn deref(&self) -> &[Contact] {
        &self.0.contacts
    }
}

// It says what the list says; the places are only a way to find it.

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl PartialEq for Roster {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Roster {}

impl Hash for Roster {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.contacts.hash(state);
    }
}

impl Serialize for Roster {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.contacts.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Roster {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let roster = Self::new(bounded::list::<_, _, MEMBERS_MOST>(deserializer)?);
        // Quorums are counted over the list, and names are looked for in it.
        if roster.names_twice() {
            Err(de::Error::custom("a list that names one peer twice"))
        } else {
            Ok(roster)
        }
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

#[cfg(test)]
mod tests {
    use super::Roster;
    use crate::harness::peer;
    use crate::id::PeerId;

    #[test]
    fn whoever_is_listed_is_found() {
        for listed in [&[][..], &[4], &[4, 9, 1, 10, 7]] {
            let roster = Roster::new(listed.iter().map(|n| peer(*n)).collect());
            for n in 0..12 {
                assert_eq!(
                    roster.find(peer(n).id()).is_some(),
                    listed.contains(&n),
                    "{n} of {listed:?}"
                );
            }
            assert!(listed.iter().all(|n| roster.find(peer(*n).id()) == Some(&peer(*n))));
            assert!(
                roster
                    .iter()
                    .map(|contact| contact.id().clone())
                    .eq(listed.iter().map(|n| PeerId::new(&format!("p{n}")).unwrap()))
            );
        }
    }
}
