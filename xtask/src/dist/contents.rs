//! The contents of the products beside the programs, and the layout of each product.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::archive::Archive;
use super::debian::CONFIGURATION;
use crate::failure::Failure;

/// The contents that all products share.
#[derive(Debug)]
pub(crate) struct Contents {
    /// By the path below `/usr`.
    shared: Archive,
    unit: String,
    scripts: Vec<(&'static str, Vec<u8>)>,
    /// Contents that are missing.
    pub(crate) missing: Vec<String>,
}

impl Contents {
    /// Gathers the contents from the checkout; `peer` is a program that runs here and writes its
    /// own manual.
    pub(crate) fn gather(root: &Path, peer: Option<&Path>) -> Result<Self, Failure> {
        let read = |name: &str| fs::read(root.join(name)).map_err(Failure::io(name.to_owned()));
        let mut shared = Archive::default();
        for name in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            shared.file(&format!("share/doc/sensor-peers/{name}"), 0o644, read(name)?);
        }
        for folder in ["docs", "contrib"] {
            let entries =
                fs::read_dir(root.join(folder)).map_err(Failure::io(folder.to_owned()))?;
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if [".md", ".yaml"].iter().any(|ending| name.ends_with(ending)) {
                    shared.file(
                        &format!("share/doc/sensor-peers/{name}"),
                        0o644,
                        read(&format!("{folder}/{name}"))?,
                    );
                }
            }
        }
        shared.file(EXAMPLE, 0o644, read("contrib/peer.toml")?);
        shared.file("lib/sysusers.d/sensor-peers.conf", 0o644, read("contrib/sysusers.conf")?);
        let mut missing = Vec::new();
        for (arguments, path) in MANUALS {
            match peer.map(|peer| Command::new(peer).args(arguments.split(' ')).output()) {
                Some(Ok(output)) if output.status.success() => {
                    shared.file(path, 0o644, output.stdout)
                }
                Some(_) => {
                    missing.push(format!("{path}: there is no `peer {arguments}` in this build"))
                }
                None => {
                    missing.push(format!("{path}: no peer was built that runs on this machine"))
                }
            }
        }
        let unit = String::from_utf8_lossy(&read("contrib/peer.service")?).into_owned();
        let scripts = SCRIPTS
            .into_iter()
            .map(|name| Ok((name, read(&format!("contrib/debian/{name}"))?)))
            .collect::<Result<_, _>>()?;
        Ok(Self { shared, unit, scripts, missing })
    }

    /// The tarball of these programs, below one folder; unpacked into `/usr/local` without that
    /// folder it is installed.
    pub(crate) fn tarball(&self, folder: &str, programs: &[(&str, Vec<u8>)]) -> Archive {
        let mut archive = self.shared.clone();
        // systemd looks for its units there as well.
        archive.file(
            "lib/systemd/system/peer.service",
            0o644,
            self.unit.replace("/usr/bin/peer", "/usr/local/bin/peer").into_bytes(),
        );
        for (name, bytes) in programs {
            archive.file(&format!("bin/{name}"), 0o755, bytes.clone());
        }
        let mut tarball = Archive::default();
        tarball.below(folder, archive);
        tarball
    }
}

impl Contents {
    /// The scripts that the Debian package runs when it is installed and removed.
    pub(crate) fn scripts(&self) -> &[(&'static str, Vec<u8>)] {
        &self.scripts
    }

    /// The files of the Debian package of these programs.
    pub(crate) fn package(&self, programs: &[(&str, Vec<u8>)]) -> Archive {
        let mut archive = Archive::default();
        archive.below("usr", self.shared.clone());
        archive.file("usr/lib/systemd/system/peer.service", 0o644, self.unit.clone().into_bytes());
        for (name, bytes) in programs {
            archive.file(&format!("usr/bin/{name}"), 0o755, bytes.clone());
        }
        if let Some((_, example)) = self.shared.files().find(|(path, _)| *path == EXAMPLE) {
            archive.file(CONFIGURATION, 0o644, example.to_vec());
        }
        archive
    }
}

const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];
/// The initial configuration of a service.
const EXAMPLE: &str = "share/sensor-peers/peer.toml";
/// The parts of its manual that the peer prints, and their places.
const MANUALS: [(&str, &str); 4] = [
    ("man", "share/man/man1/peer.1"),
    ("completions bash", "share/bash-completion/completions/peer"),
    ("completions zsh", "share/zsh/vendor-completions/_peer"),
    ("completions fish", "share/fish/vendor_completions.d/peer.fish"),
];
