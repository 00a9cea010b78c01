//! Which life of a peer this is: larger at each start than at the one before.
//!
//! The clock alone nearly does it; the number stored in the data folder covers a clock that was set back.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use protocol::id::Incarnation;

/// Where the incarnation is kept.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// In this folder.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { path: folder.join("incarnation") }
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
    use super::{Incarnation, Store, choose};

    #[test]
    fn it_rises_even_when_the_clock_falls() {
        assert_eq!(choose(None, 1_000), Incarnation(1_000));
        assert_eq!(choose(Some(Incarnation(5_000)), 1_000), Incarnation(5_001));
        assert_eq!(choose(Some(Incarnation(500)), 1_000), Incarnation(1_000));
    }

    #[test]
    fn it_survives_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        assert_eq!(store.load(), None);
        store.save(Incarnation(7)).unwrap();
        store.save(Incarnation(8)).unwrap();
        assert_eq!(store.load(), Some(Incarnation(8)));
        std::fs::write(folder.path().join("incarnation"), "rubbish").unwrap();
        assert_eq!(store.load(), None);
    }
}
