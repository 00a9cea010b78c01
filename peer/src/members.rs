//! Who is in the group, as `peer members` shows it: what this peer knows of each member, and what
//! its leader has told it.

use protocol::config::Mode;
use serde::{Deserialize, Serialize};

use crate::units::Units;

/// The group, as one peer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Who says so.
    pub peer: String,
    /// The mode of the group.
    pub mode: Mode,
    /// The number of the newest view, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<u64>,
    /// The epoch of the log, with the owner's incarnation, if there is a log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// Who leads, if this peer knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// What this peer lacks to go on, while it lacks something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
    /// How many members the group can lose at once, and go on.
    pub can_lose: u64,
    /// Why lag and round trip of others are not known, where they are not.
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
    /// Where it is dialled.
    pub address: String,
    /// Its explicit priority, if it has one. A text, because it may be below -2^53, as that of a
    /// demoted peer is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// When it came in, if this peer has seen that (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// For how long it has been in, in milliseconds; at least so long where `since` is not known.
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
    /// The units of its sensors' fields, as far as they are known.
    #[serde(default, skip_serializing_if = "Units::is_empty")]
    pub units: Units,
    /// Whether it is the peer that says this.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub this: bool,
}
