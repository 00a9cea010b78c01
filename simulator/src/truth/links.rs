//! Which hosts could exchange messages at every instant: which link or host had a fault, and until
//! when.
//!
//! The simulation's fault functions report what they do and undo. A link has a fault while a cut is
//! in force; while connections stall, drip, are half open or forgotten; while listed messages are
//! lost; in weather so bad that a round trip takes long; and at the moment at which a connection
//! breaks. A host has a fault while its process is paused or slow, while it has no descriptors, and
//! at the moment at which its clock jumps. Lost datagrams are no fault of a link: no member of a
//! group depends on them.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::config::Knobs;
use protocol::time::Time;

/// The faults between hosts.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Every ordered pair of hosts with a present or past fault.
    ways: BTreeMap<(usize, usize), Trouble>,
    /// Every host with a present or past fault.
    hosts: BTreeMap<usize, Trouble>,
    /// Pairs that cannot dial.
    dials: BTreeMap<(usize, usize), Trouble>,
    /// Hosts without descriptors.
    dry: BTreeMap<usize, Trouble>,
    /// Pairs that do not hear each other.
    hearing: BTreeMap<(usize, usize), Trouble>,
    /// When a process started or ended on a host, and whether its end was noticeable at once.
    turned: BTreeMap<usize, (Time, bool)>,
    /// The faults in force, by the number of their record.
    in_force: BTreeMap<u64, Wrong>,
    /// Whether somebody can reach more or fewer than when it was asked last.
    is_changed: bool,
}

/// A fault.
#[derive(Clone, Debug)]
pub(crate) enum Wrong {
    /// Nothing passes from the first of each pair to the second.
    Cut(Vec<(usize, usize)>),
    /// Data from the first of each pair to the second is late, or some of it is lost.
    Ways(Vec<(usize, usize)>),
    /// The process on a host is paused.
    Still(usize),
    /// The process on a host is slow, or late.
    Host(usize),
    /// The same, because the host has no descriptors: it can neither dial nor be dialled.
    Dry(usize),
    /// Connections are whole, but the first of each pair cannot dial the second.
    Dials(Vec<(usize, usize)>),
    /// Only datagrams are affected: one kind of them does not pass from the first of each pair to
    /// the second.
    Hearing(Vec<(usize, usize)>),
}

impl Wrong {
    fn is_wholly(&self) -> u32 {
        u32::from(matches!(self, Self::Cut(_) | Self::Still(_)))
    }
}

/// The number of present faults, the number of those that stop everything, and the time of the last
/// fault.
#[derive(Clone, Copy, Debug, Default)]
struct Trouble {
    now: u32,
    wholly: u32,
    /// When it began, now or the last time.
    began: Time,
    last: Time,
}

impl Links {
    /// A fault begins.
    pub(crate) fn begin(&mut self, now: Time, id: u64, wrong: Wrong) {
        let wholly = wrong.is_wholly();
        self.is_changed |= wholly > 0;
        self.each(&wrong, |trouble| {
            let began = if trouble.now == 0 { now } else { trouble.began };
            let (times, wholly) = (trouble.now + 1, trouble.wholly + wholly);
            *trouble = Trouble { now: times, wholly, began, last: now }
        });
        self.in_force.insert(id, wrong);
    }

    /// A fault ends, if it did not end before.
    pub(crate) fn end(&mut self, now: Time, id: u64) {
        if let Some(wrong) = self.in_force.remove(&id) {
            let wholly = wrong.is_wholly();
            self.is_changed |= wholly > 0;
            self.each(&wrong, |trouble| {
                let (times, wholly) = (trouble.now - 1, trouble.wholly - wholly);
                *trouble = Trouble { now: times, wholly, last: now, ..*trouble };
            });
        }
    }

    /// The process on a host is gone; the fault of that process alone ends with it, if it has this
    /// number.
    pub(crate) fn gone(&mut self, now: Time, host: usize, id: u64) {
        if matches!(self.in_force.get(&id), Some(Wrong::Still(there)) if *there == host) {
            self.end(now, id);
        }
    }

    /// A fault at this moment only.
    pub(crate) fn touch(&mut self, now: Time, wrong: &Wrong) {
        self.each(wrong, |trouble| trouble.last = now);
    }

    /// A process starts or ends on a host; `told` if it ends and later dials are refused.
    pub(crate) fn turn(&mut self, now: Time, host: usize, told: bool) {
        self.turned.insert(host, (now, told));
        self.is_changed = true;
    }

    /// Whether somebody can reach more or fewer than when this was asked last.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// Since when the same process, or none, is on a host.
    pub(super) fn same_since(&self, host: usize) -> Time {
        self.turned.get(&host).map_or(Time::ZERO, |(at, _)| *at)
    }

    /// When a process ended on a host, if its end was noticeable at once.
    pub(super) fn told_end(&self, host: usize) -> Option<Time> {
        self.turned.get(&host).filter(|(_, told)| *told).map(|(at, _)| *at)
    }

