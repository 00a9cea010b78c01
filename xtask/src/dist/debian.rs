//! The Debian package, written here: an `ar` archive of two tar archives. So it is built wherever
//! the tarball is, for every machine in the same way, and without a tool that would have to be
//! installed first.

use std::io;
use std::process::Command;

use super::archive::{Archive, Effort, filter, gzip};

/// The parts of a package.
#[derive(Debug)]
pub(crate) struct Package<'a> {
    /// The version of the product.
    pub(crate) version: &'a str,
    /// The architecture, in Debian's terms.
    pub(crate) architecture: &'a str,
    /// The packages that it depends on, in Debian's syntax.
    pub(crate) depends: String,
    /// All installed files, by path.
    pub(crate) files: Archive,
    /// Maintainer scripts, by name.
    pub(crate) scripts: Vec<(&'static str, Vec<u8>)>,
}

impl Package<'_> {
    /// The package.
    ///
    /// # Errors
    /// Those of `gzip` and `md5sum`.
    pub(crate) fn deb(self, time: u64, effort: Effort) -> io::Result<Vec<u8>> {
        let (mut sums, mut size) = (String::new(), 0);
        for (path, bytes) in self.files.files() {
            let sum = filter(&mut Command::new("md5sum"), bytes)?;
            sums.push_str(&format!(
                "{}  {path}\n",
                String::from_utf8_lossy(&sum).split(' ').next().unwrap_or_default()
            ));
            size += bytes.len().div_ceil(1_024);
        }
        let mut control = Archive::default();
        control.file(
            "./control",
            0o644,
            control_file(self.version, self.architecture, &self.depends, size).into_bytes(),
        );
        control.file("./conffiles", 0o644, format!("/{CONFIGURATION}\n").into_bytes());
        control.file("./md5sums", 0o644, sums.into_bytes());
        for (name, bytes) in self.scripts {
            control.file(&format!("./{name}"), 0o755, bytes);
        }
        let mut data = Archive::default();
        data.below(".", self.files);
        let mut deb = b"!<arch>\n".to_vec();
        let members = [
            ("debian-binary", b"2.0\n".to_vec()),
            ("control.tar.gz", gzip(&control.tar(time)?, effort)?),
            ("data.tar.gz", gzip(&data.tar(time)?, effort)?),
        ];
        for (name, bytes) in members {
            deb.extend_from_slice(
                format!(
                    "{name:<16}{time:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                    0,
                    0,
                    "100644",
                    bytes.len()
                )
                .as_bytes(),
            );
            deb.extend_from_slice(&bytes);
            if bytes.len() % 2 == 1 {
                deb.push(b'\n');
            }
        }
        Ok(deb)
    }
}

fn control_file(version: &str, architecture: &str, depends: &str, kibibytes: usize) -> String {
    let depends = if depends.is_empty() { String::new() } else { format!("Depends: {depends}\n") };
    format!(
        "Package: sensor-peers\n\
         Version: {version}\n\
         Architecture: {architecture}\n\
         Maintainer: Distributed Sensor System developers <sensor-peers@example.org>\n\
         Installed-Size: {kibibytes}\n\
         {depends}\
         Section: net\n\
         Priority: optional\n\
         Description: group of peers that order sensor readings\n \
         Peers find each other, elect a leader, and hand every reading to every peer,\n \
         in the same order everywhere. There is no server.\n"
    )
}

/// A file that dpkg asks about before it replaces it.
pub(crate) const CONFIGURATION: &str = "etc/sensor-peers/peer.toml";

#[cfg(test)]
mod tests {
    use super::{Archive, Effort, Package};
    use std::process::Command;

    fn package() -> Vec<u8> {
        let mut files = Archive::default();
        files.file("usr/bin/peer", 0o755, b"odd".to_vec());
        files.file(super::CONFIGURATION, 0o644, b"# nothing\n".to_vec());
        let scripts = vec![("postinst", b"#!/bin/sh\n".to_vec())];
        Package {
            version: "0.0.1",
            architecture: "armhf",
            depends: "libc6 (>= 2.34)".to_owned(),
            files,
            scripts,
        }
        .deb(86_400, Effort::Best)
        .unwrap()
    }

    #[test]
    fn dpkg_reads_what_is_written() {
        assert_eq!(package(), package(), "the same bytes");
        if Command::new("dpkg-deb").arg("--version").output().is_err() {
            eprintln!("not run: dpkg-deb is not on this machine");
            return;
        }
        let path = std::env::temp_dir().join(format!("xtask-{}.deb", std::process::id()));
        std::fs::write(&path, package()).unwrap();
        let run = |flag: &str| {
            let output =
                Command::new("dpkg-deb").env("TZ", "UTC").arg(flag).arg(&path).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let (fields, contents, info) = (run("--field"), run("--contents"), run("--info"));
        std::fs::remove_file(&path).unwrap();
        assert!(
            fields.contains("Architecture: armhf\n")
                && fields.contains("Depends: libc6 (>= 2.34)\n")
                && fields.contains("Version: 0.0.1\n"),
            "{fields}"
        );
        assert!(
            contents.contains("-rwxr-xr-x 0/0               3 1970-01-02 00:00 ./usr/bin/peer\n"),
            "{contents}"
        );
        assert!(info.contains("conffiles") && info.contains("postinst"), "{info}");
    }
}
