//! A long run under load, with subscribers at every local socket, while peers are killed and
//! restarted.
//!
//! Each peer has two subscribers: a fast one, which checks that its records have no gap without a
//! `gap` record, and that every subscriber gets the same at each position; and a slow one, which
//! reads less than there is, is cut off again and again, and continues from the position it is
//! told. The resources of the peers are measured after a minute, when they hold as much as they
//! retain, and at the end.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use peer::client::Line;
use serde::Deserialize;

use crate::peers::{Peers, connect};
use crate::usage;

/// The parameters of the run.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// How many peers.
    pub peers: u32,
    /// The rate of each peer, in readings per second.
    pub rate: u32,
    /// For how long.
    pub span: Duration,
    /// A peer is killed and restarted each time this has passed.
    pub kill_every: Duration,
}

/// The result.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// Records of fast subscribers.
    pub followed: u64,
    /// Records of slow subscribers.
    pub trickled: u64,
    /// How often a slow subscriber was cut off.
    pub cut_off: u64,
    /// Peers that were killed.
    pub killed: u64,
    /// Reported gaps.
    pub gaps: u64,
    /// The greatest growth of a peer's memory after the first minute, in bytes.
    pub grown: i64,
    /// The greatest growth of its number of descriptors.
    pub opened: i64,
}

/// The state shared by all subscribers of a run.
#[derive(Debug, Default)]
struct Ledger {
    stop: AtomicBool,
    followed: AtomicU64,
    trickled: AtomicU64,
    cut_off: AtomicU64,
    gaps: AtomicU64,
    /// A hash of the entry at each position, from the first subscriber that got it.
    entries: Mutex<BTreeMap<u64, u64>>,
    /// The errors found.
    faults: Mutex<Vec<String>>,
}

impl Course {
    /// Whether it is long enough to distinguish a leak from memory that still fills.
    #[must_use]
    pub fn tells_growth(&self) -> bool {
        self.span >= 2 * WARM_UP
    }

    /// Performs the run.
    ///
    /// # Errors
    /// The group failed; or a subscriber got another entry than the others at a position, or missed
    /// one without a `gap`.
    pub fn run(
        &self,
        program: &Path,
        folder: &Path,
        mut tell: impl FnMut(&str),
    ) -> io::Result<Measured> {
        let ids: Vec<String> = (1..=self.peers).map(|n| format!("peer{n:02}")).collect();
        let mut peers = Peers::new(program, folder)?;
        let flags = self.flags();
        for id in &ids {
            peers.start(id, &flags)?;
        }
        let whole = ids.len();
        peers.wait("one group", PATIENCE, |reports| {
            reports.iter().all(|report| report.status.members.len() == whole)
        })?;
        let ledger = Arc::new(Ledger::default());
        let followers = follow(&ids, peers.sockets(), &ledger)?;
        let begun = Instant::now();
        let (mut killed, mut first, mut next_kill) = (0, None, self.kill_every);
        while begun.elapsed() < self.span {
            thread::sleep(TICK);
            let faults = lock(&ledger.faults);
            if let Some(fault) = faults.first() {
                return Err(io::Error::other(format!("{fault}; see {}", folder.display())));
            }
            drop(faults);
            if begun.elapsed() >= next_kill {
                next_kill += self.kill_every;
                let id = &ids[killed % ids.len()];
                peers.kill(id)?;
                peers.start(id, &flags)?;
                killed += 1;
                let (followed, cut) = (
                    ledger.followed.load(Ordering::Relaxed),
                    ledger.cut_off.load(Ordering::Relaxed),
                );
                tell(&format!(
                    "{:>4} s: {id} was killed and is back; {followed} records followed, {cut} cut \
                     off",
                    begun.elapsed().as_secs()
                ));
            }
            if first.is_none() && begun.elapsed() >= WARM_UP.min(self.span / 3) {
                first = Some(taken_up(&peers)?);
            }
        }
        let last = taken_up(&peers)?;
        ledger.stop.store(true, Ordering::Relaxed);
        drop(peers);
        for follower in followers {
            follower.join().map_err(|_| io::Error::other("a follower has ended with a panic"))?;
        }
        if let Some(fault) = lock(&ledger.faults).first() {
            return Err(io::Error::other(fault.clone()));
        }
        let first = first.unwrap_or_default();
        let grown = |which: fn(&(u64, u64)) -> u64| {
            let both = last.iter().filter_map(|(pid, last)| Some((first.get(pid)?, last)));
            both.map(|(first, last)| which(last) as i64 - which(first) as i64).max().unwrap_or(0)
        };
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Ok(Measured {
            followed: count(&ledger.followed),
            trickled: count(&ledger.trickled),
            cut_off: count(&ledger.cut_off),
            killed: killed as u64,
            gaps: count(&ledger.gaps),
            grown: grown(|taken| taken.0),
            opened: grown(|taken| taken.1),
        })
    }

