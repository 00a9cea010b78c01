//! The verdicts on the mutants: a line for each in a file, and their sum.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

/// The verdict on a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A test failed.
    Caught,
    /// A test did not end, which is noticed, too.
    Hung,
    /// No test noticed.
    Survived,
    /// It does not compile.
    Unviable,
}

impl Verdict {
    const ALL: [Self; 4] = [Self::Caught, Self::Hung, Self::Survived, Self::Unviable];

    /// One word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Hung => "hung",
            Self::Survived => "survived",
            Self::Unviable => "unviable",
        }
    }
}

/// Adds a verdict to the file.
pub(crate) fn add(file: &Path, verdict: Verdict, name: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    file.write_all(format!("{} {name}\n", verdict.word()).as_bytes())
}

/// The verdicts so far, each mutant's last one.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<String, Verdict>);

impl Tally {
    /// From the file.
    pub(crate) fn read(file: &Path) -> io::Result<Self> {
        if !file.is_file() {
            return Ok(Self::default());
        }
        Ok(Self::parse(&fs::read_to_string(file)?))
    }

    fn parse(text: &str) -> Self {
        let verdict = |line: &str| {
            let (word, name) = line.split_once(' ')?;
            let verdict = Verdict::ALL.into_iter().find(|verdict| verdict.word() == word)?;
            Some((name.to_owned(), verdict))
        };
        Self(text.lines().filter_map(verdict).collect())
    }

    /// Without mutants that were not asked for.
    pub(crate) fn only(mut self, names: &[&str]) -> Self {
        self.0.retain(|name, _| names.contains(&name.as_str()));
        self
    }

    fn count(&self, wanted: Verdict) -> usize {
        self.0.values().filter(|verdict| **verdict == wanted).count()
    }

    /// The percentage of mutants that some test noticed, of those that compile.
    fn percent(&self) -> Option<f64> {
        let noticed = self.count(Verdict::Caught) + self.count(Verdict::Hung);
        let viable = noticed + self.count(Verdict::Survived);
        (viable > 0).then(|| 100.0 * noticed as f64 / viable as f64)
    }

    /// Whether enough were noticed.
    pub(crate) fn is_enough(&self) -> bool {
        self.percent().is_some_and(|percent| percent >= ENOUGH)
    }

    /// All survivors by name, then the sum; `of` is the total number.
    pub(crate) fn tell(&self, of: usize) -> String {
        let Some(percent) = self.percent() else {
            return "no mutant has been judged yet\n".to_owned();
        };
        let survivors = self.0.iter().filter(|(_, verdict)| **verdict == Verdict::Survived);
        let mut text: String = survivors.map(|(name, _)| format!("survived: {name}\n")).collect();
        text.push_str(&format!(
            "{} of {of} judged: {} caught, {} hung, {} survived, {} did not compile: {percent:.1} \
             % noticed (at least {ENOUGH} % wanted)\n",
            self.0.len(),
            self.count(Verdict::Caught),
            self.count(Verdict::Hung),
            self.count(Verdict::Survived),
            self.count(Verdict::Unviable),
        ));
        text
    }
}

/// In percent.
const ENOUGH: f64 = 90.0;

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn survivors_are_named_and_decide() {
        let text: String = (0..8)
            .map(|n| format!("caught {n}\n"))
            .chain((0..5).map(|n| format!("unviable u{n}\n")))
            .collect();
        let tally = Tally::parse(&format!("{text}survived h\nhung h\nsurvived log.rs:1: x"));
        assert!(tally.is_enough());
        assert_eq!(
            tally.tell(20),
            "survived: log.rs:1: x\n15 of 20 judged: 8 caught, 1 hung, 1 survived, 5 did not \
             compile: 90.0 % noticed (at least 90 % wanted)\n"
        );
        assert!(!tally.only(&["0", "1", "log.rs:1: x"]).is_enough());
        assert!(!Tally::default().is_enough(), "nothing judged is not enough");
    }
}
