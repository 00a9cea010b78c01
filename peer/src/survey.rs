//! The loop's survey of itself, in one value: the source of the page, the metrics and the health
//! probes.

use std::collections::BTreeMap;

use crate::chronicle::Happening;
use crate::counters::{Numbers, Spans};
use crate::members::Members;
use crate::status::Report;

/// The survey.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Its report.
    pub report: Report,
    /// The members of the group, as far as this peer knows without asking.
    pub members: Members,
    /// The counters.
    pub numbers: Numbers,
    /// Rejected inputs, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// The bytes that wait in each queue.
    pub queues: Vec<(&'static str, u64)>,
    /// The durations of syncs of the peer's memory.
    pub syncs: Spans,
    /// The last facts, oldest first.
    pub happenings: Vec<Happening>,
}
