//! Gives a process a share of its time only: it is stopped and goes on in turns, which is what a
//! machine that is too slow looks like from outside. Every turn is written down as the pause that
//! it is, so the judge knows all of it.
//!
//! Unlike a peer that was told to stand still, one that starves counts as one that moves: it has to
//! keep up.

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
    /// How long they stand still, and how long they run then.
    still: Duration,
    runs: Duration,
    stands: bool,
    next: Time,
    pub(super) ends: Option<Time>,
    fault: String,
    occurrence: Option<usize>,
}

impl Engine<'_> {
    /// Begins it.
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
        // At once, so that the next step finds those that nothing was done to without them.
        self.go_on_starving(now)
    }

    /// Stops and continues whose turn it is, and ends what is over.
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
            // Counted from now: a late turn makes the period longer, and the share stays what it
            // is.
            starvation.next =
                now + if starvation.stands { starvation.still } else { starvation.runs };
            let (fault, id) = (
                if starvation.stands { Fault::Pause } else { Fault::Resume },
                starvation.fault.clone(),
            );
            let (who, stands, runs) = (starvation.who.clone(), starvation.stands, starvation.runs);
            self.act_on_living(&id, &who, &fault)?;
            // A short time to run is over before this loop would look again, if it has much to
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

    /// Lets somebody whom a step touches have all of its time again.
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

    /// One turn, which is not told to people: there are many.
    fn act_on_living(&mut self, id: &str, who: &[String], fault: &Fault) -> Result<(), Halt> {
        let living = self.world.living();
        let who: Vec<String> = who.iter().filter(|name| living.contains(name)).cloned().collect();
        self.signal(id, &who, fault)
    }
}

/// The longest time to run that is waited for and not looked after with everything else.
const AT_ONCE: Duration = Duration::from_millis(20);
