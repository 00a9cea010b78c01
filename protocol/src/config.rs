//! The knobs: raw as people give them, then checked. Every bound of the protocol is in this table,
//! with its default and its unit, and the README's table says the same.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::draw::digest;
use crate::error::ConfigError;
pub use crate::guarantee::{Guarantee, LateJoin, Mode};
use crate::id::PeerId;
use crate::log::view::View;

/// The knobs as given; `Default` is the product's, [`Knobs::fast`] the profile of tests and
/// demonstrations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// Between two heartbeats of a leader. 5 s, fast 100 ms; 1 ms to 1 h.
    #[serde(with = "humantime_serde")]
    pub heartbeat_interval: Duration,
    /// Without a completed round trip for that long, a member is taken for dead. 10 s, fast 500 ms;
    /// at least two intervals.
    #[serde(with = "humantime_serde")]
    pub heartbeat_timeout: Duration,
    /// How long a candidate waits for answers. 5 s, fast 200 ms.
    #[serde(with = "humantime_serde")]
    pub election_timeout: Duration,
    /// How long a claimant waits for answers to its sync. 2 s, fast 200 ms.
    #[serde(with = "humantime_serde")]
    pub sync_timeout: Duration,
    /// How long a joining peer listens before it forms a first view. 1 s, fast 200 ms.
    #[serde(with = "humantime_serde")]
    pub join_timeout: Duration,
    /// How long a joining peer believes in a leader that others report and that does not answer. 10
    /// s, fast 1 s.
    #[serde(with = "humantime_serde")]
    pub join_patience: Duration,
    /// Joins and leaves within this share one view. 20 ms; 0 to 1 s.
    #[serde(with = "humantime_serde")]
    pub join_batch: Duration,
    /// A link that nobody needs is closed after this. 10 s, fast 1 s.
    #[serde(with = "humantime_serde")]
    pub link_idle: Duration,
    /// Unordered readings of one sender: how many. 8,192.
    pub window_entries: u64,
    /// Unordered readings of one sender: how many bytes. 4 MiB.
    pub window_bytes: u64,
    /// Entries kept behind what everybody has: how many. 65,536.
    pub retain_entries: u64,
    /// Entries kept behind what everybody has: how many bytes. 64 MiB.
    pub retain_bytes: u64,
    /// Own readings kept after they are stable, for a merge: how many. 65,536.
    pub merge_retain_entries: u64,
    /// Own readings kept after they are stable, for a merge: how many bytes. 64 MiB.
    pub merge_retain_bytes: u64,
    /// A member that lags by more entries than this for `slow_timeout` is evicted. 32,768, half of
    /// `retain_entries`.
    pub max_lag_entries: u64,
    /// How long a member may lag by more than `max_lag_entries`. 30 s, fast 1 s.
    #[serde(with = "humantime_serde")]
    pub slow_timeout: Duration,
    /// The largest reading, in bytes. 1 MiB; larger ones are refused at the sender.
    pub payload_max: u64,
    /// The most members that a group admits. 4,096.
    pub members_max: u64,
    /// Groups of other names on the same network are none of our business. `sensors`.
    pub cluster: String,
    /// What a partition does to the group: `available` (both sides go on) or `primary` (the side
    /// with a quorum does). `available`.
    pub mode: Mode,
    /// When a reading is handed over unless its publisher says otherwise: `agreed` or `safe`.
    /// `agreed`.
    pub delivery: Guarantee,
    /// Whether a member that outranks the leader takes over, once it keeps up. `false`.
    pub preempt: bool,
    /// What this peer wants of the past when it joins without a log: `from_now`, or `last N`
    /// entries as far as the leader retains them. `from_now`.
    pub late_join: LateJoin,
    /// Who founds the group together, mode `primary` only. Nobody.
    pub bootstrap: Vec<PeerId>,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(5),
            heartbeat_timeout: Duration::from_secs(10),
            election_timeout: Duration::from_secs(5),
            sync_timeout: Duration::from_secs(2),
            join_timeout: Duration::from_secs(1),
            join_patience: Duration::from_secs(10),
            join_batch: Duration::from_millis(20),
            link_idle: Duration::from_secs(10),
            window_entries: 8_192,
            window_bytes: 4 << 20,
            retain_entries: 65_536,
            retain_bytes: 64 << 20,
            merge_retain_entries: 65_536,
            merge_retain_bytes: 64 << 20,
            max_lag_entries: 32_768,
            slow_timeout: Duration::from_secs(30),
            payload_max: 1 << 20,
            members_max: 4_096,
            cluster: "sensors".to_owned(),
            mode: Mode::Available,
            delivery: Guarantee::Agreed,
            preempt: false,
            late_join: LateJoin::FromNow,
            bootstrap: Vec::new(),
        }
    }
}

