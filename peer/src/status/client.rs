//! Asking running peers where they stand. A peer that runs is found, or it is said where was looked and which process may
//! not be asked: that nobody answers in one folder does not mean that nobody runs.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use protocol::id::PeerId;

use super::Report;
use super::elsewhere;
use super::folders::{folders, named};
use crate::failure::{Failure, UNAVAILABLE, USAGE};

/// Asks the peer of that name, or the only one there is: first in the folders of this user, then wherever one may run.
///
/// # Errors
/// [`Failure`]: there is none, or there are several and none was named, or it does not answer.
pub fn ask(id: Option<&PeerId>) -> Result<Report, Failure> {
    let folders = folders();
    let mut answers = ask_paths(folders.iter().flat_map(|folder| sockets(folder)).collect(), id, true);
    answers.looked = folders;
    if !answers.has(id) && named().is_none() {
        answers.absorb(ask_elsewhere(id));
    }
    choose(answers, id)
}

/// What the peer says that runs as this process.
///
/// # Errors
/// Those of reaching it; [`ErrorKind::NotFound`] as long as it does not listen.
pub fn ask_process(pid: u32) -> io::Result<Report> {
    let sockets = folders().into_iter().flat_map(|folder| sockets(&folder));
    let path = sockets.filter(|path| process(path) == Some(pid)).max().ok_or(ErrorKind::NotFound)?;
    ask_one(&path)
}

/// What came of asking everyone.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) reports: Vec<Report>,
    /// Those that run and have not answered, each with its reason.
    pub(super) mute: Vec<String>,
    /// The folders that were looked through.
    pub(super) looked: Vec<PathBuf>,
    /// Whether the processes of this machine were looked through.
    pub(super) searched: bool,
}

impl Answers {
    fn has(&self, id: Option<&PeerId>) -> bool {
        self.reports.iter().any(|report| id.is_none_or(|id| report.status.peer_id == *id))
    }

    fn absorb(&mut self, others: Self) {
        let known: BTreeSet<(PeerId, u32)> = self.reports.iter().map(|report| (report.status.peer_id.clone(), report.pid)).collect();
        self.reports.extend(others.reports.into_iter().filter(|report| !known.contains(&(report.status.peer_id.clone(), report.pid))));
        self.mute.extend(others.mute);
        self.mute.sort();
        self.mute.dedup();
        self.searched |= others.searched;
        self.looked.extend(others.looked);
    }
}

pub(super) fn choose(answers: Answers, id: Option<&PeerId>) -> Result<Report, Failure> {
    let Answers { mut reports, mute, looked, searched } = answers;
    let others: Vec<String> = reports.iter().map(|report| format!("{} (process {})", report.status.peer_id, report.pid)).collect();
    if let Some(id) = id {
        reports.retain(|report| report.status.peer_id == *id);
    }
    let Some(last) = reports.pop() else {
        let who = id.map_or_else(|| "No peer".to_owned(), |id| format!("No peer called {id}"));
        let mut text = format!("{who} answers on this machine.");
        for mute in &mute {
            text.push_str(&format!("\n  {mute}"));
        }
        if !others.is_empty() {
            text.push_str(&format!("\n  These answer: {}.", others.join(", ")));
        }
        let folders: Vec<String> = looked.iter().map(|folder| folder.display().to_string()).collect();
        let rest = if searched { ", and for sockets of all running processes" } else { "" };
        text.push_str(&format!("\n  Looked in {}{rest}.", folders.join(", ")));
        if mute.is_empty() && others.is_empty() {
            text.push_str(" Start one with `peer run`.");
        }
        return Err(Failure::new(UNAVAILABLE, text));
    };
    if reports.is_empty() {
        return Ok(last);
    }
    reports.push(last);
    let list: Vec<String> = reports.iter().map(|report| format!("  {} (process {})", report.status.peer_id, report.pid)).collect();
    Err(Failure::new(USAGE, format!("Several peers run here; choose one with --id:\n{}", list.join("\n"))))
}

