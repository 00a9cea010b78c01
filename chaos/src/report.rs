//! Checks a run folder against the promises: the report for people, the report for programs, and
//! the exit code.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use promises::{
    BEYOND, Beyond, Fault, Finding, GroundTruth, History, Judgement, Options, Outcome, Record,
    judge,
};
use serde::Serialize;

use crate::run_folder::RunFolder;

/// The judgement of a run, with the event lines that prove it.
#[derive(Debug)]
pub struct Report {
    folder: RunFolder,
    history: History,
    judgement: Judgement,
}

impl Report {
    /// Judges a run folder. Progress is judged if the history says that the run came to rest; the
    /// files of the sinks are compared with the events.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn of(folder: &RunFolder, options: Options) -> io::Result<Self> {
        let history = folder.history()?;
        let options = Options {
            settled: options.settled || came_to_rest(&history),
            disks: folder.disks()?,
            ..options
        };
        let judgement = judge(&history, &options);
        Ok(Self { folder: folder.clone(), history, judgement })
    }

    /// The judgement.
    #[must_use]
    pub fn judgement(&self) -> &Judgement {
        &self.judgement
    }

    /// How many lines could not be read, and how many there were.
    #[must_use]
    pub fn unreadable(&self) -> (usize, usize) {
        (self.history.unreadable.len(), self.history.records.len() + self.history.unreadable.len())
    }

    /// The report as one JSON value.
    ///
    /// # Panics
    /// Never: the report holds only text and numbers.
    #[must_use]
    pub fn json(&self) -> String {
        let promises = self.judgement.findings.iter().map(|finding| self.told(finding)).collect();
        let beyond =
            BEYOND.iter().map(|beyond| ToldBeyond { id: beyond.id, why: beyond.why }).collect();
        let told = Told {
            outcome: word(self.judgement.outcome()),
            events: self.history.records.len(),
            doubts: self.judgement.doubts(),
            promises,
            beyond,
        };
        serde_json::to_string_pretty(&told).expect("only text and numbers, written to memory")
    }

    fn told<'a>(&'a self, finding: &'a Finding) -> ToldPromise<'a> {
        let broken = finding.broken.iter().map(|broken| ToldBreach {
            words: &broken.words,
            evidence: self.lines(&broken.evidence),
            replays: self.folder.replays(&self.history, &broken.evidence),
        });
        ToldPromise {
            id: finding.promise,
            invariants: finding.invariants,
            demand: finding.demand.word(),
            outcome: word(finding.outcome()),
            looked_at: finding.looked_at,
            unjudged: &finding.excused,
            times: finding.times,
            broken: broken.collect(),
        }
    }

    fn lines(&self, evidence: &[usize]) -> Vec<String> {
        evidence.iter().filter_map(|at| self.history.records.get(*at)).map(Record::line).collect()
    }
}

/// Whether the run was left alone at its end: after the last quiet window began, no fault was
/// injected except the final stop of all processes.
#[must_use]
pub fn came_to_rest(history: &History) -> bool {
    let mut quiet = None;
    for record in &history.records {
        if let Record::World(event) = record
            && let GroundTruth::Quiet { from, to, .. } = event.what
        {
            quiet = Some((from, to));
        }
    }
    let Some((from, to)) = quiet else { return false };
    !history.records.iter().any(|record| match record {
        Record::World(event) if (from..to).contains(&event.t) => {
            matches!(&event.what, GroundTruth::Fault { fault, .. } if *fault != Fault::Spawn)
        }
        Record::World(_) | Record::Peer(_) => false,
    })
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Held => "held",
        Outcome::Broken => "broken",
        Outcome::Unknown => "unknown",
    }
}

#[derive(Serialize)]
struct Told<'a> {
    outcome: &'static str,
    events: usize,
    doubts: Vec<String>,
    promises: Vec<ToldPromise<'a>>,
    /// Laws that a history cannot show.
    beyond: Vec<ToldBeyond<'a>>,
}

#[derive(Serialize)]
struct ToldBeyond<'a> {
    id: &'a str,
    why: &'a str,
}

#[derive(Serialize)]
struct ToldPromise<'a> {
    id: &'a str,
    invariants: &'a [&'a str],
    /// `law` or `level`.
    demand: &'static str,
    outcome: &'static str,
    looked_at: u64,
    /// How many more events could not be judged, by reason.
    unjudged: &'a BTreeMap<&'static str, u64>,
    times: u64,
    broken: Vec<ToldBreach<'a>>,
}

#[derive(Serialize)]
struct ToldBreach<'a> {
    words: &'a str,
    evidence: Vec<String>,
    replays: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.judgement.findings {
            let outcome = finding.outcome();
            let word = finding.demand.word();
            writeln!(
                f,
                "{outcome:8} {word:5} {:22} {:>8} events  {}",
                finding.promise, finding.looked_at, finding.statement
            )?;
            for (why, count) in &finding.excused {
                writeln!(f, "         {count} more could not be judged: {why}")?;
            }
            for broken in &finding.broken {
                writeln!(f, "         {}", broken.words)?;
                for line in self.lines(&broken.evidence) {
                    writeln!(f, "           {line}")?;
                }
                for command in self.folder.replays(&self.history, &broken.evidence) {
                    writeln!(f, "         step by step: {command}")?;
                }
            }
            let more = finding.times - finding.broken.len() as u64;
            if more > 0 {
                writeln!(f, "         and {more} times more")?;
            }
        }
        for Beyond { id, why, .. } in BEYOND {
            writeln!(
                f,
                "{:8} law   {id:22} only the simulator can judge it: {why}",
                Outcome::Unknown
            )?;
        }
        for torn in &self.history.torn {
            writeln!(
                f,
                "torn     {}, line {}: its writer did not live to finish it",
                torn.file, torn.line
            )?;
        }
        for bad in self.history.unreadable.iter().take(UNREADABLE_SHOWN) {
            writeln!(f, "unread   {bad}")?;
        }
        for doubt in self.judgement.doubts() {
            writeln!(f, "doubt    {doubt}")?;
        }
        let beyond = BEYOND.len();
        for (demand, title) in [("law", "laws"), ("level", "service levels")] {
            let of_it =
                || self.judgement.findings.iter().filter(|finding| finding.demand.word() == demand);
            let count = |outcome| of_it().filter(|finding| finding.outcome() == outcome).count();
            let (held, broken, unknown) =
                (count(Outcome::Held), count(Outcome::Broken), count(Outcome::Unknown));
            write!(
                f,
                "{} {title}: {held} held, {broken} broken, {unknown} unknown; ",
                of_it().count()
            )?;
        }
        write!(
            f,
            "{beyond} more laws that no history shows; over {} events: ",
            self.history.records.len()
        )?;
        f.write_str(match self.judgement.outcome() {
            Outcome::Held => "pass",
            Outcome::Broken => "FAIL",
            Outcome::Unknown => "unknown",
        })
    }
}

const UNREADABLE_SHOWN: usize = 8;