    /// Since when messages pass between two hosts both ways and the processes there listen; none if
    /// they do not.
    pub(super) fn whole_since(&self, a: usize, b: usize) -> Option<Time> {
        Some(self.open_since(a, b)?.max(self.well_since(a)?).max(self.well_since(b)?))
    }

    /// Since when a working host can get answers from another one; none if it cannot.
    pub(super) fn answered_since(&self, asker: usize, asked: usize) -> Option<Time> {
        Some(self.open_since(asker, asked)?.max(self.well_since(asked)?))
    }

    /// Since when messages pass between two hosts both ways; none if they do not.
    pub(super) fn open_since(&self, a: usize, b: usize) -> Option<Time> {
        Some(Self::since(&self.ways, (a, b))?.max(Self::since(&self.ways, (b, a))?))
    }

    /// Whether no request of one host to another can be answered.
    pub(super) fn is_cut(&self, a: usize, b: usize) -> bool {
        self.is_barred(a, b) || self.is_barred(b, a)
    }

    /// Whether nothing passes over a link from one host to another.
    pub(super) fn is_barred(&self, from: usize, to: usize) -> bool {
        self.ways.get(&(from, to)).is_some_and(|trouble| trouble.wholly > 0)
    }

    /// Whether the process on a host is paused.
    pub(super) fn is_still(&self, host: usize) -> bool {
        self.hosts.get(&host).is_some_and(|trouble| trouble.wholly > 0)
    }

    /// Since when either of two hosts can dial the other; none if one cannot.
    pub(super) fn dialled_since(&self, a: usize, b: usize) -> Option<Time> {
        let dials = Self::since(&self.dials, (a, b)).zip(Self::since(&self.dials, (b, a)))?;
        let dry = Self::since(&self.dry, a).zip(Self::since(&self.dry, b))?;
        Some(dials.0.max(dials.1).max(dry.0).max(dry.1))
    }

    /// Since when either of two hosts can dial the other again, where their connection broke while
    /// neither could; never where that is so still.
    pub(super) fn rejoined_since(&self, a: usize, b: usize) -> Option<Time> {
        let of = |troubles: &BTreeMap<(usize, usize), Trouble>, pair| {
            troubles.get(&pair).copied().unwrap_or_default()
        };
        let (one, other) = (of(&self.dials, (a, b)), of(&self.dials, (b, a)));
        let from = one.began.max(other.began);
        let free = [one, other].into_iter().filter(|trouble| trouble.now == 0);
        let to = free.map(|trouble| trouble.last).min();
        let broke = of(&self.ways, (a, b)).last.max(of(&self.ways, (b, a)).last);
        if broke < from || to.is_some_and(|to| to <= from) { Some(Time::ZERO) } else { to }
    }

    /// Since when a host has descriptors to dial and to be dialled; none if it has none.
    pub(super) fn furnished_since(&self, host: usize) -> Option<Time> {
        Self::since(&self.dry, host)
    }

    /// Since when two hosts hear each other's datagrams; none if one does not.
    pub(super) fn heard_since(&self, a: usize, b: usize) -> Option<Time> {
        Some(Self::since(&self.hearing, (a, b))?.max(Self::since(&self.hearing, (b, a))?))
    }

    /// Since when a host has no fault; none if it has one.
    pub(super) fn well_since(&self, host: usize) -> Option<Time> {
        Self::since(&self.hosts, host)
    }

    fn since<K: Ord>(troubles: &BTreeMap<K, Trouble>, key: K) -> Option<Time> {
        let Trouble { now, last, .. } = troubles.get(&key).copied().unwrap_or_default();
        (now == 0).then_some(last)
    }

    fn each(&mut self, wrong: &Wrong, change: impl Fn(&mut Trouble)) {
        match wrong {
            Wrong::Cut(pairs) | Wrong::Ways(pairs) => {
                pairs.iter().for_each(|pair| change(self.ways.entry(*pair).or_default()))
            }
            Wrong::Dry(host) => {
                change(self.hosts.entry(*host).or_default());
                change(self.dry.entry(*host).or_default());
            }
            Wrong::Still(host) | Wrong::Host(host) => change(self.hosts.entry(*host).or_default()),
            Wrong::Hearing(pairs) => {
                pairs.iter().for_each(|pair| change(self.hearing.entry(*pair).or_default()))
            }
            Wrong::Dials(pairs) => {
                pairs.iter().for_each(|pair| change(self.dials.entry(*pair).or_default()))
            }
        }
    }
}

/// How long a request may stay unanswered before it is repeated (`docs/GUARANTEES.md` says the
/// same): a link with a longer round trip is a bad one.
pub(crate) fn round(knobs: &Knobs) -> Duration {
    let Knobs { heartbeat_interval, heartbeat_timeout, election_timeout, sync_timeout, .. } =
        *knobs;
    heartbeat_interval.min(heartbeat_timeout / 4).min(election_timeout / 2).min(sync_timeout / 2)
}
