//! How a group scales on one machine, with the product's default knobs.
//!
//! For each size: all peers are started at once, and the time is measured from the first start to
//! the delivery of the full view at the last peer; then the group is left alone, and its processor
//! time and memory are read; then one more peer joins; then a member is killed, and then the
//! leader. Times come from the peers, whose clock is the same for the machine. Beside it, in the
//! same run, the time that the machine needs for a similar task without any protocol: to start as
//! many processes that get one reading from a bare sequencer, and to notice the end of a stream.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use peer::clock;
use peer::status::{Report, Traffic};
use protocol::time::Time;

use crate::pairs::{Line, Pair, Pairs, median};
use crate::peers::Peers;
use crate::reference;
use crate::spread::milliseconds;
use crate::usage;

/// The results of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Group {
    gathered_ms: f64,
    joined_ms: f64,
    frames: f64,
    bytes: f64,
    member_out_ms: f64,
    leader_out_ms: f64,
    pss_mib: f64,
    idle_percent: f64,
}

/// A column of the table.
struct Column {
    name: &'static str,
    unit: &'static str,
    value: fn(&Group) -> f64,
    /// Its reference; none if a bare group has no counterpart.
    reference: Option<fn(&Bare) -> f64>,
}

/// The times of the machine without a protocol.
struct Bare {
    gathered_ms: f64,
    end_ms: f64,
}

const COLUMNS: [Column; 8] = [
    Column {
        name: "to one view",
        unit: "ms",
        value: |group| group.gathered_ms,
        reference: Some(|bare| bare.gathered_ms),
    },
    Column { name: "a join", unit: "ms", value: |group| group.joined_ms, reference: None },
    Column { name: "frames of it", unit: "frames", value: |group| group.frames, reference: None },
    Column { name: "bytes of it", unit: "bytes", value: |group| group.bytes, reference: None },
    Column {
        name: "member out",
        unit: "ms",
        value: |group| group.member_out_ms,
        reference: Some(|bare| bare.end_ms),
    },
    Column {
        name: "leader out",
        unit: "ms",
        value: |group| group.leader_out_ms,
        reference: Some(|bare| bare.end_ms),
    },
    Column { name: "Pss", unit: "MiB", value: |group| group.pss_mib, reference: None },
    Column {
        name: "idle CPU",
        unit: "% of a core",
        value: |group| group.idle_percent,
        reference: None,
    },
];

/// Measures groups of these sizes; a line for each column of each, and the exponents of growth.
///
/// # Errors
/// A group did not reach the expected state in time.
pub fn measure(
    program: &Path,
    folder: &Path,
    sizes: &[u32],
    pairs: u32,
    share: f64,
    mut tell: impl FnMut(&str),
) -> io::Result<Vec<Line>> {
    let mut lines = Vec::new();
    tell(&format!(
        "{:>6}{}",
        "peers",
        COLUMNS.iter().map(|column| format!("{:>14}", column.name)).collect::<String>()
    ));
    let mut measured: Vec<(u32, Vec<Group>)> = Vec::new();
    for &size in sizes {
        let (mut groups, mut bares) = (Vec::new(), Vec::new());
        // Large groups start slowly and vary little, so they are measured once or twice.
        for _ in 0..pairs.min((LARGE / size).max(1)) {
            bares.push(Bare {
                gathered_ms: milliseconds(reference::gather(size)?),
                end_ms: milliseconds(reference::end_of_stream()?),
            });
            groups.push(run(program, folder, size, share)?);
        }
        let middle = |column: &Column| median(groups.iter().map(column.value));
        tell(&format!(
            "{size:>6}{}",
            COLUMNS.iter().map(|column| format!("{:>14.3}", middle(column))).collect::<String>()
        ));
        for column in &COLUMNS {
            let name = format!("{size} peers, {}", column.name);
            let reference = column.reference.unwrap_or(|_| f64::NAN);
            let pair = |(group, bare): (&Group, &Bare)| Pair {
                ours: (column.value)(group),
                reference: reference(bare),
            };
            lines.push(Pairs::new(groups.iter().zip(&bares).map(pair).collect()).line(
                "scale",
                &name,
                column.unit,
            ));
        }
        let ratio = |column: &Column| {
            let reference = column.reference?;
            let ratios = groups
                .iter()
                .zip(&bares)
                .map(|(group, bare)| (column.value)(group) / reference(bare));
            Some(median(ratios))
        };
        let ratios = COLUMNS.iter().map(|column| {
            format!("{:>14}", ratio(column).map_or(String::new(), |ratio| format!("x{ratio:.1}")))
        });
        tell(&format!("{:>6}{}", "bare", ratios.collect::<String>()));
        measured.push((size, groups));
    }
    let fitted: Vec<&(u32, Vec<Group>)> =
        measured.iter().filter(|(size, _)| (FITTED_FROM..=FITTED_TO).contains(size)).collect();
    if fitted.len() > 1 {
        let exponent = |column: &Column| {
            let point = |(size, groups): &&(u32, Vec<Group>)| {
                (f64::from(*size), median(groups.iter().map(column.value)))
            };
            exponent(&fitted.iter().map(point).collect::<Vec<_>>())
        };
        tell(&format!(
            "{:>6}{}",
            "N^",
            COLUMNS.iter().map(|column| format!("{:>14.2}", exponent(column))).collect::<String>()
        ));
        for column in &COLUMNS {
            let line =
                Pairs::default().line("scale", &format!("growth of {}", column.name), "exponent");
            lines.push(line.with("exponent", exponent(column)));
        }
    }
    Ok(lines)
}

