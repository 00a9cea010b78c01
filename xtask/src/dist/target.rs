//! Build targets: the machines of the product, and which of them this toolchain can build for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::workshop::{Programs, Workshop};

/// A kind of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Its name in the tarballs.
    pub(crate) name: &'static str,
    /// Its name in Debian.
    pub(crate) debian: &'static str,
    /// Its name in container images: architecture and variant.
    pub(crate) image: (&'static str, Option<&'static str>),
    /// Rust's targets for it, the preferred one first.
    targets: [&'static str; 2],
    /// The linker for it on another machine.
    linker: &'static str,
    /// The emulator of its programs on another machine.
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

    /// The preferred target.
    pub(crate) fn best(&self) -> &'static str {
        self.targets[0]
    }

    /// What to do if no target is installed.
    pub(crate) fn advice(&self) -> String {
        format!("the target is not installed; rustup target add {}", self.best())
    }

    /// Whether this machine is of that kind.
    pub(crate) fn is_here(&self) -> bool {
        std::env::consts::ARCH == self.name
            || (std::env::consts::ARCH, self.name) == ("arm", "armv7")
    }

    /// The command that runs a program of that machine here.
    ///
    /// # Errors
    /// What is missing.
    pub(crate) fn runner(&self) -> Result<Option<PathBuf>, String> {
        if self.is_here() {
            return Ok(None);
        }
        let found = find(self.emulator).ok_or_else(|| {
            format!("{} is missing (Debian package qemu-user-static)", self.emulator)
        })?;
        Ok(Some(found))
    }

    /// Builds programs for it; according to `linkage`, they need the C library of the machine that
    /// they run on, or nothing.
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
        // Builds with other flags need another folder, or each build would invalidate the other.
        command.args(["--target", target, "--target-dir"]).arg(folder.join(linkage.name()));
        command.args(programs.iter().flat_map(|package| ["--package", package]));
        // Without paths of this machine: the same bytes wherever it is built.
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
            // The targets of musl bring their own start files and library, so any linker suffices.
            command.env(variable, if target.contains("musl") { "rust-lld" } else { self.linker });
        }
        Programs::built_by(&mut command, format!("{} for {target}", programs.join(", ")))
    }
}

/// The libraries that a program needs at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Linkage {
    /// None.
    Static,
    /// The C library. With GNU's, a static program is for images only: on a machine with name
    /// service plug-ins (such as `mdns4_minimal` on boards), the program would load them, and crash
    /// if they are for another version.
    Dynamic,
}

impl Linkage {
    /// The linkage of installed programs for a target.
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

/// The oldest version of GNU's C library that provides everything these programs use, such as
/// `2.34`.
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

/// Whether the standard library for a target is installed.
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

/// The path of a system program.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The programs that are built.
pub(crate) const PROGRAMS: [&str; 3] = ["peer", "orchestrator", "chaos"];
/// The programs built with musl: `orchestrator` creates hosts with the crate `tappers`, which does
/// not compile there. No board needs it.
const PROGRAMS_WITH_MUSL: [&str; 2] = ["peer", "chaos"];

/// The programs that are built for a target.
pub(crate) fn programs_for(target: &str) -> &'static [&'static str] {
    if target.contains("musl") { &PROGRAMS_WITH_MUSL } else { &PROGRAMS }
}
/// The build profile; see `Cargo.toml`.
pub(crate) const PROFILE: &str = "dist";
/// The prefix of symbol versions.
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
