//! The stored state of readings with a token, in the data folder, so that a publisher may repeat a
//! request after a restart of the peer and the reading is published once.
//!
//! A token is stored before its reading is given to the node, and the fate of the reading is added
//! when it becomes known. So after a kill no reading is published twice; if a reading was given and
//! its fate is unknown, the answer says so. A thread writes: the loop does not wait for the disk,
//! and a reading whose token cannot be stored is refused. A stopping peer waits for the thread, so
//! that the last lines are stored, too.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use mio::Waker;
use protocol::id::{Oseq, Seq};
use protocol::log_id::LogId;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::disk;
use crate::folder::Folder;

/// The state of one token: a line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Line {
    /// The token.
    pub token: String,
    /// The fate of its reading.
    pub is: Fate,
    /// The incarnation that gave it its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inc: Option<String>,
    /// Its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oseq: Option<Oseq>,
    /// The log that contains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogId>,
    /// The epoch, with its owner's incarnation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// Its position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
}

/// The fate of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It was about to be given to the node.
    Begun,
    /// It has its number.
    Accepted,
    /// It is in the log.
    Ordered,
    /// It is stable.
    Safe,
    /// It is declared lost.
    Lost,
    /// It was refused, and may be repeated.
    Refused,
}

impl Line {
    /// The line for a reading that is about to be given to the node.
    #[must_use]
    pub fn begun(token: &str) -> Self {
        Self {
            token: token.to_owned(),
            is: Fate::Begun,
            inc: None,
            oseq: None,
            log: None,
            epoch: None,
            seq: None,
        }
    }
}

/// The loop's end.
#[derive(Debug)]
pub struct Tokens {
    jobs: SyncSender<(Option<u64>, Line)>,
    results: Receiver<(u64, io::Result<()>)>,
    last: u64,
}

impl Tokens {
    /// Reads the stored lines of earlier lives, oldest first, and starts the thread.
    ///
    /// # Errors
    /// Those of starting a thread; an unreadable file is reported, and replaced by a new one.
    pub fn start(folder: &Path, waker: Arc<Waker>) -> io::Result<(Self, Vec<Line>)> {
        let known = load(folder).unwrap_or_else(|error| {
            let path = folder.join(FILE);
            log::warn!(
                "Cannot read {}: {error}. Readings whose tokens stand there may be \
                        published twice.",
                path.display()
            );
            Vec::new()
        });
        let (jobs, inbox) = sync_channel::<(Option<u64>, Line)>(JOBS_MAX);
        let (outbox, results) = sync_channel(JOBS_MAX);
        let mut writer = Writer { folder: folder.to_owned(), file: None };
        thread::Builder::new().name("tokens".to_owned()).spawn(move || {
            for (job, line) in inbox {
                let written = writer.write(&line, job.is_some());
                if let Some(job) = job {
                    let _loop_is_gone = outbox.send((job, written));
                    let _loop_is_gone = waker.wake();
                }
            }
            writer.finish();
        })?;
        Ok((Self { jobs, results, last: 0 }, known))
    }

    /// Stores that a reading is about to be given to the node; [`Self::stored`] returns this number
    /// when it is done. None if too many wait already.
    pub fn begin(&mut self, token: &str) -> Option<u64> {
        self.last += 1;
        self.jobs.try_send((Some(self.last), Line::begun(token))).ok().map(|()| self.last)
    }

    /// Adds the fate of a reading. If the disk is too slow for that, the fate is unknown after a
    /// restart.
    pub fn note(&self, line: Line) {
        let _too_slow = self.jobs.try_send((None, line));
    }