fn run(program: &Path, folder: &Path, size: u32, share: f64) -> io::Result<Group> {
    let mut peers = Peers::new(program, folder)?;
    let flags = ["--sensor", "none", "--log-level", "warn"].map(str::to_owned);
    let before = clock::now();
    for number in 1..=size {
        peers.start(&format!("peer{number:04}"), &flags)?;
    }
    let reports = whole(&mut peers, "all to be in one view", size as usize)?;
    let gathered_ms = since(before, &reports);
    // A new member closes links that it does not need; that time is not idle.
    peers.wait_each("links that nobody needs to be closed", PATIENCE, |report| {
        report.links == if report.status.role == "leader" { size as usize - 1 } else { 1 }
    })?;
    let (idle_percent, pss_mib) =
        rest(&peers, size, Duration::from_secs_f64(IDLE_SECONDS * share.max(0.1)))?;
    let said = traffic(&peers.wait("an answer", PATIENCE, |_| true)?);
    let before = clock::now();
    // The lowest priority, so that it does not become the leader.
    peers.start("peer0000", &flags)?;
    let reports = whole(&mut peers, "one more to be in the view", size as usize + 1)?;
    let joined_ms = since(before, &reports);
    let joined = traffic(&reports);
    let before = peers.kill("peer0001")?;
    let reports = whole(&mut peers, "a killed member to be out of every view", size as usize)?;
    let member_out_ms = since(before, &reports);
    let leader = reports
        .iter()
        .find_map(|report| report.status.leader.clone())
        .ok_or_else(|| io::Error::other("nobody leads"))?;
    let before = peers.kill(leader.as_str())?;
    let leader_out_ms = since(
        before,
        &whole(&mut peers, "a killed leader to be out of every view", size as usize - 1)?,
    );
    Ok(Group {
        gathered_ms,
        joined_ms,
        frames: (joined.frames + joined.datagrams - said.frames - said.datagrams) as f64,
        bytes: (joined.bytes - said.bytes) as f64,
        member_out_ms,
        leader_out_ms,
        pss_mib,
        idle_percent,
    })
}

/// Waits until all peers are in one view of exactly this size.
fn whole(peers: &mut Peers, what: &str, size: usize) -> io::Result<Vec<Report>> {
    peers.wait_each(what, PATIENCE, |report| report.status.members.len() == size)?;
    peers.wait(what, PATIENCE, |reports| {
        let view = |report: &Report| (report.status.view_id, report.status.epoch.clone());
        let first = reports.first().map(view);
        reports
            .iter()
            .all(|report| report.status.members.len() == size && Some(view(report)) == first)
    })
}

/// Until the last of them delivered its view, in milliseconds.
fn since(before: Time, reports: &[Report]) -> f64 {
    let last = reports.iter().map(|report| report.view_since).max().unwrap_or(before);
    milliseconds(last.since(before))
}

fn traffic(reports: &[Report]) -> Traffic {
    reports.iter().fold(Traffic::default(), |sum, report| sum.plus(report.traffic))
}

/// Leaves the group alone for a while: returns the share of a core that each peer uses, in percent,
/// and the memory of each, in MiB.
fn rest(peers: &Peers, size: u32, span: Duration) -> io::Result<(f64, f64)> {
    let all =
        |measure: fn(u32) -> io::Result<u64>| peers.pids().map(measure).sum::<io::Result<u64>>();
    let (before, begun) = (all(usage::nanoseconds)?, clock::now());
    // A measurement at rest takes a fixed time; there is no event to wait for.
    thread::sleep(span);
    let (after, passed) = (all(usage::nanoseconds)?, clock::now().since(begun));
    let percent = (after - before) as f64 / 1e9 / passed.as_secs_f64() / f64::from(size) * 100.0;
    Ok((percent, all(usage::pss)? as f64 / f64::from(1 << 20) / f64::from(size)))
}

/// The slope of a straight line through the logarithms: for `N^k` it is `k`.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> =
        points.iter().filter(|(_, y)| *y > 0.0).map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logs.len() as f64;
    let (x, y) = logs.iter().fold((0.0, 0.0), |(x, y), (a, b)| (x + a / count, y + b / count));
    let (over, under) = logs.iter().fold((0.0, 0.0), |(over, under), (a, b)| {
        (over + (a - x) * (b - y), under + (a - x) * (a - x))
    });
    over / under
}

/// How many processes of one size are started in total, at most.
const LARGE: u32 = 600;
/// In smaller groups constant costs dominate, in larger ones the limits of the machine.
const FITTED_FROM: u32 = 10;
const FITTED_TO: u32 = 300;
const IDLE_SECONDS: f64 = 10.0;
const PATIENCE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::exponent;

    #[test]
    fn a_power_is_found() {
        let points = |power: f64| [10.0_f64, 50.0, 100.0, 300.0].map(|n| (n, 7.0 * n.powf(power)));
        for power in [0.0, 1.0, 1.5, 2.0] {
            assert!((exponent(&points(power)) - power).abs() < 1e-9, "{power}");
        }
    }
}
