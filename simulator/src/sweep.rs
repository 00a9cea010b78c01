//! A sweep: many seeds on a few threads, and their combined results.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use protocol::config::Mode;

use crate::breach::Breach;
use crate::guard::Guard;
use crate::kept::Kept;
use crate::marks::Marks;
use crate::plan::Plan;
use crate::run::{Verdict, run};
use crate::tally::Tally;
use crate::truth::{Count, LAWS, Sheet};
use crate::watch::Unwatched;

/// The seeds of a sweep, and how to run them.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// The first seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// The number of threads.
    pub jobs: usize,
    /// Whether each seed is run twice, and the runs compared step by step.
    pub check: bool,
    /// After how many failures to stop.
    pub failures_max: u64,
    /// Whether to run only seeds that draw an asymmetric network.
    pub one_way: bool,
    /// Whether there is a liar in each of them.
    pub liar: bool,
}

/// The results of a sweep.
#[derive(Debug, Default)]
pub struct Report {
    /// The failed seeds, lowest first, with their breaches; the evidence has been printed.
    pub failures: Vec<(u64, Vec<Breach>)>,
    /// How many seeds were run.
    pub seeds: u64,
    /// How many of them had an asymmetric network, in mode `available` and in `primary`.
    pub one_way: [u64; 2],
    /// How many of them missed a leader after the first one was found.
    pub later_elections: u64,
    /// The counts.
    pub tally: Tally,
    /// The rare events, and the phases that faults met.
    pub marks: Marks,
    /// How often each promise was judged.
    pub kept: Kept,
    /// How often each law was judged.
    pub laws: Sheet,
    /// How long it took.
    pub took: Duration,
    /// Whether there was a liar: the rare events of such a swarm are not counted.
    pub liar: bool,
}

