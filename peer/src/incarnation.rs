//! The memory of a peer in its data folder: its incarnation, larger at each start than at the one
//! before; whether it has been in a group of mode `primary`; and its name.
//!
//! The clock alone nearly suffices; the stored number covers a clock that was set back. The file
//! `lock` is locked for as long as the peer lives, so that no two peers write into one folder.
//! Every file is written beside, synced and renamed, so that a crash leaves the old or the new one;
//! and an unreadable memory is an error, never the same as none.
//!
//! The folder may be moved or removed while the peer runs. [`Store::look`] notices that, and
//! continues at the path.

use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::id::{Incarnation, PeerId};
use rustix::fs::Stat;

pub use self::memory::{Bad, Memory, Past};
use crate::clock;
use crate::disk;
use crate::folder::{Folder, Identity, NoFolder, Presence, other_kind};

mod memory;

/// The store of the memory; no other peer can open it meanwhile.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    held: Option<Held>,
    /// The wanted content of the file.
    memory: Option<Memory>,
    /// Why the folder was unusable at the last look.
    trouble: Option<String>,
    /// How often others changed the memory.
    changed: u64,
    /// How often the folder was gone.
    moved: u64,
}

/// The folder, while this process holds its lock.
#[derive(Debug)]
struct Held {
    folder: Arc<Folder>,
    /// Locked until it is closed; the kernel also closes it for a killed process.
    lock: File,
    lock_identity: Identity,
    /// The memory as this process has left it.
    stamp: Option<Stamp>,
}

/// Enough to recognise an unchanged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: i64,
    /// In nanoseconds since 1970.
    modified: i128,
}

/// A store that the loop and the worker share.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Mutex<Store>>);

