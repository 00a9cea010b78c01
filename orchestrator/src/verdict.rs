//! The verdict on a run: pass, fail or unknown, and its reasons. `verdict.json` is this value.

use std::time::Duration;

use chaos::RunFolder;
use promises::exit;
use promises::history::History;
use promises::judge::{Judgement, Outcome as Kept};
use serde::Serialize;

use crate::engine::Halt;
use crate::expect::{Outcome as Fulfilled, title};
use crate::scenario::diagnostic::{Source, Span};
use crate::scenario::{Cell, Scenario};

/// The outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every expectation was met, no promise was broken, and the evidence is complete.
    Pass,
    /// The evidence does not suffice for a verdict.
    Unknown,
    /// An expectation was missed, or a promise was broken.
    Fail,
    /// The user stopped the run.
    Interrupted,
}

impl Outcome {
    /// The exit code of the command.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Pass => exit::PASS,
            Self::Fail => exit::FAIL,
            Self::Unknown => exit::UNKNOWN,
            Self::Interrupted => exit::INTERRUPTED,
        }
    }

    /// Its name in `verdict.json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
            Self::Interrupted => "interrupted",
        }
    }
}

/// The cause of a run that did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The product.
    Product,
    /// The test bench.
    Harness,
    /// The machine was too slow for a verdict.
    Machine,
}

/// One failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What was demanded: an expectation, a promise, a step.
    pub title: String,
    /// What happened.
    pub words: String,
    /// The line in the scenario, if the demand is there.
    pub line: Option<usize>,
    /// The column.
    pub column: Option<usize>,
    /// Lines of events or logs that prove it.
    pub evidence: Vec<String>,
    /// The commands that replay, step by step, the peers behind the evidence.
    pub replays: Vec<String>,
}

/// One expectation and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fulfilment {
    /// What was expected.
    pub title: String,
    /// Its line in the scenario.
    pub line: usize,
    /// Whether it was met.
    pub met: bool,
}

/// One promise and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PromiseKept {
    /// Its id.
    pub id: &'static str,
    /// `law` or `level`.
    pub demand: &'static str,
    /// `held`, `broken` or `unknown`.
    pub outcome: &'static str,
    /// How many events could have broken it.
    pub looked_at: u64,
}

/// The verdict on a run.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The outcome.
    pub outcome: Outcome,
    /// The cause, if it did not pass.
    pub class: Option<Class>,
    /// The scenario.
    pub scenario: String,
    /// The cell of its `[matrix]`.
    pub matrix: Cell,
    /// Its file.
    pub file: String,
    /// The run's seed.
    pub seed: u64,
    /// The world it ran in.
    pub world: &'static str,
    /// The profile it ran with.
    pub timing: &'static str,
    /// The build that ran.
    pub build: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What went wrong.
    pub failures: Vec<Failure>,
    /// Why "pass" would claim too much.
    pub doubts: Vec<String>,
    /// Broken promises that do not count here, with the reason.
    pub excused: Vec<String>,
    /// Every expectation.
    pub expectations: Vec<Fulfilment>,
    /// Every promise.
    pub promises: Vec<PromiseKept>,
    /// The longest delay of the orchestrator's own loop, in milliseconds.
    pub worst_lag_ms: u64,
    /// The folder of the run.
    pub folder: String,
    /// The command that repeats the run.
    pub replay: String,
}

/// The name of a run: its scenario and the cell of the matrix.
#[must_use]
pub fn case_name(scenario: &str, cell: &Cell) -> String {
    cell.iter().fold(scenario.to_owned(), |title, (name, value)| format!("{title} {name}={value}"))
}

/// The findings that a verdict is made of.
#[derive(Debug)]
pub struct Findings<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// Its text.
    pub source: &'a Source,
    /// Why the run stopped early, if it did.
    pub halt: Option<&'a Halt>,
    /// The outcomes of the expectations, in the order of the file.
    pub fulfilled: &'a [Fulfilled],
    /// The folder of the run.
    pub folder: &'a RunFolder,
    /// The history that the evidence of promises refers to.
    pub history: &'a History,
    /// The judgement.
    pub judgement: &'a Judgement,
    /// Processes that had to be killed at the end.
    pub stubborn: &'a [String],
    /// Processes that outlived the run.
    pub leaked: &'a [String],
    /// The longest delay of the orchestrator's own loop.
    pub worst_lag: Duration,
}

/// The reasons of a verdict.
#[derive(Debug)]
pub struct Reasoning {
    /// The outcome.
    pub outcome: Outcome,
    /// The cause.
    pub class: Option<Class>,
    /// The failures.
    pub failures: Vec<Failure>,
    /// Why "pass" would claim too much.
    pub doubts: Vec<String>,
    /// Broken promises that do not count here.
    pub excused: Vec<String>,
}

