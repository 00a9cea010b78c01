//! Moving: a process that goes on under another address.
//!
//! A process is its id, incarnation and birth; the address is only where it is dialled. The shell says when its own address
//! changes, and each `HELLO` from then on carries the new one. The leader renews what others know: it numbers a view in which
//! the contact of the member has the new address. So a member that is asked to elect knows where the others are.
//!
//! Example: p1 and p2 follow p3, and p1 is given another address. The link of p1 is gone with the old address. p1 dials p3,
//! says `HELLO` with the new address, and p3 numbers a view with the same three members. When p3 dies, p2 dials p1 there.
//!
//! An address is renewed only while no link to the old one is left. A process with two addresses, linked over both, therefore
//! keeps the one that the view names, and views do not flap between the two.

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::id::{Contact, Member};
use crate::node::Node;
use crate::note::Note;
use crate::role::Role;
use crate::seam::Output;
use crate::time::Time;
use crate::view::View;

impl Node {
    /// This peer is to be dialled at another address from now on.
    pub(crate) fn on_moved(&mut self, now: Time, address: SocketAddrV4, out: &mut Vec<Output>) {
        let was = std::mem::replace(&mut self.me.address, address);
        if was == address {
            return;
        }
        self.links.move_to(address);
        out.push(Output::Note(Note::Moved { address: address.to_string(), was: was.to_string() }));
        // Links that still stand were introduced with the old address, so the leader is told on a new one.
        if let Role::Member(following) = &self.role {
            let leader = following.leader.member.clone();
            self.links.hang_up_on(&leader, out);
        }
        self.notice_moves(now);
    }

    /// A leader that finds a contact of its view out of date numbers another view soon.
    pub(crate) fn notice_moves(&mut self, now: Time) {
        let batch_at = now + self.config.knobs().join_batch;
        let Role::Leader(leader) = &self.role else { return };
        if leader.batch_at.is_none() && self.log.view().is_some_and(|view| view.members.iter().any(|c| self.renewed(c).is_some())) {
            let Role::Leader(leader) = &mut self.role else { return };
            leader.batch_at = Some(batch_at);
        }
    }

    /// What a view should say of a member instead; none where it is right.
    fn renewed(&self, known: &Contact) -> Option<Contact> {
        if known.member == self.me.member {
            return (*known != self.me).then(|| self.me.clone());
        }
        let address = self.links.moved_to(&known.member, known.birth, known.address)?;
        Some(Contact { address, ..known.clone() })
    }

    /// The members of the next view, each with its present address.
    pub(crate) fn renew_contacts(&self, members: &mut [Contact]) {
        for contact in members {
            if let Some(renewed) = self.renewed(contact) {
                *contact = renewed;
            }
        }
    }

    /// A leader dials its followers where the newest view says.
    pub(crate) fn follow_moves(&mut self, view: &View) {
        let Role::Leader(leader) = &mut self.role else { return };
        for follower in leader.followers.values_mut() {
            let is_same = |contact: &&Contact| same_process(contact, &follower.contact.member, follower.contact.birth);
            if let Some(contact) = view.find(follower.contact.id()).filter(is_same) {
                follower.contact.address = contact.address;
            }
        }
    }
}

fn same_process(contact: &Contact, member: &Member, birth: u64) -> bool {
    contact.member == *member && contact.birth == birth
}

/// The copies of one announcement, said in each network of its speaker with the address there, come within that.
pub(crate) const ONE_ANNOUNCEMENT: Duration = Duration::from_millis(50);
