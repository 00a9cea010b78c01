//! What this peer's sinks have been handed, kept and not summarised: the numbers of each life of
//! each peer.
//!
//! A reading may come again in another log, at another position, and then it is not handed over a
//! second time. It may also come for the first time although later numbers of the same life were
//! handed over before: the log that this peer was in until now began above it, or the reading was
//! ordered on the other side of a partition only. A summary such as "everything up to number 500"
//! takes that one for a repeat, and nobody ever misses it. So the record has ranges, and tells
//! three things apart: *fresh* (above everything that was handed over of that life), a *repeat*
//! (handed over, or told to be lost), and *late* (neither, and later numbers were handed over: in
//! the origin's order it has no place any more).
//!
//! An earlier life is another origin, with a record of its own: a restarted peer is a new member,
//! and what it published before its death is handed over whenever it comes.
//!
//! The record is bounded. What had to be forgotten is taken for late, which is told: so at worst a
//! peer says of a reading that it had that it will not be delivered. None comes twice, and none is
//! passed over in silence.

use std::hash::{Hash, Hasher};

use crate::id::{Incarnation, Member, Oseq, PeerId};

/// How a reading stands to what was handed over before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing as late of that life was handed over.
    Fresh,
    /// It was handed over, or told to be lost.
    Repeat,
    /// It was neither, and later ones of that life were handed over.
    Late,
}

/// The numbers that were handed over, of everybody.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handed {
    /// By id.
    rows: Vec<(PeerId, PerPeer)>,
    /// The place of the row that was found last: readings of one origin come in runs.
    last: usize,
    /// No life that began up to then is known to be unknown: whole rows have been forgotten.
    forgotten: Incarnation,
}

/// Of one peer.
#[derive(Clone, Debug, Default, Hash)]
struct PerPeer {
    /// Its lives, oldest first.
    lives: Vec<Life>,
    /// Those up to this one have been forgotten.
    forgotten: Incarnation,
}

/// Of one life: ranges of numbers, lowest first, that neither overlap nor touch.
#[derive(Clone, Debug, Hash)]
struct Life {
    inc: Incarnation,
    ranges: Vec<(Oseq, Oseq)>,
}

impl Handed {
    /// How the reading `first` stands, and the last number up to `last` that stands alike.
    pub(crate) fn standing(&self, origin: &Member, first: Oseq, last: Oseq) -> (Standing, Oseq) {
        let row = self.place(&origin.id).ok().map(|place| &self.rows[place].1);
        let Some(life) =
            row.and_then(|row| row.lives.iter().rev().find(|life| life.inc == origin.inc))
        else {
            let forgotten = self.forgotten.max(row.map_or(Incarnation(0), |row| row.forgotten));
            return (if origin.inc <= forgotten { Standing::Late } else { Standing::Fresh }, last);
        };
        match life.ranges.get(life.ranges.partition_point(|(_, end)| *end < first)) {
            None => (Standing::Fresh, last),
            Some((begin, end)) if *begin <= first => (Standing::Repeat, last.min(*end)),
            Some((begin, _)) => (Standing::Late, last.min(begin.previous())),
        }
    }

    /// How many peers it knows of.
    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Whether all of these were handed over, or told to be lost.
    pub(crate) fn has_all(&self, origin: &Member, first: Oseq, last: Oseq) -> bool {
        self.standing(origin, first, last) == (Standing::Repeat, last)
    }

    /// These have been handed over now, or told to be lost.
    pub(crate) fn add(&mut self, origin: &Member, first: Oseq, last: Oseq) {
        let place = self.place(&origin.id).unwrap_or_else(|place| {
            self.rows.insert(place, (origin.id.clone(), PerPeer::default()));
            place
        });
        self.last = place;
        self.rows[place].1.add(origin.inc, first, last);
    }

    /// Forgets whole rows down to a number of them, those whose last life began first; never one
    /// that is `kept`.
    pub(crate) fn forget(&mut self, most: usize, kept: impl Fn(&PeerId) -> bool) {
        let over = self.rows.len().saturating_sub(most);
        if over == 0 {
            return;
        }
        let newest = |row: &PerPeer| row.lives.last().map_or(row.forgotten, |life| life.inc);
        let mut gone: Vec<(Incarnation, PeerId)> = self
            .rows
            .iter()
            .filter(|(id, _)| !kept(id))
            .map(|(id, row)| (newest(row), id.clone()))
            .collect();
        gone.sort_unstable();
        gone.truncate(over);
        if let Some((inc, _)) = gone.last() {
            self.forgotten = self.forgotten.max(*inc);
        }
        gone.sort_unstable_by(|(_, one), (_, other)| one.cmp(other));
        self.rows.retain(|(id, _)| gone.binary_search_by(|(_, gone)| gone.cmp(id)).is_err());
    }

    /// Where the row of an id is, or would be.
    fn place(&self, id: &PeerId) -> Result<usize, usize> {
        match self.rows.get(self.last) {
            Some((last, _)) if last == id => Ok(self.last),
            Some(_) | None => self.rows.binary_search_by(|(other, _)| other.cmp(id)),
        }
    }
}

impl PerPeer {
    fn add(&mut self, inc: Incarnation, first: Oseq, last: Oseq) {
        if inc <= self.forgotten {
            return;
        }
        let place = self.lives.partition_point(|life| life.inc < inc);
        if self.lives.get(place).is_none_or(|life| life.inc != inc) {
            self.lives.insert(place, Life { inc, ranges: Vec::new() });
        }
        self.lives[place].add(first, last);
        if self.lives.len() > LIVES_MOST {
            self.forgotten = self.lives.remove(0).inc;
        }
    }
}

