//! The thread that observes the surroundings of a running peer: the addresses of the machine. It
//! also writes the file of contacts. It looks about twice a second and reports only changes, so the
//! loop never waits for a disk or a kernel table.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use mio::Waker;

use crate::address::Surroundings;
use crate::doublings::Doublings;

/// A report of the scout to the loop.
#[derive(Debug)]
pub enum News {
    /// The networks of the machine have changed, or the loop has asked for a report.
    Surroundings(Surroundings),
}

/// What the scout observes and writes.
#[derive(Debug)]
pub struct Watch {
    /// The known networks, if they matter.
    pub around: Option<Surroundings>,
    /// The file of contacts.
    pub contacts: Option<PathBuf>,
}

/// The loop's end.
#[derive(Debug)]
pub struct Scout {
    news: Receiver<News>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether the loop wants a report of the networks even without a change.
    again: AtomicBool,
    /// The newest text for the file of contacts.
    contacts: Mutex<Option<String>>,
}

impl Scout {
    /// Starts the thread.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn start(watch: Watch, waker: Arc<Waker>) -> io::Result<Self> {
        let (told, news) = sync_channel(NEWS_MAX);
        let shared = Arc::new(Shared::default());
        let (failures, blindness) = (Doublings::default(), Doublings::default());
        let round = Round {
            watch,
            told,
            waker,
            shared: Arc::clone(&shared),
            failed: false,
            failures,
            blind: false,
            blindness,
        };
        thread::Builder::new().name("scout".to_owned()).spawn(move || round.walk())?;
        Ok(Self { news, shared })
    }

    /// The next report, if there is one.
    #[must_use]
    pub fn news(&self) -> Option<News> {
        self.news.try_recv().ok()
    }

    /// Asks for a report of the networks at the next look in any case.
    pub fn look_again(&self) {
        self.shared.again.store(true, Ordering::Relaxed);
    }

    /// Writes this text soon; a later text replaces one that is not written yet.
    pub fn keep(&self, contacts: String) {
        *lock(&self.shared.contacts) = Some(contacts);
    }
}

struct Round {
    watch: Watch,
    told: SyncSender<News>,
    waker: Arc<Waker>,
    shared: Arc<Shared>,
    /// Whether the last write failed, and how often a series of failures has begun.
    failed: bool,
    failures: Doublings,
    /// Whether the last look failed, and how often a series of failures has begun.
    blind: bool,
    blindness: Doublings,
}

impl Round {
    fn walk(mut self) {
        // As long as the loop lives.
        while Arc::strong_count(&self.shared) > 1 {
            thread::sleep(PAUSE);
            self.look();
            self.write();
        }
    }

    fn look(&mut self) {
        let again = self.shared.again.swap(false, Ordering::Relaxed);
        let Some(known) = &mut self.watch.around else {
            // Loopback does not change, but it may be down.
            if again {
                let _told_next_time =
                    self.told.try_send(News::Surroundings(Surroundings::default()));
                let _loop_is_gone = self.waker.wake();
            }
            return;
        };
        let around = match Surroundings::look() {
            Ok(around) => around,
            Err(error) => {
                if !std::mem::replace(&mut self.blind, true)
                    && let Some(count) = self.blindness.count()
                {
                    log::warn!(
                        "Cannot look up the addresses of this machine: {error}. Trying again. \
                         Occurrence {count}; told at the \
                         1st, 2nd, 4th, 8th …."
                    );
                }
                return;
            }
        };
        self.blind = false;
        if around != *known || again {
            match self.told.try_send(News::Surroundings(around.clone())) {
                Ok(()) => *known = around,
                Err(_) => self.shared.again.store(again, Ordering::Relaxed),
            }
            let _loop_is_gone = self.waker.wake();
        }
    }

    fn write(&mut self) {
        let Some(path) = &self.watch.contacts else { return };
        let Some(text) = lock(&self.shared.contacts).take() else { return };
        match crate::contacts::write(path, &text) {
            Ok(()) => self.failed = false,
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true)
                    && let Some(count) = self.failures.count()
                {
                    log::warn!(
                        "Cannot write {}: {error}. After a restart this peer may not know where \
                         the others were. Occurrence {count}; \
                         told at the 1st, 2nd, 4th, 8th ….",
                        path.display()
                    );
                }
                lock(&self.shared.contacts).get_or_insert(text);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // No value is ever left half written under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const PAUSE: Duration = Duration::from_millis(500);
const NEWS_MAX: usize = 16;
