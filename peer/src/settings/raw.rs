//! Raw settings: this one struct has the flags of `peer run` and the keys of its file.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::builder::{EnumValueParser, TypedValueParser as _};
use clap::{Args, ValueEnum};
use log::LevelFilter;
use protocol::config::{Guarantee, LateJoin, Mode};
use protocol::id::PeerId;
use serde::Deserialize;

use super::sensor::{RawSensor, SensorName};
use super::value::{Size, Span};
use crate::seed_addresses::SeedAddress;

/// Flags of `peer run`; the file has the same names with `_` for `-`.
#[derive(Args, Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    /// This peer's name: 1 to 64 of A-Z a-z 0-9 . _ - [default: generated from the host name]
    #[arg(long)]
    pub id: Option<String>,
    /// IPv4 address to listen on and to be known by; waited for while no interface has it [default:
    /// every network]
    #[arg(long)]
    pub address: Option<Ipv4Addr>,
    /// What others dial instead of an address of this machine: the published port of a container,
    /// the outside of a NAT
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<SeedAddress>,
    /// TCP port; UDP answers come to the same number [default: a free one]
    #[arg(long)]
    pub port: Option<u16>,
    /// Only peers of the same cluster form a group [default: sensors]
    #[arg(long)]
    pub cluster: Option<String>,
    /// Goes before the name when peers compare who should lead [default: 0]
    #[arg(long, allow_negative_numbers = true)]
    pub priority: Option<i64>,
    /// UDP port on which peers meet [default: 9999]
    #[arg(long)]
    pub broadcast_port: Option<u16>,
    /// Peers to ask by unicast, where the network carries no broadcast: host:port,…
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT,…")]
    pub seeds: Vec<SeedAddress>,
    /// All deadlines at once: `default` for real networks, `fast` for tests and demonstrations
    #[arg(long, value_enum)]
    pub timing: Option<Timing>,
    /// A file with any of these settings (TOML); flags win
    #[arg(long, value_name = "PEER.TOML")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// What to measure; may be given several times, and stands in place of every `[[sensor]]` of
    /// the file [default: host]
    #[arg(long, value_delimiter = ',', value_name = "NAME,…", value_parser = EnumValueParser::<SensorName>::new().map(RawSensor::Named))]
    pub sensor: Vec<RawSensor>,
    /// Lines of standard input may begin with `!safe ` or `!agreed `, and are then handed over as
    /// that says; `!!` stands for one `!`
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub stdin_commands: Option<bool>,
    /// The sensor `load`: bytes of each reading [default: 100]
    #[arg(long, value_name = "SIZE", help_heading = LOAD)]
    pub load_bytes: Option<Size>,
    /// The sensor `load`: readings a second [default: as many as the group takes]
    #[arg(long, value_name = "COUNT", help_heading = LOAD)]
    pub load_rate: Option<u64>,
    /// The sensor `load`: how many readings in all [default: without end]
    #[arg(long, value_name = "COUNT", help_heading = LOAD)]
    pub load_count: Option<u64>,
    /// The sensor `load`: begin when the view has so many members [default: 1]
    #[arg(long, value_name = "COUNT", help_heading = LOAD)]
    pub load_members: Option<usize>,
    /// Measure how long the readings of any `load` on this machine take until they are delivered
    /// here; `peer status` tells it
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = LOAD)]
    pub load_latency: Option<bool>,
    /// How often to measure [default: 15s]
    #[arg(long)]
    pub interval: Option<Span>,
    /// Keep what is delivered in this folder [default: nothing is kept]
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// Put a data file aside when it would grow beyond this [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    pub rotate_bytes: Option<Size>,
    /// How many data files that were put aside are kept, of each kind [default: 8]
    #[arg(long, value_name = "COUNT")]
    pub rotate_keep: Option<u32>,
    /// Keep a CSV table for each sensor in the data folder, too; that doubles what a card has to
    /// bear [default: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub csv: Option<bool>,
    /// Append events to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Record everything that this peer is given, for `peer replay`; the file grows for as long as
    /// the peer runs
    #[arg(long, value_name = "FILE")]
    pub inputs: Option<PathBuf>,
    /// Whether to tell of every single reading; `off` keeps a rolling hash of them instead
    /// [default: on; to the journal of the system: off]
    #[arg(long, value_enum)]
    pub log_deliveries: Option<Switch>,
    /// How much to tell: off, error, warn, info, debug [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<LevelFilter>,
    /// Members of this group may use the socket for commands, too [default: this user and root
    /// alone]
    #[arg(long, value_name = "GROUP")]
    pub socket_group: Option<String>,
    /// Everybody on this machine may ask and follow, on a socket of its own that changes nothing
    /// [default: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub read_socket: Option<bool>,
    /// Serve the page, the metrics and the probes of health there, such as 127.0.0.1:8080 (port 0
    /// takes a free one); nowhere if it is not given
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub http: Option<String>,
    /// The file with the token that whoever asks over HTTP has to show; needed where --http is no
    /// loopback address
    #[arg(long, value_name = "FILE")]
    pub http_token_file: Option<PathBuf>,
    /// A name by which people ask over HTTP, besides the address itself; may be repeated
    #[arg(long, value_name = "NAME")]
    pub http_host: Vec<String>,
    /// Die at once when this process, which must be the parent, dies
    #[arg(long, value_name = "PID")]
    #[serde(skip)]
    pub die_with: Option<u32>,

    /// Between two heartbeats of a leader [default: 5s; fast: 100ms]
    #[arg(long, value_name = "DURATION", help_heading = KNOBS)]
    pub heartbeat_interval: Option<Span>,
    /// Without a completed round trip for that long a member is taken for dead [default: 10s; fast:
    /// 500ms]
    #[arg(long, value_name = "DURATION", help_heading = KNOBS)]
    pub heartbeat_timeout: Option<Span>,
    /// How long a candidate waits for answers [default: 5s; fast: 200ms]
    #[arg(long, value_name = "DURATION", help_heading = KNOBS)]
    pub election_timeout: Option<Span>,
    /// How long a claimant waits for answers to its sync [default: 2s; fast: 200ms]
    #[arg(long, value_name = "DURATION", help_heading = KNOBS)]
    pub sync_timeout: Option<Span>,
    /// How long a joining peer listens before it forms a first view [default: 1s; fast: 200ms]
    #[arg(long, value_name = "DURATION", help_heading = KNOBS)]
    pub join_timeout: Option<Span>,
    /// How long a joining peer believes in a leader that does not answer [default: 10s; fast: 1s]
    #[arg(long, value_name = "DURATION", help_heading = KNOBS)]
    pub join_patience: Option<Span>,
    /// Joins and leaves within this share one view [default: 20ms]
    #[arg(long, value_name = "DURATION", help_heading = KNOBS)]
    pub join_batch: Option<Span>,
    /// A link that nobody needs is closed after this [default: 10s; fast: 1s]
    #[arg(long, value_name = "DURATION", help_heading = KNOBS)]
    pub link_idle: Option<Span>,
    /// Unordered readings of one sender [default: 8192]
    #[arg(long, value_name = "COUNT", help_heading = KNOBS)]
    pub window_entries: Option<u64>,
    /// Unordered readings of one sender, in bytes [default: 4MiB]
    #[arg(long, value_name = "SIZE", help_heading = KNOBS)]
    pub window_bytes: Option<Size>,
    /// Entries kept behind what everybody has [default: 65536]
    #[arg(long, value_name = "COUNT", help_heading = KNOBS)]
    pub retain_entries: Option<u64>,
    /// Entries kept behind what everybody has, in bytes [default: 64MiB]
    #[arg(long, value_name = "SIZE", help_heading = KNOBS)]
    pub retain_bytes: Option<Size>,
    /// Own readings kept for a merge [default: 65536]
    #[arg(long, value_name = "COUNT", help_heading = KNOBS)]
    pub merge_retain_entries: Option<u64>,
    /// Own readings kept for a merge, in bytes [default: 64MiB]
    #[arg(long, value_name = "SIZE", help_heading = KNOBS)]
    pub merge_retain_bytes: Option<Size>,
    /// A member that lags by more entries for too long is evicted [default: 32768]
    #[arg(long, value_name = "COUNT", help_heading = KNOBS)]
    pub max_lag_entries: Option<u64>,
    /// How long a member may lag [default: 30s; fast: 1s]
    #[arg(long, value_name = "DURATION", help_heading = KNOBS)]
    pub slow_timeout: Option<Span>,
    /// The largest reading, in bytes [default: 1MiB]
    #[arg(long, value_name = "SIZE", help_heading = KNOBS)]
    pub payload_max: Option<Size>,
    /// The most members that a group admits [default: 4096]
    #[arg(long, value_name = "COUNT", help_heading = KNOBS)]
    pub members_max: Option<u64>,
    /// What a partition does to the group: `available`, both sides go on, or `primary`, the side
    /// with a quorum does [default: available]
    #[arg(long, value_name = "MODE", help_heading = KNOBS)]
    pub mode: Option<Mode>,
    /// When a reading is handed over: `agreed`, once its place is known, or `safe`, once enough
    /// others hold it [default: agreed]
    #[arg(long, value_name = "GUARANTEE", help_heading = KNOBS)]
    pub delivery: Option<Guarantee>,
    /// Whether a newcomer that outranks the leader takes over [default: false]
    #[arg(long, value_name = "BOOL", help_heading = KNOBS)]
    pub preempt: Option<bool>,
    /// What a newcomer gets of the past: `from_now`, or `last N` entries [default: from_now]
    #[arg(long, value_name = "SPAN", help_heading = KNOBS)]
    pub late_join: Option<LateJoin>,
    /// Mode `primary`: the peers that found the group together, alike everywhere [default: nobody]
    #[arg(long, value_delimiter = ',', value_name = "ID,…", help_heading = KNOBS)]
    pub bootstrap: Vec<PeerId>,
}

