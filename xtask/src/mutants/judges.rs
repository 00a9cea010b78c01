//! The tests that judge each mutant: the sharp and quick ones first.

use std::path::Path;
use std::process::Stdio;

use super::mutant::Mutant;
use super::tally::Verdict;
use super::woven::{self, Woven};
use crate::children;
use crate::failure::Failure;
use crate::workshop::{Programs, Workshop};

/// The copy with the mutants, and its tests.
pub(crate) struct Judges<'a> {
    workshop: &'a Workshop,
    woven: Woven<'a>,
    programs: Programs,
}

/// A test program as a judge.
struct Judge {
    /// Its package and its name.
    package: &'static str,
    program: &'static str,
    /// The tests to run in it.
    arguments: &'static [&'static str],
}

/// In this order; the first that fails has caught the mutant.
const JUDGES: [Judge; 6] = [
    Judge { package: "protocol", program: "protocol", arguments: &[] },
    Judge { package: "simulator", program: "it", arguments: &["every_script_"] },
    Judge { package: "simulator", program: "it", arguments: &["regressions::"] },
    Judge { package: "simulator", program: "it", arguments: &["every_answer_"] },
    // Including the test of hundreds of seeds, which only runs here.
    Judge { package: "simulator", program: "it", arguments: &["command::", "--include-ignored"] },
    Judge { package: "model", program: "model", arguments: &["search::"] },
];

impl<'a> Judges<'a> {
    /// Weaves the mutants into a copy, builds those that compile, and runs the judges on the
    /// unchanged core.
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

    /// The verdict on a mutant; 0 is the unchanged core.
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
                // `timeout` reported it, or was itself killed with its child.
                Some(124 | 137) => return Ok(Verdict::Hung),
                _ => return Ok(Verdict::Caught),
            }
        }
        Ok(Verdict::Survived)
    }
}

/// The members of the copy.
const MEMBERS: [&str; 4] = ["protocol", "promises", "simulator", "model"];
/// Many times the duration of the slowest judge.
const SECONDS: u64 = 30;
