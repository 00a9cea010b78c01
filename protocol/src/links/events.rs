//! What links and refusals prove, for each role.
//!
//! A new link repeats every question that is open to the other end, because nothing relies on TCP
//! to be reliable. Proof that a process is gone spares everybody a timeout. A refusal says why, and
//! each reason means something else to each role; what it means is here in one place.

use std::time::Duration;

use crate::id::{Contact, Incarnation, Member, Seq};
use crate::io::{Output, StopReason};
use crate::log::lineage::LogEnd;
use crate::node::Node;
use crate::report::note::{Cause, Evidence};
use crate::roles::{Role, Stage};
use crate::time::Time;
use crate::wire::message::{Message, Reason, Rejected};

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
            self.me.member.inc.may_be_followed_by(*known) && self.been_member && self.is_own(member)
        }) {
            self.doubt_own_life(now, member, None, known, out);
            return;
        }
        match &mut self.role {
            Role::Leader(leader) => {
                let follows = leader
                    .progress
                    .get(&member.id)
                    .is_some_and(|progress| progress.contact.member == *member);
                if follows && end.epoch > leader.epoch {
                    let why = format!("{} is in epoch {}", member.id, end.epoch);
                    self.step_down(now, why, out);
                    return;
                }
                if !follows && !end.epoch.is_none() {
                    // It may have been evicted while it was away, and not know.
                    self.refuse(now, member, None, Reason::NotMember, out);
                }
                self.relink(now, member, end, out);
                self.on_entrant_linked(now, member, out);
                self.ask_to_merge(now, member, out);
                self.say_invitation(now, member, out);
            }
            Role::Follower(follower) if follower.leader.member == *member => {
                self.speak_again(now, out)
            }
            Role::Candidate(_) => {
                self.ask_further(member, end);
                self.put_question(now, member, out);
            }
            Role::Joining(_) => {
                self.on_founder_linked(now, member);
                self.ask_to_join(now, member, out);
            }
            Role::Follower(_) => {}
        }
    }

    /// One of several links to a member is gone: what was said on it may be lost, so it is said
    /// again on the others.
    pub(crate) fn on_thinned(&mut self, now: Time, member: &Member, out: &mut Vec<Output>) {
        match &self.role {
            Role::Leader(_) => {
                self.resume_at_acked(now, member, out);
                self.ask_to_merge(now, member, out);
            }
            Role::Follower(follower) if follower.leader.member == *member => {
                self.speak_again(now, out)
            }
            Role::Candidate(_) => self.put_question(now, member, out),
            Role::Joining(_) => self.ask_to_join(now, member, out),
            Role::Follower(_) => {}
        }
    }

    /// Repeats to the leader whatever it may not have got.
    fn speak_again(&mut self, now: Time, out: &mut Vec<Output>) {
        if let Role::Follower(follower) = &mut self.role {
            follower.acked = Seq::ZERO;
        }
        self.acknowledge_again(now, out);
        self.outbox.rewind(self.log.last_oseq(&self.me.member));
        if let Some(witness) = &mut self.witness {
            witness.asked = false;
        }
        self.ask_as_witness(now, out);
        self.say_leave(now, out);
        self.ask_missing(now, out);
    }

    /// A process is proven gone.
    pub(crate) fn on_gone(
        &mut self,
        now: Time,
        member: &Member,
        replaced_by: Option<Incarnation>,
        out: &mut Vec<Output>,
    ) {
        match &mut self.role {
            Role::Leader(_) => self.on_member_gone(now, member, replaced_by, out),
            Role::Follower(follower) if follower.leader.member == *member => {
                let evidence = replaced_by
                    .map_or(Evidence::Refused, |incarnation| Evidence::Replaced { incarnation });
                self.miss(now, Cause::Connection, &evidence, out);
            }
            Role::Candidate(candidate) => {
                if replaced_by.is_none() {
                    candidate.refused.insert(member.id.clone(), now);
                }
                self.on_asked_gone(now, member, out);
            }
            Role::Joining(_) => self.forget_target(now, member),
            Role::Follower(_) => {}
        }
    }

    pub(crate) fn on_rejected(
        &mut self,
        now: Time,
        from: &Member,
        rejected: Rejected,
        out: &mut Vec<Output>,
    ) {
        let Rejected { ask, reason } = rejected;
        let announcement =
            |reason: &Reason| Evidence::OwnWord { verb: format!("REJECTED:{}", reason.name()) };
        match (&mut self.role, &reason) {
            (Role::Leader(leader), Reason::Stale { promised }) => {
                // Only a member of the present view can unseat its leader; an outsider belongs to
                // another group. An entrant that has acknowledged nothing yet does not count: it
                // has gone on elsewhere since it asked.
                let progress = leader
                    .progress
                    .get(&from.id)
                    .filter(|progress| progress.contact.member == *from);
                let Some(progress) = progress.filter(|_| *promised > leader.epoch) else { return };
                if progress.ask.is_none() || progress.acked > Seq::ZERO {
                    let why = format!("{} has promised epoch {promised}", from.id);
                    self.step_down(now, why, out);
                } else {
                    let contact = progress.contact.clone();
                    self.evict(&contact, &announcement(&reason), out);
                }
            }
            // It follows somebody else, and does not answer the admission that this names.
            (Role::Leader(leader), Reason::NotMember) => {
                let progress = leader
                    .progress
                    .get(&from.id)
                    .filter(|progress| progress.contact.member == *from);
                let Some(progress) =
                    progress.filter(|progress| ask.is_some() && progress.ask == ask)
                else {
                    return;
                };
                if !progress.has_answered() {
                    let contact = progress.contact.clone();
                    self.evict(&contact, &announcement(&reason), out);
                }
            }
            (Role::Leader(_), Reason::Busy) => {
                self.stop_merge_request(now, |merge_request| Some(merge_request.ask) == ask)
            }
            // Links of one pair may overtake each other, so a leader's own word counts only with a
            // date: it answers the open question, names the epoch followed, or a later one.
            (Role::Follower(follower), Reason::Stale { promised })
                if follower.leader.member == *from =>
            {
                if *promised > follower.epoch {
                    self.miss(now, Cause::OwnWord, &announcement(&reason), out);
                }
            }
            (Role::Follower(follower), Reason::NotLeader) if follower.leader.member == *from => {
                let answers = self.witness.as_ref().is_some_and(|witness| ask == Some(witness.ask));
                // The last view of a group that becomes part of another one names whom to join. The
                // leader's word that everybody holds that view may still be on its way.
                if (answers || ask == Some(follower.epoch.round)) && !self.join_successor(now, out)
                {
                    self.miss(now, Cause::OwnWord, &announcement(&reason), out);
                }
            }
            (Role::Follower(follower), Reason::NotMember) if follower.leader.member == *from => {
                let leader = follower.leader.clone();
                self.become_joining(now, Some(leader), out);
            }
            // It had no room, or did not know whether it still leads: what it did not take is sent
            // again.
            (Role::Follower(follower), Reason::Busy)
                if follower.leader.member == *from && ask.is_none() =>
            {
                self.outbox.on_turned_away(self.log.last_oseq(&self.me.member));
            }
            (Role::Candidate(candidate), Reason::Stale { promised }) => {
                let overtaken = candidate.has_asked(from)
                    && matches!(&candidate.stage, Stage::Syncing(claim) if Some(claim.epoch.round) == ask && *promised > claim.epoch);
                if overtaken {
                    candidate.floor = candidate.floor.clone().max(promised.clone());
                    self.ask(now, Cause::Again, out);
                }
            }
            (Role::Candidate(candidate), Reason::NotLeader) => {
                if candidate.vetoed_by.as_ref().is_some_and(|named| named.member == *from) {
                    self.ask_again_soon(now);
                }
            }
            // It is between two groups itself, and says nothing about this one.
            (Role::Candidate(candidate), Reason::Busy)
                if candidate.is_asking(ask) && candidate.has_asked(from) =>
            {
                let syncing = matches!(candidate.stage, Stage::Syncing(_));
                candidate.busy.insert(from.id.clone());
                if syncing {
                    self.on_asked_gone(now, from, out);
                } else {
                    self.claim_if_clear(now, out);
                }
            }
            (Role::Candidate(candidate), Reason::NotMember)
                if candidate.is_asking(ask) && candidate.has_asked(from) =>
            {
                candidate.not_in_view = true;
                let blocked = candidate.is_blocked();
                self.on_asked_gone(now, from, out);
                // It may hear no leader, so nobody else tells it that the views have gone on.
                if blocked && self.lacks_to_claim(now).is_some() {
                    self.give_way(now, out);
                }
            }
            // The group was full, and its leader answers; datagrams that say so may all be lost.
            (Role::Joining(joining), Reason::Busy)
                if Some(joining.ask) == ask && joining.full.is_some() =>
            {
                if joining.target.as_ref().is_some_and(|(leader, _)| leader.member == *from) {
                    joining.full = Some(now);
                }
            }
            (Role::Joining(joining), Reason::DuplicateId { holder })
                if Some(joining.ask) == ask =>
            {
                let (holder, own) = (*holder, self.me.address);
                // Once a member of its own group has said that this peer is no member any more,
                // only the leader that it asks can tell it that its name is taken; otherwise it
                // would ask for ever.
                let is_asked =
                    joining.target.as_ref().is_some_and(|(leader, _)| leader.member == *from);
                let is_left_to_it = is_asked && joining.gives_way_until.is_some();
                if self.been_member && !is_left_to_it && !self.is_own(from) {
                    self.reject(Some(&from.id), "REJECTED", "DUPLICATE_ID by a stranger", out);
                } else if matches!(&self.role, Role::Joining(joining) if joining.accused_by.as_ref() == Some(from))
                {
                    self.stop(StopReason::DuplicateId { holder, own }, out);
                } else if let Some(contact) = self.links.contact(from).cloned() {
                    self.doubt_own_name(now, contact, out);
                }
            }
            // Two processes of one name have been in views; the elder goes, whatever it is doing.
            (_, Reason::OldIncarnation { known }) if self.been_member => {
                let known = *known;
                if !self.me.member.inc.may_be_followed_by(known) || !self.is_own(from) {
                    self.reject(
                        Some(&from.id),
                        "REJECTED",
                        "OLD_INCARNATION by a stranger, or of no possible number",
                        out,
                    );
                } else {
                    self.doubt_own_life(now, from, ask, known, out);
                }
            }
            // A number below its own is an answer to an earlier one of its names.
            (Role::Joining(joining), Reason::OldIncarnation { known })
                if Some(joining.ask) == ask && *known >= self.me.member.inc =>
            {
                if *known <= self.first_inc.reach() {
                    // Not at once: two that answer each other without a pause would do nothing
                    // else.
                    joining.ask_at = joining.ask_at.min(now + ASKS_AGAIN);
                    self.renumber(known.later(self.me.birth), out);
                } else {
                    self.reject(
                        Some(&from.id),
                        "REJECTED",
                        "OLD_INCARNATION of no possible number",
                        out,
                    );
                }
            }
            // The rest means nothing to the role: an answer to a question that is answered, or no
            // longer open.
            (Role::Leader(_) | Role::Follower(_) | Role::Candidate(_) | Role::Joining(_), _) => {}
        }
    }
}

