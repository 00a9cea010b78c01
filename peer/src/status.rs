//! What a peer says of itself: the answer to `peer status`.

use std::fmt;
use std::time::Duration;

use protocol::config::Guarantee;
use protocol::status::Status;
use protocol::time::Time;
use serde::{Deserialize, Serialize};

use crate::outputs::OutputReport;
use crate::reach::Unreachable;
use crate::sensors::gauge::SensorReport;

/// What a peer says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Where it stands in the group.
    #[serde(flatten)]
    pub status: Status,
    /// Its process.
    pub pid: u32,
    /// Its build.
    pub build: String,
    /// Its cluster.
    pub cluster: String,
    /// When a reading is handed over, unless its publisher says otherwise.
    pub delivery: Guarantee,
    /// For how long it has been running, in milliseconds.
    pub uptime_ms: u64,
    /// How many TCP links it has.
    pub links: usize,
    /// What it has said so far.
    pub traffic: Traffic,
    /// When the newest view came into force here (CLOCK_MONOTONIC, in microseconds); 0 before the first.
    pub view_since: Time,
    /// How much it has turned away unread.
    pub rejected: u64,
    /// Peers that it hears and cannot reach.
    #[serde(default)]
    pub unreachable: Vec<Unreachable>,
    /// How it stands with its networks.
    #[serde(default)]
    pub networks: String,
    /// How many of its own readings were refused.
    pub refused: u64,
    /// How many readings it keeps in `ordered.jsonl` and in no table, because they have another form or there are too many sensors.
    #[serde(default)]
    pub without_a_row: u64,
    /// What it has handed over so far, in order.
    pub deliveries: Deliveries,
    /// Outputs that take nothing, or have taken less than there was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputReport>,
    /// How its sensors are doing.
    #[serde(default)]
    pub sensors: Vec<SensorReport>,
}

/// What a peer has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Frames, on links.
    pub frames: u64,
    /// Datagrams.
    pub datagrams: u64,
    /// Bytes of both.
    pub bytes: u64,
}

impl Traffic {
    /// One message more.
    pub(crate) fn add(&mut self, bytes: usize, datagram: bool) {
        *if datagram { &mut self.datagrams } else { &mut self.frames } += 1;
        self.bytes += bytes as u64;
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let (frames, datagrams) = (self.frames + other.frames, self.datagrams + other.datagrams);
        Self { frames, datagrams, bytes: self.bytes + other.bytes }
    }
}

/// The sequence of what was delivered, as numbers that can be compared between peers that joined at the same place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliveries {
    /// How many readings.
    pub count: u64,
    /// How many bytes of payload.
    pub bytes: u64,
    /// The position of the first; 0 before it.
    pub first: u64,
    /// When the first was delivered (CLOCK_MONOTONIC, in microseconds).
    pub first_at: Time,
    /// When the last was.
    pub last_at: Time,
    /// A rolling hash over position, origin, number and payload, hex; kept where single readings are not told.
    pub hash: Option<String>,
    /// How long synthetic load took, from when it was due; where that is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

/// How long readings took, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// Half of them no longer than this.
    pub p50_us: u64,
    /// 99 of 100.
    pub p99_us: u64,
    /// 999 of 1,000.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl Report {
    /// Why this peer takes no part in a group, if it takes none.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        let status = &self.status;
        if let Some(why) = &status.blocked {
            return Some(why.clone());
        }
        if status.leaving {
            return Some("it is leaving the group".to_owned());
        }
        if !status.members.contains(&status.peer_id) {
            return Some(format!("it is in no view yet (role: {})", status.role));
        }
        status.leader.is_none().then(|| format!("it knows no leader (role: {})", status.role))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = &self.status;
        writeln!(f, "{status}")?;
        writeln!(f, "Role: {}{}", status.role, if status.leaving { " (leaving)" } else { "" })?;
        writeln!(f, "Epoch: {} (promised {})", status.epoch, status.promised)?;
        writeln!(f, "Log: holds up to #{}, delivered #{}, stable #{}", status.contiguous, status.delivered, status.stable)?;
        writeln!(f, "Own readings: {} published, {} ordered, {} refused", status.published, status.ordered, self.refused)?;
        writeln!(f, "Delivered here: {} readings, {} bytes", self.deliveries.count, self.deliveries.bytes)?;
        if self.without_a_row > 0 {
            writeln!(f, "Without a row in a CSV table: {} readings (`ordered.jsonl` has them)", self.without_a_row)?;
        }
        writeln!(f, "Cluster: {}, mode: {}, delivery: {}", self.cluster, status.mode, self.delivery)?;
        let Traffic { frames, datagrams, bytes } = self.traffic;
        writeln!(f, "Sent: {frames} frames, {datagrams} datagrams, {bytes} bytes")?;
        writeln!(f, "Links: {}, turned away: {}", self.links, self.rejected)?;
        self.outputs.iter().try_for_each(|output| writeln!(f, "{output}"))?;
        self.sensors.iter().try_for_each(|sensor| writeln!(f, "{sensor}"))?;
        writeln!(f, "Networks: {}", self.networks)?;
        for Unreachable { peer, address, for_ms, why } in &self.unreachable {
            writeln!(f, "Cannot reach: {peer} at {address}, heard by UDP, for {} s it {why}", for_ms / 1_000)?;
        }
        let seconds = Duration::from_secs(self.uptime_ms / 1_000);
        write!(f, "Process: {}, up for {}, build {}", self.pid, humantime::format_duration(seconds), self.build)
    }
}
