//! Runs one mutation in the simulator: which promise it breaks first, and at which seed.

use std::path::Path;

use crate::children;
use crate::failure::Failure;
use crate::mutants::woven;
use crate::workshop::Workshop;

/// The result of a sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The first seed that broke one of the expected promises, and which of them.
    pub(crate) caught: Option<(u64, Vec<String>)>,
    /// The first seed that broke any promise, and which.
    pub(crate) first: Option<(u64, Vec<String>)>,
    /// Whether it did not end in time.
    pub(crate) hung: bool,
}

impl Found {
    /// The same, completed by later seeds.
    pub(crate) fn or(self, later: Self) -> Self {
        Self {
            caught: self.caught.or(later.caught),
            first: self.first.or(later.first),
            hung: self.hung || later.hung,
        }
    }
}

/// The simulator of a woven copy.
pub(crate) struct Simulator<'a> {
    pub(crate) workshop: &'a Workshop,
    pub(crate) program: &'a Path,
    /// The number of threads.
    pub(crate) jobs: u32,
}

impl Simulator<'_> {
    /// Runs these seeds with that mutant until one breaks a promise of `by`; any promise, if `by`
    /// is empty.
    pub(crate) fn sweep(
        &self,
        number: usize,
        (from, seeds): (u64, u64),
        by: &[String],
    ) -> Result<Found, Failure> {
        let mut command = woven::mutant(self.workshop, number, self.program, seconds(seeds));
        let [from, count, jobs] = [from, seeds, self.jobs.into()].map(|number| number.to_string());
        command.args(["run", "--from", &from, "--seeds", &count, "--jobs", &jobs, "--until"]);
        command.args((!by.is_empty()).then(|| by.join(",")));
        let (_, lines) =
            children::lines(&mut command).map_err(Failure::io("cannot run the simulator"))?;
        if children::interrupted() {
            return Err(Failure::Interrupted);
        }
        Ok(read(&lines, by))
    }
}

/// Reads the output of the simulator.
fn read(lines: &[String], by: &[String]) -> Found {
    let mut failures: Vec<(u64, Vec<String>)> =
        lines.iter().filter_map(|line| failure(line)).collect();
    failures.sort();
    let is_it = |promise: &String| by.is_empty() || by.contains(promise);
    let caught = failures.iter().find_map(|(seed, broken)| {
        let broken: Vec<String> = broken.iter().filter(|promise| is_it(promise)).cloned().collect();
        (!broken.is_empty()).then_some((*seed, broken))
    });
    let hung = !lines.last().is_some_and(|line| line.ends_with(" seeds run"));
    Found { caught, first: failures.into_iter().next(), hung }
}

/// `seed 7 breaks fifo gap-free`.
fn failure(line: &str) -> Option<(u64, Vec<String>)> {
    let (seed, broken) = line.strip_prefix("seed ")?.split_once(" breaks ")?;
    Some((seed.parse().ok()?, broken.split(' ').map(str::to_owned).collect()))
}

/// Many times what this many seeds of the unchanged core take.
fn seconds(seeds: u64) -> u64 {
    60 + seeds / 10
}

#[cfg(test)]
mod tests {
    use super::{Found, read};

    #[test]
    fn the_first_seed_counts_and_others_are_told() {
        let lines = [
            "seed 9 breaks fifo gap-free",
            "seed 4 breaks converges",
            "seed 5 breaks fifo",
            "12 seeds run",
        ]
        .map(str::to_owned);
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let found = |caught: Option<(u64, &[&str])>, hung| Found {
            caught: caught.map(|(seed, promises)| (seed, names(promises))),
            first: Some((4, names(&["converges"]))),
            hung,
        };
        assert_eq!(read(&lines, &names(&["fifo", "bounded"])), found(Some((5, &["fifo"])), false));
        assert_eq!(read(&lines, &names(&["bounded"])), found(None, false));
        assert_eq!(read(&lines, &[]), found(Some((4, &["converges"])), false));
        assert_eq!(read(&lines[..2], &names(&["gap-free"])), found(Some((9, &["gap-free"])), true));
        assert_eq!(read(&[], &[]), Found { hung: true, ..Found::default() });
    }
}
