//! The director has a plan, and makes it happen: boot, chaos, healing, quiet.
//!
//! Whom a fault hits is decided when its time comes ("whoever leads"), and everything it does is undone for the very
//! peer it was done to. When the chaos is over everything is healed; from then on the group owes progress.

use std::time::Duration;

use bytes::Bytes;
use promises::fault::Identity;
use protocol::config::{Config, Knobs};
use protocol::draw::draw;
use protocol::error::ConfigError;
use protocol::id::PeerId;
use protocol::status::Status;
use protocol::time::Time;
use thiserror::Error;

use crate::plan::{Act, Back, Load, Plan, Who};
use crate::watch::Watch;
use crate::world::{Settings, Step, World};

/// A plan that cannot be run. Nothing was started.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadPlan {
    /// Its knobs are refused.
    #[error("the plan's knobs: {0}")]
    Knobs(#[from] ConfigError),
    /// A name in it is none.
    #[error("the plan's peers: {0}")]
    Name(#[from] protocol::error::BadId),
    /// There is nobody in it, or too many.
    #[error("the plan has {0} peers; it needs 1 to {PEERS_MAX}")]
    Peers(usize),
    /// It speaks of a peer that it does not have.
    #[error("the plan speaks of peer number {0}, and its peers are counted from 0 to {1}")]
    Nobody(usize, usize),
}

/// The most peers that a plan may have.
pub const PEERS_MAX: usize = 64;

/// A world and what is still to be done to it.
#[derive(Debug)]
pub struct Director<'a, W> {
    plan: &'a Plan,
    world: World<W>,
    cues: Vec<Cue>,
    /// Readings published so far, which makes each one unlike the others.
    published: u64,
    healed: bool,
}

#[derive(Clone, Debug)]
enum Cue {
    Start(usize),
    Load { load: usize, nth: u64 },
    Fault(usize),
    Resume(usize),
    Revive(usize, Identity),
    Mend { cut: u64, breaks: bool, pairs: Vec<(usize, usize)> },
    Calm,
}

/// How a run ended, as far as progress goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// One leader, one view of all who live, and everything published delivered everywhere.
    Settled,
    /// The group did not become one within the bound.
    Divided {
        /// The bound.
        within: Duration,
        /// Where each peer stood at its end.
        stands: Vec<Status>,
    },
    /// It became one, but what was published after that was not delivered everywhere within the bound.
    Undelivered {
        /// The bound.
        within: Duration,
        /// Where each peer stood at its end.
        stands: Vec<Status>,
    },
}

impl<'a, W: Watch> Director<'a, W> {
    /// A world for this plan, at time zero.
    ///
    /// # Errors
    /// [`BadPlan`], if it was edited into one.
    pub fn new(plan: &'a Plan, watch: W) -> Result<Self, BadPlan> {
        let config = Config::try_from(plan.knobs.clone())?;
        if plan.peers.is_empty() || plan.peers.len() > PEERS_MAX {
            return Err(BadPlan::Peers(plan.peers.len()));
        }
        if let Some(load) = plan.loads.iter().find(|load| load.peer >= plan.peers.len()) {
            return Err(BadPlan::Nobody(load.peer, plan.peers.len() - 1));
        }
        let mut settings = Settings::calm(plan.seed, config);
        settings.weather = plan.weather;
        settings.bytes = plan.bytes;
        settings.capacity = plan.capacity;
        settings.rude = plan.rude;
        settings.timer_late_us = plan.timer_late_us;
        settings.turn_us = plan.turn_us;
        let mut director = Self { plan, world: World::new(settings, watch), cues: Vec::new(), published: 0, healed: false };
        for (peer, start) in plan.peers.iter().enumerate() {
            director.world.add_host(PeerId::new(&start.name)?, start.priority);
            director.cue(start.at_us, Cue::Start(peer));
        }
        for (at, load) in plan.loads.iter().enumerate().filter(|(_, load)| load.bursts > 0) {
            director.cue(load.from_us, Cue::Load { load: at, nth: 0 });
        }
        for (at, fault) in plan.faults.iter().enumerate() {
            director.cue(fault.at_us, Cue::Fault(at));
        }
        Ok(director)
    }

    /// The world.
    pub fn world(&mut self) -> &mut World<W> {
        &mut self.world
    }

    /// Ends the play.
    #[must_use]
    pub fn into_world(self) -> World<W> {
        self.world
    }

    /// Plays the whole plan.
    pub fn play(&mut self) -> Progress {
        self.run_until(Time::from_micros(self.plan.chaos_us));
        self.heal();
        let progress = self.await_progress();
        if progress == Progress::Settled {
            self.world.record_quiet(Time::from_micros(self.plan.chaos_us));
        }
        progress
    }