    fn flags(&self) -> Vec<String> {
        let (rate, members) = (self.rate.to_string(), self.peers.to_string());
        // The retained log is full soon, so later growth has another reason.
        let retained = [
            "--retain-entries",
            "16384",
            "--max-lag-entries",
            "8192",
            "--merge-retain-entries",
            "2048",
        ];
        let load = [
            "--sensor",
            "load",
            "--load-bytes",
            "100",
            "--load-rate",
            &rate,
            "--load-members",
            &members,
        ];
        ["--log-deliveries", "off"]
            .into_iter()
            .chain(retained)
            .chain(load)
            .map(str::to_owned)
            .collect()
    }
}

/// The memory in bytes and the descriptors of each process.
fn taken_up(peers: &Peers) -> io::Result<BTreeMap<u32, (u64, u64)>> {
    peers.pids().map(|pid| Ok((pid, (usage::pss(pid)?, usage::descriptors(pid)?)))).collect()
}

/// Two subscribers for each peer.
fn follow(ids: &[String], sockets: &Path, ledger: &Arc<Ledger>) -> io::Result<Vec<JoinHandle<()>>> {
    let mut followers = Vec::new();
    for id in ids {
        for is_slow in [false, true] {
            let follower = Follower {
                id: id.clone(),
                sockets: sockets.to_owned(),
                is_slow,
                ledger: Arc::clone(ledger),
                next: None,
                hasher: BuildHasherDefault::default(),
            };
            followers.push(
                thread::Builder::new()
                    .name(format!("{id} {is_slow}"))
                    .spawn(move || follower.run())?,
            );
        }
    }
    Ok(followers)
}

/// A subscriber at the socket of one peer.
struct Follower {
    id: String,
    sockets: PathBuf,
    is_slow: bool,
    ledger: Arc<Ledger>,
    /// The next position, its log, and the epoch of the previous entry.
    next: Option<(String, u64, Option<String>)>,
    hasher: BuildHasherDefault<DefaultHasher>,
}

/// The parts of a record that a subscriber checks.
#[derive(Deserialize)]
struct Record<'a> {
    kind: &'a str,
    log: &'a str,
    epoch: Option<&'a str>,
    seq: Option<u64>,
    last: Option<u64>,
    from: Option<u64>,
    to: Option<u64>,
    origin: Option<&'a str>,
    inc: Option<&'a str>,
    oseq: Option<u64>,
    view: Option<u64>,
}

impl Follower {
    fn run(mut self) {
        while !self.ledger.stop.load(Ordering::Relaxed) {
            // A killed peer restarts; until then there is no socket to subscribe at.
            if self.follow_once().is_err() {
                thread::sleep(TICK);
            }
        }
    }