/// What every peer says whose socket lies in this folder.
#[cfg(test)]
pub(super) fn ask_all(folder: &Path, id: Option<&PeerId>) -> Answers {
    ask_paths(sockets(folder), id, true)
}

/// Asks those whose sockets lie elsewhere. One that has just lost the file of its socket makes another one within a second.
fn ask_elsewhere(id: Option<&PeerId>) -> Answers {
    let until = Instant::now() + ANEW;
    loop {
        let found = elsewhere::sockets();
        let waits = found.iter().any(|path| !path.exists()) && Instant::now() < until;
        let known: BTreeSet<u32> = found.iter().filter_map(|path| process(path)).collect();
        let mut answers = ask_paths(found, id, false);
        let unknown = elsewhere::processes().into_iter().filter(|(own, _)| !known.contains(own));
        answers.mute.extend(unknown.map(|(_, here)| format!("Process {here} looks like a running peer, and no socket of it was found.")));
        answers.searched = true;
        if answers.has(id) || !waits {
            answers.looked = elsewhere::folders();
            return answers;
        }
        thread::sleep(PAUSE);
    }
}

/// What every peer says that listens at one of these paths. All are asked at once, so that one that stands still holds up
/// nobody; once the wanted one has answered, the rest has little time to turn out to have the same name.
fn ask_paths(paths: Vec<PathBuf>, id: Option<&PeerId>, own: bool) -> Answers {
    let (sender, answers) = mpsc::channel();
    let mut silent: BTreeSet<PathBuf> = paths.into_iter().collect();
    for path in silent.clone() {
        let sender = sender.clone();
        // Whoever is not awaited any more ends with the process.
        thread::spawn(move || {
            let _nobody_waits_any_more = sender.send((ask_one(&path), path));
        });
    }
    drop(sender);
    let mut found = Answers::default();
    let mut until = Instant::now() + PATIENCE + GRACE;
    while let Ok((answer, path)) = answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
        match answer {
            Ok(report) => {
                silent.remove(&path);
                if id.is_some_and(|id| report.status.peer_id == *id) {
                    until = until.min(Instant::now() + GRACE);
                }
                found.reports.push(report);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                silent.remove(&path);
                if own {
                    // Its process was killed; if the file is gone already, somebody else has cleared it away.
                    let _cleared_away = fs::remove_file(path);
                }
            }
            // It is told below.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => {
                silent.remove(&path);
                let why = match error.kind() {
                    ErrorKind::PermissionDenied => "belongs to another user: ask as that user, or as root".to_owned(),
                    ErrorKind::NotFound if own => continue,
                    ErrorKind::NotFound => "has lost its socket, or runs in a container: ask in there".to_owned(),
                    _ => format!("gave no answer that this build understands ({error})"),
                };
                found.mute.push(format!("{} {why} ({}).", words(&path), path.display()));
            }
        }
    }
    let rest = silent
        .iter()
        .map(|path| format!("{} said nothing for {PATIENCE:?}: it stands still, or is very busy ({}).", words(path), path.display()));
    found.mute.extend(rest);
    found.reports.sort_by(|a, b| a.status.peer_id.cmp(&b.status.peer_id).then(a.pid.cmp(&b.pid)));
    found
}

fn words(path: &Path) -> String {
    process(path).map_or_else(|| "A peer".to_owned(), |pid| format!("The peer of process {pid}"))
}

/// The process whose socket this is, by its name.
fn process(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.split_once('-')?.0.parse().ok()
}

fn sockets(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    all.filter(|path| path.extension().is_some_and(|extension| extension == "sock")).collect()
}

fn ask_one(path: &Path) -> io::Result<Report> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    Read::by_ref(&mut stream).take(ANSWER_MAX_BYTES).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How long the others have once the wanted one has answered.
const GRACE: Duration = Duration::from_millis(100);
/// How long a peer may take to make its socket anew.
const ANEW: Duration = Duration::from_millis(1_500);
const PAUSE: Duration = Duration::from_millis(100);
const ANSWER_MAX_BYTES: u64 = 16 << 20;
