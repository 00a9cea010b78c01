//! One build with all mutants in it, and the tests that judge each: the sharp and quick ones first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::mutant::Mutant;
use super::tally::Verdict;
use super::weave;
use crate::children;
use crate::copy;
use crate::failure::{Failure, ending};
use crate::workshop::{Programs, Workshop};

/// The copy that has the mutants in it.
pub(crate) struct Judges<'a> {
    workshop: &'a Workshop,
    copy: PathBuf,
    programs: Programs,
    /// Whose change does not compile.
    unviable: BTreeSet<usize>,
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
    Judge { package: "simulator", program: "tests", arguments: &["every_script_"] },
    Judge { package: "simulator", program: "tests", arguments: &["regressions::"] },
    Judge { package: "simulator", program: "tests", arguments: &["every_answer_"] },
    // Among them the hundreds of seeds, a test that only runs here.
    Judge { package: "simulator", program: "tests", arguments: &["command::", "--include-ignored"] },
    Judge { package: "model", program: "model", arguments: &["search::"] },
];

impl<'a> Judges<'a> {
    /// Weaves the mutants into a copy, finds those that do not compile, builds the rest, and hears the judges on the core as it is.
    pub(crate) fn new(workshop: &'a Workshop, mutants: &[Mutant], folder: &Path) -> Result<Self, Failure> {
        let copy = folder.join("copy");
        copy::make(workshop.root(), &copy, &MEMBERS)?;
        let library = copy.join("protocol/src/lib.rs");
        let text = read(&library)?;
        write(&library, &format!("{text}\npub mod mutant;\n"))?;
        write(&copy.join("protocol/src/mutant.rs"), weave::NUMBER)?;
        let mut judges = Self { workshop, copy, programs: Programs::default(), unviable: BTreeSet::new() };
        judges.leave_out_what_does_not_compile(mutants)?;
        let mut build = judges.cargo(&["test", "--no-run", "--message-format=json-render-diagnostics", "--lib", "--test", "tests"]);
        build.args(["--package", "protocol", "--package", "simulator", "--package", "model"]);
        judges.programs = Programs::built_by(&mut build, "the core with all mutants in it".to_owned())?;
        match judges.judge(0)? {
            Verdict::Survived => Ok(judges),
            Verdict::Caught | Verdict::Hung | Verdict::Unviable => {
                Err(Failure::Stage { stage: "mutants", how: "the tests fail without any mutant".to_owned() })
            }
        }
    }