    fn cue(&mut self, at_us: u64, cue: Cue) {
        self.world.cue(Time::from_micros(at_us), self.cues.len() as u64);
        self.cues.push(cue);
    }

    fn run_until(&mut self, end: Time) {
        while let Step::Cue(number) = self.world.run_until(end) {
            let cue = self.cues[usize::try_from(number).expect("an index")].clone();
            self.on_cue(cue);
        }
    }

    fn on_cue(&mut self, cue: Cue) {
        if self.healed {
            return; // what was planned beyond the end of the chaos does not come
        }
        match cue {
            Cue::Start(peer) => self.world.start(peer),
            Cue::Load { load, nth } => {
                let Load { peer, every_us, bursts, burst, bytes, .. } = self.plan.loads[load];
                (0..burst).for_each(|_| self.publish(peer, bytes));
                if nth + 1 < bursts {
                    self.cue_after(every_us, Cue::Load { load, nth: nth + 1 });
                }
            }
            Cue::Fault(fault) => {
                let plan = self.plan;
                self.commit(&plan.faults[fault].act);
            }
            Cue::Resume(peer) => self.world.resume(peer),
            Cue::Revive(peer, identity) => self.world.restart(peer, identity),
            Cue::Mend { cut, breaks, pairs } => {
                if breaks {
                    pairs
                        .iter()
                        .filter(|(from, to)| from < to || !pairs.contains(&(*to, *from)))
                        .for_each(|&(from, to)| self.world.reset(from, to));
                }
                self.world.mend(cut);
            }
            Cue::Calm => self.world.calm(),
        }
    }

    fn cue_after(&mut self, after_us: u64, cue: Cue) {
        self.cue(self.world.now().as_micros() + after_us, cue);
    }

    fn publish(&mut self, peer: usize, bytes: usize) {
        self.published += 1;
        let mut payload = self.published.to_be_bytes().to_vec();
        payload.resize(bytes.max(8), b'.');
        self.world.publish(peer, Bytes::from(payload));
    }

    fn commit(&mut self, act: &Act) {
        match act {
            Act::Kill { who, back } => {
                if let Some(peer) = self.find(*who) {
                    self.world.kill(peer);
                    self.come_back(peer, *back);
                }
            }
            Act::Leave { who, back } => {
                if let Some(peer) = self.find(*who) {
                    self.world.leave(peer);
                    self.come_back(peer, *back);
                }
            }
            Act::Pause { who, span_us } => {
                if let Some(peer) = self.find(*who).filter(|&peer| !self.world.is_paused(peer)) {
                    self.world.pause(peer);
                    self.cue_after(*span_us, Cue::Resume(peer));
                }
            }
            Act::Reset { who, other } => {
                if let Some((peer, other)) = self.find_two(*who, *other) {
                    self.world.reset(peer, other);
                }
            }
            Act::Stall { who, other, span_us } => {
                if let Some((peer, other)) = self.find_two(*who, *other) {
                    self.world.stall(peer, other, Duration::from_micros(*span_us));
                }
            }
            Act::Cut { shape, span_us, breaks } => {
                let pairs = shape.pairs(self.world.hosts(), |who| self.find(who));
                if !pairs.is_empty() {
                    let cut = self.world.cut(&pairs);
                    self.cue_after(*span_us, Cue::Mend { cut, breaks: *breaks, pairs });
                }
            }
            Act::Storm { weather, span_us } => {
                self.world.set_weather(*weather);
                self.cue_after(*span_us, Cue::Calm);
            }
        }
    }

    fn come_back(&mut self, peer: usize, back: Option<Back>) {
        if let Some(Back { after_us, identity }) = back {
            self.cue_after(after_us, Cue::Revive(peer, identity));
        }
    }

    /// Who is meant, if somebody is and lives.
    fn find(&self, who: Who) -> Option<usize> {
        let living = (0..self.world.hosts()).filter(|&peer| self.world.is_live(peer));
        match who {
            Who::Peer(peer) => (peer < self.world.hosts() && self.world.is_live(peer)).then_some(peer),
            // Of several who think they lead, the one in the latest epoch, as far as their words tell.
            Who::Leader => living
                .filter_map(|peer| self.world.status(peer).filter(|status| status.role == "leader").map(|status| (round(&status), peer)))
                .max()
                .map(|(_, peer)| peer),
            Who::Successor => living
                .filter(|&peer| self.world.status(peer).is_some_and(|status| status.role != "leader"))
                .max_by_key(|&peer| (self.plan.peers[peer].priority, self.world.id(peer).clone())),
        }
    }

