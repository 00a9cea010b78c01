//! The names and numbers of the protocol, one type for each, with only the arithmetic that means
//! something.
//!
//! A *member* is an id and an incarnation: a restarted process is another member. An *epoch* is
//! owned by the member that claimed it, so two claims can never share one although nobody stores
//! anything. A *seq* is a position in the log and never restarts; an entry is identified by
//! `(epoch, seq)`, never by `seq` alone.

use std::fmt;
use std::net::SocketAddrV4;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::bounded;
use crate::error::BadId;

/// The longest peer id, in bytes.
pub const PEER_ID_MAX: usize = 64;

/// The largest number of this protocol: no round, incarnation, position, own number, view number or
/// count is above it. What is, is no message, so that whoever computes with a number that was read
/// has as much room above it again.
pub const NUMBER_MAX: u64 = 1 << 62;

/// The last position at which a log may be taken over from others, and the last number that a view
/// may have. A log that began there would still have as much room as one that begins at 1, which no
/// group uses up.
pub const TAKEN_OVER_MAX: u64 = NUMBER_MAX / 2;

/// How far the round of an epoch may lie above the round that a peer has promised: more claims than
/// a group ever makes.
pub const ROUND_AHEAD_MAX: u64 = 1 << 32;

/// How far another incarnation may lie above one's own ([`Incarnation::reach`]): 35 years in
/// milliseconds.
pub const INCARNATION_AHEAD_MAX: u64 = 1 << 40;

/// Among how many numbers a process takes the one after another's incarnation. In milliseconds that
/// is less than the time in which a process starts again, so that a clock that is right has passed
/// it by then.
const LATER_SPREAD: u64 = 1 << 8;

/// 2026-01-01 in milliseconds since 1970. An own incarnation below it comes from a clock that was
/// never set, which says nothing about those of others.
const INCARNATION_OF_UNSET_CLOCK_MAX: u64 = 1_767_225_600_000;

/// A peer's name: 1 to 64 characters out of `A-Z a-z 0-9 . _ -`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(Arc<str>);

impl PeerId {
    /// Checks and wraps a name.
    ///
    /// # Errors
    /// [`BadId`] if the name is empty, too long, or holds a character outside the alphabet.
    pub fn new(name: &str) -> Result<Self, BadId> {
        if name.is_empty() || name.len() > PEER_ID_MAX {
            return Err(BadId::Length { length: name.len() });
        }
        match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
            Some(found) => Err(BadId::Character { name: name.to_owned(), found }),
            None => Ok(Self(name.into())),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The owner of the epoch that precedes all others; no peer can be called this.
    fn nobody() -> Self {
        Self("".into())
    }
}

impl FromStr for PeerId {
    type Err = BadId;

    fn from_str(name: &str) -> Result<Self, BadId> {
        Self::new(name)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Name)
    }
}

/// Reads a name straight out of the text, without a copy in between.
struct Name;

impl de::Visitor<'_> for Name {
    type Value = PeerId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a peer id")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<PeerId, E> {
        PeerId::new(name).map_err(E::custom)
    }
}

/// Which life of a peer this is: new and larger at each process start.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Incarnation(#[serde(deserialize_with = "bounded::number")] pub u64);

impl Incarnation {
    /// The largest incarnation that a peer with this one believes in: [`INCARNATION_AHEAD_MAX`]
    /// above it, or above the year 2026 where this one comes from a clock that was never set.
    #[must_use]
    pub fn reach(self) -> Self {
        Self(self.0.max(INCARNATION_OF_UNSET_CLOCK_MAX) + INCARNATION_AHEAD_MAX)
    }

    /// A later one, for the process with this birth. Two processes that start from the same number,
    /// because their folder was lost in between, take the same later one once in `LATER_SPREAD`
    /// times only.
    #[must_use]
    pub fn later(self, birth: u64) -> Self {
        Self(self.0.saturating_add(1 + birth % LATER_SPREAD))
    }

