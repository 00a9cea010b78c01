//! All that the loop knows of itself, in one piece: what the page, the metrics and the probes of
//! health are made of.

use std::collections::BTreeMap;

use crate::chronicle::Happening;
use crate::counters::{Numbers, Spans};
use crate::members::Members;
use crate::status::Report;

/// What the loop says of itself.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Where it stands.
    pub report: Report,
    /// Who is in the group, as far as this peer knows without asking.
    pub members: Members,
    /// What has happened, in numbers.
    pub numbers: Numbers,
    /// Words of others that were not accepted, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Bytes that wait in each queue.
    pub queues: Vec<(&'static str, u64)>,
    /// How long the disk took to store what this peer must not forget.
    pub syncs: Spans,
    /// What happened last, oldest first.
    pub happenings: Vec<Happening>,
}