    fn find_two(&self, who: Who, other: Who) -> Option<(usize, usize)> {
        let (one, two) = (self.find(who)?, self.find(other)?);
        (one != two).then_some((one, two))
    }

    /// Ends every fault: what was cut is whole, who was stopped goes on, and of the dead all or none come back.
    fn heal(&mut self) {
        self.healed = true;
        self.world.mend_all();
        self.world.end_stalls();
        self.world.calm();
        (0..self.world.hosts()).for_each(|peer| self.world.resume(peer));
        if self.plan.revive || self.is_deserted() {
            self.revive_all();
        }
    }

    fn is_deserted(&self) -> bool {
        !(0..self.world.hosts()).any(|peer| self.world.is_live(peer))
    }

    fn revive_all(&mut self) {
        for peer in 0..self.world.hosts() {
            // A twin has had its say; two living holders of one name are no group that could settle.
            if !self.plan.peers[..peer].iter().any(|other| other.name == self.plan.peers[peer].name) {
                let identity = if draw(self.plan.seed, "revived as", peer as u64) & 1 == 0 { Identity::Same } else { Identity::Fresh };
                self.world.restart(peer, identity);
            }
        }
    }

    /// After the healing: the group becomes one, then everything published reaches everybody.
    fn await_progress(&mut self) -> Progress {
        let within = self.bound();
        if !self.await_that(within, Self::is_one) {
            return Progress::Divided { within, stands: self.stands() };
        }
        for peer in (0..self.world.hosts()).filter(|&peer| self.world.is_live(peer)).collect::<Vec<_>>() {
            self.publish(peer, 16);
        }
        if !self.await_that(within, |director| director.is_one() && director.is_drained()) {
            return Progress::Undelivered { within, stands: self.stands() };
        }
        // Calm has to last: two more time-outs, in which anything late shows itself.
        let rest = self.world.now() + 2 * self.plan.knobs.heartbeat_timeout;
        self.run_until(rest);
        if self.is_one() { Progress::Settled } else { Progress::Divided { within, stands: self.stands() } }
    }

    fn await_that(&mut self, within: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let give_up = self.world.now() + within;
        while !holds(self) {
            if self.world.now() >= give_up {
                return false;
            }
            let next = self.world.now() + self.plan.knobs.heartbeat_interval;
            self.run_until(next.min(give_up));
            // Those who were leaving when the chaos ended may have been the last.
            if self.is_deserted() {
                self.revive_all();
            }
        }
        true
    }

    /// How long the group may take, generously: several rounds of everything that may have to be waited for.
    fn bound(&self) -> Duration {
        let Knobs { heartbeat_interval, heartbeat_timeout, election_timeout, sync_timeout, join_timeout, join_patience, .. } =
            self.plan.knobs;
        let round = heartbeat_timeout + heartbeat_interval + election_timeout + sync_timeout + join_timeout + join_patience;
        round * (4 + u32::try_from(self.plan.peers.len()).expect("a plan has at most {PEERS_MAX} peers")) + BACK_OFF_MAX * 4
    }

    fn stands(&self) -> Vec<Status> {
        (0..self.world.hosts()).filter_map(|peer| self.world.status(peer)).collect()
    }

    /// One leader, followed by all who live, in one view of exactly them; and nobody is about to go.
    fn is_one(&self) -> bool {
        let stands = self.stands();
        let Some(first) = stands.first() else { return false };
        let mut living: Vec<&PeerId> = stands.iter().map(|status| &status.peer_id).collect();
        living.sort();
        let mut members: Vec<&PeerId> = first.members.iter().collect();
        members.sort();
        living == members
            && stands.iter().filter(|status| status.role == "leader").count() == 1
            && stands.iter().all(|status| {
                matches!(status.role.as_str(), "leader" | "member")
                    && !status.leaving
                    && status.leader == first.leader
                    && status.epoch == first.epoch
                    && status.view_id == first.view_id
                    && status.members == first.members
            })
    }

    /// Everything published stands in the log and was handed over everywhere.
    fn is_drained(&self) -> bool {
        let stands = self.stands();
        stands.iter().all(|status| status.ordered == status.published && status.delivered == stands[0].delivered)
    }
}

/// The round of the epoch that a status names.
fn round(status: &Status) -> u64 {
    status.epoch.split('.').next().and_then(|round| round.parse().ok()).unwrap_or(0)
}

/// The longest pause between two announcements of a joining peer.
const BACK_OFF_MAX: Duration = Duration::from_secs(2);
