//! What came in and was not understood: counted by kind, and told when a count reaches a power of
//! two, so that no stranger can fill a log.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use protocol::error::WireError;
use protocol::note::Note;

/// Something that came in and was not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Where it came from.
    pub from: SocketAddr,
    /// What is wrong with it.
    pub why: RejectReason,
}

/// What was wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// Bytes that are no message.
    Wire(WireError),
    /// More connections than this peer keeps.
    TooManyLinks {
        /// How many it keeps.
        most: usize,
    },
    /// A connection that said nothing.
    SilentLink,
    /// A large frame of somebody who is in no view.
    LargeFrame {
        /// Its length.
        length: usize,
    },
    /// More bytes of frames that have come in part than this peer keeps.
    HalfReceived {
        /// How many it keeps.
        most: usize,
    },
}

impl RejectReason {
    fn kind(&self) -> &'static str {
        match self {
            Self::Wire(WireError::Length { .. }) => "length",
            Self::Wire(WireError::Magic) => "magic",
            Self::Wire(WireError::Version { .. }) => "version",
            Self::Wire(WireError::Verb { .. }) => "verb",
            Self::Wire(WireError::Truncated { .. }) => "truncated",
            Self::Wire(WireError::Annex { .. }) => "annex",
            Self::Wire(WireError::Body { .. }) => "body",
            Self::Wire(WireError::Flags { .. }) => "flags",
            Self::Wire(WireError::Tag { .. }) => "tag",
            Self::TooManyLinks { .. } => "too many links",
            Self::SilentLink => "silent link",
            Self::LargeFrame { .. } => "large frame",
            Self::HalfReceived { .. } => "half-received frames",
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Wire(error) => error.to_string(),
            Self::TooManyLinks { most } => format!("{most} connections stand already"),
            Self::SilentLink => "it connected and said nothing".to_owned(),
            Self::LargeFrame { length } => {
                format!("a frame of {length} bytes from a peer that is in no view of this one")
            }
            Self::HalfReceived { most } => {
                format!("frames that came in part held more than {most} bytes; this was the oldest")
            }
        }
    }
}

/// The counts.
#[derive(Debug, Default)]
pub struct Rejects {
    counts: BTreeMap<&'static str, u64>,
}

impl Rejects {
    /// Counts one; a note if it is worth telling.
    pub fn count(&mut self, reject: &Reject) -> Option<Note> {
        let count = self.counts.entry(reject.why.kind()).or_insert(0);
        *count += 1;
        let why = || format!("{} ({})", reject.why.words(), reject.from);
        count.is_power_of_two().then(|| Note::Reject { from: None, why: why(), count: *count })
    }

    /// How many of each kind.
    #[must_use]
    pub fn by_kind(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{Reject, RejectReason, Rejects, WireError};

    #[test]
    fn a_flood_is_counted_and_told_a_few_times() {
        let mut rejects = Rejects::default();
        let reject = Reject {
            from: "127.0.0.1:9".parse().unwrap(),
            why: RejectReason::Wire(WireError::Magic),
        };
        let told = (0..1_000).filter_map(|_| rejects.count(&reject)).count();
        assert_eq!(told, 10, "1, 2, 4 … 512");
        assert_eq!(rejects.total(), 1_000);
    }
}
