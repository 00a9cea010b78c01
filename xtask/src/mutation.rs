//! `cargo xtask model --mutation`: does the search find what it is there to find?
//!
//! A copy of the core in which one comparison with the promise is skipped is built and searched; the search has to come
//! back with a counterexample. The copy lives under `target`, so that nothing of the kind is ever part of the product.
//! Each comparison is quoted here word for word: where the quotation is not found the core has moved on, and this page
//! has to follow it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use crate::children;
use crate::failure::{Failure, ending};
use crate::workshop::Workshop;

/// A comparison with the promise, and what is left of the page without it.
struct Mutation {
    name: &'static str,
    file: &'static str,
    before: &'static str,
    after: &'static str,
    /// The planned search that finds it.
    search: &'static str,
}

const MUTATIONS: [Mutation; 3] = [
    Mutation {
        name: "a stale cut is adopted",
        file: "protocol/src/member.rs",
        before: "if *epoch >= self.promised {",
        after: "if *epoch >= Epoch::none() {",
        search: "silence",
    },
    Mutation {
        name: "a lower claim is promised",
        file: "protocol/src/sync.rs",
        before: "if request.epoch < self.promised {",
        after: "if request.epoch < Epoch::none() {",
        search: "crashes_and_silence",
    },
    Mutation {
        name: "a leader of old is followed again",
        file: "protocol/src/election.rs",
        before: "if word.names_you && word.epoch >= self.promised &&",
        after: "if word.names_you &&",
        search: "silence",
    },
];

/// Builds and searches every mutation.
pub(crate) fn run(workshop: &Workshop) -> Result<ExitCode, Failure> {
    let copy = workshop.root().join("target").join("mutation");
    for mutation in &MUTATIONS {
        make_copy(workshop.root(), &copy)?;
        mutate(&copy, mutation)?;
        eprintln!("\n== {}: {} without `{}`", mutation.name, mutation.file, mutation.before);
        search(workshop, &copy, mutation)?;
    }
    eprintln!("\nall {} mutations found", MUTATIONS.len());
    Ok(ExitCode::SUCCESS)
}

/// A workspace of the core and the model and nothing else.
fn make_copy(root: &Path, copy: &Path) -> Result<(), Failure> {
    let io = |path: &Path| Failure::io(path.display().to_string());
    fs::create_dir_all(copy).map_err(io(copy))?;
    for member in MEMBERS {
        let folder = copy.join(member);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(io(&folder))?;
        }
        copy_folder(&root.join(member), &folder).map_err(io(&folder))?;
    }
    let manifest = root.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(io(&manifest))?;
    let to = copy.join("Cargo.toml");
    fs::write(&to, workspace_of_two(&text)).map_err(io(&to))?;
    let lock = copy.join("Cargo.lock");
    fs::copy(root.join("Cargo.lock"), &lock).map_err(io(&lock))?;
    Ok(())
}

/// The manifest of the workspace, with only two members left.
fn workspace_of_two(manifest: &str) -> String {
    let line = |line: &str| match line.split_once(" = ") {
        Some(("members", _)) => format!("members = {MEMBERS:?}\n"),
        Some(("default-members", _)) => String::new(),
        _ => format!("{line}\n"),
    };
    manifest.lines().map(line).collect()
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

fn mutate(copy: &Path, mutation: &Mutation) -> Result<(), Failure> {
    let file = copy.join(mutation.file);
    let text = fs::read_to_string(&file).map_err(Failure::io(file.display().to_string()))?;
    let mutated = replace_once(&text, mutation.before, mutation.after).ok_or_else(|| Failure::Stage {
        stage: "mutation",
        how: format!("{} does not say `{}` exactly once any more; quote it anew in xtask/src/mutation.rs", mutation.file, mutation.before),
    })?;
    fs::write(&file, mutated).map_err(Failure::io(file.display().to_string()))
}

fn replace_once(text: &str, before: &str, after: &str) -> Option<String> {
    (text.matches(before).count() == 1).then(|| text.replacen(before, after, 1))
}

/// Searches the copy; finding nothing is the failure.
fn search(workshop: &Workshop, copy: &Path, mutation: &Mutation) -> Result<(), Failure> {
    // Each is found in a second, so the quicker build is the better one.
    let arguments = ["run", "--offline", "--quiet", "--package", "model", "--", "--search", mutation.search];
    let mut command = workshop.cargo(arguments);
    // Its lock file names packages that it does not have, so it cannot be `--locked`; nothing is fetched for it.
    command.current_dir(copy).env("CARGO_TARGET_DIR", copy.join("target")).stdout(Stdio::piped());
    let (status, said) = children::run_with(&mut command, |child| {
        let output = child.stdout.take().expect("its standard output was piped a line above");
        BufReader::new(output).lines().map_while(Result::ok).collect::<Vec<_>>()
    })
    .map_err(Failure::io("cannot run cargo"))?;
    if children::interrupted() {
        return Err(Failure::Interrupted);
    }
    said.iter().for_each(|line| eprintln!("{line}"));
    let found = said.iter().any(|line| line.trim_start().starts_with("BROKEN"));
    if status.code() == Some(1) && found {
        return Ok(());
    }
    let how = format!("the search `{}` does not see that {} ({})", mutation.search, mutation.name, ending(status));
    Err(Failure::Stage { stage: "mutation", how })
}

const MEMBERS: [&str; 2] = ["protocol", "model"];

#[cfg(test)]
mod tests {
    use super::{MUTATIONS, replace_once, workspace_of_two};
    use std::path::Path;

    #[test]
    fn every_quotation_is_found_in_the_core() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for mutation in &MUTATIONS {
            let text = std::fs::read_to_string(root.join(mutation.file)).unwrap();
            assert!(replace_once(&text, mutation.before, mutation.after).is_some(), "{}: {}", mutation.file, mutation.before);
        }
    }

    #[test]
    fn the_copy_has_two_members() {
        let manifest = "[workspace]\nmembers = [\"a\", \"b\"]\ndefault-members = [\"a\"]\n\n[profile.dev]\nopt-level = 1\n";
        assert_eq!(workspace_of_two(manifest), "[workspace]\nmembers = [\"protocol\", \"model\"]\n\n[profile.dev]\nopt-level = 1\n");
    }
}