    /// Whether `other` may be a later life of the peer whose own incarnation this is: not beyond
    /// its [`reach`](Self::reach).
    #[must_use]
    pub fn may_be_followed_by(self, other: Self) -> bool {
        other > self && other <= self.reach()
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One life of one peer: `peer_id#inc`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub id: PeerId,
    /// Which of its lives.
    pub inc: Incarnation,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.id, self.inc)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A term of leadership: compared by round, then owner. Written `3.peer1`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// Rises with each claim.
    #[serde(deserialize_with = "bounded::number")]
    pub round: u64,
    /// Who claimed it; nobody else ever can.
    #[serde(deserialize_with = "owner")]
    pub owner: Member,
}

/// Reads an owner, who may be nobody: the one place where an empty name is legal.
fn owner<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Member, D::Error> {
    struct Owner(PeerId);

    impl<'de> Deserialize<'de> for Owner {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct NameOrNobody;

            impl de::Visitor<'_> for NameOrNobody {
                type Value = PeerId;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a peer id, or nothing")
                }

                fn visit_str<E: de::Error>(self, name: &str) -> Result<PeerId, E> {
                    if name.is_empty() { Ok(PeerId::nobody()) } else { Name.visit_str(name) }
                }
            }

            deserializer.deserialize_str(NameOrNobody).map(Self)
        }
    }

    #[derive(Deserialize)]
    struct Raw {
        id: Owner,
        inc: Incarnation,
    }

    let Raw { id: Owner(id), inc } = Raw::deserialize(deserializer)?;
    Ok(Member { id, inc })
}

impl Epoch {
    /// Before every claim.
    #[must_use]
    pub fn none() -> Self {
        Self { round: 0, owner: Member { id: PeerId::nobody(), inc: Incarnation(0) } }
    }

    /// Whether this precedes every claim.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.round == 0
    }

    /// The epoch that `owner` claims next, above this one.
    #[must_use]
    pub fn next(&self, owner: Member) -> Self {
        // What was read is at most `NUMBER_MAX`.
        Self { round: self.round + 1, owner }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, self.owner.id)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, self.owner)
    }
}

/// Serde adaptor for reports: an incarnation as a text, because some readers of JSON round numbers
/// above 2^53. Numbers are read as well, since earlier builds wrote them.
pub mod inc_as_text {
    use super::{Deserialize, Deserializer, Incarnation, NUMBER_MAX, Serializer, de};

    /// Writes the text.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(inc: &Incarnation, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(inc)
    }

    /// Reads a text or a number.
    ///
    /// # Errors
    /// Those of the deserializer, and a text that is no incarnation.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Incarnation, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(Incarnation),
            Text(String),
        }

        match Written::deserialize(deserializer)? {
            Written::Number(inc) => Ok(inc),
            Written::Text(text) => {
                let inc = text.parse().ok().filter(|inc| *inc <= NUMBER_MAX).map(Incarnation);
                inc.ok_or_else(|| {
                    de::Error::custom(format_args!(
                        "{text:?}; an incarnation is a number up to {NUMBER_MAX}"
                    ))
                })
            }
        }
    }
}

/// Serde adaptor for events: an epoch as the two flat fields `epoch` (`"3.peer1"`) and `epoch_inc`.
pub mod epoch_fields {
    use super::{
        Deserialize, Deserializer, Epoch, Incarnation, Member, PeerId, Serialize, Serializer, de,
    };

    #[derive(Serialize, Deserialize)]
    struct Flat {
        epoch: String,
        epoch_inc: u64,
    }

