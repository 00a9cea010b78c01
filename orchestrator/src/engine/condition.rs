//! The conditions that a step can wait for, and the wait itself. Every wait runs the engine's
//! turns, has a limit, and reports what was missing when the limit is reached.

use std::collections::BTreeSet;
use std::time::Duration;

use promises::SelectorError;
use promises::selector::{Draw, Selector};
use protocol::time::Time;

use super::{Engine, Halt, describe};
use crate::expect::{Search, shown};
use crate::scenario::diagnostic::Placed;
use crate::scenario::{Condition, Step, Verb, What};

impl Engine<'_> {
    pub(super) fn wait_condition(
        &mut self,
        step: &Step,
        condition: &Condition,
    ) -> Result<(), Halt> {
        let limit = self.limit(step);
        let mut search = self.search(condition);
        let lasts = step
            .lasts
            .as_ref()
            .map_or(Duration::ZERO, |lasts| lasts.under(&self.scenario.cluster.knobs));
        let mut since = None;
        let words = describe(step);
        self.wait(step, limit, &words, |engine| match engine.holds(condition, search.as_mut()) {
            Ok(()) => {
                let now = engine.world.now();
                let held = now.since(*since.get_or_insert(now));
                if held >= lasts {
                    Ok(())
                } else {
                    Err(format!("it has held for {} of {}", shown(held), shown(lasts)))
                }
            }
            Err(missing) => {
                since = None;
                Err(missing)
            }
        })?;
        if let (Condition::Event { count, on, bind: Some(bind), .. }, Some(search)) =
            (condition, &search)
        {
            self.bind_seen(bind, search, on.as_ref(), *count)?;
        }
        if let (Condition::Log { on, bind: Some(bind), .. }, Some(search)) = (condition, &search) {
            self.bind_seen(bind, search, on.as_ref(), 1)?;
        }
        Ok(())
    }

    /// Binds a name to the processes that showed something often enough.
    fn bind_seen(
        &mut self,
        bind: &str,
        search: &Search,
        on: Option<&Placed<Selector>>,
        least: u64,
    ) -> Result<(), Halt> {
        let among = on.map(|on| self.resolve(&on.value)).transpose();
        let among = among
            .map_err(|words| Halt::Step { span: on.map_or(0..0, |on| on.span.clone()), words })?;
        let is_meant = |process: &String| {
            among
                .as_ref()
                .map_or(self.roster.contains_key(process), |among| among.contains(process))
        };
        let seen = search
            .found
            .count
            .iter()
            .filter(|(process, count)| **count >= least && is_meant(process));
        let seen: Vec<String> = seen.map(|(process, _)| process.clone()).collect();
        self.bindings.insert(bind.to_owned(), seen);
        Ok(())
    }

    /// The search behind a condition that waits for an event or a line. It starts at the last act:
    /// the answer to a kill often arrives before the wait for it starts.
    pub(super) fn search(&self, condition: &Condition) -> Option<Search> {
        let what = match condition {
            Condition::Event { pattern, .. } => What::Event(pattern.clone()),
            Condition::Log { pattern, .. } => What::Log(pattern.clone()),
            _ => return None,
        };
        Some(Search::new(&what, &self.bindings, self.last_act.clone()))
    }

    /// Whether a condition holds; otherwise what is missing.
    pub(super) fn holds(
        &self,
        condition: &Condition,
        search: Option<&mut Search>,
    ) -> Result<(), String> {
        let enough = |count: u64, least: u64, what: &str| {
            if count >= least { Ok(()) } else { Err(format!("{count} of {least} {what}")) }
        };
        match condition {
            Condition::Stable => self.stable(),
            Condition::Leader => self.resolve(&Selector::Leader).map(drop),
            Condition::LeaderNot(who) => {
                let not = self.resolve(&who.value)?;
                let leader = self.resolve(&Selector::Leader)?;
                if leader.iter().any(|name| not.contains(name)) {
                    Err(format!("{} still leads", leader.join(", ")))
                } else {
                    Ok(())
                }
            }
            Condition::Delivered(least) => {
                let counts = self
                    .observed
                    .moving()
                    .into_iter()
                    .map(|process| (self.observed.ledger.delivered(&process), process));
                match counts.min() {
                    Some((count, process)) => {
                        enough(count, *least, &format!("readings are delivered at {process}"))
                    }
                    None => Err("nobody runs".to_owned()),
                }
            }
            Condition::Interrupt => Err(String::new()),
            Condition::Unordered(least) => {
                enough(self.observed.ledger.unordered(), *least, "readings are unordered")
            }
            Condition::Event { on, count, .. } => self.seen(search, on.as_ref(), *count),
            Condition::Log { on, .. } => self.seen(search, on.as_ref(), 1),
        }
    }

    pub(super) fn seen(
        &self,
        search: Option<&mut Search>,
        on: Option<&Placed<Selector>>,
        least: u64,
    ) -> Result<(), String> {
        let search = search.expect("a wait for an event or a line has a search");
        search.go_on(&self.observed);
        let found = &search.found;
        if let Some(words) = &found.no_field {
            return Err(words.clone());
        }
        let Some(on) = on else {
            let count: u64 = found.count.values().sum();
            return if count >= least {
                Ok(())
            } else {
                Err(format!("seen {count} of {least} times"))
            };
        };
        let whom = self.resolve(&on.value)?;
        let short: Vec<String> = whom
            .into_iter()
            .filter(|process| found.count.get(process).copied().unwrap_or(0) < least)
            .collect();
        if short.is_empty() { Ok(()) } else { Err(format!("not seen at {}", short.join(", "))) }
    }

    pub(super) fn resolve(&self, selector: &Selector) -> Result<Vec<String>, String> {
        let draw = Draw { seed: self.seed, purpose: "wait", counter: 0 };
        selector
            .resolve(&self.observed.standing, &self.bindings, draw)
            .map_err(|error: SelectorError| error.to_string())
    }

    pub(super) fn stable(&self) -> Result<(), String> {
        let silent =
            self.world.living().into_iter().find(|process| {
                self.observed.standing.find(process).is_none_or(|stand| !stand.alive)
            });
        if let Some(process) = silent {
            return Err(format!("{process} has not said anything yet"));
        }
        self.observed.standing.stable()?;
        let calm = 2 * self.scenario.cluster.knobs.heartbeat_interval;
        match self.observed.last_election.map(|last| self.world.now().since(last)) {
            Some(since) if since < calm => {
                Err(format!("the last election was {} ago", shown(since)))
            }
            _ => Ok(()),
        }
    }

    /// Whether every reading given to a live peer was delivered by all of them.
    pub(super) fn drained(&self) -> Result<(), String> {
        let moving = self.observed.moving();
        for process in &moving {
            let (given, settled) =
                (self.readings.given(process), self.observed.ledger.settled(process));
            if settled < given {
                return Err(format!("{process} has published {settled} of {given} readings"));
            }
        }
        let peers: BTreeSet<_> = moving
            .iter()
            .filter_map(|process| self.observed.standing.find(process))
            .map(|stand| (stand.peer.clone(), stand.inc))
            .collect();
        self.observed.ledger.under_way(&moving, &peers).map_or(Ok(()), Err)
    }

    pub(super) fn limit(&self, step: &Step) -> Duration {
        if let Verb::Wait(Condition::Interrupt) = step.verb {
            return Duration::MAX;
        }
        step.within.as_ref().map_or_else(
            || self.default_limit(),
            |within| within.under(&self.scenario.cluster.knobs),
        )
    }

    /// The limit of a wait that sets none: a generous bound for liveness, in units of the profile.
    pub(super) fn default_limit(&self) -> Duration {
        let knobs = &self.scenario.cluster.knobs;
        let round = knobs.heartbeat_timeout
            + knobs.heartbeat_interval
            + knobs.election_timeout
            + knobs.sync_timeout
            + knobs.join_timeout;
        Duration::from_secs(5) + 4 * round
    }

    pub(super) fn wait_for_time(&mut self, due: Time) -> Result<(), Halt> {
        let left = due.since(self.world.now());
        self.wait_until(left, "time to pass", |engine| {
            if engine.world.now() >= due { Ok(()) } else { Err(String::new()) }
        })?
        .unwrap_or_default();
        Ok(())
    }

    pub(super) fn wait(
        &mut self,
        step: &Step,
        limit: Duration,
        words: &str,
        check: impl FnMut(&Self) -> Result<(), String>,
    ) -> Result<(), Halt> {
        self.wait_until(limit, words, check)?.map_err(|missing| Halt::Step {
            span: step.span.clone(),
            words: format!("waited {} for {words}: {missing}", shown(limit)),
        })
    }

    /// Runs turns until a check succeeds; the inner error says what was missing when the limit was
    /// reached.
    pub(super) fn wait_until(
        &mut self,
        limit: Duration,
        words: &str,
        mut check: impl FnMut(&Self) -> Result<(), String>,
    ) -> Result<Result<(), String>, Halt> {
        let until = self.world.now() + limit;
        loop {
            let Err(missing) = check(self) else { return Ok(Ok(())) };
            if self.world.now() > until {
                return Ok(Err(missing));
            }
            self.awaiting =
                if missing.is_empty() { words.to_owned() } else { format!("{words}: {missing}") };
            self.turn()?;
        }
    }
}
