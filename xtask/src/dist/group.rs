//! A group of peers on loopback: it forms, may lose its leader to SIGKILL, and leaves.
//!
//! The leader is determined, not left to chance. The first peer is alone until it leads, and a
//! leader stays one when others join; the priorities fall in the order of the peers' names, so the
//! second peer wins the election after the first one. Delivery is tested with readings that are
//! published at the moment in question, under names of their own, so that no older reading can be
//! mistaken for them. No peer outlives its group, and a failure shows the output of the peers.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::bench::{Way, unmet};
use crate::children;
use crate::failure::Failure;

/// Running peers in one view.
pub(crate) struct Group<'a> {
    /// The leader first.
    peers: Vec<Peer<'a>>,
    /// The leader that was killed.
    lost: Option<Peer<'a>>,
}

/// One peer of it.
struct Peer<'a> {
    id: String,
    way: &'a Way,
    process: Process,
    log: PathBuf,
}

/// A process that ends with this value.
struct Process(Child);

/// Two peers form a group and leave.
pub(crate) fn try_pair(way: &Way) -> Result<(), Failure> {
    Group::form(&[("first", way), ("second", way)])?.leave()
}

impl<'a> Group<'a> {
    /// Starts a peer in each of these ways, under these names. Returns when all are in one view led
    /// by the first, and each has delivered the readings of each.
    ///
    /// # Errors
    /// They do not get so far in time.
    pub(crate) fn form(members: &[(&str, &'a Way)]) -> Result<Self, Failure> {
        // Held, so that no other process gets the port.
        let lease = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Failure::io("a port"))?;
        let port = lease.local_addr().map_err(Failure::io("a port"))?.port();
        let mut group = Self { peers: Vec::new(), lost: None };
        for (index, (name, way)) in members.iter().enumerate() {
            let id = format!("trial{}-{name}", members.len() - index);
            group.peers.push(Peer::start(id, way, port)?);
            if index == 0 {
                group.await_view("the first peer does not found a group")?;
            }
        }
        group.await_view("the peers form no group that the first of them leads")?;
        group.await_readings("formed")?;
        Ok(group)
    }

    /// Kills the leader. Returns when the others follow the highest of them in a view without it,
    /// and each has delivered new readings of each. Returns the time until all of them were in that
    /// view.
    ///
    /// # Errors
    /// They do not get so far in time.
    pub(crate) fn lose_leader(&mut self) -> Result<Duration, Failure> {
        let told = self.peers.last().map(Peer::status).unwrap_or_default();
        let Some(index) = self.peers.iter().position(|peer| told["leader"] == peer.id.as_str())
        else {
            return Err(self.failed(&format!("there is no leader to be killed: {told}")));
        };
        let mut leader = self.peers.remove(index);
        let start = Instant::now();
        leader.process.end();
        self.lost = Some(leader);
        self.await_view("the others form no view without the leader that was killed")?;
        let took = start.elapsed();
        self.await_readings("leaderless")?;
        Ok(took)
    }

    /// All peers leave, the leader first.
    ///
    /// # Errors
    /// One of them does not end in order, or not in time.
    pub(crate) fn leave(mut self) -> Result<(), Failure> {
        for index in 0..self.peers.len() {
            let process = &mut self.peers[index].process;
            if !(process.ask_to_end() && process.ends_well()) {
                return Err(self.failed(&format!(
                    "{} does not leave the group in order",
                    self.peers[index].id
                )));
            }
        }
        Ok(())
    }

    /// Waits until all peers are in a view of exactly these, led by the first.
    fn await_view(&self, otherwise: &str) -> Result<(), Failure> {
        let leader = self.peers.first().map(|peer| peer.id.as_str());
        let mut members: Vec<&str> = self.peers.iter().map(|peer| peer.id.as_str()).collect();
        // In the form of a peer's status.
        members.sort_unstable();
        let is_there = |peer: &Peer<'_>| {
            let told = peer.status();
            told["leader"].as_str() == leader && told["members"] == serde_json::json!(members)
        };
        if self.comes_true(|| self.peers.iter().all(is_there)) {
            Ok(())
        } else {
            Err(self.failed(otherwise))
        }
    }

    /// Publishes a reading at each peer, and waits until all of them have delivered these and later
    /// ones of each sensor, in the same order.
    fn await_readings(&self, moment: &str) -> Result<(), Failure> {
        let reading = |peer: &Peer<'_>| format!("{moment}: {}", peer.id);
        for peer in &self.peers {
            if !peer.publish(&reading(peer))? {
                return Err(
                    self.failed(&format!("{} takes no reading through its socket", peer.id))
                );
            }
        }
        let published: Vec<String> = self.peers.iter().map(reading).collect();
        let sensors: Vec<String> =
            self.peers.iter().map(|peer| format!("DATA|{}.synthetic|", peer.id)).collect();
        // The deliveries of each peer from the first of these readings on.
        let mut since: Vec<BTreeMap<u64, String>> = Vec::new();
        let is_handed_over = self.comes_true(|| {
            since = self
                .peers
                .iter()
                .map(|peer| since_one_of(peer.handed_over(), &published))
                .collect();
            since.iter().all(|handed| {
                published.iter().all(|text| handed.values().any(|other| other == text))
                    && sensors
                        .iter()
                        .all(|sensor| handed.values().any(|text| text.starts_with(sensor)))
            })
        });
        if !is_handed_over {
            return Err(
                self.failed(&format!("not each of them is handed the readings of each ({moment})"))
            );
        }
        for (position, text) in &since[0] {
            if let Some(other) =
                since.iter().filter_map(|handed| handed.get(position)).find(|other| *other != text)
            {
                return Err(self.failed(&format!(
                    "they are handed different readings at position \
                                                 {position}: {text:?} and {other:?}"
                )));
            }
        }
        Ok(())
    }

