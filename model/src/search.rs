//! The search: breadth first, so that the first counterexample found is a shortest one.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use protocol::config::Config;

use crate::bounds::Bounds;
use crate::fact::{Breach, Mark};
use crate::group::{Action, Group};
use crate::memory::{self, Trusting};
use crate::model::Model;
use crate::path;
use crate::start::Start;

/// The result of a search.
#[derive(Clone, Debug)]
pub struct Report {
    /// Situations visited, each once.
    pub states: usize,
    /// Steps taken; most led to situations visited before.
    pub steps: u64,
    /// Situations in which a peer had promised a round beyond the bounds; they were not expanded.
    pub beyond: u64,
    /// Length of the longest path.
    pub depth: u32,
    /// The number of distinct peer states, and of computed answers.
    pub local: (usize, usize),
    /// How long it took.
    pub took: Duration,
    /// Why the search ended before everything within the bounds was visited.
    pub cut: Option<&'static str>,
    /// The marks that were met.
    pub marks: Vec<Mark>,
    /// The counterexample, if there is one.
    pub breach: Option<Counterexample>,
}

/// A shortest path to a breach.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// The breach.
    pub breach: Breach,
    /// The path, one line per event.
    pub path: Vec<String>,
}

/// Visits everything that can happen to a group within the bounds.
#[must_use]
pub fn search(start: Start, config: &Config, bounds: Bounds) -> Report {
    let mut model = Model::new(config, bounds);
    let started = Instant::now();
    match start.reach(&mut model, config, bounds) {
        Ok(root) => Search::new(model, root, started).run(),
        Err(breach) => {
            let path = vec![format!(
                "on the way to the start `{}`, before anything was searched",
                start.name()
            )];
            Search::empty_report(started, Some(Counterexample { breach, path }))
        }
    }
}

struct Search {
    model: Model,
    root: Group,
    visited: HashSet<u128, Trusting>,
    /// For each visited situation: its predecessor, and the action between them.
    trail: Vec<(u32, u32)>,
    layer: Vec<(u32, Group)>,
    started: Instant,
    steps: u64,
    beyond: u64,
    /// The number of situations at which to check the memory again.
    weigh_at: usize,
}

impl Search {
    fn new(model: Model, root: Group, started: Instant) -> Self {
        let mut visited = HashSet::default();
        visited.insert(root.identity());
        let layer = vec![(0, root.clone())];
        Self {
            model,
            root,
            visited,
            trail: vec![(0, 0)],
            layer,
            started,
            steps: 0,
            beyond: 0,
            weigh_at: BETWEEN_WEIGHINGS,
        }
    }

    fn run(mut self) -> Report {
        let mut depth = 0;
        while !self.layer.is_empty() {
            let mut next = Vec::new();
            for (number, group) in std::mem::take(&mut self.layer) {
                if let Some(cut) = self.exhausted() {
                    return self.report(depth, Some(cut), None);
                }
                for action in self.model.actions(&group) {
                    match self.model.step(&group, action) {
                        Ok(Some(group)) => self.visit(number, action, group, &mut next),
                        Ok(None) => {}
                        Err(breach) => {
                            let actions = self.actions_to(number, action);
                            let path = path::tell(&mut self.model, &self.root, &actions);
                            return self.report(
                                depth + 1,
                                None,
                                Some(Counterexample { breach, path }),
                            );
                        }
                    }
                }
            }
            self.layer = next;
            depth += 1;
        }
        self.report(depth.saturating_sub(1), None, None)
    }

    fn visit(&mut self, from: u32, action: Action, group: Group, next: &mut Vec<(u32, Group)>) {
        self.steps += 1;
        if !self.visited.insert(group.identity()) {
            return;
        }
        let number =
            u32::try_from(self.trail.len()).expect("memory ends long before the numbers do");
        self.trail.push((from, action.code()));
        if self.model.is_beyond(&group) {
            self.beyond += 1;
        } else {
            next.push((number, group));
        }
    }

    fn exhausted(&mut self) -> Option<&'static str> {
        let bounds = &self.model.bounds;
        if self.trail.len() >= bounds.states {
            Some("the number of situations")
        } else if self.started.elapsed() >= Duration::from_secs(bounds.seconds) {
            Some("time")
        } else if self.trail.len() >= self.weigh_at {
            self.weigh_at = self.trail.len() + BETWEEN_WEIGHINGS;
            memory::resident()
                .filter(|used| *used / MIB >= bounds.memory)
                .map(|_| "the memory of this machine (`--memory`)")
        } else {
            None
        }
    }

    /// The actions that lead to a situation, and one more.
    fn actions_to(&self, number: u32, last: Action) -> Vec<Action> {
        let mut actions = vec![last];
        let mut at = number;
        while at != 0 {
            let (before, code) = self.trail[at as usize];
            actions.extend(Action::of(code));
            at = before;
        }
        actions.reverse();
        actions
    }

    fn report(
        self,
        depth: u32,
        cut: Option<&'static str>,
        breach: Option<Counterexample>,
    ) -> Report {
        let mut marks = self.model.marks.clone();
        marks.sort_unstable();
        Report {
            states: self.trail.len(),
            steps: self.steps,
            beyond: self.beyond,
            depth,
            local: (self.model.peers.len(), self.model.worked_out()),
            took: self.started.elapsed(),
            cut,
            marks,
            breach,
        }
    }

    fn empty_report(started: Instant, breach: Option<Counterexample>) -> Report {
        let took = started.elapsed();
        Report {
            states: 0,
            steps: 0,
            beyond: 0,
            depth: 0,
            local: (0, 0),
            took,
            cut: None,
            marks: vec![],
            breach,
        }
    }
}

