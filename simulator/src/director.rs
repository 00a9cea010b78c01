//! The director executes a plan: boot, chaos, healing, quiet.
//!
//! The target of a fault is chosen when its time comes ("the current leader"), and every fault is
//! undone for the very peer that it hit. When the chaos is over everything is healed; from then on
//! the group owes progress.

use std::time::Duration;

use bytes::Bytes;
use promises::fault::Identity;
use protocol::config::{Config, Guarantee};
use protocol::draw::draw_below;
use protocol::error::ConfigError;
use protocol::id::PeerId;
use protocol::status::Status;
use protocol::time::Time;
use thiserror::Error;

use crate::plan::{Act, Back, Fate, Load, Plan, Timed, Who};
use crate::simulation::{Settings, Simulation, Step};
use crate::watch::Watch;
use crate::weather::OneIn;

/// A plan that cannot be run. No peer was started.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadPlan {
    /// Its knobs are refused.
    #[error("the plan's knobs: {0}")]
    Knobs(#[from] ConfigError),
    /// A name in it is invalid.
    #[error("the plan's peers: {0}")]
    Name(#[from] protocol::error::BadId),
    /// It has no peers, or too many.
    #[error("the plan has {0} peers; it needs 1 to {PEERS_MAX}")]
    Peers(usize),
    /// It refers to a peer that does not exist.
    #[error("the plan refers to peer number {0}; its peers are numbered from 0 to {1}")]
    Nobody(usize, usize),
    /// Its core has no peers.
    #[error("the plan leaves no peer in the core when the chaos ends; take one out of `outside`")]
    NoCore,
    /// A peer outside of the core can exchange messages with a core peer in both directions.
    #[error(
        "the plan has peer number {0} outside of the core, and number {1} both hears it and is \
         heard by it"
    )]
    NotApart(usize, usize),
}

/// The most peers that a plan may have.
pub const PEERS_MAX: usize = 64;

/// A simulation and the rest of its plan.
#[derive(Debug)]
pub struct Director<'a, W> {
    plan: &'a Plan,
    simulation: Simulation<W>,
    cues: Vec<Cue>,
    /// How many readings were published; makes each one different.
    published: u64,
    healed: bool,
    /// Whether the group has become one: then the plan's loads stop.
    is_whole: bool,
}

#[derive(Clone, Debug)]
enum Cue {
    Start(usize),
    Load {
        load: usize,
        nth: u64,
    },
    Fault(usize),
    Resume(usize),
    Revive(usize, Identity, bool),
    /// A fault whose moment has come, and the peer that caused it.
    Strike(usize, usize),
    Mend {
        cut: u64,
        breaks: bool,
        pairs: Vec<(usize, usize)>,
    },
    Calm,
    Lie,
}

mod farewell;
mod quiet;

pub use quiet::Progress;

impl<'a, W: Watch> Director<'a, W> {
    /// A simulation for this plan, at time zero.
    ///
    /// # Errors
    /// [`BadPlan`], if the plan was edited and is invalid.
    pub fn new(plan: &'a Plan, watch: W) -> Result<Self, BadPlan> {
        let config = Config::try_from(plan.knobs.clone())?;
        if plan.peers.is_empty() || plan.peers.len() > PEERS_MAX {
            return Err(BadPlan::Peers(plan.peers.len()));
        }
        if let Some(load) = plan.loads.iter().find(|load| load.peer >= plan.peers.len()) {
            return Err(BadPlan::Nobody(load.peer, plan.peers.len() - 1));
        }
        if let Some(peer) = plan
            .hearing
            .pairs()
            .flat_map(|(from, to)| [from, to])
            .find(|peer| *peer >= plan.peers.len())
        {
            return Err(BadPlan::Nobody(peer, plan.peers.len() - 1));
        }
        if let Some(member) =
            plan.lies.and_then(|lies| lies.member).filter(|member| *member >= plan.peers.len())
        {
            return Err(BadPlan::Nobody(member, plan.peers.len() - 1));
        }
        if let Some(bad) = bad_outside(plan) {
            return Err(bad);
        }
        let mut settings = Settings::calm(plan.seed, config);
        settings.weather = plan.weather;
        settings.bytes = plan.bytes;
        settings.capacity = plan.capacity;
        settings.rude = plan.rude;
        settings.timer_late_us = plan.timer_late_us;
        settings.turn_us = plan.turn_us;
        settings.datagrams = plan.datagrams;
        settings.lost = plan.lost.iter().map(|lost| (lost.from, lost.nth)).collect();
        let mut director = Self {
            plan,
            simulation: Simulation::new(settings, watch),
            cues: Vec::new(),
            published: 0,
            healed: false,
            is_whole: false,
        };
        for (peer, start) in plan.peers.iter().enumerate() {
            let host = director.simulation.add_host(PeerId::new(&start.name)?, start.priority);
            director.simulation.set_drift(host, start.drift_ppm);
            director.cue(start.at_us, Cue::Start(peer));
        }
        director.simulation.set_hearing(&plan.hearing);
        for (at, load) in plan.loads.iter().enumerate().filter(|(_, load)| load.bursts > 0) {
            director.cue(load.from_us, Cue::Load { load: at, nth: 0 });
        }
        for (at, fault) in plan.faults.iter().enumerate() {
            director.cue(fault.at_us, Cue::Fault(at));
        }
        if let Some(lies) = plan.lies {
            director.simulation.begin_lies(lies.member.is_some());
            director.cue(lies.from_us, Cue::Lie);
        }
        Ok(director)
    }

