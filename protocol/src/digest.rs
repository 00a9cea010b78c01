//! What a payload is called in events: 64 bits of FNV-1a, as sixteen hex digits.
//!
//! Events name a payload instead of repeating it, so that whoever judges a run can tell whether two
//! peers were handed the same bytes. Not for secrets: whoever wants two payloads of one digest
//! finds them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::draw::digest;

/// The digest of a payload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// Of this payload.
    #[must_use]
    pub fn of(payload: &[u8]) -> Self {
        Self(digest(payload))
    }

    /// The number.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Digits)
    }
}

/// Reads the digits straight out of the text.
struct Digits;

impl de::Visitor<'_> for Digits {
    type Value = Digest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a digest of up to sixteen hex digits")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
        let number = u64::from_str_radix(text, 16)
            .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))?;
        Ok(Digest(number))
    }
}

#[cfg(test)]
mod tests {
    use super::Digest;

    #[test]
    fn a_digest_survives_the_file() {
        let digest = Digest::of(b"21.5 C");
        let text = serde_json::to_string(&digest).expect("it is a text");
        assert_eq!(text.len(), 18, "{text}");
        assert_eq!(serde_json::from_str::<Digest>(&text).expect("and back"), digest);
        assert_ne!(digest, Digest::of(b""));
        assert!(serde_json::from_str::<Digest>("\"none\"").is_err());
    }
}
