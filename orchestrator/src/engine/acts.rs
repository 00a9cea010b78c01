//! Faults injected into processes. Targets are chosen when the step runs, every fault is recorded
//! as ground truth, and a lasting pause ends by itself.

use promises::fault::{Fault, Identity};
use promises::selector::Draw;
use promises::world::GroundTruth;
use protocol::time::Time;

use super::{Engine, Halt, name_of};
use crate::scenario::{IfNone, Spawn, Step, Target};

/// A pause that ends by itself.
#[derive(Debug)]
pub(super) struct Pause {
    pub(super) ends: Time,
    pub(super) who: Vec<String>,
    pub(super) fault: String,
    pub(super) occurrence: Option<usize>,
}

impl Engine<'_> {
    /// Injects a fault into all processes of a target; returns their names.
    pub(super) fn fault(
        &mut self,
        step: &Step,
        target: &Target,
        fault: &Fault,
    ) -> Result<Vec<String>, Halt> {
        let who = self.choose(step, target, true)?;
        self.act(&name_of(step), &who, fault)?;
        Ok(who)
    }

    pub(super) fn act(&mut self, id: &str, who: &[String], fault: &Fault) -> Result<(), Halt> {
        if matches!(fault, Fault::Kill | Fault::Stop) {
            for name in who {
                if let Some(enlisted) = self.roster.get_mut(name) {
                    enlisted.ending = true;
                }
            }
        }
        if !who.is_empty() {
            self.console
                .act(&format!("{fault} {}", who.join(", ")), self.world.now().since(self.began));
        }
        self.signal(id, who, fault)
    }

    /// Sends the signal of a fault and records it.
    pub(super) fn signal(&mut self, id: &str, who: &[String], fault: &Fault) -> Result<(), Halt> {
        // The moment before the signal, because the peers may react before its effect is confirmed.
        let t = self.world.now();
        if !who.is_empty() {
            let confirmed = self.world.act(fault, who)?;
            self.record_at(
                t,
                GroundTruth::Fault {
                    id: id.to_owned(),
                    fault: fault.clone(),
                    who: who.to_vec(),
                    confirmed,
                },
            )?;
        }
        Ok(())
    }

    pub(super) fn restart(
        &mut self,
        step: &Step,
        target: &Target,
        same_identity: bool,
    ) -> Result<(), Halt> {
        let who = self.choose(step, target, false)?;
        let running: Vec<String> =
            self.world.living().into_iter().filter(|name| who.contains(name)).collect();
        let alive: Vec<String> = running
            .iter()
            .filter(|name| self.roster.get(*name).is_some_and(|one| !one.ending))
            .cloned()
            .collect();
        self.act(&name_of(step), &alive, &Fault::Kill)?;
        let identity = if same_identity { Identity::Same } else { Identity::Fresh };
        self.return_of(step, &who, identity)
    }

    /// Restarts processes that have ended or are about to.
    pub(super) fn return_of(
        &mut self,
        step: &Step,
        who: &[String],
        identity: Identity,
    ) -> Result<(), Halt> {
        if who.is_empty() {
            return Ok(());
        }
        let limit = self.limit(step);
        self.wait(step, limit, &format!("{} to be gone", who.join(", ")), |engine| {
            let left = engine.world.living().into_iter().any(|name| who.contains(&name));
            if left { Err("it still runs".to_owned()) } else { Ok(()) }
        })?;
        let t = self.world.now();
        self.console.act(
            &format!("{} {}", Fault::Restart { identity }, who.join(", ")),
            t.since(self.began),
        );
        let fault = Fault::Restart { identity };
        self.record_at(
            t,
            GroundTruth::Fault { id: name_of(step), fault, who: who.to_vec(), confirmed: true },
        )?;
        for name in who {
            if identity == Identity::Fresh {
                self.world.wipe(name)?;
            }
            let Some(enlisted) = self.roster.get(name) else { continue };
            let again = Spawn { name: name.clone(), id: enlisted.peer.clone(), exits: None };
            self.start(&again)?;
        }
        Ok(())
    }

    /// The processes that a target denotes now; `running` keeps every process, but accepts no dead
    /// one.
    pub(super) fn choose(
        &mut self,
        step: &Step,
        target: &Target,
        running: bool,
    ) -> Result<Vec<String>, Halt> {
        let limit = self.limit(step);
        self.chosen += 1;
        let (counter, purpose) = (self.chosen, name_of(step));
        let pick = |engine: &Self| -> Result<Vec<String>, String> {
            let draw = Draw { seed: engine.seed, purpose: &purpose, counter };
            let who = target
                .who
                .value
                .resolve(&engine.observed.standing, &engine.bindings, draw)
                .map_err(|error| error.to_string())?;
            let living = engine.world.living();
            match who.iter().find(|name| running && !living.contains(name)) {
                Some(dead) => Err(format!("{dead} does not run")),
                None => Ok(who),
            }
        };
        let who = match target.if_none {
            IfNone::Skip => pick(self).unwrap_or_default(),
            IfNone::Fail => {
                pick(self).map_err(|words| Halt::Step { span: target.who.span.clone(), words })?
            }
            IfNone::Wait => {
                let mut who = Vec::new();
                let words = format!("a process that matches `{}`", target.who.value);
                self.wait(step, limit, &words, |engine| pick(engine).map(|found| who = found))?;
                who
            }
        };
        if let Some(name) = &target.bind {
            self.bindings.insert(name.clone(), who.clone());
        }
        Ok(who)
    }

    pub(super) fn end_due_pauses(&mut self, now: Time) -> Result<(), Halt> {
        while let Some(at) = self.pauses.iter().position(|pause| pause.ends <= now) {
            let Pause { who, fault, occurrence, .. } = self.pauses.remove(at);
            let living = self.world.living();
            let who: Vec<String> = who.into_iter().filter(|name| living.contains(name)).collect();
            self.act(&fault, &who, &Fault::Resume)?;
            self.record_at(self.world.now(), GroundTruth::Heal { id: fault })?;
            self.close_if_named(occurrence)?;
        }
        Ok(())
    }

    /// Ends a lasting step, if it has an id.
    pub(super) fn close_if_named(&mut self, occurrence: Option<usize>) -> Result<(), Halt> {
        let Some(at) = occurrence else { return Ok(()) };
        let id = self.observed.occurrences[at].step.clone();
        self.close(&id, at)
    }

    /// The end of the file resumes every paused process.
    pub(super) fn end_pauses(&mut self) -> Result<(), Halt> {
        let of_pauses = self.pauses.iter().map(|pause| pause.ends);
        let of_starvations = self.starvations.iter().filter_map(|starvation| starvation.ends);
        if let Some(last) = of_pauses.chain(of_starvations).chain(self.last_mend()).max() {
            self.wait_for_time(last)?;
        }
        // The wait is over before the next turn.
        let now = self.world.now();
        self.end_due_pauses(now)?;
        self.mend_rest()?;
        let starving = self.observed.starving.iter().cloned().collect::<Vec<String>>();
        self.feed_again(&starving)?;
        let living = self.world.living();
        let paused: Vec<String> = self
            .observed
            .standing
            .all()
            .filter(|stand| stand.paused && living.contains(&stand.process))
            .map(|stand| stand.process.clone())
            .collect();
        self.act("end-of-file", &paused, &Fault::Resume)
    }
}
