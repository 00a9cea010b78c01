//! The report of a peer: the answer to `peer status`.
//!
//! Absent values are left out of the JSON, and no number may exceed 2^53: incarnations are strings.

use std::fmt;
use std::time::Duration;

use protocol::config::Guarantee;
use protocol::id::{Incarnation, inc_as_text};
use protocol::status::Status;
use protocol::time::Time;
use serde::{Deserialize, Serialize};

use crate::outputs::OutputReport;
use crate::reach::Unreachable;
use crate::sensors::gauge::SensorReport;

/// The report of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its status in the group.
    #[serde(flatten)]
    pub status: Status,
    /// Its incarnation, in the form of records.
    #[serde(default, with = "inc_as_text")]
    pub inc: Incarnation,
    /// Its process.
    pub pid: u32,
    /// Its build.
    pub build: String,
    /// Its cluster.
    pub cluster: String,
    /// The guarantee of its deliveries, unless the publisher asks for another.
    pub delivery: Guarantee,
    /// For how long it has been running, in milliseconds.
    pub uptime_ms: u64,
    /// How many TCP links it has.
    pub links: usize,
    /// What it has sent so far.
    pub traffic: Traffic,
    /// When the newest view came into force here (CLOCK_MONOTONIC, in microseconds); 0 before the
    /// first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub view_since: Time,
    /// How many inputs it has rejected unread.
    pub rejected: u64,
    /// Peers that it hears and cannot reach.
    #[serde(default)]
    pub unreachable: Vec<Unreachable>,
    /// The situation of its networks.
    #[serde(default)]
    pub networks: String,
    /// How many of its own readings were refused.
    pub refused: u64,
    /// How many readings it keeps in `ordered.jsonl` and in no table, because they have another
    /// form or there are too many sensors.
    #[serde(default)]
    pub without_a_row: u64,
    /// Its deliveries so far, in order.
    pub deliveries: Deliveries,
    /// Outputs that are stuck or have dropped lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputReport>,
    /// The state of its sensors.
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
    /// Adds a message.
    pub(crate) fn add(&mut self, bytes: usize, datagram: bool) {
        *if datagram { &mut self.datagrams } else { &mut self.frames } += 1;
        self.bytes += bytes as u64;
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let (frames, datagrams) = (self.frames + other.frames, self.datagrams + other.datagrams);
        Self { frames, datagrams, bytes: self.bytes + other.bytes }
    }
}

/// The sequence of deliveries, as numbers that can be compared between peers that joined at the
/// same place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliveries {
    /// How many readings.
    pub count: u64,
    /// How many bytes of payload.
    pub bytes: u64,
    /// The position of the first; 0 before it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub first: u64,
    /// When the first was delivered (CLOCK_MONOTONIC, in microseconds); 0 before it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub first_at: Time,
    /// When the last was; 0 before the first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last_at: Time,
    /// A rolling hash over position, origin, number and payload, in hex; kept if single readings
    /// are not reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// The latency of synthetic load, from its due time; if it is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

/// The latency of readings, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// The median.
    pub p50_us: u64,
    /// The 99th percentile.
    pub p99_us: u64,
    /// The 99.9th percentile.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl Report {
    /// Why this peer takes no part in a group, if it does not.
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
        writeln!(
            f,
            "Log: holds up to #{}, delivered #{}, stable #{}",
            status.contiguous, status.delivered, status.stable
        )?;
        writeln!(
            f,
            "Own readings: {} published, {} ordered, {} refused",
            status.published, status.ordered, self.refused
        )?;
        writeln!(
            f,
            "Delivered here: {} readings, {} bytes",
            self.deliveries.count, self.deliveries.bytes
        )?;
        if self.without_a_row > 0 {
            writeln!(
                f,
                "Without a row in a CSV table: {} readings (`ordered.jsonl` has them)",
                self.without_a_row
            )?;
        }
        writeln!(
            f,
            "Cluster: {}, mode: {}, delivery: {}",
            self.cluster, status.mode, self.delivery
        )?;
        let Traffic { frames, datagrams, bytes } = self.traffic;
        writeln!(f, "Sent: {frames} frames, {datagrams} datagrams, {bytes} bytes")?;
        writeln!(f, "Links: {}, turned away: {}", self.links, self.rejected)?;
        self.outputs.iter().try_for_each(|output| writeln!(f, "{output}"))?;
        self.sensors.iter().try_for_each(|sensor| writeln!(f, "{sensor}"))?;
        writeln!(f, "Networks: {}", self.networks)?;
        for Unreachable { peer, address, for_ms, why } in &self.unreachable {
            writeln!(
                f,
                "Cannot reach: {peer} at {address}, heard by UDP, for {} s it {why}",
                for_ms / 1_000
            )?;
        }
        let seconds = Duration::from_secs(self.uptime_ms / 1_000);
        write!(
            f,
            "Process: {}, up for {}, build {}",
            self.pid,
            humantime::format_duration(seconds),
            self.build
        )
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::{Deliveries, Report};
    use protocol::id::Incarnation;

    #[test]
    fn an_incarnation_that_a_reader_would_round_is_a_text_only() {
        let number = (1 << 53) + 1;
        let early = r#"{"peer_id":"p","incarnation":7,"address":"127.0.0.1:1","role":"joining","mode":"available","blocked":null,"leaving":false,
            "leader":null,"epoch":"0.","epoch_inc":0,"promised":"3.q","promised_inc":8,"view_id":0,"members":[],"contiguous":0,"delivered":0,
            "stable":0,"published":0,"ordered":0,"pid":1,"build":"b","cluster":"c","delivery":"agreed","uptime_ms":1,"links":0,
            "traffic":{"frames":0,"datagrams":0,"bytes":0},"view_since":0,"rejected":0,"refused":0,
            "deliveries":{"count":0,"bytes":0,"first":0,"first_at":0,"last_at":0,"hash":null}}"#;
        let mut report: Report = serde_json::from_str(early).unwrap();
        assert_eq!(
            (report.status.promised_inc, report.deliveries.clone()),
            (Incarnation(8), Deliveries::default())
        );
        (report.inc, report.status.incarnation, report.status.promised_inc) =
            (Incarnation(number), Incarnation(number), Incarnation(number));
        let text = serde_json::to_string(&report).unwrap();
        assert!(
            text.contains(&format!(r#""inc":"{number}""#))
                && text.contains(&format!(r#""promised_inc":"{number}""#)),
            "{text}"
        );
        assert!(
            !text.contains(&format!(":{number}"))
                && !text.contains("null")
                && !text.contains("epoch"),
            "{text}"
        );
        let again: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (again.inc, again.status.promised_inc),
            (Incarnation(number), Incarnation(number))
        );
        report.inc = Incarnation(u64::MAX);
        assert!(
            serde_json::from_str::<Report>(&serde_json::to_string(&report).unwrap()).is_err(),
            "numbers have a top"
        );
    }
}
