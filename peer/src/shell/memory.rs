//! The memory of earlier lives at the start of a peer, the consequences if it cannot be read, and
//! the stores while the peer runs.
//!
//! In mode `primary` the memory decides whether this peer may found a group. A memory that cannot
//! be read, or that has disappeared from a folder in use, may have forbidden it: the peer does not
//! start. Without its memory it would be one more founder, and that suffices for a second group
//! beside the first. In mode `available` only the incarnation is at stake, which the clock
//! provides.

use std::fmt::Display;
use std::io;
use std::path::Path;

use protocol::config::Mode;
use protocol::id::{Incarnation, PeerId};
use protocol::note::Note;

use super::Shell;
use crate::clock;
use crate::failure::{BAD_FILE, Failure, UNAVAILABLE};
use crate::identity;
use crate::incarnation::{self, Bad, Found, Memory, NoStore, Past, Shared, Store, Unreadable};
use crate::keeper::Keeper;
use crate::settings::Settings;

/// The identity of this life, and its knowledge of earlier ones.
pub(super) struct Recalled {
    pub(super) id: PeerId,
    pub(super) incarnation: Incarnation,
    pub(super) past: Past,
    pub(super) store: Option<Shared>,
    /// Whether the incarnation is stored.
    pub(super) stored: bool,
}

impl Shell {
    /// Stores what this life must not forget; no dependent output leaves before it is stored.
    pub(super) fn store(&mut self, incarnation: Incarnation) {
        let memory = Memory { incarnation, past: self.past, name: Some(self.id.clone()) };
        if let Some(keeper) = &mut self.keeper {
            keeper.store(clock::now(), memory);
        }
    }

    /// Whether nothing is being stored, so that the loop may continue; performs the outputs that
    /// were held back.
    pub(super) fn may_speak(&mut self) -> bool {
        let Some(keeper) = &mut self.keeper else { return true };
        if let Some(slow) = keeper.slowness(clock::now()) {
            log::warn!(
                "The disk of the data folder has not stored what this peer must not forget for \
                 {:.0} s. Until it has, this peer says \
                 nothing to the others, who may take it for dead. Check the disk.",
                slow.as_secs_f64()
            );
        }
        if let Some((memory, saved)) = keeper.stored() {
            self.on_stored(&memory, saved);
        }
        while self.broken.is_none()
            && let Some(output) = self.keeper.as_mut().and_then(Keeper::release)
        {
            self.perform(output);
        }
        !self.keeper.as_ref().is_some_and(Keeper::is_storing)
    }

    fn on_stored(&mut self, memory: &Memory, saved: io::Result<()>) {
        match saved {
            Ok(()) => self.narrator.tell(Note::Persist { incarnation: memory.incarnation }),
            // It might found a second group after a restart, so it takes no part in the first one.
            Err(error) if memory.past == Past::Veteran => {
                let mend = "make room for it, or give another data folder, and start again";
                let why = format!(
                    "cannot store that this peer has been in the group, which mode primary rests \
                     on: {error}; {mend}"
                );
                self.broken.get_or_insert(Failure::new(UNAVAILABLE, why));
            }
            Err(error) => {
                log::warn!(
                    "Cannot store the incarnation: {error}. After a restart the clock alone has to \
                     tell the lives apart."
                );
            }
        }
    }
}

/// Reads the memory in the data folder, if there is one, and stores the beginning of a new life.
///
/// # Errors
/// [`Failure`]: the folder cannot be used, or mode `primary` needs a memory that is unavailable.
pub(super) fn recall(settings: &Settings, birth: u64) -> Result<Recalled, Failure> {
    let mode = settings.config.knobs().mode;
    let utc_ms = clock::utc_micros() / 1_000;
    let generated = || identity::generated_id(birth);
    let Some(data) = &settings.data else {
        let id = settings.id.clone().unwrap_or_else(generated);
        return Ok(Recalled {
            id,
            incarnation: incarnation::choose(None, utc_ms),
            past: Past::Fresh,
            store: None,
            stored: false,
        });
    };
    let mut store = open(&data.folder, mode)?;
    let memory = read(&store, &data.folder, mode)?;
    let before = memory.as_ref().and_then(|memory| memory.name.clone());
    if let (Some(id), Some(before)) = (&settings.id, &before)
        && id != before
    {
        log::warn!(
            "The data folder {} was that of peer {before}; from now on it is that of peer {id}, as \
             --id says. \
             If these are two peers, give each a folder of its own.",
            data.folder.display()
        );
    }
    let id = settings.id.clone().or(before).unwrap_or_else(generated);
    let past = memory.as_ref().map_or(Past::Fresh, |memory| memory.past);
    let incarnation = incarnation::choose(memory.map(|memory| memory.incarnation), utc_ms);
    let stored = match store.save(Memory { incarnation, past, name: Some(id.clone()) }) {
        Ok(()) => true,
        Err(error) if mode == Mode::Primary => return Err(unwritable(&data.folder, &error)),
        Err(error) => {
            log::warn!(
                "Cannot use {}: {error}. The incarnation is not kept until that works; the clock \
                 alone tells lives apart.",
                data.folder.display()
            );
            false
        }
    };
    Ok(Recalled { id, incarnation, past, store: Some(store.share()), stored })
}