impl Node {
    /// Whether somebody is a member of this peer's own group, or its leader: of the newest views
    /// held, the leader that it follows, or the one that its group has dissolved into. Nobody else
    /// can end it.
    pub(crate) fn is_own(&self, member: &Member) -> bool {
        let follows =
            matches!(&self.role, Role::Follower(follower) if follower.leader.member == *member);
        let successor = self.log.view().and_then(|view| view.successor.as_ref());
        follows
            || successor.is_some_and(|leader| leader.member == *member)
            || self.log.last_views().iter().any(|(_, view)| view.names(member))
    }

    /// Somebody says that another living peer has this joining one's name. It is asked once more,
    /// over a link and under another name: one word ends nobody.
    pub(crate) fn doubt_own_name(&mut self, now: Time, by: Contact, out: &mut Vec<Output>) {
        if by.member == self.me.member {
            // It is that very peer; a link to it needs two names.
            self.renumber(self.me.member.inc.later(self.me.birth), out);
        }
        let (ask, member) = (self.fresh_ask(), by.member.clone());
        let Role::Joining(joining) = &mut self.role else { return };
        joining.ask = ask;
        joining.accused_by = Some(member.clone());
        joining.target = Some((by, now));
        self.wants_changed = true;
        self.ask_to_join(now, &member, out);
    }

