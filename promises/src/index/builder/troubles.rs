//! The faults of the ground truth, and how long each counts.

use protocol::time::Time;

use super::Builder;
use crate::fault::{Fault, Hurt, Identity, LinkSet, Weather};
use crate::index::{Index, LifeId, Quiet, Trouble, TroubleKind};
use crate::world::GroundTruth;

impl<'a> Builder<'a> {
    pub(super) fn witness(&mut self, at: usize, t: u64, what: &'a GroundTruth) {
        match what {
            GroundTruth::Spawn { process, pid, .. } => {
                self.spawned.insert(*pid, process);
            }
            GroundTruth::Exit { process, .. } => {
                let lives = self.lives_of(std::slice::from_ref(process));
                for life in &lives {
                    self.index.lives[*life].ended.get_or_insert(t);
                }
                self.trouble(at, t, TroubleKind::Down, ("", std::slice::from_ref(process)), lives);
            }
            GroundTruth::Fault { id, fault, who, confirmed } => {
                if !confirmed {
                    self.index.unconfirmed.push(id);
                }
                self.fault(at, t, id, fault, who);
            }
            GroundTruth::Heal { id } => {
                for (span, ..) in self
                    .index
                    .full
                    .iter_mut()
                    .filter(|(span, fault, _)| *fault == id && span.end == usize::MAX)
                {
                    span.end = at;
                }
                for trouble in self
                    .index
                    .troubles
                    .iter_mut()
                    .filter(|trouble| trouble.id == *id && trouble.to == u64::MAX)
                {
                    // A dead life stays dead.
                    if trouble.kind != TroubleKind::Down {
                        trouble.to = t;
                    }
                }
            }
            GroundTruth::Quiet { from, to, core } => {
                let (from, to) = (Time::as_micros(*from), Time::as_micros(*to));
                self.index.quiet = Some(Quiet { from, to, core: core.clone() });
            }
            GroundTruth::Lag { us } if *us > self.late => {
                self.trouble(at, t.saturating_sub(*us), TroubleKind::Machine, ("", &[]), vec![]);
                if let Some(trouble) = self.index.troubles.last_mut() {
                    trouble.to = t;
                }
            }
            GroundTruth::Step { .. }
            | GroundTruth::Expect { .. }
            | GroundTruth::Lag { .. }
            | GroundTruth::Sample { .. }
            | GroundTruth::Verdict { .. } => {}
        }
    }

    fn fault(&mut self, at: usize, t: u64, id: &'a str, fault: &'a Fault, who: &'a [String]) {
        let lives = self.lives_of(who);
        let kind = match fault {
            Fault::Kill => {
                for life in &lives {
                    self.index.lives[*life].ended.get_or_insert(t);
                }
                TroubleKind::Down
            }
            Fault::Stop => TroubleKind::Down,
            Fault::Pause => TroubleKind::Paused,
            Fault::Resume => {
                for life in &lives {
                    let pauses = self
                        .index
                        .troubles
                        .iter_mut()
                        .filter(|trouble| trouble.kind == TroubleKind::Paused);
                    for pause in
                        pauses.filter(|pause| pause.to == u64::MAX && pause.lives.contains(life))
                    {
                        pause.to = t;
                    }
                }
                return;
            }
            Fault::Link { weather, .. } if self.is_mild(*weather) => return,
            // A process that can open no connection, or handles each frame slowly, is as badly
            // connected as over a degraded link.
            Fault::Partition { .. }
            | Fault::Link { .. }
            | Fault::Host { hurt: Hurt::Descriptors | Hurt::Processor | Hurt::Address } => {
                TroubleKind::Links
            }
            // For a process, a clock jump is the same as a pause.
            Fault::Host { hurt: Hurt::Clock { jump_us } } => {
                self.trouble(at, t.saturating_sub(*jump_us), TroubleKind::Paused, (id, who), lives);
                if let Some(trouble) = self.index.troubles.last_mut() {
                    trouble.to = t;
                }
                return;
            }
            Fault::Restart { identity: Identity::Fresh } => {
                self.index.wiped.extend(who.iter().map(|process| (at, process.as_str())));
                return;
            }
            Fault::Host { hurt: Hurt::Disk } => {
                self.index
                    .full
                    .extend(who.iter().map(|process| (at..usize::MAX, id, process.as_str())));
                return;
            }
            Fault::Restart { .. } | Fault::Spawn => return,
        };
        self.trouble(at, t, kind, (id, who), lives);
        // Some frames pass a degraded link: it proves nothing about reachability.
        if let (Fault::Partition { table }, Some(trouble)) = (fault, self.index.troubles.last_mut())
        {
            trouble.table = Some(table).filter(|table| **table != LinkSet::default());
        }
    }

    /// Whether links this bad are still good enough: the data of connections arrives, and in time
    /// for every awaited answer, there and back and twice over. Lost and damaged datagrams are the
    /// usual state of a network.
    fn is_mild(&self, weather: Weather) -> bool {
        // Before a connection sends a lost segment again, it waits at least as long as TCP does.
        let streams_flow = weather.segments == 0 && weather.rate == 0 && weather.mtu == 0;
        weather.loss < ALL && weather.reset == 0 && streams_flow && weather.delay_us <= self.mild
    }

    pub(super) fn trouble(
        &mut self,
        at: usize,
        t: u64,
        kind: TroubleKind,
        (id, processes): (&'a str, &'a [String]),
        lives: Vec<LifeId>,
    ) {
        self.index.troubles.push(Trouble {
            from: t,
            to: u64::MAX,
            at,
            kind,
            lives,
            table: None,
            id,
            processes,
        });
    }

    fn lives_of(&self, processes: &[String]) -> Vec<LifeId> {
        processes.iter().filter_map(|process| self.present.get(process.as_str()).copied()).collect()
    }

    /// A fault may hit a process before its first report.
    pub(super) fn resolve_late_names(&mut self) {
        let Index { lives, troubles, .. } = &mut self.index;
        for trouble in
            troubles.iter_mut().filter(|trouble| trouble.lives.len() < trouble.processes.len())
        {
            for process in trouble.processes {
                if trouble.lives.iter().any(|life| lives[*life].process == Some(process)) {
                    continue;
                }
                let found = lives.iter().position(|life| life.process == Some(process));
                trouble.lives.extend(found);
            }
        }
    }
}

/// All links, in thousandths.
const ALL: u64 = 1_000;
