//! Refusals: each reason means something else to each role. What the end of this peer's own name or
//! life means is the same in all of them.

use std::time::Duration;

use crate::id::{Contact, Incarnation, Member};
use crate::io::{Output, StopReason};
use crate::node::Node;
use crate::report::note::Evidence;
use crate::roles::Role;
use crate::time::Time;
use crate::wire::message::{Message, Reason, Rejected};

/// How long a joining peer waits that has taken another incarnation.
pub(crate) const ASKS_AGAIN: Duration = Duration::from_millis(10);

/// A refusal is its speaker's own word.
pub(crate) fn refusal(reason: &Reason) -> Evidence {
    Evidence::OwnWord { verb: format!("REJECTED:{}", reason.name()) }
}

impl Node {
    /// Somebody refuses what this peer has asked, or says that it is no more what it was.
    pub(crate) fn on_rejected(
        &mut self,
        now: Time,
        from: &Member,
        rejected: &Rejected,
        out: &mut Vec<Output>,
    ) {
        match (&self.role, &rejected.reason) {
            // Two processes of one name have been in views; the elder goes, whatever it is doing.
            (_, Reason::OldIncarnation { known }) if self.env.been_member => {
                if !self.env.me.member.inc.may_be_followed_by(*known) || !self.is_own(from) {
                    self.env.reject(
                        Some(&from.id),
                        "REJECTED",
                        "OLD_INCARNATION by a stranger, or of no possible number",
                        out,
                    );
                } else {
                    self.doubt_own_life(now, from, rejected.ask, *known, out);
                }
            }
            (Role::Leader(_), _) => self.leader_is_refused(now, from, rejected, out),
            (Role::Follower(_), _) => self.follower_is_refused(now, from, rejected, out),
            (Role::Candidate(_), _) => self.candidate_is_refused(now, from, rejected, out),
            (Role::Joining(_), _) => self.joiner_is_refused(now, from, rejected, out),
        }
    }

    /// Whether somebody is a member of this peer's own group, or its leader: of the newest views
    /// held, the leader that it follows, or the one that its group has dissolved into. Nobody else
    /// can end it.
    pub(crate) fn is_own(&self, member: &Member) -> bool {
        let follows =
            matches!(&self.role, Role::Follower(follower) if follower.leader.member == *member);
        let successor = self.env.log.view().and_then(|view| view.successor.as_ref());
        follows
            || successor.is_some_and(|leader| leader.member == *member)
            || self.env.log.last_views().iter().any(|(_, view)| view.names(member))
    }

    /// Somebody says that another living peer has this joining one's name. It is asked once more,
    /// over a link and under another name: one word ends nobody.
    pub(crate) fn doubt_own_name(&mut self, now: Time, by: Contact, out: &mut Vec<Output>) {
        if by.member == self.env.me.member {
            // It is that very peer; a link to it needs two names.
            self.env.renumber(self.env.me.member.inc.later(self.env.me.birth), out);
        }
        let (ask, member) = (self.env.fresh_ask(), by.member.clone());
        let Role::Joining(joining) = &mut self.role else { return };
        joining.ask = ask;
        joining.accused_by = Some(member.clone());
        joining.target = Some((by, now));
        self.env.wants_changed = true;
        self.ask_to_join(now, &member, out);
    }

    /// One of this peer's own group says that a later life of it is known. It is asked once more,
    /// under another name; if it says so again, this process ends.
    pub(crate) fn doubt_own_life(
        &mut self,
        now: Time,
        by: &Member,
        ask: Option<u64>,
        known: Incarnation,
        out: &mut Vec<Output>,
    ) {
        let retry = self.env.config.witness_timeout();
        if let Some((_, question, at)) =
            self.env.doubted.as_ref().filter(|(member, ..)| member == by)
        {
            if ask == Some(*question) {
                self.stop(StopReason::OldIncarnation { known }, out);
                return;
            }
            // The answer is on its way, or has gone with its link.
            if now.since(*at) < retry {
                return;
            }
        }
        let question = self.env.fresh_ask();
        self.env.doubted = Some((by.clone(), question, now));
        match &mut self.role {
            Role::Joining(joining)
                if joining.target.as_ref().is_some_and(|(target, _)| target.member == *by) =>
            {
                joining.ask = question;
                self.ask_to_join(now, by, out);
            }
            Role::Joining(_) | Role::Follower(_) | Role::Candidate(_) | Role::Leader(_) => {
                self.env.send(now, by, Message::ViewSyncRequest { ask: question }, out);
            }
        }
    }
}
