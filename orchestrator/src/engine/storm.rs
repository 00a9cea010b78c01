//! A storm: draws one fault after the other until its time is over; then every dead process
//! restarts.

use promises::fault::{Fault, Identity};
use promises::selector::Draw;
use protocol::draw::draw_below;
use protocol::time::Time;

use super::acts::Pause;
use super::{Engine, Halt, name_of};
use crate::scenario::span_of_time::SpanOfTime;
use crate::scenario::{Gust, Step, Storm};

impl Engine<'_> {
    /// Runs a storm until `ends`.
    pub(super) fn storm(&mut self, step: &Step, storm: &Storm, ends: Time) -> Result<(), Halt> {
        loop {
            let next = self.world.now() + self.drawn_between(&storm.every, "every");
            if next >= ends {
                break;
            }
            self.wait_for_time(next)?;
            self.gust(step, storm)?;
        }
        self.wait_for_time(ends)?;
        let (own, now) = (name_of(step), self.world.now());
        self.pauses
            .iter_mut()
            .filter(|pause| pause.fault == own)
            .for_each(|pause| pause.ends = now);
        self.end_due_pauses(now)?;
        // A process that was asked to leave may still run.
        let away = self.away();
        self.return_of(step, &away, Identity::Same)
    }

    /// Draws one fault and injects it.
    fn gust(&mut self, step: &Step, storm: &Storm) -> Result<(), Halt> {
        let away = self.away();
        let paused: Vec<String> = self.pauses.iter().flat_map(|pause| pause.who.clone()).collect();
        let living = self.world.living();
        let dead: Vec<String> =
            away.iter().filter(|name| !living.contains(name)).cloned().collect();
        let down = (away.len() + paused.len()) as u64;
        let most = storm.down.unwrap_or((self.roster.len() as u64).saturating_sub(1) / 2);
        self.chosen += 1;
        let (seed, counter, purpose) = (self.seed, self.chosen, name_of(step));
        let draw = Draw { seed, purpose: &purpose, counter };
        let standing: Vec<String> = storm
            .who
            .value
            .resolve(&self.observed.standing, &self.bindings, draw)
            // In a storm, a selector that matches no process is no error.
            .unwrap_or_default()
            .into_iter()
            .filter(|name| living.contains(name) && !away.contains(name) && !paused.contains(name))
            .collect();
        let possible = |gust: &Gust| match gust {
            Gust::Restart(_) => !dead.is_empty(),
            Gust::Kill | Gust::Stop | Gust::Pause => down < most && !standing.is_empty(),
        };
        let weights: Vec<(Gust, u64)> =
            storm.weights.iter().filter(|(gust, _)| possible(gust)).copied().collect();
        let Some(gust) = drawn_of(&weights, seed, counter) else { return Ok(()) };
        let one_of = |names: &[String]| {
            let at = draw_below(seed, "gust-whom", counter, names.len() as u64);
            vec![names[usize::try_from(at).expect("an index of a list in memory")].clone()]
        };
        match gust {
            Gust::Kill => self.act(&name_of(step), &one_of(&standing), &Fault::Kill),
            Gust::Stop => self.act(&name_of(step), &one_of(&standing), &Fault::Stop),
            Gust::Pause => {
                let who = one_of(&standing);
                let ends = self.world.now() + self.drawn_between(&storm.pauses, "pauses");
                self.act(&name_of(step), &who, &Fault::Pause)?;
                self.pauses.push(Pause { ends, who, fault: name_of(step), occurrence: None });
                Ok(())
            }
            Gust::Restart(identity) => self.return_of(step, &one_of(&dead), identity),
        }
    }

    /// The processes that this run has ended and not restarted.
    fn away(&self) -> Vec<String> {
        self.roster.iter().filter(|(_, one)| one.ending).map(|(name, _)| name.clone()).collect()
    }

    fn drawn_between(
        &mut self,
        (least, most): &(SpanOfTime, SpanOfTime),
        purpose: &str,
    ) -> std::time::Duration {
        self.chosen += 1;
        let knobs = &self.scenario.cluster.knobs;
        let (least, most) = (least.under(knobs), most.under(knobs));
        let spread = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
        least
            + std::time::Duration::from_micros(if spread == 0 {
                0
            } else {
                draw_below(self.seed, purpose, self.chosen, spread)
            })
    }
}

/// Draws one of them, in proportion to their weights; none if there are none.
fn drawn_of(weights: &[(Gust, u64)], seed: u64, counter: u64) -> Option<Gust> {
    let total: u64 = weights.iter().map(|(_, weight)| weight).sum();
    if total == 0 {
        return None;
    }
    let mut left = draw_below(seed, "gust", counter, total);
    weights
        .iter()
        .find(|(_, weight)| {
            let is_it = left < *weight;
            left = left.saturating_sub(*weight);
            is_it
        })
        .map(|(gust, _)| *gust)
}

#[cfg(test)]
mod tests {
    use super::drawn_of;
    use crate::scenario::Gust;

    #[test]
    fn gusts_come_in_proportion() {
        let weights = [(Gust::Kill, 1), (Gust::Pause, 3)];
        let pauses = (0..4_000)
            .filter(|counter| drawn_of(&weights, 7, *counter) == Some(Gust::Pause))
            .count();
        assert!((2_800..3_200).contains(&pauses), "{pauses} of 4000");
        assert_eq!(drawn_of(&[], 7, 0), None);
    }
}
