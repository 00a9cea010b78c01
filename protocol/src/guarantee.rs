//! The three choices that a user makes about guarantees: what a partition does to the group, when a
//! reading is handed over, and what a newcomer gets of the past. What each promises and costs is in
//! `docs/GUARANTEES.md`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// What a partition does to the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every side goes on under a leader of its own, and the sides merge when they meet again.
    #[default]
    Available,
    /// Only the side with a quorum of the view in force goes on; everyone else is blocked until it
    /// meets that side again.
    Primary,
}

/// When a reading is handed over.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Guarantee {
    /// As soon as its place in the order is known.
    #[default]
    Agreed,
    /// Not before it is stable: mode `available`, everyone in the view holds it; `primary`, a
    /// quorum of the view does.
    Safe,
}

/// What a newcomer gets of the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum LateJoin {
    /// Nothing: it starts with the view that admits it.
    #[default]
    FromNow,
    /// Up to so many entries before that view, as far as they are retained.
    Last(u64),
}

impl LateJoin {
    /// How many entries before the view that admits it a newcomer gets at most.
    #[must_use]
    pub fn entries(self) -> u64 {
        match self {
            Self::FromNow => 0,
            Self::Last(entries) => entries,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Available => "available",
            Self::Primary => "primary",
        })
    }
}

impl FromStr for Mode {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match text {
            "available" => Ok(Self::Available),
            "primary" => Ok(Self::Primary),
            _ => Err(ConfigError::Choice {
                knob: "mode",
                got: text.to_owned(),
                choices: "available or primary",
            }),
        }
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agreed => "agreed",
            Self::Safe => "safe",
        })
    }
}

impl FromStr for Guarantee {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match text {
            "agreed" => Ok(Self::Agreed),
            "safe" => Ok(Self::Safe),
            _ => Err(ConfigError::Choice {
                knob: "delivery",
                got: text.to_owned(),
                choices: "agreed or safe",
            }),
        }
    }
}

impl fmt::Display for LateJoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FromNow => f.write_str("from_now"),
            Self::Last(entries) => write!(f, "last {entries}"),
        }
    }
}

impl FromStr for LateJoin {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let last = || text.strip_prefix("last ")?.trim().parse().ok().map(Self::Last);
        match text {
            "from_now" => Ok(Self::FromNow),
            _ => last().ok_or_else(|| ConfigError::LateJoin { got: text.to_owned() }),
        }
    }
}

impl From<LateJoin> for String {
    fn from(late_join: LateJoin) -> Self {
        late_join.to_string()
    }
}

impl TryFrom<String> for LateJoin {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::{Guarantee, LateJoin, Mode};

    #[test]
    fn choices_are_read_as_they_are_written() {
        for mode in [Mode::Available, Mode::Primary] {
            assert_eq!(mode.to_string().parse::<Mode>(), Ok(mode));
        }
        for guarantee in [Guarantee::Agreed, Guarantee::Safe] {
            assert_eq!(guarantee.to_string().parse::<Guarantee>(), Ok(guarantee));
        }
        let error = "safe".parse::<Mode>().expect_err("refused").to_string();
        assert_eq!(error, "mode is \"safe\"; make it available or primary");
    }

    #[test]
    fn late_join_is_read_as_it_is_written() {
        for late_join in [LateJoin::FromNow, LateJoin::Last(0), LateJoin::Last(500)] {
            assert_eq!(late_join.to_string().parse::<LateJoin>(), Ok(late_join));
        }
        for wrong in ["", "last", "last few", "last -1", "from now"] {
            let error = wrong.parse::<LateJoin>().expect_err("refused").to_string();
            assert!(error.contains("late_join") && error.contains("last 100"), "{error}");
        }
    }
}
