//! Where a peer stands, as one value: the status block of the human log, and the answer to
//! `peer status`.
//!
//! In JSON, what a peer does not have is left out: a leader, a log, a position. It is never null
//! or 0.

use std::fmt;
use std::net::SocketAddrV4;

use serde::{Deserialize, Serialize};

use crate::guarantee::Mode;
use crate::id::{Epoch, Incarnation, Member, Oseq, PeerId, Seq, ViewId, inc_as_text};
use crate::log::log_id::LogId;
use crate::log::view::Names;
use crate::node::Node;
use crate::roles::Role;

/// Where a peer stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub peer_id: PeerId,
    /// Which of its lives. In JSON a number, as readers of earlier builds expect, and left out
    /// where a reader could round it; the envelope of an event and the report of a peer have it
    /// beside this, as `inc`.
    #[serde(default, skip_serializing_if = "may_be_rounded")]
    pub incarnation: Incarnation,
    /// Where it listens.
    pub address: SocketAddrV4,
    /// `joining`, `member`, `candidate` or `leader`.
    pub role: String,
    /// What a partition does to its group.
    pub mode: Mode,
    /// What it lacks to go on, where it is blocked (mode `primary`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
    /// Whether it is about to leave.
    pub leaving: bool,
    /// Whom it follows, itself included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<PeerId>,
    /// Its log, if it has one; the positions below are of that log.
    #[serde(default, skip_serializing_if = "LogId::is_none")]
    pub log: LogId,
    /// Epoch of its log, written `3.peer1`; `0.` where it has none.
    #[serde(default = "no_epoch", skip_serializing_if = "is_no_epoch")]
    pub epoch: String,
    /// The incarnation of that epoch's owner.
    #[serde(default, skip_serializing_if = "is_default", with = "inc_as_text")]
    pub epoch_inc: Incarnation,
    /// The highest epoch it promised; `0.` before the first.
    #[serde(default = "no_epoch", skip_serializing_if = "is_no_epoch")]
    pub promised: String,
    /// The incarnation of that epoch's owner.
    #[serde(default, skip_serializing_if = "is_default", with = "inc_as_text")]
    pub promised_inc: Incarnation,
    /// The number of the newest view it holds; 0 before the first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub view_id: ViewId,
    /// Everyone in that view, lowest priority first.
    pub members: Vec<PeerId>,
    /// The last contiguous position it holds; 0 before the first, like the two below.
    #[serde(default, skip_serializing_if = "is_default")]
    pub contiguous: Seq,
    /// The last position handed to its sinks.
    #[serde(default, skip_serializing_if = "is_default")]
    pub delivered: Seq,
    /// The last position known to be stable.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stable: Seq,
    /// The number of its own newest reading; as many as it has published.
    pub published: Oseq,
    /// The number of its own newest reading that stands in the log; as many as are ordered.
    pub ordered: Oseq,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leads = self.role == "leader";
        let part = matches!(self.role.as_str(), "leader" | "member");
        writeln!(f, "Peer ID: {}", self.peer_id)?;
        writeln!(f, "Address: {}", self.address.ip())?;
        writeln!(f, "Port: {}", self.address.port())?;
        writeln!(f, "Is Group Leader: {}", if leads { "True" } else { "False" })?;
        writeln!(f, "Part of Network: {}", if part { "True" } else { "False" })?;
        writeln!(f, "Leader ID: {}", self.leader.as_ref().map_or("None", PeerId::as_str))?;
        writeln!(f, "Group View: {{{}}}", Names(&self.members))?;
        writeln!(f, "View ID: {}", self.view_id)?;
        write!(f, "Ordered Peer List: [{}]", Names(&self.members))?;
        self.blocked.as_ref().map_or(Ok(()), |why| write!(f, "\nBlocked: {why}"))
    }
}

impl Node {
    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let view = self.env.log.view();
        Status {
            peer_id: self.env.me.member.id.clone(),
            incarnation: self.env.me.member.inc,
            address: self.env.me.address,
            role: self.role_name().to_owned(),
            mode: self.env.config.knobs().mode,
            blocked: self.env.blocked.clone(),
            leaving: self.env.leaving.is_some(),
            leader: self.leader_id(),
            log: self.env.log.name(),
            epoch: self.env.log.epoch().to_string(),
            epoch_inc: self.env.log.epoch().owner.inc,
            promised: self.env.promised.to_string(),
            promised_inc: self.env.promised.owner.inc,
            view_id: view.map_or(ViewId::ZERO, |view| view.view_id),
            members: view.map_or_else(Vec::new, crate::log::view::View::ids),
            contiguous: self.env.log.contiguous(),
            delivered: self.env.sinks.delivered(),
            stable: self.env.log.stable(),
            published: self.env.outbox.last(),
            ordered: self.env.outbox.ordered(),
        }
    }

    /// Bytes of its own readings that are accepted and have no place in the log yet.
    #[must_use]
    pub fn unordered_bytes(&self) -> u64 {
        self.env.outbox.waiting_bytes()
    }

    /// How far each member is, as far as its leader knows: the last position that it has
    /// acknowledged. Of itself alone for any other peer.
    #[must_use]
    pub fn acknowledged(&self) -> Vec<(Member, Seq)> {
        let progress = match &self.role {
            Role::Leader(leader) => leader
                .progress
                .values()
                .map(|progress| (progress.contact.member.clone(), progress.acked))
                .collect(),
            Role::Joining(_) | Role::Follower(_) | Role::Candidate(_) => Vec::new(),
        };
        [(self.env.me.member.clone(), self.env.log.contiguous())]
            .into_iter()
            .chain(progress)
            .collect()
    }
}

/// Whether a reader that knows only 64-bit floats gets another number.
fn may_be_rounded(inc: &Incarnation) -> bool {
    inc.0 > EXACT_MAX
}

fn no_epoch() -> String {
    Epoch::none().to_string()
}

fn is_no_epoch(epoch: &str) -> bool {
    epoch == no_epoch()
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Up to here every whole number is a 64-bit float.
const EXACT_MAX: u64 = 1 << 53;
