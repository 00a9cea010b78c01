//! Refusals: each reason means something else to each role. What the end of this peer's own name or
//! life means is the same in all of them.

use std::time::Duration;

use crate::env::Env;
use crate::id::{Contact, Incarnation, Member};
use crate::io::{Output, StopReason};
use crate::node::Node;
use crate::report::note::Evidence;
use crate::roles::Role;
use crate::roles::joining::Joining;
use crate::roles::turn::Turn;
use crate::time::Time;
use crate::wire::message::{Message, Reason, Rejected};

/// How long a joining peer waits that has taken another incarnation.
pub(crate) const ASKS_AGAIN: Duration = Duration::from_millis(10);

/// A refusal is its speaker's own word.
pub(crate) fn refusal(reason: &Reason) -> Evidence {
    Evidence::OwnWord { verb: format!("REJECTED:{}", reason.name()) }
}

impl Node {
    /// Two processes of one name have been in views; the elder goes, whatever it is doing. Whether
    /// that is what this refusal says.
    pub(crate) fn hears_of_later_life(
        &mut self,
        now: Time,
        from: &Member,
        message: &Message,
        out: &mut Vec<Output>,
    ) -> bool {
        let Message::Rejected(Rejected { ask, reason: Reason::OldIncarnation { known } }) = message
        else {
            return false;
        };
        if !self.env.been_member {
            return false;
        }
        let may_follow = self.env.me.member.inc.may_be_followed_by(*known);
        if may_follow && self.env.is_own(self.role.followed(), from) {
            self.doubt_own_life(now, from, *ask, *known, out);
        } else {
            let why = "OLD_INCARNATION by a stranger, or of no possible number";
            self.env.reject(Some(&from.id), "REJECTED", why, out);
        }
        true
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
        let doubted = self.env.doubted.as_ref().filter(|(member, ..)| member == by);
        if let Some((_, question, at)) = doubted {
            if ask == Some(*question) {
                self.stop(StopReason::OldIncarnation { known }, out);
                return;
            }
            // The answer is on its way, or has gone with its link.
            if now.since(*at) < self.env.config.witness_timeout() {
                return;
            }
        }
        let question = self.env.fresh_ask();
        self.env.doubted = Some((by.clone(), question, now));
        match self.turn(now, out) {
            (Role::Joining(joining), mut turn) if joining.asks(by) => {
                joining.ask = question;
                joining.ask_to_join(&mut turn, by);
            }
            (_, turn) => {
                turn.env.send(now, by, Message::ViewSyncRequest { ask: question }, turn.out);
            }
        }
    }
}

impl Role {
    /// The leader that this peer follows.
    pub(crate) fn followed(&self) -> Option<&Member> {
        match self {
            Self::Follower(follower) => Some(&follower.leader.member),
            Self::Joining(_) | Self::Candidate(_) | Self::Leader(_) => None,
        }
    }
}

impl Joining {
    /// Somebody says that another living peer has this joining one's name. It is asked once more,
    /// over a link and under another name: one word ends nobody.
    pub(crate) fn doubt_own_name(&mut self, turn: &mut Turn<'_>, by: Contact) {
        let Turn { now, env, out } = turn;
        if by.member == env.me.member {
            // It is that very peer; a link to it needs two names.
            env.renumber(env.me.member.inc.later(env.me.birth), out);
        }
        self.ask = env.fresh_ask();
        self.accused_by = Some(by.member.clone());
        self.target = Some((by.clone(), *now));
        env.wants_changed = true;
        self.ask_to_join(turn, &by.member);
    }
}

impl Env {
    /// Whether somebody is a member of this peer's own group, or its leader: of the newest views
    /// held, the leader that it follows, or the one that its group has dissolved into. Nobody else
    /// can end it.
    pub(crate) fn is_own(&self, followed: Option<&Member>, member: &Member) -> bool {
        let successor = self.log.view().and_then(|view| view.successor.as_ref());
        followed == Some(member)
            || successor.is_some_and(|leader| leader.member == *member)
            || self.log.last_views().iter().any(|(_, view)| view.names(member))
    }
}
