//! Scenario arguments: names are files of `scenarios/`, everything else is a path.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::failure::Failure;
use crate::workshop::{Profile, Workshop};

/// Runs scenarios in the order given.
pub(crate) fn run(
    workshop: &Workshop,
    names: &[String],
    flags: &[OsString],
) -> Result<ExitCode, Failure> {
    let files: Vec<PathBuf> =
        names.iter().map(|name| find(workshop, name)).collect::<Result<_, _>>()?;
    let mut arguments = vec![OsString::from("run")];
    arguments.extend(files.into_iter().map(OsString::from));
    arguments.extend(flags.iter().cloned());
    workshop.become_built(Profile::Dev, "orchestrator", &["orchestrator", "peer"], &arguments)
}

fn find(workshop: &Workshop, name: &str) -> Result<PathBuf, Failure> {
    if name.contains('/') || name.ends_with(".toml") {
        // Programs run at the top of the checkout; a path is relative to the user's folder.
        return Path::new(name).canonicalize().map_err(Failure::io(name));
    }
    let file = workshop.root().join(FOLDER).join(name).with_extension("toml");
    if file.is_file() {
        return Ok(file);
    }
    Err(Failure::Usage(format!(
        "there is no scenario `{name}`; there are: {}",
        names(&workshop.root().join(FOLDER))?.join(", ")
    )))
}

/// The names of all scenarios in a folder.
fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    let entries = fs::read_dir(folder).map_err(Failure::io(folder.display().to_string()))?;
    let files = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"));
    let mut names: Vec<String> =
        files.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

const FOLDER: &str = "scenarios";
