//! All tests, as stages: cheap and precise ones first.

use std::process::ExitCode;

use clap::Args;

use crate::dist;
use crate::failure::Failure;
use crate::mutants;
use crate::stage::Stages;
use crate::workshop::{Profile, Workshop};

/// How much to run.
#[derive(Debug, Args)]
pub(crate) struct Extent {
    /// How many seeds the simulator runs
    #[arg(long, default_value_t = 20_000)]
    seeds: u64,
}

/// Runs all tests.
pub(crate) fn run(workshop: &Workshop, extent: &Extent) -> Result<ExitCode, Failure> {
    let mut stages = Stages::default();
    add_stages(workshop, extent, &mut stages)?;
    Ok(stages.finish())
}

/// The same, as part of a longer job.
pub(crate) fn add_stages(
    workshop: &Workshop,
    extent: &Extent,
    stages: &mut Stages,
) -> Result<(), Failure> {
    // First, because tests of one crate start the programs of another.
    let programs = stages.stage("build", || {
        workshop.build(Profile::Dev, &["peer", "orchestrator", "chaos", "bench"])
    })?;
    // This many seeds need an optimised build.
    let fast =
        stages.stage("build for seeds", || workshop.build(Profile::Release, &["simulator"]))?;
    stages.command(
        "unit tests, scripts, docs",
        &mut workshop.cargo(["test", "--locked", "--workspace", "--quiet"]),
    )?;
    stages.stage("products", || dist::check(workshop, &programs))?;
    let seeds = extent.seeds.to_string();
    stages.command(
        "seeds",
        workshop.program(fast.path("simulator")?).args(["run", "--seeds", &seeds]),
    )?;
    let liars = (extent.seeds / LIARS).max(1).to_string();
    stages.command(
        "seeds with a liar",
        workshop.program(fast.path("simulator")?).args(["run", "--liar", "--seeds", &liars]),
    )?;
    stages.stage("mutations by meaning, a sample", || mutants::sampled(workshop, MUTATIONS))?;
    stages.command(
        "scenarios",
        workshop.program(programs.path("orchestrator")?).args([
            "run",
            "scenarios",
            "--skip-tag",
            "endless",
            "--skip-tag",
            "nightly",
        ]),
    )?;
    // Checks that they work, and that all peers delivered the same; the numbers measured here mean
    // nothing.
    for bench in BENCHES {
        stages.command(
            bench,
            workshop.program(programs.path("bench")?).args(bench.split(' ').skip(1)),
        )?;
    }
    Ok(())
}

/// One more seed with a liar for this many seeds; it takes as long as several others.
const LIARS: u64 = 50;
/// The mutations of the sample, which shows that the judge still works; all of them take an hour.
const MUTATIONS: usize = 12;
/// The short forms of all benches, each as a stage.
const BENCHES: [&str; 8] = [
    "bench throughput --short",
    "bench latency --short",
    "bench restart --short",
    "bench scale --short",
    "bench door --short",
    "bench failover --kills 1",
    "bench failover --kills 1 --freeze",
    "bench soak --seconds 20",
];
