//! The binary part of a frame: values one after the other, in postcard's encoding. Lengths in it are not trusted: serde
//! reserves at most a megabyte ahead, whatever a list says of itself.

use serde::{Deserialize, Serialize};

use crate::error::WireError;

use super::verb::Verb;

/// Appends one value.
pub(super) fn put(value: &impl Serialize, out: &mut Vec<u8>) {
    postcard::to_io(value, out).expect("a Vec takes any bytes, and all our lists know their length");
}

/// The part of an annex that is still unread.
pub(super) struct Annex<'a> {
    verb: Verb,
    rest: &'a [u8],
}

impl<'a> Annex<'a> {
    pub(super) fn new(verb: Verb, rest: &'a [u8]) -> Self {
        Self { verb, rest }
    }

    /// How many bytes are unread.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Reads the next value.
    pub(super) fn take<T: Deserialize<'a>>(&mut self) -> Result<T, WireError> {
        let (value, rest) = postcard::take_from_bytes(self.rest).map_err(|why| self.error(&why.to_string()))?;
        self.rest = rest;
        Ok(value)
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
