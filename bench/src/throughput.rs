//! How many readings per second a group delivers in order at *every* member.
//!
//! Fresh groups, the product's default knobs, and synthetic load as fast as the window permits;
//! measured between the first delivery anywhere and the last one. After each run the rolling hashes
//! and the counts of all peers are compared. Beside each run, the same through the bare sequencer;
//! beside `safe`, the same with `agreed`, which shows the cost of `safe`.

use std::io;
use std::path::Path;
use std::time::Duration;

use peer::status::Report;
use protocol::time::Time;

use crate::bare::Part;
use crate::pairs::{Line, Pair, Pairs, median};
use crate::peers::Peers;
use crate::reference;

/// The senders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Senders {
    /// The leader alone.
    Leader,
    /// One member alone.
    Member,
    /// All peers, the same number each.
    All,
}

/// A configuration to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// How many peers.
    pub peers: u32,
    /// The size of a reading in bytes.
    pub bytes: usize,
    /// The senders.
    pub senders: Senders,
    /// Whether readings are delivered only when they are safe.
    pub safe: bool,
}

/// The result of one run of the product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// Readings a second at the slowest member.
    pub rate: f64,
    /// Processor time per reading, of all peers together, in microseconds.
    pub cpu_us: f64,
    /// The highest memory of a peer, in MiB.
    pub peak_mib: f64,
}

impl Case {
    /// The cases that are measured.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let agreed = |peers, bytes, senders| Self { peers, bytes, senders, safe: false };
        let sizes = [16, 100, 1 << 10, 16 << 10].into_iter();
        let three = sizes.flat_map(|bytes| {
            [Senders::Leader, Senders::Member, Senders::All]
                .map(|senders| agreed(3, bytes, senders))
        });
        let safe =
            [100, 1 << 10].map(|bytes| Self { safe: true, ..agreed(3, bytes, Senders::Member) });
        three.chain([5, 10].map(|peers| agreed(peers, 100, Senders::Member))).chain(safe).collect()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        let who = match self.senders {
            Senders::Leader => "the leader sends",
            Senders::Member => "a member sends",
            Senders::All => "all send",
        };
        format!(
            "{} peers, {} B, {who}{}",
            self.peers,
            self.bytes,
            if self.safe { ", safe" } else { "" }
        )
    }

    fn sends(&self, number: u32) -> bool {
        match self.senders {
            Senders::Leader => number == 0,
            Senders::Member => number == 1,
            Senders::All => true,
        }
    }

    /// How many readings each sender sends: as many as take a second or two; `share` of that in the
    /// short form.
    fn count(&self, share: f64) -> u64 {
        let senders = (0..self.peers).filter(|number| self.sends(*number)).count() as f64;
        let all = (1_200_000_000.0 / (self.bytes as f64 + 100.0)).min(8_000_000.0) * share;
        (all / senders) as u64
    }

    /// Runs the product.
    ///
    /// # Errors
    /// The group failed, was far too slow, or did not deliver the same everywhere.
    pub fn run(&self, program: &Path, folder: &Path, share: f64) -> io::Result<Run> {
        self.run_watched(program, folder, share, |_| Ok(()))
    }

    /// The same with an observer. `watch` is called once the leader runs; its result is kept until
    /// everything is delivered.
    ///
    /// # Errors
    /// See [`Self::run`].
    pub fn run_watched<W>(
        &self,
        program: &Path,
        folder: &Path,
        share: f64,
        watch: impl FnOnce(&Peers) -> io::Result<W>,
    ) -> io::Result<Run> {
        let mut watch = Some(watch);
        let mut watcher = None;
        let count = self.count(share);
        let mut peers = Peers::new(program, folder)?;
        let mut total = 0;
        for number in 0..self.peers {
            let mut flags: Vec<String> = [
                "--log-deliveries",
                "off",
                "--delivery",
                if self.safe { "safe" } else { "agreed" },
            ]
            .into_iter()
            .map(str::to_owned)
            .collect();
            if number == 0 {
                flags.extend(["--priority", "1"].map(str::to_owned));
            }
            if self.sends(number) {
                total += count;
                let load = [
                    "--sensor",
                    "load",
                    "--load-bytes",
                    &self.bytes.to_string(),
                    "--load-count",
                    &count.to_string(),
                ];
                flags.extend(load.map(str::to_owned));
                flags.extend(["--load-members".to_owned(), self.peers.to_string()]);
            } else {
                flags.extend(["--sensor", "none"].map(str::to_owned));
            }
            peers.start(&format!("peer{}", number + 1), &flags)?;
            if let Some(watch) = watch.take() {
                watcher = Some(watch(&peers)?);
            }
        }
        let delivered =
            |reports: &[Report]| reports.iter().all(|report| report.deliveries.count >= total);
        let reports = peers.wait(&self.name(), PATIENCE, delivered)?;
        drop(watcher);
        alike(&reports, total)?;
        let usage = peers.usage()?;
        let cpu: Duration = usage.iter().map(|usage| usage.cpu).sum();
        Ok(Run {
            rate: rate(
                total,
                reports
                    .iter()
                    .map(|report| (report.deliveries.first_at, report.deliveries.last_at)),
            ),
            cpu_us: cpu.as_secs_f64() * 1e6 / total as f64,
            peak_mib: usage.iter().map(|usage| usage.peak).max().unwrap_or(0) as f64
                / f64::from(1 << 20),
        })
    }

    /// Runs the reference.
    ///
    /// # Errors
    /// It failed.
    pub fn run_bare(&self, share: f64) -> io::Result<f64> {
        // It is many times faster, and should run for as long.
        let count = self.count(share) * BARE_MORE;
        let total = count * (0..self.peers).filter(|number| self.sends(*number)).count() as u64;
        let part = |number| Part {
            number,
            processes: self.peers,
            sends: self.sends(number),
            count,
            total,
            bytes: self.bytes,
            rate: None,
        };
        let parts: Vec<Part> = (0..self.peers).map(part).collect();
        let seen = reference::run(&parts)?;
        Ok(rate(total, seen.iter().map(|seen| (seen.first_at, seen.last_at))))
    }

    /// Bytes per second that the sequencer of the reference writes at this rate.
    #[must_use]
    pub fn written(&self, rate: f64) -> f64 {
        rate * (self.bytes + 16) as f64 * f64::from(self.peers - 1)
    }
}

