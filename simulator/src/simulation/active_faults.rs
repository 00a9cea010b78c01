//! Faults with a duration: a fault begins, is recorded, and ends when its time is over or when
//! everything is healed.

use std::time::Duration;

use promises::fault::{Fault, Hurt, LinkSet, Weather as LinkWeather};
use protocol::io::Down;
use protocol::message::Message;

use super::udp::Flying;
use super::{Moment, Simulation};
use crate::connection::{EndState, Side};
use crate::marks::Class;
use crate::truth::Wrong;
use crate::watch::Watch;

/// A fault in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ActiveFault {
    /// Connections stall in one direction.
    Stall,
    /// Connections drip in one direction.
    Drip,
    /// These ends have not been told that their connections are broken.
    HalfOpen(Vec<(usize, Side)>),
    /// A middlebox has forgotten these connections. They stay so until they are closed.
    Forget(Vec<usize>),
    /// Messages are lost (see [`Filter`]).
    Lose,
    /// A host can store nothing.
    Disk(usize),
    /// A host has no descriptors left.
    Descriptors(usize),
    /// A host's processor is slow.
    Slow(usize),
}

/// The messages that are lost next.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    fault: u64,
    kind: String,
    from: Option<usize>,
    to: Option<usize>,
    left: u32,
}

impl<W: Watch> Simulation<W> {
    /// Data from one peer to another over established connections arrives after `span` at the
    /// earliest, then all at once.
    pub fn stall(&mut self, from: usize, to: usize, span: Duration) {
        self.watch
            .act(self.now, format_args!("stall {} > {}", self.hosts[from].id, self.hosts[to].id));
        self.begin_link_fault(ActiveFault::Stall, Class::Stall, (from, to), span);
        self.hold_back(from, to, self.now + span);
    }

    /// Data from one peer to another over established connections arrives one piece after each
    /// `gap`.
    pub fn drip(&mut self, from: usize, to: usize, gap: Duration, span: Duration) {
        self.watch
            .act(self.now, format_args!("drip {} > {}", self.hosts[from].id, self.hosts[to].id));
        // Data that arrives faster waits: at worst for as long as the dripping lasts.
        self.begin_link_fault(ActiveFault::Drip, Class::Drip, (from, to), span);
        self.slow_down(from, to, gap);
    }

    /// Every connection between two peers breaks; `knows` is told at once, and `other` is not for a
    /// while.
    pub fn half_open(&mut self, knows: usize, other: usize, span: Duration) {
        self.watch.act(
            self.now,
            format_args!("half-open {} > {}", self.hosts[knows].id, self.hosts[other].id),
        );
        let mut untold = vec![];
        for connection in self.between(knows, other) {
            let side = usize::from(self.connections[connection].ends[1].host == other);
            let at = self.now + self.delay(connection, side);
            // This end reads what the other end writes: it learns of the break, and the data that
            // the other end writes is lost.
            let lost = self.connections[connection].streams[side].break_off(Down::Reset, at, 0);
            self.tally.lost += lost + self.connections[connection].streams[1 - side].vanish();
            self.schedule_flow(connection, side);
            untold.push((connection, 1 - side));
        }
        self.begin_link_fault(ActiveFault::HalfOpen(untold), Class::HalfOpen, (knows, other), span);
    }

    /// A middlebox forgets the established connections between a peer and these others, as a
    /// restarting firewall does: nothing passes on them any more in the direction from the first of
    /// each pair to the second, neither end is told, and new connections work.
    pub fn forget(&mut self, pairs: &[(usize, usize)]) {
        let links =
            LinkSet::directed(pairs.iter().map(|&(from, to)| {
                (self.hosts[from].id.to_string(), self.hosts[to].id.to_string())
            }));
        self.watch.act(self.now, format_args!("forget the connections {links}"));
        let span = self.settings.config.knobs().heartbeat_timeout;
        let weather = LinkWeather { reset: 1_000, ..LinkWeather::default() };
        let forgotten = pairs.iter().flat_map(|&(from, to)| self.forget_flows(from, to)).collect();
        self.begin_links(ActiveFault::Forget(forgotten), Class::Forget, pairs, weather, span);
    }

    /// The next messages of a kind are lost, that many of them; a connection that loses one breaks
    /// there.
    pub fn lose(
        &mut self,
        kind: &str,
        from: Option<usize>,
        to: Option<usize>,
        times: u32,
        span: Duration,
    ) {
        self.watch.act(self.now, format_args!("lose {times} {kind}"));
        let hosts = 0..self.hosts.len();
        let is = |named: Option<usize>, host: usize| named.is_none_or(|named| named == host);
        let pairs = hosts
            .clone()
            .flat_map(|a| hosts.clone().map(move |b| (a, b)))
            .filter(|&(a, b)| a != b && is(from, a) && is(to, b));
        let pairs: Vec<(usize, usize)> = pairs.collect();
        let weather = LinkWeather { loss: 1_000, reset: 1_000, ..LinkWeather::default() };
        let fault = self.begin_links(ActiveFault::Lose, Class::Lose, &pairs, weather, span);
        self.filters.push(Filter { fault, kind: kind.to_owned(), from, to, left: times });
    }

