//! Metrics in the OpenMetrics text format. `docs/PAGE.md` lists them.
//!
//! Unmeasured quantities are left out instead of being 0: only a leader measures round trips, and a
//! sensor without a reading yet is neither up nor down.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::counters::Spans;
use crate::sensors::gauge::SensorState;
use crate::survey::Survey;

/// All metrics of a survey.
pub(super) fn render(survey: &Survey) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot {
        survey: survey.clone(),
        process: Process::look(),
    }));
    let mut text = String::new();
    encode(&mut text, &registry).expect("a String takes any text");
    text
}

#[derive(Debug)]
struct Snapshot {
    survey: Survey,
    process: Process,
}

/// The kernel's data about this process.
#[derive(Debug, Default)]
struct Process {
    cpu_seconds: Option<f64>,
    resident_bytes: Option<u64>,
    descriptors: Option<u64>,
    threads: Option<u64>,
}

type Labels<'a> = Vec<(&'a str, String)>;

/// Writes metric families one after the other.
struct Writer<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Writer<'_> {
    fn family(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        kind: MetricType,
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut encoder = self.encoder.encode_descriptor(name, help, unit, kind)?;
        write(&mut encoder)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.family(name, help, None, MetricType::Counter, |encoder| {
            encoder.encode_counter::<NoLabelSet, _, f64>(&value, None)
        })
    }

    fn counters<'s>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'s str, u64)>,
    ) -> fmt::Result {
        self.family(name, help, None, MetricType::Counter, |encoder| {
            values.into_iter().try_for_each(|(of, value)| {
                let labels: Labels<'_> = vec![(label, of.to_owned())];
                encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)
            })
        })
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.family(name, help, None, MetricType::Gauge, |encoder| {
            encoder.encode_gauge(&count(value))
        })
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: Vec<(Labels<'_>, f64)>,
    ) -> fmt::Result {
        if values.is_empty() {
            return Ok(());
        }
        self.family(name, help, unit, MetricType::Gauge, |encoder| {
            values
                .iter()
                .try_for_each(|(labels, value)| encoder.encode_family(labels)?.encode_gauge(value))
        })
    }

    fn spans(&mut self, name: &str, help: &str, spans: &Spans) -> fmt::Result {
        self.family(name, help, Some(&Unit::Seconds), MetricType::Histogram, |encoder| {
            encoder.encode_histogram::<NoLabelSet>(
                spans.sum(),
                spans.count(),
                &spans.buckets(),
                None,
            )
        })
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer { encoder };
        self.write_group(&mut writer)?;
        self.write_readings(&mut writer)?;
        self.write_members(&mut writer)?;
        self.write_sensors(&mut writer)?;
        self.process.write(&mut writer)
    }
}

