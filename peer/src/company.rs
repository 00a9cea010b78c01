//! Since when each member has been in the group, as far as this peer has seen it.

use std::collections::BTreeMap;

use protocol::id::Member;
use protocol::view::View;

/// The members of the group, and since when.
#[derive(Debug, Default)]
pub struct Company {
    members: BTreeMap<Member, Since>,
}

/// Since when a member has been in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// In microseconds since 1970, by the clock of this machine.
    pub at: u64,
    /// Whether this peer saw it join; otherwise it joined before this peer.
    pub is_seen: bool,
}

impl Company {
    /// A view came into force at that moment.
    pub fn meet(&mut self, view: &View, at: u64) {
        let is_first = self.members.is_empty();
        let founds = view.size() == 1;
        let members = view.members.iter().map(|contact| contact.member.clone());
        let since = |known: &BTreeMap<Member, Since>, member: &Member| {
            known.get(member).copied().unwrap_or(Since { at, is_seen: !is_first || founds })
        };
        self.members =
            members.map(|member| (member.clone(), since(&self.members, &member))).collect();
    }

    /// This peer itself joined with its first view, whoever was there before.
    pub fn since(&self, member: &Member, is_this: bool) -> Option<Since> {
        self.members.get(member).map(|since| Since { is_seen: since.is_seen || is_this, ..*since })
    }
}
