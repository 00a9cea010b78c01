//! Moving: a process that goes on under another address.
//!
//! A process is its id, incarnation and birth; the address is only where it is dialled. The shell
//! says when its own address changes, and each `HELLO` from then on carries the new one. The leader
//! renews what others know: it numbers a view in which the contact of the member has the new
//! address. So a member that is asked to elect knows where the others are.
//!
//! Example: p1 and p2 follow p3, and p1 is given another address. The link of p1 is gone with the
//! old address. p1 dials p3, says `HELLO` with the new address, and p3 numbers a view with the same
//! three members. When p3 dies, p2 dials p1 there.
//!
//! An address is renewed only while no link to the old one is left. A process with two addresses,
//! linked over both, therefore keeps the one that the view names, and views do not flap between the
//! two.

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::env::Env;
use crate::id::{Contact, Member};
use crate::io::Output;
use crate::log::view::View;
use crate::node::Node;
use crate::report::note::Note;
use crate::roles::Role;
use crate::roles::leader::Leader;
use crate::roles::turn::Turn;
use crate::time::Time;

impl Node {
    /// This peer is to be dialled at another address from now on.
    pub(crate) fn on_moved(&mut self, now: Time, address: SocketAddrV4, out: &mut Vec<Output>) {
        let was = std::mem::replace(&mut self.env.me.address, address);
        if was == address {
            return;
        }
        self.env.links.move_to(address);
        out.push(Output::Note(Note::Moved { address: address.to_string(), was: was.to_string() }));
        // Links that still stand were introduced with the old address, so the leader is told on a
        // new one.
        match self.turn(now, out) {
            (Role::Follower(follower), turn) => {
                turn.env.links.hang_up_on(&follower.leader.member, turn.out);
            }
            (Role::Leader(leader), turn) => leader.notice_moves(&turn),
            (Role::Joining(_) | Role::Candidate(_), _) => {}
        }
    }
}

impl Leader {
    /// A leader that finds a contact of its view out of date numbers another view soon.
    pub(crate) fn notice_moves(&mut self, turn: &Turn<'_>) {
        let batch_at = turn.now + turn.env.config.knobs().join_batch;
        if self.batch_at.is_none()
            && turn
                .env
                .log
                .view()
                .is_some_and(|view| view.members.iter().any(|c| turn.env.renewed(c).is_some()))
        {
            self.batch_at = Some(batch_at);
        }
    }

    /// A leader dials its followers where the newest view says.
    pub(crate) fn follow_moves(&mut self, view: &View) {
        for progress in self.progress.values_mut() {
            let is_same = |contact: &&Contact| {
                same_process(contact, &progress.contact.member, progress.contact.birth)
            };
            if let Some(contact) = view.find(progress.contact.id()).filter(is_same) {
                progress.contact.address = contact.address;
            }
        }
    }
}

impl Env {
    /// What a view should say of a member instead; none where it is right.
    fn renewed(&self, known: &Contact) -> Option<Contact> {
        if known.member == self.me.member {
            return (*known != self.me).then(|| self.me.clone());
        }
        let said = self.links.contact(&known.member).filter(|said| said.birth == known.birth);
        let explicit = said.map_or(known.explicit, |said| said.explicit);
        let address =
            self.links.moved_to(&known.member, known.birth, known.address).unwrap_or(known.address);
        Some(Contact { address, explicit, ..known.clone() }).filter(|renewed| renewed != known)
    }

    /// The members of the next view, each with its present address.
    pub(crate) fn renew_contacts(&self, members: &mut [Contact]) {
        for contact in members {
            if let Some(renewed) = self.renewed(contact) {
                *contact = renewed;
            }
        }
    }
}

fn same_process(contact: &Contact, member: &Member, birth: u64) -> bool {
    contact.member == *member && contact.birth == birth
}