    /// The simulation.
    pub fn simulation(&mut self) -> &mut Simulation<W> {
        &mut self.simulation
    }

    /// Returns the simulation after the run.
    #[must_use]
    pub fn into_simulation(self) -> Simulation<W> {
        self.simulation
    }

    /// Executes the whole plan.
    pub fn play(&mut self) -> Progress {
        self.run_until(Time::from_micros(self.plan.chaos_us));
        self.heal();
        let progress = self.await_progress();
        if progress == Progress::Settled {
            let core = if self.plan.outside.is_empty() { vec![] } else { self.core() };
            self.simulation.record_quiet(Time::from_micros(self.plan.chaos_us), &core);
            self.bid_farewell();
        }
        progress
    }

    fn cue(&mut self, at_us: u64, cue: Cue) {
        self.simulation.cue(Time::from_micros(at_us), self.cues.len() as u64);
        self.cues.push(cue);
    }

    fn run_until(&mut self, end: Time) {
        loop {
            match self.simulation.run_until(end) {
                Step::Cue(number) => {
                    let cue = self.cues[usize::try_from(number).expect("an index")].clone();
                    self.on_cue(cue);
                }
                Step::Struck { number, host } => {
                    let fault = usize::try_from(number).expect("an index");
                    match self.plan.faults[fault].later_us {
                        0 => self.on_cue(Cue::Strike(fault, host)),
                        later_us => self.cue_after(later_us, Cue::Strike(fault, host)),
                    }
                }
                Step::Moved | Step::Over => return,
            }
        }
    }

    fn on_cue(&mut self, cue: Cue) {
        let goes_on =
            matches!(cue, Cue::Load { load, .. } if self.plan.loads[load].on && !self.is_whole);
        if self.healed && !goes_on {
            return; // what was planned beyond the end of the chaos does not come
        }
        match cue {
            Cue::Start(peer) => self.simulation.start(peer),
            Cue::Load { load, nth } => {
                let Load { peer, every_us, bursts, burst, bytes, otherwise, uneven, on, .. } =
                    self.plan.loads[load];
                let readings: Vec<_> =
                    (0..burst).map(|_| self.reading_of(bytes, otherwise, uneven)).collect();
                // A shell gives all available readings to its node together, or each by itself.
                if draw_below(self.plan.seed, "together", self.published, 2) == 0 {
                    self.simulation.publish_together(peer, readings);
                } else {
                    readings.into_iter().for_each(|(payload, guarantee)| {
                        self.simulation.publish(peer, payload, guarantee)
                    });
                }
                if on || nth + 1 < bursts {
                    self.cue_after(every_us, Cue::Load { load, nth: nth + 1 });
                }
            }
            Cue::Fault(fault) => {
                let plan = self.plan;
                let Timed { when, says, past, act, .. } = &plan.faults[fault];
                match (when, says) {
                    (Some(activity), _) => {
                        self.simulation.await_activity(*activity, *past, fault as u64)
                    }
                    (None, Some(verb)) => self.simulation.await_word(verb, *past, fault as u64),
                    (None, None) => self.commit(act, None),
                }
            }
            Cue::Strike(fault, it) => {
                let plan = self.plan;
                self.commit(&plan.faults[fault].act, Some(it));
            }
            Cue::Resume(peer) => self.simulation.resume(peer),
            Cue::Revive(peer, identity, behind) => {
                self.simulation.restart_with_clock(peer, identity, behind)
            }
            Cue::Mend { cut, breaks, pairs } => {
                if breaks {
                    pairs
                        .iter()
                        .filter(|(from, to)| from < to || !pairs.contains(&(*to, *from)))
                        .for_each(|&(from, to)| self.simulation.reset(from, to));
                }
                self.simulation.mend(cut);
            }
            Cue::Calm => self.simulation.calm(),
            Cue::Lie => {
                if let Some(lies) = self.plan.lies {
                    self.simulation.lie(lies.member);
                    self.cue_after(lies.every_us, Cue::Lie);
                }
            }
        }
    }

