//! The tables: a CSV for each sensor. Ids of sensors are chosen by others, so each origin has a
//! limited share of the files, and a reading without a row is counted, and reported the 1st, 2nd,
//! 4th, 8th … time, unless it is plain text.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::id::PeerId;
use protocol::io::{Delivery, Reading};
use protocol::log_id::full;
use protocol::note::escape;
use protocol::time::Time;

use super::csv::{self, Names};
use super::place::Place;
use super::rotating::Rotating;
use super::{Attempt, Health, append};
use crate::folder::Folder;
use crate::sensors::payload::Misfit;
use crate::settings::DataSettings;

/// The tables of one peer.
#[derive(Debug)]
pub(super) struct Tables {
    settings: DataSettings,
    /// By file name.
    tables: BTreeMap<String, Table>,
    /// How many tables each origin has created.
    shares: BTreeMap<PeerId, usize>,
    /// How often a series of failures of a table has begun.
    failed: u64,
    without: Without,
    /// How many of those seem to be intended for a table.
    nearly: u64,
}

/// A sensor's file. A failing one delays no other.
#[derive(Debug)]
pub(super) struct Table {
    file: Rotating,
    pub(super) health: Health,
}

/// How many readings have no row in a table. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Without(Arc<AtomicU64>);

impl Without {
    /// The number so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a reading has no row.
enum Why {
    Form(Misfit),
    Share,
    Room,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(misfit) => write!(f, "{misfit}"),
            Self::Share => write!(
                f,
                "its origin has {TABLES_PER_ORIGIN} tables, which is as many as one may have"
            ),
            Self::Room => {
                write!(f, "there are {TABLES_MAX} tables, which is as many as there may be")
            }
        }
    }
}

impl Tables {
    pub(super) fn new(settings: DataSettings) -> Self {
        let (tables, shares) = (BTreeMap::new(), BTreeMap::new());
        Self { settings, tables, shares, failed: 0, without: Without::default(), nearly: 0 }
    }

    /// How many readings have no row.
    pub(super) fn without(&self) -> Without {
        self.without.clone()
    }

    /// Checks whether the files are still in place.
    pub(super) fn look(&mut self, folder: &Arc<Folder>) {
        self.tables.values_mut().for_each(|table| table.file.look(folder));
    }

    /// Closes all files; the next row reopens its own.
    pub(super) fn close(&mut self) {
        self.tables.values_mut().for_each(|table| table.file.close());
    }

    /// The state of each file.
    pub(super) fn health(&mut self) -> impl Iterator<Item = &mut Health> {
        self.tables.values_mut().map(|table| &mut table.health)
    }

    #[cfg(test)]
    pub(super) fn get(&self, name: &str) -> &Table {
        &self.tables[name]
    }

    /// Writes the rows of these readings, in order.
    pub(super) fn keep(&mut self, now: Time, place: &mut Place, part: &[Delivery]) {
        let mut rows: BTreeMap<String, String> = BTreeMap::new();
        for delivery in part {
            let Delivery::Run(run) = delivery else { continue };
            let (log, epoch, origin) = (
                run.log.to_string(),
                full(&run.epoch),
                csv::cell(run.origin.id.as_str().as_bytes()),
            );
            let names = Names { log, epoch, origin };
            for reading in run.iter() {
                match csv::rows(&reading, &names) {
                    Ok((sensor, more)) => match self.table(&sensor, &run.origin.id) {
                        Ok(name) => rows.entry(name).or_default().push_str(&more),
                        Err(why) => self.leave_out(&reading, &why),
                    },
                    Err(misfit) => self.leave_out(&reading, &Why::Form(misfit)),
                }
            }
        }
        for (name, rows) in rows {
            let Some(table) = self.tables.get_mut(&name) else { continue };
            let path = self.settings.folder.join(&name);
            let file = &mut table.file;
            let attempt = table
                .health
                .attempt(now, rows.lines().count(), || append(file, place, now, rows.as_bytes()));
            self.failed += u64::from(matches!(attempt, Attempt::Failed(_)));
            // A full disk fails for all of them.
            attempt.tell(&path, self.failed.is_power_of_two());
        }
        if self.tables.len() > TABLES_OPEN {
            self.close();
        }
    }

