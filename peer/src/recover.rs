//! `peer recover --new-log`: an operator gives up a group of mode `primary` of which no quorum will ever come back.
//!
//! The protocol cannot know that, so it waits for ever; a person can. Nothing is decided here: the data folder is marked,
//! and the peer's next start founds a new log, alone, and forgets the mark once it has. What only the old group had is
//! lost, and that cannot be undone; so it takes a command of its own, and says what it does.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::failure::{BAD_FILE, Failure, REFUSED, UNAVAILABLE};
use crate::incarnation::{Memory, NoStore, Past, Store};

/// Which peer gives up its group.
#[derive(Args, Clone, Debug)]
pub struct Request {
    /// Say that the next start is to found a new log, alone
    #[arg(long, required = true)]
    pub new_log: bool,
    /// The data folder of the peer, which must not be running
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: PathBuf,
}

/// Marks the data folder.
///
/// # Errors
/// [`Failure`]: there is nothing to give up, or the peer runs.
pub fn run(request: &Request) -> Result<(), Failure> {
    let words = mark(&request.data_dir)?;
    // The folder is marked by then; that it could not be said does not undo it.
    Ok(stdio::answer(&format!("{words}\n"))?)
}

fn mark(folder: &Path) -> Result<String, Failure> {
    let shown = folder.display();
    if !folder.is_dir() {
        return Err(Failure::new(BAD_FILE, format!("--data-dir {shown}: there is no such folder")));
    }
    let store = Store::open(folder).map_err(|why| match why {
        NoStore::Taken => Failure::new(UNAVAILABLE, format!("--data-dir {shown}: its peer runs; stop it first")),
        NoStore::Unwritable(error) => Failure::new(BAD_FILE, format!("--data-dir {shown}: {error}")),
    })?;
    let memory = store.load().filter(|memory| memory.past != Past::Fresh);
    let Some(memory) = memory else {
        let text =
            format!("--data-dir {shown}: this peer has not been in a group of mode primary, so there is none to give up; just start it");
        return Err(Failure::new(REFUSED, text));
    };
    let marked = Memory { past: Past::NewLog, ..memory };
    store.save(marked).map_err(|error| Failure::new(BAD_FILE, format!("--data-dir {shown}: {error}")))?;
    Ok(format!(
        "The next start of the peer in {shown} founds a NEW LOG, alone, with the --mode primary and --bootstrap that it always had.\n\
         - What only the old group had ordered is lost, whether it was acknowledged as safe or not.\n\
         - Do this on ONE peer, and only if no majority of the old group will ever come back; else there will be two groups.\n\
         - Start the other peers after it has founded its group: they join it."
    ))
}

#[cfg(test)]
mod tests {
    use super::{BAD_FILE, Memory, Past, REFUSED, Store, UNAVAILABLE, mark};
    use protocol::id::Incarnation;

    #[test]
    fn only_a_peer_that_has_been_in_a_group_and_does_not_run_is_marked() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(mark(&folder.path().join("nowhere")).unwrap_err().code, BAD_FILE);
        assert_eq!(mark(folder.path()).unwrap_err().code, REFUSED);
        let store = Store::open(folder.path()).unwrap();
        store.save(Memory { incarnation: Incarnation(7), past: Past::Fresh }).unwrap();
        assert_eq!(mark(folder.path()).unwrap_err().code, UNAVAILABLE);
        drop(store);
        assert_eq!(mark(folder.path()).unwrap_err().code, REFUSED);
        Store::open(folder.path()).unwrap().save(Memory { incarnation: Incarnation(7), past: Past::Veteran }).unwrap();
        for _ in 0..2 {
            assert!(mark(folder.path()).unwrap().contains("NEW LOG"), "marking twice is marking");
            let memory = Store::open(folder.path()).unwrap().load().unwrap();
            assert_eq!(memory, Memory { incarnation: Incarnation(7), past: Past::NewLog });
        }
    }
}
