//! `cargo xtask mutants`: would the tests notice a change of the protocol?
//!
//! `cargo-mutants` lists possible changes in the state machines of the core: one operator, one
//! condition, one function that does nothing. It would build each of these mutants separately,
//! which takes a quarter of a minute each time and half a day in total. So they are built together
//! (`weave.rs`), and each costs only the tests that judge it: units, scripts, regression plans, a
//! few hundred seeds and small exhaustive searches, none of which needs a socket.
//! `.cargo/mutants.toml` says what may be changed, and which mutants no test can catch, with
//! reasons. None of this is part of the CI.

mod judges;
mod meant;
mod mutant;
mod tally;
mod weave;
mod woven;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::children;
use crate::failure::{Failure, ending};
use crate::workshop::Workshop;

use judges::Judges;
use mutant::Mutant;
use tally::Tally;

/// The mutants to judge.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The K-th of N equal parts, K from 0
    #[arg(long, value_name = "K/N", value_parser = shard)]
    shard: Option<Shard>,
    /// Only mutants whose name matches this regular expression
    #[arg(long, value_name = "REGEX")]
    only: Option<String>,
    /// Run nothing; put the results of all parts so far together
    #[arg(long, conflicts_with_all = ["shard", "only"])]
    report: bool,
    /// Instead, changes of meaning, each of which a promise has to catch by name; `--only WORD` or
    /// `--only 'WORD|WORD'` for some
    #[arg(long, conflicts_with_all = ["shard", "report"])]
    meant: bool,
    #[command(flatten)]
    extent: meant::Extent,
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

/// Judges a sample of the changes of meaning, as a stage of the tests.
pub(crate) fn sampled(workshop: &Workshop, count: usize) -> Result<(), Failure> {
    if meant::run(workshop, &meant::Extent::sample(count), None)? == ExitCode::SUCCESS {
        return Ok(());
    }
    Err(Failure::Stage {
        stage: "mutants",
        how: "the judge does not catch what it has to; see the lines above".to_owned(),
    })
}

/// Judges mutants, or only combines results.
pub(crate) fn run(workshop: &Workshop, which: &Which) -> Result<ExitCode, Failure> {
    if which.meant {
        return meant::run(workshop, &which.extent, which.only.as_deref());
    }
    let folder = workshop.root().join("target").join("mutants");
    let results = folder.join("results.txt");
    let io = || Failure::io(results.display().to_string());
    let tool = install(workshop)?;
    let mutants = list(workshop, &tool, which)?;
    if !which.report {
        fs::create_dir_all(&folder).map_err(Failure::io(folder.display().to_string()))?;
        if which.shard.is_none() && which.only.is_none() && results.exists() {
            // All of them: results of an older core must not count.
            fs::remove_file(&results).map_err(io())?;
        }
        let judges = Judges::new(workshop, &mutants, &folder)?;
        let mut dealt: Vec<&Mutant> = mutants.iter().collect();
        // A run that is stopped early has judged a sample of everything.
        dealt.sort_by_key(|mutant| (mutant.number as u64).wrapping_mul(GOLDEN));
        for (index, mutant) in dealt.into_iter().enumerate() {
            let verdict = judges.judge(mutant.number)?;
            eprintln!("{}/{} {}: {}", index + 1, mutants.len(), verdict.word(), mutant.name);
            tally::add(&results, verdict, &mutant.name).map_err(io())?;
        }
    }
    let names: Vec<&str> = mutants.iter().map(|mutant| mutant.name.as_str()).collect();
    let tally = Tally::read(&results).map_err(io())?.only(&names);
    print!("{}", tally.tell(names.len()));
    Ok(if tally.is_enough() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The tool, installed under `target` if it is not there yet.
fn install(workshop: &Workshop) -> Result<PathBuf, Failure> {
    let root = workshop.root().join("target").join("tools");
    let tool = root.join("bin").join("cargo-mutants");
    if !tool.is_file() {
        let mut command = workshop.cargo([
            "install",
            "cargo-mutants",
            "--version",
            VERSION,
            "--locked",
            "--root",
        ]);
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

/// All possible mutants.
fn list(workshop: &Workshop, tool: &Path, which: &Which) -> Result<Vec<Mutant>, Failure> {
    let mut command = workshop.program(tool);
    command.args(["mutants", "--list", "--json", "--package", "protocol"]);
    if let Some(Shard { k, n }) = which.shard {
        // Dealt out one by one, so that each part is a sample of everything.
        command.args(["--sharding", "round-robin", "--shard", &format!("{k}/{n}")]);
    }
    if let Some(only) = &which.only {
        command.args(["--re", only]);
    }
    let (status, lines) =
        children::lines(&mut command).map_err(Failure::io("cannot run cargo-mutants"))?;
    if children::interrupted() {
        return Err(Failure::Interrupted);
    }
    if !status.success() {
        return Err(Failure::Stage { stage: "mutants", how: ending(status) });
    }
    mutant::read(&lines.join("\n")).map_err(|words| Failure::Stage { stage: "mutants", how: words })
}

const VERSION: &str = "27.1.0";
/// The golden ratio of 64 bits: its multiples are spread as evenly as possible.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use super::{Shard, shard};

    #[test]
    fn a_shard_is_one_of_so_many() {
        assert_eq!(shard("3/40"), Ok(Shard { k: 3, n: 40 }));
        for wrong in ["40/40", "3", "a/b", "/"] {
            assert!(shard(wrong).is_err(), "{wrong}");
        }
    }
}
