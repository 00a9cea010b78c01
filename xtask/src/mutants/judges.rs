//! The tests that judge each mutant: the sharp and quick ones first.

use std::path::Path;
use std::process::Stdio;

use super::mutant::Mutant;
use super::tally::Verdict;
use super::woven::{self, Woven};
use crate::children;
use crate::failure::Failure;
use crate::workshop::{Programs, Workshop};

/// The copy that has the mutants in it, and its tests.
pub(crate) struct Judges<'a> {
    workshop: &'a Workshop,
    woven: Woven<'a>,
    programs: Programs,
}

/// A test of ours as a judge.
struct Judge {
    /// The package, and the test program of it.
    package: &'static str,
    program: &'static str,
    /// Which of its tests.
    arguments: &'static [&'static str],
}

/// In this order; the first that fails has caught the mutant.
const JUDGES: [Judge; 6] = [
    Judge { package: "protocol", program: "protocol", arguments: &[] },
    Judge { package: "simulator", program: "it", arguments: &["every_script_"] },
    Judge { package: "simulator", program: "it", arguments: &["regressions::"] },
    Judge { package: "simulator", program: "it", arguments: &["every_answer_"] },
    // Among them the hundreds of seeds, a test that only runs here.
    Judge { package: "simulator", program: "it", arguments: &["command::", "--include-ignored"] },
    Judge { package: "model", program: "model", arguments: &["search::"] },
];

impl<'a> Judges<'a> {
    /// Weaves the mutants into a copy, builds those that compile, and hears the judges on the core
    /// as it is.
    pub(crate) fn new(
        workshop: &'a Workshop,
        mutants: &[Mutant],
        folder: &Path,
    ) -> Result<Self, Failure> {
        let mut woven = Woven::new(workshop, mutants, folder.join("copy"), &MEMBERS)?;
        woven.leave_out_what_does_not_compile(mutants)?;
        let mut build = woven.cargo(&[
            "test",
            "--no-run",
            "--message-format=json-render-diagnostics",
            "--lib",
            "--test",
            "it",
        ]);
        build.args([
            "--package",
            "protocol",
            "--package",
            "simulator",
            "--package",
            "model",
            "--config",
            "profile.dev.debug=false",
        ]);
        let programs =
            Programs::built_by(&mut build, "the core with all mutants in it".to_owned())?;
        let judges = Self { workshop, woven, programs };
        match judges.judge(0)? {
            Verdict::Survived => Ok(judges),
            Verdict::Caught | Verdict::Hung | Verdict::Unviable => Err(Failure::Stage {
                stage: "mutants",
                how: "the tests fail without any mutant".to_owned(),
            }),
        }
    }

    /// What becomes of a mutant; 0 is the core as it is.
    pub(crate) fn judge(&self, number: usize) -> Result<Verdict, Failure> {
        if self.woven.unviable().contains(&number) {
            return Ok(Verdict::Unviable);
        }
        for judge in &JUDGES {
            let program = self.programs.path(judge.program)?;
            let mut command = woven::mutant(self.workshop, number, program, SECONDS);
            command
                .args(judge.arguments)
                .arg("--quiet")
                .current_dir(self.woven.folder().join(judge.package));
            let status = children::run(command.stdout(Stdio::null()).stderr(Stdio::null()))
                .map_err(Failure::io("cannot run a judge"))?;
            if children::interrupted() {
                return Err(Failure::Interrupted);
            }
            match status.code() {
                Some(0) => {}
                // `timeout` says so, or was itself killed with its child.
                Some(124 | 137) => return Ok(Verdict::Hung),
                _ => return Ok(Verdict::Caught),
            }
        }
        Ok(Verdict::Survived)
    }
}

/// What the judges are made of, and need.
const MEMBERS: [&str; 4] = ["protocol", "promises", "simulator", "model"];
/// Many times what the slowest judge takes.
const SECONDS: u64 = 30;
