//! Between whom words could pass, at every instant: what was wrong on which way or at which host,
//! and until when.
//!
//! The hand behind the simulation tells what it does and what it undoes. A way is wrong while a cut is
//! in force, while connections stall, drip, stand half open or are forgotten, while messages are
//! lost by decree, in weather so bad that a round trip takes long, and at the moment at which a
//! connection breaks. A host is wrong while its process stands still or is slow, while it has no
//! descriptors, and at the moment at which its clock jumps. Lost datagrams make no way wrong:
//! nobody who is in a group rests on them.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::config::Knobs;
use protocol::time::Time;

/// What was done between whom.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// For every ordered pair of hosts that something was ever wrong between.
    ways: BTreeMap<(usize, usize), Trouble>,
    /// For every host at which something was ever wrong.
    hosts: BTreeMap<usize, Trouble>,
    /// Who cannot dial whom.
    dials: BTreeMap<(usize, usize), Trouble>,
    /// Who has no descriptors.
    dry: BTreeMap<usize, Trouble>,
    /// Who does not hear whom.
    hearing: BTreeMap<(usize, usize), Trouble>,
    /// When a process began or ended on a host, and whether its end could be noticed at once.
    turned: BTreeMap<usize, (Time, bool)>,
    /// What is in force, by the number of its record.
    in_force: BTreeMap<u64, Wrong>,
    /// Whether somebody can reach more or fewer than when it was asked last.
    is_changed: bool,
}

/// What is wrong.
#[derive(Clone, Debug)]
pub(crate) enum Wrong {
    /// Nothing goes from the first of each pair to the second.
    Cut(Vec<(usize, usize)>),
    /// What goes from the first of each pair to the second is late, or some of it is lost.
    Ways(Vec<(usize, usize)>),
    /// Whoever runs on a host stands still.
    Still(usize),
    /// Whoever runs on a host is slow, or late.
    Host(usize),
    /// The same, because it has no descriptors: it can neither dial nor be dialled.
    Dry(usize),
    /// Nothing that a connection carries, but new ones from the first of each pair to the second.
    Dials(Vec<(usize, usize)>),
    /// Nothing but datagrams, some sort of which does not pass from the first of each pair to the
    /// second.
    Hearing(Vec<(usize, usize)>),
}

impl Wrong {
    fn is_wholly(&self) -> u32 {
        u32::from(matches!(self, Self::Cut(_) | Self::Still(_)))
    }
}

/// How often something is wrong at present, how often so that nothing works, and when something was
/// wrong last.
#[derive(Clone, Copy, Debug, Default)]
struct Trouble {
    now: u32,
    wholly: u32,
    /// When it began, now or the last time.
    began: Time,
    last: Time,
}

impl Links {
    /// Something is wrong from now on.
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

    /// Something is over, if it was not over before.
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

    /// The process on a host is gone; what was wrong with it alone went with it, if that is what
    /// has this number.
    pub(crate) fn gone(&mut self, now: Time, host: usize, id: u64) {
        if matches!(self.in_force.get(&id), Some(Wrong::Still(there)) if *there == host) {
            self.end(now, id);
        }
    }

    /// Something is wrong at this moment.
    pub(crate) fn touch(&mut self, now: Time, wrong: &Wrong) {
        self.each(wrong, |trouble| trouble.last = now);
    }

    /// A process begins or ends on a host; `told` where it ends, and whoever dials there from now
    /// on is refused.
    pub(crate) fn turn(&mut self, now: Time, host: usize, told: bool) {
        self.turned.insert(host, (now, told));
        self.is_changed = true;
    }

    /// Whether somebody can reach more or fewer than when this was asked last.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// Since when the same process runs on a host, or none.
    pub(super) fn same_since(&self, host: usize) -> Time {
        self.turned.get(&host).map_or(Time::ZERO, |(at, _)| *at)
    }

    /// When a process ended on a host where everybody could notice at once.
    pub(super) fn told_end(&self, host: usize) -> Option<Time> {
        self.turned.get(&host).filter(|(_, told)| *told).map(|(at, _)| *at)
    }

    /// Since when words pass between two hosts both ways, and whoever runs there listens; never
    /// where they do not.
    pub(super) fn whole_since(&self, a: usize, b: usize) -> Option<Time> {
        Some(self.open_since(a, b)?.max(self.well_since(a)?).max(self.well_since(b)?))
    }

    /// Since when a host that works can have its questions answered by another one; never where it
    /// cannot.
    pub(super) fn answered_since(&self, asker: usize, asked: usize) -> Option<Time> {
        Some(self.open_since(asker, asked)?.max(self.well_since(asked)?))
    }

    /// Since when words pass between two hosts both ways; never where they do not.
    pub(super) fn open_since(&self, a: usize, b: usize) -> Option<Time> {
        Some(Self::since(&self.ways, (a, b))?.max(Self::since(&self.ways, (b, a))?))
    }

    /// Whether no question of one host to another can be answered.
    pub(super) fn is_cut(&self, a: usize, b: usize) -> bool {
        self.is_barred(a, b) || self.is_barred(b, a)
    }

    /// Whether nothing goes over a link from one host to another.
    pub(super) fn is_barred(&self, from: usize, to: usize) -> bool {
        self.ways.get(&(from, to)).is_some_and(|trouble| trouble.wholly > 0)
    }

    /// Whether whoever runs on a host stands still.
    pub(super) fn is_still(&self, host: usize) -> bool {
        self.hosts.get(&host).is_some_and(|trouble| trouble.wholly > 0)
    }

    /// Since when either of two hosts can dial the other; never where one cannot.
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

    /// Since when a host has descriptors to dial, and to be dialled, with; never where it has none.
    pub(super) fn furnished_since(&self, host: usize) -> Option<Time> {
        Self::since(&self.dry, host)
    }

    /// Since when two hosts hear each other's datagrams; never where one does not.
    pub(super) fn heard_since(&self, a: usize, b: usize) -> Option<Time> {
        Some(Self::since(&self.hearing, (a, b))?.max(Self::since(&self.hearing, (b, a))?))
    }

    /// Since when nothing is wrong at a host; never where something is.
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

/// How long a question may go without an answer before it is asked again (`docs/GUARANTEES.md` says
/// the same): a line on which a round trip takes longer is a bad one.
pub(crate) fn round(knobs: &Knobs) -> Duration {
    let Knobs { heartbeat_interval, heartbeat_timeout, election_timeout, sync_timeout, .. } =
        *knobs;
    heartbeat_interval.min(heartbeat_timeout / 4).min(election_timeout / 2).min(sync_timeout / 2)
}
