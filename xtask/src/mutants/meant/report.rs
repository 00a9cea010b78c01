//! The results of the mutations: a line for each, and the sum.

use std::fmt;

use super::list::{Fate, Meant};
use super::sweep::Found;

/// The results.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    name: String,
    harmless: bool,
    found: Found,
    /// How many seeds were run at most.
    seeds: u64,
}

impl Report {
    /// Adds a result; returns its line.
    pub(crate) fn add(&mut self, meant: &Meant, found: Found, seeds: u64) -> String {
        let harmless = matches!(meant.fate, Fate::Harmless(_));
        let line = Line { name: meant.name.clone(), harmless, found, seeds };
        let told = line.to_string();
        self.lines.push(line);
        told
    }

    /// Whether each harmful one was caught, and each harmless one broke nothing.
    pub(crate) fn is_clean(&self) -> bool {
        self.lines.iter().all(|line| {
            line.harmless == line.found.caught.is_none() && (!line.harmless || !line.found.hung)
        })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, harmless, found, seeds } = self;
        write!(f, "{name}: ")?;
        match (&found.caught, harmless) {
            (None, true) if !found.hung => {
                write!(f, "harmless, and nothing is broken in {seeds} seeds")
            }
            (_, true) => write!(f, "NOT HARMLESS: {found}"),
            (Some((seed, by)), false) => write!(f, "caught by {} at seed {seed}", by.join(" and ")),
            (None, false) => write!(f, "NOT CAUGHT in {seeds} seeds: {found}"),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = if self.hung { ", and does not come to an end" } else { "" };
        match &self.first {
            Some((seed, broken)) => write!(f, "seed {seed} breaks {}{ends}", broken.join(" and ")),
            None => write!(f, "breaks nothing{ends}"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        let harmful: Vec<&Line> = self.lines.iter().filter(|line| !line.harmless).collect();
        let within = |seeds: u64| {
            harmful
                .iter()
                .filter(|line| line.found.caught.as_ref().is_some_and(|(seed, _)| *seed < seeds))
                .count()
        };
        let (soon, all) = (within(SOON), within(u64::MAX));
        let percent = 100.0 * soon as f64 / harmful.len().max(1) as f64;
        writeln!(
            f,
            "{} mutations, {} of them harmless; of the {} harmful ones {soon} were caught by a \
             promise of theirs within {SOON} seeds \
             ({percent:.1} %), {all} in all",
            self.lines.len(),
            self.lines.len() - harmful.len(),
            harmful.len(),
        )
    }
}

/// Each mutation should be caught within this many seeds.
const SOON: u64 = 3_000;

#[cfg(test)]
mod tests {
    use super::{Found, Line, Report};

    fn line(name: &str, harmless: bool, found: Found) -> Line {
        Line { name: name.to_owned(), harmless, found, seeds: 3_000 }
    }

    fn found(caught: Option<u64>) -> Found {
        let broken = |seed| (seed, vec!["fifo".to_owned()]);
        Found { caught: caught.map(broken), first: caught.map(broken), hung: false }
    }

    #[test]
    fn the_table_says_who_caught_what_and_the_sum() {
        let report = Report {
            lines: vec![
                line("a", false, found(Some(7))),
                line("b", false, found(Some(3_000))),
                line(
                    "c",
                    false,
                    Found {
                        first: Some((5, vec!["elects".to_owned(), "recovers".to_owned()])),
                        ..found(None)
                    },
                ),
                line("d", false, Found { hung: true, ..found(None) }),
                line("e", true, found(None)),
                line("f", true, found(Some(2))),
            ],
        };
        assert_eq!(
            report.to_string(),
            "a: caught by fifo at seed 7\n\
             b: caught by fifo at seed 3000\n\
             c: NOT CAUGHT in 3000 seeds: seed 5 breaks elects and recovers\n\
             d: NOT CAUGHT in 3000 seeds: breaks nothing, and does not come to an end\n\
             e: harmless, and nothing is broken in 3000 seeds\n\
             f: NOT HARMLESS: seed 2 breaks fifo\n\
             6 mutations, 2 of them harmless; of the 4 harmful ones 1 were caught by a promise of \
             theirs within 3000 seeds (25.0 %), 2 in all\n"
        );
    }

    #[test]
    fn it_is_clean_when_all_harm_is_caught_and_nothing_else_does_any() {
        let is_clean = |lines: Vec<Line>| Report { lines }.is_clean();
        assert!(is_clean(vec![line("a", false, found(Some(7))), line("b", true, found(None))]));
        assert!(!is_clean(vec![line("a", false, found(None))]));
        assert!(!is_clean(vec![line("a", true, found(Some(7)))]));
        assert!(!is_clean(vec![line("a", true, Found { hung: true, ..found(None) })]));
    }
}