impl Life {
    fn add(&mut self, first: Oseq, last: Oseq) {
        // Mostly they go on where the last range ends.
        if let Some((_, end)) =
            self.ranges.last_mut().filter(|(begin, end)| *begin <= first && first <= end.next())
        {
            *end = last.max(*end);
            return;
        }
        let from = self.ranges.partition_point(|(_, end)| end.next() < first);
        let to = self.ranges.partition_point(|(begin, _)| *begin <= last.next());
        let joined = self.ranges[from..to]
            .iter()
            .fold((first, last), |(low, high), (begin, end)| (low.min(*begin), high.max(*end)));
        self.ranges.splice(from..to, [joined]);
        if self.ranges.len() > RANGES_MOST {
            // The lowest numbers: they are late from now on, and that is told.
            self.ranges.remove(0);
        }
    }
}

/// Which row was found last is no part of what it says.
impl Hash for Handed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.rows, self.forgotten).hash(state);
    }
}

/// Lives of one peer.
const LIVES_MOST: usize = 8;
/// Ranges of one life. A new one begins where readings were passed over and that was told.
const RANGES_MOST: usize = 16;

#[cfg(test)]
mod tests {
    use super::{Handed, LIVES_MOST, RANGES_MOST, Standing};
    use crate::id::{Incarnation, Member, Oseq, PeerId};
    use Standing::{Fresh, Late, Repeat};

    fn member(name: &str, inc: u64) -> Member {
        Member { id: PeerId::new(name).expect("a valid name"), inc: Incarnation(inc) }
    }

    /// How the numbers from `first` to `last` stand, one after the other.
    #[track_caller]
    fn check(
        handed: &Handed,
        origin: &Member,
        (first, last): (u64, u64),
        stand: &[(Standing, u64)],
    ) {
        let (mut found, mut next) = (Vec::new(), Oseq(first));
        while next <= Oseq(last) {
            let (standing, end) = handed.standing(origin, next, Oseq(last));
            found.push((standing, end.0));
            next = end.next();
        }
        assert_eq!(found, stand, "{origin}, {first} to {last}");
    }

    #[test]
    fn what_was_passed_over_is_no_repeat() {
        let (mut handed, p1) = (Handed::default(), member("p1", 1));
        check(&handed, &p1, (1, 9), &[(Fresh, 9)]);
        handed.add(&p1, Oseq(4), Oseq(5));
        handed.add(&p1, Oseq(6), Oseq(6));
        check(&handed, &p1, (1, 9), &[(Late, 3), (Repeat, 6), (Fresh, 9)]);
        handed.add(&p1, Oseq(9), Oseq(10));
        check(
            &handed,
            &p1,
            (2, 12),
            &[(Late, 3), (Repeat, 6), (Late, 8), (Repeat, 10), (Fresh, 12)],
        );
        assert!(handed.has_all(&p1, Oseq(4), Oseq(6)) && !handed.has_all(&p1, Oseq(4), Oseq(7)));
        handed.add(&p1, Oseq(2), Oseq(8));
        check(&handed, &p1, (1, 12), &[(Late, 1), (Repeat, 10), (Fresh, 12)]);
    }

    #[test]
    fn each_life_is_an_origin_of_its_own() {
        let (mut handed, early, late) = (Handed::default(), member("p1", 1), member("p1", 2));
        handed.add(&late, Oseq(1), Oseq(5));
        check(&handed, &early, (1, 3), &[(Fresh, 3)]);
        handed.add(&early, Oseq(1), Oseq(3));
        handed.add(&member("p2", 1), Oseq(7), Oseq(7));
        check(&handed, &early, (1, 4), &[(Repeat, 3), (Fresh, 4)]);
        check(&handed, &late, (1, 6), &[(Repeat, 5), (Fresh, 6)]);
    }

    #[test]
    fn what_had_to_be_forgotten_is_late() {
        let (mut handed, p1) = (Handed::default(), member("p1", 1));
        for n in 0..=RANGES_MOST as u64 {
            handed.add(&p1, Oseq(10 * n + 1), Oseq(10 * n + 2));
        }
        check(&handed, &p1, (1, 12), &[(Late, 10), (Repeat, 12)]);
        for n in 1..=LIVES_MOST as u64 + 1 {
            handed.add(&member("p2", n), Oseq(1), Oseq(2));
        }
        check(&handed, &member("p2", 1), (1, 3), &[(Late, 3)]);
        check(&handed, &member("p2", 2), (1, 3), &[(Repeat, 2), (Fresh, 3)]);
        handed.add(&member("p2", 1), Oseq(3), Oseq(3));
        check(&handed, &member("p2", 1), (3, 3), &[(Late, 3)]);
    }

    #[test]
    fn whoever_was_forgotten_as_a_whole_gets_nothing_delivered_twice() {
        let mut handed = Handed::default();
        for n in 1..=5 {
            handed.add(&member(&format!("p{n}"), n), Oseq(1), Oseq(2));
        }
        handed.forget(3, |id| id.as_str() == "p1");
        check(&handed, &member("p1", 1), (1, 2), &[(Repeat, 2)]);
        check(&handed, &member("p2", 2), (1, 2), &[(Late, 2)]);
        check(&handed, &member("p3", 3), (1, 2), &[(Late, 2)]);
        check(&handed, &member("p4", 4), (1, 2), &[(Repeat, 2)]);
        check(&handed, &member("p3", 4), (1, 2), &[(Fresh, 2)]);
        handed.forget(3, |_| false);
        check(&handed, &member("p1", 1), (1, 2), &[(Repeat, 2)]);
    }
}
