//! The results of a check: how many records it examined, what it excused, and each breach.

use std::collections::BTreeMap;

/// One breach of a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// What happened, in a sentence.
    pub words: String,
    /// The records that show it: indexes into the history, oldest first.
    pub evidence: Vec<usize>,
}

/// The results of a check.
#[derive(Default)]
pub(crate) struct Sheet {
    pub(crate) looked_at: u64,
    pub(crate) excused: BTreeMap<&'static str, u64>,
    pub(crate) broken: Vec<Broken>,
    pub(crate) times: u64,
}

impl Sheet {
    /// Counts one more record that could have broken the promise.
    pub(crate) fn look(&mut self) {
        self.looked_at += 1;
    }

    /// Counts one more such record that is not judged.
    pub(crate) fn excuse(&mut self, why: &'static str) {
        *self.excused.entry(why).or_default() += 1;
    }

    /// Counts this many more records that could have broken the promise.
    pub(crate) fn look_at(&mut self, count: usize) {
        self.looked_at += count as u64;
    }

    /// The sentence of each breach.
    #[cfg(test)]
    pub(crate) fn words(&self) -> Vec<String> {
        self.broken.iter().map(|broken| broken.words.clone()).collect()
    }

    /// Adds a breach; its sentence is made only if there is room for it.
    pub(crate) fn breach(&mut self, evidence: &[usize], words: impl FnOnce() -> String) {
        self.looked_at = self.looked_at.max(1);
        self.times += 1;
        if self.broken.len() < BROKEN_MAX {
            let mut evidence = evidence.to_vec();
            evidence.sort_unstable();
            evidence.dedup();
            self.broken.push(Broken { words: words(), evidence });
        }
    }
}

/// The reason for not judging promises of progress in a run.
pub(crate) const NOT_AT_REST: &str = "the run did not end at rest";
/// How many breaches of one promise are kept.
pub const BROKEN_MAX: usize = 8;
