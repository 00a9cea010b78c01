//! What there is to build for: the machines of the product, and which of them this toolchain can
//! build for.

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

    /// The target that is preferred.
    pub(crate) fn best(&self) -> &'static str {
        self.targets[0]
    }

    /// What to do where none is installed.
    pub(crate) fn advice(&self) -> String {
        format!("the target is not installed; rustup target add {}", self.best())
    }

    /// Whether this very machine is of that kind.
    pub(crate) fn is_here(&self) -> bool {
        std::env::consts::ARCH == self.name
            || (std::env::consts::ARCH, self.name) == ("arm", "armv7")
    }

    /// What to put before a program of that machine to run it here.
    ///
    /// # Errors
    /// What would be needed.
    pub(crate) fn runner(&self) -> Result<Option<PathBuf>, String> {
        if self.is_here() {
            return Ok(None);
        }
        let found = find(self.emulator).ok_or_else(|| {
            format!("{} is missing (Debian package qemu-user-static)", self.emulator)
        })?;
        Ok(Some(found))
    }

    /// Builds programs for it; as `linkage` says, they need the C library of the machine that they
    /// run on, or nothing.
    pub(crate) fn build(
        &self,
        workshop: &Workshop,
        target: &str,
        programs: &[&str],
        linkage: Linkage,
        folder: &Path,
    ) -> Result<Programs, Failure> {
        let mut command = workshop.cargo([
            "build",
            "--locked",
            "--bins",
            "--message-format=json-render-diagnostics",
            "--profile",
            PROFILE,
        ]);
        // Flags of their own need a folder of their own, or each build would undo the other.
        command.args(["--target", target, "--target-dir"]).arg(folder.join(linkage.name()));
        command.args(programs.iter().flat_map(|package| ["--package", package]));
        // No path of this machine: the same bytes wherever it is built.
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
        let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
        let mut flags =
            vec![format!("--remap-path-prefix={}=sensor-peers", workshop.root().display())];
        flags
            .extend(cargo_home.map(|home| format!("--remap-path-prefix={}=cargo", home.display())));
        let sign = if linkage == Linkage::Static { '+' } else { '-' };
        flags.push(format!("-Ctarget-feature={sign}crt-static"));
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).env("CARGO_INCREMENTAL", "0");
        let variable = format!("CARGO_TARGET_{}_LINKER", target.replace('-', "_").to_uppercase());
        if !self.is_here() && std::env::var_os(&variable).is_none() {
            // The targets of musl bring their own start files and library, so any linker will do.
            command.env(variable, if target.contains("musl") { "rust-lld" } else { self.linker });
        }
        Programs::built_by(&mut command, format!("{} for {target}", programs.join(", ")))
    }
}

/// What a program needs where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Linkage {
    /// Nothing.
    Static,
    /// The C library. With that of GNU, a static program is for images only: where a machine has
    /// plug-ins for names (as `mdns4_minimal` on boards), it would load them into itself, and end
    /// with a segmentation fault if they are for another version.
    Dynamic,
}

impl Linkage {
    /// That of programs for a target that are installed on machines.
    pub(crate) fn of(target: &str) -> Self {
        if target.contains("musl") { Self::Static } else { Self::Dynamic }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Dynamic => "dynamic",
        }
    }
}

/// The oldest C library of GNU that has everything that these programs ask of it, as `2.34`.
pub(crate) fn library_needed<'a>(programs: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let version = |rest: &[u8]| {
        let text = rest
            .iter()
            .take_while(|byte| byte.is_ascii_digit() || **byte == b'.')
            .map(|byte| char::from(*byte))
            .collect::<String>();
        let (major, minor) = text.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.split('.').next()?.parse::<u32>().ok()?))
    };
    let found = programs.flat_map(|bytes| {
        let begins =
            bytes.windows(VERSION.len()).enumerate().filter(|(_, window)| *window == VERSION);
        begins.filter_map(move |(at, _)| version(&bytes[at + VERSION.len()..]))
    });
    found.max().map(|(major, minor)| format!("{major}.{minor}"))
}

/// Whether the standard library for a target is there.
fn is_installed(workshop: &Workshop, target: &str) -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", target])
        .current_dir(workshop.root())
        .output();
    let Ok(output) = output else { return false };
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let is_std = |name: &str| name.starts_with("libstd-") && name.ends_with(".rlib");
    fs::read_dir(folder).is_ok_and(|entries| {
        entries.flatten().any(|entry| is_std(&entry.file_name().to_string_lossy()))
    })
}

/// Where a program of the system is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// What is built.
pub(crate) const PROGRAMS: [&str; 3] = ["peer", "orchestrator", "chaos"];
/// What is built with musl: `orchestrator` makes hosts by the crate `tappers`, which does not
/// compile there. No board needs it.
const PROGRAMS_WITH_MUSL: [&str; 2] = ["peer", "chaos"];

/// What is built for a target.
pub(crate) fn programs_for(target: &str) -> &'static [&'static str] {
    if target.contains("musl") { &PROGRAMS_WITH_MUSL } else { &PROGRAMS }
}
/// How; see `Cargo.toml`.
pub(crate) const PROFILE: &str = "dist";
/// What stands before the version in the names of versions.
const VERSION: &[u8] = b"GLIBC_";

#[cfg(test)]
mod tests {
    use super::library_needed;

    #[test]
    fn the_library_is_as_new_as_the_newest_thing_that_is_asked_of_it() {
        let programs = [&b"..\0GLIBC_2.4\0GLIBC_2.34\0GLIBC_PRIVATE\0"[..], b"GLIBC_2.2.5\0GLIBC_"];
        assert_eq!(library_needed(programs.into_iter()), Some("2.34".to_owned()));
        assert_eq!(library_needed([&b"static"[..]].into_iter()), None);
    }
}
