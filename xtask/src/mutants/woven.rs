//! A copy of the core with all mutants in it, built once: the environment selects the mutant (see
//! `weave`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::mutant::Mutant;
use super::weave;
use crate::children;
use crate::copy;
use crate::failure::{Failure, ending};
use crate::workshop::Workshop;

/// The copy.
pub(crate) struct Woven<'a> {
    workshop: &'a Workshop,
    folder: PathBuf,
    /// The original texts of the changed files.
    originals: BTreeMap<String, String>,
    /// The mutants that do not compile.
    unviable: BTreeSet<usize>,
    /// The compiler's errors about them.
    complaints: Vec<String>,
}

impl<'a> Woven<'a> {
    /// Copies these members of the workspace and weaves the mutants in. Whether all of them compile
    /// is still unknown.
    pub(crate) fn new(
        workshop: &'a Workshop,
        mutants: &[Mutant],
        folder: PathBuf,
        members: &[&str],
    ) -> Result<Self, Failure> {
        copy::make(workshop.root(), &folder, members)?;
        let library = folder.join("protocol/src/lib.rs");
        let text = read(&library)?;
        write(&library, &format!("{text}\npub mod mutant;\n"))?;
        write(&folder.join("protocol/src/mutant.rs"), weave::NUMBER)?;
        let mut originals = BTreeMap::new();
        for mutant in mutants {
            if !originals.contains_key(&mutant.file) {
                originals.insert(mutant.file.clone(), read(&folder.join(&mutant.file))?);
            }
        }
        let woven =
            Self { workshop, folder, originals, unviable: BTreeSet::new(), complaints: Vec::new() };
        woven.write_pages(mutants)?;
        Ok(woven)
    }

    /// The folder of the copy.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The mutants that do not compile, and are left out.
    pub(crate) fn unviable(&self) -> &BTreeSet<usize> {
        &self.unviable
    }

    /// The compiler's errors about those.
    pub(crate) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// Writes the files with all mutants that may compile; returns the mutant of each line.
    fn write_pages(
        &self,
        mutants: &[Mutant],
    ) -> Result<BTreeMap<String, Vec<Option<usize>>>, Failure> {
        let mut owners = BTreeMap::new();
        for (file, original) in &self.originals {
            let is_of =
                |mutant: &&Mutant| mutant.file == *file && !self.unviable.contains(&mutant.number);
            let viable: Vec<&Mutant> = mutants.iter().filter(is_of).collect();
            let woven = weave::weave(original, &viable).map_err(Failure::Usage)?;
            write(&self.folder.join(file), &woven)?;
            owners.insert(file.clone(), weave::owners(&woven));
        }
        Ok(owners)
    }

    /// The compiler reports the errors of one phase at a time, so it is run until it reports none.
    pub(crate) fn leave_out_what_does_not_compile(
        &mut self,
        mutants: &[Mutant],
    ) -> Result<(), Failure> {
        loop {
            let owners = self.write_pages(mutants)?;
            let mut check =
                self.cargo(&["check", "--message-format=json", "--package", "protocol"]);
            let (status, said) =
                children::lines(&mut check).map_err(Failure::io("cannot run cargo"))?;
            if children::interrupted() {
                return Err(Failure::Interrupted);
            }
            if status.success() {
                return Ok(());
            }
            let before = self.unviable.len();
            self.complaints.extend(said.iter().filter_map(|line| rendered(line)));
            self.unviable.extend(said.iter().filter_map(|line| blamed(line, &owners)));
            if self.unviable.len() == before {
                self.complaints.iter().for_each(|words| eprintln!("{words}"));
                let how = format!(
                    "the copy in {} does not compile: {}",
                    self.folder.display(),
                    ending(status)
                );
                return Err(Failure::Stage { stage: "mutants", how });
            }
        }
    }

    /// Runs cargo in the copy; its many warnings do not matter.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.workshop.cargo(arguments);
        // Its lock file names packages that it does not have, so it cannot be `--locked`; nothing
        // is fetched for it.
        command.arg("--offline").current_dir(&self.folder);
        command
            .env("CARGO_TARGET_DIR", self.folder.join("target"))
            .env("RUSTFLAGS", "--cap-lints=allow");
        command
    }
}

/// A program of such a copy as one of its mutants, 0 for none. Limits of time and memory end a
/// mutant that hangs or grows.
pub(crate) fn mutant(workshop: &Workshop, number: usize, program: &Path, seconds: u64) -> Command {
    let limited =
        format!("ulimit -v {MEMORY_KIB}; exec timeout --kill-after=1 {seconds} \"$0\" \"$@\"");
    let mut command = workshop.program(Path::new("sh"));
    command.args(["-c", &limited]).arg(program).env("MUTANT", number.to_string());
    command
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
            let span = |line: u32, primary: bool| {
                format!(r#"{{"file_name":"page.rs","line_start":{line},"is_primary":{primary}}}"#)
            };
            format!(
                r#"{{"message":{{"level":"{level}","spans":[{},{}]}}}}"#,
                span(first, false),
                span(second, true)
            )
        };
        assert_eq!(blamed(&said("error", 2, 3), &owners), Some(8));
        assert_eq!(blamed(&said("error", 2, 1), &owners), None, "the primary place is nobody's");
        assert_eq!(blamed(&said("error", 1, 4), &owners), None, "there is no such line");
        assert_eq!(blamed(&said("warning", 2, 3), &owners), None);
        assert_eq!(blamed(r#"{"reason":"build-finished","success":false}"#, &owners), None);
    }
}
