//! Syncs of data that must survive a crash of the machine, measured for `/metrics`.
//!
//! A process has one data folder, and several threads store in it. Each waits for its own syncs;
//! all are counted in one histogram.

use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};

use crate::clock;
use crate::counters::Spans;

/// Waits until a file, or the entries of a folder, are on disk with their metadata.
///
/// # Errors
/// Those of the operating system; a failed sync is not counted.
pub fn sync_all(file: &File) -> io::Result<()> {
    timed(|| file.sync_all())
}

/// Waits until the data of a file is on disk.
///
/// # Errors
/// Those of the operating system; a failed sync is not counted.
pub fn sync_data(file: &File) -> io::Result<()> {
    timed(|| file.sync_data())
}

/// The durations of this process's syncs so far.
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
