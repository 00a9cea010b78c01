//! Disks of a given size, one for the folder of each peer: a tmpfs that only this process and its
//! children see. Its content is copied to the run folder at the end.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// The disks of a run.
#[derive(Debug, Default)]
pub(crate) struct Disks {
    mounted: Vec<PathBuf>,
    /// The files that fill a disk, by the name of the fault.
    ballast: BTreeMap<String, Vec<PathBuf>>,
}

impl Disks {
    /// Mounts an empty disk of this size, in MiB, at the folder; once per folder.
    pub(crate) fn mount(&mut self, folder: &Path, size: u64) -> io::Result<()> {
        if self.mounted.iter().any(|mounted| mounted == folder) {
            return Ok(());
        }
        fs::create_dir_all(folder)?;
        let options = format!("size={size}m,mode=700");
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))?;
        self.mounted.push(folder.to_owned());
        Ok(())
    }

    /// Fills the disk of a folder to its last byte.
    pub(crate) fn fill(&mut self, name: &str, folder: &Path) -> io::Result<()> {
        if !self.mounted.iter().any(|mounted| mounted == folder) {
            let words = "give the host a disk of its own first: [hosts.NAME] disk_mib = 2";
            return Err(io::Error::new(io::ErrorKind::Unsupported, words));
        }
        let path = folder.join(BALLAST);
        let mut file = File::create(&path)?;
        self.ballast.entry(name.to_owned()).or_default().push(path);
        let mut piece: &[u8] = &[0; 1 << 16];
        while !piece.is_empty() {
            match file.write(piece) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    piece = &piece[..piece.len() / 2]
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Frees the space that a fault filled.
    pub(crate) fn free(&mut self, name: &str) -> io::Result<()> {
        for path in self.ballast.remove(name).unwrap_or_default() {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Unmounts all disks and keeps their content.
    pub(crate) fn keep(&mut self) -> io::Result<()> {
        for folder in std::mem::take(&mut self.mounted) {
            let mut beside = folder.clone().into_os_string();
            // No id has a `~`.
            beside.push("~disk");
            let beside = PathBuf::from(beside);
            copy(&folder, &beside)?;
            umount2(&folder, MntFlags::MNT_DETACH)?;
            copy(&beside, &folder)?;
            fs::remove_dir_all(&beside)?;
        }
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else if entry.file_name() != BALLAST {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The name of the file that fills a disk.
const BALLAST: &str = ".ballast";
