//! A run folder: event files, human logs, and the files of the sinks.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use promises::{History, Record, disk::Disk};
use protocol::config::Knobs;
use serde::Deserialize;
use thiserror::Error;

/// The folder of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

/// The path is not a run folder.
#[derive(Debug, Error)]
pub enum RunFolderError {
    /// The folder does not exist or cannot be entered.
    #[error("no run at {path}: {source}; name one with --run DIR", path = path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder holds no event files.
    #[error("{path} holds no events; start the peers with `peer run --events {path}/PEER.jsonl`", path = path.display())]
    Empty {
        /// Where the event files should be.
        path: PathBuf,
    },
}

impl RunFolder {
    /// Opens a run folder, which must hold `events/`.
    ///
    /// # Errors
    /// [`RunFolderError`] if the path is no run folder.
    pub fn open(path: &Path) -> Result<Self, RunFolderError> {
        // A link such as `logs/latest` may change its target while a watcher reads through it.
        let path = path
            .canonicalize()
            .map_err(|source| RunFolderError::Missing { path: path.to_owned(), source })?;
        let folder = Self { path };
        match folder.event_files() {
            Ok(files) if files.is_empty() => {
                Err(RunFolderError::Empty { path: folder.path.join(EVENTS) })
            }
            Ok(_) => Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(RunFolderError::Empty { path: folder.path.join(EVENTS) })
            }
            Err(source) => Err(RunFolderError::Missing { path: folder.path.join(EVENTS), source }),
        }
    }

    /// The path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The event files, each with the name of its process, sorted by name. Files of the test bench
    /// begin with `_`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn event_files(&self) -> io::Result<Vec<(String, PathBuf)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.path.join(EVENTS))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "jsonl")
                && let Some(stem) = path.file_stem()
            {
                files.push((stem.to_string_lossy().into_owned(), path));
            }
        }
        files.sort();
        Ok(files)
    }

    /// The event file of a writer.
    #[must_use]
    pub fn event_file(&self, writer: &str) -> PathBuf {
        self.path.join(EVENTS).join(format!("{writer}.jsonl"))
    }

    /// The human log of a process, by the convention of run folders.
    #[must_use]
    pub fn log(&self, process: &str) -> PathBuf {
        self.path.join(format!("{process}_log.txt"))
    }

    /// The recorded inputs of a process, if they were recorded.
    #[must_use]
    pub fn recording(&self, process: &str) -> Option<PathBuf> {
        let path = self.path.join(INPUTS).join(format!("{process}.bin"));
        path.exists().then_some(path)
    }

    /// The commands that replay, step by step, the recorded inputs of the peers behind this
    /// evidence.
    #[must_use]
    pub fn replays(&self, history: &History, evidence: &[usize]) -> Vec<String> {
        let told_by = |record: &Record| match record {
            Record::Peer(event) => Some(event.p.to_string()),
            Record::World(_) => None,
        };
        let mut peers: Vec<String> =
            evidence.iter().filter_map(|at| history.records.get(*at)).filter_map(told_by).collect();
        peers.sort();
        peers.dedup();
        let here = std::env::current_dir().unwrap_or_default();
        // A process has the name of its peer. Twins are the exception; the folder shows their
        // recordings.
        let recordings = peers.iter().filter_map(|peer| self.recording(peer));
        recordings
            .map(|path| {
                format!(
                    "cargo run -p peer -- replay {} --trace",
                    path.strip_prefix(&here).unwrap_or(&path).display()
                )
            })
            .collect()
    }

    /// The knobs that the peers ran with, if the program that started them wrote them to
    /// `env.json`.
    #[must_use]
    pub fn knobs(&self) -> Option<Knobs> {
        #[derive(Deserialize)]
        struct Environment {
            knobs: Option<Knobs>,
        }
        let text = fs::read_to_string(self.path.join("env.json")).ok()?;
        serde_json::from_str::<Environment>(&text).ok()?.knobs
    }

    /// All events of the run.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn history(&self) -> io::Result<History> {
        let mut texts = Vec::new();
        for (_, path) in self.event_files()? {
            let name = path
                .file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            texts.push((name, String::from_utf8_lossy(&fs::read(&path)?).into_owned()));
        }
        Ok(History::read(texts.iter().map(|(name, text)| (name.as_str(), text.as_str()))))
    }

    /// The files of the sinks of all processes, older parts of a file first.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn disks(&self) -> io::Result<Vec<Disk>> {
        let Ok(entries) = fs::read_dir(self.path.join(DATA)) else { return Ok(vec![]) };
        let folders: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_dir())
            .collect();
        let mut of_process: BTreeMap<String, BTreeMap<u64, PathBuf>> = BTreeMap::new();
        for folder in folders {
            let Some(name) = folder.file_name().map(|name| name.to_string_lossy().into_owned())
            else {
                continue;
            };
            // Data removed from a process is in `<process>~<count>` and is older than its current
            // data.
            let (process, turn) = match name.rsplit_once('~') {
                Some((process, count)) => (process.to_owned(), count.parse().unwrap_or(u64::MAX)),
                None => (name, u64::MAX),
            };
            of_process.entry(process).or_default().insert(turn, folder);
        }
        let mut disks = Vec::new();
        for (process, folders) in of_process {
            let mut text = Vec::new();
            // By file name; the file name stands for a sensor.
            let mut tables: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            for folder in folders.values() {
                for (name, part) in parts(folder)? {
                    let content = fs::read(part)?;
                    match name.strip_suffix(".csv") {
                        Some(sensor) => {
                            tables.entry(sensor.to_owned()).or_default().extend(content)
                        }
                        None => text.extend(content),
                    }
                }
            }
            if !text.is_empty() {
                let mut disk = Disk::read(&process, &String::from_utf8_lossy(&text));
                for text in tables.values() {
                    disk.read_table(&String::from_utf8_lossy(text));
                }
                disks.push(disk);
            }
        }
        Ok(disks)
    }
}

