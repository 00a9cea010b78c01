//! Faults of processes and of the network; each act is recorded as ground truth.

use std::time::Duration;

use promises::exit;
use promises::fault::{Fault, Identity, LinkSet, Weather as LinkWeather};
use promises::history::Record;
use promises::world::{GroundTruth, WorldEvent};
use protocol::id::Incarnation;
use protocol::io::StopReason;
use protocol::note::Note;

use super::{Moment, Simulation};
use crate::connection::Side;
use crate::marks::Class;
use crate::pairs::Pairs;
use crate::truth::{Wrong, round};
use crate::watch::Watch;
use crate::weather::Weather;
use promises::shape::Over;

impl<W: Watch> Simulation<W> {
    /// A process is gone at once. Its kernel closes its connections; its unsent data is lost.
    pub fn kill(&mut self, host: usize) {
        if !self.is_live(host) {
            return;
        }
        self.watch.act(self.now, format_args!("kill {}", self.hosts[host].id));
        self.look_at_fault(Class::Kill, host);
        self.record_fault(Fault::Kill, &[host]);
        self.record_exit(host, None, Some(9), true);
        self.end_process(host, false);
    }

    /// A host loses power: its process is gone, and no connection ends. Until the host restarts it
    /// does not even refuse connections.
    pub fn power_down(&mut self, host: usize) {
        if !self.is_live(host) {
            return;
        }
        self.watch.act(self.now, format_args!("power down {}", self.hosts[host].id));
        self.look_at_fault(Class::Outage, host);
        self.record_fault(Fault::Kill, &[host]);
        self.record_exit(host, None, Some(9), true);
        let Some(process) = self.hosts[host].process.take() else { return };
        self.truth_of_end(host, false);
        let calling = process.waiting.iter().filter_map(|moment| {
            if let Moment::Accept { connection } = moment { Some((*connection, 1)) } else { None }
        });
        let calling: Vec<(usize, Side)> = calling
            .chain(
                std::mem::take(&mut self.hosts[host].unaccepted)
                    .into_iter()
                    .map(|connection| (connection, 1)),
            )
            .collect();
        for (connection, side) in process.links.into_values().chain(calling) {
            self.abandon_end(connection, side);
            self.hosts[host].orphans.push((connection, side));
        }
        self.hosts[host].dark = true;
    }

    /// A process is paused; its kernel continues to accept connections and to keep data.
    pub fn pause(&mut self, host: usize) {
        let now = self.now;
        if !self.is_live(host) || self.is_paused(host) {
            return;
        }
        self.look_at_fault(Class::Pause, host);
        let Some(process) = self.hosts[host].process.as_mut() else { return };
        process.paused = true;
        self.watch.act(now, format_args!("pause {}", self.hosts[host].id));
        let id = self.record_fault(Fault::Pause, &[host]);
        self.hosts[host].pause = id;
        self.truth.links.begin(now, id, Wrong::Still(host));
    }

    /// A process resumes and gets all its waiting inputs at once.
    pub fn resume(&mut self, host: usize) {
        let now = self.now;
        let Some(process) = self.hosts[host].process.as_mut() else { return };
        if !std::mem::replace(&mut process.paused, false) {
            return;
        }
        process.datagrams_waiting = 0;
        let waiting = std::mem::take(&mut process.waiting);
        self.watch.act(now, format_args!("resume {}", self.hosts[host].id));
        self.record_fault(Fault::Resume, &[host]);
        self.record_heal(self.hosts[host].pause);
        self.put_back(waiting);
    }

    /// Restarts a dead process; no effect if one runs there.
    pub fn restart(&mut self, host: usize, identity: Identity) {
        self.restart_with_clock(host, identity, false);
    }

    /// The same, with a clock that may be far behind.
    pub fn restart_with_clock(&mut self, host: usize, identity: Identity, behind: bool) {
        if self.is_live(host) {
            return;
        }
        self.hosts[host].behind = behind;
        if identity == Identity::Fresh {
            self.hosts[host].stored = Incarnation(0);
            // Mode `primary`: the founders' folders are the memory that the group was founded, so a
            // careful owner does not delete the last of them.
            let founders = &self.settings.config.knobs().bootstrap;
            let mut others = (0..self.hosts.len())
                .filter(|other| *other != host)
                .map(|other| &self.hosts[other]);
            if others.any(|other| other.has_history && founders.contains(&other.id)) {
                self.hosts[host].has_history = false;
            }
        }
        self.watch.act(self.now, format_args!("restart {}", self.hosts[host].id));
        self.record_fault(Fault::Restart { identity }, &[host]);
        self.start(host);
    }

