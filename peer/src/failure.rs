//! Why a command fails: an exit code that scripts can act on, and a sentence.

use std::fmt;

/// Success.
pub const OK: u8 = 0;
/// The group refused this peer.
pub const REFUSED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 64;
/// A file is wrong.
pub const BAD_FILE: u8 = 65;
/// A port is taken, or there is no such peer.
pub const UNAVAILABLE: u8 = 69;
/// A bug.
pub const BUG: u8 = 70;
/// Not at present: the same command may succeed later.
pub const NOT_NOW: u8 = 75;
/// The answer could not be written.
pub const UNSAID: u8 = stdio::UNSAID;

/// An exit code, and a message for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One of the codes of this module.
    pub code: u8,
    /// What is wrong, where, and how to mend it.
    pub text: String,
}

impl Failure {
    /// A failure with this code and text.
    #[must_use]
    pub fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

impl From<stdio::Unsaid> for Failure {
    fn from(unsaid: stdio::Unsaid) -> Self {
        // A reader that has closed the pipe needs no error.
        let text = if unsaid.is_closed() { String::new() } else { unsaid.to_string() };
        Self::new(UNSAID, text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}
