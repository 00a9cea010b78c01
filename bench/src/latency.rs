//! How long a reading takes from its due time to its delivery, at a steady rate.
//!
//! Three peers, one member sends, the product's default knobs: the configuration of `throughput`. A
//! reading carries its *due* time, so a reading that is sent late counts as late (no coordinated
//! omission). Beside each run, the same through the bare sequencer.

use std::io;
use std::path::Path;
use std::time::Duration;

use peer::status::{Latency, Report};

use crate::bare::{Part, Seen};
use crate::pairs::{Line, Pair, Pairs, median};
use crate::peers::Peers;
use crate::reference;
use crate::throughput::{Case, Senders};

/// The result of one run at one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waits {
    p50_us: u64,
    p99_us: u64,
    p999_us: u64,
}

/// The results at the leader, and at the slowest other peer.
struct Places {
    leader: Waits,
    slowest: Waits,
}

impl From<&Latency> for Waits {
    fn from(latency: &Latency) -> Self {
        Self { p50_us: latency.p50_us, p99_us: latency.p99_us, p999_us: latency.p999_us }
    }
}

impl From<&Seen> for Waits {
    fn from(seen: &Seen) -> Self {
        Self { p50_us: seen.p50_us, p99_us: seen.p99_us, p999_us: seen.p999_us }
    }
}

impl Places {
    /// From all results, the leader's first.
    fn of(all: &[Waits]) -> io::Result<Self> {
        let (leader, others) =
            all.split_first().ok_or_else(|| io::Error::other("no peer has measured a reading"))?;
        let slowest = others.iter().max_by_key(|waits| waits.p50_us).unwrap_or(leader);
        Ok(Self { leader: *leader, slowest: *slowest })
    }
}

/// Measures at 1,000 and 10,000 readings per second and at half of the group's greatest rate; two
/// lines for each rate.
///
/// # Errors
/// A group failed, or the reference.
pub fn measure(
    program: &Path,
    folder: &Path,
    pairs: u32,
    share: f64,
    mut tell: impl FnMut(&str),
) -> io::Result<Vec<Line>> {
    let most = Case { peers: PEERS, bytes: BYTES, senders: Senders::Member, safe: false }
        .run(program, folder, share)?;
    let half = ((most.rate / 2.0) as u64).max(1);
    let mut lines = Vec::new();
    tell(&format!(
        "{:<44}{:>26}{:>26}{:>8}{:>16}",
        "p50, p99, p99.9 in µs", "ours", "bare", "ratio", "spread (p50)"
    ));
    for rate in [1_000, 10_000, half] {
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..pairs {
            bare.push(run_bare(rate, share)?);
            ours.push(run(program, folder, rate, share)?);
        }
        for (place, is_leader) in [("at the slowest other", false), ("at the leader", true)] {
            let at = |places: &Places| if is_leader { places.leader } else { places.slowest };
            let name = format!("{rate}/s, {BYTES} B, {place}");
            let pair = |(ours, bare): (&Places, &Places)| Pair {
                ours: at(ours).p50_us as f64,
                reference: at(bare).p50_us as f64,
            };
            let pairs = Pairs::new(ours.iter().zip(&bare).map(pair).collect());
            let spread = pairs.spread();
            let middle = |all: &[Places]| {
                let of = |wait: fn(Waits) -> u64| {
                    median(all.iter().map(|places| wait(at(places)) as f64))
                };
                [of(|waits| waits.p50_us), of(|waits| waits.p99_us), of(|waits| waits.p999_us)]
            };
            let (own, reference) = (middle(&ours), middle(&bare));
            let words = |[p50, p99, p999]: [f64; 3]| format!("{p50:>8.0}{p99:>9.0}{p999:>9.0}");
            tell(&format!(
                "{name:<44}{}{}{:>8.2}{:>16}",
                words(own),
                words(reference),
                pairs.ratio(),
                format!("{:.2} to {:.2}", spread.0, spread.1)
            ));
            let line = pairs.line("latency", &name, "µs (p50)");
            lines.push(
                line.with("p99", own[1])
                    .with("p999", own[2])
                    .with("reference_p99", reference[1])
                    .with("reference_p999", reference[2]),
            );
        }
    }
    Ok(lines)
}

fn count(rate: u64, share: f64) -> u64 {
    ((rate as f64 * SECONDS * share) as u64).max(100)
}

/// The 99th percentile of the waits in microseconds, at the peer where it is highest. `watch` is
/// called once the leader runs; its result is kept until the end.
///
/// # Errors
/// The group failed.
pub fn slowest_p99<W>(
    program: &Path,
    folder: &Path,
    rate: u64,
    share: f64,
    watch: impl FnOnce(&Peers) -> io::Result<W>,
) -> io::Result<u64> {
    let Places { leader, slowest } = run_watched(program, folder, rate, share, watch)?;
    Ok(slowest.p99_us.max(leader.p99_us))
}

fn run(program: &Path, folder: &Path, rate: u64, share: f64) -> io::Result<Places> {
    run_watched(program, folder, rate, share, |_| Ok(()))
}

fn run_watched<W>(
    program: &Path,
    folder: &Path,
    rate: u64,
    share: f64,
    watch: impl FnOnce(&Peers) -> io::Result<W>,
) -> io::Result<Places> {
    let (mut watch, mut watcher) = (Some(watch), None);
    let count = count(rate, share);
    let mut peers = Peers::new(program, folder)?;
    for number in 1..=PEERS {
        let load = [
            "load",
            "--load-bytes",
            &BYTES.to_string(),
            "--load-rate",
            &rate.to_string(),
            "--load-count",
            &count.to_string(),
        ];
        let load = load
            .map(str::to_owned)
            .into_iter()
            .chain(["--load-members".to_owned(), PEERS.to_string()]);
        let none = || vec!["none".to_owned()];
        let sensor = if number == 2 { load.collect() } else { none() };
        let priority = if number == 1 { "1" } else { "0" };
        let common =
            ["--log-deliveries", "off", "--load-latency", "--priority", priority, "--sensor"]
                .map(str::to_owned);
        peers.start(
            &format!("peer{number}"),
            &common.into_iter().chain(sensor).collect::<Vec<_>>(),
        )?;
        if let Some(watch) = watch.take() {
            watcher = Some(watch(&peers)?);
        }
    }
    let delivered =
        |reports: &[Report]| reports.iter().all(|report| report.deliveries.count >= count);
    let reports = peers.wait(&format!("{count} readings at {rate}/s"), PATIENCE, delivered)?;
    drop(watcher);
    let measured = |report: &Report| {
        let latency = report.deliveries.latency.as_ref().filter(|latency| latency.count == count);
        latency.map(Waits::from).ok_or_else(|| {
            io::Error::other(format!("{} did not measure every reading", report.status.peer_id))
        })
    };
    Places::of(&reports.iter().map(measured).collect::<io::Result<Vec<_>>>()?)
}

fn run_bare(rate: u64, share: f64) -> io::Result<Places> {
    let count = count(rate, share);
    let part = |number| Part {
        number,
        processes: PEERS,
        sends: number == 1,
        count,
        total: count,
        bytes: BYTES,
        rate: Some(rate),
    };
    let seen = reference::run(&(0..PEERS).map(part).collect::<Vec<_>>())?;
    Places::of(&seen.iter().map(Waits::from).collect::<Vec<_>>())
}

const PEERS: u32 = 3;
const BYTES: usize = 100;
/// How long each rate is kept up, in seconds.
const SECONDS: f64 = 3.0;
const PATIENCE: Duration = Duration::from_secs(60);
