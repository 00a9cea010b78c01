//! The records of sinks, read as by a reader that has only the file: every position has a record, a
//! jump is reported, and a repeat is distinguishable from a reading.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use protocol::id::{Member, Oseq, PeerId, Seq};
use protocol::io::{Delivery, Output};
use protocol::log_id::LogId;
use protocol::note::Note;
use protocol::time::Time;
use simulator::plan::Plan;
use simulator::run::run;
use simulator::watch::Watch;

/// The readers of all files.
#[derive(Default)]
struct Readers {
    files: BTreeMap<PeerId, File>,
    mistakes: Vec<String>,
    /// How many records of each kind there were.
    seen: BTreeMap<&'static str, u64>,
}

/// The state of one file, from the start of its present life.
#[derive(Default)]
struct File {
    /// The log, and the next position; none at the beginning.
    at: Option<(LogId, Seq)>,
    had: BTreeMap<Member, BTreeSet<Oseq>>,
}

impl File {
    /// Takes a record; returns what is wrong with it.
    fn read(&mut self, delivery: &Delivery) -> Result<&'static str, String> {
        let (first, last) = delivery.range();
        match delivery {
            Delivery::Merged { log, at, .. } => {
                // It says how far both logs agree, and has no position.
                let known = self.at.as_ref().is_none_or(|(own, _)| own == log);
                return if known {
                    Ok("merged")
                } else {
                    Err(format!("a merge of log {log} at #{at}, which is another one"))
                };
            }
            Delivery::Diverged { log, .. } => {
                let next = Some((log.clone(), last.next()));
                if self.at != next {
                    return Err(format!(
                        "#{first} to #{last} of {log} are taken back at {:?}",
                        self.at
                    ));
                }
                // If nothing is left of a log, the log is left.
                self.at = Some((log.clone(), first)).filter(|_| first > Seq(1));
                return Ok("diverged");
            }
            _ => {}
        }
        if let Some((log, next)) = &self.at
            && log == delivery.log()
            && *next != first
        {
            return Err(format!("#{first} of {log} comes where #{next} should"));
        }
        self.at = Some((delivery.log().clone(), last.next()));
        Ok(match delivery {
            Delivery::Run(run) => {
                let had = self.had.entry(run.origin.clone()).or_default();
                if let Some(again) = run.iter().find(|reading| !had.insert(reading.oseq)) {
                    return Err(format!("reading {} of {} comes twice", again.oseq, run.origin));
                }
                "reading"
            }
            Delivery::View(_) => "view",
            Delivery::Gap { .. } => "gap",
            Delivery::Repeat { .. } => "repeat",
            Delivery::Lost { .. } => "lost",
            Delivery::Merged { .. } | Delivery::Diverged { .. } => unreachable!("dealt with above"),
        })
    }
}

impl Watch for Readers {
    fn output(&mut self, now: Time, who: &PeerId, output: &Output) {
        match output {
            // A process that has delivered nothing is a new life.
            Output::Note(Note::Status(status)) if status.delivered == Seq::ZERO => {
                self.files.insert(who.clone(), File::default());
            }
            Output::Deliver(delivery) => {
                match self.files.entry(who.clone()).or_default().read(delivery) {
                    Ok(kind) => *self.seen.entry(kind).or_default() += 1,
                    Err(why) => self.mistakes.push(format!("{now}, {who}: {why}")),
                }
            }
            _ => {}
        }
    }
}

#[test]
fn a_file_of_records_says_everything_that_its_reader_needs() {
    let regressions = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut plans: Vec<(String, Plan)> = vec![];
    for entry in fs::read_dir(regressions).unwrap() {
        let path = entry.unwrap().path();
        plans.push((
            path.display().to_string(),
            toml::from_str(&fs::read_to_string(&path).unwrap()).unwrap(),
        ));
    }
    plans.extend((1..=PLANS).map(|seed| (format!("seed {seed}"), Plan::drawn(seed))));
    let (mut mistakes, mut seen) = (vec![], BTreeSet::new());
    for (name, plan) in &plans {
        let (_, readers) =
            run(plan, Readers::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let readers = readers.expect("the run has ended");
        mistakes.extend(
            readers
                .mistakes
                .first()
                .map(|first| format!("{name}: {first} ({} more)", readers.mistakes.len() - 1)),
        );
        seen.extend(readers.seen.into_keys());
    }
    assert!(
        mistakes.is_empty(),
        "{} of {} plans: {}",
        mistakes.len(),
        plans.len(),
        mistakes.join("\n")
    );
    for kind in ["reading", "view", "gap", "repeat", "lost", "diverged", "merged"] {
        assert!(seen.contains(kind), "no plan shows a record of the kind {kind}");
    }
}

const PLANS: u64 = 150;
