//! A running group, as its event files and /proc describe it.
//!
//! The events of the peers decide who leads. Whether a process exists and runs is looked up in
//! /proc.

use std::collections::BTreeMap;
use std::io;

use promises::history::{Line as Parsed, Record, parse_line};
use promises::{Stand, Standing};

use crate::procfs;
use crate::run_folder::RunFolder;
use crate::tail::Tail;

/// A running group.
#[derive(Debug)]
pub struct Group {
    folder: RunFolder,
    tails: BTreeMap<String, Tail>,
    standing: Standing,
    unreadable: u64,
}

impl Group {
    /// The group of a run folder; no event is read yet.
    #[must_use]
    pub fn new(folder: RunFolder) -> Self {
        Self { folder, tails: BTreeMap::new(), standing: Standing::new(), unreadable: 0 }
    }

    /// Reads all events written since the last call, looks up the processes in /proc, and returns
    /// each new record with the name of its file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn read(&mut self) -> io::Result<Vec<(String, Record)>> {
        for (name, path) in self.folder.event_files()? {
            self.tails.entry(name).or_insert_with(|| Tail::new(&path));
        }
        let mut told = Vec::new();
        let mut lines = Vec::new();
        for (name, tail) in &mut self.tails {
            loop {
                lines.clear();
                tail.read(&mut lines)?;
                if lines.is_empty() {
                    break;
                }
                for line in &lines {
                    match parse_line(&line.text) {
                        Ok(Parsed::Record(record) | Parsed::Glued(_, record)) => {
                            told.push((name.clone(), record))
                        }
                        Ok(Parsed::Blank) => {}
                        Err(_) => self.unreadable += 1,
                    }
                }
            }
        }
        // Several files become one timeline; the records of one writer keep their order.
        told.sort_by_key(|(_, record)| record.time());
        for (name, record) in &told {
            match record {
                Record::Peer(event) => self.standing.observe(name, event),
                Record::World(event) => self.standing.witness(event),
            }
        }
        self.look();
        Ok(told)
    }

    /// Looks up in /proc which processes exist and which of them run.
    fn look(&mut self) {
        let seen: Vec<(String, bool, bool)> = self
            .standing
            .all()
            .map(|stand| (stand.process.clone(), is_there(stand), is_stopped(stand)))
            .collect();
        for (process, alive, stopped) in seen {
            self.standing.set_alive(&process, alive);
            self.standing.set_paused(&process, stopped);
        }
    }

    /// The state of the group as of the last read.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// How many lines could not be read.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }
}

/// Whether the very process that wrote its `start` event still runs.
#[must_use]
pub fn is_there(stand: &Stand) -> bool {
    procfs::start_time(stand.pid) == Some(stand.pid_start)
}

/// Whether it was stopped by a signal.
#[must_use]
pub fn is_stopped(stand: &Stand) -> bool {
    is_there(stand) && procfs::state(stand.pid) == Some('T')
}
