//! How often each promise was judged over many runs, how often it was not judged and why, and how
//! often it was broken. A promise that excuses most events is worthless.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

use promises::catalogue::{BUDGET_RUNS, CATALOGUE, Demand, find};
use promises::judge::Judgement;

/// The counts of all promises.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    rows: BTreeMap<&'static str, PerPromise>,
}

/// The counts of one promise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PerPromise {
    judged: u64,
    broken: u64,
    /// How many runs broke it.
    broken_runs: u64,
    excused: BTreeMap<&'static str, u64>,
}

impl Kept {
    /// The counts of one run.
    #[must_use]
    pub fn of(judgement: &Judgement) -> Self {
        let row = |finding: &promises::judge::Finding| {
            (
                finding.promise,
                PerPromise {
                    judged: finding.looked_at,
                    broken: finding.times,
                    broken_runs: u64::from(finding.times > 0),
                    excused: finding.excused.clone(),
                },
            )
        };
        Self { rows: judgement.findings.iter().map(row).collect() }
    }

    /// Whether that promise may be broken by as many runs as here. Missed progress that the
    /// simulator itself notices is no finding of the judge, so it is in no budget.
    #[must_use]
    pub fn is_within_budget(&self, promise: &str, runs: u64) -> bool {
        let broken = self.rows.get(promise).map_or(u64::MAX, |row| row.broken_runs);
        find(promise).is_some_and(|promise| broken > 0 && broken <= promise.demand.allows(runs))
    }

    /// The promises that a large sweep should have judged and has not.
    #[must_use]
    pub fn unjudged(&self) -> Vec<String> {
        let unjudged = |id: &&str| {
            !ELSEWHERE.contains(id) && self.rows.get(*id).is_none_or(|row| row.judged == 0)
        };
        CATALOGUE
            .iter()
            .map(|promise| promise.id)
            .filter(unjudged)
            .map(|id| format!("anything that could break {id}"))
            .collect()
    }
}

impl AddAssign<&Self> for Kept {
    fn add_assign(&mut self, other: &Self) {
        for (id, row) in &other.rows {
            let sum = self.rows.entry(id).or_default();
            sum.judged += row.judged;
            sum.broken += row.broken;
            sum.broken_runs += row.broken_runs;
            for (why, count) in &row.excused {
                *sum.excused.entry(why).or_default() += count;
            }
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, promise) in CATALOGUE.iter().enumerate() {
            let PerPromise { judged, broken, broken_runs, excused } =
                self.rows.get(promise.id).cloned().unwrap_or_default();
            let end = if at == 0 { "" } else { "\n" };
            write!(
                f,
                "{end}{:<5} {:<21} judged {judged:>10}, not judged {:>8}, broken {broken:>5}",
                promise.demand.word(),
                promise.id,
                excused.values().sum::<u64>()
            )?;
            if let Demand::Level { broken_max } = promise.demand {
                write!(f, " in {broken_runs} runs (budget {broken_max} in {BUDGET_RUNS})")?;
            }
            for (nth, (why, count)) in excused.iter().enumerate() {
                write!(f, "{}{count} because {why}", if nth == 0 { ": " } else { ", " })?;
            }
        }
        Ok(())
    }
}

/// Promises about the files of processes, which simulated peers do not write.
const ELSEWHERE: [&str; 1] = ["disk-matches"];
