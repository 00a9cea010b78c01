//! `peer recover`: what only an operator can know about a peer of mode `primary`.
//!
//! `--new-log` gives up a group of which no quorum will ever come back. The protocol cannot know
//! that, so it waits for ever; a person can. Nothing is decided here: the data folder is marked,
//! and the peer's next start founds a new log, alone, and forgets the mark once it has. What only
//! the old group had is lost, and that cannot be undone; so it takes a command of its own, and says
//! what it does.
//!
//! `--forgotten` writes a memory in place of one that cannot be read or has vanished. It says the
//! safe thing: that this peer has been in its group, so that it founds nothing.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::clock;
use crate::failure::{BAD_FILE, Failure, REFUSED, UNAVAILABLE};
use crate::incarnation::{Found, Memory, NoStore, Past, Store, choose};

/// What to write into which data folder.
#[derive(Args, Clone, Debug)]
pub struct Request {
    /// What the next start is to know.
    #[command(flatten)]
    pub wish: Wish,
    /// The data folder of the peer, which must not be running
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: PathBuf,
}

/// What the next start is to know.
#[derive(Args, Clone, Copy, Debug)]
#[group(required = true, multiple = false)]
pub struct Wish {
    /// Give the group up: the next start is to found a new log, alone
    #[arg(long)]
    pub new_log: bool,
    /// The memory is lost or cannot be read: the next start is to found nothing, and to wait until
    /// the group lets it in
    #[arg(long)]
    pub forgotten: bool,
}

/// Marks the data folder.
///
/// # Errors
/// [`Failure`]: there is nothing to recover, or the peer runs.
pub fn run(request: &Request) -> Result<(), Failure> {
    let store = open(&request.data_dir)?;
    let words = if request.wish.forgotten {
        remember(store, &request.data_dir)
    } else {
        mark(store, &request.data_dir)
    }?;
    // The folder is marked by then; a failed message does not undo it.
    Ok(stdio::answer(&format!("{words}\n"))?)
}

fn open(folder: &Path) -> Result<Store, Failure> {
    let shown = folder.display();
    if !folder.is_dir() {
        return Err(Failure::new(BAD_FILE, format!("--data-dir {shown}: there is no such folder")));
    }
    Store::open(folder).map_err(|why| match why {
        NoStore::Taken => {
            Failure::new(UNAVAILABLE, format!("--data-dir {shown}: its peer runs; stop it first"))
        }
        why => Failure::new(BAD_FILE, format!("--data-dir {shown}: {why}")),
    })
}

/// Performs `--new-log`.
fn mark(mut store: Store, folder: &Path) -> Result<String, Failure> {
    let shown = folder.display();
    let lost = |what: String| {
        let first = format!("run `peer recover --forgotten --data-dir {shown}` first");
        Failure::new(BAD_FILE, format!("--data-dir {shown}: {what}; {first}"))
    };
    let memory = match store.load() {
        Ok(Found::Memory(memory)) => Some(memory).filter(|memory| memory.past != Past::Fresh),
        Ok(Found::Nothing { used: None }) => None,
        Ok(Found::Nothing { used: Some(why) }) => {
            return Err(lost(format!("its memory is gone ({why})")));
        }
        Err(why) => {
            return Err(lost(format!(
                "its memory {} cannot be used: {why}",
                store.file().display()
            )));
        }
    };
    let Some(memory) = memory else {
        let text = format!(
            "--data-dir {shown}: this peer has not been in a group of mode primary, so there is \
             none to give up; just start it"
        );
        return Err(Failure::new(REFUSED, text));
    };
    save(&mut store, folder, Memory { past: Past::NewLog, ..memory })?;
    Ok(format!(
        "The next start of the peer in {shown} founds a NEW LOG, alone, with the --mode primary \
         and --bootstrap that it always had.\n\
         - What only the old group had ordered is lost, whether it was acknowledged as safe or \
         not.\n\
         - Do this on ONE peer, and only if no majority of the old group will ever come back; else \
         there will be two groups.\n\
         - Start the other peers after it has founded its group: they join it."
    ))
}

