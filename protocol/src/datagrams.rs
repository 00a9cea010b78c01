//! Datagrams: what is heard, and who is answered. A datagram decides nothing.
//!
//! Anybody can say anything by datagram in anybody's name. So each one is a prompt: it says whom to ask over a
//! link, and nothing rests on it before a link has been made and has answered. Two things are done at once, because they
//! cost little: a member tells a joining peer who leads, and whoever is to be asked is dialled. Everything else waits until a
//! stranger has been heard for a while (see `strangers`): then it is answered, and a member passes its word on to the leader.

use std::net::SocketAddrV4;

use crate::id::{Contact, Member};
use crate::message::{Coordinator, Datagram, JoinRequest, Message, Reason, Rejected};
use crate::node::Node;
use crate::role::Role;
use crate::seam::Output;
use crate::time::Time;

/// How a word has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Via<'a> {
    /// Over a link, from that member.
    Link(&'a Member),
    /// By datagram, from there.
    Datagram(SocketAddrV4),
    /// By datagram to a member, which has passed it on.
    Passed,
}

impl Node {
    pub(crate) fn on_datagram(&mut self, now: Time, source: SocketAddrV4, datagram: Datagram, out: &mut Vec<Output>) {
        let from = datagram.from;
        if from.birth == self.me.birth || datagram.cluster != self.config.cluster() {
            return;
        }
        match datagram.message {
            Message::NewPeerRequest(join) if join.leading.is_none() && join.from == from => {
                self.links.on_heard(now, &from, *source.ip());
                self.on_request_heard(now, source, join, out);
            }
            Message::Coordinator(word) => {
                if word.leader.member == from.member {
                    self.links.on_heard(now, &word.leader, *source.ip());
                }
                self.on_leader_heard(now, source, &from, &word, out);
            }
            Message::Rejected(rejected) => self.on_refusal_heard(now, &from, rejected, out),
            other => self.reject(Some(from.id()), "datagram", other.verb(), out),
        }
    }

    fn on_request_heard(&mut self, now: Time, source: SocketAddrV4, join: JoinRequest, out: &mut Vec<Output>) {
        let (from, ask) = (join.from.clone(), join.ask);
        if self.is_ghost(&from.member) {
            let known = self.log.view().and_then(|view| view.incarnation(from.id())).unwrap_or(from.member.inc);
            let refusal = Rejected { ask: Some(ask), reason: Reason::OldIncarnation { known } };
            self.answer_to(now, source, Message::Rejected(refusal), out);
            return;
        }
        self.on_join_request(now, Via::Datagram(source), join.clone(), out);
        let speaks = !matches!(self.role, Role::Candidate(_));
        if !speaks || self.links.is_linked(&from.member) || !self.is_due(now, source) {
            return;
        }
        match &self.role {
            Role::Leader(_) => {
                let word = self.own_word(Some(ask), None);
                self.answer_to(now, source, Message::Coordinator(word), out);
            }
            Role::Member(following) => {
                // It may be out of the leader's hearing.
                let leader = following.leader.member.clone();
                let passed = JoinRequest { from: as_heard(&join.from, source), ..join };
                self.send(now, &leader, Message::NewPeerRequest(passed), out);
            }
            Role::Joining(joining) => {
                let request = self.join_request(joining.ask, None);
                self.answer_to(now, source, Message::NewPeerRequest(request), out);
            }
            Role::Candidate(_) => {}
        }
    }

