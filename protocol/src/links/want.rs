//! A peer that a link is wanted to, and when it is dialled again.

use std::hash::Hash;
use std::net::SocketAddrV4;
use std::time::Duration;

use crate::id::{Contact, LinkId};
use crate::links::awaited::{Awaited, Pace};
use crate::time::Time;

/// A member that a role wants a link to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) contact: Contact,
    /// Whether it is known by words alone, and by no view.
    pub(crate) by_word: bool,
}

/// A member that the role wants a link to.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Want {
    pub(super) contact: Contact,
    pub(super) by_word: bool,
    /// How often it has been dialled.
    pub(super) dials: u32,
    pub(super) dial_at: Time,
    pub(super) wait: Duration,
    pub(super) dialling: Option<LinkId>,
    /// Where it was last heard from, if that is elsewhere: tried once, and proves nothing.
    pub(super) heard: Option<SocketAddrV4>,
    pub(super) dialled_at: Time,
    pub(super) awaited: Awaited,
    /// Whether it is dialled although it has a link: a question on that one is overdue.
    pub(super) anew: bool,
}

impl From<Contact> for Wanted {
    fn from(contact: Contact) -> Self {
        Self { contact, by_word: false }
    }
}

impl Want {
    pub(crate) fn new(Wanted { contact, by_word }: Wanted, now: Time, pace: &Pace) -> Self {
        Self {
            contact,
            by_word,
            dials: 0,
            dial_at: now,
            wait: Duration::ZERO,
            dialling: None,
            heard: None,
            dialled_at: now,
            awaited: Awaited::new(pace),
            anew: false,
        }
    }

    /// When a dial, or the answer to a question, is overdue.
    pub(crate) fn overdue_at(&self) -> Option<Time> {
        if self.dialling.is_some() {
            Some(self.dialled_at + self.awaited.patience())
        } else {
            self.awaited.due()
        }
    }
}