    /// Whether the condition becomes true in time, and before a peer ends.
    fn comes_true(&self, mut done: impl FnMut() -> bool) -> bool {
        let mut is_true = false;
        until(|| {
            is_true = done();
            is_true || self.peers.iter().any(|peer| peer.process.has_ended())
        }) && is_true
    }

    /// Shows the output of the peers.
    fn failed(&self, how: &str) -> Failure {
        self.peers.iter().chain(&self.lost).for_each(Peer::show);
        let ways: Vec<String> =
            self.peers.iter().map(|peer| format!("{} by {}", peer.id, peer.way)).collect();
        unmet(&format!("{how}; started were {}", ways.join(", ")))
    }
}

impl<'a> Peer<'a> {
    fn start(id: String, way: &'a Way, broadcast_port: u16) -> Result<Self, Failure> {
        let log = way.log(&id);
        let file = File::create(&log).map_err(Failure::io(log.display().to_string()))?;
        let other = file.try_clone().map_err(Failure::io(log.display().to_string()))?;
        let mut command = way.command();
        command.args([
            "run",
            "--id",
            &id,
            "--address",
            "127.0.0.1",
            "--port",
            "0",
            "--broadcast-port",
            &broadcast_port.to_string(),
        ]);
        // An emulator on a busy machine may delay a peer for longer than the fast timeout for
        // silence permits. A killed peer is noticed at once, because its port refuses.
        command.args(["--timing", "fast", "--heartbeat-timeout", "3s"]);
        // After a change of user, the kernel forgets the parent-death signal.
        command.args(["--die-with", &std::process::id().to_string()]);
        command.args(["--sensor", "synthetic", "--interval", "20ms"]).stdout(file).stderr(other);
        Ok(Self { process: Process::start(&mut command)?, id, way, log })
    }

    fn status(&self) -> serde_json::Value {
        self.way.status(&self.id)
    }

    /// Whether it accepts a reading through its socket.
    fn publish(&self, text: &str) -> Result<bool, Failure> {
        let mut command = self.way.command();
        command.args(["publish", "--id", &self.id, text]).stdout(Stdio::null());
        Ok(Process::start(&mut command)?.ends_well())
    }

    /// Its deliveries so far, in order: positions and readings.
    fn handed_over(&self) -> Vec<(u64, String)> {
        let said = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&said)
            .lines()
            .filter_map(handed_over)
            .map(|(position, text)| (position, text.to_owned()))
            .collect()
    }

    fn show(&self) {
        let said = fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let (readings, rest): (Vec<&str>, Vec<&str>) =
            said.lines().partition(|line| handed_over(line).is_some());
        eprintln!("{} said, beside {} lines of readings:", self.id, readings.len());
        rest.iter().chain(readings.last()).for_each(|line| eprintln!("  {line}"));
    }
}

impl Process {
    fn start(command: &mut Command) -> Result<Self, Failure> {
        let child = command.stdin(Stdio::null()).spawn();
        child.map(Self).map_err(Failure::io(format!("cannot start {:?}", command.get_program())))
    }

    fn ask_to_end(&self) -> bool {
        kill(self.id(), Signal::SIGTERM).is_ok()
    }

    fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.0.id()).expect("a process id of Linux fits"))
    }

    /// Whether it has ended; it is not reaped.
    fn has_ended(&self) -> bool {
        let now = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(self.id()), now) != Ok(WaitStatus::StillAlive)
    }

    /// Whether it ends in time, with success.
    fn ends_well(&mut self) -> bool {
        let mut status = None;
        until(|| {
            status = self.0.try_wait().ok().flatten();
            status.is_some()
        }) && status.is_some_and(|status| status.success())
    }

    /// Kills it.
    fn end(&mut self) {
        let _is_over_already = self.0.kill();
        let _is_reaped_already = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// The position and the reading in a log line about a delivery.
fn handed_over(line: &str) -> Option<(u64, &str)> {
    let (position, text) = line.split_once(" INFO Delivered #")?.1.split_once(": ")?;
    Some((position.parse().ok()?, text))
}

/// The deliveries from the first of these readings on.
fn since_one_of(handed: Vec<(u64, String)>, readings: &[String]) -> BTreeMap<u64, String> {
    handed.into_iter().skip_while(|(_, text)| !readings.contains(text)).collect()
}

/// Whether the condition becomes true in time.
fn until(mut done: impl FnMut() -> bool) -> bool {
    let patience = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() > patience || children::interrupted() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Under an emulator everything takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::{handed_over, since_one_of};

    #[test]
    fn what_was_handed_over_is_read_from_a_log() {
        let line = "2026-11-28T21:37:04.151223Z INFO Delivered #37: \
                    DATA|a.synthetic|2026-11-28T21:37:04.149618Z|x=1: 2";
        assert_eq!(
            handed_over(line),
            Some((37, "DATA|a.synthetic|2026-11-28T21:37:04.149618Z|x=1: 2"))
        );
        assert_eq!(
            handed_over(
                "2026-11-28T21:37:04.151223Z INFO Peer a became the Group Leader via election."
            ),
            None
        );
    }

    #[test]
    fn older_readings_do_not_count() {
        let handed = [(1, "old"), (2, "new: b"), (3, "sensor")]
            .map(|(position, text)| (position, text.to_owned()))
            .to_vec();
        let since = since_one_of(handed, &["new: a".to_owned(), "new: b".to_owned()]);
        assert_eq!(
            since.into_iter().collect::<Vec<_>>(),
            [(2, "new: b".to_owned()), (3, "sensor".to_owned())]
        );
    }
}
