//! Tests of a product: a package is installed into an empty root and removed again, a unit is
//! analysed, an image is unpacked.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::geteuid;
use serde_json::Value;

use super::bench::{Bench, succeed, unmet};
use super::image::USER;
use super::target::find;
use crate::failure::Failure;

/// Why programs cannot be confined here, if they cannot.
pub(crate) fn cannot_confine() -> Option<String> {
    (!geteuid().is_root()).then(|| "chroot needs root".to_owned())
}

/// Installs a package into an empty root, with its scripts, and removes it again; `inside` runs in
/// between.
pub(crate) fn installed(
    root: &Path,
    package: &Path,
    inside: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"] {
        fs::create_dir_all(root.join(folder)).map_err(Failure::io(folder))?;
    }
    for file in ["var/lib/dpkg/status", "etc/group", "etc/passwd"] {
        File::create(root.join(file)).map_err(Failure::io(file))?;
    }
    let dpkg = |words: &[&OsStr]| {
        let mut command = Command::new("dpkg");
        let log = root.join("var/log.txt");
        command
            .arg(concat("--root=", root))
            .arg(concat("--log=", &log))
            .args(["--force-script-chrootless", "--force-architecture", "--force-depends"])
            .args(words);
        succeed(command.stdout(Stdio::null()))
    };
    dpkg(&[OsStr::new("--install"), package.as_os_str()])?;
    let group = fs::read_to_string(root.join("etc/group")).unwrap_or_default();
    if !group.lines().any(|line| line.starts_with("sensor-peers:")) {
        return Err(unmet("the package has not made its group"));
    }
    inside()?;
    dpkg(&[OsStr::new("--purge"), OsStr::new("sensor-peers")])?;
    for gone in ["usr/bin/peer", "etc/sensor-peers"] {
        if root.join(gone).exists() {
            return Err(unmet(&format!("/{gone} is left when the package is purged")));
        }
    }
    Ok(())
}

fn concat(flag: &str, path: &Path) -> OsString {
    let mut word = OsString::from(flag);
    word.push(path);
    word
}

/// Analyses the unit, with the real path of the program.
pub(crate) fn judge_unit(bench: &Bench, unit: &Path, program: &Path) -> Result<String, String> {
    let analyze =
        find("systemd-analyze").ok_or("systemd-analyze is missing (Debian package systemd)")?;
    let text = fs::read_to_string(unit).map_err(|error| error.to_string())?;
    let here = bench.path("peer.service");
    fs::write(&here, text.replace("/usr/bin/peer", &program.display().to_string()))
        .map_err(|error| error.to_string())?;
    let run = |words: &[&str]| {
        let output = Command::new(&analyze)
            .args(words)
            .arg(&here)
            .output()
            .map_err(|error| error.to_string())?;
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        if output.status.success() {
            Ok(said)
        } else {
            Err(format!("systemd-analyze {}:\n{said}", words.join(" ")))
        }
    };
    let verified = run(&["verify", "--man=no"])?;
    if !verified.trim().is_empty() {
        return Err(format!("systemd-analyze verify:\n{verified}"));
    }
    let judged =
        run(&["security", "--offline=true", "--no-pager", &format!("--threshold={EXPOSURE_MAX}")])?;
    Ok(judged.lines().last().unwrap_or_default().trim_start_matches(['→', ' ']).to_owned())
}

/// The image, as a layout in a folder.
#[derive(Debug)]
pub(crate) struct Layout {
    folder: PathBuf,
    /// The manifest of each machine's image, with its architecture.
    images: Vec<Value>,
}

impl Layout {
    /// Reads the archive.
    pub(crate) fn open(bench: &Bench, archive: &Path) -> Result<Self, Failure> {
        let folder = bench.path("layout");
        fs::create_dir(&folder).map_err(Failure::io("the layout"))?;
        succeed(Command::new("tar").arg("-C").arg(&folder).arg("-xf").arg(archive))?;
        let index = json(&folder.join("index.json"))?;
        let mut images = index["manifests"].as_array().cloned().unwrap_or_default();
        // Several machines are in an index of their own.
        if let [only] = &images[..]
            && only["platform"].is_null()
        {
            let path = only["digest"].as_str().unwrap_or_default().replace(':', "/");
            images = json(&folder.join("blobs").join(path))?["manifests"]
                .as_array()
                .cloned()
                .unwrap_or_default();
        }
        Ok(Self { folder, images })
    }

    /// Unpacks the image for one architecture, with another program than the one that built it.
    pub(crate) fn unpack(
        &self,
        bench: &Bench,
        architecture: &str,
    ) -> Result<Option<PathBuf>, Failure> {
        let Some(image) =
            self.images.iter().find(|image| image["platform"]["architecture"] == architecture)
        else {
            return Ok(None);
        };
        let mut alone = image.clone();
        alone["annotations"] =
            serde_json::json!({"org.opencontainers.image.ref.name": architecture});
        // `umoci` follows no index to another one, so this machine's image is put into the first
        // index, alone.
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [alone]});
        fs::write(self.folder.join("index.json"), index.to_string())
            .map_err(Failure::io("the layout"))?;
        let bundle = bench.path(architecture);
        let mut name = self.folder.clone().into_os_string();
        name.push(format!(":{architecture}"));
        succeed(Command::new("umoci").args(["unpack", "--image"]).arg(name).arg(&bundle))?;
        let config = json(&bundle.join("config.json"))?;
        if config["process"]["user"]["uid"] != USER
            || config["process"]["args"] != serde_json::json!(["/usr/bin/peer", "run"])
        {
            return Err(unmet(&format!("the image runs something else: {}", config["process"])));
        }
        Ok(Some(bundle.join("rootfs")))
    }
}

fn json(path: &Path) -> Result<Value, Failure> {
    let text = fs::read(path).map_err(Failure::io(path.display().to_string()))?;
    serde_json::from_slice(&text).map_err(|error| unmet(&format!("{}: {error}", path.display())))
}

/// In tenths, the unit of `systemd-analyze`.
const EXPOSURE_MAX: u32 = 25;
