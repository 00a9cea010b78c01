//! The name of a log.
//!
//! Positions are counted from 1 in each log, so `(epoch, seq)` of two groups, or of two lives of
//! one lone peer, can be the same while the entries are not. The log's name tells them apart:
//! nobody else can found a log under that epoch.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::BadId;
use crate::id::{Epoch, Incarnation, Member, PeerId};

/// The name of a log: the epoch that founded it, with its owner's incarnation. Written `1.peer1#4`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(Epoch);

impl LogId {
    /// The log that this epoch founded.
    #[must_use]
    pub fn founded_by(epoch: Epoch) -> Self {
        Self(epoch)
    }

    /// The epoch that founded it.
    #[must_use]
    pub fn into_epoch(self) -> Epoch {
        self.0
    }

    /// No log: there is none yet.
    #[must_use]
    pub fn none() -> Self {
        Self(Epoch::none())
    }

    /// Whether it names none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

impl Default for LogId {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", full(&self.0))
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An epoch written with its owner's incarnation: `3.peer1#4`.
#[must_use]
pub fn full(epoch: &Epoch) -> String {
    format!("{}#{}", epoch, epoch.owner.inc)
}

impl FromStr for LogId {
    type Err = BadLogId;

    fn from_str(text: &str) -> Result<Self, BadLogId> {
        let bad = |_| BadLogId::Number { text: text.to_owned() };
        let form = || BadLogId::Form { text: text.to_owned() };
        let (round, owner) = text.split_once('.').ok_or_else(form)?;
        let (id, inc) = owner.rsplit_once('#').ok_or_else(form)?;
        let (round, inc) = (round.parse().map_err(bad)?, inc.parse().map_err(bad)?);
        let owner = Member { id: PeerId::new(id).map_err(BadLogId::Owner)?, inc: Incarnation(inc) };
        Ok(Self(Epoch { round, owner }))
    }
}

/// A text that names no log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLogId {
    /// It has another form.
    #[error("{text:?} is no name of a log; one looks like 1.peer1#4: round, peer id, incarnation")]
    Form {
        /// The text.
        text: String,
    },
    /// The round or the incarnation is no number.
    #[error("{text:?} is no name of a log: its round and its incarnation are numbers")]
    Number {
        /// The text.
        text: String,
    },
    /// The owner's name is none.
    #[error("the owner of a log: {0}")]
    Owner(BadId),
}

impl Serialize for LogId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LogId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{Epoch, Incarnation, LogId, Member, PeerId};

    #[test]
    fn a_log_is_named_with_its_founders_incarnation() {
        let owner = Member { id: PeerId::new("a.b").expect("a name"), inc: Incarnation(u64::MAX) };
        let log = LogId::founded_by(Epoch { round: 1, owner });
        assert_eq!(log.to_string(), "1.a.b#18446744073709551615");
        assert_eq!(log.to_string().parse(), Ok(log.clone()));
        let text = serde_json::to_string(&log).expect("a text");
        assert_eq!(serde_json::from_str::<LogId>(&text).expect("and back"), log);
        assert!(LogId::none().is_none() && !log.is_none());
    }

    #[test]
    fn other_texts_name_none() {
        for text in ["", "1.a", "1#4", "a.b#4", "1.a#b", "1.#4", "1.a b#4"] {
            assert!(text.parse::<LogId>().is_err(), "{text}");
        }
    }
}
