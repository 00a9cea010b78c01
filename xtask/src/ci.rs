//! The CI: first all checks that run nothing, then the tests.

use std::process::ExitCode;

use crate::failure::Failure;
use crate::stage::Stages;
use crate::suite::{self, Extent};
use crate::tidy;
use crate::workshop::Workshop;

/// Runs the CI.
pub(crate) fn run(workshop: &Workshop, extent: &Extent) -> Result<ExitCode, Failure> {
    let mut stages = Stages::default();
    stages.command("format", &mut workshop.cargo(["fmt", "--all", "--check"]))?;
    stages.stage("tidiness", || tidy::check(workshop.root()))?;
    stages.command(
        "lints",
        &mut workshop.cargo([
            "clippy",
            "--locked",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "--deny",
            "warnings",
        ]),
    )?;
    stages.command(
        "docs",
        workshop
            .cargo([
                "doc",
                "--locked",
                "--workspace",
                "--no-deps",
                "--document-private-items",
                "--quiet",
            ])
            // These pages are for developers of the code, so a public item may link to a private
            // one.
            .env("RUSTDOCFLAGS", "--deny warnings --allow rustdoc::private-intra-doc-links"),
    )?;
    suite::add_stages(workshop, extent, &mut stages)?;
    Ok(stages.finish())
}