    fn on_leader_heard(&mut self, now: Time, source: SocketAddrV4, from: &Contact, word: &Coordinator, out: &mut Vec<Output>) {
        let own_word = word.leader.member == from.member;
        let leader = &word.leader.member;
        if *leader == self.me.member || matches!(&self.role, Role::Member(following) if following.leader.member == *leader) {
            return;
        }
        self.on_beacon(now, &from.member, word, out);
        let speaks = match &self.role {
            Role::Candidate(candidate) => candidate.is_blocked(),
            Role::Joining(_) | Role::Member(_) | Role::Leader(_) => true,
        };
        if !speaks || !self.is_due(now, source) {
            return;
        }
        match &self.role {
            Role::Leader(_) => {
                let own = self.own_word(None, None);
                self.answer_to(now, source, Message::Coordinator(own), out);
                self.invite(now, word, out);
            }
            Role::Member(following) => {
                let leader = following.leader.member.clone();
                let hint = self.leaders_word(None);
                hint.into_iter().for_each(|hint| self.answer_to(now, source, Message::Coordinator(hint), out));
                let about = if own_word { as_heard(&word.leader, source) } else { word.leader.clone() };
                let passed = Coordinator { leader: about, ask: None, names_you: false, ..word.clone() };
                self.send(now, &leader, Message::Coordinator(passed), out);
            }
            Role::Joining(joining) => {
                let (request, linked) = (self.join_request(joining.ask, None), self.links.is_linked(leader));
                if !linked {
                    self.answer_to(now, source, Message::NewPeerRequest(request), out);
                }
            }
            // It may have to be dialled: its own question goes over the link.
            Role::Candidate(candidate) => {
                let request = self.join_request(candidate.ask, None);
                self.answer_to(now, source, Message::NewPeerRequest(request), out);
            }
        }
    }

    /// A refusal counts only for a joining peer, and only as the answer to its open question; and what would end it has to
    /// be said over a link.
    fn on_refusal_heard(&mut self, now: Time, from: &Contact, rejected: Rejected, out: &mut Vec<Output>) {
        match (&self.role, &rejected.reason) {
            (Role::Joining(joining), Reason::DuplicateId { .. }) if Some(joining.ask) == rejected.ask && !self.been_member => {
                self.doubt_own_name(now, from.clone(), out);
            }
            (Role::Joining(_), Reason::OldIncarnation { .. }) if !self.been_member => {
                self.on_rejected(now, &from.member, rejected, out);
            }
            (Role::Joining(_), Reason::Busy) => {}
            _ => self.reject(Some(from.id()), "datagram", "REJECTED", out),
        }
    }

    /// Whether a stranger has been heard for so long that it is to be answered. Of a large group only some answer.
    fn is_due(&mut self, now: Time, source: SocketAddrV4) -> bool {
        let patience = self.patience();
        self.strangers.is_due(now, source, patience) && (!matches!(self.role, Role::Member(_)) || self.is_one_of_few())
    }

    /// Whether this member of a large group is one of the few that answer a word that all of them have heard.
    pub(crate) fn is_one_of_few(&mut self) -> bool {
        let size = self.log.view().map_or(0, |view| view.size() as u64);
        size <= HINTS || self.drawn_below(size) < HINTS
    }

    /// Answers a datagram where it came from, unless too many have been answered lately.
    pub(crate) fn answer_to(&mut self, now: Time, source: SocketAddrV4, message: Message, out: &mut Vec<Output>) {
        if self.strangers.may_answer(now) {
            self.whisper(source, message, out);
        }
    }

    /// Another leader's word, or a request, that a member has heard and passed on.
    pub(crate) fn on_passed_request(&mut self, now: Time, from: &Member, join: JoinRequest, out: &mut Vec<Output>) {
        let founder = self.config.is_primary() && self.config.knobs().bootstrap.contains(&from.id);
        if join.leading.is_none() && join.from.birth == self.me.birth {
            return;
        }
        if self.is_follower(from) && join.leading.is_none() {
            self.on_join_request(now, Via::Passed, join, out);
        } else if matches!(self.role, Role::Joining(_)) && founder && join.leading.is_none() {
            self.on_fellow_joiner(now, join.from, join.veteran);
        } else {
            self.reject(Some(&from.id), "NEW_PEER_REQUEST", "for another peer", out);
        }
    }

    /// The same of a leader's beacon.
    pub(crate) fn on_passed_beacon(&mut self, now: Time, from: &Member, word: &Coordinator, out: &mut Vec<Output>) {
        if self.is_follower(from) && word.leader.birth != self.me.birth {
            self.court(now, word, out);
            self.invite(now, word, out);
        }
    }

    fn is_follower(&self, member: &Member) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.followers.get(&member.id).is_some_and(|follower| follower.contact.member == *member))
    }
}

/// Somebody as a member has heard it: where it can be dialled is where its words came from.
fn as_heard(contact: &Contact, source: SocketAddrV4) -> Contact {
    Contact { address: SocketAddrV4::new(*source.ip(), contact.address.port()), ..contact.clone() }
}

/// How many members of a large group answer a datagram that all of them have heard, about.
const HINTS: u64 = 16;
