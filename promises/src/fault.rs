//! Faults of a group: one vocabulary for the simulator, the `chaos` command and the scenario file.
//!
//! A fault says *what* happens; its targets are a list of process names beside it (or, before it is
//! resolved, a selector). Faults of links are sets of directed links, so that a one-way cut is no
//! special case.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Fault {
    /// The process is gone at once (SIGKILL).
    Kill,
    /// The process is asked to leave (SIGTERM).
    Stop,
    /// The process is stopped and keeps its sockets (SIGSTOP).
    Pause,
    /// The process continues (SIGCONT).
    Resume,
    /// A dead process is started again.
    Restart {
        /// With which identity.
        identity: Identity,
    },
    /// One more process is started.
    Spawn,
    /// These links pass nothing, in these directions.
    Partition {
        /// The links.
        table: LinkSet,
    },
    /// These links are degraded, in these directions.
    Link {
        /// The links.
        table: LinkSet,
        /// How bad.
        #[serde(flatten)]
        weather: Weather,
    },
    /// The machine of the process has a fault.
    Host {
        /// The fault.
        hurt: Hurt,
    },
}

/// A fault of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hurt {
    /// Its clock has jumped ahead, as after a suspension.
    Clock {
        /// How far, in microseconds.
        jump_us: u64,
    },
    /// Nothing can be stored.
    Disk,
    /// No connection can be opened or accepted.
    Descriptors,
    /// Every step of a process takes long.
    Processor,
    /// Its network address changes or disappears.
    Address,
}

impl Hurt {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Clock { .. } => "clock",
            Self::Disk => "disk",
            Self::Descriptors => "descriptors",
            Self::Processor => "processor",
            Self::Address => "address",
        }
    }
}

impl Fault {
    /// The name that events and scenarios use.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Restart { .. } => "restart",
            Self::Spawn => "spawn",
            Self::Partition { .. } => "partition",
            Self::Link { .. } => "link",
            Self::Host { hurt } => hurt.name(),
        }
    }

    /// Whether the fault stays in force until it is healed (or, for a pause, until the process is
    /// resumed).
    #[must_use]
    pub fn lasts(&self) -> bool {
        match self {
            Self::Pause | Self::Partition { .. } | Self::Link { .. } => true,
            Self::Host { hurt } => !matches!(hurt, Hurt::Clock { .. }),
            Self::Kill | Self::Stop | Self::Resume | Self::Restart { .. } | Self::Spawn => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restart { identity: Identity::Fresh } => {
                f.write_str("restart with a fresh identity")
            }
            Self::Partition { table } => write!(f, "partition {table}"),
            Self::Link { table, weather } => write!(f, "link {table}: {weather}"),
            Self::Host { hurt: Hurt::Clock { jump_us } } => {
                write!(f, "clock ahead by {jump_us} us")
            }
            Self::Kill
            | Self::Stop
            | Self::Pause
            | Self::Resume
            | Self::Restart { .. }
            | Self::Spawn
            | Self::Host { .. } => f.write_str(self.name()),
        }
    }
}

/// The identity of a restarted process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// Its id, its port and its stored data.
    #[default]
    Same,
    /// Its id only.
    Fresh,
}

/// The quality of a link. Probabilities are in thousandths, so that a plan stays readable and no
/// float enters a draw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Weather {
    /// Of a thousand datagrams, how many are lost.
    pub loss: u64,
    /// Of a thousand datagrams, how many come twice.
    pub duplicate: u64,
    /// Of a thousand datagrams, how many are damaged.
    pub corrupt: u64,
    /// Of a thousand writes, how many reset the connection.
    pub reset: u64,
    /// The greatest additional delay, in microseconds; drawn for each datagram, so datagrams are
    /// also reordered.
    pub delay_us: u64,
    /// Of a thousand TCP segments, how many are lost; the connection sends them again.
    #[serde(skip_serializing_if = "is_zero")]
    pub segments: u64,
    /// Of a thousand frames, how many are overtaken by those behind them.
    #[serde(skip_serializing_if = "is_zero")]
    pub reorder: u64,
    /// Bytes per second; 0 is unlimited.
    #[serde(skip_serializing_if = "is_zero")]
    pub rate: u64,
    /// The longest packet that passes, in bytes; longer ones are dropped silently. 0 is unlimited.
    #[serde(skip_serializing_if = "is_zero")]
    pub mtu: u64,
}

impl Weather {
    /// The greatest additional delay.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_micros(self.delay_us)
    }
}

impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "loss {}/1000, duplicate {}/1000, corrupt {}/1000, reset {}/1000, delay up to {} us",
            self.loss, self.duplicate, self.corrupt, self.reset, self.delay_us
        )?;
        for (value, before, after) in [
            (self.segments, ", segments lost ", "/1000"),
            (self.reorder, ", reorder ", "/1000"),
            (self.rate, ", ", " bytes/s"),
            (self.mtu, ", packets up to ", " bytes"),
        ] {
            if value > 0 {
                write!(f, "{before}{value}{after}")?;
            }
        }
        Ok(())
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Directed links between processes. Written `a,b|c` for all links between the groups, in both
/// directions, otherwise `a>b,b>c`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkSet {
    links: BTreeSet<(String, String)>,
    groups: Vec<Vec<String>>,
}

