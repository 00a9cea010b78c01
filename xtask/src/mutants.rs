//! `cargo xtask mutants`: would the tests notice if the protocol were another one?
//!
//! `cargo-mutants` changes the state machines of the core in one place at a time and runs what tells a broken protocol
//! without a socket: unit tests, scripts, regression plans, a few hundred seeds, and small exhaustive searches. What is
//! changed, who judges and which mutants nothing can catch is written in `.cargo/mutants.toml`, with reasons. There are some
//! 1,700 mutants of half a minute each, so they come in shards (`--shard 3/40`), and none is part of the CI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::children;
use crate::failure::{Failure, ending};
use crate::workshop::Workshop;

/// Which mutants.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The K-th of N equal parts, K from 0
    #[arg(long, value_name = "K/N", value_parser = shard)]
    shard: Option<Shard>,
    /// Only mutants whose name matches this regular expression
    #[arg(long, value_name = "REGEX")]
    only: Option<String>,
    /// Mutants at a time
    #[arg(long, default_value_t = 1)]
    jobs: u8,
    /// Run nothing; put the results of all shards so far together
    #[arg(long, conflicts_with_all = ["shard", "only"])]
    report: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shard {
    k: u32,
    n: u32,
}

fn shard(text: &str) -> Result<Shard, String> {
    let parts = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((k, n)) if k < n => Ok(Shard { k, n }),
        Some(_) | None => Err("write it K/N, with K from 0 and below N".to_owned()),
    }
}

/// Runs them, or only puts results together.
pub(crate) fn run(workshop: &Workshop, which: &Which) -> Result<ExitCode, Failure> {
    let folder = workshop.root().join("target").join("mutants");
    if !which.report {
        let tool = install(workshop)?;
        let part = match which.shard {
            Some(Shard { k, n }) => format!("{k}-of-{n}"),
            None => "all".to_owned(),
        };
        let output = folder.join(part);
        fs::create_dir_all(&output).map_err(Failure::io(output.display().to_string()))?;
        judge(workshop, &tool, which, &output)?;
    }
    let tally = Tally::read(&folder).map_err(Failure::io(folder.display().to_string()))?;
    print!("{}", tally.tell());
    Ok(if tally.is_enough() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The tool, installed under `target` if it is not there yet.
fn install(workshop: &Workshop) -> Result<PathBuf, Failure> {
    let root = workshop.root().join("target").join("tools");
    let tool = root.join("bin").join("cargo-mutants");
    if !tool.is_file() {
        let mut command = workshop.cargo(["install", "cargo-mutants", "--version", VERSION, "--locked", "--root"]);
        let status = children::run(command.arg(&root)).map_err(Failure::io("cannot run cargo"))?;
        if children::interrupted() {
            return Err(Failure::Interrupted);
        }
        if !status.success() {
            return Err(Failure::Build { what: format!("cargo-mutants {VERSION}") });
        }
    }
    Ok(tool)
}

fn judge(workshop: &Workshop, tool: &Path, which: &Which, output: &Path) -> Result<(), Failure> {
    let mut command = workshop.program(tool);
    command.args(["mutants", "--package", "protocol", "--test-package", JUDGES, "--jobs", &which.jobs.to_string(), "--output"]).arg(output);
    if let Some(Shard { k, n }) = which.shard {
        // Dealt out one by one, so that each part is a sample of everything.
        command.args(["--sharding", "round-robin", "--shard", &format!("{k}/{n}")]);
    }
    if let Some(only) = &which.only {
        command.args(["--re", only]);
    }
    let status = children::run(&mut command).map_err(Failure::io("cannot run cargo-mutants"))?;
    if children::interrupted() {
        return Err(Failure::Interrupted);
    }
    // 2 says that some were missed, 3 that some ran out of time: that is what the report is for.
    match status.code() {
        Some(0 | 2 | 3) => Ok(()),
        _ => Err(Failure::Stage { stage: "mutants", how: ending(status) }),
    }
}

/// What became of the mutants.
#[derive(Debug, Default)]
struct Tally {
    caught: usize,
    timeout: usize,
    unviable: usize,
    missed: Vec<String>,
}

impl Tally {
    /// Of all parts below a folder.
    fn read(folder: &Path) -> std::io::Result<Self> {
        let mut tally = Self::default();
        for part in fs::read_dir(folder)? {
            let results = part?.path().join("mutants.out");
            let lines = |name: &str| -> std::io::Result<Vec<String>> {
                let file = results.join(name);
                if !file.is_file() {
                    return Ok(vec![]);
                }
                Ok(fs::read_to_string(file)?.lines().map(str::to_owned).collect())
            };
            tally.caught += lines("caught.txt")?.len();
            tally.timeout += lines("timeout.txt")?.len();
            tally.unviable += lines("unviable.txt")?.len();
            tally.missed.extend(lines("missed.txt")?);
        }
        tally.missed.sort();
        Ok(tally)
    }

    /// Out of those that compile, those that somebody noticed, in hundredths. One that hangs is noticed.
    fn percent(&self) -> Option<f64> {
        let noticed = self.caught + self.timeout;
        let viable = noticed + self.missed.len();
        (viable > 0).then(|| 100.0 * noticed as f64 / viable as f64)
    }

    fn is_enough(&self) -> bool {
        self.percent().is_some_and(|percent| percent >= ENOUGH)
    }

    fn tell(&self) -> String {
        let Some(percent) = self.percent() else { return "no mutant has been judged yet\n".to_owned() };
        let missed = self.missed.len();
        let mut text: String = self.missed.iter().map(|name| format!("survived: {name}\n")).collect();
        text.push_str(&format!(
            "{} caught, {} ran out of time, {missed} survived, {} did not compile: {percent:.1} % noticed (at least {ENOUGH} % wanted)\n",
            self.caught, self.timeout, self.unviable
        ));
        text
    }
}

const VERSION: &str = "27.1.0";
/// Whose tests are run: those that tell a broken protocol without a socket.
const JUDGES: &str = "protocol,simulator,model";
/// Per cent.
const ENOUGH: f64 = 90.0;

#[cfg(test)]
mod tests {
    use super::{Shard, Tally, shard};

    #[test]
    fn a_shard_is_one_of_so_many() {
        assert_eq!(shard("3/40"), Ok(Shard { k: 3, n: 40 }));
        for wrong in ["40/40", "3", "a/b", "/"] {
            assert!(shard(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn survivors_are_named_and_decide() {
        let tally = Tally { caught: 8, timeout: 1, unviable: 5, missed: vec!["log.rs:1: x".to_owned()] };
        assert!(tally.is_enough());
        let words = tally.tell();
        assert!(words.starts_with("survived: log.rs:1: x\n8 caught, ") && words.contains("90.0 % noticed"), "{words}");
        assert!(!Tally { caught: 7, ..tally }.is_enough());
        assert!(!Tally::default().is_enough(), "nothing judged is not enough");
    }
}
