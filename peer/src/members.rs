//! The members of the group, for `peer members`: what this peer knows of each member, and what its
//! leader has reported.

use protocol::config::Mode;
use serde::{Deserialize, Serialize};

use crate::units::Units;

/// The group, as one peer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The reporting peer.
    pub peer: String,
    /// The mode of the group.
    pub mode: Mode,
    /// The number of the newest view, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<u64>,
    /// The epoch of the log, with the owner's incarnation, if there is a log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// The leader, if this peer knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// What this peer lacks to continue, while it is blocked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
    /// How many members the group can lose at once and still continue.
    pub can_lose: u64,
    /// Why lag and round trip of others are unknown, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// In the order of the view, best priority first.
    pub members: Vec<MemberRow>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRow {
    /// Its name.
    pub peer: String,
    /// Its incarnation.
    pub inc: String,
    /// `leader` or `member`; of this peer itself also `candidate` and `joining`.
    pub role: String,
    /// The address at which it is dialled.
    pub address: String,
    /// Its explicit priority, if it has one. A string, because it may be below -2^53, as that of a
    /// demoted peer is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// When it joined, if this peer has seen that (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// For how long it has been a member, in milliseconds; a lower bound if `since` is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// How many entries it has not acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// The last round trip of a heartbeat, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u64>,
    /// Its build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// The units of its sensors' fields, if known.
    #[serde(default, skip_serializing_if = "Units::is_empty")]
    pub units: Units,
    /// Whether it is the reporting peer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub this: bool,
}