    /// Cuts all traffic from the first of each pair to the second; returns the number to mend it
    /// by.
    pub fn cut(&mut self, pairs: &[(usize, usize)]) -> u64 {
        self.cut_over(pairs, Over::All)
    }

    /// Cuts this kind of traffic from the first of each pair to the second; returns the number to
    /// mend it by.
    pub fn cut_over(&mut self, pairs: &[(usize, usize)], over: Over) -> u64 {
        let mut who: Vec<usize> = pairs.iter().flat_map(|&(from, to)| [from, to]).collect();
        who.sort_unstable();
        who.dedup();
        let both_ways = pairs.iter().all(|&(from, to)| pairs.contains(&(to, from)));
        let class = match over {
            Over::Broadcasts | Over::Unicasts | Over::Dials => Class::Hearing,
            Over::All | Over::Datagrams | Over::Streams | Over::Resets if both_ways => Class::Cut,
            Over::All | Over::Datagrams | Over::Streams | Over::Resets => Class::OneWay,
        };
        who.iter().for_each(|&host| self.look_at_fault(class, host));
        self.sever(pairs, over, &who)
    }

    /// Cuts all traffic from the first of each pair to the second for good; the cut counts as a
    /// fault of these hosts.
    pub fn cut_off(&mut self, these: &[usize], pairs: &[(usize, usize)]) {
        self.sever(pairs, Over::All, these);
    }

    fn sever(&mut self, pairs: &[(usize, usize)], over: Over, who: &[usize]) -> u64 {
        let links = LinkSet::directed(
            pairs.iter().map(|&(from, to)| (self.process_name(from), self.process_name(to))),
        );
        self.watch.act(self.now, format_args!("cut {links} ({over:?})"));
        let fault = match over {
            // A peer that can talk but cannot be discovered is not cut off.
            Over::Datagrams | Over::Broadcasts | Over::Unicasts | Over::Dials => Fault::Link {
                table: links,
                weather: LinkWeather { loss: 1_000, ..LinkWeather::default() },
            },
            Over::Resets => Fault::Link {
                table: links,
                weather: LinkWeather { reset: 1_000, ..LinkWeather::default() },
            },
            Over::All | Over::Streams => Fault::Partition { table: links },
        };
        let id = self.record_fault(fault, who);
        match over {
            Over::All | Over::Streams | Over::Resets => {
                self.truth.links.begin(self.now, id, Wrong::Cut(pairs.to_vec()))
            }
            Over::Dials => self.truth.links.begin(self.now, id, Wrong::Dials(pairs.to_vec())),
            Over::Datagrams | Over::Broadcasts | Over::Unicasts => {
                self.truth.links.begin(self.now, id, Wrong::Hearing(pairs.to_vec()));
            }
        }
        self.tables_of(over).into_iter().for_each(|table| table.cut(pairs));
        if over == Over::Resets {
            // For the kernels, a connection that its acceptor has not taken yet is established,
            // too.
            for connection in pairs
                .iter()
                .flat_map(|&(from, to)| self.begun_between(from, to))
                .collect::<Vec<usize>>()
            {
                self.break_connection(connection);
            }
        }
        self.cuts.insert(id, (pairs.to_vec(), over));
        id
    }

    /// Records which hosts can never dial which.
    pub(super) fn record_no_dial(&mut self, pairs: &[(usize, usize)]) {
        if pairs.is_empty() {
            return;
        }
        let table = LinkSet::directed(
            pairs.iter().map(|&(from, to)| (self.process_name(from), self.process_name(to))),
        );
        let mut who: Vec<usize> = pairs.iter().flat_map(|&(from, to)| [from, to]).collect();
        who.sort_unstable();
        who.dedup();
        let id = self.record_fault(
            Fault::Link { table, weather: LinkWeather { loss: 1_000, ..LinkWeather::default() } },
            &who,
        );
        self.truth.links.begin(self.now, id, Wrong::Dials(pairs.to_vec()));
    }

    /// Mends a cut; data held up flows at once.
    pub fn mend(&mut self, cut: u64) {
        let Some((pairs, over)) = self.cuts.remove(&cut) else { return };
        self.watch.act(self.now, format_args!("mend"));
        self.tables_of(over).into_iter().for_each(|table| table.mend(&pairs));
        if matches!(over, Over::All | Over::Streams) {
            self.flow_again();
        }
        self.record_heal(cut);
    }