impl Knobs {
    /// The fast profile: the same bounds, deadlines short enough for a test.
    #[must_use]
    pub fn fast() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(100),
            heartbeat_timeout: Duration::from_millis(500),
            election_timeout: Duration::from_millis(200),
            sync_timeout: Duration::from_millis(200),
            join_timeout: Duration::from_millis(200),
            join_patience: Duration::from_secs(1),
            link_idle: Duration::from_secs(1),
            slow_timeout: Duration::from_secs(1),
            ..Self::default()
        }
    }
}

/// Knobs that have been checked, alone and against each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    knobs: Knobs,
    cluster: u64,
}

impl Config {
    /// The knobs behind it.
    #[must_use]
    pub fn knobs(&self) -> &Knobs {
        &self.knobs
    }

    /// Whether only a side with a quorum may go on.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.knobs.mode == Mode::Primary
    }

    /// The digest of the cluster's name and mode, as the wire carries it: peers of two modes never
    /// form one group.
    #[must_use]
    pub fn cluster(&self) -> u64 {
        self.cluster
    }

    /// How long a witness waits for the leader's answer before it takes the silence for one: half
    /// of the shorter of `election_timeout` and `sync_timeout`, so that the verdict is there before
    /// the asker's own deadline.
    #[must_use]
    pub fn witness_timeout(&self) -> Duration {
        self.knobs.election_timeout.min(self.knobs.sync_timeout) / 2
    }

    /// How long an answer that is given at once may take, there and back, before the question is
    /// put on a new connection: the shortest of `heartbeat_interval`, a quarter of
    /// `heartbeat_timeout`, and what a witness waits.
    #[must_use]
    pub fn round(&self) -> Duration {
        self.knobs
            .heartbeat_interval
            .min(self.knobs.heartbeat_timeout / 4)
            .min(self.witness_timeout())
    }

    /// How long a candidate asks only a few: a quarter of `election_timeout`, so that a witness
    /// that is asked then still has the time for its verdict.
    pub(crate) fn first_wave_timeout(&self) -> Duration {
        self.knobs.election_timeout / 4
    }

    /// How often a peer that waits for answers wants to be woken, to see whether it stood still.
    pub(crate) fn tick(&self) -> Duration {
        self.witness_timeout() / 4
    }

    /// How long a claimant may stand still: the others go on without one that stands still for
    /// longer than they give a question.
    pub(crate) fn borne(&self) -> Duration {
        self.knobs.heartbeat_interval.min(self.witness_timeout())
    }

    /// Mode `primary`: a leader that no quorum has answered for that long steps down; four fifths
    /// of `heartbeat_timeout`, so that it has before its members' own deadlines pass.
    #[must_use]
    pub fn quorum_timeout(&self) -> Duration {
        self.knobs.heartbeat_timeout * 4 / 5
    }

    /// How long a peer waits for the outcome of somebody else's claim.
    #[must_use]
    pub fn outcome_timeout(&self) -> Duration {
        self.knobs.election_timeout + self.knobs.sync_timeout
    }
}

#[cfg(test)]
impl Config {
    /// With knobs that no user may have, so that what hangs on them can be counted on the fingers.
    pub(crate) fn unchecked(knobs: Knobs) -> Self {
        Self { cluster: digest(knobs.cluster.as_bytes()), knobs }
    }
}

impl TryFrom<Knobs> for Config {
    type Error = ConfigError;

