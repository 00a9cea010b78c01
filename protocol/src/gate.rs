//! The gate: which frames are heard at all. A link greets first, a number stays within reach, and a
//! peer speaks in its latest life. What passes goes to the page of the present role.

use crate::env::Env;
use crate::id::{Contact, LinkId, Member};
use crate::io::Output;
use crate::node::Node;
use crate::report::note::Note;
use crate::roles::Role;
use crate::time::Time;
use crate::wire::message::{Hello, JoinRequest, Message, Reason};

impl Node {
    pub(crate) fn on_frame(
        &mut self,
        now: Time,
        link: LinkId,
        message: Message,
        out: &mut Vec<Output>,
    ) {
        self.env.links.on_received(now, link, &message, out);
        if !self.env.reach().holds(&message) {
            let from = self.env.links.peer(link).map(|from| from.id.clone());
            self.env.reject(
                from.as_ref(),
                "number",
                &format!("{} names one that no peer can have got to", message.verb()),
                out,
            );
            if matches!(message, Message::Hello(_)) {
                self.env.links.hang_up(link, out);
            }
            return;
        }
        if let Message::Hello(hello) = &message {
            self.on_hello(now, link, hello, out);
            return;
        }
        let Some(from) = self.env.links.peer(link).cloned() else {
            self.env.reject(None, "no HELLO", message.verb(), out);
            self.env.links.hang_up(link, out);
            return;
        };
        if self.env.is_ghost(&from) && !self.is_between_groups(&from, &message) {
            self.env.answer_ghost(now, &from, &message, out);
            self.env.reject(Some(&from.id), "ghost", message.verb(), out);
            return;
        }
        let _ignored = self.hear(now, &from, message, out);
    }

    fn on_hello(&mut self, now: Time, link: LinkId, hello: &Hello, out: &mut Vec<Output>) {
        if self.env.is_taken(&hello.from) {
            let name = &hello.from.member;
            let why = format!("{name} is a member, and this is another process of that name");
            self.env.reject(Some(hello.from.id()), "HELLO", &why, out);
            self.env.links.hang_up(link, out);
            return;
        }
        let end = self.env.log.end();
        let knows = self.env.log.view().and_then(|view| view.incarnation(hello.from.id()));
        match self.env.links.on_hello(now, link, hello, end, knows, out) {
            Ok(proofs) => proofs.into_iter().for_each(|proof| self.on_proof(now, proof, out)),
            Err(why) => {
                self.env.reject(Some(hello.from.id()), "HELLO", &why, out);
                self.env.links.hang_up(link, out);
            }
        }
    }

    /// Whether a leader speaks with another one about their groups, or refuses whoever asks it to
    /// be admitted: that is not about its own place in a view.
    pub(crate) fn is_between_groups(&self, from: &Member, message: &Message) -> bool {
        match (&self.role, message) {
            (Role::Leader(_), Message::NewPeerRequest(join)) => join.leading.is_some(),
            (Role::Leader(_), Message::Coordinator(_)) => true,
            (Role::Joining(joining), Message::Rejected(_)) => {
                joining.target.as_ref().is_some_and(|(target, _)| target.member == *from)
            }
            _ => false,
        }
    }

    /// The words of a leader to this log: one below the promise is dropped, and whoever may act on
    /// that is told. A candidate tells nobody: that it has promised itself more must not unseat a
    /// working leader.
    pub(crate) fn is_below_promise(
        &mut self,
        now: Time,
        from: &Member,
        message: &Message,
        out: &mut Vec<Output>,
    ) -> bool {
        let epoch = match message {
            Message::Heartbeat(beat) => &beat.epoch,
            Message::Ordered(ordered) if ordered.repair.is_none() => &ordered.epoch,
            Message::SeqSyncFinal(last) if last.leader.member == *from => &last.epoch,
            _ => return false,
        };
        if *epoch >= self.env.promised {
            return false;
        }
        out.push(Output::Note(Note::StaleEpoch {
            log: self.env.log.name(),
            from: from.id.clone(),
            epoch: epoch.clone(),
            kind: message.verb().to_owned(),
        }));
        if matches!(self.role, Role::Follower(_) | Role::Leader(_)) {
            let promised = self.env.promised.clone();
            self.env.refuse(now, from, None, Reason::Stale { promised }, out);
        }
        true
    }
}

impl Env {
    /// Tells an earlier life of a member that a later one is known, if it has asked something.
    fn answer_ghost(&mut self, now: Time, from: &Member, message: &Message, out: &mut Vec<Output>) {
        if message.is_routine() || matches!(message, Message::Rejected(_)) {
            return;
        }
        let ask = match message {
            Message::NewPeerRequest(JoinRequest { ask, .. }) | Message::ViewSyncRequest { ask } => {
                Some(*ask)
            }
            _ => None,
        };
        let view = self.log.view();
        let known = view.and_then(|view| view.incarnation(&from.id)).unwrap_or(from.inc);
        self.refuse(now, from, ask, Reason::OldIncarnation { known }, out);
    }

    /// A question of one peer in the name of another one is dropped.
    pub(crate) fn is_in_anothers_name(
        &mut self,
        from: &Member,
        message: &Message,
        out: &mut Vec<Output>,
    ) -> bool {
        let is_own = match message {
            Message::Election(election) => election.candidate.member == *from,
            Message::SeqSyncRequest(request) => {
                request.claimant.member == *from && request.epoch.owner == *from
            }
            _ => true,
        };
        if !is_own {
            self.reject(Some(&from.id), message.verb(), "for another peer", out);
        }
        !is_own
    }

    /// Whether another process than this one is what the newest view calls so. One that is the same
    /// process, and says that it is to be reached at another address, has moved.
    pub(crate) fn is_taken(&self, contact: &Contact) -> bool {
        let known = self.log.view().and_then(|view| view.find(contact.id()));
        known.is_some_and(|known| known.member == contact.member && known.birth != contact.birth)
    }

    /// Whether the newest view knows a later life of that peer.
    pub(crate) fn is_ghost(&self, from: &Member) -> bool {
        self.log
            .view()
            .and_then(|view| view.incarnation(&from.id))
            .is_some_and(|known| known > from.inc)
    }
}
