//! A promise that a run did not keep.

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which.
    pub promise: String,
    /// What happened.
    pub words: String,
    /// The records that show it, one a line.
    pub evidence: Vec<String>,
}

impl Breach {
    /// The promise and the kind of the evidence: two breaches of one kind differ in names and
    /// numbers only.
    #[must_use]
    pub fn kind(&self) -> String {
        let named = |word: &str| word.chars().any(|letter| letter.is_ascii_digit());
        let words: Vec<&str> =
            self.words.split([' ', '#', ',']).filter(|word| !named(word)).collect();
        format!("{}: {}", self.promise, words.join(" "))
    }
}