    fn try_from(knobs: Knobs) -> Result<Self, ConfigError> {
        let span = |knob, got: Duration, least: Duration, most: Duration| {
            if got < least || got > most {
                Err(ConfigError::Span { knob, got, least, most })
            } else {
                Ok(())
            }
        };
        let count = |knob, got: u64, least: u64, most: u64| {
            if got < least || got > most {
                Err(ConfigError::Count { knob, got, least, most })
            } else {
                Ok(())
            }
        };
        span("heartbeat_interval", knobs.heartbeat_interval, TICK, HOUR)?;
        span("heartbeat_timeout", knobs.heartbeat_timeout, TICK, DAY)?;
        span("election_timeout", knobs.election_timeout, TICK, HOUR)?;
        span("sync_timeout", knobs.sync_timeout, TICK, HOUR)?;
        span("join_timeout", knobs.join_timeout, TICK, HOUR)?;
        span("join_patience", knobs.join_patience, knobs.join_timeout, HOUR)?;
        span("join_batch", knobs.join_batch, Duration::ZERO, Duration::from_secs(1))?;
        span("link_idle", knobs.link_idle, TICK, DAY)?;
        span("slow_timeout", knobs.slow_timeout, TICK, DAY)?;
        count("window_entries", knobs.window_entries, 1, 1 << 20)?;
        count("payload_max", knobs.payload_max, 1, 16 << 20)?;
        count("window_bytes", knobs.window_bytes, knobs.payload_max, 1 << 30)?;
        count("retain_entries", knobs.retain_entries, 1, 1 << 24)?;
        count("members_max", knobs.members_max, 1, 65_536)?;
        count("retain_bytes", knobs.retain_bytes, knobs.payload_max, 1 << 34)?;
        // Views stand in the log, too: were they alone more than it is to retain, nobody could let
        // anybody in.
        let views =
            VIEWS_LEAST * View::weight_of(usize::try_from(knobs.members_max).unwrap_or(usize::MAX));
        let least = knobs.payload_max + views;
        if knobs.retain_bytes < least {
            return Err(ConfigError::Retention {
                got: knobs.retain_bytes,
                least,
                members_max: knobs.members_max,
            });
        }
        count("merge_retain_entries", knobs.merge_retain_entries, 0, 1 << 24)?;
        count("merge_retain_bytes", knobs.merge_retain_bytes, 0, 1 << 34)?;
        count("max_lag_entries", knobs.max_lag_entries, 1, knobs.retain_entries)?;
        if knobs.heartbeat_timeout < 2 * knobs.heartbeat_interval {
            return Err(ConfigError::Impatient {
                timeout: knobs.heartbeat_timeout,
                interval: knobs.heartbeat_interval,
            });
        }
        if knobs.cluster.is_empty() || knobs.cluster.len() > 64 {
            return Err(ConfigError::Cluster { length: knobs.cluster.len(), name: knobs.cluster });
        }
        let cluster = match knobs.mode {
            Mode::Available if !knobs.bootstrap.is_empty() => {
                return Err(ConfigError::NoBootstrap { count: knobs.bootstrap.len() });
            }
            Mode::Available => digest(knobs.cluster.as_bytes()),
            Mode::Primary if knobs.bootstrap.is_empty() => return Err(ConfigError::Bootstrap),
            Mode::Primary => digest(format!("{}\nprimary", knobs.cluster).as_bytes()),
        };
        Ok(Self { knobs, cluster })
    }
}

/// Views of the largest group that there has to be room for.
const VIEWS_LEAST: u64 = 8;
const TICK: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::{Config, Knobs, Mode};
    use crate::id::PeerId;
    use std::time::Duration;

    #[track_caller]
    fn check_refused(change: impl Fn(&mut Knobs), words: &str) {
        let mut knobs = Knobs::default();
        change(&mut knobs);
        let error = Config::try_from(knobs).expect_err("refused").to_string();
        assert!(error.contains(words), "{error}");
    }

    #[test]
    fn both_profiles_are_sound() {
        for knobs in [Knobs::default(), Knobs::fast()] {
            assert!(Config::try_from(knobs).is_ok());
        }
    }

    #[test]
    fn each_bad_knob_is_named() {
        check_refused(|k| k.heartbeat_interval = Duration::ZERO, "heartbeat_interval");
        check_refused(|k| k.heartbeat_timeout = Duration::from_secs(6), "at least twice");
        check_refused(|k| k.max_lag_entries = 1 << 30, "max_lag_entries");
        check_refused(|k| k.payload_max = 0, "payload_max");
        check_refused(|k| k.window_bytes = 1, "window_bytes");
        check_refused(
            |k| k.retain_bytes = 6 << 20,
            "the views of members_max = 4096 members need 6291968 at least",
        );
        check_refused(|k| k.cluster = String::new(), "cluster");
        check_refused(|k| k.mode = Mode::Primary, "bootstrap names nobody");
        check_refused(
            |k| k.bootstrap = vec![PeerId::new("p1").expect("a valid name")],
            "drop bootstrap",
        );
    }
}
