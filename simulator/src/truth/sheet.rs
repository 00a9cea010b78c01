//! The findings about each law: how often it was judged, how often it was nearly broken, and its
//! breaches.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use protocol::time::Time;

use super::Law;
use crate::breach::Breach;

/// The findings about all laws, in one run or in many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sheet {
    rows: BTreeMap<Law, Count>,
}

/// The findings about one law.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How often it was judged.
    pub judged: u64,
    /// How often it was nearly broken: one position, one member or one reading later would have
    /// been a breach.
    pub near: u64,
    /// How often it was broken.
    pub broken: u64,
}

/// The findings of one run, with a sentence for each breach.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) sheet: Sheet,
    pub(super) breaches: Vec<Breach>,
}

impl Sheet {
    /// The findings about a law.
    #[must_use]
    pub fn row(&self, law: Law) -> Count {
        self.rows.get(&law).copied().unwrap_or_default()
    }
}

impl AddAssign<&Self> for Sheet {
    fn add_assign(&mut self, other: &Self) {
        for (law, row) in &other.rows {
            let sum = self.rows.entry(*law).or_default();
            sum.judged += row.judged;
            sum.near += row.near;
            sum.broken += row.broken;
        }
    }
}

impl Notes {
    /// A law was judged; if it does not hold, `words` describe the breach.
    pub(super) fn judge(
        &mut self,
        law: Law,
        now: Time,
        holds: bool,
        words: impl FnOnce() -> String,
    ) {
        let row = self.sheet.rows.entry(law).or_default();
        row.judged += 1;
        if !holds {
            row.broken += 1;
            if row.broken <= KEPT {
                let evidence =
                    vec![format!("at {now}, by what each peer holds and has been handed")];
                self.breaches.push(Breach {
                    promise: law.id().to_owned(),
                    words: words(),
                    evidence,
                });
            }
        }
    }

    /// The last judgement was nearly a breach.
    pub(super) fn near(&mut self, law: Law) {
        self.sheet.rows.entry(law).or_default().near += 1;
    }
}

/// How many breaches of one law are kept per run.
const KEPT: u64 = 4;