/// The result of loading the memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A memory.
    Memory(Memory),
    /// Nothing.
    Nothing {
        /// Traces of an earlier use of the folder; none if it is new.
        used: Option<String>,
    },
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum NoStore {
    /// Another peer uses the folder.
    #[error("another running peer uses this folder")]
    Taken,
    /// The folder holds the memory of another peer.
    #[error("it holds the memory of peer {0}; move that folder away, and this peer makes its own")]
    Foreign(PeerId),
    /// The folder must not be used.
    #[error("{0}")]
    Unfit(String),
    /// The folder cannot be written.
    #[error(transparent)]
    Unwritable(#[from] io::Error),
}

/// Why an existing memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The file holds no memory.
    #[error(transparent)]
    Bad(#[from] Bad),
    /// It cannot be read, or is no regular file.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Store {
    /// Opens a store in this folder, creating it if necessary.
    ///
    /// # Errors
    /// [`NoStore`].
    pub fn open(path: &Path) -> Result<Self, NoStore> {
        let held = Held::take(path)?;
        Ok(Self { held: Some(held), ..Self::without(path) })
    }

    /// A store without a folder; each look tries again.
    #[must_use]
    pub fn without(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            held: None,
            memory: None,
            trouble: None,
            changed: 0,
            moved: 0,
        }
    }

    /// The path of the memory.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.path.join(MEMORY)
    }

    /// The stored memory.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn load(&self) -> Result<Found, Unreadable> {
        match &self.held {
            Some(held) => load(&held.folder, Some(&held.lock)),
            None => match Folder::open(&self.path) {
                Ok(folder) => load(&folder, None),
                Err(_) => Ok(Found::Nothing { used: None }),
            },
        }
    }

    /// Renames an unreadable memory and keeps it; returns the new name.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn put_aside(&self) -> io::Result<PathBuf> {
        let held = self.held.as_ref().ok_or(io::ErrorKind::NotFound)?;
        held.put_aside().map(|name| self.path.join(name))
    }

    /// Stores a memory so that it survives a crash of the machine, at the path of the folder.
    ///
    /// # Errors
    /// Those of the operating system; then the old memory stays, and each look tries again.
    pub fn save(&mut self, memory: Memory) -> io::Result<()> {
        let highest = self
            .memory
            .as_ref()
            .map_or(memory.incarnation, |before| before.incarnation.max(memory.incarnation));
        self.memory = Some(Memory { incarnation: highest, ..memory });
        self.hold()?;
        match (&mut self.held, &self.memory) {
            (Some(held), Some(memory)) => held.save(memory),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Whether a file of this store is missing: perhaps the whole folder is being removed.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        self.held.as_ref().is_some_and(|held| {
            !held.is_in_place()
                || held.stamp.is_some() && matches!(held.folder.stat(MEMORY), Ok(None))
        })
    }

    /// Checks that the folder is at its path, is locked, and holds the memory; takes it anew if it
    /// was moved or removed. Reports differences.
    ///
    /// # Errors
    /// There is no usable folder.
    pub fn look(&mut self) -> io::Result<Arc<Folder>> {
        let looked = self.hold();
        if let Err(error) = &looked {
            let error = error.to_string();
            if self.trouble.as_ref() != Some(&error) {
                log::error!(
                    "The data folder {} cannot be used: {error}. Nothing is kept until that is \
                     mended; this peer looks again every second.",
                    self.path.display()
                );
                self.trouble = Some(error);
            }
        }
        self.mend_memory();
        looked
    }

    /// The folder at the path, locked.
    fn hold(&mut self) -> io::Result<Arc<Folder>> {
        if let Some(held) = self.held.as_ref().filter(|held| held.is_in_place()) {
            return Ok(Arc::clone(&held.folder));
        }
        let before = self.held.take();
        let (held, missing) = self.take_anew().map_err(|why| match why {
            NoStore::Unwritable(error) => error,
            other => io::Error::other(other.to_string()),
        })?;
        let folder = Arc::clone(&held.folder);
        self.held = Some(held);
        let missing = if missing.is_empty() { "nothing".to_owned() } else { missing.join(", ") };
        if self.trouble.take().is_some() {
            log::warn!(
                "The data folder {} can be used again; missing there: {missing}.",
                self.path.display()
            );
        } else if let Some(before) = before {
            self.moved += 1;
            let same = matches!(before.folder.presence(), Presence::Same);
            let what = if same {
                "has lost its file `lock`"
            } else {
                "was moved, removed or replaced while the peer runs"
            };
            if self.moved.is_power_of_two() {
                let (path, moved) = (self.path.display(), self.moved);
                log::warn!(
                    "The data folder {path} {what} (time {moved}). The peer goes on at that path; \
                     missing there: {missing}."
                );
            }
        }
        Ok(folder)
    }

    /// Takes the folder at the path now, and returns what it lacks.
    fn take_anew(&mut self) -> Result<(Held, Vec<&'static str>), NoStore> {
        let missing = |folder: &Folder| {
            EXPECTED.into_iter().filter(|name| matches!(folder.stat(name), Ok(None))).collect()
        };
        let missing = match Folder::open(&self.path) {
            Ok(folder) => missing(&folder),
            Err(_) => EXPECTED.to_vec(),
        };
        let held = Held::take(&self.path)?;
        let Some(ours) = &self.memory else { return Ok((held, missing)) };
        match load(&held.folder, Some(&held.lock)) {
            Ok(Found::Memory(theirs)) => {
                let other = theirs
                    .name
                    .clone()
                    .filter(|name| ours.name.as_ref().is_some_and(|own| own != name));
                if let Some(other) = other {
                    return Err(NoStore::Foreign(other));
                }
                self.memory = Some(united(ours, &theirs));
            }
            // It is written once the folder is locked.
            Ok(Found::Nothing { .. }) => {}
            Err(why) => log::warn!(
                "The memory {} there cannot be used: {why}. It is put aside.",
                self.file().display()
            ),
        }
        Ok((held, missing))
    }

    /// Writes the memory again if it was removed or changed.
    fn mend_memory(&mut self) {
        let (Some(held), Some(memory)) = (&mut self.held, &self.memory) else { return };
        let now = held.folder.stat(MEMORY).map(|stat| stat.as_ref().map(Stamp::of_stat));
        if now.as_ref().is_ok_and(|now| now.is_some() && *now == held.stamp) {
            return;
        }
        if matches!(load(&held.folder, None), Ok(Found::Memory(found)) if found == *memory) {
            held.stamp = now.ok().flatten();
            return;
        }
        self.changed += 1;
        let (path, changed, was_stored) =
            (self.path.join(MEMORY), self.changed, held.stamp.is_some());
        // A directory in its place, for instance, has to be removed first.
        let done = if matches!(now, Ok(Some(_))) { held.put_aside().map(|_| ()) } else { Ok(()) }
            .and_then(|()| held.save(memory));
        let path = path.display();
        match done {
            Ok(()) if !was_stored => log::info!("The memory {path} is stored."),
            Ok(()) if changed.is_power_of_two() => {
                log::warn!(
                    "The memory {path} was removed or changed while the peer runs (time \
                     {changed}); it is written again."
                );
            }
            Err(error) if changed.is_power_of_two() => {
                log::error!(
                    "The memory {path} is not stored (attempt {changed}): {error}. A restart would \
                     not know of this life."
                );
            }
            _ => {}
        }
    }

    /// A store shared by two threads.
    #[must_use]
    pub fn share(self) -> Shared {
        Shared(Arc::new(Mutex::new(self)))
    }
}

