//! What links prove. A new link repeats every question that is open to the other end, because
//! nothing relies on TCP to be reliable. Proof that a process is gone spares everybody a timeout.
//! What follows from it is on the page of each role.

use crate::id::{Incarnation, Member, Seq};
use crate::io::Output;
use crate::log::lineage::LogEnd;
use crate::node::Node;
use crate::roles::Role;
use crate::roles::follower::Follower;
use crate::roles::turn::{STAY, Turn};
use crate::time::Time;

impl Node {
    /// A link to a member stands, and it has said where its log ends.
    pub(crate) fn on_linked(
        &mut self,
        now: Time,
        member: &Member,
        end: &LogEnd,
        knows: Option<Incarnation>,
        out: &mut Vec<Output>,
    ) {
        if let Some(known) = knows.filter(|known| {
            self.env.me.member.inc.may_be_followed_by(*known)
                && self.env.been_member
                && self.env.is_own(self.role.followed(), member)
        }) {
            self.doubt_own_life(now, member, None, known, out);
            return;
        }
        match self.turn(now, out) {
            (Role::Candidate(candidate), mut turn) => candidate.is_linked(&mut turn, member, end),
            (Role::Follower(follower), mut turn) => follower.is_linked(&mut turn, member),
            (Role::Joining(joining), mut turn) => joining.is_linked(&mut turn, member),
            (Role::Leader(leader), mut turn) => {
                let flow = leader.is_linked(&mut turn, member, end);
                self.go(now, flow, out);
            }
        }
    }

    /// One of several links to a member is gone: what was said on it may be lost, so it is said
    /// again on the others.
    pub(crate) fn on_thinned(&mut self, now: Time, member: &Member, out: &mut Vec<Output>) {
        match self.turn(now, out) {
            (Role::Candidate(candidate), mut turn) => candidate.put_question(&mut turn, member),
            (Role::Follower(follower), mut turn) => follower.is_linked(&mut turn, member),
            (Role::Joining(joining), mut turn) => joining.ask_to_join(&mut turn, member),
            (Role::Leader(leader), mut turn) => leader.is_thinned(&mut turn, member),
        }
    }

    /// A process is proven gone.
    pub(crate) fn on_gone(
        &mut self,
        now: Time,
        member: &Member,
        replaced_by: Option<Incarnation>,
        out: &mut Vec<Output>,
    ) {
        let flow = match self.turn(now, out) {
            (Role::Candidate(candidate), mut turn) => {
                candidate.loses(&mut turn, member, replaced_by)
            }
            (Role::Follower(follower), mut turn) => follower.loses(&mut turn, member, replaced_by),
            (Role::Joining(joining), turn) => {
                joining.forget_target(now, turn.env, member);
                STAY
            }
            (Role::Leader(leader), mut turn) => {
                leader.on_member_gone(&mut turn, member, replaced_by);
                STAY
            }
        };
        self.go(now, flow, out);
    }
}

impl Follower {
    /// Repeats to the leader whatever it may not have got.
    pub(crate) fn speak_again(&mut self, turn: &mut Turn<'_>) {
        self.acked = Seq::ZERO;
        self.acknowledge_again(turn);
        turn.env.outbox.rewind(turn.env.log.last_oseq(&turn.env.me.member));
        if let Some(witness) = &mut self.witness {
            witness.asked = false;
        }
        self.ask_as_witness(turn);
        self.say_leave(turn.now, turn.env, turn.out);
        turn.env.ask_missing(turn.now, turn.out);
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Knobs};
    use crate::id::{Contact, Epoch, Incarnation, Member, PeerId, Seq};
    use crate::io::{Input, Output};
    use crate::log::lineage::LogEnd;
    use crate::node::Node;
    use crate::roles::Role;
    use crate::time::Time;
    use crate::wire::message::{Hello, Message};

    fn contact(n: u16, inc: u64) -> Contact {
        let id = PeerId::new(&format!("p{n}")).expect("a valid name");
        let address = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 5_000 + n);
        Contact { member: Member { id, inc: Incarnation(inc) }, birth: inc, address, explicit: 0 }
    }

    /// A peer that follows p3 is answered by a later life of somebody whom it still dials; whether
    /// it goes on following.
    #[track_caller]
    fn check_follows(dialled: u16, follows: bool) {
        let (mut node, mut out) = (
            Node::new(
                contact(1, 1),
                Config::try_from(Knobs::fast()).expect("sound"),
                1,
                Time::ZERO,
            ),
            Vec::new(),
        );
        node.become_joining(Time::ZERO, Some(contact(dialled, 7)), &mut out);
        node.handle(Time::ZERO, Input::Wake, &mut out);
        let dial = |output: &Output| {
            if let Output::Dial { link, .. } = output { Some(*link) } else { None }
        };
        let link = out.iter().find_map(dial).expect("it dials");
        let (leader, epoch) = (contact(3, 7), Epoch { round: 1, owner: contact(3, 7).member });
        node.env.promise_to(&epoch, leader.id(), &mut out);
        node.become_member(Time::ZERO, Time::ZERO, leader, epoch, &mut out);
        let end = LogEnd { epoch: Epoch::none(), contiguous: Seq::ZERO, log_id: Epoch::none() };
        let hello = Hello {
            cluster: node.env.config.cluster(),
            from: contact(dialled, 8),
            link: 1,
            end,
            knows: None,
        };
        node.handle(Time::ZERO, Input::LinkUp { link }, &mut out);
        node.handle(
            Time::ZERO,
            Input::Received { link, messages: vec![Message::Hello(hello)] },
            &mut out,
        );
        assert_eq!(matches!(node.role, Role::Follower(_)), follows);
    }

    #[test]
    fn only_the_end_of_its_leader_concerns_a_member() {
        check_follows(2, true);
        check_follows(3, false);
    }
}
