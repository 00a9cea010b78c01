//! What was found of each law: how often it was judged, how often it could not be, and how it was
//! broken.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use protocol::time::Time;

use super::Law;
use crate::breach::Breach;

/// What was found of all laws, in one run or in many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sheet {
    rows: BTreeMap<Law, Count>,
}

/// What was found of one law.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How often it was judged.
    pub judged: u64,
    /// How often it was a near thing: what was allowed would not have been one position, one member
    /// or one reading later.
    pub near: u64,
    /// How often it was broken.
    pub broken: u64,
}

/// What was found in one run, with the words for what was broken.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) sheet: Sheet,
    pub(super) breaches: Vec<Breach>,
}

impl Sheet {
    /// What was found of a law.
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
    /// A law was judged; where it does not hold, `words` say how it was broken.
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

    /// What was just judged was a near thing.
    pub(super) fn near(&mut self, law: Law) {
        self.sheet.rows.entry(law).or_default().near += 1;
    }
}

/// Breaches of one law in one run that are told.
const KEPT: u64 = 4;
