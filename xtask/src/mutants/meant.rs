//! `cargo xtask mutants --meant`: would a *law* notice a change of the protocol's meaning?
//!
//! `cargo-mutants` changes text, and a test that compares texts notices: a script, an answer, a
//! transcript. Whether a user loses something is another question. So this is a list of changes of
//! *meaning* (`xtask/meant`), one for each thing that the protocol must not do: call an unstable
//! entry stable, count a vote that was not given, deliver a reading twice. Each says in a sentence
//! what a user loses, and which promise or law has to catch it; the simulator runs it, and only
//! those promises count. All are woven into one copy of the core, so that it is built once
//! (`weave.rs`); the product contains none of them.

mod list;
mod place;
mod report;
mod sweep;

use std::fs;
use std::process::ExitCode;

use clap::Args;

use super::woven::Woven;
use crate::failure::Failure;
use crate::workshop::{Programs, Workshop};

use list::{Fate, Meant};
use report::Report;
use sweep::{Found, Simulator};

/// The mutations to run, and how many seeds.
#[derive(Debug, Args)]
pub(crate) struct Extent {
    /// So many seeds for each
    #[arg(long, value_name = "N", default_value_t = 3_000, requires = "meant")]
    seeds: u64,
    /// For those that are not caught then, up to 100,000
    #[arg(long, requires = "meant")]
    deep: bool,
    /// Only so many of those that are known to be caught soon, and up to 400 seeds for each
    #[arg(long, value_name = "COUNT", requires = "meant", conflicts_with_all = ["seeds", "deep", "only"])]
    sample: Option<usize>,
    /// On how many threads
    #[arg(long, value_name = "J", default_value_t = 2, requires = "meant")]
    jobs: u32,
}

impl Extent {
    /// A sample of mutations that are known to be caught soon.
    pub(crate) fn sample(count: usize) -> Self {
        Self { seeds: SAMPLED, deep: false, sample: Some(count), jobs: 2 }
    }
}

/// Runs those whose names contain one of these words, separated by `|`; all without words.
pub(crate) fn run(
    workshop: &Workshop,
    extent: &Extent,
    only: Option<&str>,
) -> Result<ExitCode, Failure> {
    let all = list::read(workshop.root()).map_err(moved_on)?;
    let is_chosen = |meant: &&Meant| {
        only.is_none_or(|only| only.split('|').any(|word| meant.name.contains(word)))
    };
    let chosen: Vec<&Meant> = match extent.sample {
        Some(count) => sample(&all, count),
        None => all.iter().filter(is_chosen).collect(),
    };
    if chosen.is_empty() {
        return Err(Failure::Usage("no mutation of xtask/meant has such a name".to_owned()));
    }
    let seeds = if extent.sample.is_some() { SAMPLED } else { extent.seeds };
    let programs = build(workshop, &chosen, extent.sample.is_some())?;
    let simulator = Simulator { workshop, program: programs.path("simulator")?, jobs: extent.jobs };
    // In a sample, other stages do that.
    let as_it_is = if extent.sample.is_some() {
        Found::default()
    } else {
        simulator.sweep(0, (0, seeds), &[])?
    };
    if as_it_is != Found::default() {
        let how =
            format!("the core as it is does not keep its promises over {seeds} seeds: {as_it_is}");
        return Err(Failure::Stage { stage: "mutants", how });
    }
    let (mut report, count) = (Report::default(), chosen.len());
    for (place, meant) in chosen.into_iter().enumerate() {
        let (by, least) = match &meant.fate {
            Fate::Caught { by, seeds } => {
                (&by[..], seeds.filter(|_| extent.sample.is_none()).unwrap_or(0))
            }
            Fate::Harmless(_) => (&[][..], 0),
        };
        let most = seeds.max(least);
        let mut found = simulator.sweep(place + 1, (0, most), by)?;
        let mut run = most;
        if extent.deep && found.caught.is_none() && !found.hung && run < DEEP {
            found = found.or(simulator.sweep(place + 1, (run, DEEP - run), by)?);
            run = DEEP;
        }
        eprintln!("{}/{count} {}", place + 1, report.add(meant, found, run));
    }
    print!("{report}");
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Weaves them into a copy and builds its simulator.
fn build(workshop: &Workshop, chosen: &[&Meant], is_sample: bool) -> Result<Programs, Failure> {
    let mutants =
        chosen.iter().enumerate().map(|(place, meant)| meant.mutants(workshop.root(), place + 1));
    let mutants = mutants.collect::<Result<Vec<_>, String>>().map_err(moved_on)?.concat();
    let folder = workshop.root().join("target").join("meant");
    fs::create_dir_all(&folder).map_err(Failure::io(folder.display().to_string()))?;
    let mut woven = Woven::new(workshop, &mutants, folder.join("copy"), &MEMBERS)?;
    let mut build = woven.cargo(&[
        "build",
        "--bins",
        "--quiet",
        "--message-format=json-render-diagnostics",
        "--package",
        "simulator",
    ]);
    // So many seeds need an optimised build; a few seeds are done before such a build is.
    build.args(if is_sample {
        ["--profile", "demo", "--config", "profile.demo.debug=false"]
    } else {
        ["--profile", "release", "--config", "profile.release.debug=false"]
    });
    let built = Programs::built_by(&mut build, "the core with all mutations in it".to_owned());
    if matches!(built, Err(Failure::Build { .. })) {
        // The cause is another question.
        woven.leave_out_what_does_not_compile(&mutants)?;
        if !woven.unviable().is_empty() {
            woven.complaints().iter().for_each(|words| eprintln!("{words}"));
            let names: Vec<&str> =
                woven.unviable().iter().map(|number| chosen[number - 1].name.as_str()).collect();
            return Err(moved_on(format!(
                "what it puts in the place does not compile: {}",
                names.join(", ")
            )));
        }
    }
    built
}

/// Some that are known to be caught soon, from all over the list.
fn sample(all: &[Meant], count: usize) -> Vec<&Meant> {
    let soon = |meant: &&Meant| matches!(meant.fate, Fate::Caught { seeds: Some(seeds), .. } if seeds <= SAMPLED / 2);
    let soon: Vec<&Meant> = all.iter().filter(soon).collect();
    let count = count.min(soon.len());
    (0..count).map(|nth| soon[nth * soon.len() / count]).collect()
}

fn moved_on(words: String) -> Failure {
    Failure::Usage(format!(
        "{words}\nmend the list in xtask/meant (how is said in docs/MUTATIONS.md)"
    ))
}

/// The members of the copy.
const MEMBERS: [&str; 3] = ["protocol", "promises", "simulator"];
/// The seeds for each mutation of a sample.
const SAMPLED: u64 = 400;
/// The seeds for mutations that are not caught soon.
const DEEP: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::{SAMPLED, list, sample};
    use crate::mutants::meant::list::Fate;
    use std::path::Path;

    #[test]
    fn a_sample_is_always_the_same_and_is_known_to_be_caught_soon() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let all = list::read(root).unwrap();
        let six = sample(&all, 6);
        let mut names: Vec<&str> = six.iter().map(|meant| meant.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 6);
        for meant in &six {
            assert!(
                matches!(meant.fate, Fate::Caught { seeds: Some(seeds), .. } if seeds <= SAMPLED / 2),
                "{}",
                meant.name
            );
        }
        assert_eq!(six, sample(&all, 6));
        assert!(sample(&all, usize::MAX).len() <= all.len());
    }
}