    /// The tables that a cut of this kind is written into.
    fn tables_of(&mut self, over: Over) -> Vec<&mut Pairs> {
        match over {
            Over::All => vec![&mut self.streams_cut, &mut self.datagrams_cut],
            Over::Datagrams => vec![&mut self.datagrams_cut],
            Over::Streams => vec![&mut self.streams_cut],
            Over::Broadcasts => vec![&mut self.broadcasts_cut],
            Over::Unicasts => vec![&mut self.unicasts_cut],
            Over::Dials => vec![&mut self.dials_cut],
            Over::Resets => vec![&mut self.resets_cut],
        }
    }

    /// Mends every cut.
    pub fn mend_all(&mut self) {
        let cuts: Vec<u64> = self.cuts.keys().copied().collect();
        cuts.into_iter().for_each(|cut| self.mend(cut));
    }

    /// Every connection between two peers breaks, at both ends.
    pub fn reset(&mut self, a: usize, b: usize) {
        self.watch.act(self.now, format_args!("reset {} {}", self.hosts[a].id, self.hosts[b].id));
        [a, b].into_iter().for_each(|host| self.look_at_fault(Class::Reset, host));
        self.truth.links.touch(self.now, &Wrong::Ways(vec![(a, b), (b, a)]));
        for connection in self.between(a, b) {
            self.break_connection(connection);
        }
    }

    /// Changes the weather from now on.
    pub fn set_weather(&mut self, weather: Weather) {
        self.watch.act(self.now, format_args!("weather {weather:?}"));
        if let Some(id) = self.weather_fault.take() {
            self.record_heal(id);
        }
        if weather != self.settings.weather {
            let all: Vec<usize> = (0..self.hosts.len()).collect();
            all.iter().for_each(|&host| self.look_at_fault(Class::Storm, host));
            let pairs = all.iter().flat_map(|&from| {
                all.iter().filter(move |&&to| to != from).map(move |&to| (from, to))
            });
            let pairs: Vec<(usize, usize)> = pairs.collect();
            let table = LinkSet::directed(
                pairs.iter().map(|&(from, to)| (self.process_name(from), self.process_name(to))),
            );
            let fault = Fault::Link {
                table,
                weather: LinkWeather {
                    loss: weather.loss.thousandths(),
                    duplicate: weather.repeat.thousandths(),
                    corrupt: weather.corruption.thousandths(),
                    reset: weather.damage.thousandths(),
                    delay_us: u64::from(weather.delay_us)
                        + u64::from(weather.spread_us)
                        + u64::from(weather.slow_us),
                    ..LinkWeather::default()
                },
            };
            let id = self.record_fault(fault, &all);
            self.weather_fault = Some(id);
            if self.is_bad(&weather) {
                self.truth.links.begin(self.now, id, Wrong::Ways(pairs));
            }
        }
        self.weather = weather;
    }

    /// Whether in that weather a round trip may take as long as a request may take before it is
    /// repeated.
    fn is_bad(&self, weather: &Weather) -> bool {
        let slow_us = if weather.slow.0 == 0 { 0 } else { weather.slow_us };
        let one_way =
            u64::from(weather.delay_us) + u64::from(weather.spread_us) + u64::from(slow_us);
        Duration::from_micros(2 * one_way) >= round(self.settings.config.knobs())
    }

    /// The process on a host is gone, and with it its pause.
    fn truth_of_end(&mut self, host: usize, told: bool) {
        self.truth.links.turn(self.now, host, told);
        self.truth.links.gone(self.now, host, self.hosts[host].pause);
        self.truth.end(host);
    }

    /// Restores the usual weather.
    pub fn calm(&mut self) {
        if self.weather != self.settings.weather {
            self.set_weather(self.settings.weather);
        }
    }

    /// Records that since `from` no fault hit the core, or any peer if no core is named.
    pub fn record_quiet(&mut self, from: protocol::time::Time, core: &[usize]) {
        let to = self.now;
        let core = core.iter().map(|&host| self.process_name(host)).collect();
        self.record(GroundTruth::Quiet { from, to, core });
    }