/// Situations between two checks of the memory; they take a few megabytes.
const BETWEEN_WEIGHINGS: usize = 10_000;
const MIB: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::{Report, search};
    use crate::bounds::Bounds;
    use crate::fact::Mark;
    use crate::plan::{Depth, plan};
    use crate::start::Start;
    use protocol::config::{Config, Knobs, Mode};
    use protocol::id::PeerId;
    use std::time::Duration;

    fn run(start: Start, change: impl Fn(&mut Bounds)) -> Report {
        run_in(Mode::Available, start, change)
    }

    fn run_in(mode: Mode, start: Start, change: impl Fn(&mut Bounds)) -> Report {
        let ids = ["peer1", "peer2", "peer3"].map(|id| PeerId::new(id).unwrap());
        let bootstrap = if mode == Mode::Primary { ids.to_vec() } else { vec![] };
        let knobs = Knobs {
            join_batch: Duration::ZERO,
            link_idle: Duration::from_secs(86_400),
            mode,
            bootstrap,
            ..Knobs::default()
        };
        let mut bounds = plan(Depth::Usual, Mode::Available)[0].bounds;
        (bounds.crashes, bounds.readings, bounds.rests) = (0, 0, 0);
        change(&mut bounds);
        search(start, &Config::try_from(knobs).unwrap(), bounds)
    }

    #[track_caller]
    fn check_exhausted(report: &Report) {
        assert!(report.breach.is_none(), "{:#?}", report.breach);
        assert_eq!(report.cut, None);
    }

    #[test]
    fn whoever_dies_whenever_the_rest_goes_on_in_order() {
        let report = run(Start::Formed, |bounds| (bounds.crashes, bounds.readings) = (1, 1));
        check_exhausted(&report);
        assert!(report.states > 1_000 && report.depth > 20, "{report:?}");
        assert!(
            [Mark::SecondLeader, Mark::DeliveredByAll]
                .iter()
                .all(|mark| report.marks.contains(mark)),
            "{report:?}"
        );
        let again = run(Start::Formed, |bounds| (bounds.crashes, bounds.readings) = (1, 1));
        assert_eq!(
            (report.states, report.steps, report.depth),
            (again.states, again.steps, again.depth)
        );
    }

    #[test]
    fn whoever_asks_the_dead_again_and_again_is_where_it_was() {
        let report = run(Start::Formed, |bounds| (bounds.crashes, bounds.passes) = (1, 1));
        check_exhausted(&report);
        assert!(report.states < 100_000, "{report:?}");
    }

    #[test]
    fn two_groups_become_one_in_any_order() {
        // All of it is more than three million situations, too many for a test: only the first
        // ones, by depth.
        let report = run(Start::Torn, |bounds| {
            (bounds.passes, bounds.datagrams, bounds.states) = (1, true, TORN_STATES)
        });
        assert!(report.breach.is_none(), "{:#?}", report.breach);
        assert!(report.cut.is_none() || report.states >= TORN_STATES, "{report:?}");
        assert!(
            [Mark::Merged, Mark::Diverged].iter().all(|mark| report.marks.contains(mark)),
            "{report:?}"
        );
    }

    #[test]
    fn the_side_without_quorum_gives_in_in_any_order() {
        let report = run_in(Mode::Primary, Start::Torn, |bounds| bounds.rests = 1);
        check_exhausted(&report);
        assert!(
            [Mark::TakenBack, Mark::DeliveredByAll].iter().all(|mark| report.marks.contains(mark)),
            "{report:?}"
        );
        assert!(
            !report.marks.contains(&Mark::Diverged),
            "what only one peer holds is handed over by nobody: {report:?}"
        );
        let report = run_in(Mode::Primary, Start::Formed, |bounds| {
            (bounds.crashes, bounds.readings) = (2, 1)
        });
        check_exhausted(&report);
        assert!(report.marks.contains(&Mark::Blocked), "{report:?}");
    }

    #[test]
    fn a_group_is_founded_in_any_order() {
        let report = run(Start::Boot, |bounds| {
            (bounds.peers, bounds.rests, bounds.datagrams) = (2, 6, true)
        });
        check_exhausted(&report);
        assert!(report.marks.contains(&Mark::Admitted), "{report:?}");
    }

    #[test]
    fn a_bound_that_is_reached_is_said() {
        let report = run(Start::Formed, |bounds| (bounds.crashes, bounds.states) = (1, 50));
        assert_eq!(report.cut, Some("the number of situations"));
        let report = run(Start::Formed, |bounds| (bounds.crashes, bounds.rounds) = (1, 2));
        assert!(report.beyond > 0 && report.cut.is_none(), "{report:?}");
    }

    const TORN_STATES: usize = 300_000;
}
