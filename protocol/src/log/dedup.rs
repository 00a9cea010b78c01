//! The table from which repeats are told: for each id, its incarnation and the last of its numbers.
//!
//! It is asked for every single reading, at several places, and readings of one origin come in
//! runs. So it is a sorted list that looks first at the row it found last; a tree of names would be
//! searched, name by name, a million times a second. On the wire it is a map, in the order of the
//! ids.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bounded::{self, TABLE_MOST};
use crate::id::{Incarnation, Oseq, PeerId};

/// What the table says of an id.
pub type Newest = (Incarnation, Oseq);

/// For each id, its incarnation and the last of its numbers.
#[derive(Clone, Default)]
pub struct Dedup {
    rows: Vec<(PeerId, Newest)>,
    /// The place of the row that was found last.
    last: usize,
}

impl Dedup {
    /// Of nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many rows it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What it says of an id.
    #[must_use]
    pub fn get(&self, id: &PeerId) -> Option<Newest> {
        let place = self.place(id).ok()?;
        self.rows.get(place).map(|(_, row)| *row)
    }

    /// Whether it says anything of an id.
    #[must_use]
    pub fn contains(&self, id: &PeerId) -> bool {
        self.place(id).is_ok()
    }

    /// From now on it says this of an id.
    pub fn set(&mut self, id: &PeerId, row: Newest) {
        match self.place(id) {
            Ok(place) => {
                self.last = place;
                self.rows[place].1 = row;
            }
            Err(place) => self.rows.insert(place, (id.clone(), row)),
        }
    }

    /// From now on it says nothing of an id.
    pub fn remove(&mut self, id: &PeerId) {
        if let Ok(place) = self.place(id) {
            self.rows.remove(place);
        }
    }

    /// All rows, by id.
    pub fn iter(&self) -> impl Iterator<Item = &(PeerId, Newest)> {
        self.rows.iter()
    }

    /// Where the row of an id is, or would be.
    fn place(&self, id: &PeerId) -> Result<usize, usize> {
        match self.rows.get(self.last) {
            Some((last, _)) if last == id => Ok(self.last),
            Some(_) | None => self.rows.binary_search_by(|(other, _)| other.cmp(id)),
        }
    }
}

impl<const N: usize> From<[(PeerId, Newest); N]> for Dedup {
    fn from(rows: [(PeerId, Newest); N]) -> Self {
        Self::from(BTreeMap::from(rows))
    }
}

impl From<BTreeMap<PeerId, Newest>> for Dedup {
    fn from(rows: BTreeMap<PeerId, Newest>) -> Self {
        Self { rows: rows.into_iter().collect(), last: 0 }
    }
}

// Which row was found last is no part of what it says.

impl fmt::Debug for Dedup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.rows.iter().map(|(id, row)| (id, row))).finish()
    }
}

impl PartialEq for Dedup {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows
    }
}

impl Eq for Dedup {}

impl Hash for Dedup {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rows.hash(state);
    }
}

impl Serialize for Dedup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.rows.iter().map(|(id, row)| (id, row)))
    }
}

impl<'de> Deserialize<'de> for Dedup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // By way of a map, which puts rows in order whatever order they come in.
        bounded::map::<_, _, _, TABLE_MOST>(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::Dedup;
    use crate::id::{Incarnation, Oseq, PeerId};

    fn id(name: &str) -> PeerId {
        PeerId::new(name).expect("a valid name")
    }

    #[test]
    fn it_says_what_was_set_last_in_whatever_order() {
        let mut table = Dedup::new();
        for (name, number) in [("b", 1), ("a", 2), ("c", 3), ("a", 4), ("a", 5)] {
            table.set(&id(name), (Incarnation(1), Oseq(number)));
        }
        let says = |table: &Dedup| {
            ["a", "b", "c", "d"].map(|name| table.get(&id(name)).map_or(0, |(_, oseq)| oseq.0))
        };
        assert_eq!(says(&table), [5, 1, 3, 0]);
        // The row that was found last goes, and another one comes to its place.
        table.remove(&id("a"));
        assert_eq!(says(&table), [0, 1, 3, 0]);
        table.set(&id("d"), (Incarnation(1), Oseq(6)));
        table.remove(&id("d"));
        assert_eq!((says(&table), table.len(), table.contains(&id("d"))), ([0, 1, 3, 0], 2, false));
        let ids: Vec<&str> = table.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["b", "c"]);
    }
}
