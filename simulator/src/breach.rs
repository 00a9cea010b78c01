//! A promise that a run did not keep.

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Its id.
    pub promise: String,
    /// What happened.
    pub words: String,
    /// The records that prove it, one per line.
    pub evidence: Vec<String>,
}

impl Breach {
    /// The promise and the kind of evidence: two breaches of one kind differ only in names and
    /// numbers.
    #[must_use]
    pub fn kind(&self) -> String {
        let named = |word: &str| word.chars().any(|letter| letter.is_ascii_digit());
        let words: Vec<&str> =
            self.words.split([' ', '#', ',']).filter(|word| !named(word)).collect();
        format!("{}: {}", self.promise, words.join(" "))
    }
}
