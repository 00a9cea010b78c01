//! The cost of local subscriptions for a group, and the speed of `peer tail`.
//!
//! Three peers and one sender, as in `throughput` and `latency`, in turn without any client at the
//! leader's socket, and with 64 subscriptions whose filter matches nothing, so that each reading is
//! checked against each filter. In addition, `peer tail` of a whole history into a pipe.

use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use peer::client::Connection;

use crate::latency;
use crate::pairs::{Line, Pair, Pairs, median};
use crate::peers::{Peers, SOCKETS};
use crate::throughput::{Case, Senders};

/// The result.
#[derive(Debug)]
pub struct Measured {
    /// One line per row.
    pub lines: Vec<Line>,
    /// Whether each number reached its target.
    pub met: bool,
}

/// Measures, each pair in turn.
///
/// # Errors
/// A group failed, or a peer did not answer.
pub fn measure(
    program: &Path,
    folder: &Path,
    pairs: u32,
    share: f64,
    mut tell: impl FnMut(&str),
) -> io::Result<Measured> {
    let case = Case { peers: 3, bytes: BYTES, senders: Senders::Member, safe: false };
    let (mut rates, mut costs, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..pairs {
        let reference = case.run(program, folder, share)?;
        let ours = case.run_watched(program, folder, share, watch)?;
        rates.push(Pair { ours: ours.rate, reference: reference.rate });
        costs.push(Pair { ours: ours.cpu_us * 1e3, reference: reference.cpu_us * 1e3 });
        let reference = latency::slowest_p99(program, folder, RATE, share, |_| Ok(()))?;
        let ours = latency::slowest_p99(program, folder, RATE, share, watch)?;
        waits.push(Pair { ours: ours as f64, reference: reference as f64 });
    }
    let (rates, costs, waits) = (Pairs::new(rates), Pairs::new(costs), Pairs::new(waits));
    let tails: Vec<f64> = (0..pairs).map(|_| tail(program, folder)).collect::<io::Result<_>>()?;
    let tail = median(tails.iter().copied());
    tell(&format!(
        "{:<68}{:>12}{:>12}{:>8}{:>16}  {}",
        "", "with", "without", "ratio", "spread", "wanted"
    ));
    let rows = [
        (
            format!("readings/s, {}, {SUBSCRIPTIONS} idle subscriptions", case.name()),
            &rates,
            rates.ratio() >= RATIO_LEAST,
            format!("at least {RATIO_LEAST}"),
        ),
        // On a machine with other users, too, this says more than the rate.
        (
            "CPU of all peers for a reading, in ns".to_owned(),
            &costs,
            costs.ratio() <= COST_MOST,
            format!("at most {COST_MOST}"),
        ),
        (
            format!("p99 in µs at {RATE}/s, {SUBSCRIPTIONS} idle subscriptions"),
            &waits,
            waits.ratio() <= P99_MOST,
            format!("at most {P99_MOST}"),
        ),
    ];
    let verdict = |met: bool| if met { "met" } else { "MISSED" };
    for (name, pairs, met, wanted) in &rows {
        let (least, most) = pairs.spread();
        let spread = format!("{least:.3} to {most:.3}");
        let (ours, reference, ratio) = (pairs.ours(), pairs.reference(), pairs.ratio());
        tell(&format!(
            "{name:<68}{ours:>12.0}{reference:>12.0}{ratio:>8.3}{spread:>16}  {wanted} ({})",
            verdict(*met)
        ));
    }
    let is_fast = tail >= TAIL_LEAST;
    tell(&format!(
        "{:<68}{tail:>12.0}{:>36}  at least {TAIL_LEAST} ({})",
        format!("readings/s, peer tail of {KEPT} kept"),
        "",
        verdict(is_fast)
    ));
    let met = is_fast && rows.iter().all(|(_, _, met, _)| *met);
    let lines = vec![
        rates.line("door", &rows[0].0, "readings/s").with("tail", tail),
        costs.line("door", &rows[1].0, "ns"),
        waits.line("door", &rows[2].0, "µs (p99)"),
    ];
    Ok(Measured { lines, met })
}

/// Follows at the socket of the first peer and drops what arrives.
fn watch(peers: &Peers) -> io::Result<Vec<Connection>> {
    let id = peers.ids().next().ok_or(io::ErrorKind::NotFound)?;
    let mut all = Vec::new();
    for _ in 0..SUBSCRIPTIONS / EACH {
        let mut connection = connect(peers, id)?;
        for id in 1..=EACH {
            connection.say(&format!("{{\"id\":{id},\"do\":\"subscribe\",\"sensor\":\"nothing\",\"kinds\":[\"reading\"]}}"))?;
            connection.hear()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        all.push(connection);
    }
    Ok(all)
}

fn connect(peers: &Peers, id: &str) -> io::Result<Connection> {
    let until = Instant::now() + PATIENCE;
    loop {
        match peers.connect(id) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && Instant::now() < until => {
                thread::sleep(Duration::from_millis(20))
            }
            other => return other,
        }
    }
}

/// How many readings per second `peer tail` writes into a pipe, from its start to its end.
fn tail(program: &Path, folder: &Path) -> io::Result<f64> {
    let mut peers = Peers::new(program, folder)?;
    let id = format!("tail{}", std::process::id());
    let load = [
        "--sensor",
        "load",
        "--load-bytes",
        &BYTES.to_string(),
        "--load-count",
        &(KEPT + MORE).to_string(),
    ];
    let flags = ["--log-deliveries", "off"].into_iter().chain(load).map(str::to_owned);
    peers.start(&id, &flags.collect::<Vec<_>>())?;
    peers.wait("a full history", PATIENCE, |reports| {
        reports.iter().all(|report| report.deliveries.count >= KEPT + MORE)
    })?;
    let begun = Instant::now();
    let mut child = Command::new(program)
        .args(["tail", "--id", &id, "--json", "--from", "start", "--no-follow"])
        .env(SOCKETS, peers.sockets())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut out = BufReader::with_capacity(1 << 20, child.stdout.take().expect("it is a pipe"));
    let mut readings = 0_u64;
    loop {
        let chunk = out.fill_buf()?;
        if chunk.is_empty() {
            break;
        }
        readings += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
        let taken = chunk.len();
        out.consume(taken);
    }
    let took = begun.elapsed();
    let status = child.wait()?;
    // Batches are discarded whole, so a few readings may be missing.
    if !status.success() || readings < KEPT * 9 / 10 {
        return Err(io::Error::other(format!(
            "peer tail ended with {status} after {readings} readings"
        )));
    }
    Ok(readings as f64 / took.as_secs_f64())
}

const BYTES: usize = 100;
/// The number of subscriptions at one peer.
const SUBSCRIPTIONS: usize = 64;
/// The number of subscriptions per connection.
const EACH: usize = 2;
/// The rate at which latency is measured.
const RATE: u64 = 10_000;
/// How many readings a peer keeps.
const KEPT: u64 = 65_536;
/// How many more are published to fill the history.
const MORE: u64 = 1_000;
/// The share of the throughput that has to remain.
const RATIO_LEAST: f64 = 0.97;
/// The greatest ratio of processor time per reading.
const COST_MOST: f64 = 1.05;
/// The greatest ratio of the 99th percentile.
const P99_MOST: f64 = 1.2;
/// The least rate of a tail.
const TAIL_LEAST: f64 = 300_000.0;
const PATIENCE: Duration = Duration::from_secs(60);