impl Shared {
    /// The store, exclusively.
    pub fn lock(&self) -> MutexGuard<'_, Store> {
        // A panicked thread has left it between two system calls, as a crash would.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn take(path: &Path) -> Result<Self, NoStore> {
        let folder = Folder::make(path).map_err(|why| match why {
            NoFolder::Unfit(text) => NoStore::Unfit(text),
            NoFolder::Io(error) => NoStore::Unwritable(error),
        })?;
        let lock = folder
            .append_to(LOCK)
            .map_err(|error| io::Error::new(error.kind(), format!("{LOCK}: {error}")))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(NoStore::Taken),
            Err(TryLockError::Error(error)) => return Err(NoStore::Unwritable(error)),
        }
        let lock_identity = Identity::of(&lock.metadata()?);
        Ok(Self { folder: Arc::new(folder), lock, lock_identity, stamp: None })
    }

    /// Whether the path leads to this folder, and its name `lock` to the locked file. If they
    /// cannot be examined now, they count as unmoved.
    fn is_in_place(&self) -> bool {
        !matches!(self.folder.presence(), Presence::Changed)
            && !matches!(self.folder.has(LOCK, self.lock_identity), Presence::Changed)
    }

    fn save(&mut self, memory: &Memory) -> io::Result<()> {
        let mut file = self
            .folder
            .create(BESIDE)
            .map_err(|error| io::Error::new(error.kind(), format!("{BESIDE}: {error}")))?;
        file.write_all(memory.encode().as_bytes())?;
        disk::sync_all(&file)?;
        let stamp = Stamp::of(&file)?;
        self.folder.rename(BESIDE, MEMORY)?;
        self.folder.sync()?;
        self.stamp = Some(stamp);
        self.leave_witness();
        Ok(())
    }

    /// A line in the lock says that there is a memory: if the memory disappears, the folder does
    /// not look like that of a first start.
    fn leave_witness(&mut self) {
        if self.lock.metadata().is_ok_and(|meta| meta.len() == 0) {
            // Without room for the line, the other files of the folder have to serve as traces.
            let _no_room = self.lock.write_all(WITNESS).and_then(|()| disk::sync_all(&self.lock));
        }
    }

    fn put_aside(&self) -> io::Result<String> {
        for turn in 1..ASIDE_MAX {
            let name = if turn == 1 { ASIDE.to_owned() } else { format!("{ASIDE}.{turn}") };
            if self.folder.stat(&name)?.is_none() {
                self.folder.rename(MEMORY, &name)?;
                self.folder.sync()?;
                return Ok(name);
            }
        }
        Err(io::Error::other(format!(
            "there are {ASIDE_MAX} files called {ASIDE} already; remove some"
        )))
    }
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        let size = i64::try_from(meta.size()).unwrap_or(i64::MAX);
        Ok(Self { inode: meta.ino(), size, modified: nanoseconds(meta.mtime(), meta.mtime_nsec()) })
    }

    fn of_stat(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino,
            size: stat.st_size,
            modified: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        }
    }
}

fn nanoseconds(seconds: impl Into<i128>, more: impl Into<i128>) -> i128 {
    seconds.into() * 1_000_000_000 + more.into()
}

fn load(folder: &Folder, lock: Option<&File>) -> Result<Found, Unreadable> {
    match folder.stat(MEMORY)? {
        None => Ok(Found::Nothing { used: used(folder, lock)? }),
        Some(stat) => {
            if let Some(kind) = other_kind(&stat) {
                return Err(Bad::Content(format!("it is {kind}, and no file")).into());
            }
            let bytes = folder.read(MEMORY, memory::LENGTH_MAX)?;
            Ok(Found::Memory(Memory::decode(&bytes, clock::utc_micros() / 1_000)?))
        }
    }
}

/// Traces of an earlier use of a folder without a memory. A first start leaves `lock` empty until
/// it has stored one.
fn used(folder: &Folder, lock: Option<&File>) -> io::Result<Option<String>> {
    for name in LEFT_BY_LIVES {
        if folder.stat(name)?.is_some() {
            return Ok(Some(format!("`{name}` is there")));
        }
    }
    let witness = lock.map(File::metadata).transpose()?.is_some_and(|meta| meta.len() > 0);
    Ok(witness.then(|| format!("`{LOCK}` says that there was one")))
}

/// The union of two memories of one peer.
fn united(ours: &Memory, theirs: &Memory) -> Memory {
    let past = if ours.past == Past::Fresh && theirs.past == Past::Veteran {
        Past::Veteran
    } else {
        ours.past
    };
    Memory { incarnation: ours.incarnation.max(theirs.incarnation), past, name: ours.name.clone() }
}

/// The incarnation of a new process: above the stored one, and not below the milliseconds since
/// 1970.
#[must_use]
pub fn choose(stored: Option<Incarnation>, utc_ms: u64) -> Incarnation {
    Incarnation(stored.map_or(0, |Incarnation(number)| number.saturating_add(1)).max(utc_ms))
}

const MEMORY: &str = "incarnation";
const BESIDE: &str = "incarnation.new";
const ASIDE: &str = "incarnation.unreadable";
pub(crate) const LOCK: &str = "lock";
const WITNESS: &[u8] = b"The memory of this folder's peer is in the file `incarnation`.\n";
/// The files of a folder in use, in the order of reports.
const EXPECTED: [&str; 3] = ["lock", "incarnation", "ordered.jsonl"];
/// Files that a first start never leaves.
const LEFT_BY_LIVES: [&str; 4] = ["ordered.jsonl", "ordered.jsonl.1", "contacts", ASIDE];
const ASIDE_MAX: u32 = 64;

#[cfg(test)]
mod tests;
