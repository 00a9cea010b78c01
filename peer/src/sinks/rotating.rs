//! A text file that grows by whole lines, and is put aside when it is large.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::events::ends_torn;

/// A file and its predecessors: `name`, `name.1` (the newest), `name.2` …
#[derive(Debug)]
pub(super) struct Rotating {
    path: PathBuf,
    /// The first line of each file.
    head: &'static str,
    limit: u64,
    keep: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    size: u64,
}

impl Rotating {
    pub(super) fn new(path: PathBuf, head: &'static str, limit: u64, keep: u32) -> Self {
        Self { path, head, limit, keep, open: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the descriptor back; the next lines open the file again.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Appends whole lines. After an error none of them is in the file, as far as the disk lets us take back.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let length = lines.len() as u64;
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open()?,
        };
        if open.size + length > self.limit && open.size > self.head.len() as u64 {
            drop(open);
            self.put_aside()?;
            open = self.open()?;
        }
        if let Err(error) = open.file.write_all(lines) {
            // Half a line would stick to the next one.
            let _torn = open.file.set_len(open.size);
            return Err(error);
        }
        open.size += length;
        self.open = Some(open);
        Ok(())
    }

    fn open(&self) -> io::Result<Open> {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        let mut size = file.metadata()?.len();
        // A predecessor that was killed may have left half a line.
        let first: &[u8] = if size == 0 {
            self.head.as_bytes()
        } else if ends_torn(&self.path) {
            b"\n"
        } else {
            b""
        };
        file.write_all(first)?;
        size += first.len() as u64;
        Ok(Open { file, size })
    }

    fn put_aside(&self) -> io::Result<()> {
        if self.keep == 0 {
            return fs::remove_file(&self.path);
        }
        for older in (1..self.keep).rev() {
            match fs::rename(self.numbered(older), self.numbered(older + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.numbered(1))
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::Rotating;
    use std::path::Path;

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn large_files_are_put_aside_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let mut file = Rotating::new(path.clone(), "head\n", 12, 2);
        for line in ["one11\n", "two22\n", "three\n", "four4\n"] {
            file.append(line.as_bytes()).unwrap();
        }
        assert_eq!(read(&path), "head\nfour4\n");
        assert_eq!(read(&folder.path().join("a.csv.1")), "head\nthree\n");
        assert_eq!(read(&folder.path().join("a.csv.2")), "head\ntwo22\n");
        assert!(!folder.path().join("a.csv.3").exists());
    }

    #[test]
    fn a_line_larger_than_the_limit_is_still_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut file = Rotating::new(path.clone(), "", 4, 1);
        file.append(b"123456789\n").unwrap();
        assert_eq!(read(&path), "123456789\n");
    }

    #[test]
    fn a_restart_appends_and_a_torn_line_stays_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "head\nwhole\nhal").unwrap();
        Rotating::new(path.clone(), "head\n", 1_000, 1).append(b"next\n").unwrap();
        Rotating::new(path.clone(), "head\n", 1_000, 1).append(b"last\n").unwrap();
        assert_eq!(read(&path), "head\nwhole\nhal\nnext\nlast\n");
    }
}