/// Checks that every peer delivered everything once, in one order.
fn alike(reports: &[Report], total: u64) -> io::Result<()> {
    let first = reports.first().map(|report| &report.deliveries);
    let differs = |report: &&Report| {
        let (own, first) = (&report.deliveries, first.expect("there is one that differs"));
        own.count != total
            || own.hash.is_none()
            || (&own.hash, own.bytes) != (&first.hash, first.bytes)
    };
    match reports.iter().find(differs) {
        None => Ok(()),
        Some(other) => Err(io::Error::other(format!(
            "{} delivered {:?}, and {:?} was expected",
            other.status.peer_id, other.deliveries, first
        ))),
    }
}

/// Readings per second between the first delivery anywhere and the last one.
fn rate(total: u64, spans: impl Iterator<Item = (Time, Time)>) -> f64 {
    let (first, last) = spans
        .fold((Time::from_micros(u64::MAX), Time::ZERO), |(first, last), (from, to)| {
            (first.min(from), last.max(to))
        });
    total as f64 / last.since(first).as_secs_f64()
}

/// Measures all cases, each in turn with the reference; a line for each.
///
/// # Errors
/// See [`Case::run`].
pub fn measure(
    program: &Path,
    folder: &Path,
    pairs: u32,
    share: f64,
    cases: &[Case],
    mut tell: impl FnMut(&str),
) -> io::Result<Vec<Line>> {
    let mut lines = Vec::new();
    tell(&format!(
        "{:<42}{:>12}{:>12}{:>8}{:>16}{:>9}{:>9}{:>10}",
        "", "ours /s", "beside /s", "ratio", "spread", "CPU µs", "MiB", "ceiling"
    ));
    for case in cases {
        let (mut all, mut runs, mut share_of_ceiling) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..pairs {
            let reference = if case.safe {
                Case { safe: false, ..*case }.run(program, folder, share)?.rate
            } else {
                let most = reference::ceiling(3, CEILING_SPAN)?;
                let bare = case.run_bare(share)?;
                share_of_ceiling.push(case.written(bare) / most);
                bare
            };
            let run = case.run(program, folder, share)?;
            all.push(Pair { ours: run.rate, reference });
            runs.push(run);
        }
        let pairs = Pairs::new(all);
        let (cpu, peak) = (
            median(runs.iter().map(|run| run.cpu_us)),
            runs.iter().map(|run| run.peak_mib).fold(0.0, f64::max),
        );
        let (least, most) = pairs.spread();
        let of_ceiling =
            (!share_of_ceiling.is_empty()).then(|| median(share_of_ceiling.iter().copied()));
        // A slow reference flatters the product.
        let verdict = of_ceiling.map_or_else(
            || "agreed".to_owned(),
            |of| format!("{of:.2}{}", if of < HALF { " VOID" } else { "" }),
        );
        tell(&format!(
            "{:<42}{:>12.0}{:>12.0}{:>8.3}{:>16}{cpu:>9.3}{peak:>9.1}{verdict:>10}",
            case.name(),
            pairs.ours(),
            pairs.reference(),
            pairs.ratio(),
            format!("{least:.3} to {most:.3}"),
        ));
        lines.push(
            pairs
                .line("throughput", &case.name(), "readings/s")
                .with("cpu_us", cpu)
                .with("peak_mib", peak)
                .with("of_ceiling", of_ceiling),
        );
    }
    Ok(lines)
}

/// The share of the ceiling that the reference has to reach.
const HALF: f64 = 0.5;
/// Many times the duration of the slowest case.
const PATIENCE: Duration = Duration::from_secs(120);
/// How many times as many readings the reference gets.
const BARE_MORE: u64 = 2;
const CEILING_SPAN: Duration = Duration::from_millis(300);
