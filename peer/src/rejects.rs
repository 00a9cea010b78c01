//! Rejected input: counted by kind, and reported when a count reaches a power of two, so that no
//! stranger can fill a log.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use protocol::error::WireError;
use protocol::note::Note;

/// A rejected input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Its source.
    pub from: SocketAddr,
    /// What is wrong with it.
    pub why: RejectReason,
}

/// Why an input was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// The bytes are no message.
    Wire(WireError),
    /// There are more connections than this peer keeps.
    TooManyLinks {
        /// The limit.
        most: usize,
    },
    /// The connection was silent.
    SilentLink,
    /// A large frame from a peer that is in no view.
    LargeFrame {
        /// Its length.
        length: usize,
    },
    /// The incomplete frames have more bytes than this peer keeps.
    HalfReceived {
        /// The limit.
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
    /// Counts one; returns a note if it should be reported.
    pub fn count(&mut self, reject: &Reject) -> Option<Note> {
        let count = self.counts.entry(reject.why.kind()).or_insert(0);
        *count += 1;
        let why = || format!("{} ({})", reject.why.words(), reject.from);
        count.is_power_of_two().then(|| Note::Reject { from: None, why: why(), count: *count })
    }

    /// The count of each kind.
    #[must_use]
    pub fn by_kind(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// The total.
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
