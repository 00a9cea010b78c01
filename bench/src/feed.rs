//! Writes readings at a steady rate to the standard input of the live peers, in turn.
//!
//! A peer with a full pipe is skipped and counted: the feed never waits, so a peer that stops
//! reading cannot reduce the rate of the others.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write as _};
use std::process::ChildStdin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use peer::clock::{Stamp, utc_micros};

/// The feeding thread; it ends when this value is dropped.
#[derive(Debug)]
pub struct Feed {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    eaters: Mutex<Vec<ChildStdin>>,
    over: AtomicBool,
    written: AtomicU64,
    held_back: AtomicU64,
}

impl Feed {
    /// A feed of this many readings per second, without a peer yet.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(rate: u32) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let inner = Arc::clone(&shared);
        let thread =
            thread::Builder::new().name("feed".to_owned()).spawn(move || inner.feed(rate))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Adds a peer; it is removed when its pipe breaks.
    ///
    /// # Errors
    /// The pipe cannot be told not to block.
    pub fn add(&self, eater: ChildStdin) -> io::Result<()> {
        // Only our end; the peer's reads still block.
        fcntl(&eater, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        self.shared.eaters.lock().unwrap_or_else(PoisonError::into_inner).push(eater);
        Ok(())
    }

    /// How many readings were written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// How many readings were skipped because a pipe was full.
    #[must_use]
    pub fn held_back(&self) -> u64 {
        self.shared.held_back.load(Ordering::Relaxed)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the feed has been printed on standard error already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn feed(&self, rate: u32) {
        let pause = Duration::from_secs(1) / rate.max(1);
        let mut line = String::new();
        let mut due = Instant::now();
        let mut turn = 0;
        while !self.over.load(Ordering::Relaxed) {
            line.clear();
            writeln!(line, "DATA|bench|{}|reading={turn}|value=21.5", Stamp(utc_micros()))
                .expect("writing to a String cannot fail");
            self.hand_out(turn, line.as_bytes());
            turn += 1;
            due += pause;
            // Missed readings are made up for: the rate is an average over time, and a late wake-up
            // causes a burst.
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }

    fn hand_out(&self, turn: usize, line: &[u8]) {
        let mut eaters = self.eaters.lock().unwrap_or_else(PoisonError::into_inner);
        if eaters.is_empty() {
            return;
        }
        let index = turn % eaters.len();
        // A line is shorter than PIPE_BUF, so a pipe takes all of it or nothing.
        match eaters[index].write(line) {
            Ok(_) => {
                self.written.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.held_back.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => drop(eaters.remove(index)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Feed;
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    #[test]
    fn each_eater_gets_its_turn_and_a_broken_pipe_is_forgotten() {
        let mut cats: Vec<_> = (0..2)
            .map(|_| {
                Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        let feed = Feed::start(2_000).unwrap();
        for cat in &mut cats {
            feed.add(cat.stdin.take().unwrap()).unwrap();
        }
        let mut first = BufReader::new(cats[0].stdout.take().unwrap()).lines();
        let mut second = BufReader::new(cats[1].stdout.take().unwrap()).lines();
        assert!(first.next().unwrap().unwrap().starts_with("DATA|bench|2"));
        assert!(second.next().unwrap().unwrap().starts_with("DATA|bench|2"));
        cats[0].kill().unwrap();
        cats[0].wait().unwrap();
        let before = feed.written();
        // The survivor still gets readings.
        assert_eq!(second.by_ref().take(100).filter(Result::is_ok).count(), 100);
        assert!(feed.written() > before);
        drop(feed);
        cats[1].wait().unwrap();
    }
}
