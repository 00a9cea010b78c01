//! What must survive a crash of the machine is synced here, so that `/metrics` can tell how long
//! the disk takes for that.
//!
//! A process has one data folder, and several threads store in it. Each of them waits for its own
//! syncs; all are counted in one histogram.

use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};

use crate::clock;
use crate::counters::Spans;

/// Waits until the disk has a file, or the names in a folder, with all that belongs to it.
///
/// # Errors
/// Those of the operating system; a sync that fails is not counted.
pub fn sync_all(file: &File) -> io::Result<()> {
    timed(|| file.sync_all())
}

/// Waits until the disk has what a file holds.
///
/// # Errors
/// Those of the operating system; a sync that fails is not counted.
pub fn sync_data(file: &File) -> io::Result<()> {
    timed(|| file.sync_data())
}

/// How long the syncs of this process took so far.
#[must_use]
pub fn syncs() -> Spans {
    SYNCS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn timed(sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let begun = clock::now();
    sync()?;
    let took = clock::now().since(begun);
    SYNCS.lock().unwrap_or_else(PoisonError::into_inner).record(took, 1);
    Ok(())
}

static SYNCS: Mutex<Spans> = Mutex::new(Spans::new());
