//! The judge: checks every promise against one history.

use std::collections::BTreeMap;
use std::fmt;

use protocol::id::PeerId;
use protocol::view::Names;

use crate::catalogue::{CATALOGUE, Demand, Promise};
use crate::history::{History, Hole};
use crate::index::Index;
use crate::judged_run::{JudgedRun, Options};
use crate::sheet::{Broken, Sheet};

/// The result of the judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// One finding per promise, in the order of the catalogue.
    pub findings: Vec<Finding>,
    /// Holes in the evidence.
    pub holes: Vec<Hole>,
    /// How many lines were unreadable.
    pub unreadable: usize,
    /// Faults whose effect was not confirmed, by id.
    pub unconfirmed: Vec<String>,
    /// Required promises that had nothing to check, by id.
    pub missing: Vec<String>,
    /// Peers that report no single readings (`log_deliveries` is off): their deliveries cannot be
    /// judged.
    pub omitting: Vec<PeerId>,
}

/// The finding about one promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its id.
    pub promise: &'static str,
    /// The invariants of the protocol that it covers.
    pub invariants: &'static [&'static str],
    /// Its statement.
    pub statement: &'static str,
    /// Whether it is a law or a service level.
    pub demand: Demand,
    /// How many records could have broken it.
    pub looked_at: u64,
    /// How many more records could have broken it and were not judged, by reason.
    pub excused: BTreeMap<&'static str, u64>,
    /// The breaches; at most [`BROKEN_MAX`](crate::BROKEN_MAX) are kept.
    pub broken: Vec<Broken>,
    /// The number of breaches.
    pub times: u64,
}

/// Held, broken or unknown: of one promise, or of all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Checked, and no record broke it.
    Held,
    /// Broken.
    Broken,
    /// There was nothing to check, or evidence is missing.
    Unknown,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Held => "held",
            Self::Broken => "BROKEN",
            Self::Unknown => "unknown",
        })
    }
}

impl Finding {
    /// Its outcome.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match (self.broken.is_empty(), self.looked_at) {
            (false, _) => Outcome::Broken,
            (true, 0) => Outcome::Unknown,
            (true, _) => Outcome::Held,
        }
    }
}

impl Judgement {
    /// The outcome of the whole run.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if self.findings.iter().any(|finding| !finding.broken.is_empty()) {
            Outcome::Broken
        } else if self.doubts().is_empty() {
            Outcome::Held
        } else {
            Outcome::Unknown
        }
    }

    /// The finding about one promise.
    #[must_use]
    pub fn find(&self, promise: &str) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.promise == promise)
    }

    /// The promises that were broken.
    pub fn broken(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| !finding.broken.is_empty())
    }

    /// Why "held" would claim too much, as sentences; empty if it would not.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = vec![];
        for Hole { peer, inc, from, to } in &self.holes {
            doubts.push(format!("events {from} to {to} of {peer}#{inc} are missing"));
        }
        if self.unreadable > 0 {
            doubts.push(format!("{} lines could not be read", self.unreadable));
        }
        if !self.omitting.is_empty() {
            let names = Names(&self.omitting);
            doubts.push(format!(
                "log_deliveries is off at {names}: what was delivered there cannot be judged"
            ));
        }
        for id in &self.unconfirmed {
            doubts.push(format!("fault {id:?} was not seen to have worked"));
        }
        for id in &self.missing {
            doubts.push(format!("{id} is required, and saw nothing"));
        }
        if self
            .findings
            .iter()
            .filter(|finding| finding.demand == Demand::Law)
            .all(|finding| finding.looked_at == 0)
        {
            doubts.push("no law saw anything".to_owned());
        }
        doubts
    }
}

/// Checks every promise against a history.
#[must_use]
pub fn judge(history: &History, options: &Options) -> Judgement {
    let holes = history.holes();
    let index = Index::of(history, &holes, &options.knobs);
    let run = JudgedRun { history, index: &index, options };
    let findings: Vec<Finding> = CATALOGUE.iter().map(|promise| examine(promise, &run)).collect();
    let required = options.required.iter();
    let missing = required.filter(|id| {
        findings.iter().all(|finding| finding.promise != id.as_str() || finding.looked_at == 0)
    });
    Judgement {
        holes,
        unreadable: history.unreadable.len(),
        unconfirmed: index.unconfirmed.iter().map(|id| (*id).to_owned()).collect(),
        missing: missing.cloned().collect(),
        omitting: index.omitting(),
        findings,
    }
}

fn examine(promise: &Promise, run: &JudgedRun<'_>) -> Finding {
    let mut sheet = Sheet::default();
    (promise.check)(run, &mut sheet);
    Finding {
        promise: promise.id,
        invariants: promise.invariants,
        statement: promise.statement,
        demand: promise.demand,
        looked_at: sheet.looked_at,
        excused: sheet.excused,
        broken: sheet.broken,
        times: sheet.times,
    }
}