    /// A host can store nothing for a while.
    pub fn fill_disk(&mut self, host: usize, span: Duration) {
        self.begin_host_fault(ActiveFault::Disk(host), Class::Disk, Hurt::Disk, host, span);
        self.hosts[host].disk_full = true;
    }

    /// A host has no descriptors left for a while: it opens no connection, and callers wait to be
    /// accepted.
    pub fn starve(&mut self, host: usize, span: Duration) {
        self.begin_host_fault(
            ActiveFault::Descriptors(host),
            Class::Descriptors,
            Hurt::Descriptors,
            host,
            span,
        );
        self.hosts[host].starved = true;
    }

    /// Every step of a host's process takes this long for a while.
    pub fn slow(&mut self, host: usize, step: Duration, span: Duration) {
        self.begin_host_fault(ActiveFault::Slow(host), Class::Slow, Hurt::Processor, host, span);
        self.hosts[host].step_us = u64::try_from(step.as_micros()).unwrap_or(u64::MAX);
    }

    /// A host's clock jumps ahead.
    pub fn jump_clock(&mut self, host: usize, by: Duration) {
        self.watch.act(self.now, format_args!("clock of {} ahead by {by:?}", self.hosts[host].id));
        self.look_at_fault(Class::Clock, host);
        let jump_us = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.record_fault(Fault::Host { hurt: Hurt::Clock { jump_us } }, &[host]);
        self.truth.links.touch(self.now, &Wrong::Host(host));
        self.hosts[host].clock.jump(self.now, by);
        self.set_alarm(host);
    }

    fn begin_link_fault(
        &mut self,
        fault: ActiveFault,
        class: Class,
        (from, to): (usize, usize),
        span: Duration,
    ) {
        let delay_us = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.begin_links(
            fault,
            class,
            &[(from, to)],
            LinkWeather { delay_us, ..LinkWeather::default() },
            span,
        );
    }

    fn begin_links(
        &mut self,
        fault: ActiveFault,
        class: Class,
        pairs: &[(usize, usize)],
        weather: LinkWeather,
        span: Duration,
    ) -> u64 {
        let mut who: Vec<usize> = pairs.iter().flat_map(|&(from, to)| [from, to]).collect();
        who.sort_unstable();
        who.dedup();
        who.iter().for_each(|&host| self.look_at_fault(class, host));
        let name = |host: usize| self.hosts[host].id.to_string();
        let table = LinkSet::directed(pairs.iter().map(|&(from, to)| (name(from), name(to))));
        let id = self.record_fault(Fault::Link { table, weather }, &who);
        // The rest of a connection that one end considers broken carries nothing either way.
        let back = pairs
            .iter()
            .filter(|_| matches!(fault, ActiveFault::HalfOpen(_)))
            .map(|&(from, to)| (to, from));
        self.truth.links.begin(
            self.now,
            id,
            Wrong::Ways(pairs.iter().copied().chain(back).collect()),
        );
        self.begin_fault(id, fault, span)
    }

    fn begin_host_fault(
        &mut self,
        fault: ActiveFault,
        class: Class,
        hurt: Hurt,
        host: usize,
        span: Duration,
    ) {
        self.watch.act(self.now, format_args!("{} of {}", hurt.name(), self.hosts[host].id));
        self.look_at_fault(class, host);
        let id = self.record_fault(Fault::Host { hurt }, &[host]);
        match fault {
            ActiveFault::Slow(_) => self.truth.links.begin(self.now, id, Wrong::Host(host)),
            ActiveFault::Descriptors(_) => self.truth.links.begin(self.now, id, Wrong::Dry(host)),
            _ => {}
        }
        self.begin_fault(id, fault, span);
    }

    fn begin_fault(&mut self, id: u64, fault: ActiveFault, span: Duration) -> u64 {
        self.active_faults.insert(id, fault);
        self.agenda.add(self.now + span, Moment::FaultOver(id));
        id
    }

    /// The time of a fault is over, if it was not ended before. A peer that still holds an end of a
    /// forgotten connection does not know yet: the close of the other end was lost, too.
    pub(super) fn on_fault_over(&mut self, id: u64) {
        let stands = |&connection: &usize| {
            self.connections[connection].ends.iter().any(|end| end.state == EndState::Up)
        };
        if matches!(self.active_faults.get(&id), Some(ActiveFault::Forget(forgotten)) if forgotten.iter().any(stands))
        {
            let again_at = self.now + self.settings.config.knobs().heartbeat_timeout;
            self.agenda.add(again_at, Moment::FaultOver(id));
        } else {
            self.end_fault(id);
        }
    }