    /// One of this peer's own group says that a later life of it is known. It is asked once more,
    /// under another name; if it says so again, this process ends.
    fn doubt_own_life(
        &mut self,
        now: Time,
        by: &Member,
        ask: Option<u64>,
        known: Incarnation,
        out: &mut Vec<Output>,
    ) {
        let retry = self.config.witness_timeout();
        if let Some((_, question, at)) = self.doubted.as_ref().filter(|(member, ..)| member == by) {
            if ask == Some(*question) {
                self.stop(StopReason::OldIncarnation { known }, out);
                return;
            }
            // The answer is on its way, or has gone with its link.
            if now.since(*at) < retry {
                return;
            }
        }
        let question = self.fresh_ask();
        self.doubted = Some((by.clone(), question, now));
        match &mut self.role {
            Role::Joining(joining)
                if joining.target.as_ref().is_some_and(|(target, _)| target.member == *by) =>
            {
                joining.ask = question;
                self.ask_to_join(now, by, out);
            }
            Role::Joining(_) | Role::Follower(_) | Role::Candidate(_) | Role::Leader(_) => {
                self.send(now, by, Message::ViewSyncRequest { ask: question }, out);
            }
        }
    }
}

/// How long a joining peer waits that has taken another incarnation.
const ASKS_AGAIN: Duration = Duration::from_millis(10);

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
        node.become_member(
            Time::ZERO,
            Time::ZERO,
            contact(3, 7),
            Epoch { round: 1, owner: contact(3, 7).member },
            &mut out,
        );
        let end = LogEnd { epoch: Epoch::none(), contiguous: Seq::ZERO, log_id: Epoch::none() };
        let hello = Hello {
            cluster: node.config.cluster(),
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
