//! The checkout and its builds: one `cargo build` of the needed programs, then the program itself.
//!
//! The tests and the scenarios share one build, with the `dev` profile, which is optimised in this
//! workspace. Measurements (`sim`, `bench`) are built with `release`. Interactive commands (`demo`,
//! `chaos`), like these commands themselves, are built with the profile that builds fastest.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::children;
use crate::failure::Failure;

/// The checkout, and the cargo that started this program.
#[derive(Debug)]
pub(crate) struct Workshop {
    root: PathBuf,
    cargo: OsString,
}

/// The optimisation of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Builds fastest.
    Demo,
    /// With checked arithmetic, and fast enough for tests.
    Dev,
    /// For measurements.
    Release,
}

/// The programs of one build, by name.
#[derive(Debug, Default)]
pub(crate) struct Programs(BTreeMap<String, PathBuf>);

impl Programs {
    /// From a build that reports its artefacts in JSON.
    pub(crate) fn built_by(command: &mut Command, what: String) -> Result<Self, Failure> {
        let (status, lines) = children::lines(command).map_err(Failure::io("cannot run cargo"))?;
        if children::interrupted() {
            return Err(Failure::Interrupted);
        }
        if status.success() {
            Ok(Self(lines.iter().filter_map(|line| executable(line)).collect()))
        } else {
            Err(Failure::Build { what })
        }
    }

    /// The path of a program.
    pub(crate) fn path(&self, name: &str) -> Result<&Path, Failure> {
        self.0
            .get(name)
            .map(PathBuf::as_path)
            .ok_or_else(|| Failure::Build { what: format!("the program `{name}`") })
    }
}

impl Workshop {
    /// The checkout that this program was built in.
    pub(crate) fn new() -> Self {
        // Cargo sets both when it runs this program; without cargo, the values at build time are
        // the best guess.
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest)
            .parent()
            .expect("a crate of a workspace has a folder above it")
            .to_owned();
        Self { root, cargo: std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()) }
    }

    /// The top of the checkout.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A cargo command that runs at the top of the checkout.
    pub(crate) fn cargo<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = children::command(&self.cargo);
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// A program that runs at the top of the checkout.
    pub(crate) fn program(&self, path: &Path) -> Command {
        let mut command = children::command(path.as_os_str());
        command.current_dir(&self.root);
        command
    }

    /// Builds packages; cargo shows the progress.
    pub(crate) fn build(&self, profile: Profile, packages: &[&str]) -> Result<Programs, Failure> {
        let mut command =
            self.cargo(["build", "--locked", "--bins", "--message-format=json-render-diagnostics"]);
        command.args(packages.iter().flat_map(|package| ["--package", package]));
        match profile {
            Profile::Demo => drop(command.args(["--profile", "demo"])),
            Profile::Dev => {}
            Profile::Release => drop(command.arg("--release")),
        }
        Programs::built_by(&mut command, packages.join(", "))
    }

    /// Builds a program for speed and becomes it: signals reach it directly, and its exit code is
    /// passed on.
    pub(crate) fn become_program(
        &self,
        name: &str,
        packages: &[&str],
        arguments: &[OsString],
    ) -> Result<ExitCode, Failure> {
        self.become_built(Profile::Release, name, packages, arguments)
    }

    /// Builds a program and becomes it. Returns only if that fails.
    pub(crate) fn become_built(
        &self,
        profile: Profile,
        name: &str,
        packages: &[&str],
        arguments: &[OsString],
    ) -> Result<ExitCode, Failure> {
        let programs = self.build(profile, packages)?;
        let error =
            Command::new(programs.path(name)?).args(arguments).current_dir(&self.root).exec();
        Err(Failure::io(format!("cannot start `{name}`"))(error))
    }

    /// `sim --seeds N` is `simulator run --seeds N`; another command of the simulator may be named
    /// instead.
    pub(crate) fn become_simulator(&self, arguments: &[OsString]) -> Result<ExitCode, Failure> {
        let named =
            arguments.first().is_some_and(|first| !first.as_encoded_bytes().starts_with(b"-"));
        let run = (!named).then(|| OsString::from("run"));
        let arguments: Vec<OsString> = run.into_iter().chain(arguments.iter().cloned()).collect();
        self.become_program("simulator", &["simulator"], &arguments)
    }
}

/// The program in a line of cargo's JSON, if there is one.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let path = message["executable"].as_str()?;
    Some((message["target"]["name"].as_str()?.to_owned(), path.into()))
}

#[cfg(test)]
mod tests {
    use super::executable;

    #[test]
    fn programs_are_found_in_what_cargo_says() {
        let line = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"peer"},"executable":"/t/release/peer"}"#;
        assert_eq!(executable(line), Some(("peer".to_owned(), "/t/release/peer".into())));
        assert_eq!(
            executable(
                r#"{"reason":"compiler-artifact","target":{"name":"protocol"},"executable":null}"#
            ),
            None
        );
        assert_eq!(executable("not JSON"), None);
    }
}
