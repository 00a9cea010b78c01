//! The time of a return: a rejoin under load, and the transfer of the past to a newcomer.
//!
//! The product's default knobs. A rejoin is measured from the start of the process to the delivery
//! of its view, while a member sends at a steady rate. A catch-up is measured in a group at rest:
//! the newcomer asks for as much of the past as the leader retains, and has caught up when it has
//! delivered the last of it; without such a request it gets a snapshot. Beside it, in the same run,
//! the time that the machine needs to start a process that gets one reading from a bare sequencer,
//! or as many as the past has.

use std::io;
use std::path::Path;
use std::time::Duration;

use peer::clock;
use peer::status::Report;
use protocol::time::Time;

use crate::pairs::{Line, Pair, Pairs};
use crate::peers::Peers;
use crate::reference;
use crate::spread::milliseconds;
use crate::throughput::{Case, Senders};

/// Measures all three; one line for each.
///
/// # Errors
/// A group did not reach the expected state in time.
pub fn measure(
    program: &Path,
    folder: &Path,
    pairs: u32,
    share: f64,
    mut tell: impl FnMut(&str),
) -> io::Result<Vec<Line>> {
    let (mut rejoins, mut pasts, mut snapshots) = (Vec::new(), Vec::new(), Vec::new());
    let bare = Case { peers: 3, bytes: BYTES, senders: Senders::Member, safe: false };
    for _ in 0..pairs {
        let start = milliseconds(reference::gather(2)?);
        let speed = bare.run_bare(share)?;
        rejoins.push(Pair { ours: rejoin(program, folder)?, reference: start });
        let (past, snapshot) = catch_up(program, folder)?;
        pasts.push(Pair { ours: past, reference: start + PAST as f64 / speed * 1e3 });
        snapshots.push(Pair { ours: snapshot, reference: start });
    }
    tell(&format!("{:<44}{:>14}{:>14}{:>9}{:>18}", "", "ours", "bare", "ratio", "spread"));
    let rows = [
        (rejoins, format!("a rejoin at {RATE} readings/s"), "ms"),
        (snapshots, "a newcomer with a snapshot".to_owned(), "ms"),
        (pasts, format!("a newcomer with {PAST} entries of the past"), "ms"),
    ];
    let mut row = |(pairs, name, unit): (Vec<Pair>, String, &'static str)| {
        let pairs = Pairs::new(pairs);
        let (least, most) = pairs.spread();
        tell(&format!(
            "{:<44}{:>14.1}{:>14.1}{:>9.3}{:>18}",
            format!("{name}, {unit}"),
            pairs.ours(),
            pairs.reference(),
            pairs.ratio(),
            format!("{least:.3} to {most:.3}")
        ));
        pairs.line("restart", &name, unit)
    };
    Ok(rows.into_iter().map(&mut row).collect())
}

/// A member is killed and restarted while another one sends; returns the milliseconds from its
/// start to its view.
fn rejoin(program: &Path, folder: &Path) -> io::Result<f64> {
    let mut peers = Peers::new(program, folder)?;
    peers.start("peer1", &flags(&["--sensor", "none", "--priority", "1"]))?;
    let (bytes, rate) = (BYTES.to_string(), RATE.to_string());
    let load =
        ["--sensor", "load", "--load-bytes", &bytes, "--load-rate", &rate, "--load-members", "3"];
    peers.start("peer2", &flags(&load))?;
    peers.start("peer3", &flags(&["--sensor", "none"]))?;
    let flows =
        |reports: &[Report]| reports.iter().all(|report| report.deliveries.count > RATE / 2);
    peers.wait("load to flow", PATIENCE, flows)?;
    peers.kill("peer3")?;
    peers.wait("a killed member to be out of every view", PATIENCE, |reports| {
        is_whole(reports, 2)
    })?;
    let before = clock::now();
    peers.start("peer3", &flags(&["--sensor", "none"]))?;
    let reports = peers.wait("it to be back", PATIENCE, |reports| {
        is_whole(reports, 3) && reports.iter().all(|report| report.deliveries.count > 0)
    })?;
    Ok(view_of(&reports, "peer3", before))
}

/// The milliseconds from the start of a newcomer to the last entry of the past, and to the view of
/// a newcomer without the past.
fn catch_up(program: &Path, folder: &Path) -> io::Result<(f64, f64)> {
    let mut peers = Peers::new(program, folder)?;
    peers.start("peer1", &flags(&["--sensor", "none", "--priority", "1"]))?;
    let (bytes, count) = (BYTES.to_string(), (PAST + PAST / 8).to_string());
    let load =
        ["--sensor", "load", "--load-bytes", &bytes, "--load-count", &count, "--load-members", "2"];
    peers.start("peer2", &flags(&load))?;
    let over = |reports: &[Report]| {
        reports.iter().all(|report| report.deliveries.count >= PAST + PAST / 8)
    };
    peers.wait("the past to be made", PATIENCE, over)?;
    let before = clock::now();
    peers.start("peer3", &flags(&["--sensor", "none"]))?;
    let snapshot = view_of(
        &peers.wait("one more to be in the view", PATIENCE, |reports| is_whole(reports, 3))?,
        "peer3",
        before,
    );
    let begun = clock::now();
    peers.start("peer4", &flags(&["--sensor", "none", "--late-join", &format!("last {PAST}")]))?;
    let given = |reports: &[Report]| {
        let newcomer = reports.iter().find(|report| report.status.peer_id.as_str() == "peer4");
        is_whole(reports, 4)
            && newcomer.is_some_and(|report| report.status.delivered == report.status.contiguous)
    };
    let reports = peers.wait("the past to be given", PATIENCE, given)?;
    let newcomer = reports.iter().find(|report| report.status.peer_id.as_str() == "peer4");
    let deliveries = &newcomer.ok_or_else(|| io::Error::other("the newcomer has gone"))?.deliveries;
    if deliveries.count + DELIVERED_OTHERWISE < PAST {
        return Err(io::Error::other(format!(
            "the newcomer asked for {PAST} entries of the past and was given {}",
            deliveries.count
        )));
    }
    Ok((milliseconds(deliveries.last_at.since(begun)), snapshot))
}

fn flags(own: &[&str]) -> Vec<String> {
    ["--log-deliveries", "off"].iter().chain(own).map(|&flag| flag.to_owned()).collect()
}

fn is_whole(reports: &[Report], size: usize) -> bool {
    reports.len() == size && reports.iter().all(|report| report.status.members.len() == size)
}

/// From that moment to the delivery of this peer's view, in milliseconds.
fn view_of(reports: &[Report], id: &str, before: Time) -> f64 {
    let view_since = reports
        .iter()
        .find(|report| report.status.peer_id.as_str() == id)
        .map(|report| report.view_since);
    milliseconds(view_since.unwrap_or(before).since(before))
}

const BYTES: usize = 100;
const RATE: u64 = 10_000;
/// Fewer than `retain_entries`, so that all of them are retained.
const PAST: u64 = 60_000;
/// Views among the entries of the past.
const DELIVERED_OTHERWISE: u64 = 16;
const PATIENCE: Duration = Duration::from_secs(60);