    fn cue_after(&mut self, after_us: u64, cue: Cue) {
        self.cue(self.simulation.now().as_micros() + after_us, cue);
    }

    fn reading(&mut self, bytes: usize, otherwise: OneIn) -> (Bytes, Option<Guarantee>) {
        self.reading_of(bytes, otherwise, OneIn(0))
    }

    fn reading_of(
        &mut self,
        bytes: usize,
        otherwise: OneIn,
        uneven: OneIn,
    ) -> (Bytes, Option<Guarantee>) {
        self.published += 1;
        let bytes = if uneven.happens(self.plan.seed, "uneven", self.published) {
            self.another_length()
        } else {
            bytes
        };
        let mut payload = self.published.to_be_bytes().to_vec();
        payload.resize(bytes.max(8), b'.');
        let other = match self.plan.knobs.delivery {
            Guarantee::Agreed => Guarantee::Safe,
            Guarantee::Safe => Guarantee::Agreed,
        };
        let guarantee =
            otherwise.happens(self.plan.seed, "otherwise", self.published).then_some(other);
        (Bytes::from(payload), guarantee)
    }

    /// Any length, or the greatest that is accepted, or the least that is not. If that is too large
    /// to handle often, any common length.
    fn another_length(&self) -> usize {
        let most = self.plan.knobs.payload_max.min(UNEVEN_MOST);
        let length = match draw_below(self.plan.seed, "another length", self.published, 4) {
            0 => most,
            1 => most + 1,
            _ => draw_below(self.plan.seed, "any length", self.published, most),
        };
        usize::try_from(length).expect("far below a gigabyte")
    }

    /// Executes it; `it` is the peer whose activity the fault has waited for.
    fn commit(&mut self, act: &Act, it: Option<usize>) {
        let span = Duration::from_micros;
        match act {
            Act::Kill { who, back } => self.take(*who, it, *back, Simulation::kill),
            Act::Outage { who, back } => self.take(*who, it, *back, Simulation::power_down),
            Act::Leave { who, back } => self.take(*who, it, *back, Simulation::leave),
            Act::Publish { who, readings, bytes } => {
                if let Some(peer) = self.find(*who, it) {
                    let readings: Vec<_> =
                        (0..*readings).map(|_| self.reading(*bytes, OneIn(0))).collect();
                    self.simulation.publish_together(peer, readings);
                }
            }
            Act::Pause { who, span_us } => {
                if let Some(peer) =
                    self.find(*who, it).filter(|&peer| !self.simulation.is_paused(peer))
                {
                    self.simulation.pause(peer);
                    self.cue_after(*span_us, Cue::Resume(peer));
                }
            }
            Act::Reset { who, other } => self.between(*who, *other, it, Simulation::reset),
            Act::Stall { who, other, span_us } => {
                self.between(*who, *other, it, |simulation, a, b| {
                    simulation.stall(a, b, span(*span_us))
                })
            }
            Act::Drip { who, other, gap_us, span_us } => {
                self.between(*who, *other, it, |simulation, a, b| {
                    simulation.drip(a, b, span(*gap_us), span(*span_us))
                });
            }
            Act::HalfOpen { who, other, span_us } => {
                self.between(*who, *other, it, |simulation, a, b| {
                    simulation.half_open(a, b, span(*span_us))
                })
            }
            Act::Forget { who, other, one_way } => {
                let others: Option<Vec<usize>> = other.map_or_else(
                    || Some((0..self.simulation.hosts()).collect()),
                    |other| self.find(other, it).map(|other| vec![other]),
                );
                if let (Some(one), Some(others)) = (self.find(*who, it), others) {
                    let there =
                        others.iter().filter(|&&other| other != one).map(|&other| (one, other));
                    let back = there.clone().filter(|_| !one_way).map(|(one, other)| (other, one));
                    let pairs: Vec<(usize, usize)> = there.chain(back).collect();
                    self.simulation.forget(&pairs);
                }
            }
            Act::Lose { kind, from, to, times, span_us } => {
                let named =
                    |who: &Option<Who>| who.map_or(Some(None), |who| self.find(who, it).map(Some));
                if let (Some(from), Some(to)) = (named(from), named(to)) {
                    self.simulation.lose(kind, from, to, *times, span(*span_us));
                }
            }
            Act::Clock { who, jump_us } => {
                self.at(*who, it, |simulation, peer| simulation.jump_clock(peer, span(*jump_us)))
            }
            Act::Disk { who, span_us } => {
                self.at(*who, it, |simulation, peer| simulation.fill_disk(peer, span(*span_us)))
            }
            Act::Descriptors { who, span_us } => {
                self.at(*who, it, |simulation, peer| simulation.starve(peer, span(*span_us)))
            }
            Act::Slow { who, step_us, span_us } => self.at(*who, it, |simulation, peer| {
                simulation.slow(peer, span(*step_us), span(*span_us))
            }),
            Act::Cut { shape, over, span_us, breaks } => {
                let pairs = shape.pairs(self.simulation.hosts(), |who| self.find(who, it));
                if !pairs.is_empty() {
                    let cut = self.simulation.cut_over(&pairs, *over);
                    self.cue_after(*span_us, Cue::Mend { cut, breaks: *breaks, pairs });
                }
            }
            Act::Storm { weather, span_us } => {
                self.simulation.set_weather(*weather);
                self.cue_after(*span_us, Cue::Calm);
            }
        }
    }

