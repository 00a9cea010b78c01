//! A text file that grows by whole lines, and is rotated when it is large.
//!
//! Other programs may empty, truncate, rename, remove or replace it at any time (log rotation
//! does), so only its identity is remembered: its size, its last byte and its link count are looked
//! up before each append.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::Arc;
use std::time::Duration;

use protocol::time::Time;

use crate::folder::{Folder, Identity, Presence, other_kind};

/// A file and its predecessors: `name`, `name.1` (the newest), `name.2` …
#[derive(Debug)]
pub(super) struct Rotating {
    name: String,
    /// The first line of each file.
    head: &'static str,
    limit: u64,
    keep: u32,
    open: Option<Open>,
    /// How often others removed or replaced it.
    moved: u64,
    /// When to try the rotation again, after this many consecutive failures.
    failed: u64,
    retry_at: Option<Time>,
}

#[derive(Debug)]
struct Open {
    folder: Arc<Folder>,
    file: File,
    identity: Identity,
}

impl Rotating {
    pub(super) fn new(name: String, head: &'static str, limit: u64, keep: u32) -> Self {
        Self { name, head, limit, keep, open: None, moved: 0, failed: 0, retry_at: None }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Closes the descriptor; the next lines reopen the file.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Closes the file if the name leads to another one.
    pub(super) fn look(&mut self, folder: &Arc<Folder>) {
        let Some(open) = &self.open else { return };
        if !Arc::ptr_eq(&open.folder, folder) {
            // The state of the folder has been reported.
            self.open = None;
        } else if matches!(folder.has(&self.name, open.identity), Presence::Changed) {
            self.open = None;
            self.moved += 1;
            if self.moved.is_power_of_two() {
                log::warn!(
                    "The file {} was removed, renamed or replaced while the peer runs (time {}). \
                     What was written there is where \
                     that file is, if it still is; what follows goes to a file of the old name.",
                    folder.path().join(&self.name).display(),
                    self.moved
                );
            }
        }
    }

    /// Appends whole lines. After an error none of them is in the file, as far as the disk permits
    /// taking them back; the error is [`io::ErrorKind::NotFound`] once when the file was removed.
    pub(super) fn append(
        &mut self,
        now: Time,
        folder: &Arc<Folder>,
        lines: &[u8],
    ) -> io::Result<()> {
        let mut size = self.size(folder)?;
        let large = size + lines.len() as u64 > self.limit && size > self.head.len() as u64;
        if large && self.retry_at.is_none_or(|at| now >= at) {
            self.rotate(now, folder);
            size = self.size(folder)?;
        }
        let Some(open) = &mut self.open else { return Err(io::ErrorKind::NotFound.into()) };
        let first: &[u8] = if size == 0 {
            self.head.as_bytes()
        } else if open.ends_torn(size)? {
            // An incomplete line, of a killed predecessor or of a truncated file, stays separate.
            b"\n"
        } else {
            b""
        };
        if first.is_empty() { open.write(lines) } else { open.write(&[first, lines].concat()) }
    }

    /// The size of the file, which is opened if necessary.
    fn size(&mut self, folder: &Arc<Folder>) -> io::Result<u64> {
        let open = match self.open.take().filter(|open| Arc::ptr_eq(&open.folder, folder)) {
            Some(open) => open,
            None => Open::of(folder, &self.name)?,
        };
        let meta = open.file.metadata()?;
        self.open = Some(open);
        if meta.nlink() == 0 {
            if !matches!(folder.presence(), Presence::Changed) {
                self.look(folder);
            }
            self.open = None;
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(meta.len())
    }

    /// Rotates the file. If that fails everything is as before, and the file keeps growing.
    fn rotate(&mut self, now: Time, folder: &Arc<Folder>) {
        self.open = None;
        let path = folder.path().join(&self.name);
        match self.put_aside(folder) {
            Ok(()) => {
                if std::mem::take(&mut self.failed) > 0 {
                    log::warn!("{} could be put aside at last.", path.display());
                }
                self.retry_at = None;
            }
            Err(error) => {
                self.failed += 1;
                let pause = RETRY_MIN.saturating_mul(1 << (self.failed - 1).min(16)).min(RETRY_MAX);
                self.retry_at = Some(now + pause);
                if self.failed.is_power_of_two() {
                    log::warn!(
                        "Cannot put {} aside (attempt {}): {error}. It grows beyond \
                         --rotate-bytes; the older files are as they were, \
                         and nothing is lost. The next attempt is in {pause:?}.",
                        path.display(),
                        self.failed
                    );
                }
            }
        }
    }

    /// Moves each file one number up, the newest last, and undoes that if a move fails. The oldest
    /// is removed after all moves.
    fn put_aside(&self, folder: &Folder) -> io::Result<()> {
        if self.keep == 0 {
            return folder.remove(&self.name);
        }
        let surplus = self.keep.saturating_add(1);
        let mut free = surplus;
        for number in (1..=self.keep).rev() {
            match folder.stat(&self.numbered(number))? {
                None => free = number,
                Some(stat) => {
                    if let Some(kind) = other_kind(&stat) {
                        return Err(io::Error::other(format!(
                            "{} is {kind}, and no file",
                            self.numbered(number)
                        )));
                    }
                }
            }
        }
        let surplus_name = self.numbered(surplus);
        if free == surplus && folder.stat(&surplus_name)?.is_some() {
            // It was to be removed after the last move.
            folder.remove(&surplus_name)?;
        }
        // `name` is number 0.
        for number in (0..free).rev() {
            if let Err(error) = folder.rename(&self.numbered(number), &self.numbered(number + 1)) {
                for moved in number + 1..free {
                    folder.rename(&self.numbered(moved + 1), &self.numbered(moved))?;
                }
                return Err(error);
            }
        }
        if free == surplus {
            // If it stays, the next rotation removes it.
            let _stays = folder.remove(&surplus_name);
        }
        Ok(())
    }

    fn numbered(&self, number: u32) -> String {
        if number == 0 { self.name.clone() } else { format!("{}.{number}", self.name) }
    }
}

impl Open {
    fn of(folder: &Arc<Folder>, name: &str) -> io::Result<Self> {
        let file = folder.append_to(name)?;
        let identity = Identity::of(&file.metadata()?);
        Ok(Self { folder: Arc::clone(folder), file, identity })
    }

    fn ends_torn(&self, size: u64) -> io::Result<bool> {
        let mut last = [0];
        match self.file.read_exact_at(&mut last, size - 1) {
            Ok(()) => Ok(last != *b"\n"),
            // Another program has just truncated it.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes all of it or, as far as it can be taken back, nothing.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < bytes.len() {
            match self.file.write(&bytes[written..]) {
                Ok(0) => return self.take_back(written, io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.take_back(written, error),
            }
        }
        Ok(())
    }

    /// Cuts off the written part of lines that found no room. A file that others have truncated or
    /// extended meanwhile is left alone: setting its length would fill it with NUL bytes, or remove
    /// their data.
    fn take_back(&mut self, written: usize, error: io::Error) -> io::Result<()> {
        if written > 0 {
            // After an append the position is at its end.
            let end = self.file.stream_position()?;
            if self.file.metadata()?.len() == end {
                // If it cannot be cut off, the next lines end it.
                let _torn = self.file.set_len(end.saturating_sub(written as u64));
            }
        }
        Err(error)
    }
}

/// The pause after a first failed rotation; it doubles with each further one.
const RETRY_MIN: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::{Folder, RETRY_MAX, RETRY_MIN, Rotating, Time};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::sync::Arc;

    const NOW: Time = Time::from_micros(1);

    struct Bench {
        base: tempfile::TempDir,
        folder: Arc<Folder>,
    }

    impl Bench {
        fn new() -> Self {
            let base = tempfile::tempdir().unwrap();
            let folder = Arc::new(Folder::make(base.path()).unwrap());
            Self { base, folder }
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.base.path().join(name)
        }

        fn append(&self, file: &mut Rotating, lines: &str) {
            file.look(&self.folder);
            file.append(NOW, &self.folder, lines.as_bytes()).unwrap();
        }
    }

    fn rotating(head: &'static str, limit: u64, keep: u32) -> Rotating {
        Rotating::new("a".to_owned(), head, limit, keep)
    }

    fn read(path: impl AsRef<Path>) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn large_files_are_put_aside_and_old_ones_go() {
        let bench = Bench::new();
        let mut file = rotating("head\n", 12, 2);
        for line in ["one11\n", "two22\n", "three\n", "four4\n"] {
            bench.append(&mut file, line);
        }
        assert_eq!(read(bench.path("a")), "head\nfour4\n");
        assert_eq!(read(bench.path("a.1")), "head\nthree\n");
        assert_eq!(read(bench.path("a.2")), "head\ntwo22\n");
        assert!(!bench.path("a.3").exists());
    }

    #[test]
    fn a_line_larger_than_the_limit_is_still_written() {
        let bench = Bench::new();
        bench.append(&mut rotating("", 4, 1), "123456789\n");
        assert_eq!(read(bench.path("a")), "123456789\n");
    }

    #[test]
    fn a_restart_appends_and_a_torn_line_stays_alone() {
        let bench = Bench::new();
        fs::write(bench.path("a"), "head\nwhole\nhal").unwrap();
        bench.append(&mut rotating("head\n", 1_000, 1), "next\n");
        bench.append(&mut rotating("head\n", 1_000, 1), "last\n");
        assert_eq!(read(bench.path("a")), "head\nwhole\nhal\nnext\nlast\n");
    }

    #[test]
    fn a_file_that_cannot_be_put_aside_grows_on_and_no_other_is_touched() {
        let bench = Bench::new();
        for (name, text) in [("a", "one11\n"), ("a.1", "newest\n"), ("a.2", "oldest\n")] {
            fs::write(bench.path(name), text).unwrap();
        }
        // A directory at the last name, onto which even root cannot rename a file.
        fs::create_dir(bench.path("a.3")).unwrap();
        let mut file = rotating("", 8, 3);
        for line in ["two22\n", "three\n", "four4\n"] {
            bench.append(&mut file, line);
        }
        assert_eq!(read(bench.path("a")), "one11\ntwo22\nthree\nfour4\n");
        assert_eq!(
            (read(bench.path("a.1")), read(bench.path("a.2"))),
            ("newest\n".to_owned(), "oldest\n".to_owned())
        );
        assert_eq!(
            (file.failed, file.retry_at),
            (1, Some(NOW + RETRY_MIN)),
            "not tried at every line"
        );
        for failed in 2..20 {
            file.append(NOW + RETRY_MAX * failed, &bench.folder, b"more\n").unwrap();
            assert_eq!(file.failed, u64::from(failed));
        }
        fs::remove_dir(bench.path("a.3")).unwrap();
        file.append(NOW + RETRY_MAX * 100, &bench.folder, b"last\n").unwrap();
        assert_eq!(
            (read(bench.path("a")), read(bench.path("a.3"))),
            ("last\n".to_owned(), "oldest\n".to_owned())
        );
    }

    #[test]
    fn a_move_that_fails_half_way_is_undone() {
        let bench = Bench::new();
        for (name, text) in [("a.1", "newest\n"), ("a.2", "oldest\n")] {
            fs::write(bench.path(name), text).unwrap();
        }
        let mut file = rotating("", 8, 2);
        bench.append(&mut file, "one11\n");
        // Other programs remove it between two looks: it has no name to be moved from.
        let mut renamed = 0;
        for _ in 0..3 {
            fs::rename(bench.path("a"), bench.path("elsewhere")).unwrap();
            renamed += u32::from(file.put_aside(&bench.folder).is_err());
            fs::rename(bench.path("elsewhere"), bench.path("a")).unwrap();
        }
        assert_eq!(renamed, 3);
        assert_eq!(
            (read(bench.path("a.1")), read(bench.path("a.2"))),
            ("newest\n".to_owned(), "oldest\n".to_owned())
        );
        assert!(!bench.path("a.3").exists());
    }

    #[test]
    fn a_file_that_others_empty_or_cut_goes_on_with_whole_lines() {
        let bench = Bench::new();
        let mut file = rotating("head\n", 1_000, 1);
        bench.append(&mut file, "one\n");
        fs::File::create(bench.path("a")).unwrap();
        bench.append(&mut file, "two\n");
        assert_eq!(read(bench.path("a")), "head\ntwo\n", "no NUL bytes, and a head again");
        fs::OpenOptions::new().write(true).open(bench.path("a")).unwrap().set_len(7).unwrap();
        bench.append(&mut file, "three\n");
        assert_eq!(read(bench.path("a")), "head\ntw\nthree\n");
    }

    #[test]
    fn a_file_that_others_remove_rename_or_replace_is_gone_on_with_under_its_name() {
        let bench = Bench::new();
        let mut file = rotating("head\n", 1_000, 1);
        bench.append(&mut file, "one\n");
        fs::remove_file(bench.path("a")).unwrap();
        assert_eq!(
            file.append(NOW, &bench.folder, b"two\n").unwrap_err().kind(),
            std::io::ErrorKind::NotFound
        );
        file.append(NOW, &bench.folder, b"two\n").unwrap();
        assert_eq!(read(bench.path("a")), "head\ntwo\n", "noticed without a look");
        fs::rename(bench.path("a"), bench.path("b")).unwrap();
        bench.append(&mut file, "three\n");
        fs::rename(bench.path("a"), bench.path("c")).unwrap();
        fs::write(bench.path("a"), "").unwrap();
        bench.append(&mut file, "four\n");
        let all = ["a", "b", "c"].map(|name| read(bench.path(name)));
        assert_eq!(all, ["head\nfour\n", "head\ntwo\n", "head\nthree\n"]);
        assert_eq!(file.moved, 3);
        fs::remove_file(bench.path("a")).unwrap();
        symlink(bench.path("b"), bench.path("a")).unwrap();
        file.look(&bench.folder);
        assert!(
            file.append(NOW, &bench.folder, b"five\n")
                .unwrap_err()
                .to_string()
                .contains("symbolic link")
        );
    }
}
