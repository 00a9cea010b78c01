//! Reading with bounds: lists and numbers from outside, none larger than it can honestly be.
//!
//! A length is checked before memory is taken for it, and a number before anybody computes with it.
//! So no arithmetic of the core has to fear its top: a number that was read is at most
//! [`NUMBER_MAX`], and nothing that is added to one comes near the other half of what 64 bits hold.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::id::NUMBER_MAX;

/// Members that one list names at most: the largest `members_max`.
pub(crate) const MEMBERS_MOST: usize = 1 << 16;
/// Rows of a lineage at most: one for each entry that is retained, in a log of nothing but
/// elections.
pub(crate) const ROWS_MOST: usize = 1 << 16;
/// Rows of a dedupe table at most: a view's members, and as many who are gone.
pub(crate) const TABLE_MOST: usize = 2 * MEMBERS_MOST;
/// The newest views in a promise.
pub(crate) const VIEWS_MOST: usize = 2;

/// Reads a number of the protocol.
pub(crate) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    checked(u64::deserialize(deserializer)?)
}

/// Reads a number of the protocol, or nothing.
pub(crate) fn number_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    Option::deserialize(deserializer)?.map(checked).transpose()
}

fn checked<E: Error>(number: u64) -> Result<u64, E> {
    if number > NUMBER_MAX {
        Err(E::custom(format_args!("{number}; numbers end at {NUMBER_MAX}")))
    } else {
        Ok(number)
    }
}

/// Reads a list of at most so many.
pub(crate) fn list<'de, D, T, const MOST: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Items<T, const MOST: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Items<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MOST}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let announced = announced::<A::Error>(seq.size_hint(), MOST)?;
            let mut items = Vec::with_capacity(announced.min(AHEAD));
            while let Some(item) = seq.next_element()? {
                if items.len() == MOST {
                    return Err(Error::invalid_length(MOST + 1, &self));
                }
                items.push(item);
            }
            Ok(items)
        }
    }

    deserializer.deserialize_seq(Items::<T, MOST>(PhantomData))
}

/// Reads a map of at most so many.
pub(crate) fn map<'de, D, K, V, const MOST: usize>(
    deserializer: D,
) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    struct Items<K, V, const MOST: usize>(PhantomData<(K, V)>);

    impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>, const MOST: usize> Visitor<'de>
        for Items<K, V, MOST>
    {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a map of at most {MOST}")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BTreeMap<K, V>, A::Error> {
            announced::<A::Error>(map.size_hint(), MOST)?;
            let mut items = BTreeMap::new();
            while let Some((key, value)) = map.next_entry()? {
                if items.len() == MOST {
                    return Err(Error::invalid_length(MOST + 1, &self));
                }
                items.insert(key, value);
            }
            Ok(items)
        }
    }

    deserializer.deserialize_map(Items::<K, V, MOST>(PhantomData))
}

/// The length that a list says it has, if it may.
fn announced<E: Error>(length: Option<usize>, most: usize) -> Result<usize, E> {
    let length = length.unwrap_or(0);
    if length > most {
        Err(E::custom(format_args!("a list of {length}; {most} are allowed")))
    } else {
        Ok(length)
    }
}

/// Items for which memory is taken on the strength of a list's length.
const AHEAD: usize = 64;

#[cfg(test)]
mod tests {
    use super::{list, map, number, number_or_none};
    use crate::id::NUMBER_MAX;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Read {
        #[serde(deserialize_with = "number")]
        number: u64,
        #[serde(deserialize_with = "number_or_none")]
        perhaps: Option<u64>,
        #[serde(deserialize_with = "list::<_, _, 2>")]
        list: Vec<u8>,
        #[serde(deserialize_with = "map::<_, _, _, 2>")]
        map: BTreeMap<u8, u8>,
    }

    #[test]
    fn everything_that_is_read_has_a_top() {
        let read = |number: u64, perhaps: Option<u64>, list: u8, map: u8| {
            let pairs: BTreeMap<u8, u8> = (0..map).map(|n| (n, n)).collect();
            let value = (number, perhaps, (0..list).collect::<Vec<u8>>(), pairs);
            postcard::from_bytes::<Read>(&postcard::to_stdvec(&value).expect("written")).is_ok()
        };
        assert!(read(NUMBER_MAX, Some(NUMBER_MAX), 2, 2) && read(0, None, 0, 0));
        assert!(!read(NUMBER_MAX + 1, None, 0, 0) && !read(0, Some(NUMBER_MAX + 1), 0, 0));
        assert!(!read(0, None, 3, 0) && !read(0, None, 0, 3));
        // A length that nothing stands behind takes no memory.
        assert!(postcard::from_bytes::<Read>(&[0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]).is_err());
    }
}