    /// Adds the fates of readings up to the very end of this life, and waits until the disk has
    /// every line; false if that takes too long.
    pub fn finish(self, last: Vec<Line>, patience: Duration) -> bool {
        let Self { jobs, results, .. } = self;
        let until = clock::now() + patience;
        for line in last {
            let mut job = (None, line);
            while let Err(refused) = jobs.try_send(job) {
                match refused {
                    TrySendError::Full(again) if clock::now() < until => job = again,
                    TrySendError::Full(_) | TrySendError::Disconnected(_) => return false,
                }
                while results.try_recv().is_ok() {}
                thread::sleep(FULL_PAUSE);
            }
        }
        // The thread ends with its queue, and its end of the results is closed.
        drop(jobs);
        loop {
            match results.recv_timeout(until.since(clock::now())) {
                Ok(_nobody_waits_any_more) => {}
                Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }

    /// The next completed or failed store.
    #[must_use]
    pub fn stored(&self) -> Option<(u64, io::Result<()>)> {
        self.results.try_recv().ok()
    }
}

/// The thread's end.
struct Writer {
    folder: PathBuf,
    file: Option<File>,
}

impl Writer {
    fn write(&mut self, line: &Line, must_last: bool) -> io::Result<()> {
        let mut text = serde_json::to_vec(line).expect("a line is made of what JSON can say");
        text.push(b'\n');
        let file = match self.file.take() {
            Some(file) => file,
            None => open(&self.folder)?.append_to(FILE)?,
        };
        (&file).write_all(&text)?;
        if must_last {
            disk::sync_data(&file)?;
        }
        // The folder may have been removed; then the next line creates another file, or reports
        // that it cannot.
        let is_there = std::fs::symlink_metadata(self.folder.join(FILE)).is_ok();
        self.file = Some(file).filter(|_| is_there);
        if is_there { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// No more lines follow.
    fn finish(&self) {
        if let Some(file) = &self.file
            && let Err(error) = disk::sync_data(file)
        {
            log::warn!(
                "Cannot store what became of the last readings with a token: {error}. After a \
                 restart it may be unknown."
            );
        }
    }
}

fn open(folder: &Path) -> io::Result<Folder> {
    Folder::open(folder).map_err(|why| io::Error::other(why.to_string()))
}

/// The newest tokens of the file, with the last state of each; compacts the file.
fn load(folder: &Path) -> io::Result<Vec<Line>> {
    let Ok(folder) = open(folder) else { return Ok(Vec::new()) };
    if folder.stat(FILE)?.is_none() {
        return Ok(Vec::new());
    }
    let bytes = folder.read(FILE, BYTES_MAX)?;
    let mut newest: BTreeMap<String, (usize, Line)> = BTreeMap::new();
    // A line that its writer did not finish is ignored.
    let lines = bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    for (place, line) in lines.enumerate() {
        newest.insert(line.token.clone(), (place, line));
    }
    let mut known: Vec<(usize, Line)> =
        newest.into_values().filter(|(_, line)| line.is != Fate::Refused).collect();
    known.sort_by_key(|(place, _)| *place);
    let known: Vec<Line> =
        known.into_iter().rev().take(TOKENS_MOST).map(|(_, line)| line).rev().collect();
    let mut file = folder.create(NEW)?;
    for line in &known {
        serde_json::to_writer(&mut file, line)?;
        file.write_all(b"\n")?;
    }
    disk::sync_all(&file)?;
    folder.rename(NEW, FILE)?;
    folder.sync()?;
    Ok(known)
}

/// In the data folder.
pub const FILE: &str = "tokens.jsonl";
const NEW: &str = "tokens.jsonl.new";
/// How many tokens are remembered.
pub const TOKENS_MOST: usize = 4_096;
/// How many lines may wait for the disk.
const JOBS_MAX: usize = 16_384;
/// How long to wait if the queue is full at the end.
const FULL_PAUSE: Duration = Duration::from_millis(1);
/// How much of the file is read; if a life adds more, its oldest tokens are dropped.
const BYTES_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::{FILE, Fate, JOBS_MAX, Line, TOKENS_MOST, Tokens, Writer, load};
    use mio::{Poll, Token, Waker};
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn the_last_that_is_known_of_each_token_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path()).unwrap(), []);
        let mut writer = Writer { folder: folder.path().to_owned(), file: None };
        let line = |token: &str, is| Line { is, ..Line::begun(token) };
        for (token, is) in [
            ("a", Fate::Begun),
            ("b", Fate::Begun),
            ("a", Fate::Ordered),
            ("c", Fate::Begun),
            ("c", Fate::Refused),
        ] {
            writer.write(&line(token, is), true).unwrap();
        }
        std::fs::OpenOptions::new()
            .append(true)
            .open(folder.path().join(FILE))
            .map(|mut file| std::io::Write::write_all(&mut file, b"{\"tok"))
            .unwrap()
            .unwrap();
        let expected = [line("b", Fate::Begun), line("a", Fate::Ordered)];
        assert_eq!(load(folder.path()).unwrap(), expected);
        assert_eq!(
            load(folder.path()).unwrap(),
            expected,
            "the file was put in order and says the same"
        );
        for n in 0..TOKENS_MOST {
            Writer { folder: folder.path().to_owned(), file: None }
                .write(&line(&n.to_string(), Fate::Safe), false)
                .unwrap();
        }
        let known = load(folder.path()).unwrap();
        assert_eq!((known.len(), &*known[0].token), (TOKENS_MOST, "0"));
    }

    #[test]
    fn a_folder_that_is_gone_stores_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer { folder: folder.path().to_owned(), file: None };
        writer.write(&Line::begun("a"), true).unwrap();
        std::fs::remove_dir_all(folder.path()).unwrap();
        assert!(
            writer.write(&Line::begun("b"), true).is_err()
                && writer.write(&Line::begun("c"), true).is_err()
        );
    }

    #[test]
    fn the_last_words_are_on_the_disk_when_the_peer_has_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let start = || Tokens::start(folder.path(), Arc::clone(&waker)).unwrap();
        let line = |n: usize, is| Line { is, ..Line::begun(&format!("t{}", n % TOKENS_MOST)) };
        let (mut tokens, known) = start();
        assert_eq!(known, []);
        // The queue is full when the peer stops, also with results that were not taken.
        let begun = (0..64).filter_map(|n| tokens.begin(&line(n, Fate::Begun).token)).count();
        (0..JOBS_MAX).for_each(|n| tokens.note(line(n, Fate::Accepted)));
        let last = (0..TOKENS_MOST).map(|n| line(n, Fate::Safe)).collect();
        assert!(tokens.finish(last, Duration::from_secs(60)) && begun == 64);
        let (tokens, known) = start();
        assert_eq!(known, (0..TOKENS_MOST).map(|n| line(n, Fate::Safe)).collect::<Vec<_>>());
        assert!(tokens.finish(Vec::new(), Duration::from_secs(60)), "there is nothing to wait for");
    }
}
