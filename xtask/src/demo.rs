//! The demonstration: three peers on this machine, each with its page, until Ctrl-C.

use std::process::ExitCode;

use crate::children;
use crate::failure::{Failure, ending};
use crate::workshop::{Profile, Workshop};

/// Runs it. Ctrl-C is its normal end, so that is a success.
pub(crate) fn run(workshop: &Workshop) -> Result<ExitCode, Failure> {
    let programs = workshop.build(Profile::Demo, &["orchestrator", "peer"])?;
    let status = children::run(workshop.program(programs.path("orchestrator")?).args([
        "run",
        "--follow",
        "--http",
        "127.0.0.1:0",
        "scenarios/demo.toml",
    ]))
    .map_err(Failure::io("cannot start `orchestrator`"))?;
    if status.success() || children::interrupted() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::Stage { stage: "demo", how: ending(status) })
}