/// The copies of one announcement, said in each network of its speaker with the address there, come
/// within that.
pub(crate) const ONE_ANNOUNCEMENT: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::Contact;
    use crate::config::Knobs;
    use crate::harness::{Harness, epoch_of, nothing, peer};
    use crate::id::Seq;
    use crate::io::{Input, Output};
    use crate::roles::Role;
    use crate::wire::message::{Coordinator, Message};
    use std::net::SocketAddrV4;
    use std::time::Duration;

    fn elsewhere(who: &Contact) -> Contact {
        Contact {
            address: SocketAddrV4::new([10, 0, 0, 9].into(), who.address.port()),
            ..who.clone()
        }
    }

    /// What the newest view says of somebody, and the number of that view.
    fn known(harness: &Harness, who: &Contact) -> (SocketAddrV4, u64) {
        let view = harness.node.env.log.view().expect("a view");
        (view.find(who.id()).expect("it is in").address, view.view_id.0)
    }

    fn dials(harness: &mut Harness) -> Vec<SocketAddrV4> {
        let dial = |output| if let Output::Dial { to, .. } = output { Some(to) } else { None };
        std::mem::take(&mut harness.out).into_iter().filter_map(dial).collect()
    }

    #[test]
    fn a_leader_that_moves_says_so_in_a_view() {
        let mut harness = Harness::leader(Knobs::fast());
        let moved = elsewhere(&peer(1));
        harness.give(Input::Moved { address: moved.address });
        harness.rest(Duration::from_millis(20));
        assert_eq!(known(&harness, &peer(1)), (moved.address, 2));
        harness.give(Input::Moved { address: moved.address });
        harness.rest(Duration::from_secs(1));
        assert_eq!(known(&harness, &peer(1)), (moved.address, 2), "once");
        assert_eq!(harness.node.status().address, moved.address);
    }

    #[test]
    fn a_member_that_moved_is_known_at_its_new_address_once_the_old_link_is_gone() {
        let mut harness =
            Harness::leader(Knobs { heartbeat_timeout: Duration::from_secs(60), ..Knobs::fast() });
        harness.admit(&peer(2));
        harness.acknowledge(&peer(2), Seq(2));
        let old_link = harness.link(&peer(2));
        let moved = elsewhere(&peer(2));
        harness.greet(&moved, nothing());
        // Less than a round: after that a question without an answer ends the older of two links.
        harness.rest(Duration::from_millis(60));
        assert_eq!(
            known(&harness, &peer(2)),
            (peer(2).address, 2),
            "it still says the old one, too"
        );
        harness.give(Input::LinkDown { link: old_link, how: crate::io::Down::Reset });
        harness.rest(Duration::from_millis(300));
        assert_eq!(known(&harness, &peer(2)), (moved.address, 3));
        assert_eq!(harness.leads().progress[peer(2).id()].contact.address, moved.address);
        // Another process of that name and life is nobody who has moved.
        let stranger = Contact { birth: 77, ..peer(2) };
        harness.greet(&stranger, nothing());
        harness.rest(Duration::from_millis(300));
        assert_eq!(known(&harness, &peer(2)), (moved.address, 3));
    }

    #[test]
    fn a_member_that_moves_tells_its_leader_on_a_new_link() {
        let mut harness = Harness::member(Knobs::fast());
        let old_link = harness.link(&peer(3));
        harness.out.clear();
        harness.give(Input::Moved { address: elsewhere(&peer(1)).address });
        assert!(harness.out.contains(&Output::HangUp { link: old_link }));
        let dialled = harness.dialled();
        harness.give(Input::LinkUp { link: dialled[0] });
        let hello = |output: &Output| match output {
            Output::Send { message: Message::Hello(hello), .. } => Some(hello.from.clone()),
            _ => None,
        };
        assert_eq!(harness.out.iter().find_map(hello), Some(elsewhere(&peer(1))));
    }

    #[test]
    fn where_a_leader_is_heard_it_is_dialled_and_nothing_is_proven_there() {
        let mut harness =
            Harness::member(Knobs { heartbeat_timeout: Duration::from_secs(60), ..Knobs::fast() });
        harness.out.clear();
        harness.cut(&peer(3));
        assert_eq!(dials(&mut harness), [peer(3).address]);
        let moved = elsewhere(&peer(3));
        let word = Coordinator {
            leader: moved.clone(),
            epoch: epoch_of(&peer(3)),
            size: 3,
            ask: None,
            names_you: false,
        };
        harness.rest(Duration::from_millis(50));
        harness.hear(&moved, Message::Coordinator(word.clone()));
        assert_eq!(dials(&mut harness), [], "the first dial may still be answered");
        harness.rest(Duration::from_millis(100));
        assert_eq!(dials(&mut harness), [moved.address], "it was not, within a round");
        let next = crate::id::LinkId::dialled(2);
        harness.give(Input::DialFailed { link: next, refused: true });
        assert!(
            matches!(harness.node.role, Role::Follower(_)),
            "anybody could have said that it is there"
        );
        harness.rest(Duration::from_millis(100));
        assert_eq!(dials(&mut harness), [peer(3).address], "then again where the view says");
        let stranger = Contact { birth: 77, ..moved };
        harness.rest(Duration::from_millis(400));
        assert!(dials(&mut harness).iter().all(|to| *to == peer(3).address));
        harness.hear(&stranger, Message::Coordinator(word));
        harness.rest(Duration::from_millis(400));
        assert!(dials(&mut harness).iter().all(|to| *to == peer(3).address));
    }
}