impl Sweep {
    /// Runs the sweep. Each failure is passed to `told` as soon as it is found, which decides
    /// whether to go on. Seeds start in order, and started seeds are finished; so no failure before
    /// the last one is missing.
    pub fn run(&self, told: impl Fn(u64, &[Breach]) -> ControlFlow<()> + Sync) -> Report {
        let started = Instant::now();
        let next = AtomicU64::new(0);
        let enough = AtomicBool::new(false);
        let report = Mutex::new(Report::default());
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    while !enough.load(Ordering::Relaxed) {
                        let nth = next.fetch_add(1, Ordering::Relaxed);
                        if nth >= self.seeds {
                            return;
                        }
                        let seed = self.from.wrapping_add(nth);
                        let Some(plan) = self.plan(seed) else { continue };
                        let verdict = self.one(&plan);
                        let mut report =
                            report.lock().expect("no thread panics while it adds its verdict");
                        report.count_hearing(&plan);
                        let flow = report.add(seed, verdict, &told);
                        if flow.is_break() || report.failures.len() as u64 >= self.failures_max {
                            enough.store(true, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let mut report = report.into_inner().expect("no thread panics while it adds its verdict");
        report.failures.sort_by_key(|failure| failure.0);
        report.took = started.elapsed();
        report.liar = self.liar;
        report
    }

    /// The plan of a seed, if it is to be run.
    #[must_use]
    pub fn plan(&self, seed: u64) -> Option<Plan> {
        let plan = if self.liar { Plan::drawn_with_a_liar(seed) } else { Plan::drawn(seed) };
        (!self.one_way || !plan.hearing.is_whole()).then_some(plan)
    }

    fn one(&self, plan: &Plan) -> Verdict {
        let play = "a drawn plan can be run";
        if !self.check {
            return run(plan, Unwatched).expect(play).0;
        }
        let (mut verdict, first) = run(plan, Guard::default()).expect(play);
        let (_, second) = run(plan, Guard::default()).expect(play);
        if let (Some(first), Some(second)) = (first, second)
            && let Some((step, time)) = first.parting(&second)
        {
            let words = format!("two runs of one seed part at step {step}, at {time}");
            verdict.breaches.push(Breach {
                promise: "deterministic".to_owned(),
                words,
                evidence: vec![],
            });
        }
        verdict
    }
}

impl Report {
    fn count_hearing(&mut self, plan: &Plan) {
        self.one_way[usize::from(plan.knobs.mode == Mode::Primary)] +=
            u64::from(!plan.hearing.is_whole());
    }

    fn add(
        &mut self,
        seed: u64,
        verdict: Verdict,
        told: &impl Fn(u64, &[Breach]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.seeds += 1;
        self.later_elections += u64::from(verdict.later_election);
        self.tally += verdict.tally;
        self.marks += &verdict.marks;
        self.kept += &verdict.kept;
        self.laws += &verdict.laws;
        let mut breaches = verdict.breaches;
        if breaches.is_empty() {
            return ControlFlow::Continue(());
        }
        let flow = told(seed, &breaches);
        // With very many failures the evidence would fill the memory.
        breaches.iter_mut().for_each(|breach| breach.evidence = vec![]);
        self.failures.push((seed, breaches));
        flow
    }

    /// Whether these breaches fail the sweep: a broken law always does, a service level only once
    /// its budget is used up.
    #[must_use]
    pub fn is_red(&self, breaches: &[Breach]) -> bool {
        breaches.iter().any(|breach| !self.kept.is_within_budget(&breach.promise, self.seeds))
    }

    /// The events that a sweep of this size should have met and has not; such a sweep has tested
    /// too little to pass.
    #[must_use]
    pub fn unseen(&self) -> Vec<String> {
        if self.liar {
            return vec![];
        }
        let never = self
            .tally
            .musts()
            .into_iter()
            .filter(|(_, count)| *count == 0)
            .map(|(what, _)| what.to_owned());
        let mut unseen: Vec<String> = never.filter(|_| self.seeds >= LARGE).collect();
        if self.seeds >= COMPLETE {
            unseen.extend(self.marks.unseen());
            unseen.extend(self.kept.unjudged());
            let unjudged = LAWS.into_iter().filter(|law| self.laws.row(*law).judged == 0);
            unseen.extend(unjudged.map(|law| format!("anything that could break {}", law.id())));
        }
        unseen
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64().max(1e-6);
        let seeds = self.seeds.max(1);
        writeln!(
            f,
            "{} seeds and {} events in {seconds:.1} s: {:.0} events a second, {:.0} seeds a \
             second, {} events a seed",
            self.seeds,
            self.tally.inputs,
            self.tally.inputs as f64 / seconds,
            self.seeds as f64 / seconds,
            self.tally.inputs / seeds,
        )?;
        let [available, primary] = self.one_way;
        writeln!(
            f,
            "hearing not the same both ways in {available} seeds of mode available and {primary} \
             of mode primary"
        )?;
        let share = self.later_elections * 1_000 / seeds;
        writeln!(f, "an election after the first in {}.{} % of the seeds", share / 10, share % 10)?;
        for (at, (what, count)) in self.tally.musts().into_iter().enumerate() {
            write!(f, "{}{what} {count}", if at == 0 { "" } else { ", " })?;
        }
        let Tally { delivered, refused, leaders, snapshots, corrupted, hopeless, .. } = self.tally;
        writeln!(
            f,
            "\ndelivered {delivered}, refused {refused}, leaders {leaders}, snapshots {snapshots}, \
             datagrams damaged {corrupted}"
        )?;
        writeln!(f, "runs in which no progress could be demanded {hopeless}")?;
        writeln!(f, "by what the peers tell:\n{}", self.kept)?;
        writeln!(f, "by what the simulator knows:")?;
        for law in LAWS {
            let Count { judged, near, broken } = self.laws.row(law);
            write!(
                f,
                "law {:<18} judged {judged:>11}, a near thing {near:>9}, broken {broken:>5}",
                law.id()
            )?;
            let covered = law
                .covers()
                .map_or_else(String::new, |level| format!(": all of what {level} speaks of"));
            writeln!(f, "{covered}")?;
        }
        writeln!(f, "{}", self.marks)?;
        let unseen = self.marks.unseen();
        if self.seeds < COMPLETE && !unseen.is_empty() {
            let (count, some) =
                (unseen.len(), unseen.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>());
            let more = if count > TOLD { ", and more" } else { "" };
            writeln!(f, "not seen in so few seeds: {count} marks ({}{more})", some.join(", "))?;
        }
        let red = self.failures.iter().filter(|(_, breaches)| self.is_red(breaches)).count();
        write!(f, "{red} seeds failed")?;
        match self.failures.len() - red {
            0 => Ok(()),
            within => write!(f, ", {within} broke service levels within their budgets"),
        }
    }
}

/// A sweep of this many seeds has to have met every counted event at least once.
const LARGE: u64 = 1_000;
/// A sweep of this many seeds has to have met every mark, and every fault in every phase.
const COMPLETE: u64 = 20_000;
/// How many missing marks are named; if there are more, only their number is printed.
const TOLD: usize = 8;

#[cfg(test)]
mod tests {
    use super::Report;
    use crate::tally::Tally;

    #[test]
    fn a_large_sweep_that_saw_nothing_is_no_pass() {
        let mut report = Report { seeds: 1_000, ..Report::default() };
        assert_eq!(report.unseen().len(), report.tally.musts().len());
        let Tally { elections, vetoes, .. } = &mut report.tally;
        (*elections, *vetoes) = (1, 1);
        let unseen = report.unseen();
        let has = |words: &str| unseen.iter().any(|one| one == words);
        assert!(
            !has("vetoes") && has("slow evictions") && !has("stale epoch rejected"),
            "{unseen:?}"
        );
        report.seeds = 999;
        assert!(report.unseen().is_empty());
        report.seeds = 20_000;
        assert!(report.unseen().iter().any(|one| one == "stale epoch rejected"));
        assert!(report.unseen().iter().any(|one| one == "kill while building"));
    }
}