    /// What becomes of a mutant; 0 is the core as it is.
    pub(crate) fn judge(&self, number: usize) -> Result<Verdict, Failure> {
        if self.unviable.contains(&number) {
            return Ok(Verdict::Unviable);
        }
        for judge in &JUDGES {
            let program = self.programs.path(judge.program)?;
            // One that asks for ever more memory is to end before the machine does.
            let limited = format!("ulimit -v {MEMORY_KIB}; exec timeout --kill-after=1 {SECONDS} \"$0\" \"$@\"");
            let mut command = self.workshop.program(Path::new("sh"));
            command.args(["-c", &limited]).arg(program).args(judge.arguments).arg("--quiet");
            command.current_dir(self.copy.join(judge.package)).env("MUTANT", number.to_string());
            let status = children::run(command.stdout(Stdio::null()).stderr(Stdio::null())).map_err(Failure::io("cannot run a judge"))?;
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

    /// The compiler tells what is wrong in one phase at a time, so it is asked until it has no complaint left.
    fn leave_out_what_does_not_compile(&mut self, mutants: &[Mutant]) -> Result<(), Failure> {
        let mut pages: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
        for mutant in mutants {
            pages.entry(&mutant.file).or_default().push(mutant);
        }
        let originals = pages.keys().map(|file| Ok((*file, read(&self.copy.join(file))?))).collect::<Result<BTreeMap<_, _>, Failure>>()?;
        loop {
            let mut owners = BTreeMap::new();
            for (file, mutants) in &pages {
                let viable: Vec<&Mutant> = mutants.iter().copied().filter(|mutant| !self.unviable.contains(&mutant.number)).collect();
                let woven = weave::weave(&originals[file], &viable).map_err(Failure::Usage)?;
                write(&self.copy.join(file), &woven)?;
                owners.insert(file.to_string(), weave::owners(&woven));
            }
            let mut check = self.cargo(&["check", "--message-format=json", "--package", "protocol"]);
            let (status, said) = children::lines(&mut check).map_err(Failure::io("cannot run cargo"))?;
            if children::interrupted() {
                return Err(Failure::Interrupted);
            }
            if status.success() {
                return Ok(());
            }
            let before = self.unviable.len();
            self.unviable.extend(said.iter().filter_map(|line| blamed(line, &owners)));
            if self.unviable.len() == before {
                said.iter().filter_map(|line| rendered(line)).for_each(|words| eprintln!("{words}"));
                let how = format!("the copy in {} does not compile: {}", self.copy.display(), ending(status));
                return Err(Failure::Stage { stage: "mutants", how });
            }
        }
    }

    /// Cargo, in the copy, whose many warnings are nobody's.
    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.workshop.cargo(arguments);
        // Its lock file names packages that it does not have, so it cannot be `--locked`; nothing is fetched for it.
        command.args(["--offline", "--config", "profile.dev.debug=false"]).current_dir(&self.copy);
        command.env("CARGO_TARGET_DIR", self.copy.join("target")).env("RUSTFLAGS", "--cap-lints=allow");
        command
    }
}

/// An error of the compiler.
fn error(line: &str) -> Option<Value> {
    let mut said: Value = serde_json::from_str(line).ok()?;
    Some(said["message"].take()).filter(|message| message["level"] == "error")
}

/// What it says to people.
fn rendered(line: &str) -> Option<String> {
    Some(error(line)?["rendered"].as_str()?.to_owned())
}

/// The mutant that it is about.
fn blamed(line: &str, owners: &BTreeMap<String, Vec<Option<usize>>>) -> Option<usize> {
    let message = error(line)?;
    message["spans"].as_array()?.iter().filter(|span| span["is_primary"] == true).find_map(|span| {
        let line = usize::try_from(span["line_start"].as_u64()?).ok()?;
        *owners.get(span["file_name"].as_str()?)?.get(line.checked_sub(1)?)?
    })
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(Failure::io(file.display().to_string()))
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    fs::write(file, text).map_err(Failure::io(file.display().to_string()))
}

/// What the judges are made of, and need.
const MEMBERS: [&str; 4] = ["protocol", "promises", "simulator", "model"];
/// Many times what the slowest judge takes.
const SECONDS: u32 = 30;
/// Many times what the largest judge takes.
const MEMORY_KIB: u32 = 6 << 20;

#[cfg(test)]
mod tests {
    use super::blamed;
    use std::collections::BTreeMap;

    #[test]
    fn an_error_is_blamed_on_the_mutant_whose_line_it_names() {
        let owners = BTreeMap::from([("page.rs".to_owned(), vec![None, Some(7), Some(8)])]);
        let said = |level: &str, first: u32, second: u32| {
            let span = |line: u32, primary: bool| format!(r#"{{"file_name":"page.rs","line_start":{line},"is_primary":{primary}}}"#);
            format!(r#"{{"message":{{"level":"{level}","spans":[{},{}]}}}}"#, span(first, false), span(second, true))
        };
        assert_eq!(blamed(&said("error", 2, 3), &owners), Some(8));
        assert_eq!(blamed(&said("error", 2, 1), &owners), None, "the primary place is nobody's");
        assert_eq!(blamed(&said("error", 1, 4), &owners), None, "there is no such line");
        assert_eq!(blamed(&said("warning", 2, 3), &owners), None);
        assert_eq!(blamed(r#"{"reason":"build-finished","success":false}"#, &owners), None);
    }
}