    /// Writes the two fields.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(epoch: &Epoch, serializer: S) -> Result<S::Ok, S::Error> {
        Flat { epoch: epoch.to_string(), epoch_inc: epoch.owner.inc.0 }.serialize(serializer)
    }

    /// Reads the two fields.
    ///
    /// # Errors
    /// Those of the deserializer, and a text that is not `<round>.<peer_id>`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Epoch, D::Error> {
        let flat = Flat::deserialize(deserializer)?;
        let (round, id) = flat
            .epoch
            .split_once('.')
            .ok_or_else(|| de::Error::custom("an epoch is <round>.<peer_id>"))?;
        let round = round.parse().map_err(de::Error::custom)?;
        let id = if id.is_empty() {
            PeerId::nobody()
        } else {
            PeerId::new(id).map_err(de::Error::custom)?
        };
        Ok(Epoch { round, owner: Member { id, inc: Incarnation(flat.epoch_inc) } })
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(#[serde(deserialize_with = "bounded::number")] pub u64);

        impl $name {
            /// Before the first.
            pub const ZERO: Self = Self(0);

            /// The last that there can be.
            pub const MAX: Self = Self(NUMBER_MAX);

            /// The one after this.
            #[must_use]
            pub const fn next(self) -> Self {
                self.plus(1)
            }

            /// The one before this; zero stays zero.
            #[must_use]
            pub const fn previous(self) -> Self {
                Self(self.0.saturating_sub(1))
            }

            /// This one moved on by `count`.
            ///
            /// # Panics
            /// If that is no number any more. Nothing that was read brings one near it (see
            /// [`NUMBER_MAX`]).
            #[must_use]
            pub const fn plus(self, count: u64) -> Self {
                match self.0.checked_add(count) {
                    Some(sum) => Self(sum),
                    None => panic!("numbers that are read end at 2^62, and counts long before"),
                }
            }

            /// How many lie above `lower`, up to and with this one.
            #[must_use]
            pub const fn above(self, lower: Self) -> u64 {
                self.0.saturating_sub(lower.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

counter! {
    /// A position in the log; the first entry is 1, and numbers are never used again.
    Seq
}
counter! {
    /// A sender's own count of its readings; the key for dedupe and sender order. The first is 1.
    Oseq
}
counter! {
    /// Rises by one with each view; views compare by `(epoch, view_id)`.
    ViewId
}

/// Who asks to lead when several could: compared field by field, the greatest wins. **The place to
/// extend**: a new criterion is a new field, put where it should count. It decides who *asks*; it
/// never decides what is safe.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Priority {
    /// Given with `--priority N`; 0 where nothing was said. It goes before the name.
    pub explicit: i64,
    /// The name, compared as text: `peer10` comes before `peer2`.
    pub id: PeerId,
    /// The TCP port, for two peers of one name.
    pub port: u16,
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {}, {})", self.explicit, self.id, self.port)
    }
}

/// All that others need to know of a peer: who it is, where it listens, how it ranks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Contact {
    /// Name and incarnation.
    pub member: Member,
    /// Drawn at process start; tells twins of equal name and incarnation apart.
    pub birth: u64,
    /// Where it listens for TCP, and for unicast datagrams (the same port number).
    pub address: SocketAddrV4,
    /// The explicit part of its priority.
    pub explicit: i64,
}

impl Contact {
    /// Its rank in elections.
    #[must_use]
    pub fn priority(&self) -> Priority {
        Priority { explicit: self.explicit, id: self.member.id.clone(), port: self.address.port() }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &PeerId {
        &self.member.id
    }

    /// Whether it would win an election against `other`.
    #[must_use]
    pub fn outranks(&self, other: &Self) -> bool {
        self.priority() > other.priority()
    }
}

/// One TCP connection. Even numbers are dialled, and numbered by the node; odd ones are accepted,
/// and numbered by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

impl LinkId {
    /// The number of the `k`-th connection that the shell accepted.
    #[must_use]
    pub const fn accepted(k: u64) -> Self {
        Self(k * 2 + 1)
    }

    /// The number of the `k`-th connection that the node dialled.
    #[must_use]
    pub const fn dialled(k: u64) -> Self {
        Self(k * 2)
    }

    /// Whether the node itself dialled it.
    #[must_use]
    pub const fn is_dialled(self) -> bool {
        self.0.is_multiple_of(2)
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_dialled() { "d" } else { "a" }, self.0 / 2)
    }
}