impl Snapshot {
    fn write_group(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let Survey { report, numbers, .. } = &self.survey;
        let status = &report.status;
        writer.family(
            "sensor_peers",
            "This peer and its build",
            None,
            MetricType::Info,
            |encoder| {
                let labels: Labels<'_> = vec![
                    ("peer", status.peer_id.to_string()),
                    ("cluster", report.cluster.clone()),
                    ("version", report.build.clone()),
                    ("mode", status.mode.to_string()),
                    ("delivery", report.delivery.to_string()),
                ];
                encoder.encode_info(&labels)
            },
        )?;
        let roles = ["joining", "member", "candidate", "leader"];
        let roles = roles.map(|role| {
            (vec![("role", role.to_owned())], f64::from(u8::from(status.role == role)))
        });
        writer.gauges(
            "sensor_peers_role",
            "1 for the role that this peer has, 0 for the others",
            None,
            roles.into(),
        )?;
        let round =
            status.epoch.split('.').next().and_then(|round| round.parse().ok()).unwrap_or(0);
        writer.gauge("sensor_peers_epoch_round", "The round of the epoch of its log", round)?;
        writer.gauge(
            "sensor_peers_view_id",
            "The number of its newest view; 0 before the first",
            status.view_id.0,
        )?;
        writer.gauge(
            "sensor_peers_view_members",
            "How many members that view has",
            status.members.len() as u64,
        )?;
        writer.gauge(
            "sensor_peers_blocked",
            "1 while it can do nothing until it reaches others",
            u64::from(status.blocked.is_some()),
        )?;
        writer.gauge(
            "sensor_peers_links",
            "How many connections to other peers stand",
            report.links as u64,
        )?;
        writer.gauge(
            "sensor_peers_unreachable_peers",
            "How many peers it hears and cannot reach",
            report.unreachable.len() as u64,
        )?;
        writer.counter(
            "sensor_peers_elections",
            "Elections that it has started",
            numbers.elections,
        )?;
        writer.counter(
            "sensor_peers_leader_changes",
            "How often it has followed another leader than before",
            numbers.leader_changes,
        )?;
        let suspicions = numbers.suspicions.iter().map(|(of, count)| (*of, *count));
        writer.counters(
            "sensor_peers_suspicions",
            "Peers that it has taken for failed, by the evidence",
            "evidence",
            suspicions,
        )
    }

    fn write_readings(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let Survey { report, numbers, rejected, queues, syncs, .. } = &self.survey;
        writer.counter(
            "sensor_peers_readings_published",
            "Own readings that were accepted",
            numbers.published,
        )?;
        writer.counter(
            "sensor_peers_readings_ordered",
            "Own readings that stand in the log",
            numbers.ordered,
        )?;
        writer.counter(
            "sensor_peers_readings_delivered",
            "Readings of all peers that were delivered here",
            numbers.delivered,
        )?;
        writer.counter(
            "sensor_peers_delivered_bytes",
            "Bytes of their payloads",
            numbers.delivered_bytes,
        )?;
        let refused = numbers.refused.iter().map(|(of, count)| (*of, *count));
        writer.counters(
            "sensor_peers_readings_refused",
            "Own readings that were not taken, by reason",
            "reason",
            refused,
        )?;
        writer.counter(
            "sensor_peers_readings_lost",
            "Readings that their origins have declared lost",
            numbers.lost,
        )?;
        writer.counter(
            "sensor_peers_gap_positions",
            "Positions that this peer will never deliver",
            numbers.gaps,
        )?;
        let status = &report.status;
        let places = [
            ("contiguous", status.contiguous),
            ("stable", status.stable),
            ("delivered", status.delivered),
        ];
        let places = places.map(|(at, seq)| (vec![("at", at.to_owned())], seq.0 as f64));
        writer.gauges(
            "sensor_peers_log_seq",
            "Positions of its log: held without a hole, stable, delivered here",
            None,
            places.into(),
        )?;
        let help = "From when an own reading is accepted to when it is delivered here";
        writer.spans("sensor_peers_publish_to_deliver", help, &numbers.publish_to_deliver)?;
        writer.spans(
            "sensor_peers_loop_lag",
            "How much later than its deadline the loop has woken",
            &numbers.loop_lag,
        )?;
        let queues = queues
            .iter()
            .map(|(name, bytes)| (vec![("queue", (*name).to_owned())], *bytes as f64))
            .collect();
        writer.gauges(
            "sensor_peers_queue",
            "Bytes that wait, by queue",
            Some(&Unit::Bytes),
            queues,
        )?;
        if syncs.count() > 0 {
            writer.spans(
                "sensor_peers_disk_sync",
                "How long the disk took to store what this peer must not forget",
                syncs,
            )?;
        }
        let rejected = rejected.iter().map(|(of, count)| (*of, *count));
        writer.counters(
            "sensor_peers_words_rejected",
            "What came in and was not accepted, by reason",
            "reason",
            rejected,
        )?;
        writer.counter(
            "sensor_peers_sent_frames",
            "Frames sent over connections",
            report.traffic.frames,
        )?;
        writer.counter(
            "sensor_peers_sent_datagrams",
            "Datagrams sent",
            report.traffic.datagrams,
        )?;
        writer.counter("sensor_peers_sent_bytes", "Bytes of both", report.traffic.bytes)
    }

    fn write_members(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let others = || self.survey.members.members.iter().filter(|row| !row.this);
        let of = |peer: &String| vec![("member", peer.clone())];
        let is_leader = self.survey.report.status.role == "leader";
        let lags = others()
            .filter(|_| is_leader)
            .filter_map(|row| Some((of(&row.peer), row.lag? as f64)))
            .collect();
        writer.gauges(
            "sensor_peers_member_lag_entries",
            "Entries that a member has not acknowledged; told by the leader",
            None,
            lags,
        )?;
        let trips = others()
            .filter(|_| is_leader)
            .filter_map(|row| Some((of(&row.peer), row.rtt_us? as f64 / 1e6)))
            .collect();
        let help = "The last round trip of a heartbeat to a member; told by the leader";
        writer.gauges("sensor_peers_member_rtt", help, Some(&Unit::Seconds), trips)
    }

    fn write_sensors(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let sensors = &self.survey.report.sensors;
        let of = |name: &String| vec![("sensor", name.clone())];
        let up = sensors.iter().filter_map(|sensor| {
            let up = match sensor.state {
                SensorState::Ok | SensorState::Unsplit => 1.0,
                SensorState::Waiting
                | SensorState::Silent
                | SensorState::Failing
                | SensorState::Ended => 0.0,
                SensorState::Starting | SensorState::Other => return None,
            };
            Some((of(&sensor.name), up))
        });
        writer.gauges(
            "sensor_peers_sensor_up",
            "1 while a sensor of this peer measures, 0 while it does not",
            None,
            up.collect(),
        )?;
        let readings = sensors.iter().map(|sensor| (sensor.name.as_str(), sensor.readings));
        writer.counters(
            "sensor_peers_sensor_readings",
            "Readings of each sensor of this peer",
            "sensor",
            readings,
        )?;
        let failures = sensors.iter().map(|sensor| (sensor.name.as_str(), sensor.failures));
        writer.counters(
            "sensor_peers_sensor_failures",
            "How often each sensor of this peer has failed",
            "sensor",
            failures,
        )
    }
}

