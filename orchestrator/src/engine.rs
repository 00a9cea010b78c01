//! Performs the steps of a scenario in a world, in order, and records each act.
//!
//! The engine waits for conditions and never sleeps for a fixed time. Everything that runs beside
//! the steps (readings, pauses that end by themselves, reading the events of the peers) happens in
//! [`Engine::turn`], and every wait calls it.

mod acts;
mod condition;
mod describe;
mod network;
mod rest;
mod starve;
mod storm;
mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

use promises::Bindings;
use promises::fault::Fault;
use promises::selector::Draw;
use promises::world::{GroundTruth, Phase, WorldEvent};
use protocol::draw::draw_below;
use protocol::id::PeerId;
use protocol::time::Time;

use crate::console::Console;
use crate::expect::{Examiner, Outcome, Window, shown};
use crate::observed::{Observed, Occurrence};
use crate::scenario::diagnostic::Span;
use crate::scenario::{Scenario, Spawn, Step, Verb, Workload};
use crate::signals::Interrupts;
use crate::workload::Readings;
use crate::world::{Seen, World, WorldError};

use acts::Pause;
use network::Lasting;
use starve::Starvation;

pub use describe::describe;

/// Why a run stopped early.
#[derive(Debug, thiserror::Error)]
pub enum Halt {
    /// A step failed or took too long.
    #[error("{words}")]
    Step {
        /// Its place in the file.
        span: Span,
        /// What was missing.
        words: String,
    },
    /// The group did not come to rest at the end.
    #[error("the group did not come to rest within {limit}: {words}")]
    Unrest {
        /// How long it was given.
        limit: String,
        /// What was missing.
        words: String,
    },
    /// The whole run took too long.
    #[error("the run took longer than its timeout of {limit}; it was waiting for: {words}")]
    Timeout {
        /// The timeout.
        limit: String,
        /// What it was waiting for.
        words: String,
    },
    /// The user pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// The world failed, not the product.
    #[error(transparent)]
    World(#[from] WorldError),
}

/// Performs the steps of one run.
pub struct Engine<'a> {
    world: &'a mut dyn World,
    scenario: &'a Scenario,
    seed: u64,
    console: &'a mut Console,
    interrupts: &'a mut Interrupts,
    /// Everything observed so far.
    pub observed: Observed,
    /// The processes that each name is bound to.
    pub bindings: Bindings,
    /// When the run began.
    pub began: Time,
    /// The longest delay of this process's own loop.
    pub worst_lag: Duration,
    readings: Readings,
    flowing: bool,
    roster: BTreeMap<String, Enlisted>,
    pauses: Vec<Pause>,
    starvations: Vec<Starvation>,
    lasting: Vec<Lasting>,
    deadline: Time,
    last_turn: Time,
    last_look: Time,
    last_sample: Time,
    /// The window in which answers to the last act count.
    last_act: Window,
    written: u64,
    chosen: u64,
    awaiting: String,
}

/// A process of the run.
#[derive(Debug)]
struct Enlisted {
    peer: PeerId,
    /// The exit status it is expected to end with, if any.
    exits: Option<i32>,
    /// Whether it was asked to leave.
    ending: bool,
}

impl<'a> Engine<'a> {
    /// An engine that has performed no step yet.
    pub fn new(
        world: &'a mut dyn World,
        scenario: &'a Scenario,
        seed: u64,
        console: &'a mut Console,
        interrupts: &'a mut Interrupts,
    ) -> Self {
        let now = world.now();
        let deadline = if scenario.is_endless() {
            Time::from_micros(u64::MAX)
        } else {
            now + scenario.timeout.under(&scenario.cluster.knobs)
        };
        Self {
            world,
            scenario,
            seed,
            console,
            interrupts,
            observed: Observed::default(),
            bindings: Bindings::new(),
            began: now,
            worst_lag: Duration::ZERO,
            readings: Readings::default(),
            flowing: scenario.workload.is_some(),
            roster: BTreeMap::new(),
            pauses: Vec::new(),
            starvations: Vec::new(),
            lasting: Vec::new(),
            deadline,
            last_turn: now,
            last_look: now,
            last_sample: now,
            last_act: Window {
                from: now,
                until: Time::from_micros(u64::MAX),
                marks: BTreeMap::new(),
            },
            written: 0,
            chosen: 0,
            awaiting: String::new(),
        }
    }

