//! What there is to build for: the machines of the product, and which of them this toolchain can build for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::workshop::{Programs, Workshop};

/// A kind of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// As the tarballs call it.
    pub(crate) name: &'static str,
    /// As Debian calls it.
    pub(crate) debian: &'static str,
    /// As container images call it: architecture and variant.
    pub(crate) image: (&'static str, Option<&'static str>),
    /// Rust's targets for it, the preferred one first.
    targets: [&'static str; 2],
    /// What links for it on another machine.
    linker: &'static str,
    /// What runs its programs on another machine.
    emulator: &'static str,
}

/// All of them.
pub(crate) const MACHINES: [Machine; 3] = [
    Machine {
        name: "x86_64",
        debian: "amd64",
        image: ("amd64", None),
        targets: ["x86_64-unknown-linux-musl", "x86_64-unknown-linux-gnu"],
        linker: "x86_64-linux-gnu-gcc",
        emulator: "qemu-x86_64-static",
    },
    Machine {
        name: "aarch64",
        debian: "arm64",
        image: ("arm64", Some("v8")),
        targets: ["aarch64-unknown-linux-musl", "aarch64-unknown-linux-gnu"],
        linker: "aarch64-linux-gnu-gcc",
        emulator: "qemu-aarch64-static",
    },
    Machine {
        name: "armv7",
        debian: "armhf",
        image: ("arm", Some("v7")),
        targets: ["armv7-unknown-linux-musleabihf", "armv7-unknown-linux-gnueabihf"],
        linker: "arm-linux-gnueabihf-gcc",
        emulator: "qemu-arm-static",
    },
];

impl Machine {
    /// The target to build for, if one is installed.
    pub(crate) fn target(&self, workshop: &Workshop) -> Option<&'static str> {
        self.targets.into_iter().find(|target| is_installed(workshop, target))
    }

    /// What to do where none is.
    pub(crate) fn advice(&self) -> String {
        format!("the target is not installed; rustup target add {}", self.targets[0])
    }

    /// Whether this very machine is of that kind.
    pub(crate) fn is_here(&self) -> bool {
        std::env::consts::ARCH == self.name || (std::env::consts::ARCH, self.name) == ("arm", "armv7")
    }

    /// What to put before a program of that machine to run it here.
    ///
    /// # Errors
    /// What would be needed.
    pub(crate) fn runner(&self) -> Result<Option<PathBuf>, String> {
        if self.is_here() {
            return Ok(None);
        }
        let found = find(self.emulator).ok_or_else(|| format!("{} is missing (Debian package qemu-user-static)", self.emulator))?;
        Ok(Some(found))
    }

    /// Builds the programs for it, each in one file that needs no other.
    pub(crate) fn build(&self, workshop: &Workshop, target: &str, folder: &Path) -> Result<Programs, Failure> {
        let mut command = workshop.cargo(["build", "--locked", "--bins", "--message-format=json-render-diagnostics", "--profile", PROFILE]);
        command.args(["--target", target, "--target-dir"]).arg(folder);
        command.args(PROGRAMS.iter().flat_map(|package| ["--package", package]));
        // No path of this machine, and no library of it: the same bytes wherever it is built, and they run wherever Linux does.
        let cargo_home =
            std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
        let mut flags =
            vec!["-Ctarget-feature=+crt-static".to_owned(), format!("--remap-path-prefix={}=sensor-peers", workshop.root().display())];
        flags.extend(cargo_home.map(|home| format!("--remap-path-prefix={}=cargo", home.display())));
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).env("CARGO_INCREMENTAL", "0");
        let variable = format!("CARGO_TARGET_{}_LINKER", target.replace('-', "_").to_uppercase());
        if !self.is_here() && std::env::var_os(&variable).is_none() {
            // The targets of musl bring their own start files and library, so any linker will do.
            command.env(variable, if target.contains("musl") { "rust-lld" } else { self.linker });
        }
        Programs::built_by(&mut command, format!("{} for {target}", PROGRAMS.join(", ")))
    }
}

/// Whether the standard library for a target is there.
fn is_installed(workshop: &Workshop, target: &str) -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).current_dir(workshop.root()).output();
    let Ok(output) = output else { return false };
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let is_std = |name: &str| name.starts_with("libstd-") && name.ends_with(".rlib");
    fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(|entry| is_std(&entry.file_name().to_string_lossy())))
}

/// Where a program of the system is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// What is built.
pub(crate) const PROGRAMS: [&str; 3] = ["peer", "orchestrator", "chaos"];
/// How; see `Cargo.toml`.
pub(crate) const PROFILE: &str = "dist";