impl Findings<'_> {
    /// Weighs the findings: failures first, then doubts.
    #[must_use]
    pub fn weigh(&self) -> Reasoning {
        let mut failures = Vec::new();
        let mut doubts = Vec::new();
        let mut class = Class::Product;
        match self.halt {
            Some(Halt::Interrupted) | None => {}
            Some(Halt::World(error)) => {
                class = Class::Harness;
                doubts.push(error.to_string());
            }
            Some(halt @ Halt::Step { span, .. }) => {
                failures.push(self.failure("step", halt.to_string(), Some(span), vec![]))
            }
            Some(halt @ Halt::Unrest { .. }) => {
                failures.push(self.failure("rest", halt.to_string(), None, vec![]))
            }
            Some(halt @ Halt::Timeout { .. }) => {
                failures.push(self.failure("timeout", halt.to_string(), None, vec![]))
            }
        }
        for (expectation, fulfilled) in self.scenario.expectations.iter().zip(self.fulfilled) {
            if let Fulfilled::Missed { words, evidence } = fulfilled {
                failures.push(self.failure(
                    &title(&expectation.what),
                    words.clone(),
                    Some(&expectation.span),
                    evidence.clone(),
                ));
            }
        }
        let (broken, excused) = self.broken_promises();
        failures.extend(broken);
        for name in self.stubborn {
            failures.push(self.failure(
                "stop",
                format!("{name} did not leave when it was asked to, and had to be killed"),
                None,
                vec![],
            ));
        }
        for name in self.leaked {
            failures.push(self.failure(
                "leak",
                format!("{name} outlived the run, and was killed"),
                None,
                vec![],
            ));
        }
        doubts.extend(self.judgement.doubts());
        let outcome = match (self.halt, failures.is_empty(), doubts.is_empty()) {
            (Some(Halt::Interrupted), ..) => Outcome::Interrupted,
            (_, false, _) => Outcome::Fail,
            (_, true, false) => Outcome::Unknown,
            (_, true, true) => Outcome::Pass,
        };
        // On a machine that stalled for half a time-out, peers suspect each other with good reason.
        if class == Class::Product
            && self.worst_lag > self.scenario.cluster.knobs.heartbeat_timeout / 2
        {
            class = Class::Machine;
        }
        let class = matches!(outcome, Outcome::Fail | Outcome::Unknown).then_some(class);
        Reasoning { outcome, class, failures, doubts, excused }
    }

    /// All breaches of promises that count, and those that do not count here.
    fn broken_promises(&self) -> (Vec<Failure>, Vec<String>) {
        let (mut failures, mut excused) = (Vec::new(), Vec::new());
        for finding in self.judgement.broken() {
            if let Some(because) = self.scenario.excused.get(finding.promise) {
                excused.push(format!(
                    "{} was broken {} times; excused: {because}",
                    finding.promise, finding.times
                ));
                continue;
            }
            for broken in &finding.broken {
                let evidence = broken
                    .evidence
                    .iter()
                    .filter_map(|at| self.history.records.get(*at))
                    .map(promises::history::Record::line)
                    .collect();
                // Not every promise has a number in the design of the protocol.
                let numbers = if finding.invariants.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", finding.invariants.join(", "))
                };
                let title = format!("{}{numbers}: {}", finding.promise, finding.statement);
                let replays = self.folder.replays(self.history, &broken.evidence);
                failures.push(Failure {
                    replays,
                    ..self.failure(&title, broken.words.clone(), None, evidence)
                });
            }
        }
        (failures, excused)
    }

    fn failure(
        &self,
        title: &str,
        words: String,
        span: Option<&Span>,
        evidence: Vec<String>,
    ) -> Failure {
        let place = span.map(|span| self.source.locate(span.start));
        let (line, column) =
            place.map_or((None, None), |place| (Some(place.line), Some(place.column)));
        Failure { title: title.to_owned(), words, line, column, evidence, replays: vec![] }
    }

    /// Every expectation and whether it was met.
    #[must_use]
    pub fn expectations(&self) -> Vec<Fulfilment> {
        let told =
            |(expectation, fulfilled): (&crate::scenario::Expectation, &Fulfilled)| Fulfilment {
                title: title(&expectation.what),
                line: self.source.locate(expectation.span.start).line,
                met: *fulfilled == Fulfilled::Met,
            };
        self.scenario.expectations.iter().zip(self.fulfilled).map(told).collect()
    }

    /// Every promise and its outcome.
    #[must_use]
    pub fn promises(&self) -> Vec<PromiseKept> {
        let told = |finding: &promises::judge::Finding| PromiseKept {
            id: finding.promise,
            demand: finding.demand.word(),
            outcome: match finding.outcome() {
                Kept::Held => "held",
                Kept::Broken => "broken",
                Kept::Unknown => "unknown",
            },
            looked_at: finding.looked_at,
        };
        self.judgement.findings.iter().map(told).collect()
    }
}
