//! What a peer remembers from one life to the next: which life it is, larger at each start than at the one before, and
//! whether it has been in a group of mode `primary`.
//!
//! The clock alone nearly does it; the number stored in the data folder covers a clock that was set back. The file is
//! locked for as long as the peer lives, so that no two of them write into one folder.
//!
//! The file is one line, `1795421702345` or `1795421702345 veteran`: written beside and renamed, so that a crash leaves the
//! old line or the new one.

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

/// What is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The incarnation of the last life.
    pub incarnation: Incarnation,
    /// What it has seen.
    pub past: Past,
}

/// What earlier lives have seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Past {
    /// No group, or none that matters.
    #[default]
    Fresh,
    /// A view of a group in mode `primary`: this peer may have forgotten what that view knew, and founds no group.
    Veteran,
    /// The same, and an operator has given that group up: the next life founds a new one, alone.
    NewLog,
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

    /// What was stored; nothing where there is no file, or something else in it.
    #[must_use]
    pub fn load(&self) -> Option<Memory> {
        let text = fs::read_to_string(&self.path).ok()?;
        let (number, word) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let past = [Past::Fresh, Past::Veteran, Past::NewLog].into_iter().find(|past| past.word() == word)?;
        Some(Memory { incarnation: Incarnation(number.parse().ok()?), past })
    }

    /// Stores it, so that it survives a crash of the machine: written beside, synced, renamed.
    ///
    /// # Errors
    /// Those of the operating system; the old number stands then.
    pub fn save(&self, memory: Memory) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all((format!("{} {}", memory.incarnation, memory.past.word()).trim_end().to_owned() + "\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

impl Past {
    fn word(self) -> &'static str {
        match self {
            Self::Fresh => "",
            Self::Veteran => "veteran",
            Self::NewLog => "new-log",
        }
    }
}

/// The incarnation of a process that starts now: above the stored one, and not below the milliseconds since 1970.
#[must_use]
pub fn choose(stored: Option<Incarnation>, utc_ms: u64) -> Incarnation {
    Incarnation(stored.map_or(0, |Incarnation(number)| number.saturating_add(1)).max(utc_ms))
}

#[cfg(test)]
mod tests {
    use super::{Incarnation, Memory, NoStore, Past, Store, choose};

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
        for (number, past) in [(7, Past::Fresh), (8, Past::Veteran), (9, Past::NewLog)] {
            let memory = Memory { incarnation: Incarnation(number), past };
            store.save(memory).unwrap();
            assert_eq!(store.load(), Some(memory));
        }
        for rubbish in ["rubbish", "7 rubbish", "", "7 veteran of sorts"] {
            std::fs::write(folder.path().join("incarnation"), rubbish).unwrap();
            assert_eq!(store.load(), None, "{rubbish:?}");
        }
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