/// Performs `--forgotten`.
fn remember(mut store: Store, folder: &Path) -> Result<String, Failure> {
    let shown = folder.display();
    let file = store.file();
    let mut kept = String::new();
    let before = match store.load() {
        Ok(Found::Memory(memory)) if memory.past == Past::Fresh => Some(memory),
        Ok(Found::Memory(memory)) => {
            let what = if memory.past == Past::NewLog {
                "is marked to found a new log"
            } else {
                "knows that it has been in its group"
            };
            let text = format!(
                "--data-dir {shown}: the memory can be read, and the peer {what}; there is nothing \
                 to mend, just start it"
            );
            return Err(Failure::new(REFUSED, text));
        }
        Ok(Found::Nothing { .. }) => None,
        Err(why) => {
            let aside = store.put_aside().map_err(|error| {
                Failure::new(
                    BAD_FILE,
                    format!(
                        "the memory {} cannot be used ({why}), nor put aside: {error}",
                        file.display()
                    ),
                )
            })?;
            kept = format!("- What was there ({why}) is kept as {}.\n", aside.display());
            None
        }
    };
    let incarnation = before
        .as_ref()
        .map_or_else(|| choose(None, clock::utc_micros() / 1_000), |memory| memory.incarnation);
    save(
        &mut store,
        folder,
        Memory { incarnation, past: Past::Veteran, name: before.and_then(|memory| memory.name) },
    )?;
    Ok(format!(
        "The next start of the peer in {shown} takes it that it has been in its group: it founds \
         nothing, and waits until the peers \
         that still have the group let it in.\n{kept}\
         - If its name was generated, start it with the --id that it had.\n\
         - This is right for every peer whose memory is lost. Only if no peer has the group any \
         more, give it up, on ONE peer: \
         `peer recover --new-log`."
    ))
}

fn save(store: &mut Store, folder: &Path, memory: Memory) -> Result<(), Failure> {
    store.save(memory).map_err(|error| {
        Failure::new(BAD_FILE, format!("--data-dir {}: {error}", folder.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::{BAD_FILE, Failure, Found, Memory, Past, REFUSED, Store, UNAVAILABLE};
    use protocol::id::Incarnation;
    use std::fs;
    use std::path::Path;

    fn mark(folder: &Path) -> Result<String, Failure> {
        super::mark(super::open(folder)?, folder)
    }

    fn remember(folder: &Path) -> Result<String, Failure> {
        super::remember(super::open(folder)?, folder)
    }

    fn memory(past: Past) -> Memory {
        Memory { incarnation: Incarnation(7), past, name: None }
    }

    fn store(folder: &Path, memory: Memory) {
        Store::open(folder).unwrap().save(memory).unwrap();
    }

    fn load(folder: &Path) -> Memory {
        match Store::open(folder).unwrap().load() {
            Ok(Found::Memory(memory)) => memory,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_a_peer_that_has_been_in_a_group_and_does_not_run_is_marked() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(mark(&folder.path().join("nowhere")).unwrap_err().code, BAD_FILE);
        assert_eq!(mark(folder.path()).unwrap_err().code, REFUSED);
        let mut running = Store::open(folder.path()).unwrap();
        running.save(memory(Past::Fresh)).unwrap();
        assert_eq!(mark(folder.path()).unwrap_err().code, UNAVAILABLE);
        drop(running);
        assert_eq!(mark(folder.path()).unwrap_err().code, REFUSED);
        store(folder.path(), memory(Past::Veteran));
        for _ in 0..2 {
            assert!(mark(folder.path()).unwrap().contains("NEW LOG"), "marking twice is marking");
            assert_eq!(load(folder.path()), memory(Past::NewLog));
        }
    }

    #[test]
    fn a_memory_that_is_lost_is_written_as_that_of_a_peer_that_has_been_in_its_group() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("incarnation");
        fs::write(&path, [0; 22]).unwrap();
        let failure = mark(folder.path()).unwrap_err();
        assert!(failure.code == BAD_FILE && failure.text.contains("--forgotten"), "{failure}");
        let words = remember(folder.path()).unwrap();
        assert!(
            words.contains("22 NUL bytes") && words.contains("incarnation.unreadable"),
            "{words}"
        );
        assert_eq!(fs::read(folder.path().join("incarnation.unreadable")).unwrap(), [0; 22]);
        let written = load(folder.path());
        assert!(
            written.past == Past::Veteran && written.incarnation > Incarnation(1_700_000_000_000),
            "{written:?}"
        );
        assert_eq!(remember(folder.path()).unwrap_err().code, REFUSED, "there is nothing to mend");
        fs::remove_file(&path).unwrap();
        assert_eq!(mark(folder.path()).unwrap_err().code, BAD_FILE, "gone is not new");
        assert!(remember(folder.path()).is_ok());
        store(folder.path(), memory(Past::Fresh));
        remember(folder.path()).unwrap();
        assert_eq!(load(folder.path()), memory(Past::Veteran));
        assert!(mark(folder.path()).is_ok(), "from here the group can be given up");
        assert_eq!(remember(folder.path()).unwrap_err().code, REFUSED);
    }
}