    fn follow_once(&mut self) -> io::Result<()> {
        let mut peer = connect(&self.sockets, &self.id)?;
        peer.set_patience(Some(LOOK))?;
        peer.say(&self.request())?;
        let mut since_pause = 0;
        while !self.ledger.stop.load(Ordering::Relaxed) {
            let line = match peer.hear() {
                Ok(Some(line)) => line,
                Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            since_pause += 1;
            if let Some(record) = line.strip_prefix(RECORD).and_then(|line| line.strip_suffix(b"}"))
            {
                self.take(record);
            } else if let Ok(Line {
                end: Some(_), log: Some(log), next: Some(next), epoch, ..
            }) = serde_json::from_slice(line)
            {
                self.ledger.cut_off.fetch_add(u64::from(self.is_slow), Ordering::Relaxed);
                if !self.is_slow {
                    self.fault(&format!(
                        "was cut off at #{next} although it reads all that it is sent"
                    ));
                }
                if self
                    .next
                    .as_ref()
                    .is_some_and(|(of, expected, _)| *of != log || *expected != next)
                {
                    self.fault(&format!(
                        "is told to go on at #{next} of {log}, and expects {:?}",
                        self.next
                    ));
                }
                self.next = Some((log, next, epoch));
                peer.say(&self.request())?;
            }
            if self.is_slow && since_pause >= SLOW_RECORDS {
                since_pause = 0;
                thread::sleep(SLOW_PAUSE);
            }
        }
        Ok(())
    }

    fn request(&self) -> String {
        let from = match &self.next {
            None => "\"now\"".to_owned(),
            Some((log, seq, epoch)) => {
                let epoch = epoch
                    .as_ref()
                    .map(|epoch| format!(",\"epoch\":\"{epoch}\""))
                    .unwrap_or_default();
                format!("{{\"log\":\"{log}\",\"seq\":{seq}{epoch}}}")
            }
        };
        format!("{{\"id\":1,\"do\":\"subscribe\",\"from\":{from}}}")
    }

    fn take(&mut self, record: &[u8]) {
        let counter = if self.is_slow { &self.ledger.trickled } else { &self.ledger.followed };
        counter.fetch_add(1, Ordering::Relaxed);
        let Ok(record) = serde_json::from_slice::<Record<'_>>(record) else {
            return self.fault(&format!(
                "is told something that is no record: {}",
                String::from_utf8_lossy(record)
            ));
        };
        let (first, last) = match record.kind {
            "gap" => {
                self.ledger.gaps.fetch_add(1, Ordering::Relaxed);
                (record.from, record.to)
            }
            "repeat" => (record.seq, record.last),
            _ => (record.seq, record.seq),
        };
        let (Some(first), Some(last)) = (first, last) else {
            return self.fault(&format!("is told of a {} without a place", record.kind));
        };
        if let Some((log, expected, _)) = &self.next
            && (log != record.log || *expected != first)
        {
            self.fault(&format!(
                "is told #{first} of {} where #{expected} of {log} comes next",
                record.log
            ));
        }
        if matches!(record.kind, "reading" | "view" | "lost") {
            let what =
                (record.kind, record.epoch, record.origin, record.inc, record.oseq, record.view);
            self.compare(first, self.hasher.hash_one(what));
        }
        self.next = Some((record.log.to_owned(), last + 1, record.epoch.map(str::to_owned)));
    }

    /// All subscribers get the same entry at a position.
    fn compare(&self, seq: u64, hash: u64) {
        let mut entries = lock(&self.ledger.entries);
        if *entries.entry(seq).or_insert(hash) != hash {
            drop(entries);
            return self.fault(&format!("is told something else at #{seq} than another follower"));
        }
        if entries.len() > ENTRIES_MOST {
            entries.pop_first();
        }
    }

    fn fault(&self, what: &str) {
        let kind = if self.is_slow { "slow" } else { "fast" };
        lock(&self.ledger.faults).push(format!("the {kind} follower of {} {what}", self.id));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const RECORD: &[u8] = br#"{"id":1,"record":"#;
const PATIENCE: Duration = Duration::from_secs(60);
/// By then the retained log of a peer is full.
const WARM_UP: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(100);
/// How often a subscriber checks whether the run is over.
const LOOK: Duration = Duration::from_millis(500);
/// A slow subscriber pauses after this many records, far fewer than there are.
const SLOW_RECORDS: u64 = 200;
const SLOW_PAUSE: Duration = Duration::from_millis(500);
/// How many positions are compared.
const ENTRIES_MOST: usize = 1 << 18;
