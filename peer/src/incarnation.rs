//! Which life of a peer this is: larger at each start than at the one before.
//!
//! The clock alone nearly does it; the number stored in the data folder covers a clock that was set back. The file is
//! locked for as long as the peer lives, so that no two of them write into one folder.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use protocol::id::Incarnation;

/// Where the incarnation is kept; nobody else can open it meanwhile.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// Locked until it is closed, which the kernel does for a process that is killed, too.
    _lock: File,
}

/// Why there is no store.
#[derive(Debug)]
pub enum NoStore {
    /// Another peer uses the folder.
    Taken,
    /// The folder cannot be written.
    Unwritable(io::Error),
}

impl Store {
    /// In this folder, which is made if need be.
    ///
    /// # Errors
    /// [`NoStore`].
    pub fn open(folder: &Path) -> Result<Self, NoStore> {
        fs::create_dir_all(folder).map_err(NoStore::Unwritable)?;
        let lock = File::create(folder.join("lock")).map_err(NoStore::Unwritable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: folder.join("incarnation"), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(NoStore::Taken),
            Err(TryLockError::Error(error)) => Err(NoStore::Unwritable(error)),
        }
    }

    /// What was stored; nothing where there is no file, or no number in it.
    #[must_use]
    pub fn load(&self) -> Option<Incarnation> {
        fs::read_to_string(&self.path).ok()?.trim().parse().ok().map(Incarnation)
    }

    /// Stores it, so that it survives a crash of the machine: written beside, synced, renamed.
    ///
    /// # Errors
    /// Those of the operating system; the old number stands then.
    pub fn save(&self, incarnation: Incarnation) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        let mut file = File::create(&beside)?;
        writeln!(file, "{incarnation}")?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

/// The incarnation of a process that starts now: above the stored one, and not below the milliseconds since 1970.
#[must_use]
pub fn choose(stored: Option<Incarnation>, utc_ms: u64) -> Incarnation {
    Incarnation(stored.map_or(0, |Incarnation(number)| number.saturating_add(1)).max(utc_ms))
}

#[cfg(test)]
mod tests {
    use super::{Incarnation, NoStore, Store, choose};

    #[test]
    fn it_rises_even_when_the_clock_falls() {
        assert_eq!(choose(None, 1_000), Incarnation(1_000));
        assert_eq!(choose(Some(Incarnation(5_000)), 1_000), Incarnation(5_001));
        assert_eq!(choose(Some(Incarnation(500)), 1_000), Incarnation(1_000));
    }

    #[test]
    fn it_survives_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.load(), None);
        store.save(Incarnation(7)).unwrap();
        store.save(Incarnation(8)).unwrap();
        assert_eq!(store.load(), Some(Incarnation(8)));
        std::fs::write(folder.path().join("incarnation"), "rubbish").unwrap();
        assert_eq!(store.load(), None);
    }

    #[test]
    fn a_folder_has_one_peer_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert!(matches!(Store::open(folder.path()), Err(NoStore::Taken)));
        drop(store);
        assert!(Store::open(folder.path()).is_ok());
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(Store::open(&file), Err(NoStore::Unwritable(_))));
    }
}