    /// A fault is over, if it was not ended before.
    pub(super) fn end_fault(&mut self, id: u64) {
        let Some(fault) = self.active_faults.remove(&id) else { return };
        let again = self.active_faults.values().any(|other| *other == fault);
        match fault {
            // Data held back has its own time; if the fault is ended early, the caller releases it.
            ActiveFault::Stall | ActiveFault::Forget(_) => {}
            ActiveFault::Drip => self.speed_up(),
            ActiveFault::HalfOpen(untold) => {
                untold.into_iter().for_each(|(connection, side)| self.tell_end(connection, side))
            }
            ActiveFault::Lose => self.filters.retain(|filter| filter.fault != id),
            ActiveFault::Disk(host) => self.hosts[host].disk_full = again,
            ActiveFault::Descriptors(host) => {
                self.hosts[host].starved = again;
                let callers =
                    if again { vec![] } else { std::mem::take(&mut self.hosts[host].unaccepted) };
                callers.into_iter().for_each(|connection| {
                    self.agenda.add(self.now, Moment::Accept { connection })
                });
            }
            ActiveFault::Slow(host) => {
                if !again {
                    self.hosts[host].step_us = 0;
                }
            }
        }
        self.record_heal(id);
    }

    /// Ends every active fault.
    pub fn end_active_faults(&mut self) {
        if self.active_faults.values().any(|fault| *fault == ActiveFault::Stall) {
            self.release();
        }
        let ids: Vec<u64> = self.active_faults.keys().copied().collect();
        ids.into_iter().for_each(|id| self.end_fault(id));
    }

    /// A stream's end that was hidden from its reader becomes known.
    fn tell_end(&mut self, connection: usize, side: Side) {
        if self.connections[connection].ends[1 - side].state != EndState::Gone {
            let at = self.now + self.delay(connection, side);
            self.connections[connection].streams[side].break_off(Down::Reset, at, 0);
            self.schedule_flow(connection, side);
        }
    }

    /// Power returns to a host: connections that it never closed are reset at the next write of the
    /// other end.
    pub(super) fn power_up(&mut self, host: usize) {
        self.hosts[host].dark = false;
        for (connection, side) in std::mem::take(&mut self.hosts[host].orphans) {
            self.tell_end(connection, side);
        }
    }

    /// Whether a frame is to be lost.
    pub(super) fn is_filtered_frame(&mut self, from: usize, to: usize, message: &Message) -> bool {
        !self.filters.is_empty() && self.filter(from, to, message)
    }

    /// Whether a datagram is to be lost.
    pub(super) fn is_filtered(&mut self, from: usize, to: usize, flying: &Flying) -> bool {
        if self.filters.is_empty() {
            return false;
        }
        match flying {
            Flying::Whole(datagram) => self.filter(from, to, &datagram.message),
            Flying::Bytes(bytes) => {
                let datagram = protocol::frame::decode_datagram(bytes)
                    .expect("what was encoded can be decoded");
                self.filter(from, to, &datagram.message)
            }
        }
    }

    fn filter(&mut self, from: usize, to: usize, message: &Message) -> bool {
        let is = |named: Option<usize>, host: usize| named.is_none_or(|named| named == host);
        let found = self.filters.iter_mut().find(|filter| {
            filter.kind == message.verb() && is(filter.from, from) && is(filter.to, to)
        });
        let Some(filter) = found else { return false };
        filter.left = filter.left.saturating_sub(1);
        if filter.left == 0 {
            let fault = filter.fault;
            self.end_fault(fault);
        }
        self.tally.filtered += 1;
        true
    }

    /// A slow process is busy for a while after each step.
    pub(super) fn keep_busy(&mut self, host: usize) {
        let step_us = self.hosts[host].step_us;
        if step_us == 0 {
            return;
        }
        let life = self.hosts[host].life;
        let Some(process) = self.hosts[host].process.as_mut().filter(|process| !process.busy)
        else {
            return;
        };
        process.busy = true;
        self.agenda.add(self.now + Duration::from_micros(step_us), Moment::StepOver { host, life });
    }

    /// A slow process is ready for the next input.
    pub(super) fn on_step_over(&mut self, host: usize, life: u32) {
        let Some(process) = self.process_of(host, life) else { return };
        process.busy = false;
        while let Some(process) =
            self.process_of(host, life).filter(|process| !process.paused && !process.busy)
        {
            let Some(moment) = process.waiting.pop_front() else { return };
            if matches!(moment, Moment::Heard { .. }) {
                process.datagrams_waiting = process.datagrams_waiting.saturating_sub(1);
            }
            self.happen(moment);
        }
    }
}
