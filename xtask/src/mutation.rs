//! `cargo xtask model --mutation`: does the search find the errors that it exists for?
//!
//! A copy of the core in which one comparison with the promise is skipped is built and searched;
//! the search has to find a counterexample. The copy is below `target`, so that it is never part of
//! the product. Each comparison is quoted here word for word: if the quotation is not found, the
//! core has changed, and this page has to follow.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use crate::children;
use crate::copy;
use crate::failure::{Failure, ending};
use crate::workshop::Workshop;

/// A comparison with the promise, and its replacement.
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
        file: "protocol/src/gate.rs",
        before: "if *epoch >= self.env.promised {",
        after: "if *epoch >= crate::id::Epoch::none() {",
        search: "silence",
    },
    Mutation {
        name: "a lower claim is promised",
        file: "protocol/src/roles/services.rs",
        before: "let stale = request.epoch < self.env.promised;",
        after: "let stale = request.epoch < crate::id::Epoch::none();",
        search: "crashes_and_silence",
    },
    Mutation {
        name: "a leader of old is followed again",
        file: "protocol/src/roles/candidate/election.rs",
        before: "if names_you && epoch >= env.promised &&",
        after: "if names_you &&",
        search: "silence",
    },
];

/// Builds and searches every mutation.
pub(crate) fn run(workshop: &Workshop) -> Result<ExitCode, Failure> {
    let copy = workshop.root().join("target").join("mutation");
    for mutation in &MUTATIONS {
        copy::make(workshop.root(), &copy, &MEMBERS)?;
        mutate(&copy, mutation)?;
        eprintln!("\n== {}: {} without `{}`", mutation.name, mutation.file, mutation.before);
        search(workshop, &copy, mutation)?;
    }
    eprintln!("\nall {} mutations found", MUTATIONS.len());
    Ok(ExitCode::SUCCESS)
}

fn mutate(copy: &Path, mutation: &Mutation) -> Result<(), Failure> {
    let file = copy.join(mutation.file);
    let text = fs::read_to_string(&file).map_err(Failure::io(file.display().to_string()))?;
    let mutated =
        replace_once(&text, mutation.before, mutation.after).ok_or_else(|| Failure::Stage {
            stage: "mutation",
            how: format!(
                "{} does not say `{}` exactly once any more; quote it anew in \
                      xtask/src/mutation.rs",
                mutation.file, mutation.before
            ),
        })?;
    fs::write(&file, mutated).map_err(Failure::io(file.display().to_string()))
}

fn replace_once(text: &str, before: &str, after: &str) -> Option<String> {
    (text.matches(before).count() == 1).then(|| text.replacen(before, after, 1))
}

/// Searches the copy; the search fails if it finds nothing.
fn search(workshop: &Workshop, copy: &Path, mutation: &Mutation) -> Result<(), Failure> {
    // Each is found within a second, so the quicker build is better.
    let arguments =
        ["run", "--offline", "--quiet", "--package", "model", "--", "--search", mutation.search];
    let mut command = workshop.cargo(arguments);
    // Its lock file names packages that it does not have, so it cannot be `--locked`; nothing is
    // fetched for it.
    command.current_dir(copy).env("CARGO_TARGET_DIR", copy.join("target"));
    let (status, said) = children::lines(&mut command).map_err(Failure::io("cannot run cargo"))?;
    if children::interrupted() {
        return Err(Failure::Interrupted);
    }
    said.iter().for_each(|line| eprintln!("{line}"));
    let found = said.iter().any(|line| line.trim_start().starts_with("BROKEN"));
    if status.code() == Some(1) && found {
        return Ok(());
    }
    let how = format!(
        "the search `{}` does not see that {} ({})",
        mutation.search,
        mutation.name,
        ending(status)
    );
    Err(Failure::Stage { stage: "mutation", how })
}

const MEMBERS: [&str; 2] = ["protocol", "model"];

#[cfg(test)]
mod tests {
    use super::{MUTATIONS, replace_once};
    use std::path::Path;

    #[test]
    fn every_quotation_is_found_in_the_core() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for mutation in &MUTATIONS {
            let text = std::fs::read_to_string(root.join(mutation.file)).unwrap();
            assert!(
                replace_once(&text, mutation.before, mutation.after).is_some(),
                "{}: {}",
                mutation.file,
                mutation.before
            );
        }
    }
}