impl LinkSet {
    /// Every link between two of these groups, in both directions.
    #[must_use]
    pub fn split(groups: &[Vec<String>]) -> Self {
        let mut links = BTreeSet::new();
        for (at, group) in groups.iter().enumerate() {
            for other in
                groups.iter().enumerate().filter(|(to, _)| *to != at).flat_map(|(_, other)| other)
            {
                links.extend(group.iter().map(|name| (name.clone(), other.clone())));
            }
        }
        Self { links, groups: groups.to_vec() }
    }

    /// These links, each from the first to the second.
    #[must_use]
    pub fn directed(links: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { links: links.into_iter().collect(), groups: vec![] }
    }

    /// The links from the others to `who`: `who` can send and receives nothing.
    #[must_use]
    pub fn deaf(who: &str, others: &[String]) -> Self {
        Self::directed(
            others
                .iter()
                .filter(|other| *other != who)
                .map(|other| (other.clone(), who.to_owned())),
        )
    }

    /// The links from `who` to the others: `who` receives and can send nothing.
    #[must_use]
    pub fn mute(who: &str, others: &[String]) -> Self {
        Self::directed(
            others
                .iter()
                .filter(|other| *other != who)
                .map(|other| (who.to_owned(), other.clone())),
        )
    }

    /// Whether the set contains the link from `from` to `to`.
    #[must_use]
    pub fn has(&self, from: &str, to: &str) -> bool {
        self.links.iter().any(|(a, b)| a == from && b == to)
    }

    /// The links, in order.
    pub fn links(&self) -> impl Iterator<Item = (&str, &str)> {
        self.links.iter().map(|(from, to)| (from.as_str(), to.as_str()))
    }

    /// The groups, lowest first, if the set was made of groups.
    #[must_use]
    pub fn groups(&self) -> &[Vec<String>] {
        &self.groups
    }
}

impl fmt::Display for LinkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.groups.is_empty() {
            for (at, (from, to)) in self.links.iter().enumerate() {
                write!(f, "{}{from}>{to}", if at == 0 { "" } else { "," })?;
            }
            return Ok(());
        }
        for (at, group) in self.groups.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { "|" }, group.join(","))?;
        }
        Ok(())
    }
}

/// The text is no set of links.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{text:?} is no table of links: write `a,b|c` for groups, or `a>b,b>c` for single directions"
)]
pub struct BadLinkSet {
    /// The text.
    pub text: String,
}

impl FromStr for LinkSet {
    type Err = BadLinkSet;

    fn from_str(text: &str) -> Result<Self, BadLinkSet> {
        let bad = || BadLinkSet { text: text.to_owned() };
        let name = |part: &str| {
            let part = part.trim();
            if part.is_empty() || part.contains(['>', '|', ',']) {
                Err(bad())
            } else {
                Ok(part.to_owned())
            }
        };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        if text.contains('|') {
            let groups: Result<Vec<Vec<String>>, BadLinkSet> =
                text.split('|').map(|group| group.split(',').map(name).collect()).collect();
            return groups.map(|groups| Self::split(&groups));
        }
        let links: Result<Vec<(String, String)>, BadLinkSet> = text
            .split(',')
            .map(|link| {
                let (from, to) = link.split_once('>').ok_or_else(bad)?;
                Ok((name(from)?, name(to)?))
            })
            .collect();
        links.map(Self::directed)
    }
}

impl Serialize for LinkSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LinkSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, Hurt, LinkSet, Weather};

    #[track_caller]
    fn check(text: &str, links: &[(&str, &str)]) {
        let table: LinkSet = text.parse().unwrap();
        assert_eq!(table.links().collect::<Vec<_>>(), links);
        assert_eq!(table.to_string(), text);
    }

    #[test]
    fn tables_are_read_and_written_alike() {
        check("a,b|c", &[("a", "c"), ("b", "c"), ("c", "a"), ("c", "b")]);
        check("a>b,c>a", &[("a", "b"), ("c", "a")]);
        check("", &[]);
        for bad in ["a", "a>b>c", "a|", ",|b", "a>b,c"] {
            assert!(bad.parse::<LinkSet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_deaf_peer_speaks_and_a_mute_one_listens() {
        let all = ["a", "b"].map(str::to_owned);
        let deaf = LinkSet::deaf("a", &all);
        assert!(deaf.has("b", "a") && !deaf.has("a", "b"));
        let mute = LinkSet::mute("a", &all);
        assert!(mute.has("a", "b") && !mute.has("b", "a"));
    }

    #[test]
    fn a_bad_link_survives_the_file() {
        let fault = Fault::Link {
            table: "a>b".parse().unwrap(),
            weather: Weather { loss: 50, ..Weather::default() },
        };
        let line = serde_json::to_string(&fault).unwrap();
        assert_eq!(
            line,
            r#"{"do":"link","table":"a>b","loss":50,"duplicate":0,"corrupt":0,"reset":0,"delay_us":0}"#
        );
        assert_eq!(serde_json::from_str::<Fault>(&line).unwrap(), fault);
    }

    #[test]
    fn a_hurt_machine_survives_the_file() {
        for (hurt, line) in [
            (Hurt::Clock { jump_us: 7 }, r#"{"do":"host","hurt":{"clock":{"jump_us":7}}}"#),
            (Hurt::Disk, r#"{"do":"host","hurt":"disk"}"#),
        ] {
            let fault = Fault::Host { hurt };
            assert_eq!(serde_json::to_string(&fault).unwrap(), line);
            assert_eq!(serde_json::from_str::<Fault>(line).unwrap(), fault);
        }
    }
}