    /// A process has ended by itself: it flushes its output, and exits.
    pub(super) fn stop(&mut self, host: usize, reason: &StopReason) {
        let status = match reason {
            StopReason::Left | StopReason::LeftUnconfirmed => 0,
            StopReason::DuplicateId { .. } | StopReason::OldIncarnation { .. } => 1,
        };
        self.tally.twins += u64::from(status == 1);
        let id = &self.hosts[host].id;
        let asked = self.hosts[host].process.as_ref().is_some_and(|process| process.may_stop);
        // Of two processes with one name, either may have to go; and so may a peer that lost its
        // folder, and founds or joins another group under an old incarnation before it is told of
        // its earlier life.
        let twins = self.hosts.iter().any(|other| other.twin && other.id == *id);
        let expected = asked || status == 1 && (twins || self.hosts[host].behind);
        self.tell(host, Note::Stop { reason: format!("{reason:?}") });
        self.record_exit(host, Some(status), None, expected);
        self.end_process(host, true);
    }

    /// A process cannot store its state, and ends rather than continue without it.
    pub(super) fn fail(&mut self, host: usize) {
        self.watch
            .act(self.now, format_args!("{} gives up: its disk is full", self.hosts[host].id));
        self.tell(host, Note::Stop { reason: "nothing can be stored".to_owned() });
        // Whether it was about to leave or not: its machine ends it.
        self.record_fault(Fault::Kill, &[host]);
        self.record_exit(host, Some(i32::from(exit::UNAVAILABLE)), None, true);
        self.end_process(host, false);
    }

    pub(super) fn record_spawn(&mut self, host: usize) {
        let peer = self.hosts[host].id.clone();
        let process = self.process_name(host);
        let pid = self.pid(host);
        self.record(GroundTruth::Spawn { peer, process, pid });
    }

    pub(super) fn record_leave(&mut self, host: usize) {
        self.watch.act(self.now, format_args!("leave {}", self.hosts[host].id));
        self.look_at_fault(Class::Leave, host);
        self.record_fault(Fault::Stop, &[host]);
        if let Some(process) = self.hosts[host].process.as_mut() {
            process.may_stop = true;
        }
    }

    fn record_exit(
        &mut self,
        host: usize,
        status: Option<i32>,
        signal: Option<i32>,
        expected: bool,
    ) {
        let peer = self.hosts[host].id.clone();
        let process = self.process_name(host);
        let pid = self.pid(host);
        self.record(GroundTruth::Exit { peer, process, pid, status, signal, expected });
    }

    pub(super) fn record_fault(&mut self, fault: Fault, who: &[usize]) -> u64 {
        let id = self.told;
        let who = who.iter().map(|&host| self.process_name(host)).collect();
        self.record(GroundTruth::Fault { id: id.to_string(), fault, who, confirmed: true });
        id
    }

    pub(super) fn record_heal(&mut self, id: u64) {
        self.truth.links.end(self.now, id);
        self.record(GroundTruth::Heal { id: id.to_string() });
    }

    fn record(&mut self, what: GroundTruth) {
        self.told += 1;
        self.records.push(Record::World(WorldEvent::new(self.now, "_sim", self.told, what)));
    }

    fn pid(&self, host: usize) -> u32 {
        self.hosts[host].process.as_ref().map_or(0, |process| process.pid)
    }

    /// The name of a process in the records: its peer's id, unless it is the twin of another one.
    fn process_name(&self, host: usize) -> String {
        let host = &self.hosts[host];
        if host.twin { format!("twin-of-{}", host.id) } else { host.id.to_string() }
    }

    /// Removes a process; its connections end, gently or not.
    fn end_process(&mut self, host: usize, gently: bool) {
        if gently {
            self.write_out(host);
        }
        let Some(process) = self.hosts[host].process.take() else { return };
        self.truth_of_end(host, true);
        for (connection, side) in process.links.into_values() {
            if gently { self.close(connection, side) } else { self.break_end(connection, side) }
        }
        // Its waiting inputs are dropped: connections not yet accepted are reset, the rest is lost.
        let callers = std::mem::take(&mut self.hosts[host].unaccepted)
            .into_iter()
            .map(|connection| Moment::Accept { connection });
        self.put_back(process.waiting.into_iter().chain(callers));
    }

    /// A process gets its waiting inputs now: first those of the kernel, in any order, then its
    /// timer, as in the shell, which reads its sockets before it looks at the clock.
    fn put_back(&mut self, waiting: impl IntoIterator<Item = Moment>) {
        for moment in waiting {
            let at =
                if matches!(moment, Moment::Alarm { .. }) { self.now + READING } else { self.now };
            self.agenda.add(at, moment);
        }
    }
}

/// How long a process takes to read its waiting inputs.
const READING: Duration = Duration::from_micros(50);
