//! The binary part of a frame: values one after the other, in postcard's encoding. Lengths in it
//! are not trusted: serde reserves at most a megabyte ahead, whatever a list says of itself.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::WireError;
use crate::id::{NUMBER_MAX, Oseq};
use crate::log::readings::MARK;

use super::verb::Verb;

/// Appends one value.
pub(super) fn put(value: &impl Serialize, out: &mut Vec<u8>) {
    postcard::to_io(value, out)
        .expect("a Vec takes any bytes, and all our lists know their length");
}

/// Appends an integer, as [`put`] would: seven bits a byte, lowest first. There are several for
/// each reading of a run, and the general way is several times slower.
pub(super) fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// The part of an annex that is still unread.
pub(super) struct Annex<'a> {
    verb: Verb,
    frame: &'a Bytes,
    rest: &'a [u8],
}

impl<'a> Annex<'a> {
    /// `rest` is a part of `frame`.
    pub(super) fn new(verb: Verb, frame: &'a Bytes, rest: &'a [u8]) -> Self {
        Self { verb, frame, rest }
    }

    /// The same, for somebody who looks ahead.
    pub(super) fn rest(&self) -> Self {
        Self { ..*self }
    }

    /// How many bytes are unread.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Reads the next value.
    pub(super) fn take<T: Deserialize<'a>>(&mut self) -> Result<T, WireError> {
        let (value, rest) = postcard::take_from_bytes(self.rest).map_err(|why| match why {
            // Postcard keeps nobody's words.
            postcard::Error::SerdeDeCustom => {
                self.error("a name, a number or a list outside its bounds")
            }
            why => self.error(&why.to_string()),
        })?;
        self.rest = rest;
        Ok(value)
    }

    /// Reads an integer, as [`Self::take`] would.
    pub(super) fn take_number(&mut self) -> Result<u64, WireError> {
        let mut number = 0;
        for (at, &byte) in self.rest.iter().enumerate().take(NUMBER_MOST) {
            let bits = u64::from(byte & 0x7F);
            // Of the tenth byte only one bit has a place.
            if at + 1 == NUMBER_MOST && byte > 1 {
                break;
            }
            number |= bits << (7 * at);
            if byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok(number);
            }
        }
        Err(self.error("an integer that does not end where the largest one would"))
    }

    /// Reads a number of the protocol, as [`Self::take`] would read an own number.
    pub(super) fn take_own_number(&mut self) -> Result<Oseq, WireError> {
        match self.take_number()? {
            number if number <= NUMBER_MAX => Ok(Oseq(number)),
            number => Err(self.error(&format!("{number}; numbers end at {NUMBER_MAX}"))),
        }
    }

    /// Reads an integer of 32 bits.
    pub(super) fn take_small(&mut self) -> Result<u32, WireError> {
        let number = self.take_number()?;
        u32::try_from(number)
            .map_err(|_| self.error(&format!("{number} where no more than {} can stand", u32::MAX)))
    }

    /// The marks of so many readings, shared with the frame.
    pub(super) fn take_marks(&mut self, count: u64) -> Result<Bytes, WireError> {
        let length = usize::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(MARK))
            .filter(|length| *length <= self.left());
        let Some(length) = length else {
            return Err(
                self.error(&format!("the marks of {count} readings in {} bytes", self.left()))
            );
        };
        let (marks, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(self.frame.slice_ref(marks))
    }

    /// There must be nothing left.
    pub(super) fn end(&self) -> Result<(), WireError> {
        match self.left() {
            0 => Ok(()),
            left => Err(self.error(&format!("{left} bytes too many"))),
        }
    }

    pub(super) fn error(&self, why: &str) -> WireError {
        WireError::Annex { verb: self.verb.name(), why: why.to_owned() }
    }
}

/// Bytes of the longest integer.
const NUMBER_MOST: usize = 10;

#[cfg(test)]
mod tests {
    use super::{Annex, put, put_number};
    use crate::wire::frame::verb::Verb;
    use bytes::Bytes;

    #[test]
    fn integers_are_those_of_everything_else() {
        let bounds = (0..64)
            .flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1])
            .chain([u64::MAX]);
        for number in bounds {
            let (mut general, mut quick) = (Vec::new(), Vec::new());
            put(&number, &mut general);
            put_number(number, &mut quick);
            assert_eq!(quick, general, "{number}");
            let quick = Bytes::from(quick);
            let mut annex = Annex::new(Verb::Leave, &quick, &quick);
            assert_eq!((annex.take_number(), annex.left()), (Ok(number), 0));
            let mut annex = Annex::new(Verb::Leave, &quick, &quick);
            assert_eq!(annex.take_small().is_ok(), u32::try_from(number).is_ok());
        }
    }

    #[test]
    fn what_does_not_end_is_no_integer() {
        let past = [[0xFF; 9].as_slice(), &[2]].concat();
        for wrong in [&[][..], &[0x80], &[0xFF; 9], &[0xFF; 11], &past] {
            let wrong = Bytes::copy_from_slice(wrong);
            assert!(Annex::new(Verb::Leave, &wrong, &wrong).take_number().is_err(), "{wrong:?}");
            assert!(
                Annex::new(Verb::Leave, &wrong, &wrong).take::<u64>().is_err(),
                "nor is it elsewhere"
            );
        }
    }
}
