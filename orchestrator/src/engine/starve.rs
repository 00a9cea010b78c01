//! Gives a process only a share of its time: SIGSTOP and SIGCONT alternate, which looks from
//! outside like a machine that is too slow. Every pause is recorded, so the judge knows all of
//! them.
//!
//! Unlike a paused peer, a starving peer counts as running: it has to keep up.

use std::time::Duration;

use promises::fault::Fault;
use promises::world::GroundTruth;
use protocol::time::Time;

use super::{Engine, Halt, name_of};
use crate::scenario::{Step, Target};

/// Processes that get a share of their time.
#[derive(Debug)]
pub(super) struct Starvation {
    who: Vec<String>,
    /// How long they are stopped, and how long they run then.
    still: Duration,
    runs: Duration,
    stands: bool,
    next: Time,
    pub(super) ends: Option<Time>,
    fault: String,
    occurrence: Option<usize>,
}

impl Engine<'_> {
    /// Begins a starvation.
    pub(super) fn starve(
        &mut self,
        step: &Step,
        target: &Target,
        share: u64,
        period: Duration,
        occurrence: Option<usize>,
    ) -> Result<(), Halt> {
        let who = self.choose(step, target, true)?;
        let now = self.world.now();
        let runs = period.mul_f64(share as f64 / 100.0);
        let ends = step.lasts.as_ref().map(|lasts| now + lasts.under(&self.scenario.cluster.knobs));
        self.console.act(&format!("starve {} to {share}%", who.join(", ")), now.since(self.began));
        self.observed.starving.extend(who.iter().cloned());
        let starvation = Starvation {
            who,
            still: period - runs,
            runs,
            stands: false,
            next: now,
            ends,
            fault: name_of(step),
            occurrence,
        };
        self.starvations.push(starvation);
        // At once, so that the next step chooses among processes without a fault first.
        self.go_on_starving(now)
    }

    /// Stops and resumes the processes whose turn it is, and ends starvations whose time is over.
    pub(super) fn go_on_starving(&mut self, now: Time) -> Result<(), Halt> {
        let mut at = 0;
        while at < self.starvations.len() {
            let starvation = &mut self.starvations[at];
            if starvation.ends.is_some_and(|ends| ends <= now) {
                self.end_starvation(at)?;
                continue;
            }
            at += 1;
            if starvation.next > now {
                continue;
            }
            starvation.stands = !starvation.stands;
            // Counted from now: a late turn lengthens the period and keeps the share.
            starvation.next =
                now + if starvation.stands { starvation.still } else { starvation.runs };
            let (fault, id) = (
                if starvation.stands { Fault::Pause } else { Fault::Resume },
                starvation.fault.clone(),
            );
            let (who, stands, runs) = (starvation.who.clone(), starvation.stands, starvation.runs);
            self.act_on_living(&id, &who, &fault)?;
            // A short running time would be over before this loop comes back, if it has much to
            // read.
            if !stands && runs <= AT_ONCE {
                self.world.pass(runs);
                self.act_on_living(&id, &who, &Fault::Pause)?;
                let now = self.world.now();
                let starvation = &mut self.starvations[at - 1];
                (starvation.stands, starvation.next) = (true, now + starvation.still);
            }
        }
        Ok(())
    }

    /// Ends the starvation of processes that a step touches.
    pub(super) fn feed_again(&mut self, who: &[String]) -> Result<(), Halt> {
        for starvation in &mut self.starvations {
            starvation.who.retain(|name| !who.contains(name));
        }
        self.observed.starving.retain(|name| !who.contains(name));
        while let Some(at) =
            self.starvations.iter().position(|starvation| starvation.who.is_empty())
        {
            self.end_starvation(at)?;
        }
        Ok(())
    }

    fn end_starvation(&mut self, at: usize) -> Result<(), Halt> {
        let Starvation { who, fault, occurrence, .. } = self.starvations.remove(at);
        self.observed.starving.retain(|name| !who.contains(name));
        self.act_on_living(&fault, &who, &Fault::Resume)?;
        self.record_at(self.world.now(), GroundTruth::Heal { id: fault })?;
        self.close_if_named(occurrence)
    }

    /// One turn, which is not shown on the console because there are many.
    fn act_on_living(&mut self, id: &str, who: &[String], fault: &Fault) -> Result<(), Halt> {
        let living = self.world.living();
        let who: Vec<String> = who.iter().filter(|name| living.contains(name)).cloned().collect();
        self.signal(id, &who, fault)
    }
}

/// The longest running time that is waited out here instead of in the loop.
const AT_ONCE: Duration = Duration::from_millis(20);
