//! What the two modes decide differently, and why.
//!
//! Mode `available`: every part of a group that is cut in two goes on, and parts that meet again
//! become one. Mode `primary`: only a part with a quorum goes on, so there is one log, and what is
//! stable stays.

use std::collections::BTreeMap;

use crate::config::Mode;
use crate::env::Env;
use crate::id::{Contact, Member, PeerId, Seq};
use crate::io::Output;
use crate::log::view::View;
use crate::membership::quorum::required;

/// The mode, as the questions that the protocol puts to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Available,
    Primary,
}

impl Policy {
    pub(crate) fn of(mode: Mode) -> Self {
        match mode {
            Mode::Available => Self::Available,
            Mode::Primary => Self::Primary,
        }
    }

    /// Whether nobody leads, claims or goes on without a quorum of the views that count; whoever
    /// lacks one is blocked.
    pub(crate) fn needs_quorum(self) -> bool {
        self == Self::Primary
    }

    /// Whether a group is founded by the peers that `bootstrap` names, all together and once: with
    /// fewer, two groups could be founded.
    pub(crate) fn names_founders(self) -> bool {
        self == Self::Primary
    }

    /// Whether a view is numbered only when the one before is stable: a quorum of both is needed
    /// for it, and of three views nobody could tell which ones.
    pub(crate) fn settles_each_view(self) -> bool {
        self == Self::Primary
    }

    /// Whether there is only one log. Whoever is further in it may know of views that this peer
    /// lacks, and its log is the better one whoever leads.
    pub(crate) fn has_one_log(self) -> bool {
        self == Self::Primary
    }

    /// Whether groups that meet become one. With one log there is one group, and whoever leads
    /// outside of it does not for long.
    pub(crate) fn merges(self) -> bool {
        self == Self::Available
    }

    /// Whether what is stable is held by every member of the newest view, so that the rest of the
    /// log may go; with a quorum somebody may still lack it.
    pub(crate) fn stable_is_everywhere(self) -> bool {
        self == Self::Available
    }
}

impl Env {
    pub(crate) fn policy(&self) -> Policy {
        Policy::of(self.config.knobs().mode)
    }

    /// The views that count in an election, newest first: the newest held; in mode `primary` also
    /// the one before, as long as the newest is not known to be stable; in mode `available` also
    /// the one before, if it is the last that names this peer: a leader that heard nobody may have
    /// sent everybody away.
    fn counted_views(&self) -> Vec<(Seq, View)> {
        let mut views = self.log.last_views();
        let counted = if self.policy().needs_quorum() {
            required(&views, self.log.stable()).len()
        } else {
            let named = views.iter().position(|(_, view)| view.names(&self.me.member));
            named.map_or(1, |at| at + 1)
        };
        views.truncate(counted);
        views
    }

    /// Whom a candidate asks: the members of the views that count.
    pub(crate) fn electorate(&self) -> BTreeMap<PeerId, Contact> {
        let counted = self.counted_views();
        // Of two lives of one name the later one is asked.
        let contacts = counted.iter().rev().flat_map(|(_, view)| view.members.iter());
        contacts.map(|contact| (contact.id().clone(), contact.clone())).collect()
    }

    /// Whether a view that counts names somebody.
    pub(crate) fn counts(&self, member: &Member) -> bool {
        self.counted_views().iter().any(|(_, view)| view.names(member))
    }

    /// Mode `primary`: whether this peer's log may be needed for a quorum, whatever its role.
    pub(crate) fn is_elector(&self) -> bool {
        self.policy().needs_quorum() && self.counts(&self.me.member)
    }

    /// Mode `primary`: whether this peer holds nothing, and has lost nothing, so that its promise
    /// is worth one all the same.
    pub(crate) fn votes_empty(&self) -> bool {
        self.policy().needs_quorum() && self.log.is_none() && !self.has_history
    }

    /// Whether nothing forbids this peer to lead: mode `primary`'s first view is led by one of its
    /// founders.
    pub(crate) fn may_lead(&self) -> bool {
        !self.policy().names_founders()
            || self.log.view().is_some()
            || self.config.knobs().bootstrap.contains(&self.me.member.id)
    }

    /// Whether this peer stands for a group that has been founded: it founds no other, and helps
    /// nobody to.
    pub(crate) fn founds_nothing(&self) -> bool {
        self.policy().names_founders() && (self.has_history || !self.log.is_none())
    }

    /// Mode `primary`: from now on, and in its next lives, this peer knows that it has been in a
    /// view.
    pub(crate) fn remember_view(&mut self, out: &mut Vec<Output>) {
        if self.policy().names_founders() && !self.has_history {
            self.has_history = true;
            out.push(Output::Persist { incarnation: self.me.member.inc, has_history: true });
        }
    }
}