    fn take(
        &mut self,
        who: Who,
        it: Option<usize>,
        back: Option<Back>,
        take: impl FnOnce(&mut Simulation<W>, usize),
    ) {
        if let Some(peer) = self.find(who, it) {
            take(&mut self.simulation, peer);
            self.come_back(peer, back);
        }
    }

    fn at(&mut self, who: Who, it: Option<usize>, act: impl FnOnce(&mut Simulation<W>, usize)) {
        if let Some(peer) = self.find(who, it) {
            act(&mut self.simulation, peer);
        }
    }

    fn between(
        &mut self,
        who: Who,
        other: Who,
        it: Option<usize>,
        act: impl FnOnce(&mut Simulation<W>, usize, usize),
    ) {
        if let (Some(one), Some(two)) = (self.find(who, it), self.find(other, it))
            && one != two
        {
            act(&mut self.simulation, one, two);
        }
    }

    fn come_back(&mut self, peer: usize, back: Option<Back>) {
        if let Some(Back { after_us, identity, behind }) = back {
            self.cue_after(after_us, Cue::Revive(peer, identity, behind));
        }
    }

    /// The target, if there is a live one.
    fn find(&self, who: Who, it: Option<usize>) -> Option<usize> {
        let living = (0..self.simulation.hosts()).filter(|&peer| self.simulation.is_live(peer));
        let rank =
            |peer: &usize| (self.plan.peers[*peer].priority, self.simulation.id(*peer).clone());
        match who {
            Who::Peer(peer) => {
                (peer < self.simulation.hosts() && self.simulation.is_live(peer)).then_some(peer)
            }
            // Of several peers that think they lead, the one in the latest epoch, as far as their
            // status tells.
            Who::Leader => living
                .filter_map(|peer| {
                    self.simulation
                        .status(peer)
                        .filter(|status| status.role == "leader")
                        .map(|status| (round(&status), peer))
                })
                .max()
                .map(|(_, peer)| peer),
            Who::Successor => living
                .filter(|&peer| {
                    self.simulation.status(peer).is_some_and(|status| status.role != "leader")
                })
                .max_by_key(rank),
            Who::Highest => living.max_by_key(rank),
            Who::Lowest => living.min_by_key(rank),
            Who::It => it.filter(|&peer| self.simulation.is_live(peer)),
        }
    }
}

/// What is wrong with the peers outside of the core.
fn bad_outside(plan: &Plan) -> Option<BadPlan> {
    let last = plan.peers.len() - 1;
    let is_outside = |peer: usize| plan.outside.iter().any(|outside| outside.peer == peer);
    if (0..=last).all(is_outside) {
        return Some(BadPlan::NoCore);
    }
    plan.outside.iter().find_map(|outside| {
        let (hears, heard_by): (&[usize], &[usize]) = match &outside.fate {
            Fate::Dead => (&[], &[]),
            Fate::Apart { hears, heard_by } => (hears, heard_by),
        };
        let stranger =
            [&[outside.peer], hears, heard_by].concat().into_iter().find(|peer| *peer > last);
        let stranger = stranger.map(|peer| BadPlan::Nobody(peer, last));
        stranger.or_else(|| {
            hears
                .iter()
                .find(|peer| heard_by.contains(peer))
                .map(|peer| BadPlan::NotApart(outside.peer, *peer))
        })
    })
}

/// Random lengths are drawn up to this many bytes.
const UNEVEN_MOST: u64 = 4 << 10;

/// The round of the epoch in a status.
fn round(status: &Status) -> u64 {
    status.epoch.split('.').next().and_then(|round| round.parse().ok()).unwrap_or(0)
}
