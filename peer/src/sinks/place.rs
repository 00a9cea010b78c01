//! The data folder of the sinks at its configured path, looked up again once a second, because it
//! may be moved, removed or replaced while the peer runs.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use protocol::time::Time;

use crate::folder::Folder;
use crate::incarnation::Shared;

/// The data folder of the sinks.
#[derive(Debug)]
pub(super) struct Place {
    store: Shared,
    folder: Option<Arc<Folder>>,
    looked_at: Option<Time>,
}

impl Place {
    pub(super) fn new(store: Shared) -> Self {
        Self { store, folder: None, looked_at: None }
    }

    /// Whether there was a folder at the last look.
    pub(super) fn is_usable(&self) -> bool {
        self.folder.is_some()
    }

    /// The folder, as of the last second.
    pub(super) fn folder(&mut self, now: Time) -> io::Result<Arc<Folder>> {
        let fresh = self.looked_at.is_some_and(|at| now < at + LOOK_INTERVAL);
        match &self.folder {
            Some(folder) if fresh => Ok(Arc::clone(folder)),
            _ => self.look(now),
        }
    }

    /// The folder, as of now.
    pub(super) fn look(&mut self, now: Time) -> io::Result<Arc<Folder>> {
        if self.store.lock().is_disturbed() {
            thread::sleep(GRACE);
        }
        self.looked_at = Some(now);
        self.folder = None;
        let folder = self.store.lock().look()?;
        self.folder = Some(Arc::clone(&folder));
        Ok(folder)
    }
}

/// How soon a moved folder is noticed.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A folder is removed file by file, and the removal fails if a new file appears meanwhile; so the
/// worker waits this long first.
pub(super) const GRACE: Duration = Duration::from_millis(200);
