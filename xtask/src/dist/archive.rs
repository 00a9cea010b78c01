//! A tar archive that depends on its contents only: entries sorted by name, owners as numbers, one
//! time for all of them, modes as given, independent of the umask.
//!
//! Written here, in the format of POSIX (ustar), because each tar program has its own flags for
//! that, or none.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::thread;

/// The contents of an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Archive {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    mode: u32,
    owner: u32,
    /// None for a folder.
    bytes: Option<Vec<u8>>,
}

impl Archive {
    /// Adds a file of root, and the folders above it.
    pub(crate) fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        for (slash, _) in path.match_indices('/') {
            self.entries.entry(format!("{}/", &path[..slash])).or_insert(Entry {
                mode: 0o755,
                owner: 0,
                bytes: None,
            });
        }
        self.entries.insert(path.to_owned(), Entry { mode, owner: 0, bytes: Some(bytes) });
    }

    /// Adds a folder of this user and group, and the folders above it.
    pub(crate) fn folder(&mut self, path: &str, mode: u32, owner: u32) {
        self.file(&format!("{path}/x"), 0, Vec::new());
        self.entries.remove(&format!("{path}/x"));
        self.entries.insert(format!("{path}/"), Entry { mode, owner, bytes: None });
    }

    /// Adds all of another archive below a folder.
    pub(crate) fn below(&mut self, folder: &str, other: Self) {
        for (path, entry) in other.entries {
            match entry.bytes {
                Some(bytes) => self.file(&format!("{folder}/{path}"), entry.mode, bytes),
                None => self.folder(
                    &format!("{folder}/{}", path.trim_end_matches('/')),
                    entry.mode,
                    entry.owner,
                ),
            }
        }
    }

    /// Its files, by path.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.entries
            .iter()
            .filter_map(|(path, entry)| Some((path.as_str(), entry.bytes.as_deref()?)))
    }

    /// Writes it as a tar archive, everything of this time.
    ///
    /// # Errors
    /// A path has more than 100 bytes, for which the oldest form of a header has no room.
    pub(crate) fn tar(&self, time: u64) -> io::Result<Vec<u8>> {
        let mut tar = Vec::new();
        for (path, entry) in &self.entries {
            let content = entry.bytes.as_deref().unwrap_or_default();
            tar.extend_from_slice(&header(path, entry, content.len(), time)?);
            tar.extend_from_slice(content);
            tar.resize(tar.len().next_multiple_of(BLOCK), 0);
        }
        // Two empty blocks end an archive.
        tar.resize(tar.len() + 2 * BLOCK, 0);
        Ok(tar)
    }
}

fn header(path: &str, entry: &Entry, size: usize, time: u64) -> io::Result<[u8; BLOCK]> {
    if path.len() > NAME {
        return Err(io::Error::other(format!(
            "{path} has {} bytes; an archive has room for {NAME}",
            path.len()
        )));
    }
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, path.as_bytes());
    put(100, format!("{:07o}\0", entry.mode).as_bytes());
    put(108, format!("{:07o}\0", entry.owner).as_bytes());
    put(116, format!("{:07o}\0", entry.owner).as_bytes());
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, format!("{time:011o}\0").as_bytes());
    // The checksum is computed over a header in which its own field is blank.
    put(148, b"        ");
    put(156, if entry.bytes.is_some() { b"0" } else { b"5" });
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

/// The effort of the compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// For the products.
    Best,
    /// For programs of the tests, which are large and thrown away.
    Quick,
}

/// Compresses bytes, without a file name and a time in the header.
///
/// # Errors
/// `gzip` cannot be run.
pub(crate) fn gzip(bytes: &[u8], effort: Effort) -> io::Result<Vec<u8>> {
    let level = if effort == Effort::Quick { "-1" } else { "-9" };
    filter(Command::new("gzip").args(["-n", level, "-c"]), bytes)
}

/// The SHA-256 of these bytes, in hexadecimal.
///
/// # Errors
/// `sha256sum` cannot be run.
pub(crate) fn sha256(bytes: &[u8]) -> io::Result<String> {
    let output = filter(&mut Command::new("sha256sum"), bytes)?;
    Ok(String::from_utf8_lossy(&output).split(' ').next().unwrap_or_default().to_owned())
}

/// The output of a program for these bytes.
///
/// # Errors
/// It cannot be run, or fails.
pub(crate) fn filter(command: &mut Command, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().expect("it was piped a line above");
    let output = thread::scope(|scope| {
        // The program writes output before it has read all of its input.
        scope.spawn(move || input.write_all(bytes));
        child.wait_with_output()
    })?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(io::Error::other(format!("{command:?} failed: {}", output.status)))
    }
}

const BLOCK: usize = 512;
const NAME: usize = 100;

#[cfg(test)]
mod tests {
    use super::{Archive, Effort, filter, gzip, sha256};
    use std::process::Command;

    fn archive(order: &[usize]) -> Archive {
        let mut archive = Archive::default();
        for number in order {
            match number {
                0 => archive.file("a/bin/peer", 0o755, b"program".to_vec()),
                1 => archive.file("a/README.md", 0o644, vec![b'x'; 1_000]),
                _ => archive.folder("a/data", 0o700, 65_532),
            }
        }
        archive
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        let tar = archive(&[0, 1, 2]).tar(1_795_421_702).unwrap();
        assert_eq!(
            tar,
            archive(&[2, 1, 0]).tar(1_795_421_702).unwrap(),
            "in whatever order it was added"
        );
        assert_ne!(tar, archive(&[2, 1, 0]).tar(1_795_421_703).unwrap());
        assert_eq!(gzip(&tar, Effort::Best).unwrap(), gzip(&tar, Effort::Best).unwrap());
        assert_eq!(
            sha256(b"abc").unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn tar_reads_what_is_written() {
        let bytes = archive(&[0, 1, 2]).tar(86_400).unwrap();
        let listed = filter(
            Command::new("tar").args(["--numeric-owner", "--utc", "--full-time", "-tvf", "-"]),
            &bytes,
        )
        .unwrap();
        let lines: Vec<String> = String::from_utf8(listed)
            .unwrap()
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "drwxr-xr-x 0/0 0 1970-01-02 00:00:00 a/",
                "-rw-r--r-- 0/0 1000 1970-01-02 00:00:00 a/README.md",
                "drwxr-xr-x 0/0 0 1970-01-02 00:00:00 a/bin/",
                "-rwxr-xr-x 0/0 7 1970-01-02 00:00:00 a/bin/peer",
                "drwx------ 65532/65532 0 1970-01-02 00:00:00 a/data/",
            ]
        );
        assert!(Archive::default().tar(0).unwrap().len() == 1_024);
        let mut long = Archive::default();
        long.file(&"x".repeat(101), 0o644, Vec::new());
        assert!(long.tar(0).unwrap_err().to_string().contains("101 bytes"));
    }
}