impl Process {
    fn look() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields: Vec<&str> =
            stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
        let field = |place: usize| fields.get(place).and_then(|field| field.parse::<u64>().ok());
        let per_second = sysconf(nix::unistd::SysconfVar::CLK_TCK);
        let page = sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
        Self {
            cpu_seconds: field(11)
                .zip(field(12))
                .zip(per_second)
                .map(|((user, system), tick)| (user + system) as f64 / tick as f64),
            resident_bytes: field(21).zip(page).map(|(pages, page)| pages * page),
            descriptors: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
            threads: field(17),
        }
    }

    fn write(&self, writer: &mut Writer<'_>) -> fmt::Result {
        if let Some(seconds) = self.cpu_seconds {
            writer.family(
                "process_cpu",
                "Time of processors that the process has used",
                Some(&Unit::Seconds),
                MetricType::Counter,
                |encoder| encoder.encode_counter::<NoLabelSet, _, f64>(&seconds, None),
            )?;
        }
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Memory that the process holds", self.resident_bytes),
            ("process_open_fds", "Descriptors that it has open", self.descriptors),
            ("process_threads", "Its threads", self.threads),
        ] {
            if let Some(value) = value {
                writer.gauge(name, help, value)?;
            }
        }
        Ok(())
    }
}

fn sysconf(variable: nix::unistd::SysconfVar) -> Option<u64> {
    nix::unistd::sysconf(variable).ok().flatten().and_then(|value| u64::try_from(value).ok())
}

/// A number beyond the signed range becomes the largest one.
fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