    /// Starts the group, performs every step, waits for the expectations that have a deadline, and
    /// waits for the group to come to rest. True if it did: then its progress can be judged.
    ///
    /// # Errors
    /// [`Halt`], where the run was given up.
    pub fn run(&mut self) -> Result<bool, Halt> {
        self.start_group()?;
        for step in &self.scenario.steps {
            self.step(step)?;
        }
        self.end_pauses()?;
        self.await_expectations()?;
        self.settle()
    }

    /// Ends all processes (at once after a second interruption), and records how each ended.
    /// Returns the names of those that had to be killed.
    ///
    /// # Errors
    /// If the world cannot be ended.
    pub fn end(&mut self) -> Result<Vec<String>, WorldError> {
        self.console.ends();
        let living = self.world.living();
        for enlisted in self.roster.values_mut() {
            enlisted.ending = true;
        }
        if !living.is_empty() {
            self.record_at(
                self.world.now(),
                GroundTruth::Fault {
                    id: "end".to_owned(),
                    fault: Fault::Stop,
                    who: living,
                    confirmed: true,
                },
            )?;
        }
        let mut seen = Vec::new();
        let interrupts = &mut *self.interrupts;
        let stubborn =
            self.world.end(&mut || interrupts.poll() && interrupts.count() > 1, &mut seen)?;
        for name in &stubborn {
            // A process that had to be killed did not end as asked.
            if let Some(enlisted) = self.roster.get_mut(name) {
                enlisted.ending = false;
            }
        }
        seen.into_iter().try_for_each(|one| self.take(one))?;
        Ok(stubborn)
    }

    /// How often the user asked to stop.
    #[must_use]
    pub fn interruptions(&self) -> usize {
        self.interrupts.count()
    }

    /// The outcome of every expectation, in the order of the file.
    #[must_use]
    pub fn examine(&self, now: Time, over: bool) -> Vec<Outcome> {
        let examiner = Examiner {
            observed: &self.observed,
            knobs: &self.scenario.cluster.knobs,
            began: self.began,
            now,
            over,
            seed: self.seed,
            bindings: &self.bindings,
        };
        self.scenario.expectations.iter().map(|expectation| examiner.examine(expectation)).collect()
    }