    /// The name of a sensor's table, which is created if there is room for it.
    fn table(&mut self, sensor: &[u8], origin: &PeerId) -> Result<String, Why> {
        let name = csv::file_name(sensor);
        if !self.tables.contains_key(&name) {
            if self.tables.len() >= TABLES_MAX {
                return Err(Why::Room);
            }
            let share = self.shares.entry(origin.clone()).or_default();
            if *share >= TABLES_PER_ORIGIN {
                return Err(Why::Share);
            }
            *share += 1;
            let path = self.settings.folder.join(&name);
            put_other_columns_aside(&path);
            let file = Rotating::new(
                name.clone(),
                csv::HEAD,
                self.settings.rotate_bytes,
                self.settings.rotate_keep,
            );
            self.tables.insert(name.clone(), Table { file, health: Health::default() });
        }
        Ok(name)
    }

    /// Counts a reading without a row.
    fn leave_out(&mut self, reading: &Reading<'_>, why: &Why) {
        self.without.0.fetch_add(1, Ordering::Relaxed);
        if matches!(why, Why::Form(Misfit::Start)) && is_plain(reading.payload) {
            return;
        }
        self.nearly += 1;
        let count = self.nearly;
        if count.is_power_of_two() {
            let (origin, seq) = (&reading.run.origin.id, reading.seq);
            let shown = escape(&reading.payload[..reading.payload.len().min(SHOWN_BYTES)]);
            let more = if reading.payload.len() > SHOWN_BYTES { " …" } else { "" };
            log::warn!(
                "Reading #{seq} of {origin} has no row in a CSV table: {why} ({shown}{more}). \
                 `ordered.jsonl` has it. \
                 {count} without a row so far."
            );
        }
    }
}

/// Plain text, or a bare number, is not intended for a table; text with parts, or with the
/// beginning of a reading, may be.
fn is_plain(payload: &[u8]) -> bool {
    let parts =
        payload.iter().any(|byte| matches!(byte, b'|' | b'=' | b'{' | b':' | b';' | b',' | b'\t'));
    let begins = payload
        .trim_ascii_start()
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"DATA"));
    !parts && !begins
}

/// A table of an earlier build has other columns; rows of both in one file would be misread.
fn put_other_columns_aside(path: &Path) {
    match has_other_columns(path) {
        Ok(false) => return,
        Ok(true) => {}
        // A non-file, or an unreadable file, is reported by the next write.
        Err(_) => return,
    }
    let name = |number: u32| path.with_extension(format!("csv.columns{number}"));
    let free = (1..=ASIDE_MAX).map(name).find(|aside| aside.symlink_metadata().is_err());
    let moved = free
        .ok_or(io::ErrorKind::AlreadyExists.into())
        .and_then(|aside| fs::rename(path, &aside).map(|()| aside));
    match moved {
        Ok(aside) => log::info!(
            "{} has the columns of another build; it is {} from now on.",
            path.display(),
            aside.display()
        ),
        Err(error) => log::warn!(
            "{} has the columns of another build, and cannot be renamed: {error}.",
            path.display()
        ),
    }
}

fn has_other_columns(path: &Path) -> io::Result<bool> {
    if !path.symlink_metadata()?.is_file() {
        return Ok(false);
    }
    let mut head = String::new();
    BufReader::new(File::open(path)?.take(HEAD_MAX)).read_line(&mut head)?;
    Ok(head.starts_with("time,") && head != csv::HEAD)
}

/// How many sensors get a table; others choose their ids, so their number is bounded.
const TABLES_MAX: usize = 4_096;
/// How many of them one origin may create, so that there is room for others.
const TABLES_PER_ORIGIN: usize = 256;
/// With more tables than this, their files are not kept open.
const TABLES_OPEN: usize = 64;
/// How much of a reading is shown.
const SHOWN_BYTES: usize = 96;
const HEAD_MAX: u64 = 256;
const ASIDE_MAX: u32 = 64;
