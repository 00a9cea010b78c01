//! Finds running peers. If a running peer is not found, the error says where the search looked and
//! which peer refused access: no answer in one folder does not mean that no peer runs.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use protocol::id::PeerId;

use super::{Connection, PATIENCE, elsewhere};
use crate::door::folders::{looked_in, named};
use crate::failure::{Failure, NOT_NOW, UNAVAILABLE, USAGE};

/// The peer of that name, or the only one that runs: first in the folders of this user, then
/// anywhere on the machine.
///
/// # Errors
/// [`Failure`]: there is none, or there are several and none was named, or access is refused.
pub fn find(id: Option<&PeerId>) -> Result<Connection, Failure> {
    choose(find_all(id), id)
}

/// All peers that can be found; if a peer is named, the search ends early.
#[must_use]
pub fn find_all(id: Option<&PeerId>) -> Found {
    let folders = looked_in();
    let mut found = connect(folders.iter().flat_map(|folder| sockets(folder)).collect(), id, true);
    found.looked = folders;
    if !found.has(id) && named().is_none() {
        found.absorb(find_elsewhere(id));
    }
    found
}

/// The result of the search.
#[derive(Debug, Default)]
pub struct Found {
    /// The peers that answer, by name.
    pub connections: Vec<Connection>,
    /// The peers that run and do not answer, each with its reason.
    pub mute: Vec<String>,
    /// Whether one of those has no room for another client at present.
    busy: bool,
    /// The folders that were searched.
    looked: Vec<PathBuf>,
    /// Whether the processes of this machine were searched.
    searched: bool,
}

impl Found {
    fn has(&self, id: Option<&PeerId>) -> bool {
        self.connections.iter().any(|connection| id.is_none_or(|id| connection.peer() == id))
    }

    fn absorb(&mut self, others: Self) {
        let key = |connection: &Connection| (connection.peer().clone(), connection.greeting().pid);
        let known: BTreeSet<(PeerId, u32)> = self.connections.iter().map(key).collect();
        self.connections
            .extend(others.connections.into_iter().filter(|other| !known.contains(&key(other))));
        self.mute.extend(others.mute);
        self.mute.sort();
        self.mute.dedup();
        self.searched |= others.searched;
        self.busy |= others.busy;
        self.looked.extend(others.looked);
    }
}