/// The files of the sinks in a folder: `ordered.jsonl`, the tables, and their rotated parts
/// (`ordered.jsonl.1` is the newest). Each file name comes without its number, oldest part first.
fn parts(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut parts: Vec<(String, u32, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name =
            path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let (name, number) = match name.rsplit_once('.').map(|(stem, end)| (stem, end.parse())) {
            Some((stem, Ok(number))) => (stem.to_owned(), number),
            _ => (name, 0),
        };
        if name == ORDERED || name.ends_with(".csv") {
            parts.push((name, number, path));
        }
    }
    parts.sort_by_key(|(_, number, _)| std::cmp::Reverse(*number));
    Ok(parts.into_iter().map(|(name, _, path)| (name, path)).collect())
}

const EVENTS: &str = "events";
const DATA: &str = "data";
const INPUTS: &str = "inputs";
const ORDERED: &str = "ordered.jsonl";

#[cfg(test)]
mod tests {
    use super::{RunFolder, RunFolderError};
    use std::fs;

    #[test]
    fn what_is_no_run_is_said_with_the_way_to_one() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            RunFolder::open(&folder.path().join("nowhere")),
            Err(RunFolderError::Missing { .. })
        ));
        let error = RunFolder::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("peer run --events"), "{error}");
    }

    #[test]
    fn files_that_were_put_aside_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data/p1");
        fs::create_dir_all(&data).unwrap();
        fs::create_dir_all(folder.path().join("events")).unwrap();
        fs::write(folder.path().join("events/p1.jsonl"), "").unwrap();
        let gap = |seq: u64| {
            format!("{{\"kind\":\"gap\",\"log\":\"1.p1#1\",\"from\":{seq},\"to\":{seq}}}\n")
        };
        let former = folder.path().join("data/p1~1");
        fs::create_dir_all(&former).unwrap();
        fs::write(former.join("ordered.jsonl"), format!("{}{{\"ki", gap(9))).unwrap();
        for (name, seq) in [("ordered.jsonl", 3), ("ordered.jsonl.1", 2), ("ordered.jsonl.2", 1)] {
            fs::write(data.join(name), gap(seq)).unwrap();
        }
        let disks = RunFolder::open(folder.path()).unwrap().disks().unwrap();
        let words: Vec<String> = disks[0].lines.iter().map(|line| format!("{line:?}")).collect();
        let expected = [9, 1, 2, 3]
            .map(|seq| format!("Gap {{ log: 1.p1#1, from: Seq({seq}), to: Seq({seq}) }}"));
        assert_eq!((words, disks.len(), disks[0].torn.len()), (expected.to_vec(), 1, 1));
    }
}