    /// Records an event of the test bench itself.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn record_at(&mut self, t: Time, what: GroundTruth) -> Result<(), WorldError> {
        self.written += 1;
        let event = WorldEvent::new(t, "_", self.written, what);
        self.world.record(&event)?;
        self.observed.witness(event);
        Ok(())
    }

    fn start_group(&mut self) -> Result<(), Halt> {
        self.console.phase("starts");
        let cluster = &self.scenario.cluster;
        let mut ids = cluster.ids.in_starting_order(self.seed);
        ids.retain(|id| !cluster.late.contains(id));
        let (least, most) =
            (cluster.stagger.0.under(&cluster.knobs), cluster.stagger.1.under(&cluster.knobs));
        for (at, id) in (0_u64..).zip(&ids) {
            if at > 0 && !most.is_zero() {
                let spread =
                    u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
                let gap =
                    least + Duration::from_micros(draw_below(self.seed, "stagger", at, spread));
                let next = self.world.now() + gap;
                self.wait_for_time(next)?;
            }
            self.start(&Spawn { name: id.to_string(), id: id.clone(), exits: None })?;
        }
        Ok(())
    }

    fn start(&mut self, spawn: &Spawn) -> Result<(), WorldError> {
        let Spawn { name, id, exits } = spawn;
        self.roster
            .insert(name.clone(), Enlisted { peer: id.clone(), exits: *exits, ending: false });
        self.readings.reborn(name);
        let t = self.world.now();
        let pid = self.world.start(name, id)?;
        self.record_at(t, GroundTruth::Spawn { peer: id.clone(), process: name.clone(), pid })
    }

    /// One turn of everything that runs beside the steps.
    fn turn(&mut self) -> Result<(), Halt> {
        if self.interrupts.poll() {
            return Err(Halt::Interrupted);
        }
        let now = self.world.now();
        if now > self.deadline {
            let limit = shown(self.scenario.timeout.under(&self.scenario.cluster.knobs));
            return Err(Halt::Timeout { limit, words: self.awaiting.clone() });
        }
        self.note_lag(now)?;
        self.sample(now)?;
        self.flow(now);
        self.end_due_pauses(now)?;
        self.go_on_starving(now)?;
        self.mend_due(now)?;
        let mut seen = Vec::new();
        self.world.turn(&mut seen)?;
        for one in seen {
            self.take(one)?;
        }
        self.console.progress(
            self.world.now().since(self.began),
            &self.observed.standing,
            &self.awaiting,
        );
        Ok(())
    }

    fn take(&mut self, seen: Seen) -> Result<(), WorldError> {
        self.console.saw(&seen, self.began);
        if let Seen::Ended { process, peer, pid, status, signal } = &seen {
            let enlisted = self.roster.get(process);
            let expected = enlisted.is_some_and(|one| {
                (one.ending && status.is_none_or(|status| status == 0))
                    || (status.is_some() && one.exits == *status)
            });
            let (peer, process) = (peer.clone(), process.clone());
            let exit = GroundTruth::Exit {
                peer,
                process,
                pid: *pid,
                status: *status,
                signal: *signal,
                expected,
            };
            return self.record_at(self.world.now(), exit);
        }
        self.observed.take(seen);
        Ok(())
    }

    fn flow(&mut self, now: Time) {
        let (Some(Workload::Fed { interval, from }), true) =
            (&self.scenario.workload, self.flowing)
        else {
            return;
        };
        // The set of publishers changes with the group, not with every turn.
        if now.since(self.last_look) > LOOK_INTERVAL {
            self.last_look = now;
            let draw = Draw { seed: self.seed, purpose: "workload", counter: 0 };
            let processes = from
                .value
                .resolve(&self.observed.standing, &self.bindings, draw)
                .unwrap_or_default();
            self.readings.flow_to(&processes, now);
        }
        for process in self.readings.due(now, *interval) {
            // A peer that does not read its stdin gets no more readings, as a sensor would block,
            // too.
            if self.world.backlog(&process) < BACKLOG_MAX {
                self.publish(&process, 0);
            }
        }
    }

    fn publish(&mut self, process: &str, size: u64) {
        let line = self.readings.reading(process, size);
        if self.world.publish(process, &line) {
            self.readings.fed(process);
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), Halt> {
        for _ in 0..step.repeat {
            if let Some(at) = &step.at {
                let due = self.began + at.under(&self.scenario.cluster.knobs);
                self.wait_for_time(due)?;
            }
            if let Some(point) = &step.after {
                let limit = self.limit(step);
                let words =
                    format!("step `{}` to {}", point.step, if point.end { "end" } else { "start" });
                self.wait(step, limit, &words, |engine| {
                    let reached = engine
                        .observed
                        .of_step(&point.step)
                        .any(|act| !point.end || act.end.is_some());
                    if reached { Ok(()) } else { Err("it has not".to_owned()) }
                })?;
            }
            let occurrence = self.begin(step)?;
            self.perform(step, occurrence)?;
            // A lasting step is over only when it has ended by itself; a storm takes its time at
            // once.
            let goes_on = matches!(step.verb, Verb::Pause(_) | Verb::Starve { .. })
                || step.verb.is_of_hosts();
            if !(goes_on && step.lasts.is_some()) {
                self.finish(step, occurrence)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, step: &Step) -> Result<Option<usize>, Halt> {
        self.console.phase(&describe(step));
        let start = self.world.now();
        let start_marks: BTreeMap<String, u64> = self.world.marks().into_iter().collect();
        if !matches!(step.verb, Verb::Wait(_)) {
            self.last_act = Window {
                from: start,
                until: Time::from_micros(u64::MAX),
                marks: start_marks.clone(),
            };
        }
        let Some(id) = &step.id else { return Ok(None) };
        self.record_at(start, GroundTruth::Step { id: id.clone(), phase: Phase::Start })?;
        self.observed.occurrences.push(Occurrence {
            step: id.clone(),
            start,
            end: None,
            start_marks,
            end_marks: BTreeMap::new(),
            bindings: Bindings::new(),
            moving: Vec::new(),
        });
        Ok(Some(self.observed.occurrences.len() - 1))
    }

    fn finish(&mut self, step: &Step, occurrence: Option<usize>) -> Result<(), Halt> {
        let (Some(id), Some(at)) = (&step.id, occurrence) else { return Ok(()) };
        self.close(id, at)
    }

    fn close(&mut self, id: &str, occurrence: usize) -> Result<(), Halt> {
        let now = self.world.now();
        self.record_at(now, GroundTruth::Step { id: id.to_owned(), phase: Phase::End })?;
        let (end_marks, bindings, moving) = (
            self.world.marks().into_iter().collect(),
            self.bindings.clone(),
            self.observed.moving(),
        );
        let act = &mut self.observed.occurrences[occurrence];
        (act.end, act.end_marks, act.bindings, act.moving) =
            (Some(now), end_marks, bindings, moving);
        Ok(())
    }

    fn perform(&mut self, step: &Step, occurrence: Option<usize>) -> Result<(), Halt> {
        match &step.verb {
            Verb::Wait(condition) => self.wait_condition(step, condition),
            Verb::Kill(target) => self.fault(step, target, &Fault::Kill).map(drop),
            Verb::Stop(target) => {
                let who = self.fault(step, target, &Fault::Stop)?;
                let limit = self.limit(step);
                self.wait(step, limit, &format!("{} to leave", who.join(", ")), |engine| {
                    let left: Vec<String> = engine
                        .world
                        .living()
                        .into_iter()
                        .filter(|name| who.contains(name))
                        .collect();
                    if left.is_empty() {
                        Ok(())
                    } else {
                        Err(format!("{} still runs", left.join(", ")))
                    }
                })
            }
            Verb::Pause(target) => {
                let who = self.fault(step, target, &Fault::Pause)?;
                if let Some(lasts) = &step.lasts {
                    let ends = self.world.now() + lasts.under(&self.scenario.cluster.knobs);
                    self.pauses.push(Pause { ends, who, fault: name_of(step), occurrence });
                }
                Ok(())
            }
            Verb::Resume(target) => {
                let who = self.choose(step, target, true)?;
                self.feed_again(&who)?;
                self.act(&name_of(step), &who, &Fault::Resume)
            }
            Verb::Starve { target, share, period } => {
                let period = period.under(&self.scenario.cluster.knobs);
                self.starve(step, target, *share, period, occurrence)
            }
            Verb::Storm(storm) => {
                let lasts = step
                    .lasts
                    .as_ref()
                    .map_or(Duration::ZERO, |lasts| lasts.under(&self.scenario.cluster.knobs));
                let ends = self.world.now() + lasts;
                self.storm(step, storm, ends)
            }
            Verb::Restart { target, same_identity } => self.restart(step, target, *same_identity),
            Verb::Spawn(spawns) => {
                let who: Vec<String> = spawns.iter().map(|spawn| spawn.name.clone()).collect();
                self.record_at(
                    self.world.now(),
                    GroundTruth::Fault {
                        id: name_of(step),
                        fault: Fault::Spawn,
                        who,
                        confirmed: true,
                    },
                )?;
                Ok(spawns.iter().try_for_each(|spawn| self.start(spawn))?)
            }
            Verb::Publish { target, count, size } => {
                for process in self.choose(step, target, true)? {
                    (0..*count).for_each(|_| self.publish(&process, *size));
                }
                Ok(())
            }
            Verb::Partition(partition) => self.partition(step, partition, occurrence),
            Verb::Link(link) => self.bad_link(step, link, occurrence),
            Verb::Interface(change) => self.interface(step, change, occurrence),
            Verb::Firewall { target, wall } => self.firewall(step, target, *wall, occurrence),
            Verb::Disk { target, disk } => self.disk(step, target, *disk, occurrence),
            Verb::Heal(healing) => self.heal(healing),
            Verb::Quiesce => {
                self.flowing = false;
                let limit = self.limit(step);
                self.wait(
                    step,
                    limit,
                    "everything published to be delivered everywhere",
                    Self::drained,
                )
            }
            Verb::Sleep => {
                let span = step
                    .lasts
                    .as_ref()
                    .map_or(Duration::ZERO, |lasts| lasts.under(&self.scenario.cluster.knobs));
                let due = self.world.now() + span;
                self.wait_for_time(due)
            }
            Verb::Do(steps) => steps.iter().try_for_each(|step| self.step(step)),
        }
    }
}

fn name_of(step: &Step) -> String {
    step.id.clone().unwrap_or_else(|| format!("{}-{}", step.verb.name(), step.span.start))
}

/// How often the workload looks up which processes publish.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How many bytes of readings may wait for a peer before the workload skips it.
const BACKLOG_MAX: usize = 64 << 10;