/// The profile of all deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Timing {
    /// For real networks.
    Default,
    /// For tests and demonstrations.
    Fast,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// Passes the names of all fields to a macro: those of single values, then those of lists.
macro_rules! with_fields {
    ($act:ident) => {
        $act! {
            id address advertise port cluster priority broadcast_port timing config stdin_commands interval data_dir rotate_bytes rotate_keep events
            csv inputs log_deliveries log_level die_with heartbeat_interval heartbeat_timeout election_timeout sync_timeout join_timeout
            join_patience join_batch link_idle window_entries window_bytes retain_entries retain_bytes merge_retain_entries
            merge_retain_bytes max_lag_entries slow_timeout payload_max members_max mode delivery preempt late_join load_bytes load_rate load_count load_members
            load_latency socket_group read_socket http http_token_file;
            seeds sensor http_host bootstrap
        }
    };
}

impl Raw {
    /// These settings, completed by those of `under`.
    #[must_use]
    pub fn over(self, under: Self) -> Self {
        macro_rules! first {
            ($($field:ident)*; $($list:ident)*) => {
                Self {
                    $($field: self.$field.or(under.$field),)*
                    $($list: if self.$list.is_empty() { under.$list } else { self.$list },)*
                }
            };
        }
        with_fields!(first)
    }

    /// Each setting that differs in `new`: its name, and these settings with that one changed.
    #[must_use]
    pub fn differences(&self, new: &Self) -> Vec<(&'static str, Self)> {
        let mut found = Vec::new();
        macro_rules! compare {
            ($($field:ident)*; $($list:ident)*) => {
                $(if self.$field != new.$field {
                    found.push((stringify!($field), Self { $field: new.$field.clone(), ..self.clone() }));
                })*
                $(if self.$list != new.$list {
                    found.push((stringify!($list), Self { $list: new.$list.clone(), ..self.clone() }));
                })*
            };
        }
        with_fields!(compare);
        found
    }
}

const KNOBS: &str = "Knobs of the protocol";
const LOAD: &str = "Synthetic load";