/// Chooses the wanted peer.
///
/// # Errors
/// [`Failure`]: there is none, or there are several and none was named.
fn choose(found: Found, id: Option<&PeerId>) -> Result<Connection, Failure> {
    let Found { mut connections, mute, busy, looked, searched } = found;
    let name = |connection: &Connection| {
        format!("{} (process {})", connection.peer(), connection.greeting().pid)
    };
    let others: Vec<String> = connections.iter().map(name).collect();
    if let Some(id) = id {
        connections.retain(|connection| connection.peer() == id);
    }
    let Some(last) = connections.pop() else {
        let who = id.map_or_else(|| "No peer".to_owned(), |id| format!("No peer called {id}"));
        let mut text = format!("{who} answers on this machine.");
        for mute in &mute {
            text.push_str(&format!("\n  {mute}"));
        }
        if !others.is_empty() {
            text.push_str(&format!("\n  These answer: {}.", others.join(", ")));
        }
        let mut folders: Vec<String> = Vec::new();
        for folder in looked.iter().map(|folder| folder.display().to_string()) {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        let rest = if searched { ", and for sockets of all running processes" } else { "" };
        text.push_str(&format!("\n  Looked in {}{rest}.", folders.join(", ")));
        if mute.is_empty() && others.is_empty() {
            text.push_str(" Start one with `peer run`.");
        }
        return Err(Failure::new(if busy { NOT_NOW } else { UNAVAILABLE }, text));
    };
    if connections.is_empty() {
        return Ok(last);
    }
    connections.push(last);
    let list: Vec<String> =
        connections.iter().map(|connection| format!("  {}", name(connection))).collect();
    let mend = if id.is_some() {
        "several peers of this name run here; stop one of them"
    } else {
        "several peers run here; choose one with --id"
    };
    Err(Failure::new(USAGE, format!("{mend}:\n{}", list.join("\n"))))
}

/// The peers whose sockets are elsewhere. A peer that has just lost its socket's file creates
/// another one within a second.
fn find_elsewhere(id: Option<&PeerId>) -> Found {
    let until = Instant::now() + ANEW;
    loop {
        let paths = elsewhere::sockets();
        let waits = paths.iter().any(|path| !path.exists()) && Instant::now() < until;
        let mut found = connect(paths, id, false);
        let known: BTreeSet<u32> =
            found.connections.iter().map(|connection| connection.greeting().pid).collect();
        let unknown: Vec<u32> = elsewhere::processes()
            .into_iter()
            .filter(|(own, _)| !known.contains(own))
            .map(|(_, here)| here)
            .collect();
        // A peer without access is named after its socket; its process is unknown.
        if unknown.len() > found.mute.len() {
            let named: Vec<String> =
                unknown.iter().take(NAMED_MOST).map(ToString::to_string).collect();
            let rest = if unknown.len() > named.len() { " and others" } else { "" };
            let (noun, verb) = if unknown.len() == 1 {
                ("Process", "looks like a running peer")
            } else {
                ("Processes", "look like running peers")
            };
            found.mute.push(format!(
                "{noun} {}{rest} {verb}, and no socket there could be asked.",
                named.join(", ")
            ));
        }
        found.searched = true;
        if found.has(id) || !waits {
            found.looked = elsewhere::folders();
            return found;
        }
        thread::sleep(PAUSE);
    }
}

/// Connects to every peer that listens at one of these paths. All connects run in parallel, so that
/// a stopped peer delays none; once the wanted peer has answered, the others get only a short time
/// to show that they have the same name.
fn connect(paths: Vec<PathBuf>, id: Option<&PeerId>, own: bool) -> Found {
    let (sender, answers) = mpsc::channel();
    let mut silent: BTreeSet<PathBuf> =
        paths.into_iter().filter(|path| !is_for_reading(path)).collect();
    for path in silent.clone() {
        let sender = sender.clone();
        // Threads that are not awaited any more end with the process.
        thread::spawn(move || {
            let _nobody_waits_any_more = sender.send((open(&path), path));
        });
    }
    drop(sender);
    let mut found = Found::default();
    let mut until = Instant::now() + PATIENCE + GRACE;
    while let Ok((answer, path)) =
        answers.recv_timeout(until.saturating_duration_since(Instant::now()))
    {
        match answer {
            Ok(connection) => {
                silent.remove(&path);
                if id.is_some_and(|id| connection.peer() == id) {
                    until = until.min(Instant::now() + GRACE);
                }
                found.connections.push(connection);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                silent.remove(&path);
                if own && is_socket(&path) {
                    // Its process was killed; if the file is gone already, another program has
                    // removed it.
                    let _cleared_away = fs::remove_file(path);
                }
            }
            // It is reported below.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => {
                silent.remove(&path);
                let why = match error.kind() {
                    ErrorKind::PermissionDenied => {
                        "belongs to another user: ask as that user, as root, or as a member of the \
                         group of its socket"
                            .to_owned()
                    }
                    ErrorKind::NotFound if own => continue,
                    ErrorKind::NotFound => "has lost its socket, or runs in a container: ask in \
                                            there"
                        .to_owned(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => {
                        "has just stopped".to_owned()
                    }
                    ErrorKind::ResourceBusy => {
                        found.busy = true;
                        format!("takes nobody in now: {error}")
                    }
                    _ => format!("gave no answer that this build understands ({error})"),
                };
                found.mute.push(format!("{} {why} ({}).", words(&path), path.display()));
            }
        }
    }
    let rest = silent.iter().map(|path| {
        format!(
            "{} said nothing for {PATIENCE:?}: it stands still, or is very busy ({}).",
            words(path),
            path.display()
        )
    });
    found.mute.extend(rest);
    found
        .connections
        .sort_by_key(|connection| (connection.peer().clone(), connection.greeting().pid));
    found
}

/// Connects there; if that is not permitted, to the read-only socket beside it.
fn open(path: &Path) -> io::Result<Connection> {
    match Connection::open(path, PATIENCE) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let name = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .map(|stem| format!("{stem}.read.sock"));
            let read = name.map(|name| path.with_file_name(name)).filter(|path| path.exists());
            read.map_or(Err(error), |read| Connection::open(&read, PATIENCE))
        }
        other => other,
    }
}

fn words(path: &Path) -> String {
    path.file_stem()
        .map_or_else(|| "A peer".to_owned(), |stem| format!("The peer {}", stem.to_string_lossy()))
}

fn is_for_reading(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.ends_with(".read.sock"))
}

fn leads_to_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

/// Whether the file is a socket.
fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

fn sockets(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    all.filter(|path| {
        path.extension().is_some_and(|extension| extension == "sock") && leads_to_socket(path)
    })
    .collect()
}

/// How many processes are named by pid.
const NAMED_MOST: usize = 8;
/// How long the others have once the wanted peer has answered.
const GRACE: Duration = Duration::from_millis(100);
/// How long a peer may take to create its socket again.
const ANEW: Duration = Duration::from_millis(1_500);
const PAUSE: Duration = Duration::from_millis(100);