fn open(folder: &Path, mode: Mode) -> Result<Store, Failure> {
    Store::open(folder).or_else(|why| match why {
        NoStore::Unwritable(error) if mode == Mode::Primary => Err(unwritable(folder, &error)),
        // A failed store is reported when it is tried.
        NoStore::Unwritable(_) => Ok(Store::without(folder)),
        why => Err(Failure::new(UNAVAILABLE, format!("--data-dir {}: {why}", folder.display()))),
    })
}

fn read(store: &Store, folder: &Path, mode: Mode) -> Result<Option<Memory>, Failure> {
    let file = store.file();
    let file = file.display();
    match store.load() {
        Ok(Found::Memory(memory)) => Ok(Some(memory)),
        Ok(Found::Nothing { used: None }) => Ok(None),
        Ok(Found::Nothing { used: Some(why) }) if mode == Mode::Primary => Err(Failure::new(
            BAD_FILE,
            forgotten(
                folder,
                &format!("the memory {file} is gone from a folder that has been used ({why})"),
            ),
        )),
        Ok(Found::Nothing { used: Some(why) }) => {
            log::warn!(
                "The memory {file} is gone from a folder that has been used ({why}). The \
                 incarnation is chosen by the clock."
            );
            Ok(None)
        }
        Err(why) => unreadable(store, folder, mode, &why),
    }
}

fn unreadable(
    store: &Store,
    folder: &Path,
    mode: Mode,
    why: &Unreadable,
) -> Result<Option<Memory>, Failure> {
    let file = store.file();
    let file = file.display();
    match why {
        // In either mode: the group may know a larger incarnation than any clock yields, and would
        // take this life for an older one.
        Unreadable::Bad(Bad::Beyond(_)) => Err(Failure::new(
            BAD_FILE,
            format!(
                "the memory {file} cannot be used: {why} (is the clock right?). `{}` puts it aside \
                 and has the clock choose the \
                 incarnation; if the group then takes this peer for an older process, give it \
                 another --id",
                command(folder)
            ),
        )),
        Unreadable::Bad(_) if mode == Mode::Primary => Err(Failure::new(
            BAD_FILE,
            forgotten(folder, &format!("the memory {file} cannot be used: {why}")),
        )),
        Unreadable::Io(_) if mode == Mode::Primary => Err(Failure::new(
            UNAVAILABLE,
            forgotten(folder, &format!("the memory {file} cannot be read: {why}")),
        )),
        _ => {
            let kept = match store.put_aside() {
                Ok(name) => format!("It is kept as {}", name.display()),
                Err(error) => format!("It stays where it is ({error})"),
            };
            log::warn!(
                "The memory {file} cannot be used: {why}. {kept}; the incarnation of this life is \
                 chosen by the clock."
            );
            Ok(None)
        }
    }
}

/// Advice if it is unknown whether this peer has been in the group. It never says to remove the
/// file: that would make the peer a founder.
fn forgotten(folder: &Path, what: &str) -> String {
    format!(
        "{what}. Mode primary rests on it, so this peer does not start: a peer without a memory \
         may found a second group. \
         If it can be made readable or brought back, do that. If it is lost, do not remove the \
         file or the folder: run `{}` and \
         start again. Then this peer founds nothing, and the peers that still have their group let \
         it in. Only if no peer \
         remembers the group any more, give it up after that, on one peer alone: `peer recover \
         --new-log --data-dir {}`",
        command(folder),
        folder.display()
    )
}

fn command(folder: &Path) -> String {
    format!("peer recover --forgotten --data-dir {}", folder.display())
}

fn unwritable(folder: &Path, error: &impl Display) -> Failure {
    let text = format!(
        "--data-dir {}: {error}: in mode primary a peer must be able to store that it has been in \
         the group, so this one does not \
         start; make the folder writable and make room in it, or move it with all its files and \
         name the new place",
        folder.display()
    );
    Failure::new(UNAVAILABLE, text)
}
